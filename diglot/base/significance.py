"""Whether a difference is more than chance: exact tests of two models on the same items, corrected for how many are asked.

    student_p(2.1, 199)      two-sided p of a difference 2.1 standard errors from zero, of 200 items
    sign_p(14, 3)            two-sided p of 14 items that turned right and 3 that turned wrong (McNemar's exact test)
    holm([0.01, 0.04, 0.3])  the same as adjusted p: each may be held against 0.05, however many there are

Only the standard library is used here: the command line judges with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

LEVEL = 0.05  # of adjusted p, below which a difference is called one


def student_p(t: float, degrees: int) -> float:
    """The two-sided p of Student's t, by its closed form for whole degrees of freedom (Abramowitz and Stegun 26.7.3, 26.7.4).

    Args:
        t: the difference in standard errors.
        degrees: of freedom, 1 or more; items minus one.
    """
    if math.isinf(t):
        return 0.0
    angle = math.atan2(abs(t), math.sqrt(degrees))
    square = math.cos(angle) ** 2
    odd = degrees % 2 == 1
    # The series 1 + 1/2 c² + 1·3/(2·4) c⁴ … (even), or c + 2/3 c³ + 2·4/(3·5) c⁵ … (odd), up to c^(degrees - 2).
    term, total = (math.cos(angle), 0.0) if odd else (1.0, 0.0)
    for power in range(2 if odd else 1, degrees, 2):
        total += term
        term *= power / (power + 1) * square
    within = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return min(max(1 - within, 0.0), 1.0)


def sign_p(up: int, down: int) -> float:
    """The two-sided p of a sign test: so many items went up and down, where each way is equally likely by chance."""
    count, fewer = up + down, min(up, down)
    tail = sum(math.comb(count, k) for k in range(fewer + 1))
    return float(min(1.0, 2 * tail / 2**count)) if count < 1000 else min(1.0, 2 * _binomial_tail(fewer, count))


def _binomial_tail(most: int, count: int) -> float:
    """The share of `count` fair coins' outcomes with `most` heads or fewer, where whole numbers would have too many digits."""
    logarithms = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) - count * math.log(2)
        for k in range(most + 1)
    ]
    return math.fsum(map(math.exp, logarithms))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p by Holm's step-down method, in the order given.

    Whoever calls those below 0.05 differences says something wrong anywhere in the table in at most 5% of tables, whether
    the tests depend on each other or not.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        # An adjusted p is never below that of a smaller one.
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
