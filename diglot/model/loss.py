"""The loss of a language model from its last hidden states, without ever holding all logits.

At 256,000 entries the logits of one row of 2,048 tokens take 2 GB in float32, and so do their gradients. Both
functions here walk over chunks of tokens, so that only one chunk's logits exist at a time.

`cross_entropy` takes the gradient during the forward pass, while a chunk's softmax is at hand: three matrix products
a chunk, as many as without chunks. The loss is a sum; to average over the valid tokens of a whole batch, however
it is cut, divide by their number before `backward` (the factor reaches the gradients there):

    loss_sum, losses_N = cross_entropy(hidden_ND, decoder.output_weight(), targets_N)
    (loss_sum / valid_tokens_of_the_step).backward()

`token_log_probabilities` is differentiable token by token (preference objectives need that) and computes each chunk
a second time in the backward pass.

The z-loss (PaLM, 2204.02311, section 5) adds z_loss · log²Z a token, Z the sum of the exponentials of its logits: it
keeps logits from drifting away from zero. It costs one factor on each token's softmax. The losses by token never hold
it: they stay comparable between runs with and without.

Under autocast the products run in its type (on a processor that is slow in bfloat16, in float32); softmax, loss and the
sums over chunks are float32 always.

Legend: N tokens, D hidden size, V rows of the output weight, C tokens of a chunk.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from diglot.model.processor import is_slow_in_bfloat16
from diglot.model.sharded_loss import ShardedCrossEntropy, ShardedLogProbabilities, cut_weight

IGNORE = -100  # a target that is not to be predicted
# Tokens of a chunk: as many as make 4 million logits (16 MB in float32), but no fewer than 256. Forward and backward
# in seconds, one CPU thread, float32, by logits a chunk (in brackets: tokens), and whole:
#     8192 tokens × 128, 4,000 entries     2^20 (262) 1.13   2^22 (1048) 1.08   2^24 (4194) 1.54   whole 1.93
#     8192 tokens × 256, 12,000 entries    2^20 (87)  7.19   2^22 (349)  3.76   2^24 (1398) 5.82   whole 7.78
#     2048 tokens × 512, 64,000 entries    2^22 (65) 18.95   2^23 (131)  9.01   2^24 (262)  7.81   whole 7.20
CHUNK_LOGITS = 2**22
MIN_CHUNK = 256


def cross_entropy(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, z_loss: float = 0.0, soft_cap: float | None = None
) -> tuple[Tensor, Tensor]:
    """Sum of the cross-entropy over the valid tokens, in nats.

    Args:
        hidden_ND: hidden states after the final norm.
        weight_VD: the output weight.
        targets_N: the next token of each position, or -100.
        z_loss: coefficient of log²Z, which the sum holds beside the cross-entropy.
        soft_cap: logits become soft_cap · tanh(logit / soft_cap) (Gemma 2, 2408.00118); not for a weight that is cut.

    Returns:
        The sum (float32, differentiable, backward once), and losses_N (float32, detached, 0 where ignored; without
        the z-loss).
    """
    hidden, targets, valid = _valid(hidden_ND, targets_N)
    if isinstance(weight_VD, DTensor):
        assert soft_cap is None, "families with soft caps are not cut by tensor parallel"
        own_VD, part = cut_weight(weight_VD)
        loss_sum, losses = ShardedCrossEntropy.apply(hidden, own_VD, targets, part, z_loss, torch.is_grad_enabled())
    else:
        loss_sum, losses = _CrossEntropy.apply(
            hidden, weight_VD, targets, _product_type(hidden_ND), z_loss, soft_cap, torch.is_grad_enabled()
        )
    losses_N = losses.new_zeros(len(targets_N)).index_copy_(0, valid, losses)
    return loss_sum, losses_N


def token_log_probabilities(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, soft_cap: float | None = None
) -> Tensor:
    """Log-probability of each target, in nats.

    Args:
        hidden_ND: hidden states after the final norm.
        weight_VD: the output weight.
        targets_N: the next token of each position, or -100.
        soft_cap: of the logits, as in `cross_entropy`.

    Returns:
        logprobs_N, float32, differentiable; 0 where ignored.
    """
    hidden, targets, valid = _valid(hidden_ND, targets_N)
    size, chunks = _chunk_size(weight_VD), []
    if isinstance(weight_VD, DTensor):
        assert soft_cap is None, "families with soft caps are not cut by tensor parallel"
        own_VD, part = cut_weight(weight_VD)
        chunks = [ShardedLogProbabilities.apply(hidden, own_VD, targets, part)]
    chunks = chunks or [
        checkpoint(_log_probabilities, h, weight_VD, t, soft_cap, use_reentrant=False, preserve_rng_state=False)
        for h, t in zip(hidden.split(size), targets.split(size))
    ]
    zeros_N = torch.zeros(len(targets_N), dtype=torch.float32, device=hidden_ND.device)
    return zeros_N.index_copy(0, valid, torch.cat(chunks))


def _valid(hidden_ND: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states and targets of the tokens that are to be predicted, and their indices."""
    valid = (targets_N != IGNORE).nonzero().squeeze(1)
    if len(valid) == len(targets_N):
        return hidden_ND, targets_N, valid
    return hidden_ND.index_select(0, valid), targets_N.index_select(0, valid), valid


