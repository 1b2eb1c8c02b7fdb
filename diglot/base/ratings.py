"""Who wins how often, from votes on pairs: win rates, Bradley–Terry strengths with intervals, and how far voters agree.

    votes = [Vote("ours", "theirs", 1.0), Vote("ours", "theirs", 0.5)]     # a win of ours, a tie
    ratings(votes)["ours"]              ->  Rating(1037.2, 958.1, 1120.4, 2)
    agreement([[1.0, 1.0], [0.0, 0.5]]) ->  Agreement(items=2, pairs=2, same=0.5, …)

A tie counts half a win for each. Strengths are on Elo's scale, 1000 in the mean: 100 points more win 64% of votes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

SCALE, MIDDLE = 400 / np.log(10), 1000.0  # Elo's
DRAWS = 1.0  # that each is given against one of mean strength: who has won all votes would have no finite strength
ROUNDS, ENOUGH = 2000, 1e-8  # of the iteration; the largest relative change at which it ends
RESAMPLES = 1000
CHOICES = {"first": 1.0, "second": 0.0, "tie": 0.5, "both_bad": 0.5}  # of a vote: the first one's share of the win


class Vote(NamedTuple):
    """Two entrants, and the first one's share of the win: 1, 0 or ½."""

    first: str
    second: str
    share: float


class Rating(NamedTuple):
    """A strength, its 95% interval (over votes drawn anew), and votes."""

    rating: float
    low: float
    high: float
    votes: int


class Agreement(NamedTuple):
    """How far people who saw the same two answers say the same.

    Attributes:
        items: pairs of answers that several voted on.
        pairs: of votes on them, of different voters.
        same: share of pairs that say the same, ties among them.
        same_winner: of pairs in which both name a winner, the share that name the same.
        alpha: Krippendorff's: 1 is all the same, 0 as by chance; None where all votes are alike.
    """

    items: int
    pairs: int
    same: float | None
    same_winner: float | None
    alpha: float | None


def win_rates(votes: Sequence[Vote]) -> dict[tuple[str, str], tuple[float, int]]:
    """Of each ordered pair, the first one's share of wins against the second, and votes."""
    found: dict[tuple[str, str], tuple[float, int]] = {}
    for vote in votes:
        for pair, share in (((vote.first, vote.second), vote.share), ((vote.second, vote.first), 1 - vote.share)):
            won, count = found.get(pair, (0.0, 0))
            found[pair] = (won + share, count + 1)
    return {pair: (won / count, count) for pair, (won, count) in found.items()}


def ratings(
    votes: Sequence[Vote], *, draws: float = DRAWS, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Rating]:
    """Bradley–Terry strengths with bootstrap intervals, the strongest first.

    Args:
        votes: of any number of people; their dependence on each other is not in the intervals.
        draws: given to each against one of mean strength; 0: the plain maximum of likelihood.
        resamples: of the votes, with replacement.
        seed: of the resampling.
    """
    names = sorted({name for vote in votes for name in (vote.first, vote.second)})
    if not names:
        return {}
    place = {name: index for index, name in enumerate(names)}
    pairs_V = np.array([place[vote.first] * len(names) + place[vote.second] for vote in votes])
    shares_V = np.array([vote.share for vote in votes])
    generator = np.random.default_rng(seed)
    # Row 0 is what was voted; each other row has votes drawn from it.
    drawn_RV = np.concatenate([np.ones((1, len(votes))), generator.multinomial(len(votes), [1 / len(votes)] * len(votes), resamples)])  # fmt: skip
    wins_RNN = np.zeros((len(drawn_RV), len(names) * len(names)))
    reverse_V = pairs_V % len(names) * len(names) + pairs_V // len(names)
    for vote in range(len(votes)):
        wins_RNN[:, pairs_V[vote]] += drawn_RV[:, vote] * shares_V[vote]
        wins_RNN[:, reverse_V[vote]] += drawn_RV[:, vote] * (1 - shares_V[vote])
    found_RN = _strengths(wins_RNN.reshape(len(drawn_RV), len(names), len(names)), draws)
    elo_RN = MIDDLE + SCALE * (np.log(found_RN) - np.log(found_RN).mean(axis=1, keepdims=True))
    low_N, high_N = np.percentile(elo_RN[1:], [2.5, 97.5], axis=0) if resamples else (elo_RN[0], elo_RN[0])
    counts = [sum(name in vote[:2] for vote in votes) for name in names]
    rated = [
        Rating(float(rating), float(low), float(high), count)
        for rating, low, high, count in zip(elo_RN[0], low_N, high_N, counts)
    ]
    return dict(sorted(zip(names, rated), key=lambda item: -item[1].rating))


def _strengths(wins_RNN: np.ndarray, draws: float) -> np.ndarray:
    """The maximum of likelihood by Hunter's MM iteration (2004), of R tables of wins at once."""
    met_RNN = wins_RNN + wins_RNN.transpose(0, 2, 1)
    # A draw against one of strength 1 is half a win in one more meeting.
    won_RN = wins_RNN.sum(axis=2) + draws / 2
    strength_RN = np.ones(won_RN.shape)
    for _ in range(ROUNDS):
        sums_RNN = strength_RN[:, :, None] + strength_RN[:, None, :]
        new_RN = won_RN / ((met_RNN / sums_RNN).sum(axis=2) + draws / (strength_RN + 1))
        if draws == 0:  # only ratios are determined
            new_RN /= np.exp(np.log(np.maximum(new_RN, 1e-300)).mean(axis=1, keepdims=True))
        moved = np.abs(new_RN / strength_RN - 1).max()
        strength_RN = new_RN
        if moved < ENOUGH:
            break
    return strength_RN


def agreement(votes: Sequence[Sequence[float | str]]) -> Agreement:
    """How far different voters say the same of the same two answers.

    Args:
        votes: by pair of answers, what each voter said; 0.5 is a tie, all else names a winner.
    """
    units = [list(unit) for unit in votes if len(unit) > 1]
    pairs = [pair for unit in units for pair in combinations(unit, 2)]
    named = [pair for pair in pairs if 0.5 not in pair]
    return Agreement(
        items=len(units),
        pairs=len(pairs),
        same=sum(a == b for a, b in pairs) / len(pairs) if pairs else None,
        same_winner=sum(a == b for a, b in named) / len(named) if named else None,
        alpha=_alpha(units),
    )


def _alpha(units: Sequence[Sequence[float | str]]) -> float | None:
    """Krippendorff's alpha for names without an order (2011), of any number of voters a unit."""
    counts: dict[float | str, int] = {}
    differ = 0.0
    for unit in units:
        for value in unit:
            counts[value] = counts.get(value, 0) + 1
        # Ordered pairs that differ; a unit of m voters weighs as m.
        differ += sum(a != b for a, b in combinations(unit, 2)) * 2 / (len(unit) - 1)
    total = sum(counts.values())
    by_chance = total * total - sum(count * count for count in counts.values())
    return 1 - (total - 1) * differ / by_chance if by_chance else None
