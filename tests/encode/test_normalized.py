"""Which texts a normalizer leaves as they are: only those may go past it."""

import base64
import json
import re
from typing import Any

import pyarrow as pa
import pytest
from base_tokenizers import BASES
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from diglot.encode.normalized import Normalize

SENTENCES = ["The baker bakes bread.", "الخُبّاز يخبز", "Bánh mì ngon"]
# Marks in and out of order, what composes, Hangul in parts, forms of compatibility, spaces of all sorts with marks behind.
PARTS = [
    "a", "é", "e\u0301", "\u0301", "\u0323\u0307", "\u0307\u0323", "\u064e\u0651", "\u0651\u064e", "\u0627\u0653", "\u1100\u1161\u11a8",
    "각", "ﷺ", "ﻻ", "ﬁ", "…", "，", "ำ", "ก้", "\u00a0", "\u3000", "\u2009", "\t", "\r\n", " ", "\u200d", "\u200b", "\ufeff", "\x1c", "\x04",
    "\u0958", "\u2126", "ｶﾞ", "\ua7f2", "👩\u200d👩", "🇸🇦", "\u0600", "\u1aeb", "\U00010d4e", "¨", "½",
]  # fmt: skip
TEXTS = st.lists(
    st.one_of(st.sampled_from(PARTS), st.text(st.characters(exclude_categories=["Cs"]), max_size=3)), max_size=12
).map("".join)


@pytest.fixture(scope="module")
def specifications(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("normalized")
    return {
        name: json.loads((BASES[name](folder / name, SENTENCES, 300) / "tokenizer.json").read_text())
        for name in ("qwen", "unigram")
    }


def pair(specification: dict[str, Any]) -> tuple[Normalize, Tokenizer]:
    step = Normalize.of(specification)
    assert step is not None
    return step, Tokenizer.from_str(json.dumps(specification))


@given(texts=st.lists(TEXTS, max_size=4))
def test_nfc(texts: list[str], specifications: dict[str, dict[str, Any]]) -> None:
    step, library = pair(specifications["qwen"])
    assert step(pa.array(texts, pa.large_string())).to_pylist() == [
        library.normalizer.normalize_str(each) for each in texts
    ]


@example(texts=["\u00a0\u0301a", "\r\n", "a\u00a0b"])
@given(texts=st.lists(TEXTS, max_size=4))
def test_rules_but_for_white_space(texts: list[str], specifications: dict[str, dict[str, Any]]) -> None:
    """Words are cut at white space of any sort, so that need not become a plain space."""
    step, library = pair(specifications["unigram"])
    found = step(pa.array(texts, pa.large_string())).to_pylist()
    true = [library.normalizer.normalize_str(each) for each in texts]
    words = [[re.split(r"[^\S\x1c-\x1f]+", each) for each in some] for some in (found, true)]
    assert words[0] == words[1]


def test_most_text_is_quiet(specifications: dict[str, dict[str, Any]]) -> None:
    """Else nothing is won: languages with marks, ideographs and Hangul too."""
    texts = pa.array([*SENTENCES, "面包师在河边的旧面包店里", "빵집 주인", "คนทำ", "шли\u00a0они\n"], pa.large_string())
    loud = {name: pair(specifications[name])[0].loud(texts).tolist() for name in ("qwen", "unigram")}
    assert loud["qwen"] == [False] * 7
    assert loud["unigram"] == [*[False] * 5, True, False]  # ำ is two characters in NFKC


def test_other_normalizers_are_not_known(specifications: dict[str, dict[str, Any]]) -> None:
    for normalizer in ({"type": "NFKC"}, {"type": "Lowercase"}):
        assert Normalize.of({**specifications["qwen"], "normalizer": normalizer}) is None
    rules = specifications["unigram"]["normalizer"]
    assert base64.b64decode(rules["precompiled_charsmap"])
    assert Normalize.of({**specifications["qwen"], "normalizer": rules}) is None  # white space counts there
