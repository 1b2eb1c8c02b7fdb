"""The training loop: one for every objective, readable from top to bottom.

    for step in range(start, steps):
        batch = order.batch(step)              what to see: a pure function of the step
        update(batch, rate(step))              forward, backward, clip, optimizer step
        evaluate, checkpoint                   now and then

Nothing but the step number says where a run is: the data order and the learning rate are functions of it. So a run
that was killed goes on from its newest checkpoint and ends with the same weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import math
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from diglot.artifact import LOGS, Context, Inputs, UserError, fingerprint
from diglot.model.decoder import Decoder
from diglot.model.huggingface import load_decoder, save_decoder
from diglot.recipe import Train
from diglot.tokenizer.measure import tokenizer_hash
from diglot.tokens.order import Order, PhasePlan
from diglot.tokens.packing import Batch, heldout_batches
from diglot.tokens.shards import TokenSource, open_tokens
from diglot.train.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from diglot.train.metrics import Metrics, read_metrics
from diglot.train.objectives import (
    MicroBatch,
    Outcome,
    direct_preference,
    language_modelling,
    micro_batches,
    units,
)
from diglot.train.optimizer import build_optimizer, gradient_norms
from diglot.train.schedule import PhaseSchedule, phase_at, phase_steps, schedule

Objective = Callable[[Decoder, MicroBatch, int], Outcome]


@dataclass
class Job:
    """Everything a run works with; built once, before the first step."""

    settings: Train
    model: Decoder
    objective: Objective
    optimizer: torch.optim.Optimizer
    order: Order
    rates: list[PhaseSchedule]
    heldout: dict[str, TokenSource]
    device: torch.device
    facts: dict[str, str]
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def rows(self) -> int:
        """Sequences in memory at a time."""
        return self.settings.micro_batch_size or self.settings.batch_size

    def autocast(self) -> Any:
        """Mixed precision, where it was asked for; weights stay in float32."""
        if self.settings.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()


def run(settings: Train, inputs: Inputs, output: Path, context: Context) -> dict[str, Any]:
    """The stage `train`.

    Raises:
        UserError: tokens of another tokenizer, an unknown source in a mixture, or a loss that is not finite.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(context.workers)
    model_folder = inputs.one("model").path
    job = prepare(settings, model_folder, [artifact.path for artifact in inputs.many("tokens")], context)
    metrics_file = context.scratch / "metrics.jsonl"
    start = resume(job, context.scratch)
    metrics = Metrics(metrics_file, start)
    started = time.monotonic()
    with stopping_at_signals(job.stop):
        train(job, start, metrics, context)
    metrics.close()
    save_decoder(job.model, output, model_folder)
    (output / LOGS).mkdir()
    shutil.copy(metrics_file, output / LOGS / "metrics.jsonl")
    return summarise(job, read_metrics(metrics_file), time.monotonic() - started)


