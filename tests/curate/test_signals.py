import numpy as np
import pytest
from corpus_files import ARABIC, ENGLISH, sentences
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from plain_signals import plain_signals

from diglot.base.errors import UserError
from diglot.curate.signals.lexicon import GOPHER_STOP_WORDS, WordLists, word_lists
from diglot.curate.signals.measure import TEXT_SIGNALS, measure
from diglot.recipe import signals
from diglot.text.unicode import BROKEN, INVISIBLE, character_tables, text_array

CLASSES, LOWER = character_tables()
LISTS = WordLists(
    stop_words=("the", "of", "don't", "a b", "и", "的", "は", "ที่", "في"),
    banned_words=("spam", "the of", "of of of", "a bb", "字", "典字", "ก", ""),
    gopher_stop_words=GOPHER_STOP_WORDS,
)


def check(texts: list[str], language: str | None = None) -> None:
    measured = measure(text_array([text.encode() for text in texts]), language, LISTS)
    for text, row in zip(texts, measured, strict=True):
        expected = plain_signals(text, language, LISTS)
        assert set(expected) == set(TEXT_SIGNALS)
        for name, value in zip(TEXT_SIGNALS, row.tolist(), strict=True):
            assert value == pytest.approx(expected[name], abs=1e-9), (name, text)


@given(st.lists(st.text(max_size=80), max_size=5), st.sampled_from([None, "en", "ja", "zh", "zh-Hant", "th"]))
@examples(60)
def test_any_text_is_measured_as_defined(texts, language):
    check(texts, language)


# What any of the signals looks at; joined, these make repetition, dates, paragraphs and broken-off tokens likely.
PARTS = [
    "a", "bb", "of", "The", "the", "don't", "spam", "Ünïcode", "ǅ", "HELLO", "x_1", "É", "e\u0301", "\u0301", "ß", "İ",
    "#", "...", "…", ".", "..", "!", "”", "“a”", "-", "•", "▶", "–", "{", "}", "()", "1", "12", "2024", "٣", "½", "Ⅷ", "๕",
    "2024-05-31", "31.5.24", "1/2/2024", "2024年5月3日", "2024년 5월 3일", "1.2.3.4", "lorem", "Lorem ipsum", "javascript", "(JavaScript)",
    "字", "典", "字典", "的", "一", "，", "。", "は", "今日は天気です", "ก", "กำ", "สี่", "ที่", "ភាសា", "и", "عربي", "،", "؟", "한국어", "😀",
    " ", " ", " ", " ", "\u3000", "\n", "\n", "\n\n", " \n \n", "\n- ", "...\n", "\t", "\r\n", "\u2028",
]  # fmt: skip


@given(
    st.lists(st.lists(st.sampled_from(PARTS), max_size=120).map("".join), min_size=1, max_size=4),
    st.sampled_from([None, "en", "ja", "zh", "th"]),
)
@examples(100)
def test_contrived_text_is_measured_as_defined(texts, language):
    check(texts, language)


@given(st.lists(st.lists(st.sampled_from(["a ", "b ", "c ", "a b c d e f g h i j ", "\n"]), max_size=60).map("".join)))
@examples(80)
def test_repetitive_text_is_measured_as_defined(texts):
    check(texts)


