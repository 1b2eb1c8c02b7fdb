"""A job: everything that a training run works with, built once before the first step."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from diglot.base.artifact import Context
from diglot.base.errors import UserError
from diglot.model.causal import CausalModel
from diglot.recipe.train import Train
from diglot.tokenizer.folder import load_tokenizer, tokenizer_hash
from diglot.tokens.order import Order
from diglot.tokens.shards import TokenSource, open_tokens
from diglot.train.adapter import initialise
from diglot.train.branches import Exports, load_optimizer
from diglot.train.checkpoint import Checkpoints, step_of
from diglot.train.data import open_order
from diglot.train.freezing import Selection, held_moments, read_expansion, select
from diglot.train.guard import Guard
from diglot.train.mesh import Mesh
from diglot.train.metrics import Speed
from diglot.train.objectives import MicroBatch, Outcome, language_modelling, preferences
from diglot.train.optimizer import Optimizer, build_optimizer
from diglot.train.preference import MEASURES
from diglot.train.probes import Probes, make_probes
from diglot.train.reference import Reference
from diglot.train.rollbacks import ROLLBACKS, Rollbacks
from diglot.train.schedule import PhaseSchedule, phase_at, rewarmed, schedule


class Objective(Protocol):
    """The loss of a micro-batch."""

    def __call__(self, model: CausalModel, micro: MicroBatch, num_sources: int, done: float = 0.0) -> Outcome:
        """The loss, where a share of the steps is done: 0 at the first and 1 at the last."""
        ...


@dataclass
class Job:
    """Everything a run works with; see `prepare`.

    Attributes:
        settings: of the stage.
        mesh: the processes.
        model: what is trained, laid out over them.
        objective: the loss of a micro-batch.
        optimizer: of all parameters that some phase trains.
        order: which documents each step reads.
        schedules: the learning rate, phase by phase.
        trained: what each phase trains, by its name.
        heldout: held-out sources that the objective can evaluate.
        probes: what evaluations measure beside them.
        facts: what checkpoints must agree with: hashes of plan and tokenizer.
        exports: keeps models on the way.
        checkpoints: of the run.
        guard: judges steps.
        rollbacks: that the run has had.
        speed: turns seconds into metrics.
        resumed_at: the steps at which the run was resumed, where it warms up again after each.
        warned: languages whose distance from the reference was said to be beyond its limit.
        stop: set by a signal; the step in hand is finished.
    """

    settings: Train
    mesh: Mesh
    model: CausalModel
    objective: Objective
    optimizer: Optimizer
    order: Order
    schedules: list[PhaseSchedule]
    trained: dict[str, Selection]
    heldout: dict[str, TokenSource]
    probes: Probes
    facts: dict[str, str]
    exports: Exports
    checkpoints: Checkpoints
    guard: Guard
    rollbacks: Rollbacks
    speed: Speed
    resumed_at: tuple[int, ...] = ()
    warned: set[str] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)

    def loss(self, micro: MicroBatch, num_sources: int, step: int = 0) -> Outcome:
        """What the objective finds in a micro-batch, as the precision has it, with the weights of a step."""
        done = step / max(1, self.settings.steps - 1)
        with self.mesh.autocast(self.settings.precision):
            return self.objective(self.model, micro, num_sources, done)

    @property
    def num_measures(self) -> int:
        """How many numbers are measured on pairs; none where there are none."""
        return len(MEASURES) if self.settings.objective == "dpo" else 0

    @property
    def rows(self) -> int:
        """Sequences in a process's memory at a time."""
        return self.mesh.rows_at_a_time(self.settings)

    def learning_rate(self, step: int) -> float:
        """Learning rate of a step, before the multipliers of parameter groups."""
        planned = phase_at(self.schedules, step).learning_rate(step)
        return rewarmed(planned, step, self.resumed_at, self.settings)

    @property
    def phases(self) -> list[PhaseSchedule]:
        """The phases that have steps."""
        return [phase for phase in self.schedules if phase.steps]

    def hold_moments(self, step: int) -> None:
        """Have the moments that a step works with, or that a later phase goes on with; free the others.

        All are held where another stage goes on with them, or this one goes on with another's.
        """
        if self.settings.continues == "weights" and not self.settings.export_optimizer:
            phase = phase_at(self.phases, step)
            selections = [self.trained[each.name] for each in self.phases]
            self.optimizer.hold(held_moments(selections, self.phases.index(phase)))

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.mesh.device


