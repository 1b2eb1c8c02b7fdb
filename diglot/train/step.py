"""A step that was begun: its numbers are on their way from the device, and are read one step later.

Legend: S sources; 2: summed loss and units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diglot.train.schedule import PhaseSchedule

Numbers = dict[str, float | None]  # None: not finite, which JSON cannot say


def rounded(value: float) -> float | None:
    """Six decimals; None where the value is not finite."""
    return round(value, 6) if math.isfinite(value) else None


@dataclass(frozen=True)
class Measured:
    """Numbers of a step, being copied to the host.

    Attributes:
        values: all of them, float64, in the host's memory once `ready`.
        ready: what to wait for; None on a CPU.
        names: of the first values, and of the parameter groups, whose norms come next; the sources' are the rest.
    """

    values: Tensor
    ready: torch.cuda.Event | None
    names: tuple[list[str], list[str]]

    @classmethod
    def of(cls, found: Mapping[str, Tensor], norms: Mapping[str, Tensor], sources_S2: Tensor) -> Measured:
        """Start copying 0-dim tensors, the norms of the parameter groups, and loss and units by source."""
        scalars = torch.stack([value.double() for value in (*found.values(), *norms.values())])
        values = torch.cat([scalars, sources_S2.flatten()])
        names, ready = (list(found), list(norms)), None
        if values.device.type == "cuda":
            ready = torch.cuda.Event()
            values = torch.empty_like(values, device="cpu", pin_memory=True).copy_(values, non_blocking=True)
            ready.record()
        return cls(values, ready, names)

    def read(self, sources: Sequence[str]) -> tuple[Numbers, Numbers, Numbers]:
        """Wait for the numbers: those by name, the norms by group, and the mean losses by source."""
        if self.ready is not None:
            self.ready.synchronize()
        values = [rounded(value) for value in self.values.tolist()]
        first, groups = self.names
        found, norms = dict(zip(first, values)), dict(zip(groups, values[len(first) :]))
        by_source = self.values[len(first) + len(groups) :].view(-1, 2).tolist()
        losses = {name: rounded(total / units) for name, (total, units) in zip(sources, by_source) if units}
        return found, norms, losses


@dataclass(frozen=True)
class Step:
    """A step that was begun.

    Attributes:
        number: from 0.
        begun: when, by the monotonic clock.
        phase: that it belongs to.
        rates: the learning rate of each parameter group.
        fill: share of its rows' places that hold tokens.
        measured: its numbers.
    """

    number: int
    begun: float
    phase: PhaseSchedule
    rates: dict[str, float]
    fill: float
    measured: Measured
