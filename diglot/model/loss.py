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
# In bfloat16 chunks have twice as many tokens, and their logits as many bytes.
CHUNK_LOGITS = 2**22
MIN_CHUNK = 256
# Logits whose softmax is taken at a time, on GPUs and on CPUs: there 2 MB in float32, which a core's cache holds. One CPU
# thread, 1,024 tokens × 576, 61,184 entries, bfloat16: 1.31 s by whole chunks of 256 tokens in float32, 1.23 so.
CACHED_LOGITS = (2**23, 2**19)


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
    d_weight = torch.empty_like(weight, dtype=torch.float32) if for_weight else None
    losses, normalizers = torch.empty(2, len(targets), dtype=torch.float32, device=hidden.device)
    weight_cast = weight.to(dtype)
    size = min(_chunk_size(weight) * max(1, 4 // weight_cast.element_size()), len(targets))
    # One memory for all chunks: new memory each time cost a sixth of the whole at 256,000 entries.
    buffer = torch.empty(size, len(weight), dtype=dtype, device=hidden.device)
    for start in range(0, len(targets), size or 1):
        chunk = slice(start, start + size)
        hidden_CD = hidden[chunk].to(dtype)
        logits_CV = torch.mm(hidden_CD, weight_cast.T, out=buffer[: len(hidden_CD)])
        losses[chunk], normalizers[chunk] = _take_gradients(logits_CV, targets[chunk], z_loss, soft_cap)
        if d_hidden is not None:
            d_hidden[chunk] = logits_CV @ weight_cast
        if d_weight is None:
            continue
        # The first chunk's product is the sum so far: zeros to add it to are a pass over all of the weight's size.
        if dtype == torch.float32:
            d_weight.addmm_(logits_CV.T, hidden_CD, beta=int(start > 0))
        elif start == 0:
            d_weight.copy_(logits_CV.T @ hidden_CD)
        else:
            d_weight += logits_CV.T @ hidden_CD
    if d_weight is not None and not len(targets):
        d_weight.zero_()
    return (losses + z_loss * normalizers.square()).sum(), losses, (d_hidden, d_weight)


def _take_gradients(
    logits_CV: Tensor, targets_C: Tensor, z_loss: float, soft_cap: float | None
) -> tuple[Tensor, Tensor]:
    """Put the gradients of a chunk's loss by its logits in their place; returns the losses and log Z of its tokens.

    A few tokens at a time: in float32, whatever the type of the logits, and on a CPU within its cache.
    """
    losses, normalizers = torch.empty(2, len(targets_C), dtype=torch.float32, device=logits_CV.device)
    size = max(1, CACHED_LOGITS[logits_CV.device.type == "cpu"] // logits_CV.shape[1])
    for start in range(0, len(targets_C), size):
        part = slice(start, start + size)
        logits, targets_C1 = logits_CV[part].float(), targets_C[part, None]
        if soft_cap is not None:
            logits = soft_cap * torch.tanh(logits / soft_cap)
        softmax = logits.softmax(1)
        # The largest weight is 1 / Z in units of its own exponential, and never too small for a logarithm.
        normalizers[part] = logits.amax(1) - softmax.amax(1).log()
        losses[part] = normalizers[part] - logits.gather(1, targets_C1).squeeze(1)
        # The gradient of a token's loss by its logits: softmax minus one at the target.
        if z_loss:
            softmax *= 1 + 2 * z_loss * normalizers[part, None]
        softmax.scatter_add_(1, targets_C1, torch.full_like(targets_C1, -1.0, dtype=torch.float32))
        if soft_cap is not None:  # and by what was capped: the slope of the cap
            softmax *= 1 - (logits / soft_cap).square()
        logits_CV[part] = softmax
    return losses, normalizers


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
