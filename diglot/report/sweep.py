"""The section about learning-rate sweeps: what each rate gave on held-out text, and how its run went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from diglot.base.artifact import Artifact
from diglot.base.format import digits, duration, join, megabytes, number, scientific
from diglot.base.summaries.model import SweepRun, SweepSummary, TrainedModel
from diglot.base.summaries.tokenizer import TokensSummary
from diglot.base.table import Cell, Table, left, right
from diglot.report import figures
from diglot.report.comparisons import new_languages
from diglot.report.figures import NEUTRAL, Colours, escape, figure, label_ends, thin
from diglot.report.indicators import said, watch
from diglot.report.reading import Run, Training, read_lines
from diglot.report.section import Section, plot
from diglot.text.languages import shown_language
from diglot.tokens.packing import left_out

MAX_POINTS = 200
HEAT = [(0x8C, 0xBB, 0xDC), (0x7B, 0x5E, 0xA7), (0xC2, 0x18, 0x2B)]  # of the lowest, middle and highest rate


def sweeps(run: Run, colours: Colours) -> Section | None:
    """Held-out numbers against the learning rate, and the runs' curves, of every sweep."""
    found = [(each, each.summary) for each in run.artifacts if isinstance(each.summary, SweepSummary)]
    if not found:
        return None
    stages = [_sweep(artifact, content, colours) for artifact, content in found]
    finding = " ".join(_finding(artifact, content) for artifact, content in found)
    return Section("sweep", "Learning rates", finding, {"stages": stages})


def _finding(artifact: Artifact, content: SweepSummary) -> str:
    runs = sorted(content.runs, key=lambda each: each.learning_rate)
    best = next((each for each in runs if each.learning_rate == content.best), None)
    if best is None:
        return f"{artifact.stage}: all {len(runs)} learning rates diverged; try lower ones."
    names = [shown_language(name) for name in best.heldout]
    over = f", the mean of {join(names)}" if len(names) > 1 else ""
    text = f"{artifact.stage}: of {len(runs)} learning rates {scientific(best.learning_rate)} did best: "
    text += f"{best.mean:.3f} {content.measure} on held-out text{over}."
    if lost := [scientific(each.learning_rate) for each in runs if each.diverged]:
        text += f" {join(lost)} diverged."
    if best in (runs[0], runs[-1]):
        text += f" It is the {'lowest' if best is runs[0] else 'highest'} that was tried: the best may lie beyond it."
    return text


def _sweep(artifact: Artifact, content: SweepSummary, colours: Colours) -> dict[str, Any]:
    runs = sorted(content.runs, key=lambda each: each.learning_rate)
    name = artifact.stage
    curves = [(each, read_lines(artifact, "logs", f"rate-{each.learning_rate!r}.jsonl")[0]) for each in runs]
    caption = f"Held-out {content.measure} against the learning rate (lower is better)"
    if any(each.diverged for each in runs):
        caption += "; × diverged"
    facts = [
        f"{len(runs)} runs",
        f"{max(each.steps for each in runs):,} steps each",
        f"{number(sum(each.tokens for each in runs))} tokens",
    ]
    return {
        "name": name,
        "facts": facts,
        "rates": plot(f"rates-{name}", heldout_by_rate(content, colours), caption),
        "curves": plot(f"sweep-{name}", loss_curves(curves), "Training loss of each run, by learning rate"),
        "table": _table(runs, content.best),
    }


def _table(runs: Sequence[SweepRun], best: float | None) -> Table:
    """A row a learning rate: held-out numbers by language, and how the run went."""
    names = list(runs[0].before)
    numbers = right(*map(shown_language, names), "mean", "training loss", "largest gradient norm")
    table = Table([*left("learning rate"), *numbers, *left("")])
    for each in runs:
        notes = [f"{each.skipped_steps} steps skipped"] if each.skipped_steps else []
        if each.diverged:
            notes.insert(0, f"ended at step {each.steps}" if each.why else "worse than at the start")
        is_best = each.learning_rate == best
        table.add(
            Cell(scientific(each.learning_rate), style="strong" if is_best else ""),
            *(digits(each.heldout.get(name), 4) for name in names),
            Cell(digits(each.mean, 4), style="good" if is_best else ""),
            digits(each.loss, 4),
            digits(each.largest_gradient_norm),
            ", ".join(notes),
        )
    return table


