"""What training asks of a processor: memory that is kept, and everything as it was afterwards."""

import platform
import subprocess
import sys

import pytest
import torch

from diglot.model.processor import training_ways

# Two tensors of 64 MB, one after the other, ten times: how many new pages each round took.
PAGES = """
import resource
import torch
from diglot.model.processor import training_ways

with training_ways():
    for _ in range(10):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(2):
            torch.zeros(2**24)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told")
def test_freed_memory_stays_with_the_process_while_it_trains() -> None:
    found = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True)
    # Mapped anew a round takes 32,768. In the heap it takes some until no small piece lies where a tensor would.
    assert min(map(int, found.stdout.split())) < 1_000


def test_all_is_as_before_afterwards() -> None:
    def ways() -> tuple[bool, bool]:
        return torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory

    before = ways()
    with pytest.raises(KeyError), training_ways():
        assert torch.are_deterministic_algorithms_enabled()
        raise KeyError
    assert ways() == before
