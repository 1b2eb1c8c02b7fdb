"""Training steps of a real model: tokens a CPU second beside a plain loop on transformers' own module.

SmolLM2-135M with 12,032 new rows, as an extension leaves it, on real English text: rows of one document each, so that both
sides compute the same. Whole steps (forward, backward, clipping, AdamW); ours are steps of a train stage, with its data
order, metrics and guard. The model lies in $DIGLOT_MODELS/smollm2-135m.

    as shipped            each side as it comes
    with the allocator    the peer's process keeps freed memory too, by glibc's variables (MALLOC_MMAP_MAX_, MALLOC_TRIM_THRESHOLD_)

A side's figure is that of its fastest step of all turns, in CPU seconds of all threads; the limit is what the model's matrix products would
take at the rate of this core's fastest large product of the same type. The first losses must agree, or the benchmark stops.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from common import BenchmarkError, Row, Run, arguments, finish, measure

PLAIN, TUNED = "transformers, plain loop", "the same, with the allocator"
ALLOCATOR = ["env", "MALLOC_MMAP_MAX_=0", "MALLOC_TRIM_THRESHOLD_=16000000000"]
NEW_ROWS = 12_032
AGREE = 1e-2  # nats between the sides' first losses


@dataclass(frozen=True)
class Case:
    """Rows of a length, in a type, with so many threads."""

    precision: str
    rows: int
    length: int
    threads: int = 1
    steps: int = 4

    @property
    def name(self) -> str:
        """Of the case, in the table."""
        return f"{self.precision}, {self.rows} × {self.length}, {self.threads} thread{'s' * (self.threads > 1)}"


QUICK = [Case("bfloat16", 1, 256, steps=2)]
SHAPES = [(2, 512), (1, 2048)]
FULL = [
    Case(precision, *shape, threads) for precision in ("float32", "bfloat16") for shape in SHAPES for threads in (1, 2)
]


def main() -> None:
    """Run the benchmark."""
    args = arguments("train_step_real", __doc__.split("\n")[0])
    model = Path(os.environ.get("DIGLOT_MODELS", ""), "smollm2-135m")
    if not (model / "model.safetensors").exists():
        raise BenchmarkError(f"no model in {model}: set DIGLOT_MODELS to a folder that holds smollm2-135m")
    rows: list[Row] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="diglot-benchmark-") as place:
        script = "peers/diglot_train_step_real.py"
        measure([sys.executable, script, "prepare", str(model), str(args.data), place, str(NEW_ROWS)])
        for case in FULL if args.full else QUICK:
            settings = {"batch_size": case.rows, "sequence_length": case.length, "steps": case.steps}
            described = json.dumps(settings | {"precision": case.precision, "threads": case.threads})
            peer = [sys.executable, "peers/transformers_train_step_real.py", place, described]
            commands = {
                "ours": [sys.executable, script, "train", place, described],
                PLAIN: peer,
                TUNED: [*ALLOCATOR, *peer],
            }
            runs: dict[str, list[Run]] = {side: [] for side in commands}
            for turn in range(args.repeats if args.full else 1):
                for side, command in commands.items():
                    runs[side].append(measure(command))
                    print(
                        f"  {case.name}: {side}, turn {turn + 1}: {runs[side][-1].reported['seconds']}", file=sys.stderr
                    )
            add(case, runs, rows, notes)
    finish("train_step_real", rows, args, notes=notes)


def add(case: Case, runs: dict[str, list[Run]], rows: list[Row], notes: list[str]) -> None:
    """A case's rows and notes.

    Raises:
        BenchmarkError: the sides' losses say that they don't train the same.
    """
    tokens = case.rows * case.length
    best = {side: min(min(run.reported["seconds"]) for run in found) for side, found in runs.items()}
    memory = {side: min(run.reported["memory_mb"] for run in found) / 1000 for side, found in runs.items()}
    ours = runs["ours"][0].reported
    for side in (PLAIN, TUNED):
        theirs = runs[side][0].reported["losses"]
        apart = max(abs(one - other) for one, other in zip(ours["losses"], theirs, strict=True))
        first = abs(ours["losses"][0] - theirs[0])
        if first > AGREE:
            raise BenchmarkError(f"{case.name}: {side} has losses {theirs}, and ours are {ours['losses']}")
        rows.append(Row(case.name, "tokens/CPU s", tokens / best["ours"], tokens / best[side], side))
        rows.append(Row(f"{case.name}, memory", "GB", memory["ours"], memory[side], side, less_is_better=True))
    limit = ours["flops"] / max(run.reported["rate"] for run in runs["ours"])
    share = 100 * limit / best["ours"]
    rows.append(Row(f"{case.name}, of the limit of products", "%", share, 100 * limit / best[PLAIN], PLAIN))
    rate = max(run.reported["rate"] for run in runs["ours"])
    notes.append(f"{case.name}: losses {apart:.1e} apart at most; a core's products ran at {rate / 1e9:,.0f} GFLOP/s.")


if __name__ == "__main__":
    main()
