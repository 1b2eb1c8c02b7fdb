"""Measures of measures, against what is known of them, and verdicts on series that are made to deserve them."""

import math
import random
import statistics

import pytest

from diglot.base.series import POWER, Point, Watched, monotony, noise, smallest_difference, to_watch, watched


def test_monotony_is_spearmans():
    scipy = pytest.importorskip("scipy.stats")
    draw = random.Random(1)
    for _ in range(20):
        values = [draw.choice([0.1, 0.2, 0.3, 0.4, draw.random()]) for _ in range(9)]
        expected = scipy.spearmanr(values, range(9)).statistic
        assert monotony(values) == pytest.approx(expected)
    assert monotony([1, 2, 3, 4]) == pytest.approx(1)
    assert monotony([3, 2, 1]) == pytest.approx(-1)
    assert monotony([1, 1, 1]) is None
    assert monotony([1, 2]) is None


def test_noise_is_what_a_line_leaves_of_the_last_five():
    assert noise([9, -5, 1, 2, 3, 4, 5]) == pytest.approx(0)
    assert noise([1, 2, 3]) is None
    # Residuals of (0, 1, 0, 1) about their line 0.2 + 0.2 x, with two degrees of freedom left.
    residuals = [0 - 0.2, 1 - 0.4, 0 - 0.6, 1 - 0.8]
    assert noise([0, 1, 0, 1]) == pytest.approx(math.sqrt(sum(r * r for r in residuals) / 2))


def test_the_smallest_difference_is_found_in_four_of_five_cases():
    """By drawing: items scatter by one, the true difference is what 40 of them can show."""
    draw = random.Random(2)
    true = POWER / math.sqrt(40)
    found = 0
    for _ in range(2000):
        items = [draw.gauss(true, 1) for _ in range(40)]
        found += abs(statistics.fmean(items)) > 1.96 / math.sqrt(40)
    assert found / 2000 == pytest.approx(0.8, abs=0.03)
    assert smallest_difference([1.0, 3.0, 5.0]) == pytest.approx(POWER * 2 / math.sqrt(3))
    assert smallest_difference([1.0]) is None


def series(values: list[float], spread: float = 0.01, chance: float | None = None, own: float = 0.0) -> Watched:
    """Items that differ by `spread` within a checkpoint, the same each time, and by `own` anew each time."""
    draw = random.Random(3)
    levels = [spread * draw.gauss(0, 1) for _ in range(30)]
    points = [
        Point(step, value, [value + level + own * draw.gauss(0, 1) for level in levels])
        for step, value in enumerate(values)
    ]
    return Watched(points, chance)


RISING = [0.3, 0.45, 0.5, 0.61, 0.68, 0.76, 0.8]


def test_verdicts():
    assert series(RISING).verdict == "watch"
    assert series([1 - value for value in RISING]).verdict == "watch"  # forgetting is a signal too
    assert series(RISING[:3]).verdict == "too few checkpoints"
    assert series(RISING, chance=0.25).verdict == "watch"
    assert series(RISING, chance=0.9).verdict == "at chance"
    assert series(RISING, spread=5.0, chance=0.25).verdict == "at chance"
    assert series(RISING, own=3.0).verdict == "too few items"
    assert series([0.3, 0.8, 0.2, 0.7, 0.3, 0.8]).verdict == "wanders"
    assert series([0.30, 0.40, 0.31, 0.41, 0.42, 0.36, 0.43]).verdict == "noisy"


def test_what_to_watch_is_read_from_evaluations_the_clearest_first():
    lines = [
        {"step": 10 * at, "indicators": {"ar": {
            "cloze": {"value": value + 0.06 * (-1) ** at, "chance": 0.25, "values": [1, 1, 1]},
            "margin": {"value": value if at != 2 else None, "chance": 0.0, "values": [value] * 3},
            "context": {"value": 0.5 + 0.1 * (-1) ** at, "values": [0.1, None]},
        }}}
        for at, value in enumerate(RISING)
    ]  # fmt: skip
    found = watched([{"step": 0}, *lines])
    assert [point.step for point in found["ar", "margin"].points] == [
        0,
        10,
        30,
        40,
        50,
        60,
    ]  # what is not finite is left out
    assert found["ar", "cloze"].chance == 0.25
    assert to_watch(found)["ar"][0] == "margin"
    assert "context" not in to_watch(found)["ar"]
