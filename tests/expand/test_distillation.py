"""Token Distillation: which snippets are taken, how both readings line up, and what is learnt."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_builders import inputs, save, transformers_model, vocabulary, write_corpus, write_tokenizer

from diglot.base.artifact import content_hash
from diglot.base.errors import UserError
from diglot.expand.distillation import BARRIER, Reader, collect, distil, windows
from diglot.expand.initialization import Alignment, align
from diglot.expand.stage import run
from diglot.model.huggingface import load_decoder
from diglot.recipe.expand import Distillation, Expand
from diglot.tokenizer.folder import load_tokenizer

NEW = [("▁the", "r"), ("▁ther", "e"), ("l", "o"), ("lo", "w"), ("▁a", "n"), ("▁an", "d"), ("▁a", "t")]
TEXT = "there and low are the other lot and a town at the end where all other letters are low "


def silent(done, total, unit, note=""):
    pass


# --- snippets -------------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 11), min_size=1, max_size=60),
    st.lists(st.sampled_from([1, 1, 2, 3, 9, BARRIER]), min_size=12, max_size=12),
    st.sets(st.integers(0, 11)),
    st.integers(1, 12),
)
def test_windows_fit_and_hold_each_missing_token_once(ids, lengths, missing, size):
    ids, lengths = np.array(ids), np.array(lengths)
    wanted = np.zeros(12, dtype=bool)
    wanted[list(missing)] = True
    found = windows(ids, lengths, wanted, size)
    for middle, begin, end in found:
        assert 0 <= begin <= middle < end <= len(ids)
        assert wanted[ids[middle]]
        total = lengths[ids[begin:end]].sum()
        assert total <= size
        assert end == len(ids) or total + lengths[ids[end]] > size  # as long as it may be
        assert lengths[ids[begin:middle]].sum() <= (size - lengths[ids[middle]]) // 2
    shown = {int(id) for _, begin, end in found for id in ids[begin:end]}
    assert {id for id in missing & set(ids.tolist()) if lengths[id] <= size} <= shown
    middles = [int(ids[middle]) for middle, _, _ in found]
    assert len(set(middles)) == len(middles)


def test_snippets_stop_at_what_was_asked_for_and_cover_what_there_is():
    alignment = Alignment([(id, id) for id in range(5)], {5: [0, 1], 6: [2, 3], 7: [4]}, [8], [])
    documents = [np.array([0, 5, 1, 6, 2, 8, 5, 3])] * 30 + [np.array([1, 6])] * 5
    settings = Distillation(snippets=10, tokens=4, batch_size=4, max_steps=100)
    snippets = collect(documents, alignment, 9, settings, silent)
    assert snippets.seen_V[[5, 6, 7, 8]].tolist() == [10, 10, 0, 0]
    assert all(8 not in text for text in snippets.texts)
    # One document shows 5 and 6 in one snippet, so there are not twice as many.
    assert len(snippets.texts) <= 20


def test_where_steps_are_few_every_token_gives_up_as_many_snippets():
    alignment = Alignment([(0, 0)], {id: [0, 0] for id in range(1, 9)}, [], [])
    documents = [np.array([id]) for id in np.random.default_rng(0).permutation(np.repeat(np.arange(1, 9), 50))]
    settings = Distillation(snippets=50, tokens=4, batch_size=4, max_steps=10)
    snippets = collect(documents, alignment, 9, settings, silent)
    assert len(snippets.texts) == 40
    assert snippets.seen_V[1:].tolist() == [5] * 8


def test_both_readings_end_together(tmp_path):
    old = load_tokenizer(write_tokenizer(tmp_path / "old"))
    new = load_tokenizer(write_tokenizer(tmp_path / "new", NEW))
    alignment = align(old, new)
    ids = [new.encode(text, add_special_tokens=False).ids for text in (TEXT, "low and low", "the")]
    trained, rows = [*alignment.sub_tokens], 320
    reader = Reader(alignment, trained, rows, 1, max(new.get_vocab().values()) + 1)
    batch = reader.read([np.array(text, dtype=np.int32) for text in ids], torch.device("cpu"))
    assert batch.teacher_BU.shape[1] > batch.student_BT.shape[1]
    for row, text in enumerate(ids):
        assert batch.real_BT[row].sum() == len(text)
        assert batch.student_BT[row, 0] == batch.teacher_BU[row, 0] == 1
        for place in range(1, len(text) + 1):
            end = int(batch.ends_BT[row, place])
            spelled = "".join(old.id_to_token(int(id)) for id in batch.teacher_BU[row, 1 : end + 1])
            assert spelled == "".join(new.id_to_token(id) for id in text[:place])
            own = int(batch.student_BT[row, place])
            token = old.id_to_token(own) if own < rows else new.id_to_token(trained[own - rows])
            assert token == new.id_to_token(text[place - 1])
    # The teacher reads what the old tokenizer makes of the text.
    whole = old.encode("low and low", add_special_tokens=False).ids
    assert batch.teacher_BU[1, 1 : len(whole) + 1].tolist() == whole


# --- training -------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    """A corpus and an extended tokenizer; the model comes with the test."""
    tokenizer = write_tokenizer(tmp_path / "tokenizer", [*NEW, ("d", "d")], new_specials=["<|tool|>"])
    texts = [TEXT * 2, "and there the lot at low ", "other letters there and low " * 3]
    return tokenizer, write_corpus(tmp_path / "corpus", {"en": texts * 10})


def expand(model, folders, output, context, initialization="distillation", **distillation):
    tokenizer, corpus = folders
    output.mkdir()
    stage = {
        "do": "expand",
        "initialization": initialization,
        "from": {"corpus": "corpus"},
        "distillation": {"snippets": 30, "tokens": 20, "batch_size": 4, "learning_rate": 3e-3} | distillation,
    }
    roles = inputs(model=model, tokenizer=tokenizer, corpus=corpus)
    return run(Expand.model_validate(stage), roles, output, context)


@torch.no_grad()
def errors(model, expanded) -> tuple[float, float]:
    """Mean squared error of hidden states, and the loss of the next token, on a text of its own."""
    old, new = load_tokenizer(model), load_tokenizer(expanded)
    alignment = align(old, new)
    text = "a low town and there the other end at all letters and low lot there "
    ids = new.encode(text, add_special_tokens=False).ids
    teacher, student = load_decoder(model), load_decoder(expanded)
    reader = Reader(alignment, [*alignment.sub_tokens], 320, 1, 1 + max(new.get_vocab().values()))
    batch = reader.read([np.array(ids, dtype=np.int32)], torch.device("cpu"))
    expected = teacher(batch.teacher_BU)[0, batch.ends_BT[0]]
    hidden = student(torch.tensor([[1, *ids]]))[0]
    loss = torch.nn.functional.cross_entropy(hidden[:-1] @ student.output_weight().T, torch.tensor(ids))
    return float((hidden - expected).square().mean()), float(loss)


@pytest.mark.parametrize(
    ("kind", "changes"), [("llama", {"tie_word_embeddings": True}), ("llama", {}), ("gpt2", {}), ("qwen3", {})]
)
def test_new_rows_act_more_like_the_tokens_they_replace(kind, changes, folders, tmp_path, context):
    model = save(transformers_model(kind, **changes), tmp_path / "model")
    expand(model, folders, tmp_path / "mean", context, "mean")
    summary = expand(model, folders, tmp_path / "out", context)
    before, after = errors(model, tmp_path / "mean"), errors(model, tmp_path / "out")
    # GPT-2 counts positions in tokens, so that what follows a longer token stays elsewhere for the student.
    assert after[0] < (0.97 if kind == "gpt2" else 0.8) * before[0]
    facts = summary.distillation
    assert facts.tokens == len(NEW) - 2  # the text holds neither "▁ther" nor "▁an" on its own, nor "dd"
    assert facts.loss_last_tenth < facts.loss_first_tenth
    if not load_decoder(model).config.tied_embeddings:
        assert after[1] < before[1]  # the output rows learnt to predict


def test_nothing_else_moves(folders, tmp_path, context):
    model = save(transformers_model("llama"), tmp_path / "model")
    expand(model, folders, tmp_path / "mean", context, "mean")
    expand(model, folders, tmp_path / "out", context)
    mean, out = (load_decoder(tmp_path / name).state_dict() for name in ("mean", "out"))
    new = vocabulary(tmp_path / "out")
    trained = sorted(new["".join(pair)] for pair in NEW if pair not in (("▁the", "r"), ("▁a", "n")))
    for name, tensor in out.items():
        if name in ("embedding.weight", "head.weight"):
            changed = (tensor != mean[name]).any(1).nonzero().flatten().tolist()
            assert changed == trained, name
        else:
            assert torch.equal(tensor, mean[name]), name


def test_the_same_seed_gives_the_same_bytes(folders, tmp_path, context):
    model = save(transformers_model("llama").bfloat16(), tmp_path / "model")
    for name in ("a", "b"):
        expand(model, folders, tmp_path / name, context)
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b")
    context.seed = 1
    expand(model, folders, tmp_path / "c", context)
    assert content_hash(tmp_path / "a") != content_hash(tmp_path / "c")
    assert load_decoder(tmp_path / "a", dtype=None).embedding.weight.dtype == torch.bfloat16


def test_a_token_that_is_spelled_by_one_old_token_has_nothing_to_learn(tmp_path):
    """Its mean is that token's row, so teacher and student read the same."""
    decoder = load_decoder(save(transformers_model("llama", tie_word_embeddings=True), tmp_path / "model"))
    alignment = Alignment([(id, id) for id in range(320)], {320: [77]}, [], [])
    documents = [np.array([5, 6, 320, 7, 320])] * 4
    settings = Distillation(batch_size=2)
    snippets = collect(documents, alignment, 321, settings, silent)
    row = decoder.embedding.weight[77].clone()
    rows, losses = distil(decoder, alignment, snippets, 1, settings, 0, silent)
    assert max(losses) < 1e-12
    torch.testing.assert_close(rows["embedding"][320], row, atol=1e-3, rtol=0)
    assert "output" not in rows


def test_text_without_new_tokens_is_refused(folders, tmp_path, context):
    model = save(transformers_model("llama"), tmp_path / "model")
    corpus = write_corpus(tmp_path / "other", {"en": ["hull"]})
    with pytest.raises(UserError, match="shows none of the new tokens"):
        expand(model, (folders[0], corpus), tmp_path / "out", context)
