"""The plan: dry runs of real models on fake ranks (time, memory, peaks), beside the formula; and published throughput.

There is no peer to run: what is beside ours was measured by others on hardware of theirs, or by PyTorch's tracker.
"""

from __future__ import annotations

import sys

from common import BENCHMARKS, Row, arguments, finish, measure_in_turn

OURS = str(BENCHMARKS / "peers" / "diglot_dryrun.py")
GIB = 2**30
# preset, ranks, sequences a rank, tokens a sequence
QUICK = [("polylm-1.7b", 256, 1, 2048)]
FULL = [
    ("polylm-13b", 256, 1, 2048),
    ("polylm-1.7b", 16, 1, 2048),
    ("llama-3-8b", 8, 1, 8192),
    ("llama-3-8b", 128, 2, 8192),
    ("qwen3-0.6b", 8, 2, 2048),
]


def main() -> None:
    args = arguments("plan", "Dry runs on fake ranks, and the plan's formula", needs_data=False)
    commands = {}
    for preset, ranks, rows, length in QUICK if args.quick else FULL:
        for checkpointing in (0, 1):
            name = f"{preset}, {ranks} ranks, {rows} × {length}{', checkpointing' if checkpointing else ''}"
            commands[name] = [sys.executable, OURS, preset, *map(str, (ranks, rows, length, checkpointing))]
    runs = measure_in_turn(commands, 1, timeout=600)
    rows_of_table = []
    for name, run in runs.items():
        peak, formula = run.reported["peak"] / GIB, run.reported["formula"] / GIB
        states = run.reported["weights"] + run.reported["gradients"] + run.reported["optimizer"]
        rows_of_table += [
            Row(f"{name}: time", "CPU s", run.cpu_seconds),
            Row(f"{name}: wall clock", "s", run.wall_seconds),
            Row(f"{name}: host memory", "GB", run.peak_bytes / 1e9),
            Row(f"{name}: states a rank", "GiB", states / GIB),
            Row(f"{name}: peak by dry run", "GiB", peak),
            Row(f"{name}: peak by formula", "GiB", formula),
        ]
    shares = [run.reported["formula"] / run.reported["peak"] for run in runs.values()]
    notes = [
        f"The formula's peak over the dry run's: {min(shares):.3f} to {max(shares):.3f}, without margin; weights, gradients and "
        "optimizer agree to the byte (tests/plan).",
        "One thread; times hold the imports of two processes, and the wall clock whatever else ran (see load). bfloat16 under FSDP2, weights in float32, our chunked loss.",
        "Tensor parallel is left to the formula: the tracker counts what DTensor makes up to find shapes.",
    ]
    finish("plan", rows_of_table, args, notes=notes)


main()
