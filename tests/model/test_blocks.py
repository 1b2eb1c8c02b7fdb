"""Attention block by block, beside its definition in float64: values, gradients, and how near PyTorch's own comes."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from diglot.model import attention, blocks
from diglot.model.attention import DocumentLayout, attend
from diglot.model.blocks import attend_by_blocks


def exact(query_MLHS: Tensor, key_MJKS: Tensor, value_MJKW: Tensor, scale: float) -> Tensor:
    """By the definition, in the type of the inputs."""
    groups = query_MLHS.shape[2] // key_MJKS.shape[2]
    key_MJHS, value_MJHW = (x.repeat_interleave(groups, 2) for x in (key_MJKS, value_MJKW))
    scores_MHLJ = torch.einsum("mlhs,mjhs->mhlj", query_MLHS, key_MJHS) * scale
    queries, keys = scores_MHLJ.shape[2:]
    later_LJ = torch.ones(queries, keys, dtype=torch.bool).triu(keys - queries + 1)
    return torch.einsum("mhlj,mjhw->mlhw", scores_MHLJ.masked_fill(later_LJ, -torch.inf).softmax(-1), value_MJHW)


def draw(documents: int, queries: int, keys: int, heads: int, shared: int, sizes: tuple[int, int]) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [
        (queries, heads, sizes[0]),
        (keys, shared, sizes[0]),
        (keys, shared, sizes[1]),
        (queries, heads, sizes[1]),
    ]
    return [2 * torch.randn(documents, *shape).bfloat16() for shape in shapes]


def differences(found: list[Tensor], expected: list[Tensor]) -> list[float]:
    return [
        float((a.detach().double() - b.detach()).norm() / b.detach().norm())
        for a, b in zip(found, expected, strict=True)
    ]


def both_ways(attended: Tensor, inputs: list[Tensor], upstream: Tensor) -> list[Tensor]:
    return [attended, *torch.autograd.grad(attended, inputs, upstream)]


@pytest.mark.parametrize("scores", [1, 2**10, 2**20], ids=lambda scores: f"{scores} at a time")
@pytest.mark.parametrize(
    ("documents", "queries", "keys", "heads", "shared"),
    [(3, 1, 1, 4, 2), (2, 70, 70, 3, 1), (2, 33, 33, 8, 2), (1, 130, 130, 2, 2), (2, 40, 75, 6, 2), (1, 65, 300, 9, 3)],
)
def test_values_and_gradients_are_those_of_the_definition(
    monkeypatch: pytest.MonkeyPatch, documents: int, queries: int, keys: int, heads: int, shared: int, scores: int
) -> None:
    """Blocks that are not full, heads that share keys, keys before the first query, values of another size."""
    monkeypatch.setattr(blocks, "SCORES", scores)
    *inputs, upstream = draw(documents, queries, keys, heads, shared, (16, 24))
    inputs = [x.requires_grad_() for x in inputs]
    doubles = [x.detach().double().requires_grad_() for x in inputs]
    for scale in (None, 0.1):
        found = both_ways(attend_by_blocks(*inputs, scale), inputs, upstream)
        expected = both_ways(exact(*doubles, scale or 0.25), doubles, upstream.double())
        assert all(x.dtype == torch.bfloat16 for x in found)
        # Rounding a value to bfloat16 costs 1.7e-3 on average, and weights are rounded, and what they make.
        if keys > 1:
            assert max(differences(found, expected)) < 8e-3
        else:  # one key has all the weight
            assert torch.equal(found[0], inputs[2].repeat_interleave(heads // shared, 2))


def test_it_is_as_near_to_float64_as_torchs_own() -> None:
    *inputs, upstream = draw(2, 256, 256, 6, 2, (64, 64))
    inputs = [x.requires_grad_() for x in inputs]
    doubles = [x.detach().double().requires_grad_() for x in inputs]
    expected = both_ways(exact(*doubles, 0.125), doubles, upstream.double())
    ours = differences(both_ways(attend_by_blocks(*inputs, None), inputs, upstream), expected)
    transposed = (x.transpose(1, 2) for x in inputs)
    theirs = F.scaled_dot_product_attention(*transposed, is_causal=True, enable_gqa=True).transpose(1, 2)
    assert max(ours) < 1.3 * max(differences(both_ways(theirs, inputs, upstream), expected))


def test_a_token_never_sees_what_comes_later() -> None:
    """Not even its rounding: the values before a change are the same bits."""
    query, key, value, _ = draw(1, 150, 150, 4, 2, (16, 16))
    before = attend_by_blocks(query, key, value, None)
    key[:, 100:], value[:, 100:] = 50, -50
    after = attend_by_blocks(query, key, value, None)
    assert torch.equal(before[:, :100], after[:, :100])
    assert not torch.equal(before[:, 100:], after[:, 100:])


@pytest.mark.parametrize("slow", [True, False])
def test_packed_documents_attend_as_alone(monkeypatch: pytest.MonkeyPatch, slow: bool) -> None:
    """On a processor that is slow in bfloat16 by float32's kernel, else by blocks: the same but for rounding."""
    monkeypatch.setattr(attention, "is_slow_in_bfloat16", lambda: slow)
    documents_BT = torch.tensor([[0] * 70 + [1] * 26, [2] * 90 + [-1] * 6])
    query, key, value, upstream = draw(2, 96, 96, 4, 2, (16, 16))
    inputs = [x.requires_grad_() for x in (query, key, value)]
    packed = attend(*inputs, DocumentLayout.of(documents_BT))
    assert packed.dtype == (torch.float32 if slow else torch.bfloat16)
    packed = both_ways(packed, inputs, upstream.to(packed.dtype))
    doubles = [x.detach().double().requires_grad_() for x in inputs]
    parts = [(0, 0, 70), (0, 70, 96), (1, 0, 90), *((1, place, place + 1) for place in range(90, 96))]
    alone = [exact(*(x[row : row + 1, start:end] for x in doubles), 0.25) for row, start, end in parts]
    rows = torch.cat(alone, dim=1).view_as(query)
    assert max(differences(packed, both_ways(rows, doubles, upstream.double()))) < 8e-3
