"""Indicators of a training in its section of the page: a curve of each, and which of them are worth watching."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from diglot.base.format import join
from diglot.base.series import CLEAR, MONOTONE, POWER, Watched, dispersion, to_watch, watched
from diglot.base.table import Cell, Table, left, right
from diglot.report.figures import NEUTRAL, Colours, escape, figure, label_ends
from diglot.report.reading import Training
from diglot.report.section import plot
from diglot.text.languages import shown_language


@dataclass(frozen=True)
class Kind:
    """How a series is called and shown: its unit, and digits behind the point (of shares, as percent)."""

    name: str
    caption: str
    digits: int = 3
    is_share: bool = False

    def text(self, value: float | None) -> str:
        """A value of it."""
        if value is None:
            return "–"
        return f"{value:.0%}" if self.is_share else f"{value:.{self.digits}f}"


KINDS = {
    "bits_per_byte": Kind("bits per byte", "Bits per byte of held-out text"),
    "answers": Kind("answers", "Bits per byte of held-out instructions' answers"),
    "cloze": Kind("cloze", "Cloze: share of items whose right words are the likeliest", is_share=True),
    "margin": Kind("margin", "Cloze margin (nats): right words over the others' mean", digits=1),
    "context": Kind("context", "Bits per byte that the text before a stretch saves"),
}
NOTES = [
    "monotone: Spearman's correlation with the step. signal/noise: how far training moved the number, over its scatter "
    "about a line through the last five checkpoints (after 2508.13144). above chance: in standard errors over items. "
    f"shows: the difference of two models that so many items find in 80% of cases, item by item ({POWER:g} standard errors).",
    f"watch: at least four checkpoints, above chance by two standard errors, moved by more than the items can show, |monotone| "
    f"{MONOTONE:g} and signal/noise {CLEAR:g} or more. It is about this size, this text and so many items.",
]


def watch(training: Training, colours: Colours, new: Sequence[str]) -> dict[str, Any]:
    """The curves and the table of a train stage.

    Args:
        training: its log.
        colours: one a language.
        new: languages that the run adds; of the others it is said that they are the base's.
    """
    found = watched(training.evaluations)
    by_name: dict[str, dict[str, Watched]] = {}
    for (language, name), series in found.items():
        by_name.setdefault(name, {})[language] = series
    # Bits per byte have a figure of their own, over all stages, and stand in the table only.
    curves = [
        plot(
            f"{name}-{training.artifact.stage}", curve(of, KINDS[name], colours), KINDS[name].caption + ", by language"
        )
        for name, of in by_name.items()
        if name in KINDS and name != "bits_per_byte" and any(len(series.points) > 1 for series in of.values())
    ]
    table = watch_table(found, new) if any(len(series.points) > 2 for series in found.values()) else None
    return {"indicators": curves, "watch": table}


def curve(by_language: Mapping[str, Watched], kind: Kind, colours: Colours) -> go.Figure:
    """A series over steps, a line a language, dashed where chance is."""
    fig, ends = figure(190, left=44, right=90, top=8), []
    for language, series in by_language.items():
        x, colour = [point.step for point in series.points], colours.of(language)
        fig.add_scatter(
            x=x, y=series.values, mode="lines+markers", name=escape(shown_language(language)),
            line={"color": colour, "width": 2},
            hovertemplate=f"{escape(shown_language(language))} %{{y:.3~f}} at step %{{x}}<extra></extra>",
        )  # fmt: skip
        ends.append((x[-1], series.values[-1], shown_language(language), colour))
    every = [value for series in by_language.values() for value in series.values]
    label_ends(fig, ends, gap=0.13 * dispersion(every))
    chance = next((series.chance for series in by_language.values() if series.chance is not None), None)
    if chance is not None:
        fig.add_hline(y=chance, line={"color": NEUTRAL, "dash": "dash", "width": 1})
    fig.update_yaxes(nticks=5, tickformat=".0%" if kind.is_share else "~g")
    fig.update_xaxes(title="step", showgrid=False, range=[0, max(end[0] for end in ends)])
    return fig


def watch_table(found: Mapping[tuple[str, str], Watched], new: Sequence[str]) -> Table:
    """A row a language and series: how it went, how far it can be trusted, and the verdict."""
    headings = ["first", "last", "monotone", "signal/noise", "above chance", "items", "shows"]
    table = Table(
        [*left("language", "indicator"), *right(*headings), *left("verdict")], "Which numbers to watch", NOTES, True
    )
    for (language, name), series in sorted(found.items(), key=lambda item: (item[0][0] not in new, item[0][0])):
        kind = KINDS.get(name, Kind(name, name))
        verdict = series.verdict
        table.add(
            Cell(shown_language(language), "the base's" if new and language not in new else ""),
            kind.name,
            kind.text(series.values[0]),
            kind.text(series.values[-1]),
            _number(series.monotony, 2),
            _number(series.signal_to_noise, 1),
            _number(series.from_chance, 1),
            str(len(series.points[-1].items)),
            kind.text(series.smallest_difference),
            Cell(verdict, style="good" if verdict == "watch" else "quiet"),
        )
    return table


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else "∞" if math.isinf(value) else f"{value:.{digits}f}"


def said(training: Training) -> str:
    """What to watch of a train stage, in a sentence; empty where nothing can be said."""
    found = watched(training.evaluations)
    if not any(len(series.points) > 3 for series in found.values()):
        return ""
    parts = [
        f"in {shown_language(language)} {join([KINDS[name].name if name in KINDS else name for name in names])}"
        for language, names in to_watch(found).items()
    ]
    stage = training.artifact.stage
    return f"Worth watching in {stage}: {'; '.join(parts)}." if parts else f"No indicator of {stage} is worth watching."
