"""The training loop: one for every objective, readable from top to bottom.

    for step in range(start, steps):
        enter(phase)                           what is trained: a pure function of the step (freezing.py)
        batch = order.batch(step)              what to see: a pure function of the step
        update(batch, rate(step))              forward, backward, clip, optimizer step
        evaluate, keep the model, checkpoint   now and then

Nothing but the step number says where a run is: the data order, the learning rates and what is frozen are functions
of it. So a run that was killed goes on from its newest checkpoint and ends with the same weights, bit for bit, as one
that was not.
"""

from __future__ import annotations

import math
import resource
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from diglot.artifact import LOGS, Context, Inputs, UserError
from diglot.model.decoder import Decoder
from diglot.recipe import Train
from diglot.tokenizer.measure import tokenizer_hash
from diglot.tokens.order import Order
from diglot.tokens.packing import Batch
from diglot.tokens.shards import TokenSource, open_tokens
from diglot.train import launch
from diglot.train.branches import Exports, Past, check_sources, load_optimizer, read_past, sizes
from diglot.train.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from diglot.train.data import data_order, order_seed, phase_plans
from diglot.train.evaluation import evaluate
from diglot.train.freezing import Selection, read_surgery, restarts, select
from diglot.train.mesh import Mesh
from diglot.train.metrics import Metrics, read_metrics
from diglot.train.objectives import (
    MicroBatch,
    Outcome,
    direct_preference,
    language_modelling,
    micro_batches,
    units,
)
from diglot.train.optimizer import (
    build_optimizer,
    drop_frozen_gradients,
    effective_rates,
    gradients,
    restart,
    set_rates,
    take_step,
)
from diglot.train.schedule import PhaseSchedule, phase_at, schedule
from diglot.train.signals import stopping_at_signals
from diglot.train.summary import summarise

Objective = Callable[[Decoder, MicroBatch, int], Outcome]


@dataclass
class Job:
    """Everything a run works with; built once, before the first step."""

    settings: Train
    mesh: Mesh
    model: Decoder
    objective: Objective
    optimizer: torch.optim.AdamW
    order: Order
    rates: list[PhaseSchedule]
    trained: dict[str, Selection]  # by phase
    heldout: dict[str, TokenSource]
    facts: dict[str, str]
    exports: Exports
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def rows(self) -> int:
        """Sequences in a process's memory at a time."""
        share = self.settings.batch_size // self.mesh.data_size
        return min(self.settings.micro_batch_size or share, share)

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.mesh.device


def run(settings: Train, inputs: Inputs, output: Path, context: Context) -> dict[str, Any]:
    """The stage `train`.

    Raises:
        UserError: tokens of another tokenizer, an unknown source in a mixture, a phase that trains what the model
            does not have, or a loss that is not finite.
    """
    launch.together(settings, inputs, output, context)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(launch.threads(context.workers))
    with launch.explained():
        return _run(settings, inputs, output, context)


def _run(settings: Train, inputs: Inputs, output: Path, context: Context) -> dict[str, Any]:
    model_folder = inputs.one("model").path
    job = prepare(settings, model_folder, [artifact.path for artifact in inputs.many("tokens")], context)
    metrics_file = context.scratch / "metrics.jsonl"
    start = resume(job, context.scratch)
    metrics = Metrics(metrics_file if job.mesh.is_first else None, start)
    with stopping_at_signals(job.stop):
        train(job, start, metrics, context)
    metrics.close()
    job.exports.finish(job.model, job.optimizer, output)
    if not job.mesh.is_first:
        return {}
    (output / LOGS).mkdir()
    shutil.copy(metrics_file, output / LOGS / "metrics.jsonl")
    return summarise(job, read_metrics(metrics_file))


def prepare(settings: Train, model_folder: Path, token_folders: list[Path], context: Context) -> Job:
    """Load the model, open the tokens and lay out the plan.

    Raises:
        UserError: tokens of another tokenizer, a mixture that names an unknown source, or a phase that trains what
            the model does not have.
    """
    mesh = Mesh(settings.parallel)
    mesh.check(settings)
    tokenizer = tokenizer_hash(model_folder)
    model = mesh.load(model_folder, settings)
    if settings.sequence_length > model.config.max_positions:
        raise UserError(
            f"sequence_length is {settings.sequence_length}, but the model has {model.config.max_positions} positions"
        )
    past = read_past(model_folder, settings)
    seed = past.seed if past else order_seed(context.seed, settings, context.name)
    behind = past.phases if past else ()
    sources = open_tokens(token_folders, tokenizer, "train")
    if past:
        check_sources(past, sources)
    order = data_order(settings, sources, seed, behind)
    heldout = open_tokens(token_folders, tokenizer, "heldout")
    surgery = read_surgery(model_folder, model.config)
    trained = {phase.name: select(model, surgery, phase) for phase in settings.phases}
    for parameter in model.parameters():  # what no phase trains has no moments
        parameter.requires_grad_(any(parameter in selection for selection in trained.values()))
    optimizer = build_optimizer(model, settings)
    if settings.continues != "weights":
        load_optimizer(model, optimizer, model_folder)
    contents = {source.name: source.content for source in order.sources}
    record = Past(seed, (*behind, *phase_plans(settings)), contents, sizes(settings))
    return Job(
        settings=settings,
        mesh=mesh,
        model=model,
        objective=_objective(settings, model_folder, mesh),
        optimizer=optimizer,
        order=order,
        rates=schedule(settings),
        trained=trained,
        heldout={
            name: source
            for name, source in heldout.items()
            if (source.form == "pairs") == (settings.objective == "dpo")
        },
        facts={"plan": order.fingerprint, "tokenizer": tokenizer},
        exports=Exports(settings, model_folder, context.scratch, mesh, record),
    )


