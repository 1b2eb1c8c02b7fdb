"""What training asks of a processor: kept memory, exact products, and everything as it was afterwards."""

import platform
import subprocess
import sys

import pytest
import torch

from diglot.model.processor import training_ways

# Two tensors of 64 MB, one after the other, three times: how many new pages the last round took.
PAGES = """
import resource
import torch
from diglot.model.processor import training_ways

with training_ways():
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(2):
            torch.zeros(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told")
def test_freed_memory_stays_with_the_process_while_it_trains() -> None:
    found = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True)
    # Mapped anew they would take 32,768; a system that takes idle pages back may take some in between.
    assert int(found.stdout) < 8_000


def test_all_is_as_before_afterwards() -> None:
    def ways() -> tuple[bool, bool]:
        return torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory

    before = ways()
    with pytest.raises(KeyError), training_ways():
        assert torch.are_deterministic_algorithms_enabled()
        raise KeyError
    assert ways() == before
