"""Models whose layers differ, or whose norms stand elsewhere, on several processes: the run of one, or refused by name."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_mesh import RECOMPUTED, TENSOR, check
from tiny_run import artifact, settings

from diglot.base.artifact import Inputs
from diglot.base.errors import UserError
from diglot.model.decoder import Decoder, DecoderConfig, LayerAttention
from diglot.model.huggingface import save_decoder
from diglot.model.presets import initialize, shape
from diglot.model.rotary import RotaryScaling
from diglot.recipe.model import Shape
from diglot.tokenizer.folder import load_tokenizer, tokenizer_size
from diglot.train.mesh import cut_layers

CONTEXT = {"parallel": {"context": 2}}
SIZES = Shape(num_layers=2, hidden_size=64, intermediate_size=96, num_heads=4, num_key_value_heads=2, max_positions=64)
WINDOW = LayerAttention(window=7)
MODELS = {
    "phi3": {  # a window in all layers, a part of each head rotated, other factors for documents longer than 12 tokens
        "layer_attention": (WINDOW, WINDOW),
        "rotary_share": 0.75,
        "rotary_scaling": RotaryScaling(
            "longrope",
            5.0,
            original_max_positions=12,
            short_factors=tuple(1 + number / 10 for number in range(6)),
            long_factors=tuple(1 + float(number) for number in range(6)),
        ),
        "fused_projections": True,
    },
    "smollm3": {"layer_attention": (LayerAttention(), LayerAttention(rotary="none", window=7))},
    "olmo3": {  # norms behind the branches and over all heads; a window where frequencies were not stretched
        "layer_attention": (LayerAttention(window=7, rotary="plain"), LayerAttention()),
        "norm_placement": "after",
        "query_key_norm": "projection",
        "rotary_scaling": RotaryScaling("yarn", 4.0, original_max_positions=16),
    },
}


def config_of(kind: str, rows: int) -> DecoderConfig:
    return replace(shape("tiny", rows, SIZES), **MODELS[kind])


def model_of(inputs: Inputs, folder: Path, kind: str) -> Inputs:
    base = inputs.one("model").path
    rows = tokenizer_size(load_tokenizer(base))
    decoder = Decoder(config_of(kind, rows + rows % 2))
    initialize(decoder, seed=0)
    with torch.no_grad():  # so that norms and windows matter
        for parameter in decoder.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    save_decoder(decoder, folder / "model", base)
    return Inputs({"model": [artifact(folder / "model", "model")], "tokens": inputs.many("tokens")})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("phi3", [RECOMPUTED, TENSOR, CONTEXT]),
        ("olmo3", [{}, CONTEXT | RECOMPUTED]),
        pytest.param("smollm3", [{}, TENSOR, CONTEXT], marks=pytest.mark.full),
    ],
)
def test_two_processes_give_the_run_of_one(inputs: Inputs, tmp_path: Path, kind: str, given: list[dict]) -> None:
    """Shards, tensor parallel and rows that are cut: rows of several documents, longer and shorter than windows."""
    check(model_of(inputs, tmp_path, kind), tmp_path, 2, given)


def test_norms_over_all_heads_are_refused_under_tensor_parallel() -> None:
    class TwoProcesses:
        @staticmethod
        def size() -> int:
            return 2

    with torch.device("meta"):
        decoder = Decoder(config_of("olmo3", 320))
    with pytest.raises(
        UserError, match=r"parallel\.tensor: this model's norms .*OLMo 2 and 3.* set parallel\.tensor: 1"
    ):
        cut_layers(decoder, TwoProcesses(), settings().sequence_length)
