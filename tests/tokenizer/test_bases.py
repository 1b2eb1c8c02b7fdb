"""Bases of every kind in use are extended to Arabic, Indonesian and Thai, with all proofs, on real text."""

import json
from pathlib import Path

import base_tokenizers
import pytest
import sentencepiece
import tokenizer_corpora as corpora
from examples import examples
from hypothesis import example, given
from hypothesis import strategies as st

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.recipe.tokenizer import ExtendTokenizer
from diglot.tokenizer import extend
from diglot.tokenizer.folder import load_tokenizer, pieces
from diglot.tokenizer.plain_texts import AWKWARD, arbitrary_texts
from diglot.tokenizer.proofs import round_trip_failures, same_pieces, unreachable_tokens

pytestmark = pytest.mark.slow
LANGUAGES = ["ar", "id", "th"]
# Found by search: an unknown token of the base hides that U+0085 is white space to one of its two files alone.
FOUND = ["\x85°", "°\x85", "a\x85b", *(f"{between}°{between}ك a{between}ใ" for between in AWKWARD)]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("การเتعلم the▁\n،"), max_size=40)


@pytest.fixture(scope="module")
def texts(data: Path) -> dict[str, list[str]]:
    return {
        language: [text for _, text in corpora.real_documents(data, language, 1_200_000)]
        for language in ["en", *LANGUAGES]
    }


@pytest.fixture(scope="module")
def real_corpus(texts, tmp_path_factory) -> Artifact:
    held_out = [(language, text) for language in texts for text in texts[language][:15]]
    kept = [(language, text) for language in texts for text in texts[language][15:]]
    return corpora.write_corpus(tmp_path_factory.mktemp("real"), kept, held_out)


@pytest.fixture(scope="module", params=list(base_tokenizers.BASES))
def base(request, texts, tmp_path_factory) -> Artifact:
    folder = tmp_path_factory.mktemp(request.param) / "base"
    base_tokenizers.BASES[request.param](folder, texts["en"], 6000)
    return corpora.artifact(folder, "model")


def extend_to(languages: list[str], base: Artifact, corpus: Artifact, folder: Path) -> tuple[Artifact, dict]:
    (folder / "tokenizer").mkdir()
    stage = ExtendTokenizer(languages=languages, new_tokens=2000)
    inputs = Inputs({"tokenizer": [base], "corpus": [corpus]})
    summary = extend.run(stage, inputs, folder / "tokenizer", Context("extended", 0, folder / "scratch"))
    return corpora.artifact(folder / "tokenizer", "tokenizer"), summary


@pytest.fixture(scope="module")
def extended(base, real_corpus, tmp_path_factory) -> tuple[Artifact, dict]:
    return extend_to(LANGUAGES, base, real_corpus, tmp_path_factory.mktemp("extended"))


def test_all_proofs_are_green_where_scripts_differ(base, real_corpus, tmp_path):
    _, summary = extend_to(["ar", "th"], base, real_corpus, tmp_path)
    assert [proof for proof in vars(summary.proofs).values() if proof and not proof.passed] == []
    assert summary.proofs.identity.required
    assert summary.proofs.identity.changed == 0
    assert summary.fertility["en"] == summary.fertility_before["en"]


def test_all_proofs_are_green_but_identity_which_is_measured(base, extended):
    """With Indonesian, whose letters are English's. The goal of 99.5% is reached with more English text than here."""
    artifact, summary = extended
    assert summary.new_tokens.added == 2000
    proofs = summary.proofs
    assert proofs.identity.share_without_new_characters > 0.95  # the fewest: 196 of 206 lines, unigram
    failed = {name for name, proof in vars(proofs).items() if proof and not proof.passed}
    assert failed <= {"identity"}
    assert proofs.reachable.tokens == 2000
    assert proofs.round_trip.arbitrary_texts > 1000
    assert (proofs.sentencepiece is not None) == (base.path / "tokenizer.model").exists()
    for language in LANGUAGES:
        # Words that unigram has no pieces for are one unknown token each, until it has.
        if not summary.measures_before[language].unknown_tokens:
            assert summary.fertility[language] < summary.fertility_before[language]
    assert summary.fertility["en"] == pytest.approx(summary.fertility_before["en"], rel=0.01)
    assert json.loads((artifact.path / "diglot.json").read_text())["kind"] == summary.kind


