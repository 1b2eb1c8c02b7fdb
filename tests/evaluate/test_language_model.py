"""Log-likelihoods and generations against transformers and by hand."""

import json
import math
import shutil

import pytest
import tiny_model
import torch
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from diglot.base.errors import UserError
from diglot.evaluate import scoring
from diglot.evaluate.language_model import LanguageModel, Request, cut_at
from diglot.tokenizer.folder import load_tokenizer


def by_hand(folder, context, continuation) -> tuple[float, bool]:
    """One unpadded sequence through transformers, log_softmax of everything."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        logits = model(torch.tensor([context + continuation])).logits[0].double().log_softmax(-1)
    rows = range(len(context) - 1, len(context) + len(continuation) - 1)
    total = sum(float(logits[row, token]) for row, token in zip(rows, continuation))
    return total, all(int(logits[row].argmax()) == token for row, token in zip(rows, continuation))


def requests(model: LanguageModel) -> list[Request]:
    found = []
    for sentence in tiny_model.ENGLISH + tiny_model.ARABIC:
        ids = model.encode(sentence, add_special_tokens=True)
        found += [Request(ids[:cut], ids[cut:]) for cut in (1, 3, len(ids) - 1)]
    return found


def test_log_likelihoods_are_those_of_transformers(learnt_folder, learnt_model):
    asked = requests(learnt_model)[::5]
    for request, score in zip(asked, learnt_model.score(asked)):
        expected, greedy = by_hand(learnt_folder, request.context, request.continuation)
        assert score.log_likelihood == pytest.approx(expected, abs=1e-4)
        assert score.greedy == greedy
        assert score.num_tokens == len(request.continuation)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batching_changes_nothing(random_model, random_folder, batch_size, monkeypatch):
    asked = requests(random_model)
    expected = [score.log_likelihood for score in random_model.score(asked)]
    monkeypatch.setattr(scoring, "MAX_LOGITS_BYTES", 100_000 * batch_size)
    again = LanguageModel.load(random_folder, batch_size).score(asked)
    assert [score.log_likelihood for score in again] == pytest.approx(expected, abs=1e-4)


def test_long_contexts_are_cut_on_the_left(random_folder, random_model):
    context = [1, *[300 + number % 90 for number in range(100)]]
    score = random_model.score([Request(context, [301, 302])])[0]
    assert score.context == context[-63:]
    assert len(score.context) + 2 == random_model.max_length + 1
    expected, _ = by_hand(random_folder, context[-63:], [301, 302])
    assert score.log_likelihood == pytest.approx(expected, abs=1e-4)


def test_a_continuation_that_cannot_fit_is_refused(random_model):
    with pytest.raises(UserError, match="can attend to 64"):
        random_model.score([Request([1], [300] * 65)])


@given(length=st.integers(1, 300))
def test_windows_predict_each_token_exactly_once(random_model, length):
    ids = list(range(10, 10 + length))
    windows = random_model.windows(ids)
    assert [token for window in windows for token in window.continuation] == ids
    whole = [1, *ids]
    for window in windows:
        assert len(window.context) + len(window.continuation) <= random_model.max_length + 1
        assert whole[whole.index(window.continuation[0]) - 1] == window.context[-1]


def test_a_uniform_model_needs_the_entropy_of_its_vocabulary(random_folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(random_folder)
    torch.nn.init.zeros_(model.lm_head.weight)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(random_folder).save_pretrained(tmp_path)
    uniform = LanguageModel.load(tmp_path, 4)
    score = uniform.score([Request([1], [300, 301, 302])])[0]
    assert score.log_likelihood == pytest.approx(-3 * math.log(uniform.vocabulary_size), abs=1e-4)


def test_a_document_begins_as_in_training(random_folder, tmp_path):
    """What stands before it is found as `encode` finds it, or set as there."""
    shutil.copytree(random_folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(config | {"bos_token": "<|user|>", "eos_token": "<|end|>"})
    )
    (tmp_path / "special_tokens_map.json").unlink()
    assert LanguageModel.load(tmp_path).windows([9])[0].context == [1]  # <s>
    assert LanguageModel.load(tmp_path, document_start="</s>").prefix_id == 2


def test_text_is_cut_as_tokenizer_json_says(random_folder, tmp_path):
    """Whatever class the folder names: those of transformers 5 cut by rules of their own."""
    shutil.copytree(random_folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text()) | {"tokenizer_class": "GPT2Tokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    text = "The baker of Lorem  sells 12 loaves."
    ids = load_tokenizer(tmp_path).encode(text, add_special_tokens=False).ids
    assert LanguageModel.load(tmp_path).encode(text, add_special_tokens=False) == ids
    assert AutoTokenizer.from_pretrained(tmp_path)(text, add_special_tokens=False)["input_ids"] != ids


def test_text_never_becomes_a_special_token(random_model):
    ids = random_model.encode("</s><|end|><s>", add_special_tokens=True)
    assert ids[0] == 1
    assert min(ids[1:]) > 7
    assert random_model.tokenizer.decode(ids[1:]) == "</s><|end|><s>"


# --- generation -----------------------------------------------------------------------------------------------


def greedy_by_hand(folder, ids: list[int], steps: int) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(folder)
    out: list[int] = []
    for _ in range(steps):
        with torch.no_grad():
            out.append(int(model(torch.tensor([ids + out])).logits[0, -1].argmax()))
    return out


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_greedy_generation_is_argmax_step_by_step(random_folder, batch_size):
    model = LanguageModel.load(random_folder, batch_size)
    contexts = [model.encode(text, True) for text in ("The", "The baker of Tamar", "الخباز", "")]
    for context, generation in zip(contexts, model.generate(contexts, max_new_tokens=12)):
        expected = greedy_by_hand(random_folder, context, 12)
        ends = [number for number, token in enumerate(expected) if token in model.end_ids]
        expected = expected[: ends[0]] if ends else expected
        assert generation.text == model.tokenizer.decode(expected, skip_special_tokens=True)
        assert generation.context == context


def test_generation_stops_at_a_line_end(learnt_model):
    contexts = [learnt_model.encode(f"The {who} of Tamar", True) for who in tiny_model.TRADES]
    generations = learnt_model.generate(contexts, 40, stops=["\n"])
    assert [g.text for g in generations] == [f" sells {what}." for what in tiny_model.TRADES.values()]
    without = learnt_model.generate(contexts, 40)
    assert any("\n" in g.text for g in without)


def test_generation_settings_of_the_model_do_not_leak(random_folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(random_folder)
    model.generation_config.do_sample = True
    model.generation_config.temperature = 5.0
    model.generation_config.repetition_penalty = 9.0
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(random_folder).save_pretrained(tmp_path)
    ids = [[1, 300, 301]]
    assert LanguageModel.load(tmp_path).generate(ids, 10) == LanguageModel.load(random_folder).generate(ids, 10)


def test_prompts_need_room(random_model):
    with pytest.raises(UserError, match="leaves no room"):
        random_model.generate([[1]], max_new_tokens=64)


@given(text=st.text("ab\n.", max_size=20), stops=st.lists(st.sampled_from(["\n", "ab", "."]), max_size=3))
@examples(50)
def test_cutting_keeps_the_longest_part_without_a_stop(text, stops):
    cut = cut_at(text, stops)
    assert text.startswith(cut)
    assert not any(stop in cut for stop in stops)
    assert cut == text or any(text[len(cut) :].startswith(stop) for stop in stops)


@pytest.fixture(scope="module")
def learned_positions(tmp_path_factory):
    """PolyLM's family: GPT-2, whose learned positions would notice padding that shifts them."""
    folder = tmp_path_factory.mktemp("gpt2")
    tiny_model.save_tokenizer(folder)
    size = len(AutoTokenizer.from_pretrained(folder))
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=size, n_positions=64, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_padding_does_not_shift_learned_positions(learned_positions):
    model = LanguageModel.load(learned_positions, batch_size=16)
    asked = requests(model)
    scores = model.score(asked)
    for number in range(0, len(asked), 9):
        expected, _ = by_hand(learned_positions, asked[number].context, asked[number].continuation)
        assert scores[number].log_likelihood == pytest.approx(expected, abs=1e-4)
    contexts = [model.encode(text, True) for text in ("The", "The baker of Tamar sells")]
    for context, generation in zip(contexts, model.generate(contexts, 8)):
        expected_ids = greedy_by_hand(learned_positions, context, 8)
        ends = [number for number, token in enumerate(expected_ids) if token in model.end_ids]
        expected_ids = expected_ids[: ends[0]] if ends else expected_ids
        assert generation.text == model.tokenizer.decode(expected_ids, skip_special_tokens=True)


