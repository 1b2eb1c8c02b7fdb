"""Context parallel: the tokens of every row are cut over processes, for documents that one device could not hold.

Every process computes its tokens' queries, keys and values. For attention it gathers the keys and values of the whole
row, and its queries see what they would see in one process; nothing else needs other processes' tokens (the all-gather
form of Llama 3, 2407.21783, section 3.3.2: with grouped heads keys and values are small, and documents need no ring).
In the backward pass the gradients of keys and values are summed and cut again.

A late token sees more than an early one, so that equal stretches would not be equal work. The row is cut into twice as
many pieces as there are processes, and each takes one from the front and one from the back:

    piece      0 1 2 3 4 5 6 7        process 1 of 4 holds its tokens in the order 1 6
    process    0 1 2 3 3 2 1 0

Legend: B rows, T tokens of a row, U tokens of a row on this process, N = B·U, K key-value heads, S size of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class RowCut:
    """Which tokens of every row lie on this process, and who holds the others.

    Attributes:
        rank: this process's number among those that share a row.
        size: how many those are.
        group: these processes, in this order.
    """

    rank: int
    size: int
    group: dist.ProcessGroup | None = None

    def columns(self, length: int) -> Tensor:
        """The U places of a row of `length` tokens that lie on this process, in its order."""
        return self._columns(length)[self.rank]

    def gathered_place(self, rows: int, length: int) -> Tensor:
        """Where in the output of `gather` each token of whole rows is found: int64 [B·T], in row order."""
        columns_CU = self._columns(length)
        place_TB = torch.empty(length, rows, dtype=torch.int64)
        here_CBU = torch.arange(length * rows).view(self.size, rows, -1)
        place_TB[columns_CU.flatten()] = here_CBU.transpose(1, 2).flatten(0, 1)
        return place_TB.T.flatten()

    def _columns(self, length: int) -> Tensor:
        pieces = torch.arange(length).view(2 * self.size, -1)
        return torch.cat([pieces[: self.size], pieces[self.size :].flip(0)], dim=1)

    def gather(self, key_NKS: Tensor, value_NKS: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of all tokens of the rows, process after process; differentiable."""
        both = torch.cat([key_NKS, value_NKS], dim=-1)  # one message; of the wider type where they differ
        key, value = _Gather.apply(both, self.group).split([key_NKS.shape[-1], value_NKS.shape[-1]], dim=-1)
        return key, value


class _Gather(torch.autograd.Function):
    """The parts of all processes, one after the other; their gradients are summed, and each gets its own back."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group, ctx.length = group, len(part)
        whole = part.new_empty(len(part) * dist.get_world_size(group), *part.shape[1:])
        dist.all_gather_into_tensor(whole, part.contiguous(), group=group)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        whole = gradients[0].contiguous()
        part = whole.new_empty(ctx.length, *whole.shape[1:])
        dist.reduce_scatter_tensor(part, whole, group=ctx.group)
        return part, None
