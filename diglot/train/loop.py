"""The training loop: one for every objective, readable from top to bottom.

    for step in range(start, steps):
        enter(phase)                           what is trained: a pure function of the step (freezing.py)
        batch = order.batch(step)              what to see: a pure function of the step
        update(batch, learning_rate(step))     forward, backward, clip, judge (guard.py), optimizer step
        finalize(the step before)              its numbers, from the device into the metrics
        evaluate, keep the model, checkpoint   now and then

Nothing but the step number says where a run is: the data order, the learning rates and what is frozen are functions
of it. So a run that was killed goes on from its newest checkpoint and ends with the same weights, bit for bit, as one
that was not. A rollback is a resume too, from an older checkpoint and with some data skipped.

A step's numbers are read when the device has the next step to do already, so it never waits for the host to log.
"""

from __future__ import annotations

import contextlib
import gc
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from diglot.base.artifact import LOGS, Context, Inputs
from diglot.base.errors import UserError
from diglot.base.screen import say
from diglot.base.summaries.model import TrainedModel
from diglot.model.processor import is_slow_in_bfloat16, training_ways
from diglot.recipe.train import Train, Training
from diglot.tokens.packing import Batch, left_out, too_long
from diglot.train import launch
from diglot.train.evaluation import REMEDY, beyond_limit, evaluate, in_words, summarise
from diglot.train.freezing import restarts
from diglot.train.job import Job, prepare, resume
from diglot.train.launch import stopping_at_signals
from diglot.train.metrics import FILE, MIRROR, Measured, Metrics, Step, forget_peak, read_metrics
from diglot.train.objectives import micro_batches, units
from diglot.train.optimizer import (
    drop_frozen_gradients,
    gradients,
    learning_rates_by_group,
    restart,
    set_learning_rates,
    take_step,
)
from diglot.train.rollbacks import ROLLBACKS, RollbackNeeded, documents_of, plan_rollback, used_up
from diglot.train.schedule import RESUMES, phase_at, read_resumes, write_resumes


def run(settings: Train, inputs: Inputs, output: Path, context: Context) -> TrainedModel | None:
    """The stage `train`; only the first process returns its summary.

    Raises:
        UserError: tokens of another tokenizer, an unknown source in a mixture, a phase that trains what the model
            does not have, or a loss that is not finite.
    """
    with on_all_processes(settings, inputs, output, context):
        job = walk(settings, inputs, context)
        context.progress(settings.steps, settings.steps, "steps", "writing the model")
        job.exports.finish(job.model, job.optimizer, output)
    if not job.mesh.is_first:
        return None
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
    torch.set_num_threads(launch.threads(context.workers))
    with launch.explained(), training_ways():
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
    """Train to the last step; None where the guard wants to roll back."""
    model_folder = inputs.one("model").path
    forget_peak()
    job = prepare(settings, model_folder, [artifact.path for artifact in inputs.many("tokens")], context)
    start, damaged = resume(job)
    if settings.rewarm_steps:  # read before any process writes: all must see the same list
        job.resumed_at = read_resumes(context.scratch / RESUMES, start)
        job.mesh.barrier()
        if job.mesh.is_first:
            write_resumes(context.scratch / RESUMES, job.resumed_at)
    # Only the first process writes; the others' metrics go nowhere.
    rollbacks = [asdict(each) for each in job.rollbacks.list]
    metrics = Metrics(context.scratch if job.mesh.is_first else None, start, rollbacks)
    for text in [*damaged, *slow_in_bfloat16(job)]:
        say(f"warning: {text}", error=True)
    for text in damaged:
        metrics.write("damaged-checkpoint", step=start, text=text)
    try:
        with stopping_at_signals(job.stop), job.checkpoints:
            train(job, start, metrics, context)
    except RollbackNeeded as found:
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


