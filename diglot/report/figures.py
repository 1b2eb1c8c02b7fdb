"""The figures of the report, as Plotly figures made from plain records.

One colour per language through the whole page (Okabe and Ito's palette, safe for the colour-blind), greys for what
is no language; orange is what was dropped. Axes and fonts carry no colours: the page's script gives them the
reader's light or dark theme. Series are labelled at their end rather than in a legend where that fits.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go

from diglot.base.format import join, words
from diglot.report.comparisons import Comparison
from diglot.report.reading import Training
from diglot.text.languages import shown_language

PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#7A8B00"]
NEUTRAL, FAINT, DROPPED = "#7A8694", "rgba(128,138,150,0.35)", "#E08214"
DASHES = ["solid", "dash", "dot", "dashdot"]
DROP_COLOURS = ["#B35806", "#E08214", "#FDB863", "#8073AC", "#B2ABD2", "#D6604D", "#92C5DE", "#C7B99C", "#A0A0A0"]
MAX_POINTS = 300


class Colours:
    """One colour per language, and one dash per source of it, the same in all figures."""

    def __init__(self, languages: Sequence[str], source_languages: dict[str, str]):
        self.source_languages = source_languages
        keys = dict.fromkeys([*languages, *source_languages.values()])
        self.by_language = {key: PALETTE[index % len(PALETTE)] for index, key in enumerate(keys)}

    def of(self, name: str) -> str:
        """The colour of a language or a source."""
        return self.by_language.get(self.source_languages.get(name, name), NEUTRAL)

    def in_order(self, sources: Iterable[str]) -> list[str]:
        """Sources in the order of the run: text before chat, the first of a language first."""
        known = list(self.source_languages)
        return sorted(sources, key=lambda name: (known.index(name) if name in known else len(known), name))

    def dashes(self, sources: Sequence[str]) -> dict[str, str]:
        """The dashes of one figure's sources: solid for the first of each language."""
        seen: dict[str, int] = {}
        found = {}
        for source in sources:
            language = self.source_languages.get(source, source)
            found[source] = DASHES[seen.get(language, 0) % len(DASHES)]
            seen[language] = seen.get(language, 0) + 1
        return found


def figure(
    height: int, *, left: int = 50, right: int = 16, top: int = 28, bottom: int = 42, **layout: Any
) -> go.Figure:
    """An empty figure in the page's style; `height` and margins in pixels."""
    fig = go.Figure()
    fig.update_layout(
        template="none",
        height=height,
        margin={"l": left, "r": right, "t": top, "b": bottom},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=False,
        hoverlabel={"font": {"size": 13}},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        **layout,
    )
    fig.update_xaxes(zeroline=False, showline=False, ticks="", automargin=True)
    fig.update_yaxes(zeroline=False, showline=False, ticks="", automargin=True)
    return fig


def escape(text: str) -> str:
    """Plotly reads a small subset of HTML in labels: show names as they are."""
    return html.escape(text, quote=False)


def thin(values: Sequence[float | None], size: int, use: str = "mean") -> list[float | None]:
    """Means (or maxima) of every `size` neighbours, to 5 digits."""
    found: list[float | None] = []
    for start in range(0, len(values), size):
        group = [v for v in values[start : start + size] if v is not None and math.isfinite(v)]
        value = (max(group) if use == "max" else sum(group) / len(group)) if group else None
        found.append(float(f"{value:.5g}") if value is not None else None)
    return found


def label_ends(fig: go.Figure, ends: Sequence[tuple[float, float, str, str]], *, gap: float = 0.0) -> None:
    """Write names at the ends of lines: (x, y, text, colour), moved apart to at least `gap` in y."""
    placed: list[float] = []
    fig.update_layout(margin_r=max((20 + 7 * len(text) for _, _, text, _ in ends), default=16))
    for x, y, text, colour in sorted(ends, key=lambda end: end[1]):
        at = max(y, placed[-1] + gap) if placed else y
        placed.append(at)
        fig.add_annotation(
            x=x, y=at, text=escape(text), font={"color": colour, "size": 12}, showarrow=False,
            xanchor="left", xshift=6,
        )  # fmt: skip


