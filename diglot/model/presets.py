"""New models: shapes by name, and their first weights.

    preset            layers × hidden    heads    of
    polylm-1.7b       24 × 2048          16       PolyLM, table 3; 1,737,084,928 parameters with 256,000 entries
    polylm-13b        40 × 5120          40       PolyLM, table 3; 13,906,790,400
    polylm-…-rope     the same two, with rotary positions instead of learned ones
    llama-2-7b …      32 × 4096          32       the bases that ALLaM continues; also -13b, -70b and llama-3-8b
    allam-7b          32 × 4096          32       Llama-2 7B's shape; ALLaM's models from scratch
    allam-34b         48 × 8192          64/8     Code Llama 34B's
    qwen3-0.6b …      28 × 1024          16/8     also -1.7b and -4b
    tiny, mini, small 3–8 × 128–512      4–8      Llama's shape; below 1, about 5 and about 25 million parameters
                                                  beside the embedding

PolyLM's table prints 1,722M and 13,003M parameters, which do not follow from the shapes in it; the counts above
do, and are those of transformers' GPT-2 with 2,048 positions and tied embeddings.

Assumed, because nobody has published it: PolyLM's rotary variant (announced in footnote 2 of the paper) differs from
the paper's model in positions only, all of a head rotated with theta 10,000. ALLaM's 7B from scratch has Llama-2's shape
and 64,000 entries, which the released ALLaM-7B is said to have; of the 34B nothing is known but its size, so it takes
the Llama family's own shape of 34B (2308.12950) and the same entries.

The vocabulary is the tokenizer's. Initial weights: PolyLM Xavier normal, biases zero (PolyLM 3.2, "Xavier normal
initialization"); the others normal with standard deviation 0.02, projections into the residual stream divided by
sqrt(2 · layers) (GPT-2; Radford et al., 2019).
"""

from __future__ import annotations

import difflib
import math
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Literal

import torch
from torch import nn

from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.summaries.model import NewModelSummary
from diglot.model.decoder import Decoder, DecoderConfig
from diglot.model.huggingface import describe, save_decoder
from diglot.model.rotary import RotaryScaling
from diglot.recipe.model import NewModel, Shape
from diglot.tokenizer.folder import load_tokenizer, tokenizer_size


def _polylm(
    num_layers: int, hidden_size: int, num_heads: int, positions: Literal["rotary", "learned"] = "learned"
) -> DecoderConfig:
    return DecoderConfig(
        vocabulary_size=256_000,
        num_layers=num_layers,
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_heads=num_heads,
        num_key_value_heads=num_heads,
        head_size=hidden_size // num_heads,
        max_positions=2048,
        normalization="layer",
        activation="gelu",
        positions=positions,
        query_key_value_bias=True,
        output_bias=True,
        feed_forward_bias=True,
    )