def say_what_is_left_out(job: Job, context: Context) -> None:
    """Say how many conversations and pairs training does not read, and what can be done about it."""
    remedy = (
        "; encode can split or cut them: set conversation_tokens or pair_tokens there, or a larger sequence_length here"
    )
    for text in left_out(job.order.dropped, job.order.num_documents):
        context.say(text + remedy)
    longer = {name: too_long(source, job.settings.sequence_length) for name, source in job.heldout.items()}
    held_out = {name: source.num_documents for name, source in job.heldout.items()}
    for text in left_out(longer, held_out, "held-out documents"):
        context.say(text)


def train(job: Job, start: int, metrics: Metrics, context: Context) -> None:
    """Walk from `start` to the last step.

    Raises:
        KeyboardInterrupt: a signal asked to stop; a checkpoint was saved.
        RollbackNeeded: the guard wants an older checkpoint.
        UserError: the guard has nothing left to try.
    """
    settings = job.settings
    if start == 0:
        say_what_is_left_out(job, context)
        measure(job, 0, metrics, context)
    previous: Step | None = None  # begun, its numbers not read yet
    for number in range(start, settings.steps):
        begun, done = time.monotonic(), number + 1
        if number in (start, phase_at(job.schedules, number).start):
            enter(job, number)
        step = update(job, job.order.batch(number), number, begun)
        if previous is not None:  # its numbers are there by now, and the device has work
            finalize(job, previous, begun, metrics, context)
        previous = step
        asked_to_stop = job.mesh.any(job.stop.is_set() or job.checkpoints.failed)
        evaluates = done % settings.evaluate_every == 0 or done == settings.steps
        saves = done % settings.checkpoint_every == 0 or asked_to_stop
        if not (evaluates or saves or job.exports.due(done)):
            continue
        # What follows waits for the device anyway, and a step that is to be rolled back must not be kept.
        finalize(job, step, None, metrics, context)
        previous = None
        if evaluates:
            measure(job, done, metrics, context)
        if job.exports.due(done):
            job.exports.keep(job.model, job.optimizer, done)
        if saves:
            context.progress(
                done, settings.steps, "steps", f"{'stopping: ' if asked_to_stop else ''}saving a checkpoint"
            )
            facts = {**job.facts, "position": job.order.position(done)}
            job.checkpoints.save(done, job.model, job.optimizer, job.guard.state(), facts)
        if asked_to_stop:
            job.checkpoints.wait()
            raise KeyboardInterrupt


def measure(job: Job, step: int, metrics: Metrics, context: Context) -> None:
    """Evaluate after a step, and say what came out.

    Raises:
        UserError: the model has moved further from its reference than it may.
    """
    found = evaluate(job, lambda note: context.progress(step, job.settings.steps, "steps", note))
    metrics.write("evaluation", step=step, tokens=step * job.speed.tokens, **found)
    if said := in_words(found):
        context.say(f"{context.name}: step {step:,}: {said}")
    for language, text in beyond_limit(found, job.settings.preference).items():
        if job.settings.preference.beyond_limit == "stop":
            raise UserError(f"step {step:,}: {text}. {REMEDY}")
        if language not in job.warned:
            job.warned.add(language)
            context.say(f"warning: {context.name}: step {step:,}: {text}. {REMEDY}")


def enter(job: Job, step: int) -> None:
    """Freeze what the phase of a step does not train; its first step starts some moments afresh (see `restarts`)."""
    phases = job.phases
    phase = phase_at(phases, step)
    job.hold_moments(step)
    trained = job.trained[phase.name]
    for parameter in job.model.parameters():
        parameter.requires_grad_(parameter in trained)
    if step == phase.start:
        job.guard.forget()
        selections = [job.trained[each.name] for each in phases]
        for thawed in restarts(selections, phases.index(phase)):
            restart(job.optimizer, thawed)


