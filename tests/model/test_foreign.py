"""Families that run as transformers' module: read, proved and trained as transformers itself would."""

import dataclasses
import json
import re
import threading
import weakref
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import transformers
from foreign_models import ALONE, PACKED, foreign_model, save_foreign
from model_builders import inputs, save, transformers_model
from safetensors.torch import load_file

from diglot.base.artifact import Context
from diglot.base.errors import UserError
from diglot.model import foreign, proof
from diglot.model.attention import DocumentLayout
from diglot.model.families import FAMILIES as FAMILIES_OF_OURS
from diglot.model.families import read_config
from diglot.model.families.foreign import ForeignConfig
from diglot.model.flops import flops_per_token
from diglot.model.foreign import NotPackable, layer_checkpoint
from diglot.model.huggingface import count_active_parameters, count_parameters, describe, load_decoder, load_model
from diglot.model.imported import run
from diglot.model.loss import cross_entropy, token_log_probabilities
from diglot.recipe.model import ImportModel
from diglot.tokenizer.folder import load_tokenizer

IN_MAKE_TEST = ("gemma2", "gpt_oss", "qwen3_moe", "granite", "cohere", "gpt_neox")
FAMILIES = [kind if kind in IN_MAKE_TEST else pytest.param(kind, marks=pytest.mark.full) for kind in PACKED]


def imported(folder: Path, context: Context, out: Path):
    out.mkdir()
    return run(ImportModel(do="import-model", path=str(folder)), inputs(), out, context)


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of documents of several lengths, packed, with padding."""
    documents_BT = torch.tensor([[0] * 13 + [1] * 21 + [2] + [-1] * 3, [3] * 38], dtype=torch.int32)
    return torch.randint(3, 320, documents_BT.shape, generator=torch.Generator().manual_seed(1)), documents_BT


def test_every_family_that_is_trusted_is_tested():
    assert set(PACKED) == proof.PACKED


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_is_imported_with_proof(kind, tmp_path, context):
    """Packed; its tensors are those that were given, bit for bit, and transformers reads the artifact alike."""
    theirs = save_foreign(kind, tmp_path / "theirs")
    found = imported(theirs, context, tmp_path / "ours").proof
    assert found.documents == "packed", found.reason
    assert found.tokens > 200
    assert 0 < found.difference < 3e-6 * found.scale
    given, stored = (load_file(folder / "model.safetensors") for folder in (theirs, tmp_path / "ours"))
    assert given.keys() == stored.keys()
    assert all(torch.equal(given[name], stored[name]) for name in given)
    tokens_BT, _ = rows()
    models = [transformers.AutoModelForCausalLM.from_pretrained(each) for each in (theirs, tmp_path / "ours")]
    assert torch.equal(*(model(tokens_BT).logits for model in models))


@pytest.mark.parametrize(
    "kind",
    ["bloom", "falcon", "mamba", *(pytest.param(kind, marks=pytest.mark.full) for kind in ("falcon_h1", "qwen3_next"))],
)
def test_a_family_that_cannot_be_packed_runs_document_by_document(kind, tmp_path, context):
    found = imported(save_foreign(kind, tmp_path / "theirs"), context, tmp_path / "ours")
    assert found.proof.documents == "alone"
    assert any("documents are run one by one" in told for told in found.warnings())
    assert found.proof.difference < 3e-6 * found.proof.scale
    assert read_config(tmp_path / "ours").documents == "alone"


def losses_of_documents(model, tokens_BT, documents_BT) -> torch.Tensor:
    """Transformers' loss, summed over each document alone."""
    total = torch.zeros(())
    for number in range(int(documents_BT.max()) + 1):
        ids = tokens_BT[documents_BT == number]
        logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1]
        total = total + F.cross_entropy(logits, ids[1:], reduction="sum")
    return total


@pytest.mark.parametrize("again", [False, True], ids=["kept", "computed again"])
@pytest.mark.parametrize("kind", [*FAMILIES, "bloom", "mamba"])
def test_loss_and_gradients_equal_transformers_document_by_document(kind, again, tmp_path, context):
    """Also where layers are computed again in the backward pass, on another thread as on a GPU."""
    theirs = foreign_model(kind)
    imported(save_foreign(kind, tmp_path / "theirs"), context, tmp_path / "ours")
    ours = load_model(tmp_path / "ours").train()
    if again:
        for layer in ours.layers:
            layer.forward = layer_checkpoint(layer)
    tokens_BT, documents_BT = rows()
    targets_BT = torch.full_like(tokens_BT, -100)
    follows_BT = (documents_BT[:, 1:] == documents_BT[:, :-1]) & (documents_BT[:, 1:] >= 0)
    targets_BT[:, :-1][follows_BT] = tokens_BT[:, 1:][follows_BT]
    hidden_ND = ours(tokens_BT, None, documents_BT).flatten(0, 1)
    by_token = token_log_probabilities(hidden_ND, ours.output_weight(), targets_BT.flatten(), ours.soft_cap)
    loss, _ = cross_entropy(hidden_ND, ours.output_weight(), targets_BT.flatten(), soft_cap=ours.soft_cap)
    expected = losses_of_documents(theirs, tokens_BT, documents_BT)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(-by_token.sum(), expected, rtol=1e-6, atol=0)
    expected.backward()
    backward = threading.Thread(target=loss.backward)
    backward.start()
    backward.join()
    wanted = dict(theirs.named_parameters())
    assert {name.removeprefix("module.") for name, _ in ours.named_parameters()} == wanted.keys()
    for name, parameter in ours.named_parameters():
        reference = wanted[name.removeprefix("module.")].grad
        if reference is None:  # weights that nothing uses
            assert parameter.grad is None or not parameter.grad.any(), name
            continue
        close = 1e-5 * max(1.0, float(reference.abs().max()))
        torch.testing.assert_close(parameter.grad, reference, atol=close, rtol=0, msg=name)