# --- scores ---------------------------------------------------------------------------------------------------


def before_after(comparisons: list[Comparison], colours: Colours) -> go.Figure:
    """Dumbbells on a scale of 0 to 100: open before, filled after, a tick at chance, 95% intervals."""
    rows = [item for item in comparisons if item.either.kind in ("task", "preference")]
    fig = figure(46 + 34 * len(rows), left=10, right=30, top=34, bottom=8)
    names = [f"{shown_language(item.either.language)} · {escape(item.name)}{_of_source(item)}" for item in rows]
    for name, item in zip(names, rows):
        colour = colours.of(item.either.language)
        _dumbbell(fig, name, item, colour, [r.points if r else None for r in (item.before, item.after)])
        if item.either.chance:
            chance = item.either.chance * (100 if item.either.is_share else 1)
            fig.add_scatter(
                x=[chance], y=[name], mode="markers", name="chance", hovertemplate=f"chance {chance:.0f}<extra></extra>",
                marker={"symbol": "line-ns-open", "size": 20, "color": NEUTRAL, "line": {"width": 2}},
            )  # fmt: skip
    _row_axis(fig, names)
    fig.update_xaxes(range=[-2, 103], side="top", ticksuffix="", title=None)
    return fig


def _of_source(item: Comparison) -> str:
    """Preference pairs may have several sources in one language."""
    return f" ({escape(item.detail)})" if item.either.kind == "preference" else ""


def bits_before_after(comparisons: list[Comparison], colours: Colours) -> go.Figure:
    """Dumbbells of bits per byte; lower is better."""
    rows = [item for item in comparisons if item.either.kind == "bits"]
    fig = figure(46 + 34 * len(rows), left=10, right=30, top=34, bottom=8)
    names = [shown_language(item.either.language) for item in rows]
    for name, item in zip(names, rows):
        _dumbbell(fig, name, item, colours.of(item.either.language), [r.value if r else None for r in (item.before, item.after)])  # fmt: skip
    _row_axis(fig, names)
    fig.update_xaxes(rangemode="tozero", side="top")
    return fig


def _row_axis(fig: go.Figure, names: list[str]) -> None:
    fig.update_yaxes(
        categoryorder="array", categoryarray=names[::-1], range=[-0.6, len(names) - 0.4], showgrid=False,
        ticklabelstandoff=8,
    )  # fmt: skip


def _dumbbell(fig: go.Figure, name: str, item: Comparison, colour: str, values: list[float | None]) -> None:
    present = [value for value in values if value is not None]
    fig.add_scatter(
        x=present, y=[name] * len(present), mode="lines", line={"color": colour, "width": 3}, opacity=0.35,
        hoverinfo="skip",
    )  # fmt: skip
    labelled = zip(("before", "after"), (item.before, item.after), values, ("circle-open", "circle"))
    for when, result, value, symbol in labelled:
        if result is None or value is None:
            continue
        scale = 100 if result.is_share else 1
        low, high = result.interval or (result.value, result.value)
        fig.add_scatter(
            x=[value], y=[name], mode="markers", name=when,
            marker={"symbol": symbol, "size": 12, "color": colour, "line": {"color": colour, "width": 2}},
            error_x={
                "array": [(high - result.value) * scale], "arrayminus": [(result.value - low) * scale],
                "color": colour, "thickness": 1.2, "width": 0, "visible": high > low,
            },
            hovertemplate=f"{when}: {result.text} {result.error_text}<extra></extra>",
        )  # fmt: skip


# --- text -----------------------------------------------------------------------------------------------------


