"""Patterns of words as tables: cut as the library cuts, whatever the pattern."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from diglot.encode import patterns
from diglot.encode.cut_kernels import cut_by_patterns
from diglot.encode.kernel import GPT_2_WORDS, UNIGRAM_WORDS, _words_of
from diglot.text.words import BYTE_LEVEL_WORDS

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
GPT_OSS = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    )
)
DEEPSEEK = [
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^" "\r\n" r"\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+["
    "\r\n" r"]*|\s*[" "\r\n" r"]+|\s+(?!\S)|\s+",
]  # fmt: skip
SEVERAL = {
    "gpt-2": [GPT_2_WORDS],
    "llama-3": [LLAMA_3],
    "gpt-oss": [GPT_OSS],
    "ours": [BYTE_LEVEL_WORDS],
    "unigram": [UNIGRAM_WORDS],
    "smollm2": [r"\p{N}", GPT_2_WORDS],
    "deepseek": DEEPSEEK,
    "what goes back": [r"a(?:bc)*d|ab|[0-9]{2,}x|b(?=c)|c{2}"],  # a match is given up for a shorter one, or for none
}
CODES = [*range(0xD800), *range(0xE000, 0x33480), *range(0x33480, 0x110000, 97), *range(0xE0000, 0xE0200)]
FEW_CODES = [*range(0x3100), *range(0xA000, 0xAC00), *range(0xF900, 0x11000)]  # alphabets, without ideographs


def cut(text: str, by: list[str]) -> list[str]:
    data = text.encode()
    ends, spare = np.empty(len(data) + 1, np.int64), np.empty(len(data) + 1, np.int64)
    padded = np.frombuffer(data + bytes(8), np.uint8)
    count = cut_by_patterns(padded, 0, len(data), _words_of(by), ends, spare)
    return [data[begin:end].decode() for begin, end in itertools.pairwise([0, *ends[:count].tolist()])]


def library_cut(text: str, by: list[str]) -> list[str]:
    splits = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in by])
    return [piece for piece, _ in splits.pre_tokenize_str(text)]


@pytest.mark.parametrize("name", SEVERAL)
@given(
    text=st.one_of(
        st.text(st.sampled_from("aAbcdx1234 \n\r\t.,'/sStTlLreE\u00e9\u0663\u017f字ก้▁_$"), min_size=1, max_size=40),
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    )
)
def test_text_is_cut_as_the_library_cuts_it(name: str, text: str) -> None:
    assert cut(text, SEVERAL[name]) == library_cut(text, SEVERAL[name])


@pytest.mark.parametrize(
    ("name", "codes"),
    [("llama-3", FEW_CODES), *(pytest.param(name, CODES, marks=pytest.mark.full) for name in SEVERAL)],
)
def test_every_character_is_cut_as_the_library_cuts_it(name: str, codes: list[int]) -> None:
    for at in range(0, len(codes), 2000):
        text = "".join(
            f"a{chr(code)}A{chr(code)}.{chr(code)}1{chr(code)} {chr(code)}\n" for code in codes[at : at + 2000]
        )
        assert cut(text, SEVERAL[name]) == library_cut(text, SEVERAL[name])


@pytest.mark.parametrize(
    "pattern",
    [r"\p{L}*", r"a++", r"a+?", r"(?=ab)a", r"a(?!b)c", r"(a)\1", r"\bword", r"a|(?<=b)c", r"[a", r"(a", r"a)"],
)
def test_what_tables_cannot_say_is_refused(pattern: str) -> None:
    with pytest.raises(patterns.UnknownPatternError):
        patterns.table(pattern)
