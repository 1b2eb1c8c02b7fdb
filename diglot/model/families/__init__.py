"""The families of models that Diglot reads and writes: Hugging Face's config.json and names, to and from ours.

A base model's geometry is taken over exactly or refused: whatever config.json says that changes the maths is either
understood by its family or an error that names the key. Defaults of keys that are left out are transformers' own.

    gpt2        PolyLM (activation_function="gelu") and GPT-2
    llama       Llama 1 to 3
    mistral     a window in all layers; without one it is exported as llama
    qwen2       biases on queries, keys and values
    qwen3       norms on each head's queries and keys
    smollm3     no rotary positions in some layers
    olmo2       norms behind the branches, and over all queries and all keys
    olmo3       the same with a window in some layers
    phi3        Phi-3, Phi-4 and Phi-4-mini: fused projections, a window, LongRoPE, partial rotation
    starcoder2  LayerNorm, GELU and biases with rotary positions: PolyLM's rotary variant, which has no class of its own

    any other   a causal language model of transformers': foreign.py

README.md beside this file says how to add one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from diglot.base.errors import UserError
from diglot.base.files import read_json
from diglot.base.format import excerpt
from diglot.model.causal import ModelConfig
from diglot.model.decoder import MAX_LAYERS, MAX_SIZE, DecoderConfig
from diglot.model.families.common import Family
from diglot.model.families.foreign import ForeignConfig, foreign_family, read_foreign
from diglot.model.families.gpt2 import GPT2
from diglot.model.families.keys import LABELS, ignored_keys
from diglot.model.families.llama import Llama, Mistral
from diglot.model.families.olmo import Olmo2, Olmo3
from diglot.model.families.phi3 import Phi3
from diglot.model.families.qwen2 import Qwen2
from diglot.model.families.qwen3 import Qwen3
from diglot.model.families.smollm3 import SmolLM3
from diglot.model.families.starcoder2 import Starcoder2
from diglot.model.families.values import ASKED, check_types

FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (GPT2(), Llama(), Mistral(), Qwen2(), Qwen3(), SmolLM3(), Olmo2(), Olmo3(), Phi3(), Starcoder2())
}

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers")


def family_of(config: ModelConfig) -> Family:
    """The family that a shape is exported as.

    Raises:
        UserError: transformers has no such model.
    """
    if isinstance(config, ForeignConfig):
        return foreign_family(config)
    for family in FAMILIES.values():
        if isinstance(config, DecoderConfig) and family.fits(config):
            return family
    raise UserError(f"no Hugging Face architecture has this shape, so it cannot be written: {config}")


def read_config(folder: Path) -> ModelConfig:
    """The shape of the model in a Hugging Face folder: a `DecoderConfig`, or a `ForeignConfig` of other families.

    Raises:
        UserError: config.json is missing or broken, or asks for something that neither we nor transformers do.
    """
    return read_config_with_notes(folder)[0]


def read_config_with_notes(folder: Path) -> tuple[ModelConfig, list[str]]:
    """The shape of the model in a Hugging Face folder, and the keys of config.json that are passed over (see keys.py).

    Raises:
        UserError: config.json is missing or broken, or asks for something that the decoder does not do.
    """
    file, raw = folder / "config.json", read_raw_config(folder)
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        return read_foreign(file, raw), []

    from transformers import CONFIG_MAPPING  # start-up: a second

    check_types(file, raw, nullable=ASKED)  # before transformers, which divides by the heads
    try:
        full = CONFIG_MAPPING[kind].from_dict({key: value for key, value in raw.items() if key not in LABELS})
    except Exception as error:  # transformers raises many kinds for a bad value
        raise UserError(f"{file}: transformers cannot read it: {excerpt(' '.join(str(error).split()))}") from error
    passed_over = ignored_keys(file, raw, full)
    check_types(file, {key: getattr(full, key) for key in ASKED if hasattr(full, key)})
    try:
        return FAMILIES[kind].read(file, full), passed_over
    except UserError as error:
        raise error if str(error).startswith(str(file)) else UserError(f"{file}: {error}") from error


def read_raw_config(folder: Path) -> dict[str, Any]:
    """config.json of any kind of model, as long as transformers does not take for ever over it: it makes lists of layers.

    Raises:
        UserError: it is missing or broken, or has sizes that no model has.
    """
    file = folder / "config.json"
    raw = read_json(file, "give the folder of a whole Hugging Face model")
    if not isinstance(raw, dict):
        raise UserError(f"{file}: a JSON object is wanted, not {type(raw).__name__}")
    for key, value in raw.items():
        most = MAX_LAYERS if key in LAYERS else MAX_SIZE
        if isinstance(value, int) and abs(value) > most and key not in LABELS:
            raise UserError(f"{file}: {key}: {excerpt(str(value), 20)} is more than any model has ({most:,})")
    return raw


def config_json(config: ModelConfig, dtype: torch.dtype) -> dict[str, Any]:
    """The content of config.json, but for special tokens; read alike by transformers 4 and 5 and by vLLM.

    Raises:
        UserError: transformers has no model of this shape.
    """
    family = family_of(config)
    return {
        "architectures": [family.model_class],
        "model_type": family.model_type,
        "torch_dtype": str(dtype).removeprefix("torch."),
        "tie_word_embeddings": config.tied_embeddings,
        "vocab_size": config.vocabulary_size,
        **family.write(config),
    }
