"""How fast a run is, and how far from what its devices can do.

MFU is model FLOPs (model/flops.py) over the devices' peak. A GPU's peak is its data sheet's (devices.py); where a
device is not listed there, and on a CPU, a matrix product is timed as the run begins, with the threads that the run has.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from typing import Any

import torch

from diglot.model.decoder import DecoderConfig
from diglot.model.flops import flops_per_token
from diglot.recipe import Train
from diglot.train.devices import device_called
from diglot.train.mesh import Mesh

SIDE = 512  # of the matrices of the timed product: 0.27 GFLOP, 3 ms on a core; a second where bfloat16 is emulated
MOST_SECONDS = 0.1


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
    def of(cls, settings: Train, config: DecoderConfig, mesh: Mesh) -> Speed:
        """For a train stage."""
        tokens = settings.batch_size * settings.sequence_length
        flops = tokens * flops_per_token(config, settings.sequence_length, settings.objective)
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


def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """The rate of the fastest of some matrix products, FLOP/s; on a CPU as if nothing else ran there."""
    matrix = torch.ones(SIDE, SIDE, dtype=dtype, device=device)
    threads = torch.get_num_threads()
    clock = time.monotonic if device.type == "cuda" else lambda: time.process_time() / threads
    best, end = float("inf"), time.monotonic() + MOST_SECONDS
    while best == float("inf") or time.monotonic() < end:
        begun = clock()
        product = matrix @ matrix.T
        product[0, 0].item()  # waits for the device
        best = min(best, max(clock() - begun, 1e-6))
    return 2 * SIDE**3 / best


def memory(device: torch.device) -> int:
    """Megabytes held at most so far: of the device, or of the process where that is the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
