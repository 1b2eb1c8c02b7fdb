"""Loss and gradients at 256,000 entries: ours against all logits at once, and against chunks that are computed twice.

    python benchmarks/loss_memory.py --full

Hidden states of 256 units, one thread. Memory is the peak beyond the inputs in a process of its own, the gradients
included; time is CPU seconds of forward and backward. The three give the same loss and the same norms of gradients, or
the benchmark fails. Peers are torch's own functions in Diglot's environment.
"""

from __future__ import annotations

import math
import sys

from common import BenchmarkError, Row, Run, arguments, finish, measure, measure_in_turn

SCRIPT = "peers/diglot_loss_forms.py"
PEERS = {"plain": "F.cross_entropy of all logits", "chunked": "chunks of 1,024, checkpointed"}
CLOSE = {"float32": 1e-5, "bfloat16": 1e-2}


def main() -> None:
    """Run the benchmark."""
    args = arguments("loss_memory", __doc__.split("\n")[0], needs_data=False)
    tokens = "512" if args.quick else "2048"
    rows, notes = [], []
    for dtype, close in CLOSE.items():
        slow = measure([sys.executable, SCRIPT, "diglot", dtype, "64"]).reported["slow"]
        peers = {} if slow else PEERS
        commands = {form: [sys.executable, SCRIPT, form, dtype, tokens] for form in ("diglot", *peers)}
        runs = measure_in_turn(commands, args.repeats)
        for form, name in peers.items():
            check(form, runs["diglot"], runs[form], close)
            rows += rows_of(f"{tokens} tokens, {dtype}", runs["diglot"], runs[form], name)
        if slow:
            rows += rows_of(f"{tokens} tokens, {dtype}", runs["diglot"])
            notes.append(
                f"{dtype} without peers: on this processor its products take 7 to 100 times as long as those of float32, in "
                "which ours then takes them."
            )
    finish("loss_memory", rows, args, notes=notes)


def check(form: str, ours: Run, peer: Run, close: float) -> None:
    """Both give the same.

    Raises:
        BenchmarkError: they don't.
    """
    for what in ("loss", "hidden_gradient", "weight_gradient"):
        mine, theirs = (float(run.reported[what]) for run in (ours, peer))
        if not math.isclose(mine, theirs, rel_tol=close):
            raise BenchmarkError(f"{form}: {what} is {theirs}, ours {mine}")


def rows_of(what: str, ours: Run, peer: Run | None = None, name: str | None = None) -> list[Row]:
    """CPU seconds and memory."""
    peaks = [run and run.reported["peak_bytes"] / 1e6 for run in (ours, peer)]
    seconds = [run and run.seconds for run in (ours, peer)]
    return [
        Row(f"{what}, memory", "MB", *peaks, name, less_is_better=True),
        Row(f"{what}, time", "CPU s", *seconds, name, less_is_better=True),
    ]


if __name__ == "__main__":
    main()
