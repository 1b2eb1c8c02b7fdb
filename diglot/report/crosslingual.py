"""The section about languages inside the models: translations found by hidden states, layer by layer, and a picture of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from diglot.base.artifact import Artifact
from diglot.base.files import read_json
from diglot.base.format import join
from diglot.base.table import Cell, Table, left, right
from diglot.report.figures import DASHES, NEUTRAL, PALETTE, Colours, escape, figure, label_ends
from diglot.report.reading import Run
from diglot.report.section import Section, plot
from diglot.text.languages import shown_language

FILE = "retrieval.json"
NOTE = (
    "Of each held-out text the nearest in the other language, by the mean of its tokens' hidden states (cosine, after each "
    "language's own mean is subtracted): the share whose nearest is the translation. Layer 0 is the embedding."
)


@dataclass(frozen=True)
class Found:
    """What one evaluate stage found for two languages: accuracies by layer, and the picture of the best one."""

    stage: str
    pairs: int
    forward: list[float]
    backward: list[float]
    best: int
    picture: Mapping[str, Any]

    @property
    def means(self) -> list[float]:
        """Of both ways, by layer."""
        return [(one + other) / 2 for one, other in zip(self.forward, self.backward)]


def crosslingual(run: Run, colours: Colours) -> Section | None:
    """Of every evaluate stage that looked for translations."""
    found: dict[str, list[Found]] = {}
    for artifact in run.of_kind("scores"):
        for name, each in _read(artifact).items():
            found.setdefault(name, []).append(each)
    if not found:
        return None
    plots = []
    for name, of in found.items():
        languages = name.split("-")
        title = join(map(shown_language, languages))
        plots.append(plot(f"layers-{name}", by_layer(of), f"Translations found at each layer, {title}"))
        # Before and after: two pictures, side by side where there is room.
        for each in [of[0], of[-1]] if len(of) > 1 else of:
            variance = sum(each.picture["variance"])
            caption = f"{each.stage}, layer {each.best}: held-out texts on two principal components ({variance:.0%} of the variance)"
            plots.append(plot(f"texts-{name}-{each.stage}", clouds(each, languages, colours), caption))
    finding = " ".join(_finding(name, of) for name, of in found.items())
    return Section(
        "crosslingual", "Two languages in one model", finding, {"plots": plots, "tables": [_table(found)]}, "compared"
    )


def _read(artifact: Artifact) -> dict[str, Found]:
    file = artifact.file(FILE)
    written = read_json(file) if file.is_file() else {}
    return {
        name: Found(
            artifact.stage,
            of["pairs"],
            [layer["forward"] for layer in of["layers"]],
            [layer["backward"] for layer in of["layers"]],
            of["best"],
            of["picture"],
        )
        for name, of in written.items()
    }


def _finding(name: str, found: Sequence[Found]) -> str:
    first, second = map(shown_language, name.split("-"))
    shares = [f"{max(each.means):.0%} in {each.stage}" for each in ([found[0], found[-1]] if len(found) > 1 else found)]
    return f"Of {found[-1].pairs} held-out texts in {first} and {second}, translations are nearest to each other for {join(shares)}."


def by_layer(found: Sequence[Found]) -> go.Figure:
    """Accuracy of both ways together over layers, a line a stage, dashed where chance is."""
    fig, ends = figure(300, right=140, top=10), []
    for place, each in enumerate(found):
        colour = PALETTE[place % len(PALETTE)]
        fig.add_scatter(
            x=list(range(len(each.means))), y=each.means, mode="lines+markers", name=escape(each.stage),
            line={"color": colour, "width": 2, "dash": DASHES[place // len(PALETTE) % len(DASHES)]},
            hovertemplate=f"{escape(each.stage)} %{{y:.1%}} at layer %{{x}}<extra></extra>",
        )  # fmt: skip
        ends.append((len(each.means) - 1, each.means[-1], each.stage, colour))
    label_ends(fig, ends, gap=0.06)
    fig.add_hline(y=1 / found[0].pairs, line={"color": NEUTRAL, "dash": "dash", "width": 1})
    fig.update_yaxes(title="translations found", range=[0, 1.02], tickformat=".0%")
    fig.update_xaxes(title="layer", showgrid=False, dtick=max(1, max(len(each.means) for each in found) // 12))
    return fig


def clouds(found: Found, languages: Sequence[str], colours: Colours) -> go.Figure:
    """The texts of both languages as points."""
    fig = figure(320, top=34)
    x, y = found.picture["x"], found.picture["y"]
    for place, language in enumerate(languages):
        part = slice(place * found.pairs, (place + 1) * found.pairs)
        fig.add_scatter(
            x=x[part], y=y[part], mode="markers", name=escape(shown_language(language)), hoverinfo="name",
            marker={"color": colours.of(language), "size": 6, "opacity": 0.7, "symbol": ("circle", "diamond")[place]},
        )  # fmt: skip
    fig.update_layout(showlegend=True)
    fig.update_xaxes(showticklabels=False)
    fig.update_yaxes(showticklabels=False)
    return fig


def _table(found: Mapping[str, Sequence[Found]]) -> Table:
    headings = ["pairs", "chance", "embedding", "best layer", "there", "last layer"]
    table = Table([*left("languages", "stage"), *right(*headings)], "Translations found", [NOTE], True)
    for name, of in found.items():
        for each in of:
            ways = f"{each.forward[each.best]:.0%} → · ← {each.backward[each.best]:.0%}"
            table.add(
                join(map(shown_language, name.split("-"))),
                each.stage,
                f"{each.pairs:,}",
                f"{1 / each.pairs:.1%}",
                f"{each.means[0]:.0%}",
                str(each.best),
                Cell(f"{each.means[each.best]:.0%}", ways, "strong"),
                f"{each.means[-1]:.0%}",
            )
    return table