def prepare(settings: Train, model_folder: Path, token_folders: list[Path], context: Context) -> Job:
    """Load the model, open the tokens and lay out the plan.

    Raises:
        UserError: tokens of another tokenizer, or a mixture that names an unknown source.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = tokenizer_hash(model_folder)
    model = load_decoder(model_folder).to(device)
    if settings.sequence_length > model.config.max_positions:
        raise UserError(
            f"sequence_length is {settings.sequence_length}, but the model has {model.config.max_positions} positions"
        )
    phases = [
        PhasePlan(phase.name, steps, phase.mixture)
        for phase, steps in zip(settings.phases, phase_steps(settings.phases, settings.steps))
    ]
    seed = int(fingerprint([context.seed, settings.seed, context.name])[:8], 16)
    sources = open_tokens(token_folders, tokenizer, "train")
    forms = {"lm": ("text", "chat"), "sft": ("chat",), "dpo": ("pairs",)}[settings.objective]
    usable = {name: source for name, source in sources.items() if source.form in forms}
    if not usable:
        raise UserError(
            f"objective {settings.objective} needs {' or '.join(forms)} tokens; there are: {_forms(sources)}"
        )
    order = Order(usable, phases, settings.batch_size, settings.sequence_length, seed)
    heldout = open_tokens(token_folders, tokenizer, "heldout")
    return Job(
        settings=settings,
        model=model,
        objective=_objective(settings, model_folder, device),
        optimizer=build_optimizer(model, settings),
        order=order,
        rates=schedule(settings),
        heldout={
            name: source
            for name, source in heldout.items()
            if (source.form == "pairs") == (forms == ("pairs",))
        },
        device=device,
        facts={"plan": order.fingerprint, "tokenizer": tokenizer},
    )


def _objective(settings: Train, model_folder: Path, device: torch.device) -> Objective:
    if settings.objective != "dpo":
        return language_modelling
    reference = load_decoder(model_folder).to(device).requires_grad_(False)
    return lambda model, micro, count: direct_preference(model, reference, settings.beta, micro, count)


def _forms(sources: dict[str, TokenSource]) -> str:
    return ", ".join(f"{name} ({source.form})" for name, source in sources.items()) or "none"


def resume(job: Job, scratch: Path) -> int:
    """Take up the newest checkpoint, if there is one; returns the steps done."""
    found = list_checkpoints(scratch / "checkpoints")
    return load_checkpoint(found[-1], job.model, job.optimizer, job.facts) if found else 0


def train(job: Job, start: int, metrics: Metrics, context: Context) -> None:
    """Walk from `start` to the last step.

    Raises:
        KeyboardInterrupt: a signal asked to stop; a checkpoint was saved.
        UserError: the loss or the gradient is not finite.
    """
    settings = job.settings
    checkpoints = context.scratch / "checkpoints"
    tokens_a_step = settings.batch_size * settings.sequence_length
    if start == 0:
        metrics.write("evaluation", step=0, tokens=0, **evaluate(job))
    for step in range(start, settings.steps):
        clock = time.monotonic()
        record = update(job, job.order.batch(step), step)
        seconds, done = time.monotonic() - clock, step + 1
        metrics.write(
            "step",
            step=done,
            **record,
            tokens=done * tokens_a_step,
            tokens_per_second=round(tokens_a_step / seconds, 1),
            seconds=round(seconds, 4),
            memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        )
        context.progress(done, settings.steps, "steps", f"{record['phase']} loss {record['loss']:.3f}")
        if done % settings.evaluate_every == 0 or done == settings.steps:
            metrics.write("evaluation", step=done, tokens=done * tokens_a_step, **evaluate(job))
        asked_to_stop = job.stop.is_set()
        if done % settings.checkpoint_every == 0 or asked_to_stop:
            save_checkpoint(checkpoints, job.model, job.optimizer, done, job.facts, settings.keep_checkpoints)
        if asked_to_stop:
            raise KeyboardInterrupt


def update(job: Job, batch: Batch, step: int) -> dict[str, Any]:
    """One optimizer step; returns what to log.

    Raises:
        UserError: the loss or the gradient is not finite; names the step and its documents.
    """
    phase, names = phase_at(job.rates, step), job.order.names
    rate = phase.rate(step)
    total_units = max(1, units(batch, job.settings.objective))
    sums_S = torch.zeros(len(names), dtype=torch.float64)
    units_S = torch.zeros(len(names), dtype=torch.float64)
    job.optimizer.zero_grad(set_to_none=True)
    for micro in micro_batches(batch, job.rows, job.device):
        with job.autocast():
            outcome = job.objective(job.model, micro, len(names))
        (outcome.loss / total_units).backward()
        sums_S += outcome.sums_S.cpu()
        units_S += outcome.units_S.cpu()
    norms = gradient_norms(job.optimizer)
    norm = torch.nn.utils.clip_grad_norm_(job.model.parameters(), job.settings.gradient_clip).item()
    loss = float(sums_S.sum() / total_units)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        seen = sorted({f"{source}: {document}" for source, document, *_ in job.order.documents(step)})
        raise UserError(
            f"step {step + 1}: the loss is {loss:.4g} and the gradient norm {norm:.4g}; lower learning_rate "
            f"(now {rate:.3g}). Documents of this step: {'; '.join(seen[:5])} and {max(0, len(seen) - 5)} more"
        )
    for group in job.optimizer.param_groups:
        group["lr"] = rate
    job.optimizer.step()
    return {
        "phase": phase.name,
        "loss": round(loss, 6),
        "losses": {name: round(float(s / n), 6) for name, s, n in zip(names, sums_S, units_S) if n},
        "gradient_norm": round(norm, 6),
        "gradient_norms": {name: round(value, 6) for name, value in norms.items()},
        "learning_rate": rate,
    }


@torch.no_grad()
def evaluate(job: Job) -> dict[str, Any]:
    """Bits per byte of held-out text by source and language; accuracy and margin of held-out pairs."""
    sources: dict[str, dict[str, Any]] = {}
    nats: dict[str, float] = {}
    size: dict[str, int] = {}
    for name, source in job.heldout.items():
        loss = count = correct = margins = 0.0
        num_bytes = 0
        batches = heldout_batches(
            source, job.settings.evaluate_tokens, job.settings.sequence_length, job.rows
        )
        for batch in batches:
            num_bytes += batch.bytes
            for micro in micro_batches(batch, job.rows, job.device):
                with job.autocast():
                    outcome = job.objective(job.model, micro, 1)
                loss += float(outcome.sums_S.sum())
                count += float(outcome.units_S.sum())
                correct += outcome.correct
                margins += outcome.margins
        if not count:
            continue
        sources[name] = {"language": source.language, "loss": round(loss / count, 6)}
        if source.form == "pairs":
            sources[name] |= {"accuracy": round(correct / count, 6), "margin": round(margins / count, 6)}
        else:
            sources[name]["bits_per_byte"] = round(loss / math.log(2) / num_bytes, 6)
        if source.form == "text" and source.domain != "parallel":
            nats[source.language] = nats.get(source.language, 0.0) + loss
            size[source.language] = size.get(source.language, 0) + num_bytes
    languages = {language: round(nats[language] / math.log(2) / size[language], 6) for language in nats}
    return {"sources": sources, "languages": languages}


@contextmanager
def stopping_at_signals(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM set `stop`: the step in hand is finished and a checkpoint saved. A second one kills."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(number, before[number] or signal.SIG_DFL)

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def summarise(job: Job, lines: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Headline numbers of a run."""
    steps = [line for line in lines if line["type"] == "step"]
    evaluations = [line for line in lines if line["type"] == "evaluation"]
    first, last = evaluations[0], evaluations[-1]
    summary: dict[str, Any] = {
        "steps": job.settings.steps,
        "tokens": steps[-1]["tokens"],
        "loss": steps[-1]["loss"],
        "tokens_per_second": round(sum(s["tokens_per_second"] for s in steps) / len(steps)),
        "parameters": sum(parameter.numel() for parameter in job.model.parameters()),
        "bits_per_byte": last["languages"],
        "bits_per_byte_before": first["languages"],
        "sources": last["sources"],
        "sources_before": first["sources"],
        "mixture": {phase.name: job.order.realised(phase.name) for phase in job.rates},
        "dropped_as_too_long": dict(job.order.dropped),
        "peak_memory_mb": max(s["memory_mb"] for s in steps),
    }
    return {key: value for key, value in summary.items() if value != {}}
