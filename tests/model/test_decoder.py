import json
from dataclasses import asdict, replace

import pytest
import torch
from rounding import rounding

from diglot.base.errors import UserError
from diglot.model.decoder import Decoder, DecoderConfig, LayerAttention
from diglot.model.loss import cross_entropy
from diglot.model.presets import PRESETS, initialize, shape
from diglot.model.rotary import RotaryScaling, in_longer_documents

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
QWEN3 = replace(LLAMA, query_key_norm="head", head_size=16, tied_embeddings=False)
WINDOW, PLAIN_WINDOW = LayerAttention(window=5), LayerAttention(window=5, rotary="plain")
YARN = RotaryScaling("yarn", 4.0, original_max_positions=16)
SHAPES = {
    "llama": LLAMA,
    "polylm": POLYLM,
    "qwen3": QWEN3,
    "mistral": replace(LLAMA, layer_attention=(WINDOW, WINDOW)),
    "smollm3": replace(LLAMA, layer_attention=(LayerAttention(), LayerAttention(rotary="none"))),
    "olmo3": replace(
        LLAMA,
        norm_placement="after",
        query_key_norm="projection",
        rotary_scaling=YARN,
        layer_attention=(PLAIN_WINDOW, LayerAttention()),
    ),
    "phi3": replace(
        LLAMA,
        rotary_share=0.75,
        rotary_scaling=RotaryScaling(
            "longrope", 8.0, original_max_positions=10, short_factors=(1.0, 1.5, 2.0), long_factors=(2.0, 4.0, 8.0)
        ),
        fused_projections=True,
    ),
}


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


@pytest.mark.parametrize("name", SHAPES)
def test_packed_loss_and_gradient_equal_those_of_documents_alone(name):
    """The whole of trap 5: no leak between documents, positions reset, padding without a trace."""
    packed, alone = make(SHAPES[name]), make(SHAPES[name])
    tokens_BT = torch.randint(97, (1, 20), generator=torch.Generator().manual_seed(2))
    documents_BT = torch.tensor([[0] * 5 + [1] * 11 + [-1] * 4])
    targets_BT = torch.full((1, 20), -100)
    spans = [(0, 5), (5, 16)]
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


@pytest.mark.parametrize("keep_float32", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_bfloat16_autocast_stays_near_float32_and_trains(name, keep_float32):
    decoder = make(SHAPES[name])
    tokens_BT = torch.randint(97, (2, 32), generator=torch.Generator().manual_seed(3))
    documents_BT = torch.tensor([[0] * 20 + [1] * 12, [2] * 32])
    exact = decoder(tokens_BT, None, documents_BT)
    if keep_float32:
        decoder.keep_float32()
        assert torch.equal(decoder(tokens_BT, None, documents_BT), exact)
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


def test_which_documents_are_longer():
    documents_BT = torch.tensor([[0, 0, 0, 1, 1, -1], [2, 3, 3, 3, 3, 3]])
    expected = [[1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 1, 1]]
    assert in_longer_documents(documents_BT, 2).int().tolist() == expected


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_survives_json(name):
    assert DecoderConfig.of(json.loads(json.dumps(asdict(SHAPES[name])))) == SHAPES[name]


@pytest.mark.full
def test_compiled_layers_compute_the_same():
    """Norms behind branches and over all heads, a window, and no rotation, which the other tests of compilation lack."""
    config = replace(SHAPES["olmo3"], layer_attention=(PLAIN_WINDOW, LayerAttention(rotary="none")))
    plain, compiled = make(config), make(config)
    compiled.compile_layers()
    tokens_BT = torch.arange(24)[None]
    documents_BT = torch.tensor([[0] * 7 + [1] * 17])
    outputs = [decoder(tokens_BT, None, documents_BT) for decoder in (plain, compiled)]
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)
    for output in outputs:
        output.square().mean().backward()
    for (parameter, one), other in zip(plain.named_parameters(), compiled.parameters()):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-5, rtol=1e-4, msg=parameter)


def test_a_shape_of_some_of_its_layers():
    olmo = SHAPES["olmo3"]
    assert olmo.with_layers([0, 1]) == olmo
    assert olmo.with_layers([1]).layer_attention == (LayerAttention(),)
    assert olmo.with_layers([0, 0, 1]).layer_attention == (PLAIN_WINDOW, PLAIN_WINDOW, LayerAttention())
    assert LLAMA.with_layers(range(5)) == replace(LLAMA, num_layers=5)


def test_impossible_shapes_are_refused():
    with pytest.raises(UserError, match="multiple of num_key_value_heads"):
        replace(LLAMA, num_key_value_heads=3)
    with pytest.raises(UserError, match="even head_size"):
        replace(LLAMA, head_size=7)
    with pytest.raises(UserError, match="even head_size, not 8, of which 3 units"):
        replace(LLAMA, rotary_share=0.4)
    with pytest.raises(UserError, match="layer_attention is of 1 layers, not of 2"):
        replace(LLAMA, layer_attention=(WINDOW,))


def test_the_output_weight_is_the_embedding_only_where_tied():
    tied, untied = Decoder(LLAMA), Decoder(QWEN3)
    assert tied.output_weight() is tied.embedding.weight
    assert untied.output_weight() is not untied.embedding.weight
    assert shape("tiny", 97).tied_embeddings
