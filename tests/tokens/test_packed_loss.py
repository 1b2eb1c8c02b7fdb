"""Packing changes nothing: a document's loss in a packed batch is its loss when it is read alone."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from rounding import rounding

from diglot.model.decoder import Decoder, DecoderConfig
from diglot.model.loss import cross_entropy
from diglot.tokens.mixture import PhasePlan
from diglot.tokens.order import Order
from diglot.tokens.packing import IGNORED
from diglot.tokens.shards import TokenSource
from diglot.train.objectives import MicroBatch, answers_of, micro_batches

VOCABULARY = 97
ROUNDINGS = 32  # of a forward pass through two layers; found were 2, of gradients 5
SHAPES = {
    "rotary": {"positions": "rotary", "normalization": "rms", "activation": "swiglu", "num_key_value_heads": 2},
    "learned": {
        "positions": "learned", "normalization": "layer", "activation": "gelu", "num_key_value_heads": 4,
        "query_key_value_bias": True, "output_bias": True, "feed_forward_bias": True,
    },
}  # fmt: skip


def decoder(positions: str) -> Decoder:
    torch.manual_seed(0)
    sizes = {"vocabulary_size": VOCABULARY, "num_layers": 2, "hidden_size": 64, "intermediate_size": 96}
    config = DecoderConfig(**sizes, num_heads=4, head_size=16, max_positions=128, **SHAPES[positions])
    model = Decoder(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.1)
    return model


def source(make_source: Callable[..., TokenSource], form: str) -> TokenSource:
    rng = np.random.default_rng(1)
    made = make_source("source", rng.integers(5, 60, 60).tolist(), form=form)
    return replace(made, tokens=rng.integers(8, VOCABULARY, made.num_tokens).astype(np.uint16))


def alone(micro: MicroBatch, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A document's tokens and targets, one row."""
    inside = micro.documents_BT == number
    return micro.tokens_BT[inside][None], micro.targets_BT[inside]


@pytest.mark.parametrize("positions", SHAPES)
@pytest.mark.parametrize("form", ["text", "chat", "pairs"])
def test_the_loss_of_a_document_is_the_same_packed_and_alone(
    make_source: Callable[..., TokenSource], form: str, positions: str
) -> None:
    model = decoder(positions)
    order = Order({"source": source(make_source, form)}, [PhasePlan("all", 3)], 4, 128, 1)
    micro = micro_batches(order.batch(1), 4, torch.device("cpu"))[0]
    hidden = model(micro.tokens_BT, micro.positions_BT, micro.documents_BT)
    loss, losses_N = cross_entropy(hidden.flatten(0, 1), model.output_weight(), micro.targets_BT.flatten())
    loss.backward()
    packed_gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    documents = int(micro.documents_BT.max()) + 1
    assert documents >= 12  # several a row
    for number in range(documents):
        tokens_1L, targets_L = alone(micro, number)
        if not (targets_L != IGNORED).any():
            continue
        loss, own_L = cross_entropy(model(tokens_1L).flatten(0, 1), model.output_weight(), targets_L)
        loss.backward()
        packed_L = losses_N[(micro.documents_BT == number).flatten()]
        packed_L = packed_L[targets_L != IGNORED]
        own_L = own_L[targets_L != IGNORED]
        torch.testing.assert_close(packed_L, own_L, atol=rounding(own_L, operations=ROUNDINGS), rtol=0)
        assert own_L.mean() > 1  # and the losses are not trivial
    # A gradient that is zero in theory (of the keys' bias) is what is left of numbers as large as the others.
    close = rounding(*packed_gradients, operations=ROUNDINGS)
    for parameter, packed in zip(model.parameters(), packed_gradients, strict=True):
        torch.testing.assert_close(parameter.grad, packed, rtol=0, atol=close)


@pytest.mark.parametrize("positions", SHAPES)
def test_the_probability_of_an_answer_is_the_same_packed_and_alone(
    make_source: Callable[..., TokenSource], positions: str
) -> None:
    model = decoder(positions)
    order = Order({"source": source(make_source, "pairs")}, [PhasePlan("all", 2)], 4, 128, 1)
    micro = micro_batches(order.batch(0), 4, torch.device("cpu"))[0]
    with torch.no_grad():
        packed_K = answers_of(model, micro).log_probability_K
        for number, value in enumerate(packed_K):
            tokens_1L, targets_L = alone(micro, number)
            log_probabilities_LV = (model(tokens_1L)[0] @ model.output_weight().T).log_softmax(-1)
            valid = targets_L != IGNORED
            own = log_probabilities_LV[valid].gather(1, targets_L[valid, None]).sum()
            assert abs(float(value - own)) <= rounding(own, operations=ROUNDINGS)


@pytest.mark.parametrize("positions", SHAPES)
def test_attending_across_documents_would_be_seen(make_source: Callable[..., TokenSource], positions: str) -> None:
    """The equality above can fail: without documents and positions the losses are others."""
    model = decoder(positions)
    order = Order({"source": source(make_source, "text")}, [PhasePlan("all", 1)], 4, 128, 1)
    micro = micro_batches(order.batch(0), 4, torch.device("cpu"))[0]
    targets_N = micro.targets_BT.flatten()
    with torch.no_grad():
        right = model(micro.tokens_BT, micro.positions_BT, micro.documents_BT).flatten(0, 1)
        leaking = model(micro.tokens_BT).flatten(0, 1)
        losses = [cross_entropy(hidden, model.output_weight(), targets_N)[1] for hidden in (right, leaking)]
    assert (losses[0] - losses[1]).abs().mean() > 1e-3


def test_the_packing_efficiency_of_a_batch_is_its_share_of_tokens(make_source: Callable[..., TokenSource]) -> None:
    order = Order({"source": source(make_source, "chat")}, [PhasePlan("all", 8)], 2, 128, 1)
    efficiencies = []
    for step in range(8):
        batch = order.batch(step)
        efficiencies.append(batch.packing_efficiency)
        assert batch.packing_efficiency == pytest.approx((batch.documents_BT >= 0).mean())
    assert 0.5 < min(efficiencies) < 1
    assert order.realised("all")["source"]["packing_efficiency"] > 0.9
