"""Model folders that nobody could have trained: refused by file and key, before anything of them is made."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from model_builders import write_tokenizer

from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.model.decoder import Decoder, DecoderConfig
from diglot.model.families import read_config
from diglot.model.huggingface import save_decoder
from diglot.model.imported import run
from diglot.model.weights import INDEX, StoredWeights
from diglot.recipe.model import ImportModel
from diglot.tokenizer.base import read_base
from diglot.tokenizer.description import read_specification
from diglot.tokenizer.folder import load_tokenizer
from diglot.tokenizer.sentencepiece_model import read_model
from diglot.tokenizer.template import read_template

LLAMA = {
    "model_type": "llama", "vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0, "tie_word_embeddings": True, "hidden_act": "silu",
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LONGROPE = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
OLMO3 = LLAMA | {"model_type": "olmo3", "rope_theta": 500_000.0}
SMOLLM3 = LLAMA | {"model_type": "smollm3", "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
GPT2 = {"model_type": "gpt2", "vocab_size": 320, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}


def write(folder: Path, **values: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize(
    ("base", "key", "value", "words"),
    [
        (LLAMA, "num_hidden_layers", 2**31, "num_hidden_layers: .* more than any model has"),
        (LLAMA, "num_hidden_layers", 1001, "more than any model has"),
        (LLAMA, "num_labels", 10**10, None),  # a classifier's, which transformers makes a table of
        (LLAMA, "max_position_embeddings", 10**400, "max_position_embeddings: .* more than any model has"),
        (LLAMA, "hidden_size", 10**30, "hidden_size: .* more than any model has"),
        (LLAMA, "hidden_size", 2**31 - 8, "parameters, more than"),
        (LLAMA, "vocab_size", 2**31 - 1, None),
        (LLAMA, "hidden_size", "32", "hidden_size"),
        (LLAMA, "hidden_size", 0, "hidden_size"),
        (LLAMA, "hidden_size", True, "hidden_size"),
        (LLAMA, "num_attention_heads", 0, "num_attention_heads"),
        (LLAMA, "num_attention_heads", -4, "num_attention_heads"),
        (LLAMA, "num_key_value_heads", [4], "num_key_value_heads"),
        (LLAMA, "num_key_value_heads", 3, "must be a multiple"),
        (LLAMA, "head_dim", 7, "head"),
        (LLAMA, "rms_norm_eps", "small", "rms_norm_eps"),
        (LLAMA, "rms_norm_eps", -1.0, "rms_norm_eps"),
        (LLAMA, "tie_word_embeddings", "yes", "tie_word_embeddings"),
        (LLAMA, "attention_bias", {}, "attention_bias"),
        (LLAMA, "rope_theta", 0, "rope_theta"),
        (LLAMA, "rope_theta", float("nan"), "rope_theta"),
        (LLAMA, "rope_theta", [], "rope_theta"),
        (LLAMA, "rope_scaling", {"rope_type": "linear"}, "factor"),
        (LLAMA, "rope_scaling", {"rope_type": "linear", "factor": "2"}, "factor"),
        (LLAMA, "rope_scaling", {"rope_type": "linear", "factor": float("inf")}, "factor"),
        (LLAMA, "rope_scaling", 5, "rope_parameters"),
        (LLAMA, "layer_types", "full_attention", "layer_types"),
        (LLAMA, "rope_scaling", YARN | {"beta_fast": 1e308}, "rope_scaling: these values give no frequencies"),
        (LLAMA, "rope_scaling", YARN | {"beta_slow": -1}, "beta_slow"),
        (LLAMA, "rope_scaling", YARN | {"truncate": 2}, "truncate"),
        (LLAMA, "rope_scaling", YARN | {"original_max_position_embeddings": -3}, "original_max_position_embeddings"),
        (LLAMA, "rope_scaling", LONGROPE | {"original_max_position_embeddings": 1}, "no frequencies"),
        (LLAMA, "rope_scaling", LONGROPE | {"short_factor": [0, 1, 1, 1]}, "short_factor"),
        (LLAMA, "rope_scaling", LONGROPE | {"long_factor": {"a": 1}}, "long_factor"),
        (OLMO3, "rope_parameters", {"full_attention": 5, "sliding_attention": {}}, "rope|int"),
        (OLMO3, "layer_types", [["full_attention"], "full_attention"], "layer_types"),
        (OLMO3, "sliding_window", "x", "sliding_window"),
        (SMOLLM3, "no_rope_layers", ["x", "y"], "no_rope_layers"),
        (SMOLLM3, "no_rope_layers", 5, "no_rope_layers"),
        (SMOLLM3, "use_sliding_window", "yes", "use_sliding_window"),
        (LLAMA, "hidden_act", ["silu"], "hidden_act"),
        (LLAMA, "hidden_act", None, "hidden_act"),
        (LLAMA, "model_type", ["llama"], "model_type"),
        (LLAMA, "model_type", {}, "model_type"),
        (GPT2, "n_layer", 2**31, "n_layer: .* more than any model has"),
        (GPT2, "n_head", 0, "n_head"),
        (GPT2, "n_inner", "x", "n_inner"),
        (GPT2, "n_embd", None, "n_embd|hidden_size"),
        (GPT2, "scale_attn_weights", [], "scale_attn_weights"),
    ],
)
def test_values_that_no_model_has_are_named(tmp_path, base, key, value, words):
    started = time.process_time()
    write(tmp_path, **base | {key: value})
    if words is None:
        read_config(tmp_path)
    else:
        with pytest.raises(UserError, match=f"config\\.json.*({words})"):
            read_config(tmp_path)
    assert time.process_time() - started < 20  # a list of 2^31 layers takes minutes


@pytest.mark.parametrize("content", [b"[]", b"5", b'"llama"', b"null", b"[" * 5000, b"{", b"\xff", b'{"\\ud800": 1}'])
def test_files_that_are_no_objects_are_named(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json"):
        read_config(tmp_path)


@pytest.mark.parametrize("changes", [{"num_layers": 2**31}, {"hidden_size": 2**40}, {"vocabulary_size": 0}])
def test_shapes_from_anywhere_are_bounded(changes):
    sizes = {"vocabulary_size": 320, "num_layers": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4,
             "num_key_value_heads": 4, "head_size": 8, "max_positions": 64}  # fmt: skip
    with pytest.raises(UserError, match=f"{next(iter(changes))} is "):
        DecoderConfig(**sizes | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_decoder(Decoder(DecoderConfig(320, 2, 16, 24, 2, 2, 8, 64)), tmp_path / "m", write_tokenizer(tmp_path / "t"))
    return tmp_path / "m"


@pytest.mark.parametrize(
    "content",
    [
        [], 5, None, {}, {"weight_map": None}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"a": 5}},
        {"weight_map": {"a": None}}, {"weight_map": {"a": "../b"}}, {"weight_map": {"a": "a\0b"}},
        {"weight_map": {"a": "absent"}}, {"weight_map": {"a": ""}}, {"weight_map": {"a": ".."}},
        {"weight_map": {"a": "pipe"}}, {"weight_map": {"nothing": "single.safetensors"}},
    ],
)  # fmt: skip
def test_an_index_of_anything_else_is_named(folder, content):
    (folder / INDEX).write_text(json.dumps(content))
    (folder / "model.safetensors").rename(folder / "single.safetensors")
    os.mkfifo(folder / "pipe")
    with pytest.raises(UserError, match=str(folder)):
        StoredWeights(folder)


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**63 - 1, 0], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": "x", "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 2**63]},
        {"dtype": "X", "shape": [1], "data_offsets": [0, 4]},
        [],
    ],
)
def test_a_header_of_impossible_tensors_is_refused(folder, tensor):
    header = json.dumps({"a": tensor}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        weights = StoredWeights(folder)
        assert weights.shapes()["a"].numel() == 0  # the second can be: nothing of it is stored
        raise UserError("model.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"model": None}, {"model": []}, {"model": {}}, {"model": {"vocab": 5}}, {"model": {"vocab": {}, "merges": [1.5]}}, {"model": {"vocab": {}, "merges": 5}}, {"model": {"vocab": {"a": {}}}},
        {"model": {"vocab": [["a", 0.0], 5]}}, {"model": {"vocab": [[5, 0.0]]}}, {"added_tokens": 5},
        {"added_tokens": [5]}, {"added_tokens": [{"id": "1", "content": "a"}]}, {"added_tokens": [{"id": 1}]},
        {"added_tokens": [{"id": True, "content": "a"}]},
    ],
)  # fmt: skip
def test_a_tokenizer_of_other_types_is_named(folder, changes):
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        read_specification(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"\x0a\x08\x08\xff\xff\xff\xff\xff\xff\x3f",  # a piece whose text is a number: 2^48 zeros, if it were bytes
        b"\x1a\x08\x10\xff\xff\xff\xff\xff\xff\x3f",  # the same of the rules of normalisation
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x08\x01",
        b"",
        b"\xff" * 30,
    ],
)
def test_a_sentencepiece_file_of_other_types_is_named(tmp_path, content):
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(UserError, match=r"tokenizer\.model: not a SentencePiece model"):
        read_model(tmp_path / "tokenizer.model")


@pytest.mark.parametrize("named", [["LlamaTokenizer"], {}, 5])
def test_a_class_that_is_no_name_is_refused(folder, tmp_path, named):
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tokenizer_class": named}))
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"tokenizer_config\.json: tokenizer_class: a name is wanted"):
        run(ImportModel(path=str(folder)), Inputs({}), tmp_path / "out", Context("m", 0, tmp_path))


@pytest.mark.parametrize("listed", [1.5, "<s>", [5], {"a": []}])
def test_special_tokens_that_are_no_texts_are_named(folder, listed):
    (folder / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": listed}))
    with pytest.raises(UserError, match="additional_special_tokens: a "):
        load_tokenizer(folder)


@pytest.mark.parametrize("template", [5, {"default": "x"}, [{"name": "default", "template": 5}]])
def test_a_chat_template_that_is_no_text_is_named(folder, template):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=f"{folder}: chat_template: a text is wanted"):
        read_template(folder, {"chat_template": template})
    assert read_template(folder, {"chat_template": [5, {"name": "tool", "template": "x"}]}) is None


def test_a_base_whose_parts_are_of_other_types_is_refused(folder):
    """What is walked of a tokenizer.json behind its vocabulary has been taken by the library first."""
    file = folder / "tokenizer.json"
    given = json.loads(file.read_text())
    for key, value in (("decoder", {"decoders": 5}), ("normalizer", []), ("model", given["model"] | {"merges": [5]})):
        file.write_text(json.dumps(given | {key: value}))
        with pytest.raises(UserError, match=r"tokenizer\.json: not a tokenizer that can be read"):
            read_base(folder)
