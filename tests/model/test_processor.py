"""What training asks of a processor: kept memory, exact products, and everything as it was afterwards."""

import platform
import subprocess
import sys

import pytest
import torch

from diglot.model import processor
from diglot.model.processor import exact_products, training_ways

# Two tensors of 64 MB, one after the other, three times: how many new pages the last round took, inside and after.
PAGES = """
import resource
import torch
from diglot.model.processor import training_ways

def pages():
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(2):
            torch.zeros(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    return int(open("/proc/self/statm").read().split()[1])

with training_ways():
    inside, heap = pages(), held()
print(inside, pages(), heap - held())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told")
def test_freed_memory_stays_with_the_process_only_while_it_trains() -> None:
    found = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True)
    inside, after, given_back = map(int, found.stdout.split())
    pages = 2**26 // 4096  # of one tensor
    assert inside < pages // 100
    assert after >= pages  # a tensor's are mapped anew, or after it
    assert given_back >= pages * 0.9


def test_products_are_as_exact_as_float32_inside_and_all_is_as_before_afterwards() -> None:
    def ways() -> tuple[object, ...]:
        return (
            torch.backends.mkldnn.matmul.fp32_precision,
            torch.are_deterministic_algorithms_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
        )

    before = ways()
    torch.manual_seed(0)
    for shape in ((1024, 576, 1536), (300, 64, 300)):
        left, right = torch.randn(shape[0], shape[1]), torch.randn(shape[1], shape[2])
        exact = left.double() @ right.double()
        with pytest.raises(KeyError), training_ways():
            assert torch.are_deterministic_algorithms_enabled()
            assert (left @ right - exact).abs().max() < 1e-6 * exact.abs().max()
            raise KeyError
    assert ways() == before


def test_a_processor_that_would_round_products_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.backends.mkldnn.matmul.fp32_precision
    monkeypatch.setattr(processor, "_are_exact", lambda: False)
    with exact_products():
        assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_products_of_bfloat16_are_not_taken_for_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison finds rounding to bfloat16 in one of the products' forms."""
    assert processor._are_exact()
    matmul = torch.Tensor.__matmul__

    def rounded(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        if left.dtype == torch.float32 and left.ndim == 3:
            return matmul(left.bfloat16(), right.bfloat16()).float()
        return matmul(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    assert not processor._are_exact()
