"""What a processor is good at, and how a process that trains on it makes use of that.

    with training_ways():
        steps

holds until it is left:

    memory that is freed stays with the process     see `keeping_memory`
    new memory is not filled                         torch's deterministic ways fill it with NaN, so that code that reads
                                                     what it never wrote is found. No result depends on it
                                                     (tests/train/test_precision.py trains with and without)

Nothing here changes what is computed.
"""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator

import torch

# glibc's names (malloc.h), and what they are again when training is over: the largest values that glibc's own adapting
# rule reaches, since a process that sets one of them loses that rule for good.
TRIM_THRESHOLD, MMAP_MAX, MMAP_THRESHOLD = -1, -4, -3
NEVER = 2**31 - 1  # bytes at the heap's end before any is given back; an int, the largest
AFTERWARDS = {MMAP_MAX: 65_536, MMAP_THRESHOLD: 32 * 2**20, TRIM_THRESHOLD: 64 * 2**20}


def is_slow_in_bfloat16() -> bool:
    """Whether this processor lacks AVX-512: its products in bfloat16 took 7 to 100 times as long as in float32."""
    return not torch.ops.mkldnn._is_mkldnn_bf16_supported()


@contextlib.contextmanager
def training_ways() -> Iterator[None]:
    """Deterministic algorithms, and all that makes steps faster without changing them."""
    before = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        with keeping_memory():
            yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


@contextlib.contextmanager
def keeping_memory() -> Iterator[None]:
    """Keep what is freed within the process (Linux with glibc; elsewhere nothing happens).

    glibc gives each large tensor pages of its own and hands them back when it is freed, so that in the next step the kernel
    fills them with zeros anew: 350,000 pages, 1.4 GB, a step of SmolLM2-135M with 1,024 tokens, a sixth of its time in
    bfloat16 (benchmarks/train_step_real.py). From one heap that never shrinks the same step takes next to none: 1 to 6.

    What is freed between pieces that stay is of use only to what fits there, so the peak can be higher: 4,383 MB for 4,292
    in that step in float32 (one run of each), more where steps need pieces of many sizes. It is held until training is over.
    """
    libc = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    if libc is not None:
        libc.mallopt(MMAP_MAX, 0)
        libc.mallopt(TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        if libc is not None:
            for name, value in AFTERWARDS.items():
                libc.mallopt(name, value)
            libc.malloc_trim(0)
