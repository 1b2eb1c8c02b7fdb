"""Rows that hold several sequences, and rows that make room for others: what each sequence scores and writes alone."""

import pytest
import tiny_model
import torch
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, BloomConfig, GPT2Config, MambaConfig, MistralConfig

from diglot.evaluate.language_model import LanguageModel, Request
from diglot.evaluate.scoring import batches, rows_of, sees_everything

TOKENS = st.lists(st.integers(1, 3), min_size=2, max_size=30)


@given(sequences=st.lists(TOKENS, min_size=1, max_size=12), share=st.booleans())
@examples(20)
def test_every_sequence_is_read_along_its_own_path(sequences, share):
    rows = rows_of(sequences, [1] * len(sequences), share)
    assert sorted(number for row in rows for number in row.asked) == list(range(len(sequences)))
    for row in rows:
        assert len(row.tokens) == len(row.positions)
        parent = {}
        for start, stop, shared in row.branches:
            path = [*shared, *range(start, stop)]
            parent |= dict(zip(path[1:], path))
            # What a token sees is the beginning of its own sequence, and it stands at its own place.
            assert [row.positions[place] for place in path] == list(range(len(path)))
        for number, places in row.asked.items():
            whole = [places[-1]]
            while whole[0] in parent:
                whole.insert(0, parent[whole[0]])
            assert [row.tokens[place] for place in whole] == sequences[number]
            assert places == whole[1:]
    if not share:
        assert sum(len(row.tokens) for row in rows) == sum(map(len, sequences))


def test_what_is_common_is_read_once():
    context = list(range(20))
    rows = rows_of([[*context, 50], [*context, 60], context, context, [*context, 50, 51]], [19] * 5, share=True)
    assert [len(row.tokens) for row in rows] == [20 + 1 + 1 + 1]
    assert rows[0].asked[2] == rows[0].asked[3] == [19]


@given(
    sequences=st.lists(TOKENS, min_size=1, max_size=20), batch_size=st.integers(1, 5), batch_tokens=st.integers(1, 90)
)
@examples(20)
def test_batches_hold_every_row_once_within_their_budget(sequences, batch_size, batch_tokens):
    rows = rows_of(sequences, [1] * len(sequences), share=True)
    made = list(batches(rows, batch_size, batch_tokens, vocabulary_size=100))
    assert sorted(id(row) for batch in made for row in batch) == sorted(map(id, rows))
    for batch in made:
        assert len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * max(len(row.tokens) for row in batch) <= batch_tokens


# --- families -------------------------------------------------------------------------------------------------

SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32, "initializer_range": 0.3}
FAMILIES = {
    "gpt2": GPT2Config(n_positions=64, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3),
    # Layers that see sixteen tokens: a mask of ours would take the place of their own.
    "mistral": MistralConfig(**SMALL, num_key_value_heads=1, intermediate_size=64, sliding_window=16),
    "bloom": BloomConfig(hidden_size=32, n_layer=2, n_head=2, initializer_range=0.3),
    "mamba": MambaConfig(hidden_size=32, num_hidden_layers=2, state_size=4),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    tiny_model.save_tokenizer(folder)
    config = AutoConfig.for_model(**FAMILIES[request.param].to_dict() | {"model_type": request.param})
    config.update({"vocab_size": 464, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3})
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return request.param, folder, LanguageModel.load(folder, batch_size=4)


def test_scores_in_shared_rows_are_those_of_each_sequence_alone(family):
    name, _, model = family
    assert sees_everything(model.model.config) == (name in ("gpt2", "bloom"))
    assert model.follows_masks == (name in ("gpt2", "mistral"))
    shots = model.encode("\n".join(tiny_model.ENGLISH[:2]), True)
    asked = [
        Request([*shots, *model.encode(sentence, False)[:4]], model.encode(choice, False))
        for sentence in tiny_model.ENGLISH[2:5]
        for choice in ("bread", "iron and more", "bread and more")
    ]
    together = model.score(asked)
    for request, score in zip(asked, together):
        with torch.no_grad():
            logits_TV = model.model(torch.tensor([request.context + request.continuation])).logits[0]
        predicted_TV = logits_TV[len(request.context) - 1 : -1].double().log_softmax(-1)
        picked = [float(row[token]) for row, token in zip(predicted_TV, request.continuation)]
        assert score.log_likelihood == pytest.approx(sum(picked), abs=1e-3)
        assert score.greedy == (predicted_TV.argmax(-1).tolist() == request.continuation)


def test_rows_that_end_make_room_and_change_no_other(family):
    _, _, model = family
    contexts = [model.encode(text[:length], True) for length, text in enumerate(tiny_model.ENGLISH[:7], start=3)]
    stop = model.generate(contexts[:1], 6)[0].text[-2:] or "x"
    for context, found in zip(contexts, model.generate(contexts, 8, [stop])):
        ids = list(context)
        for _ in range(8):
            with torch.no_grad():
                ids.append(int(model.model(torch.tensor([ids])).logits[0, -1].argmax()))
            text = model.tokenizer.decode(ids[len(context) :], skip_special_tokens=True)
            if ids[-1] in model.end_ids or stop in text:
                break
        assert found.text == text.split(stop)[0]


def test_ended_rows_cost_no_more_steps(random_model, monkeypatch):
    """Sixteen answers of which one is long: the others' places go to those that wait, and then to nobody."""
    from diglot.evaluate import generation

    widths = []
    step = generation.Rows.step
    monkeypatch.setattr(generation.Rows, "step", lambda rows: widths.append(len(rows.numbers)) or step(rows))
    rows = generation.Rows(random_model.model, 3)
    contexts = [[1, 300 + number] for number in range(16)]
    lengths = iter([20] + [2] * 15)
    wanted: dict[tuple[int, ...], int] = {}

    def ended(ids):
        # By its first call a sequence is given the length that it shall have.
        return len(ids) >= wanted.setdefault(id(ids), next(lengths, 2))

    written = generation.continue_rows(rows, contexts, 4, 30, ended, lambda done, total: None)
    assert sorted(map(len, written)) == [2] * 15 + [20]
    assert sum(widths) == sum(len(ids) - 1 for ids in written)
