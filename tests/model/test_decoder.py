from dataclasses import replace

import pytest
import torch
from rounding import rounding

from diglot.base.errors import UserError
from diglot.model.decoder import Decoder, DecoderConfig
from diglot.model.loss import cross_entropy
from diglot.model.presets import PRESETS, initialize, shape

LLAMA = DecoderConfig(
    vocabulary_size=97,
    num_layers=2,
    hidden_size=32,
    intermediate_size=48,
    num_heads=4,
    num_key_value_heads=2,
    head_size=8,
    max_positions=64,
)
POLYLM = replace(
    PRESETS["polylm-1.7b"],
    vocabulary_size=97,
    num_layers=2,
    hidden_size=32,
    intermediate_size=64,
    num_heads=4,
    num_key_value_heads=4,
    head_size=8,
    max_positions=64,
)
QWEN3 = replace(LLAMA, query_key_norm=True, head_size=16, tied_embeddings=False)
SHAPES = {"llama": LLAMA, "polylm": POLYLM, "qwen3": QWEN3}


def make(config: DecoderConfig) -> Decoder:
    decoder = Decoder(config)
    initialize(decoder, seed=0)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return decoder


@pytest.mark.parametrize("name", SHAPES)
def test_packed_documents_equal_documents_alone(name):
    decoder = make(SHAPES[name])
    lengths = [[5, 11, 1, 7], [20, 3], [24]]
    documents_BT, parts, number = torch.full((3, 24), -1), [], 0
    for row, row_lengths in enumerate(lengths):
        start = 0
        for length in row_lengths:
            documents_BT[row, start : start + length] = number
            parts.append((row, start, length))
            start, number = start + length, number + 1
    tokens_BT = torch.randint(97, (3, 24), generator=torch.Generator().manual_seed(2))
    packed_BTD = decoder(tokens_BT, None, documents_BT)
    assert packed_BTD.isfinite().all()
    for row, start, length in parts:
        alone_1TD = decoder(tokens_BT[row : row + 1, start : start + length])
        torch.testing.assert_close(packed_BTD[row, start : start + length], alone_1TD[0], atol=1e-5, rtol=1e-5)


def test_packed_loss_and_gradient_equal_those_of_documents_alone():
    """The whole of trap 5: no leak between documents, positions reset, padding without a trace."""
    config = replace(LLAMA, num_layers=1)
    packed, alone = make(config), make(config)
    tokens_BT = torch.randint(97, (1, 20), generator=torch.Generator().manual_seed(2))
    documents_BT = torch.tensor([[0] * 6 + [1] * 9 + [-1] * 5])
    targets_BT = torch.full((1, 20), -100)
    spans = [(0, 6), (6, 15)]
    for start, end in spans:
        targets_BT[0, start : end - 1] = tokens_BT[0, start + 1 : end]
    hidden = packed(tokens_BT, None, documents_BT).flatten(0, 1)
    loss, losses_N = cross_entropy(hidden, packed.output_weight(), targets_BT.flatten())
    loss.backward()
    total = torch.zeros(())
    for start, end in spans:
        hidden = alone(tokens_BT[:, start:end])[0]
        part, losses = cross_entropy(hidden, alone.output_weight(), targets_BT[0, start:end])
        torch.testing.assert_close(losses_N[start:end], losses, atol=rounding(losses, operations=32), rtol=0)
        total = total + part
    total.backward()
    torch.testing.assert_close(loss, total, atol=rounding(total, operations=32), rtol=0)
    for (name, one), other in zip(packed.named_parameters(), alone.parameters()):
        torch.testing.assert_close(one.grad, other.grad, atol=2e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("name", SHAPES)
def test_what_padding_holds_changes_nothing(name):
    decoder = make(SHAPES[name])
    documents_BT = torch.tensor([[0] * 6 + [-1] * 4])
    tokens_BT = torch.arange(10)[None]
    gradients = []
    for filler in (3, 50):
        decoder.zero_grad()
        tokens = tokens_BT.where(documents_BT >= 0, torch.tensor(filler))
        targets = (tokens + 1).where(documents_BT >= 0, torch.tensor(-100))
        loss, _ = cross_entropy(decoder(tokens, None, documents_BT)[0], decoder.output_weight(), targets.flatten())
        loss.backward()
        gradients.append([parameter.grad.clone() for parameter in decoder.parameters()])
    for one, other in zip(*gradients):
        assert one.isfinite().all()
        assert torch.equal(one, other)


def test_given_positions_are_used():
    decoder = make(LLAMA)
    tokens_BT = torch.arange(8)[None]
    documents_BT = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])
    positions_BT = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4]])
    counted = decoder(tokens_BT, None, documents_BT)
    assert torch.equal(counted, decoder(tokens_BT, positions_BT, documents_BT))
    spread = positions_BT * 2  # rotary attention sees distances
    assert not torch.allclose(counted, decoder(tokens_BT, spread, documents_BT), atol=1e-4)


@pytest.mark.parametrize("name", SHAPES)
def test_bfloat16_autocast_stays_near_float32_and_trains(name):
    decoder = make(SHAPES[name])
    tokens_BT = torch.randint(97, (2, 32), generator=torch.Generator().manual_seed(3))
    documents_BT = torch.tensor([[0] * 20 + [1] * 12, [2] * 32])
    exact = decoder(tokens_BT, None, documents_BT)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = decoder(tokens_BT, None, documents_BT)
        loss, _ = cross_entropy(mixed.flatten(0, 1), decoder.output_weight(), tokens_BT.flatten())
    torch.testing.assert_close(mixed.float(), exact, atol=0.15, rtol=0.05)
    loss.backward()
    for name_, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name_
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


def test_too_long_a_document_is_refused_but_a_long_row_of_short_ones_is_not():
    decoder = make(LLAMA)
    tokens_BT = torch.zeros(1, 80, dtype=torch.int64)
    with pytest.raises(UserError, match=r"80 tokens .* max_positions \(64\)"):
        decoder(tokens_BT)
    assert decoder(tokens_BT, None, torch.arange(2).repeat_interleave(40)[None]).shape == (1, 80, 32)


def test_impossible_shapes_are_refused():
    with pytest.raises(UserError, match="multiple of num_key_value_heads"):
        replace(LLAMA, num_key_value_heads=3)
    with pytest.raises(UserError, match="even head_size"):
        replace(LLAMA, head_size=7)


def test_the_output_weight_is_the_embedding_only_where_tied():
    tied, untied = Decoder(LLAMA), Decoder(QWEN3)
    assert tied.output_weight() is tied.embedding.weight
    assert untied.output_weight() is not untied.embedding.weight
    assert shape("tiny", 97).tied_embeddings
