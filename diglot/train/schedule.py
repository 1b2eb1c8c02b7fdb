"""Learning rates as a pure function of the step, and of where the run was resumed if it warms up again there.

    rate
    peak ┤   ╭──────────────────╮
         │  ╱   stable phase     ╲  decay phase
         ┤ ╱ warm-up              ╲
         └─────────────────────────────── step

A plan is a list of phases. Each warms up from `warmup_from` over its first steps (PolyLM 3.2: from 1e-7) and then
follows its shape down to `final` × peak, which is the rate of its last step: `cosine` (PolyLM 3.2, to 10%), `linear` or
`one-minus-sqrt` (with cosine, the decay branches of warm-up–stable–decay; 2405.18392 found 1 − sqrt the best). `constant`
(ALLaM's trunk) stays at the peak. With `continue` the curve of the phase before goes on, and the data change alone. A
parameter group's rate is a multiple of it. A branch that is to warm up again gives its first phase a `warmup`.

With `rewarm_steps` (ALLaM's slides: "resume uses warm-up") the rate climbs again after every resume: then a run that was
killed does not end with the weights of one that was not. The steps at which a run was resumed lie in `resumes.json` in its
scratch folder.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diglot.base.errors import UserError
from diglot.base.files import read_json, write_json
from diglot.recipe.train import Phase, Train

RESUMES = "resumes.json"


@dataclass(frozen=True)
class PhaseSchedule:
    """The learning rate of one phase; steps count from 0. `curve` is the first step and the length of what it follows."""

    name: str
    start: int
    steps: int
    curve: tuple[int, int]
    peak: float
    warmup_steps: int
    warmup_from: float
    shape: str
    final: float
    multipliers: Mapping[str, float]  # of the learning rate, by parameter group; 1 where absent

    def learning_rate(self, step: int) -> float:
        """Learning rate of a step of the run."""
        start, steps = self.curve
        done = step - start
        if done < self.warmup_steps:
            return self.warmup_from + (self.peak - self.warmup_from) * (done + 1) / self.warmup_steps
        share = (done - self.warmup_steps) / max(1, steps - self.warmup_steps - 1)
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
    plan: list[PhaseSchedule] = []
    counts = phase_steps(settings.phases, settings.steps)
    starts = [0, *itertools.accumulate(counts)]
    for index, (phase, steps) in enumerate(zip(settings.phases, counts)):
        if phase.shape == "continue":  # the curve of the phase before, which was laid over this one's steps too
            multipliers: Mapping[str, float] = dict(phase.learning_rate_multipliers.items())
            plan.append(replace(plan[-1], name=phase.name, start=starts[index], steps=steps, multipliers=multipliers))
            continue
        # The curve reaches over the phases that follow and continue it.
        following = itertools.takewhile(lambda later: later.shape == "continue", settings.phases[index + 1 :])
        end = starts[index + 1 + len(list(following))]
        plan.append(
            PhaseSchedule(
                name=phase.name,
                start=starts[index],
                steps=steps,
                curve=(starts[index], end - starts[index]),
                peak=phase.learning_rate or settings.learning_rate,
                warmup_steps=round(phase.warmup * steps) if phase.warmup_steps is None else phase.warmup_steps,
                warmup_from=settings.warmup_from,
                shape=phase.shape,
                final=phase.final,
                multipliers=dict(phase.learning_rate_multipliers.items()),
            )
        )
    return plan


def phase_at(plan: list[PhaseSchedule], step: int) -> PhaseSchedule:
    """The phase that a step belongs to."""
    return next(phase for phase in plan if phase.start <= step < phase.start + phase.steps)


def rewarmed(learning_rate: float, step: int, resumed_at: Sequence[int], settings: Train) -> float:
    """The learning rate of a step of a run that was resumed: it climbs from `warmup_from` over `rewarm_steps` steps.

    Args:
        learning_rate: of the step in a run that was not resumed.
        step: counted from 0.
        resumed_at: the steps that came first after each resume, in any order; those beyond `step` don't count.
        settings: of the stage.
    """
    latest = max((first for first in resumed_at if first <= step), default=None)
    if latest is None or step - latest >= settings.rewarm_steps:
        return learning_rate
    floor = min(settings.warmup_from, learning_rate)
    return floor + (learning_rate - floor) * (step - latest + 1) / settings.rewarm_steps


def read_resumes(file: Path, start: int) -> tuple[int, ...]:
    """The steps at which a run was resumed, with the one that it is resumed at now.

    Args:
        file: where they are kept; need not exist.
        start: the first step to do now; 0 where the run begins. What was resumed beyond it has been undone.

    Raises:
        UserError: the file is broken.
    """
    try:
        stored = [int(step) for step in read_json(file)] if file.is_file() else []
    except (ValueError, TypeError) as error:
        raise UserError(f"{file}: expected a list of steps, but: {error!r}") from error
    return tuple(sorted({step for step in [*stored, start] if 0 < step <= start}))


def write_resumes(file: Path, resumed_at: Sequence[int]) -> None:
    """Keep the steps at which a run was resumed; the file is whole at every moment, for others that read it."""
    write_json(file, list(resumed_at), indent=None)
