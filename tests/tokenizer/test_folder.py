"""A tokenizer's folder that is not in order is named in an error, whatever the library does with it."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from diglot.base.errors import UserError
from diglot.tokenizer.description import read_json
from diglot.tokenizer.folder import load_tokenizer

PARTS = ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", "padding")
UNIGRAM = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]}


def write(folder: Path, **parts: Any) -> Path:
    given = {**dict.fromkeys(PARTS), "version": "1.0", "added_tokens": [], "model": UNIGRAM, **parts}
    (folder / "tokenizer.json").write_text(json.dumps(given))
    return folder


@pytest.mark.parametrize(
    "parts",
    [
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(b"garbage").decode()}},
        {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [["b", "a"], ["a", "ba"]]}},
        {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [["a", "b"]], "continuing_subword_prefix": "##"}},
        {"pre_tokenizer": {"type": "FixedLength", "length": 0}},  # only a text makes it fail
        {"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "q", "type_id": 0}}],
                            "pair": [], "special_tokens": {}}},
        {"model": {**UNIGRAM, "unk_id": None}},
        {"model": {**UNIGRAM, "vocab": "a"}},
        {"model": 5},
    ],
)  # fmt: skip
def test_a_tokenizer_that_the_library_refuses_or_panics_over_is_named(tmp_path, parts, capfd):
    with pytest.raises(UserError, match=r"tokenizer\.json: not a tokenizer that can be read"):
        load_tokenizer(write(tmp_path, **parts))
    assert capfd.readouterr().err == ""  # a panic writes a trace, past Python


def test_what_others_say_on_standard_error_is_not_lost(tmp_path):
    write(tmp_path)
    program = (
        "import os, sys; from pathlib import Path; from diglot.tokenizer import folder\n"
        "def build(): os.write(2, b'meanwhile'); return folder.Tokenizer.from_file(sys.argv[1] + '/tokenizer.json')\n"
        "folder.build_tokenizer('x', build); os.write(2, b' after')"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, check=True)
    assert done.stderr == b"meanwhile after"


def test_a_folder_s_json_is_an_object(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text("[1]")
    with pytest.raises(UserError, match=r"tokenizer_config\.json: a JSON object is wanted, not list"):
        read_json(tmp_path / "tokenizer_config.json")
