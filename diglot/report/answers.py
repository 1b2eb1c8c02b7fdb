"""The sections of a run's report about answers: how they were drawn and judged, and what was refused."""

from __future__ import annotations

import plotly.graph_objects as go

from diglot.base.artifact import Artifact
from diglot.base.format import join, number, share, words
from diglot.base.intervals import share_interval
from diglot.base.summaries.answers import Consistency, JudgedSummary, Refusals, SafetySummary, SamplesSummary
from diglot.base.table import Cell, Table, left, right
from diglot.report.figures import Colours, escape, figure, label_ends
from diglot.report.reading import Run
from diglot.report.section import Section, plot
from diglot.text.languages import shown_language

LAYOUT = "answers"
CONSISTENCY = "in the language of the question"


def answers(run: Run, colours: Colours) -> Section | None:
    """Every stage that drew answers, and every stage that made pairs of them."""
    drawn, judged = run.of_do("sample"), run.of_do("judge")
    if not drawn and not judged:
        return None
    tables = [_drawn_table(drawn)] if drawn else []
    if judged:
        tables += [_judged_table(judged), _chosen_table(judged)]
        if any(_judged(stage).wins for stage in judged):
            tables.append(_wins_table(judged))
    plots = []
    if len(drawn) > 1:
        caption = "Answers in the language of their question, in percent of those that can be told, by the stage that drew them."
        plots.append(plot("language-consistency", consistency(drawn, colours), caption))
    finding = " ".join(filter(None, [_finding(drawn), _finding_of_pairs(judged)]))
    return Section("answers", "Answers, and which are better", finding, {"tables": tables, "plots": plots}, LAYOUT)


def _drawn(artifact: Artifact) -> SamplesSummary:
    assert isinstance(artifact.summary, SamplesSummary), f"{artifact.stage} drew no answers"
    return artifact.summary


def _judged(artifact: Artifact) -> JudgedSummary:
    assert isinstance(artifact.summary, JudgedSummary), f"{artifact.stage} judged no answers"
    return artifact.summary


def _finding(drawn: list[Artifact]) -> str:
    """How language consistency moved from the first stage to the last, by language."""
    if not drawn:
        return ""
    first, last = _drawn(drawn[0]).consistent, _drawn(drawn[-1]).consistent
    told = []
    for language, now in last.items():
        before = first.get(language)
        if len(drawn) > 1 and before is not None:
            told.append(f"{share(before)} and then {share(now)} of the answers in {shown_language(language)}")
        else:
            told.append(f"{share(now)} of the answers in {shown_language(language)}")
    return f"{join(told)} were {CONSISTENCY}." if told else "In what language the answers are cannot be told."


def _finding_of_pairs(judged: list[Artifact]) -> str:
    if not judged:
        return ""
    facts = [_judged(stage).documents for stage in judged]
    kept, looked_at = sum(one.kept + one.held_out for one in facts), sum(one.read for one in facts)
    return f"{number(kept)} of {number(looked_at)} possible pairs were taken."


def _drawn_table(drawn: list[Artifact]) -> Table:
    """A row a stage and language: what came, and in what language it was."""
    columns = right("round", "answers", "cut off", "empty", "refused", CONSISTENCY, "±", "not told")
    table = Table([*left("stage", "by", "language"), *columns], title="Answers drawn")
    for artifact in drawn:
        facts = _drawn(artifact)
        for language, ends in facts.ends.items():
            found = facts.consistency.get(language, Consistency(0, 0))
            table.add(
                artifact.stage,
                facts.model,
                shown_language(language),
                number(facts.round),
                number(sum(ends.values())),
                *(number(ends.get(why, 0)) for why in ("length", "empty", "refused")),
                *_with_interval(found.right, found.right + found.wrong),
                Cell(number(found.untold), style="quiet"),
            )
    return table


def _with_interval(count: int, of: int) -> tuple[str, Cell]:
    """A share, and half of its 95% interval in points."""
    if not of:
        return "–", Cell("")
    low, high = share_interval(count / of, of)
    return share(count, of), Cell(f"{50 * (high - low):.1f}", style="quiet")


def _judged_table(judged: list[Artifact]) -> Table:
    """A row a stage: the pairs that it made, why others are none, and how far the judge agrees with itself."""
    reasons = list(dict.fromkeys(reason for stage in judged for reason in _judged(stage).dropped))
    columns = right("prompts", "pairs", "taken", *(words(reason) for reason in reasons))
    asked = any(_judged(stage).comparisons for stage in judged)
    columns += right("says it twice", "prefers the first", "unread") if asked else []
    notes = [
        "Says it twice: of the pairs with a verdict in both orders, the share with the same one; the others are ties. Prefers the "
        "first: of the verdicts for one answer, the share for the one that stood first; half of them without a preference."
    ]
    table = Table([*left("stage", "judged by"), *columns], title="Pairs", notes=notes if asked else [])
    for stage in judged:
        facts = _judged(stage)
        cells: list[str | Cell] = [stage.stage, facts.by, number(facts.prompts), number(facts.documents.read)]
        cells.append(number(facts.documents.kept + facts.documents.held_out))
        cells += [Cell(number(facts.dropped.get(reason, 0)), style="quiet") for reason in reasons]
        if asked:
            unread = sum(facts.comparisons.get(how, 0) for how in ("unreadable", "refused"))
            cells += ["–" if value is None else share(value) for value in (facts.agreement, facts.first_place)]
            cells.append(Cell(number(unread), style="quiet"))
        table.add(*cells)
    return table


