"""Words of a text: between spaces, segments, or letters; always in order and never overlapping."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diglot.tokenizer.word_spans import what_words_are, word_spans


def words(text: str, language: str | None) -> list[str]:
    (spans,) = word_spans([text], language)
    return [text[start:end] for start, end in zip(spans.starts, spans.ends, strict=True)]


def cores(text: str, language: str | None) -> list[str]:
    (spans,) = word_spans([text], language)
    return [text[start:end] for start, end in zip(spans.core_starts, spans.core_ends, strict=True)]


def test_words_by_hand():
    assert words('He said: "no" – twice.', "en") == ["He", "said:", '"no"', "–", "twice."]
    assert cores('He said: "no" – twice.', "en") == ["He", "said", "no", "twice"]
    assert cores("(नमस्ते) «كِتاب»", "hi") == ["नमस्ते", "كِتاب"]
    assert words("He said, 今日は天気です。", "ja") == ["He", "said,", "今日", "は", "天気", "です"]
    assert cores("He said, 今日は天気です。", "ja")[-1] == "です"
    assert words("ພາສາ 12 abc", "lo") == ["ພ", "າ", "ສ", "າ", "12", "abc"]
    assert words("", "zh") == words(" \n", None) == []


@pytest.mark.parametrize(
    ("language", "what"),
    [("zh", "segments"), ("zh-Hant", "segments"), ("th", "segments"), ("km", "characters"), ("ko", "spaces"), (None, "spaces")],
)  # fmt: skip
def test_what_words_are(language, what):
    assert what_words_are(language) == what


@given(st.text())
def test_with_spaces_they_are_what_split_gives(text):
    assert words(text, "ar") == text.split()


@given(st.text(st.sampled_from("今日はแม่น้ำab1 ,。\ń")), st.sampled_from(["zh", "ja", "th", "lo"]))
def test_without_spaces_they_are_in_order_and_hold_every_letter(text, language):
    (spans,) = word_spans([text], language)
    assert all(start < end for start, end in zip(spans.starts, spans.ends, strict=True))
    assert all(left <= right for left, right in itertools.pairwise([*spans.starts, len(text)]))
    assert all(end <= start for end, start in zip(spans.ends, spans.starts[1:]))
    covered = "".join(words(text, language))
    assert sum(map(str.isalnum, covered)) == sum(map(str.isalnum, text))
    assert not any(map(str.isspace, covered))
    assert len(spans.core_starts) == len(spans.starts)
