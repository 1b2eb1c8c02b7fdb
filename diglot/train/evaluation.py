"""Evaluation within a run, and the run's summary: held-out text and pairs, the same ones on any number of processes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diglot.base.series import to_watch, watched
from diglot.base.summaries.model import HeldoutScore, MixturePart, TrainedModel
from diglot.model.huggingface import describe
from diglot.recipe.train import Preference
from diglot.tokens.packing import heldout_batches
from diglot.tokens.shards import TokenSource
from diglot.train.indicators import of_probes, of_text, sums_by_row
from diglot.train.job import Job
from diglot.train.metrics import means

REMEDY = "Lower learning_rate or steps, or raise preference.beta or preference.kl_weight"


@torch.no_grad()
def evaluate(job: Job, report: Callable[[str], None] = lambda note: None) -> dict[str, Any]:
    """Bits per byte of held-out text by source and language, indicators; of held-out pairs what `preference.MEASURES` names.

    Args:
        job: of the run.
        report: told what is being measured, batch by batch.
    """
    sources: dict[str, dict[str, Any]] = {}
    nats: dict[str, float] = {}
    size: dict[str, int] = {}
    rows: list[tuple[TokenSource, Tensor, int]] = []
    pairs: dict[str, list[float]] = {}  # their number, and the sums of what is measured on them, by language
    for number, (name, source) in enumerate(job.heldout.items(), 1):
        sums_BM, num_bytes = _measure(job, source, report, f"evaluating {name} ({number} of {len(job.heldout)})")
        loss, count, *sums = sums_BM.sum(0).tolist()
        if not count:
            continue
        rows.append((source, sums_BM, num_bytes))
        sources[name] = {"language": source.language, "loss": round(loss / count, 6)}
        if source.form == "pairs":
            sources[name] |= means(sums, count)
            earlier = pairs.get(source.language, [0.0] * (1 + len(sums)))
            pairs[source.language] = [one + other for one, other in zip(earlier, [count, *sums], strict=True)]
        else:
            sources[name]["bits_per_byte"] = round(loss / math.log(2) / num_bytes, 6)
        if source.form == "text" and source.domain != "parallel":
            nats[source.language] = nats.get(source.language, 0.0) + loss
            size[source.language] = size.get(source.language, 0) + num_bytes
    indicators = of_text(rows)
    for language, found in of_probes(job, report).items():
        indicators.setdefault(language, {}).update(found)
    job.mesh.rest(job.model)
    languages = {language: round(nats[language] / math.log(2) / size[language], 6) for language in nats}
    preferences = {language: means(sums, count) for language, (count, *sums) in pairs.items()}
    measured = {"preferences": preferences, "indicators": indicators}
    return {"sources": sources, "languages": languages, **{name: of for name, of in measured.items() if of}}


def beyond_limit(found: dict[str, Any], settings: Preference) -> dict[str, str]:
    """What to say of each language in which an evaluation found the model further from its reference than it may be."""
    if settings.kl_limit is None:
        return {}
    return {
        language: f"{language} has moved {_number(of['kl'])} nats per token from the reference, the limit is {settings.kl_limit:g}"
        for language, of in found.get("preferences", {}).items()
        if of["kl"] is None or of["kl"] > settings.kl_limit
    }


def _number(value: float | None) -> str:
    return "infinitely many" if value is None else f"{value:.3g}"


def in_words(found: dict[str, Any]) -> str:
    """What an evaluation found, in a line: bits per byte by language; of pairs and chats, which have none, by source."""
    by_language = [f"{language} {bits:.4f}" for language, bits in found["languages"].items()]
    if by_language:
        return f"bits per byte {', '.join(by_language)}"
    return ", ".join(
        f"{name} {of['accuracy']:.1%} right, KL {_number(of['kl'])}"
        if "accuracy" in of
        else f"{name} loss {of['loss']:.4f}"
        for name, of in found["sources"].items()
    )


def _measure(job: Job, source: TokenSource, report: Callable[[str], None], doing: str) -> tuple[Tensor, int]:
    """Sums over each row of a held-out source, float64 [B, 2 + M]: loss, units, what is measured on pairs; and its bytes."""
    parts, num_bytes = [], 0
    max_tokens = job.settings.tokens_an_evaluation(len(job.heldout))
    batches = heldout_batches(source, max_tokens, job.settings.sequence_length, job.rows * job.mesh.data_size)
    for number, batch in enumerate(batches, 1):
        report(f"{doing}, batch {number}")
        num_bytes += batch.bytes
        parts.append(sums_by_row(job, batch, job.rows))
    empty = torch.zeros(0, 2 + job.num_measures, dtype=torch.float64)
    return job.mesh.sum(torch.cat([empty, *parts])), num_bytes


def summarise(job: Job, lines: list[dict[str, Any]]) -> TrainedModel:
    """Headline numbers of a run, from the lines of its metrics."""
    steps = [line for line in lines if line["type"] == "step"]
    evaluations = [line for line in lines if line["type"] == "evaluation"]
    first, last = evaluations[0], evaluations[-1]
    return TrainedModel(
        **describe(job.model.config),
        steps=job.settings.steps,
        tokens=steps[-1]["tokens"],
        loss=steps[-1]["loss"],
        packing_efficiency=round(sum(s["packing_efficiency"] for s in steps) / len(steps), 4),
        tokens_per_second=round(sum(s["tokens_per_second"] for s in steps) / len(steps)),
        mfu=round(sum(s["mfu"] for s in steps) / len(steps), 4),
        peak_memory_mb=max(s["memory_mb"] for s in steps),
        bits_per_byte=last["languages"],
        bits_per_byte_before=first["languages"],
        sources=_scores(last),
        sources_before=_scores(first),
        watch=to_watch(watched(evaluations)),
        mixture={phase.name: _parts(job, phase.name) for phase in job.schedules},
        dropped_as_too_long=dict(job.order.dropped),
        documents=job.order.num_documents,
        skipped_steps=[s["step"] for s in steps if "skipped" in s],
        rollbacks=sum(line["type"] == "rollback" for line in lines),
        beyond_limit=list(beyond_limit(last, job.settings.preference)),
    )


def _scores(evaluation: dict[str, Any]) -> dict[str, HeldoutScore]:
    return {name: HeldoutScore(**of) for name, of in evaluation["sources"].items()}


def _parts(job: Job, phase: str) -> dict[str, MixturePart]:
    return {name: MixturePart(**of) for name, of in job.order.realised(phase).items()}
