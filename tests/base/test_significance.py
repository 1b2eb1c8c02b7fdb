"""Tests of differences against scipy's, and Holm's correction against its definition and what it promises."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from diglot.base.significance import LEVEL, holm, sign_p, student_p


@given(st.floats(-30, 30), st.integers(1, 400))
def test_students_p_is_scipys(t: float, degrees: int) -> None:
    assert student_p(t, degrees) == pytest.approx(2 * stats.t.sf(abs(t), degrees), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5_000, 100_001])
def test_few_and_many_degrees(degrees: int) -> None:
    assert student_p(1.96, degrees) == pytest.approx(2 * stats.t.sf(1.96, degrees), rel=1e-9)
    assert student_p(float("inf"), degrees) == 0


@pytest.mark.parametrize(("up", "down"), [(0, 0), (4, 0), (0, 4), (14, 3), (60, 60), (498, 501), (498, 502), (1500, 1300), (0, 5000)])  # fmt: skip
def test_the_sign_test_is_scipys(up: int, down: int) -> None:
    expected = stats.binomtest(up, up + down).pvalue if up + down else 1.0
    assert sign_p(up, down) == pytest.approx(expected, rel=1e-9)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # statsmodels: multipletests
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_rejects_what_its_definition_does(p_values: list[float]) -> None:
    """Step by step: the smallest is held against 5% / m, the next against 5% / (m - 1), until one fails."""
    rejected: set[int] = set()
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        if p_values[index] * (len(p_values) - rank) >= LEVEL:
            break
        rejected.add(index)
    assert {index for index, p in enumerate(holm(p_values)) if p < LEVEL} == rejected


def test_tables_of_chance_rarely_say_anything() -> None:
    """Of 400 tables of 20 differences by chance, 5% may say one; without a correction 64% would."""
    rng = random.Random(0)
    tables = [[rng.random() for _ in range(20)] for _ in range(400)]
    assert sum(min(holm(table)) < LEVEL for table in tables) / len(tables) < 0.09
    assert sum(min(table) < LEVEL for table in tables) / len(tables) > 0.5
