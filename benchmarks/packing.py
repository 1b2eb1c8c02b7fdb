"""How full rows of conversations are, beside TRL's packing (best fit decreasing too), source by source.

All files in DATA/instruct are gathered and encoded with SmolLM2's tokenizer (in $DIGLOT_MODELS) for rows of 2048 tokens: what is
longer is split by turns. Rows are of one source, so each source's last one may be half empty.
"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from common import BENCHMARKS, BenchmarkError, Row, arguments, finish, measure_in_turn

LENGTH = 2048
LIMIT = {"quick": ["500"], "full": []}  # records of a file


def main() -> None:
    """Run the benchmark."""
    args = arguments("packing", "How full rows of conversations are, beside TRL's")
    tokenizer = Path(os.environ.get("DIGLOT_MODELS", "no folder"), "smollm2-135m")
    if not tokenizer.is_dir():
        raise BenchmarkError("set DIGLOT_MODELS: python tests/helpers/real_models.py FOLDER makes it")
    with tempfile.TemporaryDirectory() as temporary:
        lengths, peers = str(Path(temporary, "lengths.json")), BENCHMARKS / "peers"
        limit = LIMIT["full" if args.full else "quick"]
        ours = [sys.executable, str(peers / "diglot_packing.py"), str(args.data), str(tokenizer), str(LENGTH), lengths]
        runs = measure_in_turn({"ours": [*ours, *limit]}, args.repeats)
        if has_peer := find_spec("trl") is not None:
            command = [sys.executable, str(peers / "trl_packing.py"), lengths, str(LENGTH)]
            runs |= measure_in_turn({"trl": command}, args.repeats)
    our, theirs = runs["ours"].reported, runs["trl"].reported if has_peer else None
    full = [found and 100 * our["tokens"] / (found["rows"] * LENGTH) for found in (our, theirs)]
    name = "TRL 1.16, bfd"
    what = f"{our['conversations']:,} conversations of {our['sources']} sources"
    rows = [
        Row(what, "% full", *full, name),
        Row("the same", "CPU s", our["cpu_seconds"], theirs and theirs["cpu_seconds"], name, less_is_better=True),
    ]
    best = 100 * our["tokens"] / (our["least"] * LENGTH)
    notes = [
        f"{our['rows']:,} rows of {LENGTH} tokens; no packing of these sources takes fewer than {our['least']:,} ({best:.2f}% full)."
    ]
    finish("packing", rows, args, notes=notes)


if __name__ == "__main__":
    main()
