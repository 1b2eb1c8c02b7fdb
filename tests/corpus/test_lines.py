import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diglot.corpus.characters import text_array
from diglot.corpus.lines import CORRECTIONS, correct


def corrected(text: str) -> str:
    return correct(text_array([text.encode()])).texts[0].as_py()


LONG = "x" * 101
CASES = [
    ("Visit https://x.org/a  now\u200b!\n\n\n\n\nBye", "Visit now!\n\n\nBye"),
    ("see www.example.com/a?b=c, or HTTP://X.org.", "see , or ."),
    ("[link](https://x.org/a_(b)) here", "[link]((b)) here"),
    ("http:// is no URL, nor is xhttp://a.b", "http:// is no URL, nor is xhttp://a.b"),
    ("请看http://a.cn/b，谢谢", "请看，谢谢"),
    ("http://aawsat.com/الرئيس-هادي خبر", "خبر"),
    (f"a {LONG} b", "a b"),
    (f"a\n{LONG}\nb", "a\n\nb"),
    ("字" * 300, "字" * 300),
    ("x" * 100, "x" * 100),
    ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
    ("  def f():\n    return  1  \n\n", "def f():\n    return 1"),
    ("a\tb\t\tc\u00a0d\u3000e", "a\tb c d\u3000e"),
    ("soft\u00adhyphen \ufeffmark \x00zero\x7f", "softhyphen mark zero"),
    ("می\u200cخواهم a\u200cb क्\u200dष 👩\u200d👩", "می\u200cخواهم ab क्\u200dष 👩\u200d👩"),
    ("\u200fعربي\u200e", "\u200fعربي\u200e"),
    ("", ""),
    (" \n\t ", ""),
    ("cafe\u0301", "cafe\u0301"),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_corrections(text, expected):
    assert corrected(text) == expected


texts = st.lists(
    st.text(max_size=12) | st.sampled_from(["http://a.b/c", "www.x.y", LONG, "\n\n\n\n", "  ", "\u200b", "Ø§Ù„", "\ufffd"]),
    max_size=12,
).map("".join)  # fmt: skip


@given(st.lists(texts, max_size=4))
@example(["a\r\n\r\n\r\n\r\n b", "\r", "\u200d"])
@settings(max_examples=300, deadline=None)
def test_characters_are_conserved(given_texts):
    result = correct(text_array([text.encode() for text in given_texts]))
    for text, new, read, removed in zip(
        given_texts, result.texts.to_pylist(), result.characters, result.removed, strict=True
    ):
        assert read == len(text)
        assert len(new) == len(text) - removed.sum()
        assert (removed >= 0).all()
        assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t\v\f\x85\x1c" for c in new)
        assert "\n\n\n\n" not in new
        assert not any(line.endswith((" ", "\t")) for line in new.split("\n"))


@given(st.lists(st.text("abc ابت字.,!(", min_size=1, max_size=20).map(str.strip).filter(bool), max_size=8))
@settings(deadline=None)
def test_ordinary_text_is_left_as_it_is(lines):
    text = "\n".join(" ".join(line.split()) for line in lines)
    assert corrected(text) == text


def test_without_corrections_the_counts_are_the_same():
    given_texts = text_array([b"see http://a.b/c and\xef\xbf\xbd so on   "])
    plain, changed = correct(given_texts, apply=False), correct(given_texts)
    assert plain.texts == given_texts
    assert plain.removed.sum() == 0
    assert plain.urls == changed.urls == len("http://a.b/c")
    assert plain.broken == changed.broken == 1


@pytest.mark.parametrize("wrong", ["latin-1", "cp1252"])
@pytest.mark.parametrize(
    "text", ["اللغة العربية جميلة جدا", "“Où est l’école?” – là-bas", "Привет, как дела"]
)
def test_mojibake_counts_as_broken(text, wrong):
    mojibake = text.encode().decode(wrong, errors="replace")
    ours = correct(text_array([mojibake.encode(), text.encode()])).broken
    assert ours[0] > 0.15 * len(mojibake)
    assert ours[1] == 0


def test_kinds_are_counted_where_they_belong():
    result = correct(text_array([f"a  b http://a.b {LONG} \u200b".encode()]))
    assert dict(zip(CORRECTIONS, result.removed[0].tolist(), strict=True)) == {
        "urls": 10, "long_words": 101, "whitespace": 4, "invisible": 1,
    }  # fmt: skip
