"""The guard on a run with known bad steps: how many it skips, and how many good ones; against OLMo-core's rule.

A small model is trained on real English and Arabic text. From step 100 on some steps are spoilt: each target is another
token, as a damaged shard or a wrong tokenizer would have it; some come alone, some four in a row. Good steps are all
the others. The guard judges while it trains, and what it skips is not trained on.
OLMo-core's rule (`SkipStepOptimizer`: 6 standard deviations of the loss or of the gradient norm above the mean of the
last 128 steps, what was skipped included) judges the same losses and norms afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common import CACHE, Row, arguments, finish, measure

STEPS = {"quick": 260, "full": 2000}
WINDOW, DEVIATIONS = 128, 6.0


def main() -> None:
    """Run the benchmark."""
    args = arguments("guard", "The guard on a run with spoilt steps, against OLMo-core's rule")
    size = "full" if args.full else "quick"
    folder = CACHE / f"guard-{size}"
    command = [sys.executable, "peers/diglot_guard.py", str(folder), str(args.data), str(STEPS[size])]
    found = measure(command).reported
    bad, ours = set(found["spoilt"]), set(found["skipped"])
    theirs = olmo_core(found["losses"], found["norms"])
    good = STEPS[size] - len(bad)
    rows = [
        Row("spoilt steps skipped", "%", 100 * len(ours & bad) / len(bad), 100 * len(theirs & bad) / len(bad), "OLMo-core's rule"),
        Row("good steps skipped", "‰", 1000 * len(ours - bad) / good, 1000 * len(theirs - bad) / good, "OLMo-core's rule", less_is_better=True),
    ]  # fmt: skip
    notes = [
        f"{len(bad)} of {STEPS[size]} steps are spoilt. Skipped of them: {len(ours & bad)}, by OLMo-core's rule "
        f"{len(theirs & bad)}; good steps skipped: {len(ours - bad)} and {len(theirs - bad)}.",
        f"Largest score of a good step {found['largest_good']:.1f}, smallest of a spoilt one {found['smallest_bad']:.1f}.",
    ]
    finish("guard", rows, args, notes=notes)


def olmo_core(losses: Sequence[float], norms: Sequence[float]) -> set[int]:
    """The steps that OLMo-core's rule would skip, from 1."""
    skipped = set()
    for step in range(WINDOW // 2, len(losses)):
        for values in (losses, norms):
            lately = values[max(0, step - WINDOW) : step]
            mean = sum(lately) / len(lately)
            variance = sum((value - mean) ** 2 for value in lately) / (len(lately) - 1)
            if values[step] - mean > DEVIATIONS * variance**0.5:
                skipped.add(step + 1)
    return skipped


if __name__ == "__main__":
    main()
