"""Energy that this machine's own counters say a stretch of work took: RAPL of processors, NVML of NVIDIA GPUs.

Both count all that ran on the machine meanwhile. Where no counter can be read (RAPL needs root on most systems, and
clouds hide it) there is no number: what the report then says is an assumption, and says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"
PERIOD = 60.0  # seconds between looks: a processor's counter begins anew after 65 kJ at the least, ten minutes at 100 W


@dataclass
class Counter:
    """A counter of joules.

    Attributes:
        name: `RAPL` or `NVML`.
        read: joules since some moment.
        turn: joules after which it begins anew; None: never.
        last: what it showed when it was looked at.
        joules: counted since it was made.
    """

    name: str
    read: Callable[[], float]
    turn: float | None = None
    last: float = 0.0
    joules: float = 0.0

    def __post_init__(self) -> None:
        """Begin."""
        self.last = self.read()

    def look(self) -> None:
        """Add what was used since the last look.

        Raises:
            ValueError: the counter went back and has no turn, as where a GPU was reset.
        """
        now = self.read()
        if (used := now - self.last) < 0:
            if self.turn is None:
                raise ValueError(f"{self.name} shows fewer joules than before")
            used += self.turn
        self.joules += used
        self.last = now


def rapl_counters(folder: Path = POWERCAP) -> list[Counter]:
    """The counters of processor packages and of memory beside them; those that may not be read are left out."""
    found = []
    for place in sorted(folder.glob("intel-rapl*:*")):  # AMD's processors are under this name too
        with contextlib.suppress(OSError, ValueError):
            if (place / "name").read_text().strip().startswith(("package", "dram")):
                turn = int((place / "max_energy_range_uj").read_text()) / 1e6
                found.append(Counter("RAPL", _microjoules(place / "energy_uj"), turn))
    return found


def _microjoules(file: Path) -> Callable[[], float]:
    return lambda: int(file.read_text()) / 1e6


def nvml_counters(library: str = NVML) -> list[Counter]:
    """The counters of the GPUs (Volta and later); through the driver's library, which is there wherever a GPU works."""
    try:
        nvml = ctypes.CDLL(library)
        count = ctypes.c_uint()
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return []
    except (OSError, AttributeError):
        return []
    found = []
    for index in range(count.value):
        handle = ctypes.c_void_p()
        if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) == 0:
            with contextlib.suppress(OSError):  # an older GPU has no counter
                found.append(Counter("NVML", _millijoules(nvml, handle)))
    return found


def _millijoules(nvml: Any, handle: ctypes.c_void_p) -> Callable[[], float]:
    def read() -> float:
        value = ctypes.c_ulonglong()
        if code := nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(value)):
            raise OSError(f"NVML error {code}")
        return value.value / 1e3

    return read


@contextlib.contextmanager
def measured(counters: Sequence[Counter] | None = None, period: float = PERIOD) -> Iterator[dict[str, Any]]:
    """Measure the block.

    Yields:
        What is `{"joules": …, "from": ["RAPL"]}` after the block; empty where nothing can be read.
    """
    energy: dict[str, Any] = {}
    reading = [*rapl_counters(), *nvml_counters()] if counters is None else list(counters)
    if not reading:
        yield energy
        return
    done, failed = threading.Event(), []

    # One failed look and nothing is known: what was used in between would be missing.
    def look() -> None:
        try:
            for counter in reading:
                counter.look()
        except (OSError, ValueError) as error:
            failed.append(error)

    def watch() -> None:
        while not done.wait(period) and not failed:
            look()

    # A thread, as the block may take days and a counter turns over within minutes.
    watcher = threading.Thread(target=watch, name="energy", daemon=True)
    watcher.start()
    try:
        yield energy
    finally:
        done.set()
        watcher.join()
        look()
        if not failed:
            energy["joules"] = round(sum(counter.joules for counter in reading), 1)
            energy["from"] = sorted({counter.name for counter in reading})
