"""The losses of loss.py where the output weight is cut by rows of the vocabulary over processes (tensor parallel).

Every process computes the logits of its rows, chunk by chunk of tokens; what a chunk shares is its largest logit, the
sum of the exponentials and the logit of the target: three numbers a token. So a process holds one chunk's logits of its
part of the vocabulary; torch's `loss_parallel` would hold all tokens' (256,000 entries over 8 processes, 2,048 tokens:
262 MB and as much again for their gradient, against 16 MB here).

The gradient of the hidden states is a process's part of a sum: the decoder's output adds them up (see `cut_layers` in
train/mesh.py).

Legend: N tokens, D hidden size, V rows of the output weight on this process, C tokens of a chunk.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

CHUNK_LOGITS = 2**22  # as in loss.py
MIN_CHUNK = 256


class Part(NamedTuple):
    """The rows of the vocabulary on this process: the first one's id, and the processes that hold the others."""

    first: int
    group: dist.ProcessGroup


class Chunk(NamedTuple):
    """Some tokens' logits and what is known of them: log of the sum of exponentials, logit of the target (both over
    the whole vocabulary), whether the target is among this process's rows, and its row (0 where it is not).
    """

    logits_CV: Tensor
    normalizer_C: Tensor
    target_logit_C: Tensor
    inside_C: Tensor
    row_C1: Tensor

    def d_logits(self, d_normalizer_C1: Tensor | float, d_target_C: Tensor | float) -> Tensor:
        """The gradient of the logits, in their place, from those of the normalizer and of the target's logit."""
        d_logits_CV = self.logits_CV.sub_(self.normalizer_C[:, None]).exp_().mul_(d_normalizer_C1)
        at_target_C = (self.inside_C * d_target_C).to(d_logits_CV.dtype)
        return d_logits_CV.scatter_add_(1, self.row_C1, at_target_C[:, None])


def cut_weight(weight_VD: DTensor) -> tuple[Tensor, Part]:
    """The rows of an evenly cut output weight that lie on this process."""
    own_VD, mesh = weight_VD.to_local(), weight_VD.device_mesh
    assert mesh.mesh_dim_names == ("tensor",), "FSDP2's shards were not gathered"
    return own_VD, Part(mesh.get_local_rank() * len(own_VD), mesh.get_group())


def chunk_size(weight_VD: Tensor) -> int:
    """Tokens of a chunk."""
    return max(MIN_CHUNK, CHUNK_LOGITS // weight_VD.shape[0])


def _compute(hidden_CD: Tensor, weight_VD: Tensor, targets_C: Tensor, part: Part) -> Chunk:
    logits_CV = (hidden_CD @ weight_VD.T).float()
    largest_C = logits_CV.amax(dim=1)
    dist.all_reduce(largest_C, dist.ReduceOp.MAX, group=part.group)
    row_C = targets_C - part.first
    inside_C = (row_C >= 0) & (row_C < weight_VD.shape[0])
    row_C1 = (row_C * inside_C)[:, None]
    target_C = logits_CV.gather(1, row_C1).squeeze(1) * inside_C
    sums_2C = torch.stack([(logits_CV - largest_C[:, None]).exp_().sum(dim=1), target_C])
    dist.all_reduce(sums_2C, group=part.group)
    return Chunk(logits_CV, largest_C + sums_2C[0].log(), sums_2C[1], inside_C, row_C1)


class ShardedCrossEntropy(torch.autograd.Function):
    """Loss and gradients, chunk by chunk, over tokens that are all valid; see `cross_entropy` in loss.py."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, part: Part, z_loss: float, gradients: bool
    ) -> tuple[Tensor, Tensor]:
        """The summed loss with the z-loss, and the losses (N) without."""
        for_hidden, for_weight = (gradients and needed for needed in ctx.needs_input_grad[:2])
        d_hidden = torch.empty_like(hidden) if for_hidden else None
        d_weight = torch.zeros_like(weight, dtype=torch.float32) if for_weight else None
        losses, normalizers = torch.empty(2, len(targets), dtype=torch.float32, device=hidden.device)
        cast, size = weight.to(hidden.dtype), chunk_size(weight)
        for start in range(0, len(targets), size):
            chunk = slice(start, start + size)
            found = _compute(hidden[chunk], cast, targets[chunk], part)
            losses[chunk] = found.normalizer_C - found.target_logit_C
            normalizers[chunk] = found.normalizer_C
            if not (for_hidden or for_weight):
                continue
            d_logits_CV = found.d_logits(1 + 2 * z_loss * found.normalizer_C[:, None], -1.0).to(hidden.dtype)
            if d_hidden is not None:
                d_hidden[chunk] = d_logits_CV @ cast
            if d_weight is not None:
                d_weight += d_logits_CV.T @ hidden[chunk]
        ctx.gradients, ctx.weight_dtype = (d_hidden, d_weight), weight.dtype
        ctx.mark_non_differentiable(losses)
        return (losses + z_loss * normalizers.square()).sum(), losses

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients that the forward pass took."""
        if ctx.gradients is None:
            raise RuntimeError("cross_entropy: backward runs once; its gradients were freed")
        (d_hidden, d_weight), ctx.gradients = ctx.gradients, None
        d_hidden = None if d_hidden is None else d_hidden.mul_(gradients[0])
        d_weight = None if d_weight is None else d_weight.mul_(gradients[0]).to(ctx.weight_dtype)
        return d_hidden, d_weight, None, None, None, None


class ShardedLogProbabilities(torch.autograd.Function):
    """Log-probability of each target; each chunk is computed a second time in the backward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, part: Part) -> Tensor:
        """Log-probabilities (N) of tokens that are all valid."""
        ctx.save_for_backward(hidden, weight, targets)
        ctx.part = part
        size, cast = chunk_size(weight), weight.to(hidden.dtype)
        found_N = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(targets), size):
            chunk = slice(start, start + size)
            found = _compute(hidden[chunk], cast, targets[chunk], part)
            found_N[chunk] = found.target_logit_C - found.normalizer_C
        return found_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the hidden states (this process's part of the sum) and of its rows of the weight."""
        hidden, weight, targets = ctx.saved_tensors
        d_hidden, d_weight = torch.empty_like(hidden), torch.zeros_like(weight, dtype=torch.float32)
        size, cast = chunk_size(weight), weight.to(hidden.dtype)
        for start in range(0, len(targets), size):
            chunk = slice(start, start + size)
            found, gradient_C = _compute(hidden[chunk], cast, targets[chunk], ctx.part), gradients[0][chunk]
            d_logits_CV = found.d_logits(-gradient_C[:, None], gradient_C).to(hidden.dtype)
            d_hidden[chunk] = d_logits_CV @ cast
            d_weight += d_logits_CV.T @ hidden[chunk]
        return d_hidden, d_weight.to(weight.dtype), None, None