def test_hidden_states_do_not_depend_on_who_shares_the_row(tmp_path, context):
    imported(save_foreign("gemma2", tmp_path / "theirs"), context, tmp_path / "ours")
    model, (tokens_BT, documents_BT) = load_model(tmp_path / "ours"), rows()
    with torch.no_grad():
        before = model(tokens_BT, None, documents_BT)
        other = torch.where(documents_BT == 1, (tokens_BT + 1) % 320, tokens_BT)
        after = model(other, None, documents_BT)
    assert torch.equal(before[documents_BT != 1], after[documents_BT != 1])
    assert not torch.equal(before[documents_BT == 1], after[documents_BT == 1])


def test_windows_that_attention_is_not_told_of_are_found(tmp_path, context):
    """However far their edges lie: a probe of a few hundred tokens would never reach this one."""
    imported(save_foreign("gemma2", tmp_path / "theirs", sliding_window=4096), context, tmp_path / "ours")
    model, (tokens_BT, _) = load_model(tmp_path / "ours"), rows()
    model.watched_forward(tokens_BT)
    for layer in model.layers:
        layer.self_attn.sliding_window = None
    with pytest.raises(NotPackable, match="not told of the windows"):
        model.watched_forward(tokens_BT)


def test_attention_in_chunks_is_found(tmp_path, context):
    """Llama 4's masks have chunks that a window is not."""
    mask = transformers.masking_utils.chunked_causal_mask_function(16, torch.zeros(1, dtype=torch.int64))
    imported(save_foreign("cohere2", tmp_path / "theirs"), context, tmp_path / "ours")
    model, (tokens_BT, _) = load_model(tmp_path / "ours"), rows()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(NotPackable, match="neither causal nor windows"):
        patch.setattr(transformers.masking_utils, "sliding_window_causal_mask_function", lambda _: mask)
        model.watched_forward(tokens_BT)


# --- the proof ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{"norm_epsilon": 1e-5}, {"rotary_theta": 10_100.0}], ids=["an epsilon", "a rotary base"]
)
def test_a_model_that_is_read_wrongly_is_not_imported(changes, tmp_path, context, monkeypatch):
    folder = save(transformers_model("llama", max_position_embeddings=512), tmp_path / "theirs")

    def wrong(folder):
        model = load_decoder(folder)
        model.config = dataclasses.replace(model.config, **changes)
        for module in model.modules():
            if hasattr(module, "epsilon"):
                module.epsilon = model.config.norm_epsilon * 100
        return model

    assert imported(folder, context, tmp_path / "right").proof.difference < 1e-5
    monkeypatch.setattr(proof, "load_decoder", wrong)
    with pytest.raises(UserError, match="logits differ from transformers'"):
        imported(folder, context, tmp_path / "wrong")
    assert not list((tmp_path / "wrong").iterdir())


def test_the_probe_reaches_behind_a_windows_edge_and_ends_in_padding(tmp_path):
    folder = save_foreign("gemma2", tmp_path / "theirs", sliding_window=300)
    config = read_config(folder)
    probe = proof.make_probe(folder, config, load_tokenizer(folder))
    assert max(map(len, probe)) == 300 + proof.BEHIND
    assert min(map(len, probe)) == 1
    tokens_BT, documents_BT = proof.packed_rows(probe)
    assert bool((documents_BT[:, -1] == -1).all())
    for number, document in enumerate(probe):
        assert torch.equal(tokens_BT[documents_BT == number], document)
    assert len(DocumentLayout.of(documents_BT).groups) > 3


