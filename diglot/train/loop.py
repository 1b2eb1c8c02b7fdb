"""The training loop: one for every objective, readable from top to bottom.

    for step in range(start, steps):
        enter(phase)                           what is trained: a pure function of the step (freezing.py)
        batch = order.batch(step)              what to see: a pure function of the step
        update(batch, rate(step))              forward, backward, clip, judge (guard.py), optimizer step
        settle(the step before)                its numbers, from the device into the metrics
        evaluate, keep the model, checkpoint   now and then

Nothing but the step number says where a run is: the data order, the learning rates and what is frozen are functions
of it. So a run that was killed goes on from its newest checkpoint and ends with the same weights, bit for bit, as one
that was not. A rollback is a resume too, from an older checkpoint and with some data passed over.

A step's numbers are read when the device has the next step to do already, so it never waits for the host to log.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from diglot.base.artifact import LOGS, Context, Inputs, UserError
from diglot.model.loss import is_slow_in_bfloat16
from diglot.recipe.train import Train, Training
from diglot.tokenizer.folder import tokenizer_hash
from diglot.tokens.order import joined
from diglot.tokens.packing import Batch
from diglot.tokens.shards import open_tokens
from diglot.train import launch
from diglot.train.branches import Exports, Past, check_sources, load_optimizer, read_past, sizes
from diglot.train.checkpoint import Checkpoints
from diglot.train.data import data_order, order_seed, phase_plans
from diglot.train.evaluation import evaluate, summarise
from diglot.train.freezing import read_surgery, restarts, select
from diglot.train.guard import Guard
from diglot.train.job import Job, Objective
from diglot.train.launch import stopping_at_signals
from diglot.train.mesh import Mesh
from diglot.train.metrics import FILE, MIRROR, Measured, Metrics, Speed, Step, read_metrics
from diglot.train.objectives import direct_preference, language_modelling, micro_batches, units
from diglot.train.optimizer import (
    build_optimizer,
    drop_frozen_gradients,
    effective_rates,
    gradients,
    restart,
    set_rates,
    take_step,
)
from diglot.train.rollbacks import ROLLBACKS, GoBack, Rollbacks, documents_of, plan_rollback, used_up
from diglot.train.schedule import RESUMES, phase_at, read_resumes, schedule, write_resumes


def run(settings: Train, inputs: Inputs, output: Path, context: Context) -> dict[str, Any]:
    """The stage `train`.

    Raises:
        UserError: tokens of another tokenizer, an unknown source in a mixture, a phase that trains what the model
            does not have, or a loss that is not finite.
    """
    with on_all_processes(settings, inputs, output, context):
        job = walk(settings, inputs, context)
        job.exports.finish(job.model, job.optimizer, output)
    if not job.mesh.is_first:
        return {}
    (output / LOGS).mkdir()
    shutil.copy(context.scratch / FILE, output / LOGS / FILE)
    if job.rollbacks.list:
        shutil.copy(context.scratch / ROLLBACKS, output / LOGS / ROLLBACKS)
    if (context.scratch / MIRROR).is_dir():
        shutil.copytree(context.scratch / MIRROR, output / LOGS / MIRROR)
    return summarise(job, read_metrics(context.scratch / FILE))


@contextlib.contextmanager
def on_all_processes(settings: Training, inputs: Inputs, output: Path, context: Context) -> Iterator[None]:
    """Let the other processes of a launcher do the same stage; the same bits each time."""
    launch.together(settings, inputs, output, context)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(launch.threads(context.workers))
    with launch.explained():
        yield


def walk(settings: Train, inputs: Inputs, context: Context) -> Job:
    """Train to the last step, from the newest checkpoint in the scratch folder; returns the job as it is then.

    Raises:
        UserError: see `run`.
    """
    while (job := _attempt(settings, inputs, context)) is None:
        gc.collect()  # FSDP's hooks refer back to the model: without this the next one would lie beside it
    return job


def _attempt(settings: Train, inputs: Inputs, context: Context) -> Job | None:
    """Train to the last step; None where the guard wants to go back."""
    model_folder = inputs.one("model").path
    job = prepare(settings, model_folder, [artifact.path for artifact in inputs.many("tokens")], context)
    start, damaged = resume(job)
    if settings.rewarm_steps:
        job.resumed_at = read_resumes(context.scratch / RESUMES, start)
        job.mesh.barrier()
        if job.mesh.is_first:
            write_resumes(context.scratch / RESUMES, job.resumed_at)
    rollbacks = [asdict(each) for each in job.rollbacks.list]
    metrics = Metrics(context.scratch if job.mesh.is_first else None, start, rollbacks)
    for text in [*damaged, *slow_in_bfloat16(job)]:
        print(f"warning: {text}", file=sys.stderr, flush=True)
    for text in damaged:
        metrics.write("damaged-checkpoint", step=start, text=text)
    try:
        with stopping_at_signals(job.stop), job.checkpoints:
            train(job, start, metrics, context)
    except GoBack as found:
        if job.mesh.is_first:
            job.rollbacks.write(found.rollback)
        job.checkpoints.drop_after(found.rollback.to)
        return None
    finally:
        metrics.close()
    return job


def slow_in_bfloat16(job: Job) -> list[str]:
    """What to say where bfloat16 is far slower than float32."""
    slow = job.device.type == "cpu" and is_slow_in_bfloat16()
    if not (slow and job.settings.precision == "bfloat16" and job.mesh.is_first):
        return []
    return [
        "precision: bfloat16 is many times slower than float32 on this processor (it lacks AVX-512); set precision: float32"
    ]


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
    previous = past.phases if past else ()
    sources = open_tokens(token_folders, tokenizer, "train")
    if past:
        check_sources(past, sources)
    rollbacks = Rollbacks(context.scratch / ROLLBACKS)
    skipped = joined([*(past.skipped if past else ()), *rollbacks.ranges()])
    order = data_order(settings, sources, seed, previous).skipping(skipped)
    heldout = open_tokens(token_folders, tokenizer, "heldout")
    surgery = read_surgery(model_folder, model.config)
    trained = {phase.name: select(model, surgery, phase) for phase in settings.phases}
    for parameter in model.parameters():  # what no phase trains has no moments
        parameter.requires_grad_(any(parameter in selection for selection in trained.values()))
    optimizer = build_optimizer(model, settings)
    if settings.continues != "weights":
        load_optimizer(model, optimizer, model_folder)
    contents = {source.name: source.content for source in order.sources}
    record = Past(seed, (*previous, *phase_plans(settings)), contents, sizes(settings), skipped)
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
        checkpoints=Checkpoints(context.scratch / "checkpoints", settings, mesh),
        guard=Guard(settings.guard, mesh.device),
        rollbacks=rollbacks,
        speed=Speed.of(settings, model.config, mesh),
    )


def _objective(settings: Train, model_folder: Path, mesh: Mesh) -> Objective:
    if settings.objective != "dpo":
        return functools.partial(language_modelling, z_loss=settings.z_loss)
    reference = mesh.load(model_folder, settings).requires_grad_(False)
    return lambda model, micro, count: direct_preference(model, reference, settings.beta, micro, count)


def resume(job: Job) -> tuple[int, list[str]]:
    """Take up the newest whole checkpoint, if there is one; returns the steps done, and what was damaged.

    Before any phase is entered: torch leaves out the moments of parameters that are frozen when it loads them.

    Raises:
        UserError: all checkpoints are damaged, or the one found is of other data or another model.
    """
    damaged: list[str] = []
    # What was trained on data that the guard has passed over since then is of no use.
    found = job.checkpoints.newest(
        lambda stored: stored["position"] == job.order.position(stored["step"]), damaged.append
    )
    if found is None:
        return 0, damaged
    stored = job.checkpoints.load(found, job.model, job.optimizer, job.guard.state(), job.facts)
    return stored["step"], damaged


def train(job: Job, start: int, metrics: Metrics, context: Context) -> None:
    """Walk from `start` to the last step.

    Raises:
        KeyboardInterrupt: a signal asked to stop; a checkpoint was saved.
        GoBack: the guard wants an older checkpoint.
        UserError: the guard has nothing left to try.
    """
    settings = job.settings
    if start == 0:
        metrics.write("evaluation", step=0, tokens=0, **evaluate(job))
    before: Step | None = None
    for number in range(start, settings.steps):
        begun, done = time.monotonic(), number + 1
        if number in (start, phase_at(job.rates, number).start):
            enter(job, number)
        step = update(job, job.order.batch(number), number, begun)
        if before is not None:
            settle(job, before, begun, metrics, context)
        before = step
        asked_to_stop = job.mesh.any(job.stop.is_set() or job.checkpoints.failed)
        evaluates = done % settings.evaluate_every == 0 or done == settings.steps
        saves = done % settings.checkpoint_every == 0 or asked_to_stop
        if not (evaluates or saves or job.exports.due(done)):
            continue
        settle(job, step, None, metrics, context)
        before = None
        if evaluates:
            metrics.write("evaluation", step=done, tokens=done * job.speed.tokens, **evaluate(job))
        if job.exports.due(done):
            job.exports.keep(job.model, job.optimizer, done)
        if saves:
            facts = {**job.facts, "position": job.order.position(done)}
            job.checkpoints.save(done, job.model, job.optimizer, job.guard.state(), facts)
        if asked_to_stop:
            job.checkpoints.wait()
            raise KeyboardInterrupt


def enter(job: Job, step: int) -> None:
    """Freeze what the phase of a step does not train; its first step starts some moments afresh (see `restarts`)."""
    phases = [phase for phase in job.rates if phase.steps]
    phase = phase_at(phases, step)
    trained = job.trained[phase.name]
    for parameter in job.model.parameters():
        parameter.requires_grad_(parameter in trained)
    if step == phase.start:
        job.guard.forget()
        selections = [job.trained[each.name] for each in phases]
        for thawed in restarts(selections, phases.index(phase)):
            restart(job.optimizer, thawed)


def update(job: Job, batch: Batch, number: int, begun: float) -> Step:
    """One optimizer step; nothing here waits for its result."""
    phase, names = phase_at(job.rates, number), job.order.names
    by_rows = {parameter: rows for parameter, rows in job.trained[phase.name].items() if rows is not None}
    total_units = max(1, units(batch, job.settings.objective))
    found_S2 = torch.zeros(len(names), 2, dtype=torch.float64, device=job.device)  # loss and units by source
    job.optimizer.zero_grad(set_to_none=True)
    for micro in micro_batches(job.mesh.rows(batch), job.rows, job.device):
        with job.mesh.autocast(job.settings.precision):
            outcome = job.objective(job.model, micro, len(names))
        (outcome.loss / total_units).backward()
        found_S2 += torch.stack([outcome.sums_S, outcome.units_S], dim=1)
    drop_frozen_gradients(by_rows)
    norms, norm = job.mesh.clip(gradients(job.optimizer), job.settings.gradient_clip)
    found_S2 = job.mesh.sum(found_S2)
    loss = found_S2[:, 0].sum() / total_units
    score, skip = job.guard.judge(loss, norm)
    skip = job.mesh.largest(skip)
    set_rates(job.optimizer, job.rate(number), phase.multipliers)
    rates = effective_rates(job.optimizer)
    take_step(job.optimizer, by_rows, skip)
    measured = Measured.of({"loss": loss, "gradient_norm": norm, "score": score, "skip": skip}, norms, found_S2)
    return Step(number, begun, phase, rates, round(batch.packing_efficiency, 4), measured)


def settle(job: Job, step: Step, next_begun: float | None, metrics: Metrics, context: Context) -> None:
    """Write a step's line, and see what the guard makes of it.

    Args:
        job: the job.
        step: the step.
        next_begun: when the next one began; None where it was waited for.
        metrics: where the line goes.
        context: shows progress.

    Raises:
        GoBack: too many steps were skipped lately.
        UserError: and there is nothing left to try.
    """
    found, norms, losses = step.measured.read(job.order.names)
    seconds = (next_begun or time.monotonic()) - step.begun
    skipped = found.pop("skip") == 1
    metrics.write(
        "step",
        step=step.number + 1,
        phase=step.phase.name,
        **found,
        packing_efficiency=step.packing_efficiency,
        losses=losses,
        gradient_norms=norms,
        learning_rate=job.rate(step.number),
        learning_rates=step.rates,
        tokens=(step.number + 1) * job.speed.tokens,
        **job.speed.measure(seconds),
        **({"skipped": documents_of(job.order, step.number)} if skipped else {}),
    )
    words = "skipped" if skipped else f"loss {found['loss']:.3f}"
    context.progress(step.number + 1, job.settings.steps, "steps", f"{step.phase.name} {words}")
    if not skipped or not job.guard.repeated(step.number):
        return
    settings, numbers = job.settings.guard, job.guard.skips.tolist()
    if len(job.rollbacks.list) >= settings.max_rollbacks:
        raise used_up(step.number, numbers, job.rollbacks, job.order, job.rate(step.number))
    kept = job.checkpoints.steps()
    rollback = plan_rollback(job.order, settings, len(job.rollbacks.list), numbers, kept)
    context.progress(rollback.to, job.settings.steps, "steps", f"rolled back from step {rollback.step}")
    raise GoBack(rollback)