def update(job: Job, batch: Batch, number: int, begun: float) -> Step:
    """One optimizer step; nothing here waits for its result.

    Args:
        job: the job.
        batch: of the step, whole; this process takes its rows.
        number: of the step, from 0.
        begun: when, by the monotonic clock.
    """
    phase = phase_at(job.schedules, number)
    by_rows = {parameter: rows for parameter, rows in job.trained[phase.name].items() if rows is not None}
    total_units = max(1, units(batch, job.settings.objective))
    found_SM = backward(job, batch, number, total_units)
    drop_frozen_gradients(by_rows)
    norms, norm = job.mesh.clip(gradients(job.optimizer), job.settings.gradient_clip)
    found_SM = job.mesh.sum(found_SM)
    loss = found_SM[:, 0].sum() / total_units
    score, skip = job.guard.judge(loss, norm)
    skip = job.mesh.largest(skip)  # all processes skip, or none
    set_learning_rates(job.optimizer, job.learning_rate(number), phase.multipliers)
    learning_rates = learning_rates_by_group(job.optimizer)  # before the step: it looks at the gradients
    take_step(job.optimizer, by_rows, skip)
    measured = Measured.of({"loss": loss, "gradient_norm": norm, "score": score, "skip": skip}, norms, found_SM)
    return Step(number, begun, phase, learning_rates, round(batch.packing_efficiency, 4), measured)


def backward(job: Job, batch: Batch, number: int, total_units: int) -> Tensor:
    """The gradients of a batch's mean loss, summed over its micro-batches.

    Args:
        job: the job.
        batch: whole; this process takes its rows.
        number: of the step, from 0.
        total_units: of the whole batch, over all processes: predicted tokens, or pairs.

    Returns:
        found_SM, float64: summed loss and units of this process by source; of pairs also what is measured on them.
    """
    num_sources = len(job.order.names)
    found_SM = torch.zeros(num_sources, 2 + job.num_measures, dtype=torch.float64, device=job.device)
    job.optimizer.zero_grad(set_to_none=True)
    for micro in micro_batches(job.mesh.rows(batch), job.rows, job.device):
        outcome = job.loss(micro, num_sources, number)
        (outcome.loss / total_units).backward()
        found_SM += outcome.found_SM
    return found_SM


def finalize(job: Job, step: Step, next_begun: float | None, metrics: Metrics, context: Context) -> None:
    """Write a step's line, and see what the guard makes of it.

    Args:
        job: the job.
        step: the step.
        next_begun: when the next one began; None where it was waited for.
        metrics: where the line goes.
        context: shows progress.

    Raises:
        RollbackNeeded: too many steps were skipped lately.
        UserError: and there is nothing left to try.
    """
    found, norms, losses, pairs = step.measured.read(job.order.names)
    seconds = (next_begun or time.monotonic()) - step.begun
    skipped = found.pop("skip") == 1
    metrics.write(
        "step",
        step=step.number + 1,
        phase=step.phase.name,
        **found,
        packing_efficiency=step.packing_efficiency,
        losses=losses,
        **({"preferences": pairs} if pairs else {}),
        gradient_norms=norms,
        learning_rate=job.learning_rate(step.number),
        learning_rates=step.learning_rates,
        tokens=(step.number + 1) * job.speed.tokens,
        **job.speed.measure(seconds),
        **({"skipped": documents_of(job.order, step.number)} if skipped else {}),
    )
    words = "skipped" if skipped else f"loss {found['loss']:.3f}"
    context.progress(step.number + 1, job.settings.steps, "steps", f"{step.phase.name} {words}")
    if skipped and job.guard.repeated(step.number):
        roll_back(job, step.number, context)


def roll_back(job: Job, step: int, context: Context) -> NoReturn:
    """Plan the return to an older checkpoint, after a step (from 0) that was one skip too many.

    Raises:
        RollbackNeeded: always, but:
        UserError: there is nothing left to try.
    """
    steps, earlier = job.guard.skips.tolist(), len(job.rollbacks.list)
    if earlier >= job.settings.guard.max_rollbacks:
        raise used_up(step, steps, job.rollbacks, job.order, job.learning_rate(step))
    rollback = plan_rollback(job.order, job.settings.guard, earlier, steps, job.checkpoints.steps())
    context.progress(rollback.to, job.settings.steps, "steps", f"rolled back from step {rollback.step}")
    raise RollbackNeeded(rollback)