def test_longer_text_is_measured_as_defined():
    english = [sentences(ENGLISH, seed, 60) for seed in range(10)]
    arabic = [sentences(ARABIC, seed, 60) for seed in range(10)]
    repeated = [text + "\n" + text[: len(text) // 3] for text in english + arabic]
    check([*english, *arabic, *repeated, "", "x", " ".join(["spam"] * 2000), "\n".join(ENGLISH * 300)])


def test_there_is_no_limit_to_the_lines_of_a_document():
    """Each of 100,000 lines and 50,000 paragraphs is told from the others, and the one repeated is found."""
    lines = [f"line {number}" for number in range(100_000)]
    text = "\n\n".join("\n".join(lines[i : i + 2]) for i in range(0, len(lines), 2)) + "\n\n" + "\n".join(lines[:2])
    signals = dict(zip(TEXT_SIGNALS, measure(text_array([text.encode()]))[0].tolist(), strict=True))
    expected = {
        "lines": 100_002,
        "duplicate_lines": 2 / 100_002,
        "paragraphs": 50_001,
        "duplicate_paragraphs": 1 / 50_001,
    }
    assert {name: signals[name] for name in expected} == expected


@pytest.mark.parametrize(
    "language",
    ["ar", "de", "en", "es", "fr", "he", "id", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "vi", "zh"],
)
def test_real_text_is_measured_as_defined(data, language):
    from diglot.read.files import Record, read_records

    records = read_records(str(data / "raw_text" / language), stage="t", source="t", limit=400)
    texts = [record.value["text"][:4000] for record in records if isinstance(record, Record)]
    check(texts[::10], language)


def test_what_needs_a_list_is_not_measured_without():
    signals = dict(zip(TEXT_SIGNALS, measure(text_array([b"the cat"]))[0].tolist(), strict=True))
    missing = {name for name, value in signals.items() if np.isnan(value)}
    assert missing == {"stop_words", "distinct_stop_words", "gopher_stop_words", "banned_words"}
    empty = measure(text_array([b"the cat"]), "en", WordLists((), (), ()))
    assert not np.isnan(empty).any()


def test_the_catalogue_names_each_signal_once():
    assert len(set(signals.NAMES)) == len(signals.NAMES)
    assert tuple(s.name for s in signals.SIGNALS if s.needs == "text") == TEXT_SIGNALS
    assert {f"min_{name}" for name in signals.NAMES} < set(signals.rule_names())


def test_shares_lie_between_0_and_1():
    texts = [sentences(ENGLISH, seed, 30) for seed in range(5)] + ["#" * 50, "1 " * 90, "...\n" * 9, "A\n\nA\n\nA", ""]
    for name, column in zip(
        TEXT_SIGNALS, measure(text_array([text.encode() for text in texts]), "en", LISTS).T, strict=True
    ):
        scale = next(signal.scale for signal in signals.SIGNALS if signal.name == name)
        assert column.min() >= 0, name
        assert scale != "share" or column.max() <= 1, name


def test_a_document_does_not_depend_on_its_neighbours():
    texts = [sentences(ENGLISH, seed, 3 + 20 * (seed % 3)).encode() for seed in range(9)]
    together = measure(text_array(texts))
    alone = np.concatenate([measure(text_array([text])) for text in texts])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(measure(text_array(texts).slice(3, 4)), together[3:7])


def test_classes_agree_with_python():
    from diglot.text.unicode import DIGIT, LETTER, SPACE

    codes = [code for code in range(0x33480) if not 0xD800 <= code < 0xE000]
    for flag, method in ((LETTER, str.isalpha), (SPACE, str.isspace), (DIGIT, str.isdecimal)):
        assert [bool(CLASSES[code] & flag) for code in codes] == [method(chr(code)) for code in codes]
    assert all(CLASSES[ord(c)] & BROKEN for c in "\x9f\ufffd\ue000\U0010ffff")
    assert all(CLASSES[ord(c)] & INVISIBLE for c in "\u200b\xad\ufeff\x00")
    assert not any(CLASSES[ord(c)] & (INVISIBLE | BROKEN) for c in "\n\t \u00a0\u200fé字")
    assert all(chr(LOWER[ord(c)]) == c.lower() for c in "AÉЖΣا")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"lang": "en", "words": ["a\\ud800"]}', "half of a surrogate pair"),
        (b'{"lang": "en", "words": [1]}', "no language"),
        (b'{"lang": ["en"], "words": []}', "no language"),
        (b'{"lang": "en", "words": "spam"}', "no language"),
        (b"[1]", "no language"),
        (b"[" * 5000, "nested more than"),
        (b"\xff", "utf-8"),
    ],
)
def test_banned_words_that_are_none_are_refused(tmp_path, content, words):
    (tmp_path / "words.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=f"banned_words: .*words.jsonl cannot be read.*{words}"):
        word_lists("en", str(tmp_path / "words.jsonl"))
