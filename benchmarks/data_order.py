"""The data order: how fast batches are made, beside what a 48M model consumes; and any step of a trillion tokens.

    python benchmarks/data_order.py --quick

Batches of four text sources in memory-mapped files; CPU seconds, one thread each, all on this machine. The trillion
tokens are a billion documents (1,001 tokens each, made up when they are asked for) in two phases, the second a ramp
with a cap: what is measured is planning, and finding what step 10^6 reads, from nothing.
"""

from __future__ import annotations

import sys
import tempfile

from common import Row, arguments, finish, measure_in_turn

SCRIPT = "peers/diglot_data_order.py"


def main() -> None:
    args = arguments("data_order", __doc__.split("\n")[0], needs_data=False)
    with tempfile.TemporaryDirectory() as folder:
        size = "quick" if args.quick else "full"
        runs = measure_in_turn(
            {what: [sys.executable, SCRIPT, what, folder, size] for what in ("batches", "model", "trillion")},
            1 if args.quick else args.repeats,
        )
    made, plan = runs["batches"].reported, runs["trillion"].reported
    consumed = runs["model"].reported["tokens a second"]
    name = f"consumed by a model of {runs['model'].reported['parameters'] / 1e6:.0f}M, 4 × 512, float32"
    rows = [
        Row("batches of 512 × 2048", "tokens/s", made["tokens a second, 512 × 2048"], consumed, name),
        Row("batches of 32 × 256", "tokens/s", made["tokens a second, 32 × 256"], consumed, name),
        Row("plan of 10^12 tokens, 10^9 documents, from nothing", "CPU s", plan["plan"]),
        Row("what step 10^6 of it reads, from nothing", "CPU s", plan["find"]),
        Row("memory for both", "MB", plan["megabytes"]),
        Row("its batch of 512 × 2048", "CPU s", plan["batch"]),
        Row("sums of groups, once when encoding", "documents/s", made["documents a second, sums of groups"]),
        Row("document weights, at each start", "documents/s", made["documents a second, weights"]),
    ]
    finish("data_order", rows, args)


if __name__ == "__main__":
    main()
