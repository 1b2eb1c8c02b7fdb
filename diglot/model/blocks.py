"""Causal attention in bfloat16 on a processor: block after block of queries, by the libraries' own matrix products.

PyTorch's attention on a CPU computes its products at float32's rate, whatever the type. Here a block of queries meets all
keys that it may see in one product a head of keys, the softmax runs while the scores lie in the cache, and the backward
pass computes them again, so that no weights are kept. Of what the future hides, half a block a row is computed in vain.

    queries 0–63      ■             scores of the block at hand, the triangle at its end hidden
    queries 64–127    ■ ■
    queries 128–191   ■ ■ ■

The scores and their softmax are float32, the weights and all products with them bfloat16, sums over blocks float32 again:
as kernels on GPUs do it. Of 512 tokens in a document, output and gradients were 2 to 4e-3 from float64's, those of PyTorch's
kernel in bfloat16 2 to 6e-3.

CPU milliseconds of one layer, forward and backward: 1,024 tokens (the second line: 2,048), 9 heads of 64 over 3 of keys, one
thread, AVX-512, another work on the other core:

    documents     here    PyTorch's in bfloat16    in float32
    2 × 512         34                       60            58
    1 × 2048       220                      251           283
    8 × 128         15                       36            17
    40 × 25          8                       32             8

In float32 the same way was 25% faster at 512 tokens and 5% slower at 2,048, and up to 20% at 128: PyTorch's kernel stays.

Legend: M documents, L queries of each, J keys, H heads of queries, K heads of keys, G = H / K queries that share a key, S
size of a head, W of its values; Z = M · K matrices, R = L · G rows of each, C queries of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# Queries of a block: of 64, 128 and 256 (three heads on a key, 512 and 2,048 queries) 64 was the fastest or within noise.
# With fewer heads on a key a block of 64 has too few rows for products to run at their rate, with more it needn't be as large.
MOST_QUERIES, LEAST_QUERIES = 128, 32
# Scores at a time: 4 MB in float32; with 2^18 and 2^19 more calls cost up to a tenth.
SCORES = 2**20


def attend_by_blocks(query_MLHS: Tensor, key_MJKS: Tensor, value_MJKW: Tensor, scale: float | None) -> Tensor:
    """Causal attention of documents' last L tokens to all of their J tokens.

    Args:
        query_MLHS: queries, bfloat16.
        key_MJKS: keys.
        value_MJKW: values.
        scale: of the products of queries and keys; 1/sqrt(S) if absent.

    Returns:
        The attended values, MLHW, bfloat16.
    """
    key_MJKS, value_MJKW = key_MJKS.to(query_MLHS.dtype), value_MJKW.to(query_MLHS.dtype)
    return _BlockAttention.apply(query_MLHS, key_MJKS, value_MJKW, scale or query_MLHS.shape[-1] ** -0.5)


class _BlockAttention(torch.autograd.Function):
    """Forward and backward pass, block by block."""

    @staticmethod
    def forward(ctx: Any, query_MLHS: Tensor, key_MJKS: Tensor, value_MJKW: Tensor, scale: float) -> Tensor:
        heads, groups = key_MJKS.shape[2], query_MLHS.shape[2] // key_MJKS.shape[2]
        query_ZRS = _rows(query_MLHS, heads)
        key_ZJS, value_ZJW = _rows(key_MJKS, heads), _rows(value_MJKW, heads)
        out_ZRW = query_ZRS.new_empty(*query_ZRS.shape[:2], value_ZJW.shape[2])
        with torch.autocast("cpu", enabled=False):
            for some, rows, seen in _blocks(query_ZRS, key_ZJS, groups):
                weights = _weights(query_ZRS[some, rows], key_ZJS[some, seen], groups, scale)
                out_ZRW[some, rows] = weights @ value_ZJW[some, seen]
        ctx.save_for_backward(query_ZRS, key_ZJS, value_ZJW)
        ctx.scale, ctx.groups, ctx.documents = scale, groups, len(query_MLHS)
        return _documents(out_ZRW, len(query_MLHS), groups)

    @staticmethod
    def backward(ctx: Any, *d_outs: Tensor) -> tuple[Tensor | None, ...]:
        query_ZRS, key_ZJS, value_ZJW = ctx.saved_tensors
        d_out_ZRW = _rows(d_outs[0], len(key_ZJS) // ctx.documents)
        d_query_ZRS = torch.empty_like(query_ZRS)
        # Sums over blocks are float32, and lie transposed: a product whose left side is transposed runs at a third of the
        # rate where that side is the large one.
        d_key_ZSJ, d_value_ZWJ = (x.new_zeros(x.mT.shape, dtype=torch.float32) for x in (key_ZJS, value_ZJW))
        with torch.autocast("cpu", enabled=False):
            for some, rows, seen in _blocks(query_ZRS, key_ZJS, ctx.groups):
                query, key, d_out = query_ZRS[some, rows], key_ZJS[some, seen], d_out_ZRW[some, rows]
                weights = _weights(query, key, ctx.groups, ctx.scale)
                d_value_ZWJ[some, :, seen] += d_out.mT @ weights
                d_weights = d_out @ value_ZJW[some, seen].mT
                d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
                d_query_ZRS[some, rows] = d_scores @ key
                d_key_ZSJ[some, :, seen] += query.mT @ d_scores
        d_query_MLHS = _documents(d_query_ZRS.mul_(ctx.scale), ctx.documents, ctx.groups)
        d_key_ZSJ *= ctx.scale
        d_key, d_value = (_documents(x.mT.to(query_ZRS.dtype), ctx.documents, 1) for x in (d_key_ZSJ, d_value_ZWJ))
        return d_query_MLHS, d_key, d_value, None


def _rows(x_MLHS: Tensor, heads: int) -> Tensor:
    """One matrix for each document and head of keys; the queries of one token stand one below the other."""
    return x_MLHS.unflatten(2, (heads, -1)).transpose(1, 2).flatten(2, 3).flatten(0, 1).contiguous()


def _documents(x_ZRS: Tensor, documents: int, groups: int) -> Tensor:
    """The inverse of `_rows`."""
    return x_ZRS.unflatten(1, (-1, groups)).unflatten(0, (documents, -1)).transpose(1, 2).flatten(2, 3)


def _blocks(query_ZRS: Tensor, key_ZJS: Tensor, groups: int) -> Iterator[tuple[slice, slice, slice]]:
    """Which matrices, which of their rows, and which keys these see, the last of a document's queries the last key."""
    (matrices, num_rows, _), num_keys = query_ZRS.shape, key_ZJS.shape[1]
    queries = num_rows // groups
    size = max(LEAST_QUERIES, MOST_QUERIES >> (groups.bit_length() - 1))
    at_a_time = max(1, SCORES // (min(size, queries) * groups * num_keys))
    for first in range(0, matrices, at_a_time):
        for start in range(0, queries, size):
            end = min(start + size, queries)
            yield (
                slice(first, first + at_a_time),
                slice(start * groups, end * groups),
                slice(0, num_keys - queries + end),
            )


def _weights(query_ZRS: Tensor, key_ZJS: Tensor, groups: int, scale: float) -> Tensor:
    """The softmax of a block's scores, in the type of the queries."""
    scores_ZRJ = (query_ZRS.float() * scale) @ key_ZJS.float().mT
    queries = query_ZRS.shape[1] // groups
    later_CC = torch.ones(queries, queries, dtype=torch.bool, device=query_ZRS.device).triu(1)
    # The block's own tokens are the last of the keys.
    scores_ZRJ.unflatten(1, (queries, groups))[..., -queries:].masked_fill_(later_CC[:, None], -torch.inf)
    return scores_ZRJ.softmax(-1).to(query_ZRS.dtype)
