"""Ratings against logistic regression and the likelihood's own maximum; agreement against Krippendorff's worked example."""

import math
import random

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from diglot.base.ratings import SCALE, Vote, agreement, ratings, win_rates

STRENGTH = {"a": 1.0, "b": 0.4, "c": -0.2, "d": -1.2}


def voted(count: int, seed: int, ties: float = 0.2) -> list[Vote]:
    """Votes as the model says that they fall."""
    rng = random.Random(seed)
    votes = []
    for _ in range(count):
        first, second = rng.sample(sorted(STRENGTH), 2)
        wins = rng.random() < 1 / (1 + math.exp(STRENGTH[second] - STRENGTH[first]))
        votes.append(Vote(first, second, 0.5 if rng.random() < ties else float(wins)))
    return votes


def test_without_draws_they_are_those_of_logistic_regression() -> None:
    votes = voted(400, 1)
    names = sorted(STRENGTH)
    # As Chatbot Arena fits it: a row a vote, +1 and -1; a tie is a win and a loss of half the weight.
    rows, won, weights = [], [], []
    for first, second, share in votes:
        row = [(name == first) - (name == second) for name in names]
        rows += [row, row]
        won += [1, 0]
        weights += [share, 1 - share]
    fitted = LogisticRegression(fit_intercept=False, C=1e10, tol=1e-10, max_iter=1000).fit(
        rows, won, sample_weight=weights
    )
    expected = fitted.coef_[0] - fitted.coef_[0].mean()
    found = ratings(votes, draws=0, resamples=0)
    assert [(found[name].rating - 1000) / SCALE for name in names] == pytest.approx(expected, abs=1e-4)


def test_with_draws_they_are_the_maximum_of_the_likelihood() -> None:
    votes = [Vote("a", "b", 1.0)] * 8 + [Vote("b", "c", 1.0)] * 5 + [Vote("a", "c", 0.5)]
    names = ["a", "b", "c"]

    def minus(logs: np.ndarray) -> float:
        at = dict(zip(names, logs))
        parts = [
            share * np.logaddexp(0, at[b] - at[a]) + (1 - share) * np.logaddexp(0, at[a] - at[b])
            for a, b, share in votes
        ]
        return sum(parts) + sum(0.5 * np.logaddexp(0, -each) + 0.5 * np.logaddexp(0, each) for each in logs)

    best = minimize(minus, np.zeros(3), tol=1e-12).x
    found = ratings(votes, resamples=0)
    assert [(found[name].rating - 1000) / SCALE for name in names] == pytest.approx(best - best.mean(), abs=1e-4)
    assert all(math.isfinite(each.rating) for each in found.values())  # although a never lost


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    mean = sum(STRENGTH.values()) / len(STRENGTH)
    inside = []
    for seed in range(16):
        found = ratings(voted(150, seed, ties=0.0), resamples=60)
        inside += [found[n].low <= 1000 + SCALE * (s - mean) <= found[n].high for n, s in STRENGTH.items()]
    assert 0.85 < sum(inside) / len(inside) <= 1


def test_the_same_votes_have_the_same_ratings() -> None:
    votes = voted(100, 3)
    assert ratings(votes, resamples=50) == ratings(votes, resamples=50)
    found = ratings(votes, resamples=0)
    assert list(found) == sorted(found, key=lambda name: -found[name].rating)
    assert ratings([]) == {}


def test_win_rates_of_both_sides_are_one() -> None:
    votes = [Vote("a", "b", 1.0), Vote("b", "a", 1.0), Vote("a", "b", 0.5), Vote("a", "b", 1.0)]
    assert win_rates(votes) == {("a", "b"): (0.625, 4), ("b", "a"): (0.375, 4)}


def test_alpha_is_krippendorffs() -> None:
    """Four observers, twelve units (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", C): nominal 0.743."""
    observers = [
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    ]
    units = [[value for value in unit if value != "."] for unit in zip(*(each.split() for each in observers))]
    assert agreement(units).alpha == pytest.approx(0.743, abs=5e-4)


def test_agreement_by_hand() -> None:
    found = agreement([[1.0, 1.0, 0.0], [0.5, 1.0], [0.5, 0.5], [1.0]])
    # Pairs: 1-1, 1-0, 1-0; ½-1; ½-½.
    assert (found.items, found.pairs, found.same) == (3, 5, pytest.approx(2 / 5))
    assert found.same_winner == pytest.approx(1 / 3)
    assert agreement([[1.0, 1.0]]).alpha is None
    assert agreement([]) == (0, 0, None, None, None)
