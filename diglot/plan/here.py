"""The machine at hand as a cluster: the memory that is there, its matrix products, and what a step of the very model takes here.

    cluster = this_machine()
    measured_speed(config, execution, batch_size=8)     tokens/s of training; None: too large to be tried here

Matrix products say what a processor can do and not what training gets of it: from a table of another processor a plan
was out by two in both directions. So the real decoder is trained for a few passes, with one layer and with three; what a
layer takes, and what all else takes, follow from the difference. Some seconds a model.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from diglot.base.devices import HERE, Cluster, Device, device_called
from diglot.model.decoder import Decoder, DecoderConfig
from diglot.model.flops import flops_per_token, measured_peak
from diglot.model.loss import cross_entropy
from diglot.model.processor import training_ways
from diglot.plan.execution import Execution
from diglot.plan.memory import memory

SHALLOW, DEEP = 1, 3  # layers of the models that are timed
PASS_SECONDS = 0.7  # that a timed pass is to take: with three of two models, some seconds
LONGEST_PASS = 20.0  # seconds, of the least that can be timed; what would take longer is not
TIMES = 3  # the fastest of so many counts: other programs only ever slow one down
ASSUMED_MFU = 0.5  # of what was not tried: about what models of 50 to 500 million parameters reach on CPUs
WATTS_A_CORE = 4.0  # a cloud machine's share; nobody can read what it draws
CGROUP = Path("/sys/fs/cgroup")


def this_machine() -> Cluster:
    """The GPUs of this machine, or its cores as one device; figures measured now."""
    torch.set_num_threads(os.cpu_count() or 1)  # as training does
    device = _device()
    peaks = {dtype: measured_peak(device, dtype) for dtype in (torch.bfloat16, torch.float32)}
    cores, free = os.cpu_count() or 1, available_memory()
    found = Device(
        name=HERE,
        title=f"this machine: {cores} cores of {processor()}, {free / 2**30:.1f} GiB free",
        bfloat16=peaks[torch.bfloat16],
        float32=peaks[torch.float32],
        memory=free,
        bandwidth=0.0,  # not measured, and not needed
        watts=WATTS_A_CORE * cores,
        source=f"measured now: the fastest of some matrix products{_load()}",
        mfu=ASSUMED_MFU,
        mfu_source="assumed: the model is too large to be tried on this machine",
        one_process=True,
    )
    if device.type == "cpu":
        return Cluster(found)
    properties, free = torch.cuda.get_device_properties(device), torch.cuda.mem_get_info(device)[0]
    known = device_called(properties.name, properties.total_memory)
    title, watts = f"{properties.name}, {free / 2**30:.1f} GiB free", known.watts if known else 0.0
    found = replace(found, title=title, memory=free, watts=watts, one_process=False)
    return Cluster(found, 1, torch.cuda.device_count())


def _load() -> str:
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    busy = f"; other programs were running (load {load:.1f} on {cores} cores), so it would be faster alone"
    return busy if load > cores / 2 else ""


def processor() -> str:
    """The processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").split("\n"):
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def available_memory() -> int:
    """Bytes that a program could take now: what the system has, and what a container leaves of it."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().split("\n")
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
        return min([free, *_left_of_limits(CGROUP)])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _left_of_limits(folder: Path) -> Iterator[int]:
    """What the limits of a control group (version 2, then 1) leave; nothing where there is none."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            yield max(0, int((folder / limit).read_text()) - int((folder / used).read_text()))


def free_disk(folder: Path) -> int:
    """Bytes that are free where a folder is or will be."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


# --- a step ---------------------------------------------------------------------------------------------------


def measured_speed(config: DecoderConfig, execution: Execution, batch_size: int, cluster: Cluster) -> float | None:
    """Tokens a second of training the model on one device of this machine; None where it is too large to be tried.

    Args:
        config: the model's shape.
        execution: how it is trained.
        batch_size: sequences of a step, on this device.
        cluster: this machine.
    """
    rows = timed_rows(config, execution, cluster.device)
    deep = config.with_layers(range(min(DEEP, config.num_layers)))
    # What is timed is one process that trains all weights in float32, whatever the stage has (estimate.py says so).
    timed = Execution(
        micro_batch_size=max(rows, 1),
        sequence_length=execution.sequence_length,
        precision=execution.precision,
        float32_residual=execution.float32_residual,
        sharded=False,
        host=execution.host,
    )
    needed = memory(deep, timed).total
    if not rows or needed > cluster.device.memory:
        return None
    times = {}
    for layers in (SHALLOW, deep.num_layers):
        times[layers] = _times(config.with_layers(range(layers)), execution, rows)
    forward_and_backward, update = (
        extrapolated({layers: both[part] for layers, both in times.items()}, config.num_layers) for part in (0, 1)
    )
    passes = batch_size / rows
    again = 4 / 3  # a forward pass more
    factor = (again if execution.reference else 1) * (again if execution.activation_checkpointing else 1)
    return batch_size * execution.sequence_length / (factor * passes * forward_and_backward + update)


def timed_rows(config: DecoderConfig, execution: Execution, device: Device) -> int:
    """Sequences of a timed pass: no more than training has in memory; 0 where even one would take too long."""
    deep = config.with_layers(range(min(DEEP, config.num_layers)))
    one = execution.sequence_length * flops_per_token(deep, execution.sequence_length)
    one /= ASSUMED_MFU * device.peak(execution.precision)
    if one > LONGEST_PASS:
        return 0
    return max(1, min(execution.micro_batch_size, int(PASS_SECONDS / one)))


def extrapolated(seconds: dict[int, float], layers: int) -> float:
    """Seconds with so many layers, from those with a few of them; of a single depth they are taken as they are."""
    (few, first), (more, second) = min(seconds.items()), max(seconds.items())
    if few == more:
        return first
    layer = max(second - first, 0.0) / (more - few)
    return max(first - few * layer, 0.0) + layers * layer


def _times(config: DecoderConfig, execution: Execution, rows: int) -> tuple[float, float]:
    """Seconds of a forward and backward pass of so many rows, and of an optimizer step; the fastest of some."""
    device = _device()
    with training_ways(), torch.random.fork_rng(devices=[]):
        decoder = Decoder(config).to(device)
        if execution.float32_residual:
            decoder.keep_float32()
        optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-6, fused=True)
        shape = (rows, execution.sequence_length)
        tokens_BT, targets_BT = (torch.randint(0, config.vocabulary_size, shape, device=device) for _ in range(2))
        precision = (
            torch.autocast(device.type, torch.bfloat16)
            if execution.precision == "bfloat16"
            else contextlib.nullcontext()
        )

        def both_ways() -> None:
            with precision:
                hidden_BTD = decoder(tokens_BT)
                loss, _ = cross_entropy(hidden_BTD.flatten(0, 1), decoder.output_weight(), targets_BT.flatten())
            (loss / targets_BT.numel()).backward()

        _seconds(both_ways, device)  # libraries choose their ways, and memory is had, at the first pass
        passes = min(_seconds(both_ways, device) for _ in range(TIMES))
        _seconds(optimizer.step, device)
        return passes, min(_seconds(optimizer.step, device) for _ in range(TIMES))


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