def _llama(
    num_layers: int,
    hidden_size: int,
    intermediate_size: int,
    heads: tuple[int, int],
    vocabulary_size: int = 32_000,
    max_positions: int = 4096,
    tied: bool = False,
    **more: Any,
) -> DecoderConfig:
    return DecoderConfig(
        vocabulary_size=vocabulary_size,
        num_layers=num_layers,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_heads=heads[0],
        num_key_value_heads=heads[1],
        head_size=more.pop("head_size", hidden_size // heads[0]),
        max_positions=max_positions,
        tied_embeddings=tied,
        **more,
    )


_QWEN3: dict[str, Any] = {
    "vocabulary_size": 151_936,
    "max_positions": 40_960,
    "tied": True,
    "head_size": 128,
    "query_key_norm": "head",
    "rotary_theta": 1e6,
    "norm_epsilon": 1e-6,
}
_SMALL: dict[str, Any] = {"max_positions": 2048, "tied": True}

PRESETS: dict[str, DecoderConfig] = {
    "polylm-1.7b": _polylm(24, 2048, 16),
    "polylm-13b": _polylm(40, 5120, 40),
    "polylm-1.7b-rope": _polylm(24, 2048, 16, "rotary"),
    "polylm-13b-rope": _polylm(40, 5120, 40, "rotary"),
    "allam-7b": _llama(32, 4096, 11_008, (32, 32), 64_000),
    "allam-34b": _llama(48, 8192, 22_016, (64, 8), 64_000),
    "llama-2-7b": _llama(32, 4096, 11_008, (32, 32)),
    "llama-2-13b": _llama(40, 5120, 13_824, (40, 40)),
    "llama-2-70b": _llama(80, 8192, 28_672, (64, 8)),
    "llama-3-8b": _llama(32, 4096, 14_336, (32, 8), 128_256, 8192, rotary_theta=500_000.0),
    "llama-3.1-8b": _llama(
        32, 4096, 14_336, (32, 8), 128_256, 131_072, rotary_theta=500_000.0, rotary_scaling=RotaryScaling("llama3", 8.0)
    ),
    "qwen3-0.6b": _llama(28, 1024, 3072, (16, 8), **_QWEN3),
    "qwen3-1.7b": _llama(28, 2048, 6144, (16, 8), **_QWEN3),
    "qwen3-4b": _llama(36, 2560, 9728, (32, 8), **_QWEN3),
    "tiny": _llama(3, 128, 352, (4, 2), **_SMALL),
    "mini": _llama(6, 256, 704, (8, 4), **_SMALL),
    "small": _llama(8, 512, 1408, (8, 4), **_SMALL),
}


def run(settings: NewModel, inputs: Inputs, output: Path, context: Context) -> NewModelSummary:
    """Write a model with random weights for a tokenizer.

    Returns:
        `{"preset", "architecture", "parameters", "shape"}`.

    Raises:
        UserError: an unknown preset, or a shape that cannot be.
    """
    tokenizer = inputs.one("tokenizer").path
    entries = tokenizer_size(load_tokenizer(tokenizer))
    rows = math.ceil(entries / settings.pad_vocabulary_to) * settings.pad_vocabulary_to
    config = shape(settings.preset, rows, settings.shape)
    seed = Random(f"{context.seed}/{settings.seed}/weights").getrandbits(63)
    decoder = Decoder(config)
    initialize(decoder, seed, xavier=settings.preset.startswith("polylm"))
    save_decoder(decoder, output, tokenizer)
    return NewModelSummary(**describe(config), preset=settings.preset)


def shape(preset: str, vocabulary_size: int, changes: Shape | None = None) -> DecoderConfig:
    """A preset's shape for a vocabulary, with the changes that a recipe asks for.

    Args:
        preset: a key of PRESETS.
        vocabulary_size: rows of the embedding.
        changes: settings that replace the preset's. A new hidden_size or num_heads also sets the size of a head
            to their quotient, and a new num_heads alone keeps num_key_value_heads where it divides.

    Raises:
        UserError: an unknown preset, or sizes that don't divide.
    """
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"preset: there is no {preset!r}; {hint}presets: {', '.join(PRESETS)}")
    config = replace(PRESETS[preset], vocabulary_size=vocabulary_size)
    given = {} if changes is None else changes.model_dump(exclude_none=True)
    if "hidden_size" in given or "num_heads" in given:
        hidden_size = given.get("hidden_size", config.hidden_size)
        num_heads = given.get("num_heads", config.num_heads)
        if hidden_size % num_heads:
            raise UserError(f"shape: hidden_size ({hidden_size}) must be a multiple of num_heads ({num_heads})")
        given["head_size"] = hidden_size // num_heads
        if config.num_key_value_heads == config.num_heads:
            given.setdefault("num_key_value_heads", num_heads)
    return replace(config, **given)


@torch.no_grad()
def initialize(decoder: Decoder, seed: int, xavier: bool = False) -> None:
    """Give a decoder its first weights; equal seeds give equal weights.

    Args:
        decoder: changed in place. Norms become 1, biases 0.
        seed: of the only source of randomness.
        xavier: Xavier normal for all matrices instead of normal 0.02.
    """
    generator = torch.Generator().manual_seed(seed)
    residual = 0.02 / math.sqrt(2 * decoder.config.num_layers)
    for name, parameter in decoder.named_parameters():
        if parameter.ndim == 1:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
        elif xavier:
            nn.init.xavier_normal_(parameter, generator=generator)
        else:
            into_residual = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
            parameter.normal_(0.0, residual if into_residual else 0.02, generator=generator)