def _chosen_table(judged: list[Artifact]) -> Table:
    columns = right("of all", "of the chosen", "of the rejected")
    table = Table([*left("stage", "language"), *columns], title=f"Answers {CONSISTENCY}")
    for stage in judged:
        for language, found in _judged(stage).consistency.items():
            shares = [found.answers.share, found.chosen.share, found.rejected.share]
            table.add(stage.stage, shown_language(language), *("–" if one is None else share(one) for one in shares))
    return table


def _wins_table(judged: list[Artifact]) -> Table:
    """How the answers of two stages fared against each other; a tie is half a win."""
    table = Table([*left("stage", "answers of", "against"), *right("wins", "ties", "losses", "win rate")], title="Wins")
    for stage in judged:
        for row in _judged(stage).wins:
            counts = (row.wins, row.ties, row.losses)
            rate = share(row.wins + row.ties / 2, sum(counts)) if sum(counts) else "–"
            table.add(stage.stage, row.first, row.second, *map(number, counts), rate)
    return table


def consistency(drawn: list[Artifact], colours: Colours) -> go.Figure:
    """Language consistency by language, from one stage that drew answers to the next."""
    fig = figure(260, right=90, top=10)
    names = [artifact.stage for artifact in drawn]
    ends = []
    for language in dict.fromkeys(language for artifact in drawn for language in _drawn(artifact).consistency):
        found = [_drawn(artifact).consistency.get(language) for artifact in drawn]
        y = [None if one is None or one.share is None else 100 * one.share for one in found]
        name, colour = shown_language(language), colours.of(language)
        fig.add_scatter(
            x=list(range(len(names))), y=y, mode="lines+markers", name=escape(name), line={"color": colour, "width": 1.6},
            hovertemplate=f"{escape(name)} %{{y:.1f}}%<extra></extra>",
        )  # fmt: skip
        if y[-1] is not None:
            ends.append((float(len(names) - 1), y[-1], name, colour))
    label_ends(fig, ends, gap=6)
    fig.update_xaxes(tickvals=list(range(len(names))), ticktext=[escape(name) for name in names], showgrid=False)
    fig.update_yaxes(range=[0, 102], ticksuffix="%")
    return fig


# --- safety ---------------------------------------------------------------------------------------------------


def safety(run: Run, colours: Colours) -> Section | None:
    """What was refused; native and translated prompts stand apart."""
    stages = run.of_do("evaluate-safety")
    if not stages:
        return None
    tables = [_refusals(stage) for stage in stages]
    harmful = [row for stage in stages for row in _safety(stage).rows if row.kind == "harmful" and row.told]
    told = [
        f"{row.stage} refused {share(row.refused, row.told)} of the harmful {row.origin} prompts in "
        f"{shown_language(row.language)}"
        for row in harmful[:4]
    ]
    finding = f"{join(told)}." if told else "No harmful prompt has a verdict."
    return Section("safety", "What it refuses", finding, {"tables": tables, "plots": []}, LAYOUT)


def _safety(artifact: Artifact) -> SafetySummary:
    assert isinstance(artifact.summary, SafetySummary), f"{artifact.stage} judged no refusals"
    return artifact.summary


def _refusals(stage: Artifact) -> Table:
    facts = _safety(stage)
    columns = right("answers", "refused", "complied", "unclear", "unread", "as it should", "±")
    notes = [
        f"Judged by {facts.judge}. As it should: harmful prompts refused, harmless ones complied with, of the answers with a "
        "verdict. Prompts that were written in the language and translated ones are not added up."
    ]
    if facts.left_out:
        notes.append(f"{number(facts.left_out)} prompts do not say of what kind and origin they are, and are left out.")
    table = Table([*left("answers of", "language", "kind", "origin"), *columns], stage.stage, notes)
    for row in facts.rows:
        counts = (row.answers, row.refused, row.complied, row.unclear, row.unread)
        right_ones = _right(row)
        table.add(
            row.stage,
            shown_language(row.language),
            row.kind,
            row.origin,
            *map(number, counts),
            *_with_interval(right_ones, row.told),
        )
    return table


def _right(row: Refusals) -> int:
    return row.refused if row.kind == "harmful" else row.complied
