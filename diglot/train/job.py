"""A job: everything that a training run works with, built once before the first step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from diglot.model.decoder import Decoder
from diglot.recipe.train import Train
from diglot.tokens.order import Order
from diglot.tokens.shards import TokenSource
from diglot.train.branches import Exports
from diglot.train.checkpoint import Checkpoints
from diglot.train.freezing import Selection
from diglot.train.guard import Guard
from diglot.train.mesh import Mesh
from diglot.train.metrics import Speed
from diglot.train.objectives import MicroBatch, Outcome
from diglot.train.optimizer import Optimizer
from diglot.train.rollbacks import Rollbacks
from diglot.train.schedule import PhaseSchedule, phase_at, rewarmed

Objective = Callable[[Decoder, MicroBatch, int], Outcome]


@dataclass
class Job:
    """Everything a run works with; built once, before the first step."""

    settings: Train
    mesh: Mesh
    model: Decoder
    objective: Objective
    optimizer: Optimizer
    order: Order
    rates: list[PhaseSchedule]
    trained: dict[str, Selection]  # by phase
    heldout: dict[str, TokenSource]
    facts: dict[str, str]
    exports: Exports
    checkpoints: Checkpoints
    guard: Guard
    rollbacks: Rollbacks
    speed: Speed
    resumed_at: tuple[int, ...] = ()
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def rows(self) -> int:
        """Sequences in a process's memory at a time."""
        share = self.settings.batch_size // self.mesh.data_size
        return min(self.settings.micro_batch_size or share, share)

    def rate(self, step: int) -> float:
        """Learning rate of a step, before the multipliers of parameter groups."""
        return rewarmed(phase_at(self.rates, step).rate(step), step, self.resumed_at, self.settings)

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.mesh.device
