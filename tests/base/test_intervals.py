"""Intervals against closed forms, and against how often chance reaches them."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diglot.base.intervals import INTERVAL, half_interval, jackknife_error, share_interval


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=50))
def test_the_jackknife_of_a_mean_is_its_standard_error(values: list[float]) -> None:
    whole = math.fsum(values)
    without = [(whole - value) / (len(values) - 1) for value in values]
    expected = statistics.stdev(values) / math.sqrt(len(values))
    assert jackknife_error(without) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_one_item_says_nothing_about_spread() -> None:
    assert jackknife_error([3.0]) is None
    assert jackknife_error([]) is None


def test_shares_at_the_edges_have_an_interval() -> None:
    low, high = share_interval(1.0, 5)
    assert (round(low, 3), high) == (
        0.566,
        pytest.approx(1.0),
    )  # statsmodels: proportion_confint(5, 5, method="wilson")
    assert share_interval(0.0, 5) == (pytest.approx(0.0), pytest.approx(1 - low))


def test_in_the_middle_it_is_the_usual_interval() -> None:
    low, high = share_interval(0.5, 10_000)
    assert high - low == pytest.approx(2 * INTERVAL * math.sqrt(0.25 / 10_000), rel=1e-3)


@pytest.mark.parametrize(("items", "factor", "within"), [(3, 4.303, 0.035), (4, 3.182, 0.01), (10, 2.262, 0.002), (30, 2.045, 0.001)])  # fmt: skip
def test_few_items_get_students_interval(items: int, factor: float, within: float) -> None:
    assert half_interval(2.0, items) == pytest.approx(2 * factor, rel=within)
    assert half_interval(2.0, None) == pytest.approx(half_interval(2.0, 10**9)) == pytest.approx(2 * INTERVAL)
