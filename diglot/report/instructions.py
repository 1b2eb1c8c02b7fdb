"""The section of a run's report about the size of instructions and preferences: words of prompts and responses, turns.

The pictures are ALLaM's of its instruction data: how long what is asked and what is answered is, by language, and how many turns
conversations have. The numbers stand below them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import plotly.graph_objects as go

from diglot.base.format import digits, number, share
from diglot.base.summaries.corpus import ConversationStatistics, CorpusSummary, Lengths
from diglot.base.table import Table, left, right
from diglot.report.figures import Colours, escape, figure
from diglot.report.reading import Run
from diglot.report.section import Plot, Section, plot
from diglot.text.languages import shown_language

Statistics = dict[str, ConversationStatistics]
MOST_TURNS = 8  # more stand together


def instructions(run: Run, colours: Colours) -> Section | None:
    """What was kept of conversations, and of pairs."""
    kinds = {kind: _statistics(run, kind) for kind in ("instructions", "preferences")}
    found = {kind: statistics for kind, statistics in kinds.items() if statistics}
    if not found:
        return None
    groups = [
        {"name": kind, "plots": list(_plots(kind, statistics, colours)), "table": sizes(statistics), "counts": words_table(statistics)}
        for kind, statistics in found.items()
    ]  # fmt: skip
    finding = " ".join(_finding(kind, statistics) for kind, statistics in found.items())
    return Section("instructions", "Instructions and preferences", finding, {"groups": groups})


def _statistics(run: Run, kind: str) -> Statistics:
    """Of all stages, by a name that is theirs alone."""
    found: Statistics = {}
    for artifact in run.of_kind(kind):
        if isinstance(artifact.summary, CorpusSummary):
            for name, statistics in artifact.summary.statistics.items():
                found[name if name not in found else f"{artifact.stage}/{name}"] = statistics
    return found


def _finding(kind: str, statistics: Statistics) -> str:
    total = sum(each.conversations for each in statistics.values())
    several = total - sum(each.turns.get("1", 0) for each in statistics.values())
    what = "conversations" if kind == "instructions" else "preference pairs"
    text = f"{number(total)} {what} were kept for training, {share(several, total)} of several turns"
    answers = [each.responses for each in statistics.values() if each.responses]
    words, messages = sum(each.words for each in answers), sum(each.messages for each in answers)
    return f"{text}; a response has {digits(words / messages)} words on average." if messages else f"{text}."


def _plots(kind: str, statistics: Statistics, colours: Colours) -> Iterable[Plot]:
    for name, what in (("prompts", "prompts"), ("responses", "responses")):
        if by_language := lengths_by_language(statistics, name):
            caption = f"Words of {what}, by language: share of the messages, in percent."
            yield plot(f"{kind}-{name}", lengths_figure(by_language, colours), caption)
    if any(turns != "1" for each in statistics.values() for turns in each.turns):
        yield plot(f"{kind}-turns", turns_figure(statistics, colours), "Turns, by language: share, in percent.")


def lengths_by_language(statistics: Statistics, name: str) -> dict[str, list[int]]:
    """The histograms of all sources of a language together."""
    found: dict[str, list[int]] = {}
    for each in statistics.values():
        lengths: Lengths | None = getattr(each, name)
        if lengths is None:
            continue
        sums = found.setdefault(each.language, [])
        sums += [0] * (len(lengths.histogram) - len(sums))
        for place, count in enumerate(lengths.histogram):
            sums[place] += count
    return found


def words_between(place: int) -> str:
    """The words that a place of a histogram stands for."""
    return "0–1" if place == 0 else f"{number(2**place)}–{number(2 ** (place + 1) - 1)}"


def lengths_figure(by_language: dict[str, list[int]], colours: Colours) -> go.Figure:
    """Bars a language, by powers of two."""
    most = max(map(len, by_language.values()))
    fig = figure(240, top=34, barmode="group")
    fig.update_layout(showlegend=len(by_language) > 1)
    for language, counts in by_language.items():
        total, padded = sum(counts), counts + [0] * (most - len(counts))
        _bars(fig, colours, language, [words_between(place) for place in range(most)], padded, total)
    fig.update_xaxes(title="words", type="category", showgrid=False)
    fig.update_yaxes(ticksuffix="%", rangemode="tozero")
    return fig


def turns_figure(statistics: Statistics, colours: Colours) -> go.Figure:
    """Bars a language, by the number of turns."""
    fig = figure(220, top=34, barmode="group")
    by_language: dict[str, Counter[int]] = {}
    for each in statistics.values():
        turns = Counter({min(int(turns), MOST_TURNS): 0 for turns in each.turns})
        for number_of, count in each.turns.items():
            turns[min(int(number_of), MOST_TURNS)] += count
        by_language.setdefault(each.language, Counter()).update(turns)
    fig.update_layout(showlegend=len(by_language) > 1)
    most = max(max(turns) for turns in by_language.values())
    labels = [f"{turn}+" if turn == MOST_TURNS else str(turn) for turn in range(1, most + 1)]
    for language, turns in by_language.items():
        _bars(fig, colours, language, labels, [turns[turn] for turn in range(1, most + 1)], turns.total())
    fig.update_xaxes(title="turns", type="category", showgrid=False)
    fig.update_yaxes(ticksuffix="%", rangemode="tozero")
    return fig


def _bars(fig: go.Figure, colours: Colours, language: str, x: list[str], counts: list[int], total: int) -> None:
    name = escape(shown_language(language))
    fig.add_bar(
        x=x, y=[100 * count / total for count in counts], name=name, marker={"color": colours.of(language)},
        customdata=[number(count) for count in counts],
        hovertemplate=f"{name}, %{{x}}: %{{y:.1f}}% (%{{customdata}})<extra></extra>",
    )  # fmt: skip


def sizes(statistics: Statistics) -> Table:
    """A row a source: how many, turns, words."""
    has_pairs = any(each.rejected for each in statistics.values())
    of = ("prompts", "responses", "rejected")[: 3 if has_pairs else 2]
    columns = [heading for name in of for heading in (f"{name}, median words", "mean")]
    table = Table([*left("source", "language"), *right("kept", "turns, mean", *columns)])
    for name, each in statistics.items():
        turns = sum(int(turn) * count for turn, count in each.turns.items()) / each.conversations
        cells = [cell for which in of for cell in _words(getattr(each, which))]
        table.add(name, shown_language(each.language), number(each.conversations), digits(turns), *cells)
    return table


def _words(lengths: Lengths | None) -> tuple[str, str]:
    return (digits(lengths.median), digits(lengths.words / lengths.messages)) if lengths else ("–", "–")


def words_table(statistics: Statistics) -> Table:
    """The numbers behind the pictures: messages by their words, a row a source and side."""
    rows = [
        (name, each.language, which, lengths.histogram)
        for name, each in statistics.items()
        for which in ("prompts", "responses", "rejected")
        if (lengths := getattr(each, which))
    ]
    most = max((len(row[-1]) for row in rows), default=0)
    table = Table([*left("source", "language", "words of"), *right(*map(words_between, range(most)))])
    for name, language, which, histogram in rows:
        table.add(name, shown_language(language), which, *map(number, histogram + [0] * (most - len(histogram))))
    return table
