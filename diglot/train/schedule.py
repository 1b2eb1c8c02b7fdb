"""Learning rates as a pure function of the step: nothing to save, nothing to lose on resume.

    rate
    peak ┤   ╭──────────────────╮
         │  ╱   stable phase     ╲  decay phase
         ┤ ╱ warm-up              ╲
         └─────────────────────────────── step

A plan is a list of phases. Each warms up from `warmup_from` over its first steps (PolyLM 3.2: from 1e-7) and then
follows its shape down to `final` × peak: `constant` (ALLaM's trunk), `cosine` (PolyLM 3.2, to 10%), `linear` or
`one-minus-sqrt` (the decay branches of warm-up–stable–decay). A parameter group's rate is a multiple of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from diglot.recipe import Phase, Train


@dataclass(frozen=True)
class PhaseSchedule:
    """The learning rate of one phase; steps count from 0."""

    name: str
    start: int
    steps: int
    peak: float
    warmup_steps: int
    warmup_from: float
    shape: str
    final: float
    multipliers: Mapping[str, float]  # of the rate, by parameter group; 1 where absent

    def rate(self, step: int) -> float:
        """Learning rate of a step of the run."""
        done = step - self.start
        if done < self.warmup_steps:
            return self.warmup_from + (self.peak - self.warmup_from) * (done + 1) / self.warmup_steps
        share = (done - self.warmup_steps) / max(1, self.steps - self.warmup_steps - 1)
        falls_to = {
            "constant": 1.0,
            "cosine": self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))),
            "linear": 1 - (1 - self.final) * min(share, 1.0),
            "one-minus-sqrt": 1 - (1 - self.final) * math.sqrt(min(share, 1.0)),
        }
        return self.peak * falls_to[self.shape]


def phase_steps(phases: list[Phase], steps: int) -> list[int]:
    """Whole numbers of steps that add up to `steps`, by the phases' shares."""
    bounds, total = [0], 0.0
    for phase in phases:
        total += phase.share
        bounds.append(round(total * steps))
    bounds[-1] = steps
    return [stop - start for start, stop in itertools.pairwise(bounds)]


def schedule(settings: Train) -> list[PhaseSchedule]:
    """The learning-rate plan of a train stage."""
    plan, start = [], 0
    for phase, steps in zip(settings.phases, phase_steps(settings.phases, settings.steps)):
        plan.append(
            PhaseSchedule(
                name=phase.name,
                start=start,
                steps=steps,
                peak=phase.learning_rate or settings.learning_rate,
                warmup_steps=round(phase.warmup * steps),
                warmup_from=settings.warmup_from,
                shape=phase.shape,
                final=phase.final,
                multipliers=dict(phase.rates.items()),
            )
        )
        start += steps
    return plan


def phase_at(plan: list[PhaseSchedule], step: int) -> PhaseSchedule:
    """The phase that a step belongs to."""
    return next(phase for phase in plan if phase.start <= step < phase.start + phase.steps)