# --- loading --------------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_model_is_an_error_for_people(tmp_path):
    with pytest.raises(UserError, match=r"config\.json is missing; give the folder of a whole"):
        LanguageModel.load(tmp_path)


def copy(source, target, without=""):
    for file in source.iterdir():
        if file.name != without:
            (target / file.name).write_bytes(file.read_bytes())


@pytest.mark.parametrize(
    ("name", "auto_map"),
    [
        ("config.json", {"AutoConfig": "trap.Config", "AutoModelForCausalLM": "trap.Model"}),
        ("config.json", {"AutoModelForCausalLM": "somebody/else--trap.Model"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["trap.Tokenizer", None]}),
    ],
)
def test_code_that_comes_with_a_model_is_refused_without_a_question(random_folder, tmp_path, name, auto_map):
    folder = tmp_path / "model"
    shutil.copytree(random_folder, folder)
    (folder / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w').close()\n")
    config = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(config | {"auto_map": auto_map, "model_type": "unheard-of"}))
    with pytest.raises(UserError, match=rf"{name}: asks for code that comes with the model \(auto_map\)"):
        LanguageModel.load(folder)
    assert not (tmp_path / "sprung").exists()


def test_missing_weights_are_not_filled_with_random_numbers(random_folder, tmp_path):
    copy(random_folder, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"weights are missing .*layers\.1\.mlp\.up_proj"):
        LanguageModel.load(tmp_path)


def test_a_cut_off_weights_file_is_an_error_for_people(random_folder, tmp_path):
    copy(random_folder, tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(UserError, match="not a model that transformers can load"):
        LanguageModel.load(tmp_path)


def test_a_tokenizer_that_does_not_belong_to_the_model(random_folder, tmp_path):
    tiny_model.save_tokenizer(tmp_path, vocabulary_size=100)
    tiny_model.save_model(tmp_path)
    AutoTokenizer.from_pretrained(random_folder).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="does not belong to this model"):
        LanguageModel.load(tmp_path)


def test_no_chat_template_is_an_error_for_people(random_folder, tmp_path):
    copy(random_folder, tmp_path, without="chat_template.jinja")
    with pytest.raises(UserError, match="no chat template"):
        LanguageModel.load(tmp_path).encode_chat([{"role": "user", "content": "x"}])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 2**31),
        ("num_hidden_layers", "2"),
        ("hidden_size", {}),
        ("num_attention_heads", 0),
        ("rope_scaling", 5),
    ],
)
def test_a_folder_that_no_model_is_in_is_named(random_folder, tmp_path, key, value):
    shutil.copytree(random_folder, tmp_path / "m")
    file = tmp_path / "m" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(UserError, match=f"{tmp_path / 'm'}.*({key}|not a model that transformers can load)"):
        LanguageModel.load(tmp_path / "m")
