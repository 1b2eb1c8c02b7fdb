"""What the sides of `train_step.py` share: one thread on one core, and how long steps take.

Of a run on the CPU the clock counts CPU seconds, which hardly change when other programs run; on a GPU it waits for the
device, and counts wall seconds.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

WARM_STEPS = 1  # of a run; not counted


def prepare_device(device: str) -> None:
    """Take one core and one thread for a run on the CPU, or one GPU."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "" if device == "cpu" else "0"  # torch has not looked yet
    if device == "cpu":
        torch.set_num_threads(1)
        if hasattr(os, "sched_setaffinity"):  # Linux
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


class Clock:
    """Marks the beginnings of steps, and the end of the last."""

    def __init__(self, device: str):
        self.device, self.marks = device, []

    def mark(self) -> None:
        """A step begins, or the last is over."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.marks.append(time.process_time() if self.device == "cpu" else time.perf_counter())

    def seconds(self) -> list[float]:
        """Of all steps but the first ones."""
        return [end - begin for begin, end in zip(self.marks, self.marks[1:])][WARM_STEPS:]

    def time(self, work: Callable[[], object], times: int) -> list[float]:
        """Seconds of something that is done several times, but for the first."""
        self.marks = []
        for _ in range(times):
            self.mark()
            work()
        self.mark()
        return self.seconds()


def peak() -> float:
    """FLOP/s of this core's fastest large matrix product, of float32 and bfloat16, by CPU seconds.

    `diglot.train.speed` goes by the wall clock, which on a busy machine is another matter.
    """
    best = 0.0
    for dtype, times in ((torch.float32, 12), (torch.bfloat16, 3)):
        matrix, clock = torch.ones(1024, 1024, dtype=dtype), Clock("cpu")
        seconds = clock.time(functools.partial(torch.mm, matrix, matrix.T), times)
        best = max(best, 2 * 1024**3 / min(seconds))
    return best


def report(seconds: list[float], **more: Any) -> None:
    """The last line of a process."""
    sys.stdout.flush()
    print("\n" + json.dumps({"cpu_seconds": sum(seconds), "seconds": seconds, **more}))
