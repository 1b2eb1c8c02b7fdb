from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from rounding import rounding
from torch.nn.attention.bias import causal_lower_right
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward as gemma2
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward as gpt_oss

from diglot.model import attention
from diglot.model.attention import DocumentLayout, attend
from diglot.model.context import RowCut


def dense_attention(query_BTHS, key_BTKS, value_BTKS, documents_BT):
    """The oracle: one mask that says who sees whom; padding sees itself."""
    T = documents_BT.shape[1]
    same_BTT = documents_BT[:, :, None] == documents_BT[:, None, :]
    same_BTT &= documents_BT[:, :, None] >= 0
    mask = (same_BTT & torch.ones(T, T, dtype=torch.bool).tril()) | torch.eye(T, dtype=torch.bool)
    query, key, value = (x.transpose(1, 2) for x in (query_BTHS, key_BTKS, value_BTKS))
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None]).transpose(1, 2)


@st.composite
def batches(draw, multiple=1):
    """documents_BT: runs of documents in rows, some rows ending in padding."""
    T = draw(st.integers(1, 24 // multiple)) * multiple
    rows, number = [], 0
    for _ in range(draw(st.integers(1, 4))):
        row: list[int] = []
        while len(row) < T and draw(st.integers(0, 9)) > 0:
            row += [number] * draw(st.integers(1, 12))
            number += 1
        rows.append((row + [-1] * T)[:T])
    return torch.tensor(rows, dtype=torch.int32)


def assert_close(ours, expected, inputs, upstream):
    """Values and gradients agree but for rounding."""
    torch.testing.assert_close(ours, expected, atol=rounding(*inputs, operations=16), rtol=0)
    theirs = torch.autograd.grad(expected, inputs, upstream)
    close = rounding(*theirs, *inputs, upstream, operations=16)
    for a, b in zip(torch.autograd.grad(ours, inputs, upstream), theirs):
        torch.testing.assert_close(a, b, atol=close, rtol=0)


@examples(60)
@given(batches(), st.sampled_from([(2, 2), (4, 2), (4, 1)]))
def test_attention_equals_a_dense_mask_in_values_and_gradients(documents_BT, heads):
    torch.manual_seed(0)
    B, T = documents_BT.shape
    inputs = [torch.randn(B, T, n, 8, requires_grad=True) for n in (heads[0], heads[1], heads[1])]
    upstream = torch.randn(B, T, heads[0], 8)
    ours = attend(*inputs, DocumentLayout.of(documents_BT))
    expected = dense_attention(*inputs, documents_BT)
    assert_close(ours, expected, inputs, upstream)


@given(batches())
@examples(60)
def test_layout_gives_every_token_one_slot_and_its_place_in_its_document(documents_BT):
    layout = DocumentLayout.of(documents_BT)
    N = documents_BT.numel()
    assert sum(group.documents * group.queries for group in layout.groups) == len(layout.token_of_slot_P)
    assert all(group.keys == group.queries for group in layout.groups)
    assert torch.equal(layout.token_of_slot_P[layout.slot_of_token_N], torch.arange(N))
    place, before = [], None
    for row in documents_BT.tolist():
        before = None
        for document in row:
            place.append(place[-1] + 1 if document == before and document >= 0 else 0)
            before = document
    assert layout.positions_BT.flatten().tolist() == place
    assert layout.longest == max(place) + 1


def test_padding_slots_stay_few():
    documents_BT = torch.arange(60).repeat_interleave(torch.arange(60) + 1)[None]
    layout = DocumentLayout.of(documents_BT)
    assert len(layout.token_of_slot_P) < 1.12 * documents_BT.numel()
    assert len(layout.groups) < 30


def test_bfloat16_is_computed_in_float32_on_a_processor_that_is_slow_in_it(monkeypatch):
    monkeypatch.setattr(attention, "is_slow_in_bfloat16", lambda: True)
    torch.manual_seed(0)
    inputs = [torch.randn(1, 7, 2, 8).bfloat16() for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16):
        out = attend(*inputs, None)
    assert out.dtype == torch.float32
    expected = dense_attention(*(x.float() for x in inputs), torch.zeros(1, 7))
    torch.testing.assert_close(out, expected, atol=rounding(*inputs, operations=16), rtol=0)


@pytest.mark.parametrize("layout", [None, "documents"])
def test_a_token_does_not_see_what_comes_after_it(layout):
    torch.manual_seed(0)
    documents_BT = torch.tensor([[0, 0, 0, 1, 1, 1]])
    inputs = [torch.randn(1, 6, 2, 8) for _ in range(3)]
    found = None if layout is None else DocumentLayout.of(documents_BT)
    before = attend(*inputs, found)
    for x in inputs:
        x[:, 4:] += 1
    after = attend(*inputs, found)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.equal(before[:, 4:], after[:, 4:])


SCORES = [
    {"window": 1},
    {"window": 3},
    {"window": 5, "scale": 0.3},
    {"soft_cap": 2.0},
    {"sinks": True},
    {"window": 4, "soft_cap": 1.5, "sinks": True, "scale": 0.7},
]


def eager_attention(query_BTHS, key_BTKS, value_BTKS, documents_BT, sinks_H, window=None, soft_cap=None, scale=None):
    """transformers' own functions: Gemma 2's (soft caps), gpt-oss's (sinks), with a mask of documents and windows."""
    T = documents_BT.shape[1]
    distance_TT = torch.arange(T)[:, None] - torch.arange(T)
    seen_BTT = (documents_BT[:, :, None] == documents_BT[:, None, :]) & (documents_BT[:, :, None] >= 0)
    seen_BTT &= (distance_TT >= 0) & (distance_TT < (window or T))
    mask_B1TT = torch.zeros(seen_BTT.shape).masked_fill(~(seen_BTT | (distance_TT == 0)), -torch.inf)[:, None]
    heads, groups = query_BTHS.shape[2], key_BTKS.shape[2]
    module = SimpleNamespace(num_key_value_groups=heads // groups, training=False, head_dim=query_BTHS.shape[3])
    query, key, value = (x.transpose(1, 2) for x in (query_BTHS, key_BTKS, value_BTKS))
    scale = scale or query.shape[-1] ** -0.5
    if sinks_H is None:
        return gemma2(module, query, key, value, mask_B1TT, scaling=scale, softcap=soft_cap)[0]
    module.sinks = sinks_H
    if soft_cap is None:
        return gpt_oss(module, query, key, value, mask_B1TT, scaling=scale)[0]
    # No model has both: the sink as one more key whose product with all queries is its logit.
    key = key.repeat_interleave(heads // groups, 1)
    products = torch.tanh(query @ key.transpose(2, 3) * scale / soft_cap) * soft_cap + mask_B1TT
    sinks = sinks_H.view(1, -1, 1, 1).expand(*products.shape[:3], 1)
    weights = torch.cat([products, sinks], -1).softmax(-1)[..., :-1]
    return (weights @ value.repeat_interleave(heads // groups, 1)).transpose(1, 2)


def scored_inputs(B, T, heads, scores):
    """Queries, keys, values, then sinks if there are any; and the rest of the scores."""
    inputs = [torch.randn(B, T, n, 8, requires_grad=True) for n in (heads[0], heads[1], heads[1])]
    if scores.get("sinks"):
        inputs.append(torch.randn(heads[0], requires_grad=True))
    return inputs, {name: value for name, value in scores.items() if name != "sinks"}


@examples(60)
@given(batches(), st.sampled_from([(2, 2), (4, 2)]), st.sampled_from(SCORES), st.booleans())
def test_windows_soft_caps_and_sinks_equal_transformers_in_values_and_gradients(documents_BT, heads, scores, small):
    torch.manual_seed(0)
    B, T = documents_BT.shape
    inputs, scores = scored_inputs(B, T, heads, scores)
    upstream = torch.randn(B, T, heads[0], 8)
    sinks_H = inputs[3] if len(inputs) > 3 else None
    with pytest.MonkeyPatch.context() as patch:
        if small:  # documents of several chunks
            patch.setattr(attention, "BAND", 3)
            patch.setattr(attention, "MIN_QUERIES", 2)
            patch.setattr(attention, "MAX_SCORES", 1)
        ours = attend(*inputs[:3], DocumentLayout.of(documents_BT), sinks_H=sinks_H, **scores)
        expected = eager_attention(*inputs[:3], documents_BT, sinks_H, **scores)
        assert_close(ours, expected, inputs, upstream)


@pytest.mark.parametrize("scores", SCORES)
def test_rows_without_documents_have_windows_soft_caps_and_sinks_too(scores):
    torch.manual_seed(0)
    inputs, scores = scored_inputs(2, 9, (4, 2), scores)
    sinks_H = inputs[3] if len(inputs) > 3 else None
    ours = attend(*inputs[:3], None, sinks_H=sinks_H, **scores)
    expected = eager_attention(*inputs[:3], torch.zeros(2, 9), sinks_H, **scores)
    assert_close(ours, expected, inputs, torch.randn(2, 9, 4, 8))


def test_a_window_as_long_as_the_documents_changes_nothing_at_all():
    documents_BT = torch.tensor([[0] * 5 + [1] * 3])
    inputs = [torch.randn(1, 8, 2, 8) for _ in range(3)]
    layout = DocumentLayout.of(documents_BT)
    assert torch.equal(attend(*inputs, layout, window=5), attend(*inputs, layout))
    assert not torch.equal(attend(*inputs, layout, window=4), attend(*inputs, layout))


def test_values_may_be_smaller_than_keys():
    documents_BT = torch.tensor([[0] * 5 + [1] * 3])
    query, key, value = (torch.randn(1, 8, 2, size) for size in (8, 8, 4))
    ours = attend(query, key, value, DocumentLayout.of(documents_BT))
    torch.testing.assert_close(ours, dense_attention(query, key, value, documents_BT))


@pytest.mark.parametrize("scores", [{"window": 64}, {"soft_cap": 5.0}, {"window": 64, "sinks": True}])
def test_long_documents_never_have_all_their_scores_at_once(scores):
    """No tensor of the forward or the backward pass is as large as a document's scores."""
    length, heads = 2048, 2
    inputs, scores = scored_inputs(1, length, (heads, 1), scores)
    sinks_H = inputs[3] if len(inputs) > 3 else None
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            largest = max([largest, *(x.numel() for x in tree_leaves(out) if isinstance(x, torch.Tensor))])
            return out

    with Watch():
        attend(*inputs[:3], DocumentLayout.of(torch.zeros(1, length)), sinks_H=sinks_H, **scores).sum().backward()
    assert largest <= heads * attention.BAND * length
    assert largest < heads * length * length / 3


class AtHand(RowCut):
    """Rows whose other processes' parts are at hand, with gradients that flow to them."""

    def __init__(self, rank, size, parts):
        super().__init__(rank, size)
        object.__setattr__(self, "parts", parts)

    def gather(self, key_NKS, value_NKS):
        return tuple(torch.cat([part.flatten(0, 1) for part in parts]) for parts in self.parts)


@examples(80)
@given(st.data(), st.sampled_from([2, 3, 4]), st.sampled_from([(2, 2), (4, 2)]), st.sampled_from([{}, *SCORES]))
def test_rows_cut_over_processes_equal_whole_rows(data, size, heads, scores):
    documents_BT = data.draw(batches(2 * size))
    torch.manual_seed(0)
    B, T = documents_BT.shape
    inputs, scores = scored_inputs(B, T, heads, scores)
    if len(inputs) > 3:
        scores["sinks_H"] = inputs[3]
    upstream = torch.randn(B, T, heads[0], 8)
    whole = DocumentLayout.of(documents_BT)
    expected = attend(*inputs[:3], whole, **scores)
    columns = [RowCut(rank, size).columns(T) for rank in range(size)]
    assert sorted(torch.cat(columns).tolist()) == list(range(T))
    parts = [[x[:, own] for own in columns] for x in inputs[:3]]
    ours = torch.empty_like(expected)
    for rank, own in enumerate(columns):
        layout = DocumentLayout.of(documents_BT, AtHand(rank, size, parts[1:]))
        ours[:, own] = attend(*(part[rank] for part in parts), layout, **scores)
        assert torch.equal(layout.positions_BT, whole.positions_BT[:, own])
        assert layout.longest == whole.longest
    assert_close(ours, expected, inputs, upstream)


def test_a_document_that_fills_the_row_is_equal_work_for_all():
    documents_BT = torch.zeros(1, 4096, dtype=torch.int32)
    seen = []
    for rank in range(4):
        layout = DocumentLayout.of(documents_BT, RowCut(rank, 4))
        groups = layout.groups
        assert len(groups) == 2
        assert len(layout.key_of_slot_Q) == 4.5 * 1024  # as diglot/plan/memory.py counts them
        seen.append(sum(group.documents * group.queries * group.keys for group in groups))
    assert len(set(seen)) == 1
    assert seen[0] * 4 < 0.6 * 4096 * 4096  # no scores of tokens that come after


def test_the_mask_is_the_one_that_kernels_know():
    """On the CPU a mask is numbers; elsewhere PyTorch's own lower-right mask, whose kernels need none."""
    torch.manual_seed(0)
    documents_BT = torch.zeros(1, 24, dtype=torch.int32)
    for group in DocumentLayout.of(documents_BT, RowCut(1, 3)).groups:
        assert group.keys > group.queries
        query, key, value = (torch.randn(1, 2, n, 8) for n in (group.queries, group.keys, group.keys))
        ours = F.scaled_dot_product_attention(query, key, value, group.mask)
        theirs = F.scaled_dot_product_attention(query, key, value, causal_lower_right(group.queries, group.keys))
        torch.testing.assert_close(ours, theirs)


def test_short_documents_of_cut_rows_see_no_other_tokens():
    """Only what goes on from another process has keys beyond its own queries."""
    documents_BT = torch.arange(64).repeat_interleave(32).view(2, -1)
    for rank in range(2):
        groups = DocumentLayout.of(documents_BT, RowCut(rank, 2)).groups
        assert [(group.documents, group.queries, group.keys) for group in groups] == [(32, 32, 32)]
