"""Memory of training one model in several ways: what the settings for one card save, and what they cost in time.

    python benchmarks/train_memory.py --model FOLDER        a real model's folder, such as SmolLM2-135M's

Each way trains some steps on the same batches, in a process of its own, and writes its model, which must answer as the trained
one does. Memory is the peak of what is resident beyond the libraries, loading included, on a CPU with one thread; its
activations are those of one sequence. The full training in float32 is what the others are set beside; what
`diglot plan` says of each stands below it. Without a model
(and without $DIGLOT_MODELS/smollm2-135m) one of 48 million parameters is made.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import BenchmarkError, Row, Run, arguments, finish, measure

SCRIPT = "peers/diglot_train_memory.py"
STEPS = {"quick": 2, "full": 4}
LENGTH = {"quick": 256, "full": 512}
BFLOAT16 = {"precision": "bfloat16", "weights": "bfloat16"}
ADAPTER = {"adapter": {"rank": 16}, "learning_rate": 3e-4}
FULL = "all weights, float32"
WAYS: dict[str, dict[str, Any]] = {
    FULL: {},
    "all weights, float32, preference pairs": {"objective": "dpo"},
    "all weights, bfloat16, moments of 8 bits": BFLOAT16 | {"moments": "8-bit"},
    "adapter of rank 16, float32": ADAPTER,
    "adapter of rank 16, bfloat16": ADAPTER | BFLOAT16,
    "adapter of rank 16, nf4": ADAPTER | BFLOAT16 | {"weights": "nf4"},
    "adapter of rank 16, nf4, layers computed twice": ADAPTER
    | BFLOAT16
    | {"weights": "nf4", "activation_checkpointing": True},
}
FLOAT32_CLOSE, BFLOAT16_CLOSE = 1e-4, 0.05  # of the logits' norm; four bits are merged into the weights as they were
COARSER = "nf4"


def main() -> None:
    """Run the benchmark."""
    models = os.environ.get("DIGLOT_MODELS")
    real = Path(models) / "smollm2-135m" if models else None
    default = str(real) if real and real.is_dir() else "-"
    args = arguments("train_memory", __doc__.split("\n")[0], needs_data=False, model=default)
    size = "quick" if args.quick else "full"
    with tempfile.TemporaryDirectory(prefix="diglot-benchmark-") as place:
        prepared = measure([sys.executable, SCRIPT, "prepare", str(args.data), place, args.model]).reported
        runs = {way: best(place, way, size, 1 if args.quick else args.repeats) for way in WAYS}
    rows, notes = [], [f"{prepared['parameters']:,} parameters; steps of 2 × {LENGTH[size]} tokens, one row at a time."]
    for way, run in runs.items():
        check(way, run)
        beside = None if way == FULL else runs[FULL]
        peaks = [each and each.reported["peak_bytes"] / 1e6 for each in (run, beside)]
        seconds = [each and each.seconds / STEPS[size] for each in (run, beside)]
        rows.append(Row(f"{way}, memory", "MB", *peaks, beside and FULL, less_is_better=True))
        rows.append(Row(f"{way}, memory as planned", "MB", run.reported["planned_total"] / 1e6))
        rows.append(Row(f"{way}, a step", "CPU s", *seconds, beside and FULL, less_is_better=True))
        found = run.reported
        notes.append(
            f"{way}: losses {', '.join(f'{loss:.3f}' for loss in found['losses'])}; the written model's logits are "
            f"{found['difference']:.1e} of their norm from the trained one's."
        )
    shares = [run.reported["peak_bytes"] / run.reported["planned_bytes"] for run in runs.values()]
    notes.append(
        f"Measured over the plan's sum: {min(shares):.2f} to {max(shares):.2f}; as planned is the sum with the margin of a CPU "
        "(40%, and 1 GiB for Python and torch, which the measured leave out)."
    )
    finish("train_memory", rows, args, notes=notes)


def best(place: str, way: str, size: str, repeats: int) -> Run:
    """The run of a way that took least time."""
    settings = {
        "from": {"model": "model", "tokens": "tokens"}, "steps": STEPS[size], "batch_size": 2, "micro_batch_size": 1,
        "sequence_length": LENGTH[size], "learning_rate": 3e-5, "checkpoint_every": 1000, "evaluate_every": 1000,
    } | WAYS[way]  # fmt: skip
    runs = []
    for turn in range(repeats):
        runs.append(measure([sys.executable, SCRIPT, "run", place, json.dumps(settings)]))
        peak = runs[-1].reported["peak_bytes"] / 1e6
        print(f"  {way}, {turn + 1} of {repeats}: {runs[-1].seconds:.1f} CPU s, {peak:,.0f} MB", file=sys.stderr)
    return min(runs, key=lambda run: run.seconds)


def check(way: str, run: Run) -> None:
    """The written model answers as the trained one, but for the precision that it is written in.

    Raises:
        BenchmarkError: it does not.
    """
    close = BFLOAT16_CLOSE if "precision" in WAYS[way] else FLOAT32_CLOSE
    if WAYS[way].get("weights") != COARSER and run.reported["difference"] > close:
        raise BenchmarkError(
            f"{way}: the written model answers otherwise: {run.reported['difference']} of the logits' norm"
        )


if __name__ == "__main__":
    main()
