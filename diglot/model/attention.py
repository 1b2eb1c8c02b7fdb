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
more slots than tokens), everywhere else as much as any token, that is 1 - `packing_efficiency` of the batch (`Batch.packing_efficiency`, in the
metrics). Text fills its rows; packing of conversations leaves 1% at lengths well under a row's.

Forward/backward of one layer's attention in milliseconds, one CPU thread, float32, torch 2.13:

    batch                                      groups    one call a document   dense mask   documents ignored
    32 × 256, 492 documents of 5–30, d=128     14/22     32/61                 32/73        28/68
    32 × 256, 132 documents of 20–120, d=128   16/30     17/34                 24/54        22/55
    32 × 256, 132 documents of 20–120, d=256   32/63     30/59                 55/130       44/101
    2 × 2048, 11 documents of 20–800, d=512    70/175    66/160                350/780      170/420

Finding the documents takes 1–6 ms a batch.

Where rows are cut over processes (context parallel, context.py), a document goes on from one piece of a row to the next. Its
tokens on this process are queries, and all of its tokens up to the last of them are keys. Such a stretch is a group of
its own, or with others of the same two widths; documents that begin in the piece are grouped as ever:

    row       a a a a|b b b b|b b c c|d d d d         process 0 of 2: pieces 0 and 3   [aaaa, dddd]
    pieces       0       1       2       3            process 1: pieces 1 and 2        [bbbb], [bb of bbbbbb], [cc]

So what is gathered is exact too, and no larger mask is ever needed than a stretch's queries by its document. A row has at
most two such stretches on a process, so that many rows of short documents make many small calls: context parallel is
for long ones.

Windows, soft caps and sinks: what a document sees is no more than causal where the window is as long, and goes the same
way. Else its queries are taken in chunks, each with the keys of its window alone, so that work and memory grow with
length times window. PyTorch's kernels know windows (as a mask of chunk by keys); soft caps and sinks are plain products,
whose weights the backward pass computes again where there are more than one chunk's.

Legend: B rows, T tokens of a row, N = B·T, M documents of a group, L its width, J its keys, H heads, K key-value heads,
S size of a head, P slots of all groups, Q keys of all groups, R stretches.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from diglot.model.blocks import attend_by_blocks
from diglot.model.context import RowCut
from diglot.model.processor import is_slow_in_bfloat16

# A document joins a group if it fills this share of the group's width. 0.75, 0.9 and 1 were within 10% of each
# other on the batches above (1.15, 1.05 and 1 slots a token; 10, 19 and 78 groups); 0.5 was a third slower.
GROUP_FILL = 0.9
# Queries of one call where a window or a mask is needed: a call then has this many keys beside the window's.
BAND = 512
# Scores of a call where no kernel of PyTorch knows them (soft caps, sinks): 16 MB in float32, but not fewer queries.
MAX_SCORES = 2**22
MIN_QUERIES = 16


class Group(NamedTuple):
    """Documents, or stretches of them, of one width: one call of attention.

    Attributes:
        documents: how many (M).
        queries: how wide they are (L).
        keys: tokens that the last one sees: L, or more where the documents began on other processes.
        mask: on the CPU, 0 where a query sees a key and -inf elsewhere (LJ; all layers share it); None where the
            kernels know: on other devices, and where there are as many queries as keys.
    """

    documents: int
    queries: int
    keys: int
    mask: Tensor | None

    @classmethod
    def of(cls, documents: int, queries: int, keys: int, device: torch.device) -> Group:
        """A group and its mask."""
        mask = None
        if keys > queries and device.type == "cpu":
            mask = torch.full((queries, keys), -torch.inf).triu(keys - queries + 1)
        return cls(documents, queries, keys, mask)