@pytest.mark.parametrize("kind", ["bloom", "mamba"])
def test_no_two_models_are_in_memory(kind, tmp_path, monkeypatch):
    """Transformers', ours of packed documents, ours of documents alone: each is let go before the next is loaded."""
    weights, from_pretrained = [], transformers.AutoModelForCausalLM.from_pretrained

    def load(*given, **named):
        assert all(weight() is None for weight in weights)
        loaded = from_pretrained(*given, **named)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        weights.append(weakref.ref(model.get_input_embeddings().weight))
        return loaded

    folder = save_foreign(kind, tmp_path / "theirs")
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", load)
    config, found = proof.prove(folder, read_config(folder), load_tokenizer(folder))
    assert (config.documents, found.documents, len(weights)) == ("alone", "alone", 3)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_a_model_too_large_to_compare_says_so(kind, tmp_path, context, monkeypatch):
    monkeypatch.setattr(proof, "MAX_PARAMETERS", 1000)
    folder = (
        save(transformers_model("llama"), tmp_path / "m") if kind == "llama" else save_foreign(kind, tmp_path / "m")
    )
    found = imported(folder, context, tmp_path / "ours")
    assert found.proof.tokens == 0
    assert "logits were not compared" in found.warnings()[0]
    unknown = save_foreign("qwen3_next", tmp_path / "unknown")
    with pytest.raises(UserError, match="qwen3_next run as transformers' module, and whether attention"):
        imported(unknown, context, tmp_path / "none")


# --- what is refused, and counted -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("granite", {"auto_map": {"AutoModel": "modeling.Mine"}}, "auto_map: the model has code of its own"),
        (
            "granite",
            {"quantization_config": {"quant_method": "mxfp4"}},
            "quantization_config: its weights are quantised",
        ),
        ("granite", {"hidden_size": "32"}, "hidden_size: a whole number"),
        ("granite", {"hidden_size": 48}, "config.json asks for"),
        ("granite", {"num_hidden_layers": 4}, "the weights lack"),
        ("granite", {"diglot_documents": "both"}, "neither packed nor alone"),
        ("mixtral", {"num_local_experts": 3}, "config.json does not call for|asks for"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(kind, changes, message, tmp_path, context):
    folder = save_foreign(kind, tmp_path / "theirs")
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        imported(folder, context, tmp_path / "ours")


def test_a_bias_of_the_output_weight_is_refused(tmp_path):
    with pytest.raises(UserError, match="phi: its output weight has a bias"):
        read_config(save_foreign("phi", tmp_path / "theirs"))


@pytest.mark.parametrize("kind", ["gemma2", "mixtral", "gpt_neox"])
def test_parameters_and_flops_are_those_of_the_module(kind, tmp_path):
    model = foreign_model(kind)
    config = read_config(save_foreign(kind, tmp_path / "theirs"))
    assert isinstance(config, ForeignConfig)
    assert count_parameters(config) == sum(parameter.numel() for parameter in model.parameters())
    assert describe(config)["architecture"] == kind
    experts = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name)
    active = count_parameters(config) - experts / 2  # two of four
    assert count_active_parameters(config) == active
    rows = 0 if config.tied_embeddings else 320 * 32
    seen = 64 + 2 * (8 * (2 * 64 - 8) // 64) if kind == "gemma2" else 3 * 64  # two of its layers have a window of 8
    assert flops_per_token(config, 64) == 6 * (active - rows) + 12 * 4 * 8 * seen


def test_the_page_on_bases_names_the_families_that_tests_hold():
    page = (Path(__file__).resolve().parents[2] / "docs" / "bases.md").read_text()
    rows = dict(re.findall(r"^\| (native|packed|alone) \| (.*?) \|", page, re.MULTILINE))
    named = {how: set(re.findall(r"`(\w+)`", row)) for how, row in rows.items()}
    assert named == {"native": set(FAMILIES_OF_OURS), "packed": set(PACKED), "alone": set(ALONE)}


def test_a_transformers_that_takes_no_attention_of_ours_is_an_error_that_says_so(tmp_path, monkeypatch):
    folder = save_foreign("granite", tmp_path / "theirs")
    config = dataclasses.replace(read_config(folder), documents="packed")
    foreign._register.cache_clear()
    monkeypatch.delattr(transformers.masking_utils, "AttentionMaskInterface")
    with pytest.raises(UserError, match="this version of transformers lets nobody bring an attention"):
        foreign.load_foreign(folder, config)
    monkeypatch.undo()
    foreign.load_foreign(folder, config)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 10**9},
        {"vocab_size": [320]},
        {"num_attention_heads": 0},
        {"head_dim": -8},
        {"hidden_activation": "none such"},
        {"layer_types": ["none such"] * 3},
        {"sliding_window": "8"},
        {"max_position_embeddings": True},
        {"tie_word_embeddings": "yes"},
        {"rope_parameters": {"rope_type": "none such"}},
    ],
)
def test_a_broken_configuration_is_an_error_of_the_users(changes, tmp_path, context):
    folder = save_foreign("gemma2", tmp_path / "theirs")
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError):
        imported(folder, context, tmp_path / "ours")
