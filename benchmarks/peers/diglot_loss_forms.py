"""Loss and gradients at a large vocabulary, in a process of their own: `diglot_loss_forms.py FORM TYPE TOKENS`, see ../loss_memory.py.

diglot    ours: chunks of tokens, the gradient taken in the forward pass
plain     F.cross_entropy over all logits
chunked   F.cross_entropy over chunks of 1,024 tokens, each computed again in the backward pass (torch's checkpoint)
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from diglot.model.loss import cross_entropy
from diglot.model.processor import is_slow_in_bfloat16

HIDDEN, VOCABULARY, CHUNK = 256, 256_000, 1024


def plain(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """All logits at once."""
    return F.cross_entropy((hidden_ND @ weight_VD.T).float(), targets_N, reduction="sum")


def chunked(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """The usual remedy."""
    chunks = zip(hidden_ND.split(CHUNK), targets_N.split(CHUNK))
    return torch.stack([checkpoint(plain, h, weight_VD, t, use_reentrant=False) for h, t in chunks]).sum()


def diglot(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """Ours."""
    return cross_entropy(hidden_ND, weight_VD, targets_N)[0]


def memory(field: str) -> int:
    """VmRSS (now) or VmHWM (at the peak) in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def run(form: str, dtype: torch.dtype, tokens: int) -> dict[str, float]:
    """CPU seconds of forward and backward, and the peak of memory beyond what inputs take."""
    loss = {"plain": plain, "chunked": chunked, "diglot": diglot}[form]
    torch.manual_seed(0)
    hidden_ND = torch.randn(tokens, HIDDEN).to(dtype).requires_grad_()
    weight_VD = (torch.randn(VOCABULARY, HIDDEN) / 16).to(dtype).requires_grad_()
    targets_N = torch.randint(VOCABULARY, (tokens,))
    few = [each.detach()[:64].clone().requires_grad_() for each in (hidden_ND, weight_VD)]
    loss(*few, targets_N[:64] % 64).backward()  # what torch loads at its first use is not counted
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, begin = memory("VmRSS"), time.process_time()
    total = loss(hidden_ND, weight_VD, targets_N)
    (total / tokens).backward()
    seconds, peak = time.process_time() - begin, memory("VmHWM")
    assert hidden_ND.grad is not None
    assert weight_VD.grad is not None
    return {
        "slow": dtype == torch.bfloat16 and is_slow_in_bfloat16(),
        "cpu_seconds": seconds,
        "peak_bytes": peak - before,
        "loss": float(total.detach()) / tokens,
        "hidden_gradient": float(hidden_ND.grad.double().norm()),
        "weight_gradient": float(weight_VD.grad.double().norm()),
    }


print(json.dumps(run(sys.argv[1], getattr(torch, sys.argv[2]), int(sys.argv[3]))))