@dataclass(frozen=True)
class DocumentLayout:
    """Where the documents of a batch lie.

    Attributes:
        groups: the calls of attention: stretches that go on from other processes, then documents, widest first.
        token_of_slot_P: index into the N tokens for every slot of all groups; padding slots repeat a token.
        key_of_slot_Q: for every key of all groups, index into the N tokens, or into those that `cut` gathers.
        slot_of_token_N: the slot in which a token's result is found.
        positions_BT: each token's place in its document, from 0.
        longest: tokens of the longest document.
        cut: how rows are cut over processes, if they are; N and T then count this process's tokens.
    """

    groups: tuple[Group, ...]
    token_of_slot_P: Tensor
    key_of_slot_Q: Tensor
    slot_of_token_N: Tensor
    positions_BT: Tensor
    longest: int
    cut: RowCut | None

    @classmethod
    def of(cls, documents_BT: Tensor, cut: RowCut | None = None, device: torch.device | None = None) -> DocumentLayout:
        """Find the documents of a batch.

        Args:
            documents_BT: int, the document of each token of whole rows; each document is one run of tokens in a row.
                -1 marks padding.
            cut: which of the tokens lie on this process; all if None.
            device: where attention runs; where the documents are if None. With documents on the CPU nothing waits
                for a device.
        """
        device, documents_BT = device or documents_BT.device, documents_BT.cpu()
        stretches, positions_BT, longest = _find(documents_BT, cut)
        gathered = cut.gathered_place(*documents_BT.shape) if cut is not None else None
        slot_of_token_N, slot = torch.empty(positions_BT.numel(), dtype=torch.int64), 0
        groups, tokens, keys = [], [], []
        for chosen in _similar(stretches):  # M documents of like length, padded to the longest's L tokens
            start_M1, length_M1, earlier_M1, begin_M1 = (x[chosen, None] for x in stretches)
            width, earlier = int(length_M1[0]), int(earlier_M1[0])
            place_L = torch.arange(width)
            # Slots beyond a document's end repeat its last token; what they compute is never read.
            token_ML = start_M1 + place_L.minimum(length_M1 - 1)
            real_ML = place_L < length_M1
            slot_of_token_N[token_ML[real_ML]] = slot + real_ML.flatten().nonzero().squeeze(1)
            groups.append(Group.of(len(chosen), width, earlier + width, device))
            tokens.append(token_ML.flatten())
            if gathered is not None:  # context parallel: J keys, also those before this process's tokens
                place_J = torch.arange(earlier + width)
                keys.append(gathered[begin_M1 + place_J.minimum(earlier + length_M1 - 1)].flatten())
            slot += token_ML.numel()
        token_of_slot_P = sent_to(device, torch.cat(tokens))
        return cls(
            groups=tuple(groups),
            token_of_slot_P=token_of_slot_P,
            key_of_slot_Q=sent_to(device, torch.cat(keys)) if keys else token_of_slot_P,
            slot_of_token_N=sent_to(device, slot_of_token_N),
            positions_BT=sent_to(device, positions_BT),
            longest=longest,
            cut=cut,
        )


