"""Energy counters: files as the kernel has them, and a library with the driver's calls."""

import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from diglot.base.energy import Counter, measured, nvml_counters, rapl_counters

NVML = """
static unsigned long long used[2] = {5000, 70000};
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) { *device = (void *)(unsigned long)(index + 1); return 0; }
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
  unsigned long index = (unsigned long)device - 1;
  if (index == 2) return 3;  /* NVML_ERROR_NOT_SUPPORTED */
  *millijoules = used[index] += 1500;
  return 0;
}
"""


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Two packages, a part of one, memory, and the whole platform, which holds them all."""
    domains = {"intel-rapl:0": "package-0", "intel-rapl:1": "package-1", "intel-rapl:0:0": "core", "intel-rapl:0:1": "dram", "intel-rapl:2": "psys"}  # fmt: skip
    for place, name in domains.items():
        (tmp_path / place).mkdir()
        (tmp_path / place / "name").write_text(f"{name}\n")
        (tmp_path / place / "energy_uj").write_text("1000000\n")
        (tmp_path / place / "max_energy_range_uj").write_text("65532610987\n")
    return tmp_path


def use(powercap: Path, place: str, microjoules: int) -> None:
    (powercap / place / "energy_uj").write_text(f"{microjoules}\n")


def test_packages_and_memory_are_counted_once(powercap: Path) -> None:
    counters = rapl_counters(powercap)
    assert len(counters) == 3
    with measured(counters) as energy:
        use(powercap, "intel-rapl:0", 41_000_000)  # 40 J
        use(powercap, "intel-rapl:0:1", 3_000_000)  # 2 J
        use(powercap, "intel-rapl:0:0", 30_000_000)  # in package 0 already
        use(powercap, "intel-rapl:2", 90_000_000)
    assert energy == {"joules": 42.0, "from": ["RAPL"]}


def test_a_counter_that_began_anew_is_taken_for_one_turn(powercap: Path) -> None:
    counters = rapl_counters(powercap)
    with measured(counters) as energy:
        use(powercap, "intel-rapl:1", 500_000)
    assert energy["joules"] == pytest.approx(65532.610987 - 0.5, abs=0.1)


def test_it_is_looked_at_while_the_work_goes_on() -> None:
    looks = threading.Semaphore(0)
    seen = [0.0]

    def read() -> float:
        seen[0] = (seen[0] + 6) % 10  # turns over at every second look: two looks in all would count wrong
        looks.release()
        return seen[0]

    with measured([Counter("RAPL", read, turn=10)], period=0.001) as energy:
        for _ in range(5):
            assert looks.acquire(timeout=10)
    assert energy["joules"] % 6 == 0
    assert energy["joules"] >= 24


def test_without_counters_or_with_one_that_fails_there_is_no_number(tmp_path: Path, powercap: Path) -> None:
    with measured([]) as energy:
        pass
    assert energy == {}
    assert rapl_counters(tmp_path / "none") == []
    assert nvml_counters("libnothing-of-the-kind.so") == []
    counters = rapl_counters(powercap)
    with measured(counters) as energy:
        (powercap / "intel-rapl:0" / "energy_uj").unlink()
    assert energy == {}
    shown = iter((5.0, 3.0))  # a GPU was reset: fewer than none would be no number that a manifest may hold
    with measured([Counter("NVML", lambda: next(shown))]) as energy:
        pass
    assert energy == {}


def test_gpus_are_read_through_the_drivers_library(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    (tmp_path / "nvml.c").write_text(NVML)
    library = tmp_path / "libnvml.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "nvml.c"], check=True)
    counters = nvml_counters(str(library))
    assert len(counters) == 2  # the third has no counter
    with measured(counters) as energy:
        pass
    assert energy == {"joules": 3.0, "from": ["NVML"]}
