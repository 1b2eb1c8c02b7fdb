"""ROUGE-L of new instructions against a pool of them, against rouge-score: what each round of self-instruct asks for.

Both sides get the same words, and rouge-score is called as Stanford Alpaca calls it, on words cut before. It is timed on a few
of the new instructions; the rest is extrapolated. Their scores must agree, or the benchmark stops.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from common import BENCHMARKS, BenchmarkError, Row, arguments, finish, measure_in_turn, peer_python

ROUGE_SCORE = "rouge-score==0.1.2"
POOL = {"quick": 2_000, "full": 11_390}
NEW = 1_000
PEERS_NEW = {"quick": 2, "full": 10}
CLOSE = 1e-9  # of scores between 0 and 1


def main() -> None:
    """Run the benchmark.

    Raises:
        BenchmarkError: the two sides' scores differ.
    """
    args = arguments("rouge", "ROUGE-L of new instructions against a pool, against rouge-score")
    size = "full" if args.full else "quick"
    python = peer_python("rouge", [ROUGE_SCORE])
    with tempfile.TemporaryDirectory() as temporary:
        words, scores = Path(temporary, "words.json"), Path(temporary, "ours.json")
        ours = str(BENCHMARKS / "peers" / "diglot_rouge.py")
        commands = {"ours": [sys.executable, ours, str(args.data), str(POOL[size]), str(NEW), str(words), str(scores)]}
        runs = measure_in_turn(commands, args.repeats)
        if python:
            peer = str(BENCHMARKS / "peers" / "rouge_score_pool.py")
            commands = {"peer": [str(python), peer, str(words), str(PEERS_NEW[size])]}
            runs |= measure_in_turn(commands, args.repeats)
        our, theirs = runs["ours"].reported, runs["peer"].reported if python else None
        seconds = theirs and theirs["cpu_seconds"] * NEW / PEERS_NEW[size]
        difference = None
        if theirs:
            held = json.loads(scores.read_text())[: PEERS_NEW[size]]
            difference = max(abs(a - b) for a, b in zip(held, theirs["nearest"], strict=True))
            if not difference <= CLOSE:
                raise BenchmarkError(f"scores differ from rouge-score's by up to {difference}")
    what = f"{our['new']:,} new against {our['pool']:,}"
    rows = [Row(what, "CPU s", our["cpu_seconds"], seconds, ROUGE_SCORE, less_is_better=True)]
    notes = [f"Largest difference between the two: {difference:.1e}."] if difference is not None else []
    notes.append(f"rouge-score was timed on {PEERS_NEW[size]} of the new instructions; its time is extrapolated.")
    finish("rouge", rows, args, notes=notes)


if __name__ == "__main__":
    main()