def prepare(settings: Train, model_folder: Path, token_folders: list[Path], context: Context) -> Job:
    """Load the model, open the tokens, lay out the plan, and ask the model for what dpo compares with.

    Raises:
        UserError: tokens of another tokenizer, a mixture that names an unknown source, or a phase that trains what
            the model does not have.
    """
    mesh = Mesh(settings.parallel, settings.offload)
    mesh.check(settings)
    tokenizer = tokenizer_hash(model_folder)
    model = mesh.load(model_folder, settings)
    if settings.sequence_length > model.config.max_positions:
        raise UserError(
            f"sequence_length is {settings.sequence_length}, but the model has {model.config.max_positions} positions"
        )
    # The order goes round the data that the guard gave up: what was rolled back is read before it is laid out.
    rollbacks = Rollbacks(context.scratch / ROLLBACKS)
    order, record = open_order(settings, context.seed, token_folders, model_folder, rollbacks, tokenizer_hash=tokenizer)
    if settings.adapter is not None:
        initialise(model, record.seed)
    trained, optimizer = _what_moves(settings, model, model_folder, record.seed)
    heldout = open_tokens(token_folders, tokenizer, "heldout")
    wanted = settings.objective == "dpo"  # pairs are for DPO, and DPO is for pairs
    heldout = {name: source for name, source in heldout.items() if (source.form == "pairs") == wanted}
    if wanted:
        reference = Reference(model, mesh, settings, context.scratch)
        order.sources = [reference.attach(source) for source in order.sources]
        heldout = {name: reference.attach(source) for name, source in heldout.items()}
        # Now, as long as the model is the one that training begins with.
        reference.fill(order, heldout, lambda note: context.progress(0, settings.steps, "steps", note))
    return Job(
        settings=settings,
        mesh=mesh,
        model=model,
        objective=_objective(settings),
        optimizer=optimizer,
        order=order,
        schedules=schedule(settings),
        trained=trained,
        heldout=heldout,
        probes=make_probes(heldout, load_tokenizer(model_folder), settings),
        facts={"plan": order.fingerprint, "tokenizer": tokenizer},
        exports=Exports(settings, model_folder, context.scratch, mesh, record),
        checkpoints=Checkpoints(context.scratch / "checkpoints", settings, mesh),
        guard=Guard(settings.guard, mesh.device),
        rollbacks=rollbacks,
        speed=Speed.of(settings, model.config, mesh),
    )


def _what_moves(settings: Train, model: CausalModel, folder: Path, seed: int) -> tuple[dict[str, Selection], Optimizer]:
    """What each phase trains, and the optimizer of all of it, with the state that the stage continues."""
    expansion = read_expansion(folder, model.config)
    trained = {phase.name: select(model, expansion, phase) for phase in settings.phases}
    for parameter in model.parameters():  # what no phase trains has no moments
        parameter.requires_grad_(any(parameter in selection for selection in trained.values()))
    keeps_all = settings.continues != "weights" or settings.export_optimizer
    first = next(trained[phase.name] for phase in schedule(settings) if phase.steps)
    optimizer = build_optimizer(model, settings, seed, None if keeps_all else first)
    if settings.continues != "weights":
        load_optimizer(model, optimizer, folder, settings)
    return trained, optimizer


def _objective(settings: Train) -> Objective:
    if settings.objective == "dpo":
        return lambda model, micro, num_sources, done=0.0: preferences(
            model, settings.preference, micro, num_sources, done
        )
    return lambda model, micro, num_sources, done=0.0: language_modelling(model, micro, num_sources, settings.z_loss)


def resume(job: Job) -> tuple[int, list[str]]:
    """Take up the newest whole checkpoint, if there is one; returns the steps done, and what was damaged.

    Raises:
        UserError: all checkpoints are damaged, or the one found is of other data or another model.
    """
    damaged: list[str] = []

    def is_of_use(stored: dict[str, Any]) -> bool:
        # Not if it was trained on data that the guard has skipped since then, nor behind the last step of a shorter
        # plan, whose model was its result and not kept beside it.
        position = job.order.position(stored["step"])
        return stored["position"] == position and job.exports.has_kept(stored["step"])

    found = job.checkpoints.newest(is_of_use, damaged.append)
    if found is None:
        return 0, damaged
    # It holds the moments of its own phase; those of the next one, where that begins here, come with it.
    job.hold_moments(step_of(found) - 1)
    stored = job.checkpoints.load(found, job.model, job.optimizer, job.guard.state(), job.facts)
    return stored["step"], damaged
