"""95% intervals: how far a measured number may lie from the one that more items of the same kind would give.

Only the standard library is used here: the command line judges results at the end of a run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

INTERVAL = 1.96  # standard errors on each side of a 95% interval


def jackknife_error(without: Sequence[float]) -> float | None:
    """Standard error of a score, from what it would be without each item in turn.

    Of a mean it is the usual one; and as no formula of the score goes in, it holds for chrF and BLEU, and for the
    difference of two models' scores on the same items.

    Returns:
        None for fewer than two items, which say nothing about spread.
    """
    count = len(without)
    if count < 2:
        return None
    middle = math.fsum(without) / count
    return math.sqrt((count - 1) / count * math.fsum((value - middle) ** 2 for value in without))


def half_interval(error: float, items: int | None) -> float:
    """Half of the 95% interval around a score with a standard error.

    With few items it is Student's, which is wider than the normal one (4.3 standard errors with three items), by the
    Cornish-Fisher expansion to the third order: 3% too narrow with three items, below 1% from four on.
    """
    if items is None or items < 2:
        return INTERVAL * error
    z, free = INTERVAL, items - 1
    factor = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    factor += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    return factor * error


def share_interval(share: float, items: int) -> tuple[float, float]:
    """Wilson's interval of a share of items; 5 right of 5 are not 100% ± 0 but 57% to 100%."""
    square = INTERVAL**2
    middle = (share + square / (2 * items)) / (1 + square / items)
    half = INTERVAL / (1 + square / items) * math.sqrt(share * (1 - share) / items + square / (4 * items**2))
    return middle - half, middle + half
