"""What people's votes say: who is stronger, who wins against whom, and how far people agree; as tables and for scripts."""

from __future__ import annotations

from collections import Counter
from typing import Any

from diglot.base.format import share
from diglot.base.ratings import agreement, ratings, win_rates
from diglot.base.table import Cell, Table, left, right
from diglot.serve.arena.votes import as_votes, by_answers
from diglot.text.languages import shown_language

RATED = (
    "Rating: Bradley–Terry on Elo's scale, 1000 in the mean; a tie counts half, and each entrant has one draw against a mean "
    "one more. In brackets 95% of ratings of votes drawn anew from these: other voters may differ by more."
)
AGREED = "Pairs of different people who voted on the same two answers. Alpha (Krippendorff's): 1 is all alike, 0 as by chance."


def results_as_json(records: list[dict[str, Any]]) -> dict[str, Any]:
    """All numbers, of all votes and by language."""
    languages = sorted({record["language"] for record in records})
    by_language = {code: _numbers([r for r in records if r["language"] == code]) for code in languages}
    return {**_numbers(records), "languages": by_language}


def _numbers(records: list[dict[str, Any]]) -> dict[str, Any]:
    votes = as_votes(records)
    rates = [
        {"first": a, "second": b, "share": won, "votes": count} for (a, b), (won, count) in win_rates(votes).items()
    ]
    return {
        "votes": len(records),
        "voters": len({record["voter"] for record in records}),
        "choices": dict(Counter(record["choice"] for record in records)),
        "ratings": {name: rating._asdict() for name, rating in ratings(votes).items()},
        "win_rates": rates,
        "agreement": agreement(by_answers(records))._asdict(),
    }


def tables(records: list[dict[str, Any]]) -> list[Table]:
    """Ratings (of all votes, and by language where there are several), win rates and agreement."""
    languages = sorted({record["language"] for record in records})
    groups = [("all votes", records)]
    if len(languages) > 1:
        groups += [(shown_language(code), [r for r in records if r["language"] == code]) for code in languages]
    return [_ratings(groups), _win_rates(records), _agreement(groups)]


def _ratings(groups: list[tuple[str, list[dict[str, Any]]]]) -> Table:
    table = Table([*left("votes in", "entrant"), *right("rating", "95%", "votes")], "Ratings", [RATED], grouped=True)
    for name, records in groups:
        for entrant, rating in ratings(as_votes(records)).items():
            interval = f"{rating.low:.0f} to {rating.high:.0f}"
            table.add(name, entrant, f"{rating.rating:.0f}", Cell(interval, style="quiet"), f"{rating.votes:,}")
    return table


def _win_rates(records: list[dict[str, Any]]) -> Table:
    """A row's share of wins against a column's."""
    votes = as_votes(records)
    rates, names = win_rates(votes), list(ratings(votes, resamples=0))
    table = Table([*left("wins of"), *right(*(f"against {name}" for name in names))], "Win rates, ties as half a win")
    for one in names:
        cells = []
        for other in names:
            won, count = rates.get((one, other), (0.0, 0))
            cells.append(Cell(share(won), f"of {count}") if count else Cell("–"))
        table.add(one, *cells)
    return table


def _agreement(groups: list[tuple[str, list[dict[str, Any]]]]) -> Table:
    columns = [
        *left("votes in"),
        *right("votes", "voters", "tie", "both bad", "pairs of votes", "same", "same winner", "alpha"),
    ]
    table = Table(columns, "How far people agree", [AGREED])
    for name, records in groups:
        found, choices = agreement(by_answers(records)), Counter(record["choice"] for record in records)
        shares = [
            share(found.same) if found.same is not None else "–",
            share(found.same_winner) if found.same_winner is not None else "–",
        ]
        alpha = f"{found.alpha:.2f}" if found.alpha is not None else "–"
        voters = len({record["voter"] for record in records})
        ties = [share(choices[choice], len(records)) for choice in ("tie", "both_bad")]
        table.add(name, f"{len(records):,}", f"{voters:,}", *ties, f"{found.pairs:,}", *shares, alpha)
    return table
