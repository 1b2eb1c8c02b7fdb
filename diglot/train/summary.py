"""The headline numbers of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diglot.model.huggingface import count_parameters

if TYPE_CHECKING:
    from diglot.train.loop import Job


def summarise(job: Job, lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Headline numbers of a run, from the lines of its metrics."""
    steps = [line for line in lines if line["type"] == "step"]
    evaluations = [line for line in lines if line["type"] == "evaluation"]
    first, last = evaluations[0], evaluations[-1]
    summary: dict[str, Any] = {
        "steps": job.settings.steps,
        "tokens": steps[-1]["tokens"],
        "loss": steps[-1]["loss"],
        "fill": round(sum(s["fill"] for s in steps) / len(steps), 4),
        "tokens_per_second": round(sum(s["tokens_per_second"] for s in steps) / len(steps)),
        "parameters": count_parameters(job.model.config),
        "bits_per_byte": last["languages"],
        "bits_per_byte_before": first["languages"],
        "sources": last["sources"],
        "sources_before": first["sources"],
        "mixture": {phase.name: job.order.realised(phase.name) for phase in job.rates},
        "dropped_as_too_long": dict(job.order.dropped),
        "mfu": round(sum(s["mfu"] for s in steps) / len(steps), 4),
        "peak_memory_mb": max(s["memory_mb"] for s in steps),
        "skipped_steps": [s["step"] for s in steps if "skipped" in s],
        "rollbacks": [line for line in lines if line["type"] == "rollback"],
    }
    return {key: value for key, value in summary.items() if value not in ({}, [])}
