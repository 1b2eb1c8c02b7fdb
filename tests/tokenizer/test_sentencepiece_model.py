"""tokenizer.model, read and written here, against the SentencePiece library."""

from pathlib import Path

import base_tokenizers
import pytest
import sentencepiece
import tokenizer_corpora as corpora
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

from diglot.base.errors import UserError
from diglot.tokenizer import sentencepiece_model
from diglot.tokenizer.plain_texts import AWKWARD
from diglot.tokenizer.proofs import same_pieces
from diglot.tokenizer.sentencepiece_model import CONTROL, Piece, read_model, to_specification, with_pieces

TEXTS = [text for _, text in corpora.varied("en", corpora.ENGLISH, 100)]


@pytest.fixture(scope="module", params=["llama-2", "unigram"])
def folder(request, tmp_path_factory) -> Path:
    return base_tokenizers.BASES[request.param](tmp_path_factory.mktemp("base"), TEXTS, 420)


def library(file: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(file))


def test_reading_agrees_with_the_library(folder):
    ours, theirs = read_model(folder / "tokenizer.model"), library(folder / "tokenizer.model")
    assert [piece.text for piece in ours.pieces] == [theirs.id_to_piece(n) for n in range(len(theirs))]
    assert [piece.score for piece in ours.pieces] == [theirs.get_score(n) for n in range(len(theirs))]
    assert [piece.type == CONTROL for piece in ours.pieces] == [theirs.is_control(n) for n in range(len(theirs))]


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=20), st.floats(-1e6, 1e6, width=32)),
        unique_by=lambda piece: piece[0],
        max_size=5,
    )
)
def test_added_pieces_are_read_back(folder, pieces):
    added = [Piece(f"x{text}", score) for text, score in pieces]
    file = folder / "again.model"
    file.write_bytes(with_pieces(folder / "tokenizer.model", added))
    before = read_model(folder / "tokenizer.model").pieces
    assert read_model(file).pieces == [*before, *added]
    assert file.read_bytes().startswith((folder / "tokenizer.model").read_bytes())


def test_the_library_reads_what_is_added(folder):
    file = folder / "more.model"
    file.write_bytes(with_pieces(folder / "tokenizer.model", [Piece("▁كتاب", -900.5), Piece("<|end|>", 0.0, CONTROL)]))
    theirs = library(file)
    assert theirs.id_to_piece(len(theirs) - 2) == "▁كتاب"
    assert theirs.get_score(len(theirs) - 2) == -900.5
    assert theirs.is_control(len(theirs) - 1)


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("the bakr  \n.▁é1") | st.text(["a", *AWKWARD]))
@example("\x85")
@example("\x85a\x85")
@example(" \t a \u2028")
def test_tokenizer_json_from_the_model_cuts_alike(folder, text):
    ours = tokenizers.Tokenizer.from_str(_json(folder))
    ours.encode_special_tokens = True
    theirs = library(folder / "tokenizer.model")
    ids = ours.encode(text, add_special_tokens=False).ids
    assert ids == theirs.encode(text)
    assert same_pieces(text, theirs.encode(text, out_type=str), ids, ours, theirs.id_to_piece(theirs.unk_id()))


def _json(folder: Path) -> str:
    import json

    return json.dumps(to_specification(folder / "tokenizer.model"))


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x0a\x7f", b"\x0b", b"\xff" * 12])
def test_what_is_no_model_is_refused(tmp_path, content):
    file = tmp_path / "tokenizer.model"
    file.write_bytes(content)
    with pytest.raises(UserError, match="not a SentencePiece model"):
        read_model(file)


def test_kinds_without_a_form_are_refused(tmp_path):
    base_tokenizers._sentencepiece(tmp_path, TEXTS, 200, model_type="char")
    with pytest.raises(UserError, match="words or characters"):
        sentencepiece_model.to_specification(tmp_path / "tokenizer.model")
