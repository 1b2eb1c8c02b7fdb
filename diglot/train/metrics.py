"""The record of a run: `metrics.jsonl`, one line a step, an evaluation and a rollback. It is the truth; figures read it.

TensorBoard gets a copy beside it (`tensorboard/`), where the extra `tensorboard` is installed.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diglot.base.devices import device_called
from diglot.base.files import read_log, write_lines
from diglot.model.causal import ModelConfig
from diglot.model.flops import flops_per_token, measured_peak
from diglot.recipe.train import Train
from diglot.train.mesh import Mesh
from diglot.train.preference import MEASURES
from diglot.train.schedule import PhaseSchedule

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter  # extra: tensorboard

FILE, MIRROR = "metrics.jsonl", "tensorboard"


class Metrics:
    """Appends to the metrics of a run. On resume, what was written after the checkpoint is taken back."""

    def __init__(self, folder: Path | None, resume_at: int = 0, rollbacks: Sequence[dict[str, Any]] = ()) -> None:
        """Open the file and keep the lines of the first `resume_at` steps only.

        Args:
            folder: where the files are; None writes nothing.
            resume_at: steps done.
            rollbacks: the guard's; their lines are written anew, each after the step that it went back to.
        """
        self.mirror: SummaryWriter | None = None
        if folder is None:
            self.stream = open(os.devnull, "w")  # noqa: PTH123, SIM115  (not a file of ours)
            return
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / FILE
        kept = [line for line in read_metrics(file) if line["step"] <= resume_at] if resume_at else []
        lines = [line for line in kept if line["type"] != "rollback"]
        lines += [{"type": "rollback", **each, "step": each["to"], "after": each["step"]} for each in rollbacks]
        write_lines(file, sorted(lines, key=lambda line: line["step"]))
        self.stream = file.open("a", buffering=1, encoding="utf-8")
        self.mirror = open_mirror(folder / MIRROR, resume_at)

    def write(self, kind: str, **values: Any) -> None:
        """Add a line."""
        self.stream.write(json.dumps({"type": kind, **values}, ensure_ascii=False) + "\n")
        if self.mirror is not None:
            for name, value in numbers(values):
                self.mirror.add_scalar(f"{kind}/{name}", value, values["step"])

    def close(self) -> None:
        """Close the files."""
        self.stream.close()
        if self.mirror is not None:
            self.mirror.close()


def open_mirror(folder: Path, resume_at: int) -> SummaryWriter | None:
    """A writer for TensorBoard, which will not show what was written after `resume_at`; None without the extra."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # extra: tensorboard
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=resume_at + 1)


def numbers(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a line, with names like `losses/arabic`."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{above}{name}/")
        elif isinstance(value, int | float) and name != "step":
            yield above + name, float(value)


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last line cut off by a kill is left out."""
    return read_log(file)[0]


# --- the numbers of a step --------------------------------------------------------------------------------------

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
    def of(cls, found: Mapping[str, Tensor], norms: Mapping[str, Tensor], sources_SM: Tensor) -> Measured:
        """Start copying 0-dim tensors, the norms of the parameter groups, and loss, units and measures by source."""
        scalars = torch.stack([value.double() for value in (*found.values(), *norms.values())])
        values = torch.cat([scalars, sources_SM.flatten()])
        names, ready = (list(found), list(norms)), None
        if values.device.type == "cuda":
            ready = torch.cuda.Event()
            values = torch.empty_like(values, device="cpu", pin_memory=True).copy_(values, non_blocking=True)
            ready.record()
        return cls(values, ready, names)

    def read(self, sources: Sequence[str]) -> tuple[Numbers, Numbers, Numbers, dict[str, Numbers]]:
        """Wait for the numbers: those by name, the norms by group, and by source mean losses and measures of pairs."""
        if self.ready is not None:
            self.ready.synchronize()
        values = [rounded(value) for value in self.values.tolist()]
        first, groups = self.names
        found, norms = dict(zip(first, values)), dict(zip(groups, values[len(first) :]))
        rows = self.values[len(first) + len(groups) :].view(len(sources), -1).tolist()
        by_source = {name: (total, units, sums) for name, (total, units, *sums) in zip(sources, rows) if units}
        losses = {name: rounded(total / units) for name, (total, units, _) in by_source.items()}
        pairs = {name: means(sums, units) for name, (_, units, sums) in by_source.items() if sums}
        return found, norms, losses, pairs


def means(sums: Sequence[float], units: float) -> Numbers:
    """What MEASURES names, as means over pairs."""
    return {name: rounded(value / units) for name, value in zip(MEASURES, sums, strict=True)}


@dataclass(frozen=True)
class Step:
    """A step that was begun.

    Attributes:
        number: from 0.
        begun: when, by the monotonic clock.
        phase: that it belongs to.
        learning_rates: of each parameter group.
        packing_efficiency: share of its rows' places that hold tokens.
        measured: its numbers.
    """

    number: int
    begun: float
    phase: PhaseSchedule
    learning_rates: dict[str, float]
    packing_efficiency: float
    measured: Measured


# --- speed ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Speed:
    """What turns the seconds of a step into metrics.

    Attributes:
        tokens: of a step, padding included.
        flops: model FLOPs of a step.
        peak: of all devices together, FLOP/s.
        device: of this process.
    """

    tokens: int
    flops: float
    peak: float
    device: torch.device

    @classmethod
    def of(cls, settings: Train, config: ModelConfig, mesh: Mesh) -> Speed:
        """For a train stage."""
        tokens = settings.batch_size * settings.sequence_length
        flops = tokens * flops_per_token(config, settings.sequence_length)
        return cls(tokens, flops, mesh.world * peak(mesh.device, settings.precision), mesh.device)

    def measure(self, seconds: float) -> dict[str, Any]:
        """What a step that took so long says."""
        return {
            "tokens_per_second": round(self.tokens / seconds, 1),
            "mfu": round(self.flops / seconds / self.peak, 4),
            "seconds": round(seconds, 4),
            "memory_mb": memory(self.device),
        }


def peak(device: torch.device, precision: str) -> float:
    """What a device can do at most, FLOP/s."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        if known := device_called(properties.name, properties.total_memory):
            return known.peak(precision)
    return measured_peak(device, getattr(torch, precision))


STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
CLEAR_PEAK = "5"  # what Linux (from 4.0 on) is told to begin VmHWM anew; see proc(5)


def forget_peak() -> None:
    """Let the peak of memory begin anew: what earlier stages of this process held is not this one's."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # another system, or a container that forbids it
        CLEAR.write_text(CLEAR_PEAK)


def memory(device: torch.device) -> int:
    """Megabytes held at most since `forget_peak`: of the device, or of the process where that is the CPU.

    Where there is no /proc it is the most that the process ever held.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    try:
        status = STATUS.read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) for line in status.split("\n") if line.startswith("VmHWM:")) // 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
