"""Spellings and weights of new rows, for tokenizers of every kind in use."""

import json
from pathlib import Path

import pytest
import torch
from base_tokenizers import BASES
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from diglot.expand.initialization import (
    Alignment,
    RowWeights,
    align,
    byte_lengths,
    expand_rows,
    sub_token_weights,
    unknown_id,
)
from diglot.tokenizer.folder import load_tokenizer

TEXTS = [
    "the library of the town was open and the people were reading there every day.",
    "a letter from the other side of the river told them that the old bridge had fallen.",
    "Numbers such as 12, 345 and 6789 stand in texts; so do words like café, naïve and Zürich!",
] * 20
BPE = [kind for kind in BASES if kind != "unigram"]
WORDS = [" كتاب", "مكتبة", " libraries", "é", " naïveté", "   "]
LETTERS = {"gpt-2", "llama-3", "qwen"}  # tokens are bytes, written in letters


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {kind: make(folder / kind, TEXTS, 400) for kind, make in BASES.items()}


def test_a_byte_that_the_old_tokenizer_drops_is_unspelled(bases):
    """SmolLM2's vocabulary lacks some: nothing of it says where their rows could begin."""
    whole = load_tokenizer(bases["gpt-2"])
    specification = json.loads(whole.to_str())
    del specification["model"]["vocab"]["Ą"]
    alignment = align(Tokenizer.from_str(json.dumps(specification)), whole)
    assert alignment.unspelled == [whole.token_to_id("Ą")]
    assert alignment.sub_tokens == {}


def as_token(kind: str, text: str) -> str:
    """A text as a token of this kind is written."""
    if kind not in LETTERS:
        return text.replace(" ", "▁")
    from tokenizers.pre_tokenizers import ByteLevel

    ((letters, _),) = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    return letters


def extended(kind: str, base: Path, texts: list[str]) -> tuple[Tokenizer, Tokenizer, dict[str, int]]:
    """A base, the same with a token for each text, and the new tokens' ids by text."""
    old = load_tokenizer(base)
    specification = json.loads(old.to_str())
    model = specification["model"]
    size = old.get_vocab_size(with_added_tokens=True)
    for text in texts:
        token = as_token(kind, text)
        if kind == "unigram":
            model["vocab"].append([token, -5.0])
            continue
        left, *rest = [piece.value for piece in old.model.tokenize(token)]
        for right in rest:
            if left + right not in model["vocab"]:
                model["vocab"][left + right] = size + len(model["vocab"])
                model["merges"].append([left, right])
            left += right
    # Merges of unknown letters cannot be written; byte tokens join without them.
    new = Tokenizer.from_str(json.dumps(specification))
    return old, new, {text: new.token_to_id(as_token(kind, text)) for text in texts}


@pytest.mark.parametrize("kind", sorted(LETTERS))
def test_byte_level_tokens_are_spelled_with_the_bytes_of_their_text(kind, bases):
    old, new, ids = extended(kind, bases[kind], WORDS)
    alignment = align(old, new)
    assert not alignment.special
    assert not alignment.unspelled
    old_ids = old.get_vocab(with_added_tokens=True)
    for text, new_id in ids.items():
        if as_token(kind, text) in old_ids:
            continue
        assert old.decode(alignment.sub_tokens[new_id]) == text
    assert len(alignment.kept) == len(old_ids)


def test_unigram_tokens_are_spelled_by_the_best_pieces_and_never_by_the_unknown(bases):
    words = [" librarians", " كتاب", "ك", " bridgeك", "▁▁▁"]
    old, new, ids = extended("unigram", bases["unigram"], words)
    alignment = align(old, new)
    unknown = unknown_id(old)
    assert unknown is not None
    assert old.id_to_token(unknown) == "<unk>"
    spelled = {text: alignment.sub_tokens.get(id) for text, id in ids.items()}
    assert "".join(old.id_to_token(id) for id in spelled[" librarians"]) == "▁librarians"
    assert spelled[" librarians"] == [piece.id for piece in old.model.tokenize("▁librarians")]
    assert "".join(old.id_to_token(id) for id in spelled[" bridgeك"]) == "▁bridge"
    assert {old.id_to_token(id) for id in spelled["▁▁▁"]} == {"▁"}
    # The row of "▁" alone would be the same for every unknown word.
    assert spelled[" كتاب"] is None
    assert sorted(alignment.unspelled) == sorted([ids[" كتاب"], ids["ك"]])


