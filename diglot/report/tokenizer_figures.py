"""The figures about tokenizers: tokens per word, its curve while a vocabulary grows, and tokenizers side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from diglot.report.figures import FAINT, NEUTRAL, PALETTE, Colours, escape, figure, label_ends
from diglot.report.tokenizer_tables import language_labels
from diglot.text.languages import shown_language

SYMBOLS = ["circle", "diamond", "square", "triangle-up", "x", "star", "cross", "hexagon"]


def fertility_bars(before: Mapping[str, float], after: Mapping[str, float], colours: Colours) -> go.Figure:
    """Tokens per word by language, before (pale) and after the extension."""
    languages = list(after)[::-1]
    fig = figure(60 + (26 + 22 * bool(before)) * len(languages), left=10, right=50, top=8)
    labels = language_labels(languages)
    for label, values, opacity in (("after", after, 1.0), ("before", before, 0.35)):
        if not values:
            continue
        fig.add_bar(
            y=[labels[language] for language in languages], orientation="h", name=label,
            x=[values.get(language) for language in languages],
            marker={"color": [colours.of(language) for language in languages], "opacity": opacity},
            text=[f"{values[language]:.2f}" if language in values else "" for language in languages],
            textposition="outside", cliponaxis=False, hovertemplate="%{x:.3f} tokens per word<extra></extra>",
        )  # fmt: skip
    fig.update_layout(barmode="group", bargap=0.3)
    fig.update_xaxes(rangemode="tozero", title="tokens per word")
    fig.update_yaxes(showgrid=False, ticklabelstandoff=8)
    return fig


def growth_curve(
    curve: Mapping[str, Sequence[Sequence[float]]], colours: Colours, advised: Mapping[str, tuple[float, float]]
) -> go.Figure:
    """Tokens per word of each language over the number of new tokens.

    Args:
        curve: by language: [new tokens, tokens per word], in order.
        colours: one a language.
        advised: by language, the point that is advised: a dot.
    """
    lines = [
        (shown_language(language), points, colours.of(language), advised.get(language))
        for language, points in curve.items()
    ]
    return _curves(lines)


def gain_curves(curves: Mapping[str, tuple[Sequence[Sequence[float]], int]]) -> go.Figure:
    """The same of several tokenizers.

    Args:
        curves: by name, [new tokens, tokens per word] in order, and the number that is advised; 0: none.
    """
    lines = [
        (name, points, PALETTE[index % len(PALETTE)], next(((x, y) for x, y in points if x == advised > 0), None))
        for index, (name, (points, advised)) in enumerate(curves.items())
    ]
    return _curves(lines)


def _curves(lines: Sequence[tuple[str, Sequence[Sequence[float]], str, tuple[float, float] | None]]) -> go.Figure:
    """Lines with their names at their ends: name, [new tokens, tokens per word], colour and the point of the dot."""
    fig = figure(280, right=110, top=10)
    ends: list[tuple[float, float, str, str]] = []
    for name, points, colour, advised in lines:
        if not points:
            continue
        x, y = [point[0] for point in points], [point[1] for point in points]
        fig.add_scatter(
            x=x, y=y, mode="lines", name=escape(name), line={"color": colour, "width": 2},
            hovertemplate=f"{escape(name)} %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
        if advised:
            fig.add_scatter(
                x=[advised[0]], y=[advised[1]], mode="markers", name=f"advised for {escape(name)}", marker={"color": colour, "size": 9},
                cliponaxis=False, hovertemplate=f"advised for {escape(name)}: %{{x:,}}<extra></extra>",
            )  # fmt: skip
        ends.append((x[-1], y[-1], name, colour))
    every = [point[1] for _, points, _, _ in lines for point in points]
    label_ends(fig, ends, gap=0.07 * max(every, default=0))
    fig.update_layout(hovermode="x unified")
    longest = max((x for x, _, _, _ in ends), default=1)
    fig.update_xaxes(title="new tokens", showgrid=False, range=[0, longest], tickformat="~s")
    fig.update_yaxes(title="tokens per word", rangemode="tozero")
    return fig


def side_by_side(
    values: Mapping[str, Mapping[str, float]],
    title: str,
    *,
    lossy: Mapping[str, Sequence[str]],
    reference: float | None = None,
    percent: bool = False,
) -> go.Figure:
    """A row for each language, a mark for each tokenizer.

    Args:
        values: by tokenizer and language.
        title: of the axis.
        lossy: by tokenizer, the languages of which it loses text: their marks are open.
        reference: a value to draw a line at.
        percent: values are shares.
    """
    languages = list(dict.fromkeys(language for of in values.values() for language in of))[::-1]
    labels = language_labels(languages)
    fig = figure(70 + 26 * len(languages), left=10, right=24, top=40)
    for language in languages:  # a faint line from the least to the largest
        found = [of[language] for of in values.values() if language in of]
        fig.add_scatter(
            x=[min(found), max(found)], y=[labels[language]] * 2, mode="lines", hoverinfo="skip",
            showlegend=False, line={"color": FAINT, "width": 2},
        )  # fmt: skip
    for index, (name, of) in enumerate(values.items()):
        known = [language for language in languages if language in of]
        symbol = SYMBOLS[index % len(SYMBOLS)]
        fig.add_scatter(  # for the legend alone, which would show the mark of the first language, open or not
            x=[None], y=[labels[languages[0]]], mode="markers", name=escape(name), marker=_marks(index, symbol, [""], ()),
        )  # fmt: skip
        fig.add_scatter(
            x=[of[language] for language in known], y=[labels[language] for language in known],
            mode="markers", showlegend=False, cliponaxis=False, name=escape(name),
            marker=_marks(index, symbol, known, lossy.get(name, ())),
            hovertemplate=f"%{{y}}, {escape(name)}: %{{x:{'.1%' if percent else '.3f'}}}<extra></extra>",
        )  # fmt: skip
    if reference is not None:
        fig.add_vline(x=reference, line={"color": NEUTRAL, "dash": "dash", "width": 1})
    fig.update_layout(showlegend=True, legend={"y": 1.0, "itemsizing": "constant"})
    fig.update_xaxes(title=title, rangemode="tozero", **({"tickformat": ".0%"} if percent else {}))
    # The marks come in the order of tokenizers: without this, a language that the first lacks would move to the end.
    fig.update_yaxes(
        showgrid=False, ticklabelstandoff=8, categoryorder="array",
        categoryarray=[labels[language] for language in languages], range=[-0.6, len(languages) - 0.4],
    )  # fmt: skip
    return fig


def _marks(index: int, symbol: str, languages: Sequence[str], lossy: Sequence[str]) -> dict[str, Any]:
    """Marks of one tokenizer: open where it loses text."""
    colour = PALETTE[index % len(PALETTE)]
    return {
        "color": colour,
        "size": 10,
        "symbol": [f"{symbol}-open" if language in lossy else symbol for language in languages],
        "line": {"width": 1.5, "color": colour},
    }


def gini_bars(gini: Mapping[str, float]) -> go.Figure:
    """The Gini coefficient of each tokenizer."""
    names = list(gini)[::-1]
    fig = figure(60 + 26 * len(names), left=10, right=50, top=8)
    fig.add_bar(
        y=[escape(name) for name in names], x=[gini[name] for name in names], orientation="h", name="Gini coefficient",
        marker={"color": [PALETTE[list(gini).index(name) % len(PALETTE)] for name in names]},
        text=[f"{gini[name]:.3f}" for name in names], textposition="outside", cliponaxis=False,
        hovertemplate="%{y}: %{x:.4f}<extra></extra>",
    )  # fmt: skip
    fig.update_layout(bargap=0.3)
    fig.update_xaxes(rangemode="tozero", title="Gini coefficient of tokens for the same content")
    fig.update_yaxes(showgrid=False, ticklabelstandoff=8)
    return fig