def ledger_bars(sources: dict[str, dict[str, Any]]) -> go.Figure:
    """Share of documents kept, held out and dropped by reason, one bar a source."""
    names = list(sources)[::-1]  # plotly draws the first at the bottom
    totals: dict[str, int] = {}
    for entry in sources.values():
        for reason, count in (entry.get("dropped") or {}).items():
            totals[reason] = totals.get(reason, 0) + count["documents"]
    ranked = sorted(totals, key=lambda reason: (-totals[reason], reason))
    # The colours can be told apart as far as they go; the rarest reasons share the last one.
    shown, rest = ranked[: len(DROP_COLOURS) - 1], ranked[len(DROP_COLOURS) - 1 :]
    height = 34 if len(names) < 10 else 23
    fig = figure(120 + height * len(names), left=10, top=30)

    def bar(label: str, documents: list[int], colour: str) -> None:
        read = [max(1, sources[name]["read"]["documents"]) for name in names]
        fig.add_bar(
            y=[escape(name) for name in names], x=[100 * d / r for d, r in zip(documents, read)], name=label,
            orientation="h", marker={"color": colour}, customdata=documents,
            hovertemplate=f"{label}: %{{customdata:,}} documents (%{{x:.1f}}%)<extra></extra>",
        )  # fmt: skip

    def dropped(name: str, reasons: list[str]) -> int:
        entries = sources[name].get("dropped") or {}
        return sum(entries[reason]["documents"] for reason in reasons if reason in entries)

    bar("kept", [sources[name]["kept"]["documents"] for name in names], "#8FA3B5")
    bar("held out", [sources[name].get("held_out", {}).get("documents", 0) for name in names], "#C9D3DC")
    for reason, colour in zip(shown, DROP_COLOURS):
        bar(escape(words(reason)), [dropped(name, [reason]) for name in names], colour)
    if rest:
        bar("other reasons", [dropped(name, rest) for name in names], DROP_COLOURS[-1])
    fig.update_layout(barmode="stack", bargap=0.35, showlegend=True, legend={"traceorder": "normal"})
    fig.update_xaxes(range=[0, 100], ticksuffix="%")
    fig.update_yaxes(showgrid=False, ticklabelstandoff=8)
    return fig


# --- training -------------------------------------------------------------------------------------------------


def _groups(training: Training) -> tuple[list[int], int]:
    """The last step of every group of neighbouring steps that a figure draws as one point, and their number."""
    steps = [record["step"] for record in training.steps]
    size = math.ceil(len(steps) / MAX_POINTS)
    return [steps[min(start + size, len(steps)) - 1] for start in range(0, len(steps), size)], size


def _shade_phases(fig: go.Figure, training: Training, names: bool) -> None:
    phases = training.phases
    for index, (name, first, last) in enumerate(phases if len(phases) > 1 else []):
        if index % 2:
            fig.add_vrect(x0=first, x1=last, fillcolor="rgba(128,138,150,0.12)", line_width=0, layer="below")
        if names:
            fig.add_annotation(
                x=(first + last) / 2, y=1, yref="paper", yanchor="bottom", text=escape(name),
                showarrow=False, font={"size": 11, "color": NEUTRAL},
            )  # fmt: skip


