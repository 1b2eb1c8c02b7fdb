"""transformers is the oracle: its logits from its folders, and from ours."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from model_builders import SPECIAL_IDS, SPECIALS, inputs, save, transformers_model, write_tokenizer
from safetensors.torch import load_file, save_file

from diglot.base.artifact import content_hash
from diglot.base.errors import UserError
from diglot.model.decoder import Decoder
from diglot.model.families import FAMILIES, config_json, family_of, read_config, read_config_with_notes
from diglot.model.families.keys import is_read
from diglot.model.huggingface import find_model, huggingface_shapes, load_decoder, save_decoder, write_description
from diglot.model.imported import run
from diglot.model.loss import cross_entropy
from diglot.model.presets import PRESETS
from diglot.model.rotary import rotary_frequencies
from diglot.model.weights import StoredWeights, write_weights
from diglot.recipe.model import ImportModel
from diglot.tokenizer.folder import load_tokenizer
from diglot.tokens.packing import IGNORED

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0, 1.1, 1.5, 2.0],
    "long_factor": [1.0, 2.0, 5.0, 9.0],
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
    "llama yarn": ("llama", {"rope_parameters": YARN}),
    "llama dynamic": ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}}),
    "llama longrope": ("llama", {"rope_parameters": LONGROPE | {"factor": 2.0}}),
    "mistral window": ("mistral", {"sliding_window": 7, "num_key_value_heads": 2}),
    "qwen2 windows": ("qwen2", {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}),
    "qwen3 yarn": ("qwen3", {"num_key_value_heads": 2, "head_dim": 16, "rope_parameters": YARN | {"factor": 3.0}}),
    "qwen3 windows": (
        "qwen3",
        {"use_sliding_window": True, "sliding_window": 9, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "smollm3": ("smollm3", {"no_rope_layer_interval": 2, "num_key_value_heads": 2}),
    "smollm3 biases windows": (
        "smollm3",
        {
            "no_rope_layers": [0, 1],
            "use_sliding_window": True,
            "sliding_window": 9,
            "attention_bias": True,
            "mlp_bias": True,
            "tie_word_embeddings": False,
        },
    ),
    "olmo2": ("olmo2", {"num_key_value_heads": 2}),
    "olmo2 biases": ("olmo2", {"attention_bias": True, "tie_word_embeddings": True, "head_dim": 16}),
    "olmo3": ("olmo3", {"sliding_window": 9, "layer_types": ["sliding_attention", "full_attention"]}),
    "olmo3 yarn": (
        "olmo3",
        {
            "sliding_window": 9,
            "layer_types": ["full_attention", "sliding_attention"],
            "rope_scaling": YARN | {"attention_factor": 1.3, "rope_theta": 5e5},
        },
    ),
    "olmo3 wide": (
        "olmo3",
        {"layer_types": ["full_attention", "sliding_attention"], "rope_scaling": YARN | {"rope_theta": 5e5}},
    ),
    "olmo3 theta": (
        "olmo3",
        {
            "sliding_window": 9,
            "layer_types": ["full_attention", "sliding_attention"],
            "rope_parameters": {kind: {"rope_theta": 1e4} for kind in ("full_attention", "sliding_attention")},
        },
    ),
    "phi3": ("phi3", {}),
    "phi3 window": ("phi3", {"sliding_window": 9, "num_key_value_heads": 4}),
    "phi3 longrope": ("phi3", {"rope_scaling": LONGROPE, "original_max_position_embeddings": 32}),
    "phi4 mini": (
        "phi3",
        {
            "rope_scaling": LONGROPE | {"short_factor": [1.0, 1.5, 2.0], "long_factor": [2.0, 4.0, 9.0]},
            "original_max_position_embeddings": 48,
            "partial_rotary_factor": 0.75,
            "tie_word_embeddings": True,
        },
    ),
    "polylm": ("gpt2", {}),
    "polylm rotary": ("starcoder2", {"hidden_act": "gelu", "head_dim": None}),
    "starcoder2 window": ("starcoder2", {"sliding_window": 9, "hidden_act": "gelu_pytorch_tanh", "head_dim": None}),
    "starcoder2 grouped untied": (
        "starcoder2",
        {"num_key_value_heads": 2, "tie_word_embeddings": False, "use_bias": False, "head_dim": None},
    ),
    "gpt2 tanh untied": ("gpt2", {"activation_function": "gelu_new", "tie_word_embeddings": False}),
    "gpt2 wide": ("gpt2", {"n_inner": 40}),
}
WRITES_RESIDUAL = {  # by where the norms stand
    "before": ("attention.output.weight", "attention.output.bias", "down.weight", "down.bias"),
    "after": ("attention_norm.weight", "feed_forward_norm.weight"),
}
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
    ends = WRITES_RESIDUAL[config.norm_placement]
    assert sum(map(family.writes_residual, names)) == sum(name.endswith(ends) for name in ours)


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


@pytest.mark.parametrize(
    "name", ["mistral window", "smollm3", "olmo3 yarn", "phi4 mini", "qwen3 yarn", "starcoder2 window"]
)
def test_gradients_of_packed_documents_are_those_of_transformers(name, tmp_path):
    """One row of documents shorter and longer than windows and contexts, against each alone in transformers' module."""
    kind, changes = MODELS[name]
    folder = save(transformers_model(kind, **changes), tmp_path / "theirs")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    decoder = load_decoder(folder)
    spans = [(0, 6), (6, 56), (56, 80)]
    # Not the token of padding, 3, for which transformers' embedding has no gradient.
    tokens = torch.randint(4, 320, (1, 80), generator=torch.Generator().manual_seed(0))
    documents, targets = torch.full((1, 80), -1), torch.full((1, 80), IGNORED)
    loss = torch.zeros(())
    for number, (start, end) in enumerate(spans):
        documents[:, start:end] = number
        targets[:, start : end - 1] = tokens[:, start + 1 : end]
        mean = theirs(tokens[:, start:end], labels=tokens[:, start:end]).loss
        loss = loss + mean * (end - start - 1)
    loss.backward()
    found, _ = cross_entropy(decoder(tokens, None, documents)[0], decoder.output_weight(), targets[0])
    found.backward()
    torch.testing.assert_close(found, loss, rtol=1e-6, atol=0)
    gradients = {key: parameter.grad for key, parameter in decoder.named_parameters()}
    wanted = {key: parameter.grad for key, parameter in theirs.named_parameters()}
    for key, gradient in family_of(decoder.config).to_huggingface(gradients).items():
        torch.testing.assert_close(
            gradient, wanted[key], atol=1e-5 * float(wanted[key].abs().max()), rtol=1e-5, msg=key
        )


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
        ("llama", {"sliding_window": 32}, "sliding_window: unknown .*transformers reads it"),
        ("qwen2", {"layer_types": ["sliding_attention"] * 2}, 'layer_types: "sliding_attention" is not supported'),
        ("olmo3", {"layer_types": ["chunked_attention"] * 2}, "layer_types"),
        (
            "olmo3",
            {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}},
            r"sliding_attention.rope_theta: 500000.0",
        ),
        ("smollm3", {"no_rope_layers": [1, 2]}, "no_rope_layers: 2 is not supported"),
        ("smollm3", {"no_rope_layers": [1]}, "no_rope_layers: one number a layer"),
        ("smollm3", {"layer_types": ["sliding_attention"] * 2, "sliding_window": 9}, "use_sliding_window"),
        ("phi3", {"head_dim": 16}, "head_dim: 16 is not supported"),
        (
            "llama",
            {"rope_scaling": {"rope_type": "proportional", "factor": 2.0}},
            "proportional.*before it was stretched",
        ),
        ("qwen2", {"rope_scaling": {"type": "yarn", "factor": 4.0, "mrope_section": [1]}}, "mrope_section"),
        ("llama", {"rope_scaling": LONGROPE | {"short_factor": [1.0]}}, "short_factor: a list of 4 numbers"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("llama", {"hidden_act": "relu"}, "hidden_act"),
        ("llama", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping: unknown .*other architectures"),
        ("llama", {"rope_interleaved": True}, "rope_interleaved: unknown .*other architectures"),
        ("llama", {"attention_chunk_size": 16}, "attention_chunk_size: unknown .*transformers reads it"),
        ("phi3", {"attention_bias": True}, "attention_bias: unknown .*other architectures"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config: unknown .*before it was quantized"),
        ("llama", {"auto_map": {"AutoModel": "modeling.Mine"}}, "auto_map: unknown .*never run"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"activation_function": "relu"}, "activation_function"),
        ("llama", {"model_type": "t5"}, 'model_type: "t5" is no causal language model of transformers'),
        ("llama", {"model_type": "bert"}, "bert: its output weight has a bias"),
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


def test_keys_that_transformers_ignores_are_left_out_with_a_note(tmp_path, context):
    """Those of SmolLM2-Instruct, and others that say nothing."""
    changes = {
        "_model_name_or_path": "Smollm2 135M 8k Lc100K Mix1 Ep2",
        "is_llama_config": True,
        "rope_interleaved": False,
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
        "quantization_config": None,
        "embedding_multiplier": 1.0,
    }
    model = transformers_model("llama")
    folder = save(model, tmp_path / "theirs", temperature=0.7, **changes)
    output = tmp_path / "ours"
    output.mkdir()
    summary = run(ImportModel(do="import-model", path=str(folder)), inputs(), output, context)
    assert summary.keys_passed_over == sorted(changes)
    assert any("_model_name_or_path, embedding_multiplier, is_llama" in told for told in summary.warnings())
    assert not changes.keys() & json.loads((output / "config.json").read_text()).keys()
    assert read_config_with_notes(output)[1] == []
    assert torch.equal(
        transformers.AutoModelForCausalLM.from_pretrained(output).eval()(TOKENS).logits, model(TOKENS).logits
    )


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_transformers_reads_of_its_configuration_is_read_here(kind):
    """A key that its code mentions changes the model, or stands here with what it is for. A new one is found so."""
    full = transformers.CONFIG_MAPPING[kind](**SPECIAL_IDS.get(kind, {}))
    asked = set()

    class Asked:
        def __getattr__(self, name: str):
            asked.add(full.attribute_map.get(name, name))
            return getattr(full, name)

    FAMILIES[kind].read(Path("config.json"), Asked())
    own = {key for key in full.to_dict() if is_read(key, type(full))}
    assert {"vocab_size", full.attribute_map.get("hidden_size", "hidden_size")} <= own & asked
    not_of_the_forward_pass = {
        "attention_dropout", "attn_pdrop", "embd_pdrop", "embedding_dropout", "resid_pdrop", "residual_dropout",
        "chunk_size_feed_forward", "initializer_range", "is_encoder_decoder", "pad_token_id", "problem_type", "num_labels",
        "output_attentions", "output_hidden_states", "return_dict", "use_cache", "dtype", "architectures", "model_type",
        "_name_or_path", "bos_token_id", "eos_token_id", "reorder_and_upcast_attn", "summary_activation",
        "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
    }  # fmt: skip
    through_others = {"original_max_position_embeddings": "rope_parameters", "use_sliding_window": "layer_types"}
    asked |= {key for key, other in through_others.items() if other in asked}
    assert own - asked - not_of_the_forward_pass == set()


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
    st.sampled_from(["linear", "dynamic", "llama3", "yarn", "yarn untruncated", "longrope", "longrope long"]),
    st.floats(1.0, 64.0),
    st.sampled_from([64, 80, 128]),
    st.sampled_from([1e4, 5e5, 1e6]),
    st.sampled_from([2048, 8192]),
)
@examples(50)
def test_rotary_frequencies_equal_transformers(form, factor, head_size, theta, original):
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    kind, long = form.split()[0], form.endswith("long")
    own = {
        "llama3": {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": original},
        "yarn": {"truncate": form == "yarn", "beta_fast": 20, "original_max_position_embeddings": original},
        "longrope": {
            "short_factor": [1 + number / 7 for number in range(head_size // 2)],
            "long_factor": [1 + number / 3 for number in range(head_size // 2)],
            "original_max_position_embeddings": original,
        },
    }
    parameters = {"rope_type": kind, "rope_theta": theta, "factor": factor} | own.get(kind, {})
    full = transformers.LlamaConfig(head_dim=head_size, max_position_embeddings=100_000, rope_parameters=parameters)
    expected, magnitude = ROPE_INIT_FUNCTIONS[kind](full, "cpu", seq_len=original + 1 if long else None)
    config = FAMILIES["llama"].read(Path("config.json"), full)
    frequencies = rotary_frequencies(head_size, theta, config.rotary_scaling, long=long)
    torch.testing.assert_close(frequencies, expected, rtol=1e-6, atol=0)
    assert config.rotary_scaling.magnitude == magnitude
    assert config.rotary_scaling.attention_factor is None or kind == "longrope"  # which keeps no other factor
    keys = FAMILIES["llama"].write(config)
    assert keys.get("original_max_position_embeddings") == (original if kind == "longrope" else None)  # transformers 4
    written = keys["rope_scaling"] | {"rope_theta": theta}
    assert ("attention_factor" in written) == (config.rotary_scaling.attention_factor is not None)
    again = transformers.LlamaConfig(head_dim=head_size, max_position_embeddings=100_000, rope_parameters=written)
    assert FAMILIES["llama"].read(Path("config.json"), again) == config


def test_deepseeks_two_scales_are_one_magnitude():
    parameters = YARN | {"mscale": 0.707, "mscale_all_dim": 1.3}
    full = transformers.LlamaConfig(head_dim=8, max_position_embeddings=64, rope_parameters=parameters)
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    _, magnitude = ROPE_INIT_FUNCTIONS["yarn"](full, "cpu")
    assert magnitude != 1
    assert FAMILIES["llama"].read(Path("config.json"), full).rotary_scaling.magnitude == pytest.approx(magnitude, 1e-12)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["llama", "phi3"])
def test_longrope_is_chosen_by_document(tmp_path, kind):
    """A row of a short and a long document: each as transformers computes it alone."""
    changes = {"rope_scaling": LONGROPE, "original_max_position_embeddings": 32}
    folder = save(transformers_model(kind, **changes), tmp_path / "theirs")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    decoder = load_decoder(folder)
    tokens = torch.randint(320, (1, 74), generator=torch.Generator().manual_seed(0))
    spans = [(0, 32), (32, 65), (65, 74)]  # the second is one token too long
    documents = torch.tensor([number for number, (start, end) in enumerate(spans) for _ in range(start, end)])[None]
    packed = decoder(tokens, None, documents) @ decoder.output_weight().T
    for start, end in spans:
        expected = theirs(tokens[:, start:end]).logits
        torch.testing.assert_close(packed[:, start:end], expected, atol=1e-5, rtol=1e-5)
        alone = decoder(tokens[:, start:end]) @ decoder.output_weight().T
        torch.testing.assert_close(alone, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_survives_config_json(preset, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config_json(PRESETS[preset], torch.float32)))
    assert read_config(tmp_path) == PRESETS[preset]
    transformers.AutoConfig.from_pretrained(tmp_path)
