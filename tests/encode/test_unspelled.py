"""What a tokenizer loses is counted."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from base_tokenizers import BASES, edited

from diglot.base.summaries.model import ImportedModel, ImportedTokenizer, Shape
from diglot.encode.unspelled import Unspelled
from diglot.tokenizer.byte_letters import BYTE_LETTERS
from diglot.tokenizer.folder import bytes_without_token, load_tokenizer

TEXT = ["the baker's bread.\n\nNo?\n"] * 3


def without_bytes(folder: Path, missing: list[int]) -> Path:
    BASES["gpt-2"](folder, TEXT, 300)
    with edited(folder) as specification:
        for byte in missing:
            del specification["model"]["vocab"][BYTE_LETTERS[byte]]
    return folder


def count(folder: Path, texts: list[str]) -> int:
    tokenizer = load_tokenizer(folder)
    ids = [id_ for text in texts for id_ in tokenizer.encode(text, add_special_tokens=False).ids]
    return Unspelled(tokenizer).count(pa.array(["\x04", *texts], pa.large_string())[1:], np.array(ids, np.uint32))


def test_bytes_without_a_token_are_counted_where_text_has_them(tmp_path):
    folder = without_bytes(tmp_path, [0x04, 0xC0, 0xF1, 0xFF])
    assert bytes_without_token(load_tokenizer(folder)) == [0x04, 0xF1]  # the others are in no text
    assert count(folder, ["a\x04\x04", "", "\U00040000 é", "plain"]) == 3
    assert count(folder, ["plain"]) == count(folder, []) == 0


@pytest.mark.parametrize(("base", "lost"), [("unigram", 1), ("llama-2", 0), ("llama-3", 0)])
def test_unknown_tokens_are_counted(base, lost, tmp_path):
    folder = BASES[base](tmp_path, TEXT, 400)
    assert bytes_without_token(load_tokenizer(folder)) == []
    assert count(folder, ["the bread", "the ☃ bread"]) == lost


def test_an_import_says_which_bytes_have_no_token():
    tokenizer = ImportedTokenizer(None, "PreTrainedTokenizerFast", [], None, [4, 0xF1])
    model = ImportedModel("llama", 1, Shape(1, 1, 1, 1, 1, 1, 1, 1, False), dtype="float32", tokenizer=tokenizer)
    assert model.warnings() == [
        "the tokenizer has no token for 2 bytes and drops them from text: 04 F1; extend-tokenizer adds them"
    ]