def _mark_guard(fig: go.Figure, training: Training) -> None:
    """A dotted line where the guard went back to, and a triangle on the axis for each step that it skipped."""
    for each in training.rollbacks:
        fig.add_vline(x=each["step"], line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    if training.skipped:
        fig.add_scatter(
            x=training.skipped, y=[0] * len(training.skipped), yaxis="y2", mode="markers", name="skipped",
            marker={"symbol": "triangle-up", "size": 9, "color": NEUTRAL}, cliponaxis=False,
            hovertemplate="step %{x} was skipped<extra></extra>",
        )  # fmt: skip
        fig.update_layout(yaxis2={"overlaying": "y", "range": [0, 1], "visible": False})


def loss_curve(training: Training, colours: Colours) -> go.Figure:
    """Training loss by source over steps, a mean of neighbouring steps a point."""
    steps = training.steps
    x, size = _groups(training)
    fig = figure(300, right=110, top=26 if len(training.phases) > 1 else 10)
    sources = colours.in_order({name for record in steps for name in record.get("losses") or {}})
    ends, dashes = [], colours.dashes(sources)
    series: list[tuple[str, str, str, list[float | None]]] = [
        (
            name, colours.of(name), dashes[name],
            thin([(record.get("losses") or {}).get(name) for record in steps], size),
        )
        for name in sources
    ]  # fmt: skip
    # With one source "all" would be the same line twice.
    if len(sources) != 1:
        series.insert(0, ("all", NEUTRAL, "solid", thin([record.get("loss") for record in steps], size)))
    for name, colour, dash, values in series:
        fig.add_scatter(
            x=x, y=values, mode="lines", name=escape(name), connectgaps=True,
            line={"color": colour, "dash": dash, "width": 1.6},
            hovertemplate=f"{escape(name)} %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
        drawn = [(at, value) for at, value in zip(x, values) if value is not None]
        if drawn:
            ends.append((*drawn[-1], name, colour))
    every = [value for _, _, _, values in series for value in values if value is not None]
    label_ends(fig, ends, gap=(max(every) - min(every)) * 0.065 if every else 0)
    # Lines are named at their ends, where they can be read; a legend would be looked up for each.
    _shade_phases(fig, training, names=True)
    _mark_guard(fig, training)
    fig.update_layout(hovermode="x unified")
    dpo = training.artifact.settings.get("objective") == "dpo"
    fig.update_yaxes(title="loss per pair" if dpo else "nats per token")
    fig.update_xaxes(title="step", showgrid=False, range=[0, x[-1]])
    return fig


def metric_curve(training: Training, key: str, *, logarithmic: bool = False, peaks: bool = False) -> go.Figure:
    """One logged number over steps; with `peaks` the largest of each group of steps faintly above its mean."""
    steps = training.steps
    x, size = _groups(training)
    values = [record.get(key) for record in steps]
    fig = figure(190, left=44, right=10, top=8)
    if peaks and size > 1:
        fig.add_scatter(x=x, y=thin(values, size, "max"), mode="lines", line={"color": FAINT, "width": 1}, hoverinfo="skip")  # fmt: skip
    fig.add_scatter(
        x=x, y=thin(values, size), mode="lines", name=words(key), line={"color": NEUTRAL, "width": 1.6},
        hovertemplate="%{y:.4~g} at step %{x}<extra></extra>",
    )  # fmt: skip
    _shade_phases(fig, training, names=False)
    fig.update_xaxes(title="step", showgrid=False, range=[0, x[-1]])
    if logarithmic:
        ticks = _log_ticks(values)
        fig.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    else:
        fig.update_yaxes(
            rangemode="tozero",
            nticks=5,
            tickformat="~g" if max(map(abs, filter(None, values)), default=1) < 1 else "~s",
        )
    return fig


def rate_curve(training: Training) -> go.Figure:
    """Learning rate over steps, with a line for every set of parameter groups that differs; frozen groups lie at 0."""
    steps = training.steps
    groups = dict.fromkeys(name for record in steps for name in record.get("learning_rates") or {})
    lines: dict[tuple[float | None, ...], list[str]] = {}
    for name in groups:
        values = tuple((record.get("learning_rates") or {}).get(name) for record in steps)
        lines.setdefault(values, []).append(name)
    if len(lines) < 2:
        return metric_curve(training, "learning_rate")
    x, size = _groups(training)
    fig, ends = figure(190, left=44, top=26 if len(training.phases) > 1 else 8), []
    for (values, names), dash in zip(lines.items(), DASHES):
        label, points = join(names), thin(values, size)
        fig.add_scatter(
            x=x, y=points, mode="lines", name=escape(label),
            line={"color": NEUTRAL, "width": 1.6, "dash": dash, "shape": "hv"},
            hovertemplate=f"{escape(label)} %{{y:.4~g}} at step %{{x}}<extra></extra>",
        )  # fmt: skip
        ends.append((x[-1], points[-1] or 0.0, label, NEUTRAL))
    label_ends(fig, ends, gap=0.13 * max(value or 0.0 for values in lines for value in values))
    _shade_phases(fig, training, names=True)
    fig.update_xaxes(title="step", showgrid=False, range=[0, x[-1]])
    fig.update_yaxes(rangemode="tozero", nticks=5, tickformat="~g")
    return fig


def _log_ticks(values: Sequence[float | None]) -> list[float]:
    """1, 2, 5, 10, …; only powers of ten where the values span more than two decades."""
    positive = [value for value in values if value]
    if not positive:
        return []
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    steps = (1,) if high - low > 3 else (1, 2, 5)
    return [float(f"{step}e{power}") for power in range(low, high + 1) for step in steps]


def preference_curve(training: Training, key: str, colours: Colours) -> go.Figure:
    """Accuracy, margin or distance from the reference on held-out pairs at each evaluation of DPO, by source."""
    fig = figure(190, left=44, right=90, top=8)
    ends = []
    sources = dict.fromkeys(name for record in training.evaluations for name in record.get("sources") or {})
    for name in sources:
        points = [
            (record["step"], record["sources"][name][key])
            for record in training.evaluations
            if (record.get("sources") or {}).get(name, {}).get(key) is not None
        ]
        if points:
            x, y = zip(*points)
            fig.add_scatter(
                x=list(x), y=list(y), mode="lines+markers", name=escape(name),
                line={"color": colours.of(name), "width": 2},
                hovertemplate=f"{escape(name)} %{{y:.3f}}<extra></extra>",
            )  # fmt: skip
            ends.append((x[-1], y[-1], name, colours.of(name)))
    values = [source[key] for r in training.evaluations for source in (r.get("sources") or {}).values() if source.get(key) is not None]  # fmt: skip
    label_ends(fig, ends, gap=0.13 * (max(values) - min(values)))
    if key == "accuracy":
        fig.update_yaxes(tickformat=".0%")
        fig.add_hline(y=0.5, line={"color": NEUTRAL, "dash": "dash", "width": 1})
    fig.update_xaxes(title="step", showgrid=False, range=[0, max(end[0] for end in ends)])
    return fig


def bits_over_tokens(
    segments: list[dict[str, Any]], points: list[dict[str, Any]], stages: list[tuple[str, int, int]], colours: Colours
) -> go.Figure:
    """Bits per byte by language over all tokens trained on; equal steps upwards are equal ratios.

    A language that the base never saw begins at 16 bits and ends below 1: on a linear axis the others are one flat line.

    Args:
        segments: one a train stage: `{"stage", "languages": {language: [(tokens, bits)]}}`.
        points: one an evaluate stage: `{"stage", "tokens", "languages": {language: (bits, half their interval)}}`.
        stages: name, first and last token of every train stage.
        colours: one a language.
    """
    fig = figure(420, right=120, top=44)
    # Where each language stood last: dotted lines begin there, and names are written there.
    latest: dict[str, tuple[float, float]] = {}
    for segment in segments:
        for language, series in segment["languages"].items():
            _join(fig, latest.get(language), series[0], colours.of(language))
            fig.add_scatter(
                x=[x for x, _ in series], y=[y for _, y in series], mode="lines",
                name=f"{escape(segment['stage'])}, {escape(shown_language(language))}",
                line={"color": colours.of(language), "width": 2.2},
                hovertemplate=f"{escape(segment['stage'])}, {escape(shown_language(language))}: "
                "%{y:.3f} bits/byte at %{x:.3s} tokens<extra></extra>",
            )  # fmt: skip
            latest[language] = series[-1]
    for point in points:
        for language, (bits, half) in point["languages"].items():
            colour = colours.of(language)
            if language in latest and point["tokens"] > latest[language][0]:
                _join(fig, latest[language], (point["tokens"], bits), colour)
                latest[language] = (point["tokens"], bits)
            latest.setdefault(language, (point["tokens"], bits))
            fig.add_scatter(
                x=[point["tokens"]], y=[bits], mode="markers", cliponaxis=False,
                name=f"{escape(point['stage'])}, {escape(shown_language(language))}",
                error_y={"array": [half], "thickness": 1, "width": 0, "color": colour},
                marker={"symbol": "diamond-open", "size": 9, "color": colour, "line": {"width": 1.6}},
                hovertemplate=f"{escape(point['stage'])}, {escape(shown_language(language))}: %{{y:.3f}}<extra></extra>",
            )  # fmt: skip
    whole = max(end for _, _, end in stages)
    _name_stages(fig, stages, whole)
    values = [y for segment in segments for series in segment["languages"].values() for _, y in series if y > 0]
    values += [y for point in points for y, _ in point["languages"].values() if y > 0] or [1.0]
    low, high = math.log10(min(values)), math.log10(max(values))
    # Of a logarithmic axis plotly wants the places of annotations as powers of ten.
    ends = [(whole, math.log10(y), shown_language(name), colours.of(name)) for name, (_, y) in latest.items() if y > 0]
    label_ends(fig, ends, gap=0.055 * (high - low))
    ticks = [tick for tick in _log_ticks(values) if low - 0.05 <= math.log10(tick) <= high + 0.05]
    fig.update_yaxes(title="bits per byte", type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    fig.update_xaxes(title="tokens trained on", tickformat="~s", showgrid=False, range=[0, whole])
    return fig


def _join(fig: go.Figure, start: tuple[float, float] | None, end: tuple[float, float], colour: str) -> None:
    """A dotted line over what happened between two measurements: vocabulary expansion, a merge, another objective."""
    if start is not None and start[0] <= end[0]:
        fig.add_scatter(
            x=[start[0], end[0]], y=[start[1], end[1]], mode="lines", hoverinfo="skip",
            line={"color": colour, "width": 1.6, "dash": "dot"},
        )  # fmt: skip


def _name_stages(fig: go.Figure, stages: list[tuple[str, int, int]], whole: int) -> None:
    """A thin line where each stage begins, its name above the middle; stages side by side share a line."""
    spans: dict[tuple[int, int], list[str]] = {}
    for stage, start, end in stages:
        spans.setdefault((start, end), []).append(stage)
    narrow = 0
    for (start, end), names in spans.items():
        fig.add_vline(x=start, line={"color": FAINT, "width": 1})
        narrow = narrow + 1 if (end - start) / whole < 0.12 else 0
        fig.add_annotation(
            x=(start + end) / 2, y=1, yref="paper", yanchor="bottom", text=escape(", ".join(names)),
            showarrow=False, font={"size": 11, "color": NEUTRAL}, yshift=14 * ((narrow + 1) % 2 if narrow else 0),
        )  # fmt: skip


# --- cost -----------------------------------------------------------------------------------------------------


def seconds_bars(seconds: dict[str, float]) -> go.Figure:
    """Seconds by stage, in run order."""
    fig = figure(60 + 24 * len(seconds), left=10, right=60, top=8)
    names = [escape(name) for name in seconds][::-1]
    values = list(seconds.values())[::-1]
    fig.add_bar(
        y=names, x=values, orientation="h", name="seconds", marker={"color": "#8FA3B5"}, cliponaxis=False,
        text=[f"{value:,.1f}" for value in values], textposition="outside",
        hovertemplate="%{y}: %{x:.1f} s<extra></extra>",
    )  # fmt: skip
    fig.update_layout(bargap=0.3)
    fig.update_xaxes(title="seconds", rangemode="tozero")
    fig.update_yaxes(showgrid=False, ticklabelstandoff=8)
    return fig
