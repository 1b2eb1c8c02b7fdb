"""The real config.json of models that people use: read as transformers reads it, or refused for the right reason."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from hub_configs import FOREIGN, GPT_OSS_20B, HUB, JAIS, LONGROPE, PHI3_MINI

from diglot.base.errors import UserError
from diglot.model.decoder import LayerAttention
from diglot.model.families import FAMILIES, config_json, family_of, read_config, read_config_with_notes
from diglot.model.families.foreign import ForeignConfig
from diglot.model.huggingface import count_parameters, huggingface_shapes

# Refused as they are on the hub, for they name code of their own; without that key they are transformers' own class.
WITH_CODE = {name for name, (raw, _) in HUB.items() if "auto_map" in raw}
NOTES = {  # keys that transformers ignores
    "HuggingFaceTB/SmolLM2-135M-Instruct": ["is_llama_config", "rope_interleaved", "transformers.js_config"],
    "Qwen/Qwen2.5-7B": ["use_mrope"],
    "microsoft/phi-4": ["attention_bias"],
    "microsoft/Phi-3-mini-4k-instruct": ["attention_bias"],
    "microsoft/Phi-3-mini-128k-instruct": ["attention_bias"],
    "microsoft/Phi-4-mini-instruct": [
        "attention_bias",
        "full_attn_mod",
        "interpolate_factor",
        "lm_head_bias",
        "mlp_bias",
    ],
    "bigcode/starcoder2-3b": ["mlp_type", "norm_type"],
}


def write(folder: Path, raw: dict) -> Path:
    (folder / "config.json").write_text(json.dumps(raw))
    return folder


def window(config) -> int | None:
    """That of a transformers model, where it is narrower than the context."""
    width = getattr(config, "sliding_window", None)
    return None if width is None or width >= config.max_position_embeddings else width


@pytest.mark.parametrize("name", HUB)
def test_a_model_of_the_hub_is_read_as_transformers_reads_it(name, tmp_path):
    raw, parameters = HUB[name]
    raw = {key: value for key, value in raw.items() if key != "auto_map"}
    config, notes = read_config_with_notes(write(tmp_path, raw))
    assert count_parameters(config) == parameters
    assert notes == NOTES.get(name, [])

    with torch.device("meta"):
        theirs = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(tmp_path))
    shapes = {key: tensor.shape for key, tensor in theirs.state_dict().items()}
    if config.tied_embeddings:
        del shapes["lm_head.weight"]
    assert {key: tensor.shape for key, tensor in huggingface_shapes(config).items()} == shapes
    # What is exported is the same model to us and to transformers.
    written = config_json(config, torch.bfloat16)
    assert read_config(write(tmp_path, written)) == config
    again = transformers.AutoConfig.from_pretrained(tmp_path)
    kept = raw["model_type"] if config.layer_attention or raw["model_type"] != "mistral" else "llama"
    assert again.model_type == family_of(config).model_type == kept
    for key in ("layer_types", "no_rope_layers", "partial_rotary_factor"):
        assert getattr(again, key, None) == getattr(theirs.config, key, None)
    assert window(again) == window(theirs.config)
    if kind := getattr(theirs.base_model, "rotary_emb", None):
        one, other = (dict(type(kind)(each).named_buffers()) for each in (again, theirs.config))
        assert one.keys() == other.keys()
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("name", sorted(WITH_CODE))
def test_models_that_name_code_of_their_own_are_refused(name, tmp_path):
    with pytest.raises(UserError, match=r"auto_map: unknown .*never run"):
        read_config(write(tmp_path, HUB[name][0]))


@pytest.mark.parametrize("name", FOREIGN)
def test_other_families_are_read_for_transformers_module(name, tmp_path):
    """Not ours, and no refusal: their sizes are known, and the rest is left to transformers."""
    raw, parameters = FOREIGN[name]
    assert raw["model_type"] not in FAMILIES
    config = read_config(write(tmp_path, raw))
    assert isinstance(config, ForeignConfig)
    assert count_parameters(config) == parameters
    assert family_of(config).model_class == raw["architectures"][0]


def test_quantized_weights_are_refused(tmp_path):
    with pytest.raises(UserError, match="quantization_config"):
        read_config(write(tmp_path, GPT_OSS_20B))


def test_what_nobody_but_its_own_code_knows_is_refused(tmp_path):
    with pytest.raises(UserError, match="jais"):
        read_config(write(tmp_path, JAIS))


def test_every_family_has_a_model_of_the_hub():
    assert {raw["model_type"] for raw, _ in HUB.values()} == set(FAMILIES)
    assert len(HUB) >= 20


def test_what_layers_do_otherwise(tmp_path):
    """The published designs: Mistral's window everywhere, OLMo 3's in three of four, SmolLM3's every fourth unrotated."""

    def layers(name: str, **changes) -> tuple[LayerAttention, ...]:
        raw = {key: value for key, value in HUB[name][0].items() if key != "auto_map"}
        return read_config(write(tmp_path, raw | changes)).layer_attention

    assert layers("mistralai/Mistral-7B-v0.1") == (LayerAttention(window=4096),) * 32
    assert layers("bigcode/starcoder2-3b") == (LayerAttention(window=4096),) * 30
    assert layers("microsoft/Phi-3-mini-4k-instruct") == (LayerAttention(window=2047),) * 32
    assert layers("microsoft/Phi-3-mini-128k-instruct") == ()  # as wide as twice the context
    windowed = LayerAttention(window=4096, rotary="plain")  # not stretched by YaRN
    assert layers("allenai/Olmo-3-1025-7B") == (windowed, windowed, windowed, LayerAttention()) * 8
    assert layers("HuggingFaceTB/SmolLM3-3B") == (*[LayerAttention()] * 3, LayerAttention(rotary="none")) * 9
    for name in ("Qwen/Qwen2-7B", "Qwen/Qwen2.5-7B", "Qwen/Qwen3-8B", "mistralai/Mistral-7B-v0.3", "microsoft/phi-4"):
        assert layers(name) == ()


def test_phis_factors_are_one_a_frequency(tmp_path):
    raw = {key: value for key, value in PHI3_MINI.items() if key != "auto_map"}
    raw |= {"rope_scaling": LONGROPE | {"long_factor": LONGROPE["long_factor"][1:]}}
    with pytest.raises(UserError, match="long_factor"):
        read_config(write(tmp_path, raw))
