"""transformers is the oracle: its logits from its folders, and from ours."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from model_builders import SPECIALS, inputs, save, transformers_model, write_tokenizer
from safetensors.torch import load_file, save_file

from diglot.base.artifact import content_hash
from diglot.base.errors import UserError
from diglot.model.decoder import Decoder, rotary_frequencies
from diglot.model.families import FAMILIES, config_json, family_of, read_config
from diglot.model.huggingface import find_model, huggingface_shapes, load_decoder, run, save_decoder, write_description
from diglot.model.presets import PRESETS
from diglot.model.weights import StoredWeights, write_weights
from diglot.recipe.model import ImportModel
from diglot.tokenizer.folder import load_tokenizer

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
MODELS = {  # a new family is tested by adding it here
    "llama": ("llama", {}),
    "llama grouped": ("llama", {"num_key_value_heads": 2}),
    "llama tied": ("llama", {"tie_word_embeddings": True}),
    "llama biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama odd head": ("llama", {"head_dim": 16}),
    "llama linear": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
    "llama 3.1": ("llama", {"rope_parameters": LLAMA3}),
    "llama 3.1 tied": ("llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "mistral": ("mistral", {"sliding_window": None, "num_key_value_heads": 2}),
    "mistral tied": ("mistral", {"sliding_window": None, "tie_word_embeddings": True, "head_dim": 16}),
    "qwen2": ("qwen2", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "qwen2 untied": ("qwen2", {}),
    "qwen2 linear": ("qwen2", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e6, "factor": 2.0}}),
    "qwen3": ("qwen3", {"num_key_value_heads": 2, "head_dim": 16}),
    "qwen3 tied": ("qwen3", {"tie_word_embeddings": True}),
    "qwen3 biases": ("qwen3", {"attention_bias": True}),
    "polylm": ("gpt2", {}),
    "polylm rotary": ("starcoder2", {"hidden_act": "gelu", "head_dim": None}),
    "starcoder2 grouped untied": (
        "starcoder2",
        {"num_key_value_heads": 2, "tie_word_embeddings": False, "use_bias": False, "head_dim": None},
    ),
    "gpt2 tanh untied": ("gpt2", {"activation_function": "gelu_new", "tie_word_embeddings": False}),
    "gpt2 wide": ("gpt2", {"n_inner": 40}),
}
WRITES_RESIDUAL = ("attention.output.weight", "attention.output.bias", "down.weight", "down.bias")
TOKENS = torch.randint(320, (2, 40), generator=torch.Generator().manual_seed(0))


def logits(decoder: Decoder) -> torch.Tensor:
    return decoder(TOKENS) @ decoder.output_weight().T


def test_every_family_is_tested():
    assert {kind for kind, _ in MODELS.values()} == set(FAMILIES)


def test_a_shape_is_exported_as_one_family(folder):
    config = read_config(folder)
    assert [family for family in FAMILIES.values() if family.fits(config)] == [family_of(config)]


def test_names_of_tensors_by_layer(folder):
    config = read_config(folder)
    family, names = family_of(config), list(huggingface_shapes(config))
    ours = list(Decoder(config).state_dict())
    outside = [name for name in names if family.layer_of(name) is None]
    assert len(outside) == sum(not name.startswith("layers.") for name in ours)
    assert set(family.embedding_names(config)) <= set(outside)
    for name in set(names) - set(outside):
        assert family.in_layer(name, family.layer_of(name)) == name
        assert family.layer_of(family.in_layer(name, 11)) == 11
    assert sum(map(family.writes_residual, names)) == sum(name.endswith(WRITES_RESIDUAL) for name in ours)


@pytest.fixture(params=MODELS)
def folder(request, tmp_path) -> Path:
    kind, changes = MODELS[request.param]
    return save(transformers_model(kind, **changes), tmp_path / "theirs")


@torch.no_grad()
def test_import_and_export_agree_with_transformers(folder, tmp_path, context):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    expected = theirs(TOKENS).logits
    decoder = load_decoder(folder)
    torch.testing.assert_close(logits(decoder), expected, atol=1e-5, rtol=1e-5)

    output = tmp_path / "ours"
    output.mkdir()
    summary = run(ImportModel(do="import-model", path=str(folder)), inputs(), output, context)
    assert summary.parameters == sum(p.numel() for p in theirs.parameters())
    again, report = transformers.AutoModelForCausalLM.from_pretrained(output, output_loading_info=True)
    assert not any(report.values()), report
    assert torch.equal(again.eval()(TOKENS).logits, expected)
    for (name, mine), original in zip(sorted(again.state_dict().items()), sorted(theirs.state_dict().items())):
        assert name == original[0]
        assert torch.equal(mine, original[1]), name


def test_weights_round_trip_bit_for_bit_in_any_type(tmp_path):
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        model = transformers_model("gpt2").to(dtype)
        folder = save(model, tmp_path / f"{dtype}")
        stored = StoredWeights(folder)
        decoder = load_decoder(folder, dtype=None)
        assert decoder.embedding.weight.dtype == dtype
        save_decoder(decoder, tmp_path / f"again {dtype}", folder)
        again = StoredWeights(tmp_path / f"again {dtype}")
        assert set(again.shapes()) == set(stored.shapes())
        for name in stored.shapes():
            assert torch.equal(stored.tensor(name), again.tensor(name))
        kept = json.loads((tmp_path / f"again {dtype}" / "config.json").read_text())["torch_dtype"]
        assert f"torch.{kept}" == str(dtype)
        loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / f"again {dtype}")
        assert loaded.dtype == dtype


def test_saving_is_deterministic(tmp_path):
    folder = save(transformers_model("qwen3"), tmp_path / "theirs")
    for name in ("a", "b"):
        save_decoder(load_decoder(folder), tmp_path / name, folder)
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b")
    save_decoder(load_decoder(tmp_path / "a"), tmp_path / "c", tmp_path / "a")
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "c")


def test_of_two_layouts_in_a_folder_the_one_of_transformers_is_taken(tmp_path, context):
    folder, other = tmp_path / "theirs", transformers_model("llama")
    other.save_pretrained(folder, max_shard_size="30KB")  # an index and shards, and then one file with other weights
    with torch.no_grad():
        other.model.norm.weight.add_(1)
    other.save_pretrained(tmp_path / "one")
    save(other, tmp_path / "one")
    for file in (tmp_path / "one").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    assert (folder / "model.safetensors.index.json").is_file()
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    stored = StoredWeights(folder)
    assert torch.equal(stored.tensor("model.norm.weight"), theirs.model.norm.weight)
    assert torch.equal(stored.tensor("model.norm.weight"), other.model.norm.weight)
    output = tmp_path / "ours"
    output.mkdir()
    summary = run(ImportModel(do="import-model", path=str(folder)), inputs(), output, context)
    assert any("model.safetensors.index.json was not read" in told for told in summary.warnings())


def test_stop_tokens_that_only_config_json_names_are_kept(tmp_path, context):
    folder = save(transformers_model("llama"), tmp_path / "theirs", eos_token_id=[2, 7, 11])
    (folder / "generation_config.json").unlink()
    output = tmp_path / "ours"
    output.mkdir()
    run(ImportModel(do="import-model", path=str(folder)), inputs(), output, context)
    assert transformers.GenerationConfig.from_pretrained(output).eos_token_id == [2, 7, 11]


def test_an_imported_tokenizer_has_our_ids_for_everyone(tmp_path, context):
    folder = save(transformers_model("llama"), tmp_path / "theirs")
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"tokenizer_class": "GPT2Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    output = tmp_path / "ours"
    output.mkdir()
    summary = run(ImportModel(do="import-model", path=str(folder)), inputs(), output, context)
    assert summary.tokenizer.written == "PreTrainedTokenizerFast"
    assert "GPT2Tokenizer cuts text otherwise" in summary.warnings()[0]
    ids = transformers.AutoTokenizer.from_pretrained(output)("the other hat")["input_ids"]
    assert ids == load_tokenizer(folder).encode("the other hat").ids


def test_shards_are_read_and_written(tmp_path):
    model = transformers_model("llama")
    model.save_pretrained(tmp_path / "theirs", max_shard_size="30KB")
    write_tokenizer(tmp_path / "theirs")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 2
    decoder = load_decoder(tmp_path / "theirs")
    write_description(decoder.config, torch.float32, tmp_path / "ours", tmp_path / "theirs")
    tensors = family_of(decoder.config).to_huggingface(decoder.state_dict())
    write_weights(tmp_path / "ours", tensors, tensors.__getitem__, max_shard_bytes=30_000)
    assert len(list((tmp_path / "ours").glob("*.safetensors"))) > 2
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    for one, other in zip(model.parameters(), again.parameters()):
        assert torch.equal(one, other)


def test_files_are_as_safetensors_writes_them(tmp_path):
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "half": torch.randn(3, 5, generator=generator).half(),
        "brain": torch.randn(7, generator=generator).bfloat16(),
        "double": torch.randn(2, 3, 4, generator=generator).double(),
        "turned": torch.randn(4, 6, generator=generator).T,
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 4),
    }
    write_weights(tmp_path, tensors, tensors.__getitem__)
    loaded = load_file(tmp_path / "model.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


def test_polylms_released_form(tmp_path, context):
    """GPT-2 with padded rows, dropout, and the last padding row as bos and eos; the tokenizer says otherwise."""
    model = transformers_model("gpt2", bos_token_id=319, eos_token_id=319, resid_pdrop=0.1, attn_pdrop=0.1)
    folder = save(model, tmp_path / "theirs", scale_attn_weights=True, reorder_and_upcast_attn=False)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 319}))
    output = tmp_path / "ours"
    summary = run(ImportModel(do="import-model", path=str(folder)), inputs(), output, context)
    assert summary.shape.vocabulary_size == 320
    ours = transformers.AutoModelForCausalLM.from_pretrained(output)
    assert torch.equal(ours.eval()(TOKENS).logits, model(TOKENS).logits)
    assert (ours.config.bos_token_id, ours.config.eos_token_id) == (1, 2)
    assert ours.config.resid_pdrop == ours.config.attn_pdrop == 0.0
    stops = transformers.GenerationConfig.from_pretrained(output).eos_token_id
    assert {2, 319} <= set(stops)


def test_the_first_gpt2s_names_are_understood(tmp_path):
    """Stored without `transformer.`, and with the causal mask as a tensor."""
    folder = save(transformers_model("gpt2"), tmp_path / "theirs")
    stored = StoredWeights(folder)
    tensors = {name.removeprefix("transformer."): stored.tensor(name) for name in stored.shapes()}
    tensors["h.0.attn.bias"] = torch.ones(1, 1, 64, 64)
    expected = load_decoder(folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(logits(load_decoder(folder)), logits(expected))


def test_the_models_stops_are_written(tmp_path):
    folder = save(transformers_model("llama"), tmp_path / "theirs")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 300]}))
    save_decoder(load_decoder(folder), tmp_path / "ours", folder)
    generation = transformers.GenerationConfig.from_pretrained(tmp_path / "ours")
    assert generation.eos_token_id == [2, SPECIALS.index("<|end|>"), 300]
    config = transformers.AutoConfig.from_pretrained(tmp_path / "ours")
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, 3)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "ours" / name).read_bytes() == (folder / name).read_bytes()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert tokenizer.apply_chat_template([{"role": "user", "content": "the"}], tokenize=False) == "the"


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("mistral", {"sliding_window": 32}, "sliding_window: attention within a window of 32"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 0}, "sliding_window"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "yarn"),
        ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "dynamic"),
        ("qwen2", {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "yarn.*before it was stretched"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("llama", {"hidden_act": "relu"}, "hidden_act"),
        ("llama", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping: unknown"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config: unknown"),
        ("llama", {"auto_map": {"AutoModel": "modeling.Mine"}}, "auto_map: unknown"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"activation_function": "relu"}, "activation_function"),
        ("llama", {"model_type": "bert"}, "'bert' is not supported; supported: gpt2, llama"),
        ("llama", {"intermediate_size": 52}, r"shape \(48, 32\); config.json asks for \(52, 32\)"),
        ("llama", {"num_hidden_layers": 1}, "9 tensors that config.json does not call for"),
        ("llama", {"num_hidden_layers": 3}, "lack 9 tensors"),
        ("llama", {"tie_word_embeddings": True}, "lm_head.weight differs"),
    ],
)
def test_what_changes_the_maths_is_refused(tmp_path, kind, changes, message):
    folder = save(transformers_model(kind), tmp_path / "theirs", **changes)
    with pytest.raises(UserError, match=message):
        load_decoder(folder)


def test_a_window_wider_than_the_context_is_no_window(tmp_path):
    folder = save(transformers_model("mistral"), tmp_path / "theirs", sliding_window=64)
    assert read_config(folder).max_positions == 64


def test_bad_folders_are_refused_with_a_remedy(tmp_path, context):
    def load(path):
        run(ImportModel(do="import-model", path=str(path)), inputs(), tmp_path / "out", context)

    folder = save(transformers_model("llama"), tmp_path / "theirs")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"model.safetensors: cannot be read"):
        load(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"only pytorch_model.bin, a pickle.*save_pretrained"):
        load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="not readable as JSON"):
        load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"config.json is missing"):
        load(folder)
    with pytest.raises(UserError, match="neither a folder nor the name"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="give the folder of a copy"):
        load("nobody/no-such-model")
    assert not (tmp_path / "out").exists()


def test_a_folder_comes_before_a_name_on_the_hub(tmp_path, monkeypatch):
    (tmp_path / "org" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert find_model("org/model") == Path("org/model")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_model("~/org/model") == tmp_path / "org" / "model"


def test_a_foreign_tokenizer_is_refused(tmp_path):
    small = save(transformers_model("llama", vocab_size=100), tmp_path / "theirs")
    with pytest.raises(UserError, match=r"does not belong to this model: it has 285 entries.* 100 rows"):
        save_decoder(load_decoder(small), tmp_path / "ours", small)
    (small / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"no tokenizer.json"):
        save_decoder(load_decoder(small), tmp_path / "ours", small)


def test_an_index_cannot_reach_outside_its_folder(tmp_path):
    index = {"weight_map": {"a": "../secret.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="not a plain file name"):
        StoredWeights(tmp_path)


@given(
    st.sampled_from(["linear", "llama3"]),
    st.floats(1.0, 64.0),
    st.sampled_from([64, 80, 128]),
    st.sampled_from([1e4, 5e5, 1e6]),
    st.sampled_from([2048, 8192]),
)
@examples(25)
def test_rotary_frequencies_equal_transformers(kind, factor, head_size, theta, original):
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    parameters = {"rope_type": kind, "rope_theta": theta, "factor": factor}
    if kind == "llama3":
        parameters |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
        parameters["original_max_position_embeddings"] = original
    full = transformers.LlamaConfig(head_dim=head_size, max_position_embeddings=100_000, rope_parameters=parameters)
    expected, _ = ROPE_INIT_FUNCTIONS[kind](full, "cpu")
    config = FAMILIES["llama"].read(Path("config.json"), full)
    torch.testing.assert_close(rotary_frequencies(config), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_survives_config_json(preset, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config_json(PRESETS[preset], torch.float32)))
    assert read_config(tmp_path) == PRESETS[preset]
    transformers.AutoConfig.from_pretrained(tmp_path)
