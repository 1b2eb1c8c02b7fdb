"""Causal attention over packed documents: each token attends to its own document, up to itself.

A row of a batch holds several documents, one after another. `DocumentLayout` finds them once per forward pass, and
all layers share it. Documents of similar length are gathered into groups, each padded to its longest member, and
every group is one call of PyTorch's causal attention:

    row 0: a a a a b b -        layout: group 0 = [aaaa, cccx]   (4 tokens wide, x is padding)
    row 1: c c c d d e e                group 1 = [bb, dd, ee]

Padding at a document's end cannot be seen by earlier tokens (attention is causal) and its own results are never
read, so the result is exact, and the work grows with the documents' lengths squared instead of the row's.
A token of padding in the batch (document -1) becomes a document of one token: finite values, seen by nobody. What padding
costs: in attention next to nothing (a group one token wide; with `GROUP_FILL` 0.9 the groups' own padding is about 5%
more slots than tokens), everywhere else as much as any token, that is 1 - `fill` of the batch (`Batch.fill`, in the
metrics). Text fills its rows; best-fit packing of conversations leaves 1–2% at lengths well under a row's.

Forward/backward of one layer's attention in milliseconds, one CPU thread, float32, torch 2.13:

    batch                                      groups    one call a document   dense mask   documents ignored
    32 × 256, 492 documents of 5–30, d=128     14/22     32/61                 32/73        28/68
    32 × 256, 132 documents of 20–120, d=128   16/30     17/34                 24/54        22/55
    32 × 256, 132 documents of 20–120, d=256   32/63     30/59                 55/130       44/101
    2 × 2048, 11 documents of 20–800, d=512    70/175    66/160                350/780      170/420

Finding the documents takes 1–6 ms a batch.

Legend: B rows, T tokens of a row, N = B·T, M documents of a group, L its width, H heads, K key-value heads,
S size of a head, P slots of all groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# A document joins a group if it fills this share of the group's width. 0.75, 0.9 and 1 were within 10% of each
# other on the batches above (1.15, 1.05 and 1 slots a token; 10, 19 and 78 groups); 0.5 was a third slower.
GROUP_FILL = 0.9


@dataclass(frozen=True)
class DocumentLayout:
    """Where the documents of a batch lie.

    Attributes:
        groups: (number of documents M, width L) of each group, widest first.
        token_of_slot_P: index into the N tokens for every slot of all groups; padding slots repeat a token.
        slot_of_token_N: the slot in which a token's result is found.
        positions_BT: each token's place in its document, from 0.
        longest: tokens of the longest document.
    """

    groups: tuple[tuple[int, int], ...]
    token_of_slot_P: Tensor
    slot_of_token_N: Tensor
    positions_BT: Tensor
    longest: int

    @classmethod
    def of(cls, documents_BT: Tensor) -> DocumentLayout:
        """Find the documents of a batch.

        Args:
            documents_BT: int, the document of each token; each document is one run of tokens in a row.
                -1 marks padding.
        """
        B, T = documents_BT.shape
        first_BT = torch.ones_like(documents_BT, dtype=torch.bool)
        first_BT[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
        first_BT |= documents_BT < 0
        starts = first_BT.flatten().nonzero().squeeze(1)
        lengths = torch.diff(starts, append=starts.new_tensor([B * T]))
        positions_N = torch.arange(B * T, device=starts.device) - starts.repeat_interleave(lengths)

        order = lengths.argsort(descending=True, stable=True)
        groups, tokens, slots, slot = [], [], torch.empty_like(positions_N), 0
        for start, end in _cut(lengths[order].tolist()):
            length_M1 = lengths[order[start:end], None]
            width = int(length_M1[0])
            place_L = torch.arange(width, device=starts.device)
            token_ML = starts[order[start:end], None] + place_L.minimum(length_M1 - 1)
            real_ML = place_L < length_M1
            slots[token_ML[real_ML]] = slot + real_ML.flatten().nonzero().squeeze(1)
            groups.append((end - start, width))
            tokens.append(token_ML.flatten())
            slot += token_ML.numel()
        return cls(tuple(groups), torch.cat(tokens), slots, positions_N.view(B, T), groups[0][1])


def _cut(lengths: list[int]) -> list[tuple[int, int]]:
    """Cut documents, longest first, into groups (start, end) of similar length."""
    cuts = [0]
    for index, length in enumerate(lengths):
        if length < GROUP_FILL * lengths[cuts[-1]]:
            cuts.append(index)
    return list(zip(cuts, [*cuts[1:], len(lengths)]))


def attend(query_BTHS: Tensor, key_BTKS: Tensor, value_BTKS: Tensor, layout: DocumentLayout | None) -> Tensor:
    """Causal attention within each document, with the softmax scaled by 1/sqrt(S).

    Args:
        query_BTHS: queries, H heads.
        key_BTKS: keys, K heads; H is a multiple of K.
        value_BTKS: values, K heads.
        layout: the documents; None if every row is one document.

    Returns:
        The attended values, BTHS; float32 on the CPU, elsewhere in the type of the queries.
    """
    inputs = (query_BTHS, key_BTKS, value_BTKS)
    if layout is None:
        return _causal(*inputs)
    packed = [x.flatten(0, 1).index_select(0, layout.token_of_slot_P) for x in inputs]
    sizes = [documents * width for documents, width in layout.groups]
    results = [
        _causal(*(x.unflatten(0, shape) for x in group)).flatten(0, 1)
        for shape, *group in zip(layout.groups, *(x.split(sizes) for x in packed))
    ]
    return torch.cat(results).index_select(0, layout.slot_of_token_N).view_as(query_BTHS)


def _causal(query_MLHS: Tensor, key_MLKS: Tensor, value_MLKS: Tensor) -> Tensor:
    """Causal attention over documents of one width."""
    query, key, value = (x.transpose(1, 2) for x in (query_MLHS, key_MLKS, value_MLKS))
    if query.device.type == "cpu":
        # bfloat16's backward pass took 1,780 ms where float32's takes 170 (last batch of the table).
        query, key, value = query.float(), key.float(), value.float()
    with torch.autocast(query.device.type, enabled=False):
        value = value.to(query.dtype)
        out = F.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=query.shape[1] != key.shape[1]
        )
    return out.transpose(1, 2)
