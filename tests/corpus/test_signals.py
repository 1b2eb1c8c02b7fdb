import unicodedata
from collections import Counter

import numpy as np
import pytest
from corpus_files import ARABIC, ENGLISH, sentences
from hypothesis import given, settings
from hypothesis import strategies as st

from diglot.corpus.characters import BROKEN, INVISIBLE, UNSPACED, character_tables, text_array
from diglot.corpus.signals import TEXT_SIGNALS, measure

CLASSES, LOWER = character_tables()


def words_of(text: str) -> list[str]:
    """Words by the definition: whitespace, and single letters with their marks in scripts without spaces."""
    words = []
    for chunk in text.split():
        word = ""
        for c in chunk:
            lone = bool(word) and CLASSES[ord(word[0])] & UNSPACED
            if word and (CLASSES[ord(c)] & UNSPACED or (lone and unicodedata.category(c)[0] != "M")):
                words.append(word)
                word = ""
            word += c
        words.append(word)
    return words


def oracle(text: str) -> dict[str, float]:
    """Gopher's signals, written down plainly."""
    words = words_of(text)
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    letters = sum(map(len, words))
    seen: set[tuple] = set()
    duplicates = [line for line in lines if (key := tuple(words_of(line))) in seen or seen.add(key)]
    result = {
        "characters": len(text),
        "words": len(words),
        "mean_word_length": letters / max(len(words), 1),
        "symbol_to_word": max(text.count("#"), text.count("...") + text.count("…")) / max(len(words), 1),
        "bullet_lines": sum(line[0] in "•‣▪●◦*-" for line in lines) / max(len(lines), 1),
        "ellipsis_lines": sum(line.endswith(("...", "…")) for line in lines) / max(len(lines), 1),
        "alphabetic_words": sum(any(c.isalpha() for c in word) for word in words) / max(len(words), 1),
        "digits": sum(c.isdecimal() for c in text) / max(len(text), 1),
        "duplicate_lines": len(duplicates) / max(len(lines), 1),
        "duplicate_line_characters": sum(map(len, duplicates)) / max(len(text), 1),
    }
    for n in (2, 3, 4, 5, 10):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        counts = Counter(grams)
        if n < 5:
            gram, times = counts.most_common(1)[0] if grams else ((), 0)
            result[f"top_{n}gram"] = times * sum(map(len, gram)) / letters if times > 1 else 0.0
        else:
            covered = {i + k for i, gram in enumerate(grams) if counts[gram] > 1 for k in range(n)}
            result[f"duplicate_{n}grams"] = sum(len(words[i]) for i in covered) / max(letters, 1)
    return result


def check(texts: list[str]) -> None:
    measured = measure(text_array([text.encode() for text in texts]))
    for text, row in zip(texts, measured, strict=True):
        expected = oracle(text)
        assert set(expected) == set(TEXT_SIGNALS)
        for name, value in zip(TEXT_SIGNALS, row.tolist(), strict=True):
            assert value == pytest.approx(expected[name], abs=1e-6), (name, text)


@given(st.lists(st.text(max_size=80), max_size=5))
@settings(max_examples=300, deadline=None)
def test_any_text_is_measured_as_defined(texts):
    check(texts)


pieces = st.sampled_from(
    ["a", "bb", "of", "the", "#", "...", "…", "-", "•", "1", "٣", "字", "典", "ก", "กำ", "สี่", "и", " ", " ", " ", "\n", "\n", "\n- ", "...\n", "\t"]
)  # fmt: skip


@given(st.lists(st.lists(pieces, max_size=120).map("".join), min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_repetitive_text_is_measured_as_defined(texts):
    check(texts)


def test_longer_text_is_measured_as_defined():
    english = [sentences(ENGLISH, seed, 60) for seed in range(10)]
    arabic = [sentences(ARABIC, seed, 60) for seed in range(10)]
    repeated = [text + "\n" + text[: len(text) // 3] for text in english + arabic]
    check([*english, *arabic, *repeated, "", "x", " ".join(["spam"] * 5000), "\n".join(ENGLISH * 300)])


def test_real_text_is_measured_as_defined(data):
    from diglot.corpus.read import Record, read_records

    for language in ("ar", "en", "th", "zh"):
        records = read_records(str(data / "raw_text" / language), stage="t", source="t", limit=60)
        check([record.value["text"] for record in records if isinstance(record, Record)])


def test_a_document_does_not_depend_on_its_neighbours():
    texts = [sentences(ENGLISH, seed, 3 + 20 * (seed % 3)).encode() for seed in range(9)]
    together = measure(text_array(texts))
    assert (together == np.concatenate([measure(text_array([text])) for text in texts])).all()
    assert (measure(text_array(texts).slice(3, 4)) == together[3:7]).all()


def test_classes_agree_with_python():
    from diglot.corpus.characters import DIGIT, LETTER, SPACE

    codes = [code for code in range(0x33480) if not 0xD800 <= code < 0xE000]
    for flag, method in ((LETTER, str.isalpha), (SPACE, str.isspace), (DIGIT, str.isdecimal)):
        assert [bool(CLASSES[code] & flag) for code in codes] == [method(chr(code)) for code in codes]
    assert all(CLASSES[ord(c)] & BROKEN for c in "\ufffd\ue000\U0010ffff")
    assert all(CLASSES[ord(c)] & INVISIBLE for c in "\u200b\xad\ufeff\x00\x9f")
    assert not any(CLASSES[ord(c)] & (INVISIBLE | BROKEN) for c in "\n\t \u00a0\u200fé字")
    assert all(chr(LOWER[ord(c)]) == c.lower() for c in "AÉЖΣا")
