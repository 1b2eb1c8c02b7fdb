"""A GGUF file read back with the package: every tensor, the vocabulary, special ids; and what is refused, by name."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from model_builders import LETTERS, MERGES, SPECIALS, save, transformers_model
from safetensors.torch import load_file, save_file

from diglot.base.errors import UserError
from diglot.model.families import read_config
from diglot.publish.gguf_file import interleaved, rope_factors, write_gguf
from diglot.publish.gguf_vocabulary import TokenType, read_vocabulary

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def tensors_of(file: Path) -> dict[str, torch.Tensor]:
    found = {}
    for each in gguf.GGUFReader(file).tensors:
        raw = torch.from_numpy(np.array(each.data))
        if each.tensor_type == gguf.GGMLQuantizationType.BF16:
            raw = raw.view(torch.bfloat16)
        found[each.name] = raw.reshape([int(size) for size in each.shape][::-1])
    return found


def fields_of(file: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items()}


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_tensor_comes_back_in_its_place_and_type(dtype: str, tmp_path: Path) -> None:
    model = save(transformers_model("llama", num_key_value_heads=2), tmp_path / "model")
    write_gguf(model, tmp_path / "model.gguf", dtype)
    stored, found = load_file(model / "model.safetensors"), tensors_of(tmp_path / "model.gguf")
    assert len(found) == len(stored)
    kind = DTYPES[dtype]
    layer = "model.layers.1"
    same = {
        "token_embd.weight": stored["model.embed_tokens.weight"],
        "output.weight": stored["lm_head.weight"],
        "blk.1.attn_v.weight": stored[f"{layer}.self_attn.v_proj.weight"],
        "blk.1.attn_output.weight": stored[f"{layer}.self_attn.o_proj.weight"],
        "blk.1.ffn_gate.weight": stored[f"{layer}.mlp.gate_proj.weight"],
        "blk.1.ffn_up.weight": stored[f"{layer}.mlp.up_proj.weight"],
        "blk.1.ffn_down.weight": stored[f"{layer}.mlp.down_proj.weight"],
        "blk.1.attn_q.weight": interleaved(stored[f"{layer}.self_attn.q_proj.weight"], 4),
        "blk.1.attn_k.weight": interleaved(stored[f"{layer}.self_attn.k_proj.weight"], 2),
    }
    for name, tensor in same.items():
        assert torch.equal(found[name], tensor.to(kind)), name
    assert torch.equal(found["blk.0.attn_norm.weight"], stored["model.layers.0.input_layernorm.weight"])
    assert torch.equal(found["output_norm.weight"], stored["model.norm.weight"])


def test_halves_of_a_head_become_neighbours() -> None:
    rows = torch.arange(12)
    assert interleaved(rows, 2).tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    assert torch.equal(interleaved(rows[:, None].expand(12, 5), 2)[:, 0], interleaved(rows, 2))


def test_the_vocabulary_comes_back(tmp_path: Path) -> None:
    model = save(transformers_model("llama"), tmp_path / "model")
    vocabulary = write_gguf(model, tmp_path / "model.gguf", "float16")
    fields, pieces = fields_of(tmp_path / "model.gguf"), json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]  # fmt: skip
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    assert len(tokens) == len(types) == 320
    assert all(tokens[number] == piece for piece, number in pieces.items())
    expected = {"<unk>": TokenType.UNKNOWN, "<s>": TokenType.CONTROL, "<0x41>": TokenType.BYTE, "the": TokenType.NORMAL}
    assert {piece: types[pieces[piece]] for piece in expected} == expected
    assert set(types[len(pieces) :]) == {TokenType.UNUSED}
    assert tokens[-1] == "[UNUSED_319]"
    assert fields["tokenizer.ggml.merges"] == [f"{left} {right}" for left, right in MERGES]
    assert (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]) == ("gpt2", "sarvam-moe")
    ids = [fields[f"tokenizer.ggml.{role}_token_id"] for role in ("bos", "eos", "unknown", "padding", "eot")]
    assert ids == [SPECIALS.index(name) for name in ("<s>", "</s>", "<unk>", "<pad>", "<|end|>")]
    assert fields["tokenizer.ggml.add_bos_token"] is False
    assert fields["tokenizer.chat_template"] == "{{ messages[0]['content'] }}"
    assert vocabulary.remarks() == []


def test_the_shape_comes_back(tmp_path: Path) -> None:
    changes = {"num_key_value_heads": 2, "head_dim": 16, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}
    model = save(transformers_model("qwen3", **changes), tmp_path / "model")
    write_gguf(model, tmp_path / "model.gguf")
    fields = fields_of(tmp_path / "model.gguf")
    sizes = {"context_length": 64, "embedding_length": 32, "block_count": 2, "feed_forward_length": 48,
             "attention.head_count": 4, "attention.head_count_kv": 2, "attention.key_length": 16, "rope.freq_base": 5e5,
             "rope.dimension_count": 16, "vocab_size": 320}  # fmt: skip
    assert {name: fields[f"qwen3.{name}"] for name in sizes} == sizes
    assert fields["general.file_type"] == gguf.LlamaFileType.MOSTLY_BF16


def with_tokenizer(folder: Path, **parts: Any) -> Path:
    """A model whose tokenizer.json has other parts; `model` is updated."""
    model = save(transformers_model("llama"), folder)
    file = model / "tokenizer.json"
    specification = json.loads(file.read_text())
    specification["model"] |= parts.pop("model", {})
    file.write_text(json.dumps(specification | parts))
    return model


PREPENDED = {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
]}  # fmt: skip


def test_a_sentencepiece_model_has_the_order_of_its_merges_as_scores(tmp_path: Path) -> None:
    vocabulary = read_vocabulary(with_tokenizer(tmp_path / "model", normalizer=PREPENDED), 320)
    scores = dict(zip(vocabulary.tokens, vocabulary.scores))
    assert (vocabulary.model, vocabulary.merges, vocabulary.space_before) == ("llama", [], True)
    assert [scores[left + right] for left, right in MERGES] == [0, -1, -2, -3, -4, -5]
    assert {scores[letter] for letter in LETTERS} == {-6}


def test_a_piece_that_llama_cpp_would_join_of_other_parts_is_refused(tmp_path: Path) -> None:
    merges = [*MERGES, ("▁t", "he"), ("▁", "t")]  # "▁the" has two merges, apart from each other
    more = {name: 280 + number for number, name in enumerate(("▁t",))}
    base = with_tokenizer(tmp_path / "base", normalizer=PREPENDED)
    vocabulary = json.loads((base / "tokenizer.json").read_text())["model"]["vocab"]
    apart = {"vocab": vocabulary | more, "merges": [list(pair) for pair in merges]}
    with pytest.raises(UserError, match="'▁the' do not stand together"):
        read_vocabulary(with_tokenizer(tmp_path / "apart", normalizer=PREPENDED, model=apart), 320)
    fewer = {"vocab": vocabulary | more, "merges": [list(pair) for pair in (*MERGES, ("▁", "t"))]}
    with pytest.raises(UserError, match="would join '▁t' and 'he', which are no merge here"):
        read_vocabulary(with_tokenizer(tmp_path / "fewer", normalizer=PREPENDED, model=fewer), 320)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"pre_tokenizer": {"type": "Whitespace"}}, "unknown normalizer or pre-tokenizer"),
        ({"normalizer": {"type": "Lowercase"}}, "unknown normalizer or pre-tokenizer"),
        ({"model": {"byte_fallback": False}}, "no pattern of its is this pre-tokenizer"),
        ({"model": {"dropout": 0.1}}, "model.dropout is 0.1"),
    ],
)  # fmt: skip
def test_a_tokenizer_that_llama_cpp_has_not_is_refused(parts: dict[str, Any], words: str, tmp_path: Path) -> None:
    model = with_tokenizer(tmp_path / "model", **parts)
    with pytest.raises(UserError, match=words):
        write_gguf(model, tmp_path / "model.gguf")
    assert not list(tmp_path.glob("*gguf*"))


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("phi3", {}, "family phi3; there are llama, qwen2, qwen3, gpt2"),
        ("gpt2", {"activation_function": "gelu"}, "gpt2 models with the exact GELU"),
        ("mistral", {"sliding_window": 16}, "family mistral"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, "windows of attention"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4}}, "stretched by yarn"),
    ],
)
def test_a_model_that_llama_cpp_has_not_is_refused(kind: str, changes: dict, words: str, tmp_path: Path) -> None:
    model = save(transformers_model(kind, **changes), tmp_path / "model")
    with pytest.raises(UserError, match=words):
        write_gguf(model, tmp_path / "model.gguf")


def test_numbers_that_float16_has_not_are_refused(tmp_path: Path) -> None:
    model = save(transformers_model("llama"), tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    tensors["model.embed_tokens.weight"][3, 3] = 1e5
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"embed_tokens.weight holds numbers that are too large for float16"):
        write_gguf(model, tmp_path / "model.gguf", "float16")
    assert not list(tmp_path.glob("*gguf*"))
    write_gguf(model, tmp_path / "model.gguf", "bfloat16")


def test_llama_3_divides_frequencies_as_our_rotary_positions(tmp_path: Path) -> None:
    from diglot.model.rotary import rotary

    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64, "rope_theta": 10000.0}  # fmt: skip
    config = read_config(save(transformers_model("llama", rope_parameters=scaling, head_dim=32), tmp_path / "model"))
    one = torch.ones(1, 1, dtype=torch.int64)
    plain, scaled = (rotary(one, 32, 10000.0, each)[1].flatten()[:16].asin() for each in (None, config.rotary_scaling))
    assert rope_factors(config) == pytest.approx((plain / scaled).numpy(), rel=1e-4)
