"""Merging against mergekit: the same values, CPU seconds and peak memory.

Two models that stand a tenth of a standard deviation from a common base, in float32. Both sides do the whole job in a
process of their own, start-up included: read, merge, write. SLERP differs by what mergekit's float32 inner products
lose: against float64, 2e-5 on its side and 4e-7 on ours. Of TIES a value may differ where several values are as large
as the smallest that is kept: mergekit keeps some of them, we all. DARE draws at random: only its cost is compared.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from common import Row, Run, arguments, finish, measure, measure_in_turn, peer_python

MERGEKIT = ["mergekit==0.1.5", "torch==2.13.0", "transformers==5.23.0"]
METHODS = ["linear", "slerp", "task-arithmetic", "ties", "dare-ties"]
SHAPES = {"quick": ["256", "2"], "full": ["640", "8"]}


def main() -> None:
    """Run the benchmark."""
    args = arguments("merge", "Merging, against mergekit", needs_data=False)
    python = peer_python("mergekit", MERGEKIT)
    rows, notes = [], []
    with tempfile.TemporaryDirectory(prefix="diglot-benchmark-") as place:
        folder = Path(place)
        made = measure([sys.executable, "peers/diglot_merge.py", "make", place, *SHAPES["full" if args.full else "quick"]])  # fmt: skip
        notes.append(f"Each of the models has {made.reported['bytes'] / 1e6:,.0f} MB.")
        for method in METHODS:
            runs = merge_in_turn(method, folder, python, args.repeats)
            rows += rows_of(method, runs["ours"], runs.get("mergekit"))
            if python and not method.startswith("dare"):
                same = measure([sys.executable, "peers/diglot_merge.py", "compare", *outputs(folder, method)])
                found = same.reported
                rows.append(Row(f"{method}, largest difference from mergekit", "", found["largest_difference"]))
                notes.append(f"{method}: {found['differ']:,} of {found['values']:,} values differ by over 1e-4.")
            for output in outputs(folder, method):
                shutil.rmtree(output, ignore_errors=True)
    finish("merge", rows, args, notes=notes)


def outputs(folder: Path, method: str) -> list[str]:
    """Where the two sides write."""
    return [str(folder / f"{side}-{method}") for side in ("ours", "mergekit")]


def merge_in_turn(method: str, folder: Path, python: Path | None, repeats: int) -> dict[str, Run]:
    """Merge on both sides; a side begins by removing what its last turn wrote."""
    ours, theirs = outputs(folder, method)
    commands = {"ours": _afresh(ours, [sys.executable, "peers/diglot_merge.py", "merge", method, str(folder), ours])}  # fmt: skip
    if python:
        commands["mergekit"] = _afresh(theirs, [str(python), "peers/mergekit_merge.py", method, str(folder), theirs])  # fmt: skip
    return measure_in_turn(commands, repeats)


def _afresh(output: str, command: list[str]) -> list[str]:
    return ["sh", "-c", 'rm -rf "$0" && exec "$@"', output, *command]


def rows_of(method: str, ours: Run, peer: Run | None) -> list[Row]:
    """CPU seconds and peak memory."""
    name = "mergekit 0.1.5" if peer else None
    seconds = [run and run.seconds for run in (ours, peer)]
    memory = [run and run.peak_bytes / 1e6 for run in (ours, peer)]
    return [
        Row(f"{method}, whole process", "CPU s", *seconds, name, less_is_better=True),
        Row(f"{method}, peak memory", "MB", *memory, name, less_is_better=True),
    ]


if __name__ == "__main__":
    main()
