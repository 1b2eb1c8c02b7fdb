"""The kernels cut as the `tokenizers` library does with the patterns that stand beside them."""

from itertools import pairwise

import numpy as np
import pytest
import tokenizer_corpora as corpora
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Regex, normalizers, pre_tokenizers

from diglot.text import words
from diglot.text.words import character_classes

AWKWARD = (
    " \t\n\r\u00a0\u3000\u2028'’sſStTrReEvVlLdDmMaé12²٣.,_-<|>()ا\u064eบิ中。、\u200d\ue000👩\u0301\x1c\x85\u200b\ufeff"
)
TEXTS = st.text(st.sampled_from(AWKWARD)) | st.text(st.characters(exclude_categories=["Cs"]))
KINDS = {
    "byte-fallback": (words.BYTE_FALLBACK_WORDS, words.cut_byte_fallback),
    "byte-level": (words.BYTE_LEVEL_WORDS, words.cut_byte_level),
}


def kernel_words(text: str, kind: str) -> list[str]:
    data = np.frombuffer(text.encode(), np.uint8)
    if not len(data):
        return []
    ends = np.empty(len(data) + 1, np.int64)
    count = KINDS[kind][1](data, 0, len(data), character_classes(), ends)
    return [data[begin:end].tobytes().decode() for begin, end in pairwise([0, *ends[:count].tolist()])]


def library_words(text: str, kind: str) -> list[str]:
    """The plain twin: the pattern, by the library."""
    splitter = pre_tokenizers.Split(Regex(KINDS[kind][0]), "isolated")
    if kind == "byte-level":
        return [word for word, _ in splitter.pre_tokenize_str(text)]
    cut = splitter.pre_tokenize_str(text.replace(" ", "▁"))  # text has no ▁ of its own here: it is escaped before
    return [word.replace("▁", " ") for word, _ in cut]


@pytest.mark.parametrize("kind", KINDS)
@given(TEXTS)
@example("'ſ it'ſa 'S")  # a long s is an s to whom case does not matter
@example("\x85 \x85a\r\n\x1c.\u2028\u2029 \ufeff\u200b")
def test_any_text_is_cut_as_the_library_cuts_it(kind, text):
    text = text.replace("▁", "")
    assert kernel_words(text, kind) == library_words(text, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_character_is_cut_as_the_library_cuts_it(kind):
    """Between two letters, behind a space, and twice. 1 in 16 of the big blocks are looked at."""
    codes = [code for code in (*range(0xD800), *range(0xE000, 0x33480), *range(0xE0000, 0xE0200)) if code != ord("▁")]
    codes = [code for code in codes if code < 0x3400 or code % 16 == 0 or code in (0x9FFF, 0xD7A3, 0xE0100)]
    for at in range(0, len(codes), 1000):
        text = "".join(f"a{chr(code)}b {chr(code)}{chr(code)}\n'{chr(code)}" for code in codes[at : at + 1000])
        assert kernel_words(text, kind) == library_words(text, kind)


def test_real_text_is_cut_alike(data):
    documents = [text for code in ("ar", "en", "th", "zh") for _, text in corpora.real_documents(data, code, 60_000)]
    for kind in KINDS:
        for text in documents:
            text = text.replace("▁", "")
            assert kernel_words(text, kind) == library_words(text, kind)


def test_the_classes_agree_with_the_library_on_all_code_points():
    classes = character_classes()
    codes = np.array([*range(0xD800), *range(0xE000, 0x110000)])
    text = "".join(map(chr, codes))
    for number, pattern in words.CLASS_PATTERNS.items():
        rest = normalizers.Replace(Regex(pattern), "").normalize_str(text)
        expected = np.ones(0x110000, bool)
        expected[np.frombuffer(rest.encode("utf-32-le"), np.uint32)] = False
        expected[[0x20, 0x0A, 0x0D]] = False  # these have a class of their own
        assert np.array_equal((classes == number)[codes], expected[codes])
