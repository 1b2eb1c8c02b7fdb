"""The section of a run's report about answers that a judge scored: MT-bench's table, by turn and language, and who judges how."""

from __future__ import annotations

from diglot.base.artifact import Artifact
from diglot.base.format import join, number, share
from diglot.base.intervals import half_interval
from diglot.base.summaries.judgements import Agreed, JudgementsSummary, Scored
from diglot.base.table import Cell, Column, Table, left, right
from diglot.report.figures import Colours
from diglot.report.reading import Run
from diglot.report.section import Section
from diglot.text.languages import shown_language

ALL = "all"
HOW = (
    "Means of a judge's scores from 1 to 10, ± half of a 95% interval over questions; as in ALLaM's table of MT-bench. Another judge, "
    "or other words for it, would give other scores: only those of one table can be held against each other."
)
TIES = "A verdict counts where it is the same with both answers in each place; what is not is a tie."
AGREE = "Alpha (Krippendorff's): 1 is all alike, 0 as by chance. Winners: of pairs in which both name one, the share that name the same."


def judgements(run: Run, colours: Colours) -> Section | None:
    """What judges say of answers."""
    stages = run.of_do("judge-answers")
    if not stages:
        return None
    tables = [table for stage in stages for table in tables_of(stage)]
    finding = " ".join(_finding(stage) for stage in stages)
    return Section("judgements", "Answers that a judge scored", finding, {"plots": [], "tables": tables}, "compared")


def _summary(artifact: Artifact) -> JudgementsSummary:
    assert isinstance(artifact.summary, JudgementsSummary), f"{artifact.stage} judged nothing"
    return artifact.summary


def _finding(artifact: Artifact) -> str:
    found = _summary(artifact)
    best = sorted(found.means.items(), key=lambda item: -item[1])
    text = f"{found.judge} gives {join(f'{model} {mean:.2f}' for model, mean in best)} of 10."
    if found.itself is not None:
        text += f" With both answers in each place it says the same of {share(found.itself)} of pairs."
    if found.people and found.people.same is not None:
        text += f" It agrees with people on {share(found.people.same)} of pairs"
        among = found.among_people.same if found.among_people else None
        text += f", people with each other on {share(among)}." if among is not None else "."
    return text


def tables_of(artifact: Artifact) -> list[Table]:
    """Scores by turn and language, by category, pairs, and how far who agrees."""
    found = _summary(artifact)
    tables = [_turns(found, artifact.stage), _categories(found)]
    if found.pairs:
        tables += [_pairs(found), _agreement(found)]
    return tables


def _turns(found: JudgementsSummary, stage: str) -> Table:
    languages = list(dict.fromkeys(language for of in found.scores.values() for language in of))
    turns = {
        language: sorted({turn for of in found.scores.values() for turn in of.get(language, {})} - {ALL})
        for language in languages
    }
    columns = [
        Column(
            shown_language(language) if turn == ALL else "", "mean" if turn == ALL else f"turn {turn}", align="right"
        )
        for language in languages
        for turn in (ALL, *turns[language])
    ]
    table = Table([*left("model"), *columns, *right("not read")], f"{stage}: by turn and language", [HOW])
    for model, of in found.scores.items():
        cells = [_cell(of.get(language, {}).get(turn)) for language in languages for turn in (ALL, *turns[language])]
        table.add(model, *cells, number(found.unreadable.get(model, 0)))
    return table


def _cell(scored: Scored | None) -> Cell:
    if scored is None:
        return Cell("–")
    half = half_interval(scored.standard_error, scored.scores) if scored.standard_error is not None else None
    return Cell(f"{scored.mean:.2f}", f"±{half:.2f}" if half is not None else "")


def _categories(found: JudgementsSummary) -> Table:
    models = list(found.categories)
    table = Table([*left("language", "category"), *right(*models)], "By category", grouped=True)
    keys = dict.fromkeys(
        (language, name) for of in found.categories.values() for language in of for name in of[language]
    )
    for language, category in sorted(keys, key=lambda key: key[0]):
        cells = [_cell(found.categories[model].get(language, {}).get(category)) for model in models]
        table.add(shown_language(language), category, *cells)
    return table


def _pairs(found: JudgementsSummary) -> Table:
    """Win rates, ties as half a win."""
    table = Table(
        [*left("first", "second", "language"), *right("first wins", "second wins", "ties", "first's share")],
        "Pair by pair",
        [TIES],
    )
    for pair in found.pairs:
        count = pair.wins + pair.losses + pair.ties
        counts = (number(pair.wins), number(pair.losses), number(pair.ties))
        table.add(
            pair.first, pair.second, shown_language(pair.language), *counts, share(pair.wins + pair.ties / 2, count)
        )
    return table


def _agreement(found: JudgementsSummary) -> Table:
    table = Table([*left("between"), *right("pairs", "same", "winners", "alpha")], "How far who agrees", [AGREE])
    readable = found.settled.get("agreed", 0) + found.settled.get("disagreed", 0)
    itself = share(found.itself) if found.itself is not None else "–"
    table.add("the judge and itself, in the other order", number(readable), itself, "–", "–")
    for name, agreed in (("the judge and people", found.people), ("people and people", found.among_people)):
        if agreed is not None:
            table.add(name, number(agreed.pairs), *_shares(agreed))
    if found.first_place is not None:
        table.notes = [
            AGREE,
            f"Of its verdicts that name a winner {share(found.first_place)} name the answer that stands first.",
        ]
    if found.votes_of_others:
        table.notes = [*table.notes, f"{number(found.votes_of_others)} votes were on answers that were not judged."]
    return table


def _shares(agreed: Agreed) -> tuple[str, str, str]:
    same, winners = (share(value) if value is not None else "–" for value in (agreed.same, agreed.same_winner))
    return same, winners, f"{agreed.alpha:.2f}" if agreed.alpha is not None else "–"
