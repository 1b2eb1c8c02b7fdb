"""The section about the training of the models."""

from __future__ import annotations

from typing import Any

from diglot.report import figures
from diglot.report.figures import Colours
from diglot.report.reading import Run, Training
from diglot.report.results import duration
from diglot.report.section import Section, join, number, plot


def training(run: Run, colours: Colours) -> Section | None:
    """Loss, gradient norm, learning rate and speed of every train stage."""
    logged = [training for training in run.trainings if training.steps]
    if not logged:
        return None
    stages = [_train_stage(item, colours) for item in logged]
    falls = join([f"{item.artifact.stage} {_first(item):.2f} → {_last(item):.2f}" for item in logged])
    tokens = number(sum(item.tokens for item in logged))
    count = f"{len(logged)} train stages" if len(logged) > 1 else "One train stage"
    finding = f"{count} saw {tokens} tokens; the training loss went: {falls} nats per token."
    if any(item.artifact.settings.get("objective") == "dpo" for item in logged):
        finding = finding.replace(" nats per token.", " (nats per token; for DPO per pair).")
    return Section("training", "Training", finding, {"stages": stages})


def _first(item: Training) -> float:
    return item.steps[0].get("loss") or 0.0


def _last(item: Training) -> float:
    tail = [record["loss"] for record in item.steps[-max(1, len(item.steps) // 50) :] if record.get("loss")]
    return sum(tail) / len(tail) if tail else 0.0


def _train_stage(item: Training, colours: Colours) -> dict[str, Any]:
    name, settings = item.artifact.stage, item.artifact.settings
    group = -(-len(item.steps) // figures.MAX_POINTS)
    caption = "Training loss by source" + (f"; a point is the mean of {group} steps" if group > 1 else "")
    if len(item.phases) > 1:
        caption += "; bands are phases"
    if item.rollbacks:
        caption += "; dotted: where the guard went back to"
    if item.skipped:
        caption += "; triangles: skipped steps"
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
    for key, label in (("accuracy", "Held-out pairs ranked right"), ("margin", "Held-out margin (nats)")):
        if any(
            key in source for record in item.evaluations for source in (record.get("sources") or {}).values()
        ):
            curve = figures.preference_curve(item, key, colours)
            small.append(plot(f"{key}-{name}", curve, f"{label}, by source"))
    facts = [settings.get("objective", "lm"), f"{len(item.steps):,} steps", f"{number(item.tokens)} tokens"]
    facts.append(duration(item.artifact.provenance.get("seconds")))
    if item.memory_mb:
        facts.append(f"peak memory {item.memory_mb:,.0f} MB")
    if utilisation := [record["mfu"] for record in item.steps if record.get("mfu")]:
        facts.append(f"MFU {sum(utilisation) / len(utilisation):.0%}")
    if item.skipped:
        facts.append(f"{len(item.skipped)} step{'s' if len(item.skipped) > 1 else ''} skipped")
    for each in item.rollbacks:
        first, end = each["passed_over"]
        facts.append(
            f"back from step {each['after']} to {each['step']}, past the data of {end - first} steps"
        )
    if item.unreadable:
        facts.append(f"{item.unreadable} unreadable line(s) in its log")
    loss = plot(f"loss-{name}", figures.loss_curve(item, colours), caption)
    return {"name": name, "facts": facts, "loss": loss, "small": small}
