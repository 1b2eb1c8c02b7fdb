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

Under autocast the products run in its type; softmax, loss and the sums over chunks are float32 always.

Legend: N tokens, D hidden size, V rows of the output weight, C tokens of a chunk.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from diglot.model.sharded_loss import ShardedCrossEntropy, ShardedLogProbabilities, cut_weight

IGNORE = -100  # a target that is not to be predicted
# Tokens of a chunk: as many as make 4 million logits (16 MB in float32), but no fewer than 256. Forward and backward
# in seconds, one CPU thread, float32, by logits a chunk (in brackets: tokens), and whole:
#     8192 tokens × 128, 4,000 entries     2^20 (262) 1.13   2^22 (1048) 1.08   2^24 (4194) 1.54   whole 1.93
#     8192 tokens × 256, 12,000 entries    2^20 (87)  7.19   2^22 (349)  3.76   2^24 (1398) 5.82   whole 7.78
#     2048 tokens × 512, 64,000 entries    2^22 (65) 18.95   2^23 (131)  9.01   2^24 (262)  7.81   whole 7.20
CHUNK_LOGITS = 2**22
MIN_CHUNK = 256


def cross_entropy(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the cross-entropy over the valid tokens, in nats.

    Args:
        hidden_ND: hidden states after the final norm.
        weight_VD: the output weight.
        targets_N: the next token of each position, or -100.

    Returns:
        The sum (float32, differentiable, backward once), and losses_N (float32, detached, 0 where ignored).
    """
    hidden, targets, valid = _valid(hidden_ND, targets_N)
    if isinstance(weight_VD, DTensor):
        own_VD, part = cut_weight(weight_VD)
        loss_sum, losses = ShardedCrossEntropy.apply(hidden, own_VD, targets, part, torch.is_grad_enabled())
    else:
        loss_sum, losses = _CrossEntropy.apply(
            hidden, weight_VD, targets, _product_type(hidden_ND), torch.is_grad_enabled()
        )
    losses_N = losses.new_zeros(len(targets_N)).index_copy_(0, valid, losses)
    return loss_sum, losses_N


def token_log_probabilities(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """Log-probability of each target, in nats.

    Args:
        hidden_ND: hidden states after the final norm.
        weight_VD: the output weight.
        targets_N: the next token of each position, or -100.

    Returns:
        logprobs_N, float32, differentiable; 0 where ignored.
    """
    hidden, targets, valid = _valid(hidden_ND, targets_N)
    size, chunks = _chunk_size(weight_VD), []
    if isinstance(weight_VD, DTensor):
        own_VD, part = cut_weight(weight_VD)
        chunks = [ShardedLogProbabilities.apply(hidden, own_VD, targets, part)]
    chunks = chunks or [
        checkpoint(_log_probabilities, h, weight_VD, t, use_reentrant=False, preserve_rng_state=False)
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


def _log_probabilities(hidden_CD: Tensor, weight_VD: Tensor, targets_C: Tensor) -> Tensor:
    dtype = _product_type(hidden_CD)
    logits_CV = F.linear(hidden_CD.to(dtype), weight_VD.to(dtype)).float()
    return -F.cross_entropy(logits_CV, targets_C, reduction="none")


def _product_type(hidden: Tensor) -> torch.dtype:
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


def _chunk_size(weight_VD: Tensor) -> int:
    return max(MIN_CHUNK, CHUNK_LOGITS // weight_VD.shape[0])


class _CrossEntropy(torch.autograd.Function):
    """Loss and gradients, chunk by chunk, over tokens that are all valid."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype, gradients: bool
    ) -> tuple[Tensor, Tensor]:
        for_hidden, for_weight = (gradients and needed for needed in ctx.needs_input_grad[:2])
        d_hidden = torch.empty_like(hidden) if for_hidden else None
        d_weight = torch.zeros_like(weight, dtype=torch.float32) if for_weight else None
        losses = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        weight_cast, size = weight.to(dtype), _chunk_size(weight)
        for start in range(0, len(targets), size):
            chunk = slice(start, start + size)
            hidden_CD, targets_C1 = hidden[chunk].to(dtype), targets[chunk, None]
            logits_CV = (hidden_CD @ weight_cast.T).float()
            log_probabilities_CV = F.log_softmax(logits_CV, dim=1)
            losses[chunk] = -log_probabilities_CV.gather(1, targets_C1).squeeze(1)
            if not (for_hidden or for_weight):
                continue
            # The gradient of a token's loss by its logits: softmax minus one at the target.
            d_logits_CV = log_probabilities_CV.exp_()
            d_logits_CV.scatter_add_(1, targets_C1, torch.full_like(targets_C1, -1.0, dtype=torch.float32))
            d_logits_CV = d_logits_CV.to(dtype)
            if d_hidden is not None:
                d_hidden[chunk] = d_logits_CV @ weight_cast
            if d_weight is not None and dtype == torch.float32:
                d_weight.addmm_(d_logits_CV.T, hidden_CD)
            elif d_weight is not None:
                d_weight += d_logits_CV.T @ hidden_CD
        ctx.gradients = (d_hidden, d_weight)
        ctx.weight_dtype = weight.dtype
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("cross_entropy: backward runs once; its gradients were freed")
        (d_hidden, d_weight), ctx.gradients = ctx.gradients, None
        if d_hidden is not None:
            d_hidden.mul_(gradients[0])
        if d_weight is not None:
            d_weight = d_weight.mul_(gradients[0]).to(ctx.weight_dtype)
        return d_hidden, d_weight, None, None, None