def sent_to(device: torch.device, tensor: Tensor) -> Tensor:
    """A tensor, on its way to a device: the host does not wait for what the device has still to do."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class _Stretches(NamedTuple):
    """Runs of one document's tokens on this process, in the order of its tokens; int64 [R] each.

    Attributes:
        starts: first token, among this process's.
        lengths: tokens.
        earlier: tokens of the document before it.
        begins: first token of its document, among those of whole rows.
    """

    starts: Tensor
    lengths: Tensor
    earlier: Tensor
    begins: Tensor


def _find(documents_BT: Tensor, cut: RowCut | None) -> tuple[_Stretches, Tensor, int]:
    """The stretches of documents on this process, its tokens' places in their documents, and the longest document."""
    B, T = documents_BT.shape
    column_T = torch.arange(T)
    first_BT = torch.ones_like(documents_BT, dtype=torch.bool)
    first_BT[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
    first_BT |= documents_BT < 0
    begin_BT = (first_BT * column_T).cummax(dim=1).values
    longest = int((column_T - begin_BT).max()) + 1
    if cut is not None:
        column_T = cut.columns(T)
        first_BT, begin_BT = first_BT[:, column_T], begin_BT[:, column_T]
        first_BT[:, :: len(column_T) // 2] = True  # the tokens before a piece of the row lie elsewhere
    positions_BT = column_T - begin_BT
    begin_BT = begin_BT + torch.arange(0, B * T, T)[:, None]
    starts = first_BT.flatten().nonzero().squeeze(1)
    lengths = torch.diff(starts, append=starts.new_tensor([first_BT.numel()]))
    stretches = _Stretches(starts, lengths, positions_BT.flatten()[starts], begin_BT.flatten()[starts])
    return stretches, positions_BT, longest


def _similar(stretches: _Stretches) -> Iterator[Tensor]:
    """Numbers of stretches, by group, the longest of each first.

    A piece of a row begins with at most one stretch that goes on; those form a group where they are equal in both widths.
    """
    going_on = stretches.earlier.nonzero().squeeze(1)
    widths = torch.stack([stretches.lengths[going_on], stretches.earlier[going_on]], dim=1)
    by_widths: dict[tuple[int, ...], list[int]] = {}
    for number, pair in zip(going_on.tolist(), widths.tolist()):
        by_widths.setdefault(tuple(pair), []).append(number)
    yield from map(torch.tensor, by_widths.values())
    whole = (stretches.earlier == 0).nonzero().squeeze(1)
    order = whole[torch.argsort(stretches.lengths[whole], descending=True, stable=True)]
    for start, end in _cut(stretches.lengths[order].tolist()):
        yield order[start:end]


def _cut(lengths: list[int]) -> list[tuple[int, int]]:
    """Cut documents, longest first, into groups (start, end) of similar length."""
    cuts = [0] if lengths else []
    for index, length in enumerate(lengths):
        if length < GROUP_FILL * lengths[cuts[-1]]:
            cuts.append(index)
    return list(zip(cuts, [*cuts[1:], len(lengths)]))


class _Scores(NamedTuple):
    """What is done to the scores of queries and keys before they become weights; see `attend`."""

    scale: float | None
    window: int | None
    soft_cap: float | None
    sinks_H: Tensor | None

    def are_plain(self, keys: int) -> bool:
        """Whether a kernel of PyTorch needs no mask for them: documents no longer than the window need none."""
        return self.by_kernel() and (self.window is None or self.window >= keys)

    def by_kernel(self) -> bool:
        """Whether PyTorch's attention can compute them, with a mask."""
        return self.soft_cap is None and self.sinks_H is None


def attend(
    query_BTHS: Tensor,
    key_BTKS: Tensor,
    value_BTKS: Tensor,
    layout: DocumentLayout | None,
    *,
    scale: float | None = None,
    window: int | None = None,
    soft_cap: float | None = None,
    sinks_H: Tensor | None = None,
) -> Tensor:
    """Causal attention within each document.

    Args:
        query_BTHS: queries, H heads.
        key_BTKS: keys, K heads; H is a multiple of K.
        value_BTKS: values, K heads; their size may differ from that of the keys.
        layout: the documents; None if every row is one document. Where it says that rows are cut, T is this process's
            tokens, and keys and values are gathered from the others.
        scale: of the products of queries and keys; 1/sqrt(S) if absent.
        window: tokens that a token sees, itself and those right before it (transformers' `sliding_window`); all if
            absent.
        soft_cap: scores become soft_cap · tanh(score / soft_cap) (Gemma 2, 2408.00118).
        sinks_H: a logit a head that every softmax counts and that has no value (gpt-oss, 2508.10925): so weights
            sum to less than 1.

    Returns:
        The attended values, BTHS, in the type of the queries; on a CPU float32 wherever blocks.py does not compute them.
    """
    inputs, scores = (query_BTHS, key_BTKS, value_BTKS), _Scores(scale, window, soft_cap, sinks_H)
    if layout is None:
        return _causal(*inputs, None, scores)
    query_NHS, key_NKS, value_NKS = (x.flatten(0, 1) for x in inputs)
    if layout.cut is not None:
        key_NKS, value_NKS = layout.cut.gather(key_NKS, value_NKS)
    queries = query_NHS.index_select(0, layout.token_of_slot_P)
    keys, values = (x.index_select(0, layout.key_of_slot_Q) for x in (key_NKS, value_NKS))
    sizes = [group.documents * group.queries for group in layout.groups]
    key_sizes = [group.documents * group.keys for group in layout.groups]
    results = []
    for group, *parts in zip(layout.groups, queries.split(sizes), keys.split(key_sizes), values.split(key_sizes)):
        query_MLHS, key_MJKS, value_MJKS = (x.unflatten(0, (group.documents, -1)) for x in parts)
        results.append(_causal(query_MLHS, key_MJKS, value_MJKS, group.mask, scores).flatten(0, 1))
    return torch.cat(results).index_select(0, layout.slot_of_token_N).unflatten(0, query_BTHS.shape[:2])


def _causal(
    query_MLHS: Tensor, key_MJKS: Tensor, value_MJKS: Tensor, mask_LJ: Tensor | None, scores: _Scores
) -> Tensor:
    """Causal attention over documents of one width: of their last L tokens to all J."""
    query, key, value = (x.transpose(1, 2) for x in (query_MLHS, key_MJKS, value_MJKS))
    queries, keys = query.shape[2], key.shape[2]
    if query.device.type == "cpu":
        if query.dtype == torch.bfloat16 and scores.are_plain(keys) and not is_slow_in_bfloat16():
            return attend_by_blocks(query_MLHS, key_MJKS, value_MJKS, scores.scale)
        # bfloat16's backward pass took 1,780 ms where float32's takes 170 (last batch of the table).
        query, key, value = query.float(), key.float(), value.float()
    if not scores.are_plain(keys):
        with torch.autocast(query.device.type, enabled=False):
            return _in_chunks(query, key, value.to(query.dtype), scores).transpose(1, 2)
    if mask_LJ is None and keys > queries:
        # start-up: torch._dynamo comes with it, 0.6 s
        from torch.nn.attention.bias import causal_lower_right

        mask_LJ = causal_lower_right(queries, keys)
    with torch.autocast(query.device.type, enabled=False):
        value = value.to(query.dtype)
        out = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask_LJ,
            is_causal=mask_LJ is None,
            scale=scores.scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
    return out.transpose(1, 2)


def _in_chunks(query_MHLS: Tensor, key_MKJS: Tensor, value_MKJS: Tensor, scores: _Scores) -> Tensor:
    """Attention with windows, soft caps or sinks: some queries after others, each with the keys that they see alone."""
    documents, heads, queries, _ = query_MHLS.shape
    keys = key_MKJS.shape[2]
    window, earlier = min(scores.window or keys, keys), keys - queries
    size, attended = BAND, _by_kernel
    if not scores.by_kernel():
        size = min(BAND, max(MIN_QUERIES, MAX_SCORES // (documents * heads * min(keys, window + BAND))))
        attended = _weighted
        if size < queries and torch.is_grad_enabled():  # one chunk's weights may be kept, those of many not
            attended = functools.partial(checkpoint, _weighted, use_reentrant=False, preserve_rng_state=False)
    masks: dict[tuple[int, int], Tensor] = {}  # most chunks have the same
    results = []
    for start in range(0, queries, size):
        end = min(start + size, queries)
        seen = slice(max(0, earlier + start - window + 1), earlier + end)
        query, key, value = query_MHLS[:, :, start:end], key_MKJS[:, :, seen], value_MKJS[:, :, seen]
        shape = (end - start, key.shape[2])
        if shape not in masks:
            masks[shape] = _band(*shape, window, query)
        results.append(attended(query, key, value, masks[shape], scores))
    return torch.cat(results, dim=2)


def _band(queries: int, keys: int, window: int, like: Tensor) -> Tensor:
    """The mask of the last tokens of J: 0 where a query sees a key, -inf where that comes later or lies too far back."""
    never_LJ = torch.full((queries, keys), -torch.inf, dtype=like.dtype, device=like.device)
    return never_LJ.triu(keys - queries + 1) + never_LJ.tril(keys - queries - window)


def _by_kernel(query_MHLS: Tensor, key_MKJS: Tensor, value_MKJS: Tensor, mask_LJ: Tensor, scores: _Scores) -> Tensor:
    """PyTorch's attention with a mask."""
    grouped = query_MHLS.shape[1] != key_MKJS.shape[1]
    return F.scaled_dot_product_attention(
        query_MHLS, key_MKJS, value_MKJS, attn_mask=mask_LJ, scale=scores.scale, enable_gqa=grouped
    )


def _weighted(query_MHLS: Tensor, key_MKJS: Tensor, value_MKJS: Tensor, mask_LJ: Tensor, scores: _Scores) -> Tensor:
    """Attention as papers write it; all scores exist at once, in float32."""
    groups, queries = key_MKJS.shape[1], query_MHLS.shape[2]
    # The G heads that share keys stand one below the other, as if they were more queries: H = K·G.
    query = query_MHLS.unflatten(1, (groups, -1)).flatten(2, 3)
    products = query @ key_MKJS.transpose(-1, -2) * (scores.scale or query.shape[-1] ** -0.5)
    logits = products.float().unflatten(2, (-1, queries))  # M K G L J
    if scores.soft_cap is not None:
        logits = torch.tanh(logits / scores.soft_cap) * scores.soft_cap
    logits = logits + mask_LJ
    normalizer = logits.logsumexp(-1, keepdim=True)
    if scores.sinks_H is not None:
        normalizer = torch.logaddexp(normalizer, scores.sinks_H.float().view(1, groups, -1, 1, 1))
    weights = (logits - normalizer).exp().to(value_MKJS.dtype)
    out = weights.flatten(2, 3) @ value_MKJS
    return out.unflatten(2, (-1, queries)).flatten(1, 2)