def heldout_by_rate(content: SweepSummary, colours: Colours) -> go.Figure:
    """A line a language over learning rates on a log axis, the mean where there are several; the best is marked."""
    runs = sorted(content.runs, key=lambda each: each.learning_rate)
    good = [each for each in runs if not each.diverged]
    # A run that diverged has no place on the scale of the others; it is marked at its rate instead.
    fig = figure(320, top=30)
    lines = [
        (shown_language(name), colours.of(name), [_known(each.heldout[name]) for each in good])
        for name in runs[0].before
    ]
    if len(lines) > 1:
        lines.append(("mean", NEUTRAL, [_known(each.mean) for each in good]))
    x, ends = [each.learning_rate for each in good], []
    for name, colour, values in lines:
        fig.add_scatter(
            x=x, y=values, mode="lines+markers", name=escape(name), cliponaxis=False,
            line={"color": colour, "width": 2, "dash": "dot" if name == "mean" else "solid"},
            marker={"size": 7}, hovertemplate=f"{escape(name)} %{{y:.4f}} at %{{x:.3g}}<extra></extra>",
        )  # fmt: skip
        if values:
            ends.append((math.log10(x[-1]), values[-1], name, colour))
    every = [value for _, _, values in lines for value in values]
    label_ends(fig, ends, gap=0.07 * (max(every) - min(every)) if every else 0)
    _mark(fig, content.best, [each.learning_rate for each in runs if each.diverged])
    # A little room at both ends, so that the first and last points stand clear of the frame.
    rates = [each.learning_rate for each in runs]
    span = math.log10(rates[-1] / rates[0])
    fig.update_xaxes(
        title="learning rate", type="log", tickvals=rates, ticktext=[scientific(rate) for rate in rates],
        range=[math.log10(rates[0]) - 0.04 * span, math.log10(rates[-1]) + 0.04 * span], showgrid=False,
    )  # fmt: skip
    fig.update_yaxes(title=content.measure)
    return fig


def _known(value: float | None) -> float:
    assert value is not None, "a run that did not diverge has all its numbers"
    return value


def _mark(fig: go.Figure, best: float | None, diverged: Sequence[float]) -> None:
    """A line at the best rate, and a cross above each that diverged."""
    if best is not None:
        fig.add_vline(x=best, line={"color": NEUTRAL, "width": 1, "dash": "dash"})
        _write(fig, best, f"best: {scientific(best)}")
    for rate in diverged:
        _write(fig, rate, "×")


def _write(fig: go.Figure, rate: float, text: str) -> None:
    fig.add_annotation(
        x=math.log10(rate), y=1, yref="paper", yanchor="bottom", text=text, showarrow=False,
        font={"size": 12, "color": NEUTRAL},
    )  # fmt: skip


