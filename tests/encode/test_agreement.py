"""The self-test that finds the characters that two encoders take for something else."""

import importlib.util
import itertools
import json
from pathlib import Path

import pyarrow as pa
import pytest
from base_tokenizers import BASES
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from diglot.encode import agreement
from diglot.encode.agreement import differing_characters, ranges
from diglot.encode.encoder import Divided, Encoder, Library
from diglot.tokenizer.folder import load_tokenizer

TEXT = ["the baker's bread.\n\nNo?\n"] * 3


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def specification(folder: Path, name: str = "llama-3") -> dict:
    return json.loads((BASES[name](folder, TEXT, 300) / "tokenizer.json").read_text())


def library_that(old: str, new: str):
    """Makes engines out of the library itself, with another pattern."""

    def engine(given: dict) -> Library:
        changed = json.dumps(given, ensure_ascii=False).replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1])
        assert changed != json.dumps(given, ensure_ascii=False)
        return Library(Tokenizer.from_str(changed))

    return engine


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (r"?\p{L}+", r"?[\p{L}\x{1AEB}\x{11DD5}]+", "\u1aeb\U00011dd5"),  # as if they were letters
        (r"\p{N}{1,3}", r"[\p{N}\x{1AEB}]{1,3}", "\u1aeb"),
        (r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{N}\x{3000}\x{2019}]", "\u2019"),  # U+3000 is white space anyway
    ],
)
def test_a_character_of_another_class_is_found(old, new, expected, tmp_path):
    assert differing_characters(specification(tmp_path / "base"), library_that(old, new)) == expected


def test_equal_engines_do_not_differ_and_the_answer_is_remembered(tmp_path):
    base = specification(tmp_path / "base")
    assert differing_characters(base, lambda given: Library(Tokenizer.from_str(json.dumps(given)))) == ""
    (memory,) = (tmp_path / "cache" / "diglot").iterdir()

    def refuses(given: dict):
        raise AssertionError("asked again")

    assert differing_characters(base, refuses) == ""
    memory.write_text("[[6891, 6892]]")
    assert differing_characters(base, refuses) == "\u1aeb\u1aec"
    # Another splitting is another question; so is the same one where what was remembered is broken.
    with pytest.raises(AssertionError, match="asked again"):
        differing_characters(specification(tmp_path / "other", "gpt-2"), refuses)
    memory.write_text("[[6891]]")
    with pytest.raises(AssertionError, match="asked again"):
        differing_characters(base, refuses)


def test_an_engine_that_does_not_take_the_probe_is_trusted_with_nothing(tmp_path):
    def refuses(given: dict):
        raise RuntimeError("Unsupported pre_tokenizer")

    found = differing_characters(specification(tmp_path / "base"), refuses)
    assert list(ranges(found)) == [(0, 0xD7FF), (0xE000, 0x10FFFF)]
    library = Library(load_tokenizer(tmp_path / "base"))
    texts = pa.array(["", "a", "\n", "\U0010ffff"], pa.large_string())
    assert Divided(library, library, found)(texts)[0].tolist() == library(texts)[0].tolist()


@given(st.sets(st.characters(exclude_categories=["Cs"]) | st.sampled_from("abcxyz")))
def test_ranges(characters):
    runs = list(ranges("".join(characters)))
    assert {chr(code) for first, last in runs for code in range(first, last + 1)} == characters
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(runs))


def test_texts_with_such_a_character_are_the_librarys(tmp_path):
    folder = BASES["llama-3"](tmp_path / "base", TEXT, 300)
    library = Library(load_tokenizer(folder))
    wrong = library_that(r"\p{L}", r"\p{L}\x{1AEB}\x{2F}")(json.loads((folder / "tokenizer.json").read_text()))
    divided = Divided(wrong, library, "\u1aeb/-]")
    texts = pa.array(
        ["bread\u1aeb's", "", "bread", "\u1aeb", "bread/'s", "]", "the the", "No\u1aec"], pa.large_string()
    )
    assert wrong(texts)[0].tolist() != library(texts)[0].tolist()
    for some in (texts, texts[2:3], texts[:2], texts[:0], texts.filter(pa.array([True] * 4 + [False] * 4))):
        (ids, offsets), (true_ids, true_offsets) = divided(some), library(some)
        assert (ids.tolist(), offsets.tolist()) == (true_ids.tolist(), true_offsets.tolist())
        assert (ids.dtype, offsets.dtype) == (true_ids.dtype, true_offsets.dtype)


@pytest.mark.skipif(importlib.util.find_spec("gigatoken") is None, reason="gigatoken is not installed")
@pytest.mark.parametrize("name", ["llama-3", "qwen", "gpt-2"])
def test_with_gigatoken_every_character_has_the_ids_of_the_library(name, tmp_path):
    """Beside what it may be joined with: `'s` is one token behind a letter alone, and so are two line ends."""
    folder = BASES[name](tmp_path / "base", TEXT, 300)
    encoder, library = Encoder(folder), Library(load_tokenizer(folder))
    assert encoder.engine == "gigatoken"
    characters = map(chr, agreement._codes()[::7])
    tried = list(itertools.chain(characters, "\u1ad5\u1aeb\u0c5c"))
    texts = pa.array([f"the{character}'s {character}\n\n.{character} the" for character in tried], pa.large_string())
    ids, offsets = encoder.encode_array(texts)
    true_ids, true_offsets = library(texts)
    assert (ids.tolist(), offsets.tolist()) == (true_ids.tolist(), true_offsets.tolist())


def test_a_tokenizer_of_characters_is_compared_as_it_is(tmp_path):
    """Gemma's kind, which gigatoken takes too."""
    gemma = specification(tmp_path / "base", "llama-2")
    gemma["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    split = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    gemma["pre_tokenizer"] = split
    for replaced in ("\u1aeb", "é"):

        def engine(given: dict, replaced=replaced) -> Library:
            steps = [given["normalizer"], {"type": "Replace", "pattern": {"String": replaced}, "content": "the"}]
            changed = {**given, "normalizer": {"type": "Sequence", "normalizers": steps}}
            return Library(Tokenizer.from_str(json.dumps(changed)))

        assert differing_characters(gemma, engine) == replaced
        gemma["model"]["vocab"]["another"] = len(gemma["model"]["vocab"])  # another tokenizer: asked again
    (tmp_path / "gemma").mkdir()
    (tmp_path / "gemma" / "tokenizer.json").write_text(json.dumps(gemma))
    encoder, library = Encoder(tmp_path / "gemma"), load_tokenizer(tmp_path / "gemma")
    for text in (*TEXT, "\u1aeb  é\n\n"):
        assert encoder.encode([text])[0].tolist() == library.encode(text, add_special_tokens=False).ids


@pytest.mark.skipif(importlib.util.find_spec("gigatoken") is None, reason="gigatoken is not installed")
@pytest.mark.parametrize(
    "name",
    [
        "qwen3",
        *(
            pytest.param(name, marks=pytest.mark.full)
            for name in ("gptoss", "llama3", "deepseek_v3", "gpt4o", "gemma3")
        ),
    ],
)
def test_real_tokenizers_and_characters_of_newer_unicode(name, models):
    encoder, library = Encoder(models / "tokenizers" / name), load_tokenizer(models / "tokenizers" / name)
    texts = [f"{one}\n\nx {one}'s" for one in "\u1ad5\u1aeb\u088f\U00010955\U00018d15aé面\u0301"]
    for text in texts:
        assert encoder.encode([text])[0].tolist() == library.encode(text, add_special_tokens=False).ids
