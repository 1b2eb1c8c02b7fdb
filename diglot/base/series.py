"""Is a number that training measures again and again worth watching? Measures of the measures, over checkpoints.

    monotony([0.2, 0.3, 0.5, 0.4])            ->  0.8    Spearman's correlation with the order
    noise([0.50, 0.52, 0.49, 0.51, 0.50])     ->  0.012  standard deviation about a line, of the last five
    smallest_difference([0.1, -0.2, 0.3, …])  ->  what so many items show in four of five cases

Signal and noise are those of Heineman et al. (2508.13144): the signal is how far apart models come to lie, the noise how much
one of them scatters over its last checkpoints. Their models are past most of their learning; a short run still rises at its
end, so the noise here is about a straight line, not about the mean. What so many items can show is a power analysis, as
Card et al. (2010.06595) ask for.

Only the standard library is used here: the command line judges with it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LAST = 5  # checkpoints that noise is taken over, as in 2508.13144 for short runs
POWER = 2.8  # standard errors of a difference that is found in 80% of cases at the 5% level: 1.96 + 0.84


def monotony(values: Sequence[float]) -> float | None:
    """Spearman's correlation of values with their order; equal values share their mean rank.

    Returns:
        -1 to 1; None for fewer than three values, or where all are equal.
    """
    if len(values) < 3 or len(set(values)) < 2:
        return None
    ranked = sorted(values)
    ranks = [ranked.index(value) + (ranked.count(value) - 1) / 2 for value in values]
    return statistics.correlation(ranks, list(range(len(values))))


def noise(values: Sequence[float]) -> float | None:
    """Standard deviation of the last `LAST` values about the straight line through them.

    Returns:
        None for fewer than four values: a line through three has one degree of freedom left.
    """
    last = values[-LAST:]
    if len(last) < 4:
        return None
    places = range(len(last))
    slope, intercept = statistics.linear_regression(places, last)
    squares = math.fsum((value - intercept - slope * place) ** 2 for place, value in zip(places, last))
    return math.sqrt(squares / (len(last) - 2))


def dispersion(values: Sequence[float]) -> float:
    """How far apart the furthest two lie."""
    return max(values) - min(values)


def smallest_difference(differences: Sequence[float]) -> float | None:
    """The true difference between two models that items show in 80% of cases at the 5% level, given how theirs scatter.

    Args:
        differences: of two models, item by item.

    Returns:
        None for fewer than two items.
    """
    if len(differences) < 2:
        return None
    return POWER * statistics.stdev(differences) / math.sqrt(len(differences))


# --- a verdict ------------------------------------------------------------------------------------------------

FEWEST = 4  # checkpoints
MONOTONE, CLEAR, BEYOND = 0.7, 3.0, 2.0  # |monotony|; signal over noise; standard errors from chance


@dataclass(frozen=True)
class Point:
    """What one checkpoint measured: the whole, and the items it is of, the same and in the same order at every checkpoint."""

    step: int
    value: float
    items: Sequence[float | None] = ()


@dataclass(frozen=True)
class Watched:
    """A series over checkpoints, judged.

    Attributes:
        points: in the order of steps.
        chance: what a guess gives; None where there is no such thing.
    """

    points: Sequence[Point]
    chance: float | None = None

    @property
    def values(self) -> list[float]:
        """Of all checkpoints."""
        return [point.value for point in self.points]

    @property
    def monotony(self) -> float | None:
        """See `monotony`; negative where values fall."""
        return monotony(self.values)

    @property
    def signal_to_noise(self) -> float | None:
        """How far training moved it, over how much it scatters; both by its mean, which falls out."""
        scatter = noise(self.values)
        return dispersion(self.values) / scatter if scatter else None

    @property
    def from_chance(self) -> float | None:
        """Standard errors over items that the last value is above chance."""
        known = [item for item in self.points[-1].items if item is not None] if self.points else []
        if self.chance is None or len(known) < 2:
            return None
        error = statistics.stdev(known) / math.sqrt(len(known))
        above = statistics.fmean(known) - self.chance
        return above / error if error else math.copysign(math.inf, above) if above else 0.0

    @property
    def smallest_difference(self) -> float | None:
        """Between the last two checkpoints, item by item: what the items can show of two models that are as alike."""
        if len(self.points) < 2:
            return None
        pairs = zip(self.points[-2].items, self.points[-1].items)
        moved = [after - before for before, after in pairs if before is not None and after is not None]
        return smallest_difference(moved)

    @property
    def verdict(self) -> str:
        """`watch`, or the first reason why not."""
        if len(self.points) < FEWEST:
            return "too few checkpoints"
        if (distance := self.from_chance) is not None and distance < BEYOND:
            return "at chance"
        if (least := self.smallest_difference) is not None and dispersion(self.values) < least:
            return "too few items"
        # Falling as steadily as rising is a signal too: it is how a language is forgotten.
        if abs(self.monotony or 0.0) < MONOTONE:
            return "wanders"
        if (ratio := self.signal_to_noise) is not None and ratio < CLEAR:
            return "noisy"
        return "watch"


def watched(evaluations: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Watched]:
    """The series of a run by language and name, from the evaluations of its metrics; what is not finite is left out."""
    points: dict[tuple[str, str], list[Point]] = {}
    chances: dict[tuple[str, str], float | None] = {}
    for line in evaluations:
        for language, of in (line.get("indicators") or {}).items():
            for name, series in of.items():
                if series.get("value") is not None:
                    key = language, name
                    points.setdefault(key, []).append(Point(line["step"], series["value"], series.get("values") or []))
                    chances[key] = series.get("chance")
    return {key: Watched(of, chances[key]) for key, of in points.items()}


def to_watch(found: Mapping[tuple[str, str], Watched]) -> dict[str, list[str]]:
    """By language, the series whose verdict is `watch`, the clearest first."""
    good = [(key, each) for key, each in found.items() if each.verdict == "watch"]
    good.sort(key=lambda item: -(item[1].signal_to_noise or math.inf))
    names: dict[str, list[str]] = {}
    for (language, name), _ in good:
        names.setdefault(language, []).append(name)
    return names