@pytest.mark.parametrize("kind", sorted(BASES))
def test_lengths_add_up_to_the_bytes_of_a_text(kind, bases):
    tokenizer = load_tokenizer(bases[kind])
    lengths = byte_lengths(tokenizer)
    for text in TEXTS[:2] + ([] if kind == "unigram" else ["مكتبة café 😀"]):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        prefix = 1 if kind in ("llama-2", "unigram") else 0  # the space that stands before every text
        assert sum(lengths[id] for id in ids) == len(text.encode()) + prefix


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
@examples(60)
def test_lengths_add_up_whatever_the_text(bases, text):
    for kind in ("gpt-2", "llama-3"):
        tokenizer = load_tokenizer(bases[kind])
        lengths = byte_lengths(tokenizer)
        assert sum(lengths[id] for id in tokenizer.encode(text, add_special_tokens=False).ids) == len(text.encode())


def test_weights_are_lengths_in_bytes():
    alignment = Alignment([(0, 0), (1, 1), (2, 2)], {3: [0, 1, 1], 4: [2]}, [], [])
    row_weights = sub_token_weights(alignment, {0: 1, 1: 3, 2: 5})
    torch.testing.assert_close(
        torch.from_numpy(row_weights[3].weights), torch.tensor([1 / 7, 3 / 7, 3 / 7], dtype=torch.float32)
    )
    old = torch.tensor([[1.0, 0.0], [0.0, 1.0], [7.0, 7.0]])
    new = expand_rows(old, alignment, 5, 0, row_weights)
    torch.testing.assert_close(new[3:], torch.tensor([[1 / 7, 6 / 7], [7.0, 7.0]]))
    plain = expand_rows(old, alignment, 5, 0, sub_token_weights(alignment))
    torch.testing.assert_close(plain[3], torch.tensor([1 / 3, 2 / 3]))


def test_rows_stay_within_the_hull_of_the_rows_they_are_mixed_from():
    generator = torch.Generator().manual_seed(0)
    old = torch.randn(50, 8, generator=generator)
    kept = [(row, row) for row in range(50)]
    alignment = Alignment(kept, {50 + n: [n, 49 - n, 3] for n in range(20)}, [], [])
    for lengths in (None, {row: row + 1 for row in range(50)}):
        row_weights = sub_token_weights(alignment, lengths)
        new = expand_rows(old, alignment, 70, 0, row_weights)
        for id, weights in row_weights.items():
            assert weights.weights.sum() == pytest.approx(1, abs=1e-6)
            parts = old[torch.from_numpy(weights.old_ids)]
            assert (new[id] <= parts.max(0).values + 1e-6).all()
            assert (new[id] >= parts.min(0).values - 1e-6).all()


def test_rows_that_were_learnt_replace_mixed_ones_and_chunks_do_not_show(monkeypatch):
    from diglot.expand import initialization

    old = torch.randn(90, 6, generator=torch.Generator().manual_seed(1)).bfloat16()
    alignment = Alignment([(row, row + 5) for row in range(90)], {0: [1], 2: [3, 4], 96: [9]}, [1], [3])
    row_weights: dict[int, RowWeights] = sub_token_weights(alignment)
    given = {2: torch.arange(6.0)}
    whole = expand_rows(old, alignment, 100, 7, row_weights, given)
    monkeypatch.setattr(initialization, "CHUNK", 7)
    assert torch.equal(whole, expand_rows(old, alignment, 100, 7, row_weights, given))
    assert torch.equal(whole[5:95], old)
    assert torch.equal(whole[2], torch.arange(6.0).bfloat16())
    assert torch.equal(whole[0], old[1])