def loss_curves(curves: Sequence[tuple[SweepRun, list[dict[str, Any]]]]) -> go.Figure:
    """Training loss over steps, a line a run, from the lowest rate (blue) to the highest (red)."""
    fig = figure(300, top=10)
    ends, lows, highs = [], [], []
    for place, (each, records) in enumerate(curves):
        steps = [record for record in records if record.get("type") == "step"]
        size = max(1, -(-len(steps) // MAX_POINTS))
        x = [record["step"] for record in steps[::size]]
        values = thin([record.get("loss") for record in steps], size)
        colour, label = _heat(place / max(1, len(curves) - 1)), scientific(each.learning_rate)
        fig.add_scatter(
            x=x, y=values, mode="lines", name=label, line={"color": colour, "width": 1.8},
            hovertemplate=f"{label}: %{{y:.3f}} at step %{{x}}<extra></extra>",
        )  # fmt: skip
        # The scale: from the lowest loss of any run to the highest first one.
        drawn = [(at, value) for at, value in zip(x, values) if value is not None]
        lows += [value for _, value in drawn]
        highs += [value for _, value in drawn[:1]]
        if drawn and not each.why:
            ends.append((*drawn[-1], label, colour))
    if lows:
        low, high = min(lows), max(highs)
        margin = 0.08 * (high - low or 1.0)
        fig.update_yaxes(range=[low - margin, high + margin])  # a run that diverges leaves the picture
        inside = [(at, min(value, high), label, colour) for at, value, label, colour in ends]
        label_ends(fig, inside, gap=0.07 * (high - low))
    fig.update_yaxes(title="training loss")
    fig.update_xaxes(title="step", showgrid=False)
    return fig


def _heat(share: float) -> str:
    """A colour between those of HEAT."""
    below = min(int(share * (len(HEAT) - 1)), len(HEAT) - 2)
    part = share * (len(HEAT) - 1) - below
    return "#" + "".join(f"{round(a + (b - a) * part):02X}" for a, b in zip(HEAT[below], HEAT[below + 1]))


def training(run: Run, colours: Colours) -> Section | None:
    """Loss, gradient norm, learning rate and speed of every train stage."""
    logged = [training for training in run.trainings if training.steps]
    if not logged:
        return None
    encoded = {each.stage: each.summary for each in run.artifacts if isinstance(each.summary, TokensSummary)}
    new = new_languages(run.artifacts)
    stages = [_train_stage(item, encoded, colours) | watch(item, colours, new) for item in logged]
    falls = join([f"{item.artifact.stage} {_first(item):.2f} → {_last(item):.2f}" for item in logged])
    tokens = number(sum(item.tokens for item in logged))
    count = f"{len(logged)} train stages" if len(logged) > 1 else "One train stage"
    finding = f"{count} saw {tokens} tokens; the training loss went: {falls} nats per token."
    if any(item.artifact.settings.get("objective") == "dpo" for item in logged):
        finding = finding.replace(" nats per token.", " (nats per token; for DPO per pair).")
    finding += "".join(f" {sentence}" for item in logged if (sentence := said(item)))
    return Section("training", "Training", finding, {"stages": stages})


def _first(item: Training) -> float:
    return item.steps[0].get("loss") or 0.0


def _last(item: Training) -> float:
    tail = [record["loss"] for record in item.steps[-max(1, len(item.steps) // 50) :] if record.get("loss")]
    return sum(tail) / len(tail) if tail else 0.0


def _left_out(trained: Artifact, encoded: Mapping[str, TokensSummary]) -> list[str]:
    """What did not become training: left out or shortened when it was encoded, or longer than a sequence."""
    summary = trained.summary
    if not isinstance(summary, TrainedModel):
        return []
    stages = [encoded[name] for name in trained.inputs.get("stages", {}).get("tokens", {}) if name in encoded]
    sources = [(name, source) for stage in stages for name, source in stage.sources.items()]
    told = [text for name, of in sources if of.fitted and name in summary.documents for text in of.fitted.told(name)]
    return told + left_out(summary.dropped_as_too_long, summary.documents)


def _train_stage(item: Training, encoded: Mapping[str, TokensSummary], colours: Colours) -> dict[str, Any]:
    name, settings = item.artifact.stage, item.artifact.settings
    group = -(-len(item.steps) // figures.MAX_POINTS)
    caption = "Training loss by source" + (f"; a point is the mean of {group} steps" if group > 1 else "")
    if len(item.phases) > 1:
        caption += "; bands are phases"
    if item.rollbacks:
        caption += "; dotted: where the guard went back to"
    if item.skipped:
        caption += "; triangles: skipped steps"
    # The loss is the large figure; beside it what explains it, as small ones.
    clip = settings.get("gradient_clip")
    speed = figures.metric_curve(item, "tokens_per_second")
    rate = figures.rate_curve(item)
    gradient = figures.metric_curve(item, "gradient_norm", logarithmic=True, peaks=True)
    clipped = f" (before clipping at {clip:g}; faint: largest)" if clip else " (before clipping)"
    small = [
        plot(f"gradient-{name}", gradient, f"Gradient norm{clipped}"),
        plot(f"rate-{name}", rate, "Learning rate" + (" by group (0: frozen)" if len(rate.data) > 1 else "")),
        plot(f"speed-{name}", speed, "Tokens per second"),
    ]
    labels = {
        "accuracy": "Held-out pairs ranked right",
        "margin": "Held-out margin (nats)",
        "kl": "Moved from the reference on held-out pairs (nats per token)",
    }
    for key, label in labels.items():
        if any(
            source.get(key) is not None
            for record in item.evaluations
            for source in (record.get("sources") or {}).values()
        ):
            curve = figures.preference_curve(item, key, colours)
            small.append(plot(f"{key}-{name}", curve, f"{label}, by source"))
    # What one number says stands in a line of facts, and only where it was.
    facts = [settings.get("objective", "lm"), f"{len(item.steps):,} steps", f"{number(item.tokens)} tokens"]
    facts.append(duration(item.artifact.provenance.get("seconds")))
    if item.memory_mb:
        facts.append(f"peak memory {megabytes(item.memory_mb)}")
    if utilisation := [record["mfu"] for record in item.steps if record.get("mfu")]:
        facts.append(f"MFU {sum(utilisation) / len(utilisation):.0%}")
    if item.skipped:
        facts.append(f"{len(item.skipped)} step{'s' if len(item.skipped) > 1 else ''} skipped")
    for each in item.rollbacks:
        first, end = each["skipped_data"]
        facts.append(f"back from step {each['after']} to {each['step']}, past the data of {end - first} steps")
    facts += _left_out(item.artifact, encoded)
    if item.unreadable:
        facts.append(f"{item.unreadable} unreadable line(s) in its log")
    loss = plot(f"loss-{name}", figures.loss_curve(item, colours), caption)
    return {"name": name, "facts": facts, "loss": loss, "small": small}