def _objective(settings: Train, model_folder: Path, mesh: Mesh) -> Objective:
    if settings.objective != "dpo":
        return language_modelling
    reference = mesh.load(model_folder, settings).requires_grad_(False)
    return lambda model, micro, count: direct_preference(model, reference, settings.beta, micro, count)


def resume(job: Job, scratch: Path) -> int:
    """Take up the newest checkpoint, if there is one; returns the steps done.

    Before any phase is entered: torch leaves out the moments of parameters that are frozen when it loads them.
    """
    found = list_checkpoints(scratch / "checkpoints")
    return load_checkpoint(found[-1], job.model, job.optimizer, job.facts, job.mesh) if found else 0


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
        if step in (start, phase_at(job.rates, step).start):
            enter(job, step)
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
        if job.exports.due(done):
            job.exports.keep(job.model, job.optimizer, done)
        asked_to_stop = job.mesh.any(job.stop.is_set())
        if done % settings.checkpoint_every == 0 or asked_to_stop:
            save_checkpoint(
                checkpoints, job.model, job.optimizer, done, job.facts, settings.keep_checkpoints, job.mesh
            )
        if asked_to_stop:
            raise KeyboardInterrupt


def enter(job: Job, step: int) -> None:
    """Freeze what the phase of a step does not train; its first step starts some moments afresh (see `restarts`)."""
    phases = [phase for phase in job.rates if phase.steps]
    phase = phase_at(phases, step)
    trained = job.trained[phase.name]
    for parameter in job.model.parameters():
        parameter.requires_grad_(parameter in trained)
    if step == phase.start:
        selections = [job.trained[each.name] for each in phases]
        for thawed in restarts(selections, phases.index(phase)):
            restart(job.optimizer, thawed)


def update(job: Job, batch: Batch, step: int) -> dict[str, Any]:
    """One optimizer step; returns what to log.

    Raises:
        UserError: the loss or the gradient is not finite; names the step and its documents.
    """
    phase, names = phase_at(job.rates, step), job.order.names
    rate = phase.rate(step)
    by_rows = {parameter: rows for parameter, rows in job.trained[phase.name].items() if rows is not None}
    mine = job.mesh.rows(batch)
    count = job.mesh.sum(torch.tensor(units(mine, job.settings.objective)))
    total_units = max(1, int(count))
    found_S2 = torch.zeros(len(names), 2, dtype=torch.float64, device=job.device)  # loss and units by source
    job.optimizer.zero_grad(set_to_none=True)
    for micro in micro_batches(mine, job.rows, job.device):
        with job.mesh.autocast(job.settings.precision):
            outcome = job.objective(job.model, micro, len(names))
        (outcome.loss / total_units).backward()
        found_S2 += torch.stack([outcome.sums_S, outcome.units_S], dim=1)
    drop_frozen_gradients(by_rows)
    norms, norm = job.mesh.clip(gradients(job.optimizer), job.settings.gradient_clip)
    sums_S, units_S = job.mesh.sum(found_S2).cpu().unbind(dim=1)
    loss = float(sums_S.sum() / total_units)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        seen = sorted({f"{source}: {document}" for source, document, *_ in job.order.documents(step)})
        raise UserError(
            f"step {step + 1}: the loss is {loss:.4g} and the gradient norm {norm:.4g}; lower learning_rate "
            f"(now {rate:.3g}). Documents of this step: {'; '.join(seen[:5])} and {max(0, len(seen) - 5)} more"
        )
    set_rates(job.optimizer, rate, phase.multipliers)
    rates = effective_rates(job.optimizer)
    take_step(job.optimizer, by_rows)
    return {
        "phase": phase.name,
        "loss": round(loss, 6),
        "fill": round(batch.fill, 4),
        "losses": {name: round(float(s / n), 6) for name, s, n in zip(names, sums_S, units_S) if n},
        "gradient_norm": round(float(norm), 6),
        "gradient_norms": {name: round(float(value), 6) for name, value in norms.items()},
        "learning_rate": rate,
        "learning_rates": rates,
    }
