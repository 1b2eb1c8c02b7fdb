"""What a run says before it begins of a base that a later stage would refuse."""

import json
import shutil
from pathlib import Path

import base_tokenizers
import pytest
import tokenizers
from chat_templates import HARMONY
from commands import diglot
from tokenizers import models

from diglot.base.errors import UserError
from diglot.recipe.encode import Encode
from diglot.recipe.tokenizer import ExtendTokenizer
from diglot.tokenizer import foresee
from diglot.tokenizer.description import read_specification

TEXTS = ["The baker bakes bread, and the smith sells iron to the baker."] * 3
CHATS = {"tokenizer": "base", "instructions": "chats"}
WORDS = {"tokenizer": "base", "corpus": "text"}


def extend(**settings) -> ExtendTokenizer:
    return ExtendTokenizer(languages=["ar"], new_tokens=10, **settings)


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    return base_tokenizers.qwen(tmp_path / "qwen", TEXTS, 300)


def with_template(folder: Path, template: str) -> Path:
    (folder / "chat_template.jinja").write_text(template)
    return folder


def test_a_base_that_is_taken(qwen):
    assert foresee.extension(extend(), {"tokenizer": qwen}) == qwen
    assert foresee.extension(extend(chat="diglot"), {"tokenizer": qwen}) is None
    foresee.encoding(Encode(from_=CHATS), {"tokenizer": qwen})
    assert foresee.extension(extend(), {}) is None
    foresee.encoding(Encode(from_=CHATS), {})


def test_a_base_that_gets_our_format(tmp_path):
    base = base_tokenizers.gpt_2(tmp_path / "gpt-2", TEXTS, 300)
    assert foresee.extension(extend(), {"tokenizer": base}) is None
    with pytest.raises(UserError, match="the tokenizer has no chat template"):
        foresee.encoding(Encode(from_=CHATS), {"tokenizer": base})
    foresee.encoding(Encode(from_=WORDS), {"tokenizer": base})


def test_an_unknown_chat_format_is_refused_where_conversations_are_read(qwen):
    with_template(qwen, HARMONY)
    assert foresee.extension(extend(), {"tokenizer": qwen}) == qwen
    with pytest.raises(UserError, match="its chat template cannot be used: "):
        foresee.encoding(Encode(from_=CHATS), {"tokenizer": qwen})


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tekken.json", r"tekken.json is in Mistral's own form.*release for transformers"),
        ("tokenizer.model.v3", r"if tokenizer.model.v3 is its SentencePiece model, copy it to tokenizer.model"),
        ("vocab.bin", "give a whole Hugging Face tokenizer folder"),
    ],
)
def test_a_tokenizer_under_another_name_is_refused_with_what_to_do(name, says, tmp_path):
    (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=f"no tokenizer.json and no tokenizer.model; {says}"):
        read_specification(tmp_path)


def test_a_dry_run_says_it(qwen, tmp_path):
    """Before any text is read; with the line of the stage that would refuse."""
    (tmp_path / "text.jsonl").write_text('{"text": "one"}\n')
    word_piece = tmp_path / "word-piece"
    word_piece.mkdir()
    tokenizers.Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")).save(str(word_piece / "tokenizer.json"))
    stages = {
        "corpus": {"do": "curate", "sources": {"ar": {"path": "text.jsonl", "language": "ar"}}},
        "base": {"do": "import-model", "path": "word-piece"},
        "longer": {
            "do": "extend-tokenizer",
            "from": {"tokenizer": "base", "corpus": "corpus"},
            "languages": ["ar"],
            "new_tokens": 10,
        },
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps({"name": "x", "stages": stages}))
    for arguments in (["--dry-run"], []):
        done = diglot("run", "recipe.yaml", *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert "stage 'longer': " in done.stderr
        assert "of kind WordPiece; only" in " ".join(done.stderr.split())
    assert not (tmp_path / "runs" / "x" / "corpus").exists()
    shutil.rmtree(word_piece)
    shutil.copytree(qwen, word_piece)
    done = diglot("run", "recipe.yaml", "--dry-run", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