def test_the_base_is_inside_untouched(base, extended):
    was, now = load_tokenizer(base.path), load_tokenizer(extended[0].path)
    assert all(now.token_to_id(token) == number for token, number in was.get_vocab().items())
    before, after = (json.loads((folder / "tokenizer.json").read_text()) for folder in (base.path, extended[0].path))
    for part in ("normalizer", "pre_tokenizer", "decoder", "post_processor"):
        assert after[part] == before[part]
    added = extended[1].chat_tokens_added
    kept = [token for token in after["added_tokens"] if token["content"] not in added]
    assert kept == before["added_tokens"]
    config = json.loads((base.path / "tokenizer_config.json").read_text())
    if "chat_template" in config:
        assert (
            json.loads((extended[0].path / "tokenizer_config.json").read_text())["chat_template"]
            == config["chat_template"]
        )
        assert added == []


def test_any_text(base, extended):
    """What the base gives back, the extension gives back; and where there are two files, they agree."""
    was, now = load_tokenizer(base.path), load_tokenizer(extended[0].path)
    model = extended[0].path / "tokenizer.model"
    library = sentencepiece.SentencePieceProcessor(model_file=str(model)) if model.exists() else None
    before = sentencepiece.SentencePieceProcessor(model_file=str(base.path / model.name)) if library else None

    def agree(library, tokenizer, text):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        return same_pieces(
            text, library.encode(text, out_type=str), ids, tokenizer, library.id_to_piece(library.unk_id())
        )

    @given(ANY_TEXT)
    @examples(300)
    def check(text):
        if not round_trip_failures(was, [text]):
            assert round_trip_failures(now, [text]) == []
        if library and agree(before, was, text):
            assert library.encode(text) == now.encode(text, add_special_tokens=False).ids

    for text in FOUND:
        check = example(text)(check)
    check()


def test_transformers_loads_it_with_the_same_ids(extended, texts):
    from transformers import AutoTokenizer

    automatic, ours = AutoTokenizer.from_pretrained(extended[0].path), load_tokenizer(extended[0].path)
    for text in [texts[language][0][:500] for language in texts] + arbitrary_texts(50):
        expected = ours.encode(text, add_special_tokens=False).ids
        if not any(token.content in text for token in ours.get_added_tokens_decoder().values()):
            assert automatic(text, add_special_tokens=False)["input_ids"] == expected


def test_transformers_is_told_what_the_base_had(extended, base):
    from transformers import AutoTokenizer

    before, after = (AutoTokenizer.from_pretrained(folder) for folder in (base.path, extended[0].path))
    assert after.padding_side == before.padding_side
    config = json.loads((extended[0].path / "tokenizer_config.json").read_text())
    assert config["model_input_names"] == ["input_ids", "attention_mask"]  # transformers 4 would add token_type_ids


def test_tokens_are_words(extended):
    """Not only reachable: frequent words of the new languages are single tokens."""
    now = load_tokenizer(extended[0].path)
    cut = pieces(now, "the في yang")
    assert "▁في" in cut
    if extended[1].kind != "unigram":  # there English's own pieces of these letters are too probable
        assert "▁yang" in cut


def test_extending_the_extended(base, extended, real_corpus, extend_tokenizer):
    """A second extension finds room behind the first, and the first stays as it was."""
    first = load_tokenizer(extended[0].path)
    artifact, summary = extend_tokenizer(extended[0], real_corpus, languages=["th"], new_tokens=200)
    again = load_tokenizer(artifact.path)
    assert all(again.token_to_id(token) == number for token, number in first.get_vocab().items())
    size = first.get_vocab_size()
    assert summary.vocabulary_size == size + 200
    assert unreachable_tokens(again, range(size, size + 200)) == []
