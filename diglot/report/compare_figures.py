"""The figures of `diglot compare`: a radar and bars of all models, as the papers have them, and changes by language."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from diglot.report.compare import ModelComparison, Row
from diglot.report.figures import FAINT, NEUTRAL, PALETTE, escape, figure
from diglot.text.languages import shown_language

FEWEST_AXES, MOST_AXES = 3, 24  # of a radar: two make a line, and more than so many names cannot be read


def scored(found: ModelComparison) -> list[Row]:
    """The rows that have a place on a scale of 0 to 100, where more is better."""
    return [row for row in found.rows if row.key[0] in ("task", "preference") and not row.either.either.lower_is_better]


def _colour(found: ModelComparison, name: str) -> str:
    return PALETTE[found.names.index(name) % len(PALETTE)]


def _label(row: Row) -> str:
    either = row.either
    return f"{escape(either.name)} · {shown_language(either.either.language)}".removesuffix(" · ")


def radar(found: ModelComparison) -> go.Figure | None:
    """An axis a task, a line a model; where there are too many tasks, an axis is the mean of a language's."""
    rows = scored(found)
    axes = {
        _label(row): {name: result.points for name, result in row.results.items() if math.isfinite(result.points)}
        for row in rows
    }
    if len(axes) > MOST_AXES:
        axes = _means(found, rows)
    if not FEWEST_AXES <= len(axes) <= MOST_AXES:
        return None
    labels, top = list(axes), max((value for of in axes.values() for value in of.values()), default=100.0)
    top = min(100.0, 10 * math.ceil(top / 10)) or 10.0
    fig = figure(540, left=60, right=60, top=50, bottom=30)
    # plotly.js's basic bundle has no polar axes: rings, spokes and lines are drawn in x and y.
    for ring in (top / 2, top):
        around_x, around_y = _closed([ring] * len(labels))
        fig.add_scatter(
            x=around_x, y=around_y, mode="lines", line={"color": FAINT, "width": 1}, hoverinfo="skip", showlegend=False
        )
        fig.add_annotation(
            x=0, y=ring, text=f"{ring:g}", showarrow=False, font={"size": 10, "color": NEUTRAL}, yshift=6
        )
    for place, label in enumerate(labels):
        x, y = _at(place, len(labels), top)
        fig.add_scatter(
            x=[0, x], y=[0, y], mode="lines", line={"color": FAINT, "width": 1}, hoverinfo="skip", showlegend=False
        )
        side = "left" if x > top / 9 else "right" if x < -top / 9 else "center"
        fig.add_annotation(x=1.07 * x, y=1.07 * y, text=label, showarrow=False, xanchor=side, font={"size": 12})
    for name in found.names:
        points = [axes[label].get(name) for label in labels]
        around_x, around_y = _closed(points)
        texts = [
            f"{escape(name)}, {label}: {point:.1f}" if point is not None else "" for label, point in zip(labels, points)
        ]
        fig.add_scatter(
            x=around_x, y=around_y, name=escape(name), mode="lines+markers", line={"color": _colour(found, name), "width": 2},
            marker={"size": 6}, text=[*texts, texts[0]], hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    fig.update_layout(showlegend=True)
    fig.update_xaxes(visible=False, range=[-1.6 * top, 1.6 * top])
    fig.update_yaxes(visible=False, range=[-1.15 * top, 1.15 * top], scaleanchor="x")
    return fig


def _at(place: int, count: int, radius: float) -> tuple[float, float]:
    """A point on an axis of a radar: the first axis points up, the others follow clockwise."""
    angle = 2 * math.pi * place / count
    return round(radius * math.sin(angle), 3), round(radius * math.cos(angle), 3)


def _closed(points: Sequence[float | None]) -> tuple[list[float | None], list[float | None]]:
    """A line once around, back to its first point; with a gap where there is no value."""
    places = [(None, None) if r is None else _at(place, len(points), r) for place, r in enumerate(points)]
    return [x for x, _ in [*places, places[0]]], [y for _, y in [*places, places[0]]]


def _means(found: ModelComparison, rows: list[Row]) -> dict[str, dict[str, float]]:
    """The mean of each model's scores by language, over the tasks that all models have."""
    common = [row for row in rows if set(row.results) == set(found.names)]
    axes: dict[str, dict[str, float]] = {}
    for language in dict.fromkeys(row.key[2] for row in common):
        own = [row for row in common if row.key[2] == language]
        axes[shown_language(language)] = {
            name: math.fsum(row.results[name].points for row in own) / len(own) for name in found.names
        }
    return axes


def bars(found: ModelComparison) -> go.Figure | None:
    """A bar a model and task, 0 to 100, with 95% intervals and a tick at chance."""
    rows = scored(found)[::-1]  # plotly draws the first at the bottom
    if not rows:
        return None
    labels = [_label(row) for row in rows]
    fig = figure(90 + len(rows) * (14 + 13 * len(found.names)), left=10, right=20, top=50)
    for name in found.names[::-1]:
        own = [row.results.get(name) for row in rows]
        # Wilson's intervals are not of the same length on both sides.
        ends = [_around(result.interval, result.value, 100 if result.is_share else 1) if result else (0.0, 0.0) for result in own]  # fmt: skip
        fig.add_bar(
            y=labels, x=[result.points if result else None for result in own], name=escape(name), orientation="h",
            marker={"color": _colour(found, name)}, hovertemplate=f"{escape(name)}, %{{y}}: %{{x:.1f}}<extra></extra>",
            error_x={"array": [high for _, high in ends], "arrayminus": [low for low, _ in ends], "color": NEUTRAL, "thickness": 1.2, "width": 2},
        )  # fmt: skip
    either = [row.either.either for row in rows]
    chances = [(result.chance or 0) * (100 if result.is_share else 1) for result in either]
    fig.add_scatter(
        x=[chance or None for chance in chances], y=labels, mode="markers", name="chance",
        marker={"symbol": "line-ns-open", "size": 18, "color": NEUTRAL, "line": {"width": 2}},
        hovertemplate="chance %{x:.0f}<extra></extra>",
    )  # fmt: skip
    fig.update_layout(barmode="group", bargap=0.25, showlegend=True, legend={"traceorder": "reversed"})
    fig.update_xaxes(rangemode="tozero")
    fig.update_yaxes(showgrid=False, ticklabelstandoff=8)
    return fig


def _around(interval: tuple[float, float] | None, value: float, scale: float) -> tuple[float, float]:
    if interval is None:
        return 0.0, 0.0
    return (value - interval[0]) * scale, (interval[1] - value) * scale


def change_bars(found: ModelComparison) -> go.Figure | None:
    """A bar a model and language: the mean change of its tasks from the base, in points, with 95% intervals."""
    changes = found.by_language()
    if not changes:
        return None
    languages = list(changes)[::-1]
    labels = [shown_language(language) or "no language" for language in languages]
    others = found.names[1:]
    fig = figure(80 + len(languages) * (14 + 16 * len(others)), left=10, right=20, top=40)
    for name in others[::-1]:
        own = [changes[language].get(name) for language in languages]
        fig.add_bar(
            y=labels, x=[each.points if each else None for each in own], name=escape(name), orientation="h",
            marker={"color": _colour(found, name)}, hovertemplate=f"{escape(name)}, %{{y}}: %{{x:+.1f}} points<extra></extra>",
            error_x={"array": [(each.half or 0) if each else 0 for each in own], "color": NEUTRAL, "thickness": 1.2, "width": 2},
        )  # fmt: skip
    fig.add_vline(x=0, line={"color": NEUTRAL, "width": 1})
    fig.update_layout(barmode="group", bargap=0.3, showlegend=len(others) > 1, legend={"traceorder": "reversed"})
    fig.update_xaxes(title=f"points more than {escape(found.names[0])}")
    fig.update_yaxes(showgrid=False, ticklabelstandoff=8)
    return fig