def _log_probabilities(hidden_CD: Tensor, weight_VD: Tensor, targets_C: Tensor, soft_cap: float | None) -> Tensor:
    dtype = _product_type(hidden_CD)
    with torch.autocast(hidden_CD.device.type, enabled=False):
        logits_CV = F.linear(hidden_CD.to(dtype), weight_VD.to(dtype)).float()
    if soft_cap is not None:
        logits_CV = soft_cap * torch.tanh(logits_CV / soft_cap)
    return -F.cross_entropy(logits_CV, targets_C, reduction="none")


def _product_type(hidden: Tensor) -> torch.dtype:
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    slow = device == "cpu" and dtype == torch.bfloat16 and is_slow_in_bfloat16()
    return torch.float32 if slow else dtype


def _chunk_size(weight_VD: Tensor) -> int:
    return max(MIN_CHUNK, CHUNK_LOGITS // weight_VD.shape[0])


def _product(hidden_CD: Tensor, weight_VD: Tensor, out_CV: Tensor) -> Tensor:
    if weight_VD.dtype == torch.float32:
        return torch.mm(hidden_CD, weight_VD.T, out=out_CV)
    return out_CV.copy_(hidden_CD @ weight_VD.T)


def _walk(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    dtype: torch.dtype,
    z_loss: float,
    soft_cap: float | None,
    for_hidden: bool,
    for_weight: bool,
) -> tuple[Tensor, Tensor, tuple[Tensor | None, Tensor | None]]:
    """The sum of the losses with the z-loss, the losses without, and the gradients of hidden states and weight."""
    d_hidden = torch.empty_like(hidden) if for_hidden else None
    d_weight = torch.zeros_like(weight, dtype=torch.float32) if for_weight else None
    losses, normalizers = torch.empty(2, len(targets), dtype=torch.float32, device=hidden.device)
    weight_cast, size = weight.to(dtype), min(_chunk_size(weight), len(targets))
    # One memory for all chunks: new memory each time cost a sixth of the whole at 256,000 entries.
    buffer = torch.empty(size, len(weight), dtype=torch.float32, device=hidden.device)
    for start in range(0, len(targets), size or 1):
        chunk = slice(start, start + size)
        hidden_CD, targets_C1 = hidden[chunk].to(dtype), targets[chunk, None]
        logits_CV = _product(hidden_CD, weight_cast, buffer[: len(hidden_CD)])
        if soft_cap is not None:
            capped_CV = logits_CV.div_(soft_cap).tanh_()
            slope_CV = 1 - capped_CV.square()  # of the cap, which the logits' gradient is multiplied with
            logits_CV = capped_CV.mul_(soft_cap)
        target_C = logits_CV.gather(1, targets_C1).squeeze(1)
        largest_C1 = logits_CV.amax(dim=1, keepdim=True)
        exponentials_CV = logits_CV.sub_(largest_C1).exp_()
        sum_C1 = exponentials_CV.sum(dim=1, keepdim=True)
        normalizer_C1 = sum_C1.log() + largest_C1
        normalizers[chunk] = normalizer_C1.squeeze(1)
        losses[chunk] = normalizers[chunk] - target_C
        if not (for_hidden or for_weight):
            continue
        # The gradient of a token's loss by its logits: softmax minus one at the target.
        d_logits_CV = exponentials_CV.mul_((1 + 2 * z_loss * normalizer_C1) / sum_C1)
        d_logits_CV.scatter_add_(1, targets_C1, torch.full_like(targets_C1, -1.0, dtype=torch.float32))
        if soft_cap is not None:
            d_logits_CV.mul_(slope_CV)
        d_logits_CV = d_logits_CV.to(dtype)
        if d_hidden is not None:
            d_hidden[chunk] = d_logits_CV @ weight_cast
        if d_weight is not None and dtype == torch.float32:
            d_weight.addmm_(d_logits_CV.T, hidden_CD)
        elif d_weight is not None:
            d_weight += d_logits_CV.T @ hidden_CD
    return (losses + z_loss * normalizers.square()).sum(), losses, (d_hidden, d_weight)


class _CrossEntropy(torch.autograd.Function):
    """Loss and gradients, chunk by chunk, over tokens that are all valid."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        dtype: torch.dtype,
        z_loss: float,
        soft_cap: float | None,
        gradients: bool,
    ) -> tuple[Tensor, Tensor]:
        wanted = [gradients and needed for needed in ctx.needs_input_grad[:2]]
        with torch.autocast(hidden.device.type, enabled=False):
            loss_sum, losses, ctx.gradients = _walk(hidden, weight, targets, dtype, z_loss, soft_cap, *wanted)
        ctx.weight_dtype = weight.dtype
        ctx.mark_non_differentiable(losses)
        return loss_sum, losses

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("cross_entropy: backward runs once; its gradients were freed")
        (d_hidden, d_weight), ctx.gradients = ctx.gradients, None
        if d_hidden is not None:
            d_hidden.mul_(gradients[0])
        if d_weight is not None:
            d_weight = d_weight.mul_(gradients[0]).to(ctx.weight_dtype)
        return d_hidden, d_weight, None, None, None, None, None
