"""The first screen: in three cards what was gained, what was lost, and what it cost beside what was planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diglot.base.format import duration, energy, number
from diglot.report.comparisons import Comparison
from diglot.report.costs import energy_of, planned
from diglot.report.reading import Run
from diglot.text.languages import shown_language

MOST = 4  # lines of a card; the table below has the others


@dataclass(frozen=True)
class Card:
    """A card: its title, one large line, smaller ones, and a style of `diglot.base.table`."""

    title: str
    large: str
    lines: list[str]
    style: str = ""


def cards(run: Run, rows: Sequence[Comparison], lost: Sequence[Comparison], price: float | None) -> list[Card]:
    """The three cards; of a run that compares nothing, its cost alone.

    Args:
        run: the run.
        rows: what `headline_comparisons` says.
        lost: what the last model does worse than the best one between (`losses`).
        price: of an hour of the machine.
    """
    judged = [row for row in rows if row.verdict != "unknown"]
    found = [_gained(judged), _lost(judged, lost)] if judged else []
    return [*found, _cost(run, price)]


def _gained(judged: Sequence[Comparison]) -> Card:
    """What is better beyond noise; of tasks, beyond chance too."""
    better = [row for row in judged if row.verdict == "better" and (row.is_learnt or row.either.kind != "task")]
    # The largest steps of tasks first: bits per byte say that text became likelier, not that anything can be done.
    better.sort(
        key=lambda row: (row.either.kind != "task", -abs(row.change or 0) * (100 if row.either.is_share else 1))
    )
    return Card("Gained", f"{len(better)} of {len(judged)} measures", _lines(better), "good" if better else "quiet")


def _lost(judged: Sequence[Comparison], lost: Sequence[Comparison]) -> Card:
    """What is worse beyond noise than the first model, or than the best one between."""
    worse = [row for row in judged if row.verdict == "worse"]
    known = {row.key for row in worse}
    since = [row for row in lost if row.key not in known]
    large = f"{len(worse)} of {len(judged)} measures" if worse else "nothing beyond noise"
    more = [f"{len(since)} better at a stage between"] if since and worse else []
    if since and not worse:
        large = f"nothing since the first model; {len(since)} since the best"
    return Card("Lost", large, [*_lines([*worse, *since]), *more][: MOST + 1], "bad" if worse else "quiet")


def _lines(rows: Sequence[Comparison]) -> list[str]:
    lines = [
        f"{shown_language(row.either.language)} {row.name} {row.before.text if row.before else '–'} → "
        f"{row.after.text if row.after else '–'}" + (f" (since {row.since})" if row.since else "")
        for row in rows[:MOST]
    ]
    return [*lines, f"{len(rows) - MOST} more"] if len(rows) > MOST else lines


def _cost(run: Run, price: float | None) -> Card:
    """Time, tokens, energy and money, and the plan's time beside that of the stages that it knows."""
    seconds = {each.stage: each.provenance.get("seconds") or 0.0 for each in run.artifacts}
    total, used = sum(seconds.values()), energy_of(run.artifacts)
    lines = []
    plans = {each.artifact.stage: plan[0] for each in run.trainings if (plan := planned(each.artifact))}
    if plans:
        took = sum(seconds[stage] for stage in plans)
        lines.append(f"training {duration(took)}; diglot plan: {duration(sum(plans.values()))} for its steps")
    if run.trainings:
        lines.append(f"{number(sum(each.tokens for each in run.trainings))} tokens trained on")
    if used.kilowatt_hours:
        lines.append(f"{energy(used.total)}{' assumed' if 'assumed' in used.source else ' measured'}")
    if price is not None:
        lines.append(f"{total / 3600 * price:,.2f} at {price:g} an hour of the machine")
    return Card("Cost", duration(total), lines)
