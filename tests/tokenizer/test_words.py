import random
import unicodedata
from collections import Counter

import pytest
import tokenizer_corpora as corpora
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from diglot.tokenizer import byte_fallback, byte_level
from diglot.tokenizer.sample import Text
from diglot.tokenizer.word_kernels import BYTE_FALLBACK, BYTE_LEVEL, CHUNK
from diglot.tokenizer.words import WordTable, count_by_rule, count_words

AWKWARD = " \t\n\r\u00a0\u3000\u2028'’sStTrReEvVlLdDmMaé12²٣.,_-<|>()ا\u064eบิ中。、\u200d▁\ue000👩\u0301\x1c"


def kernel_words(text: str, rule: int) -> Counter[str]:
    table = WordTable(rule)
    assert table.add(text) == len(text.encode())
    return Counter(dict(zip(table.words(), table.counts[:, 0].tolist(), strict=True)))


def library_words(text: str, rule: int) -> Counter[str]:
    """What the tokenizer itself cuts a text into."""
    if rule == BYTE_LEVEL:
        splitter = pre_tokenizers.Split(Regex(byte_level.WORDS), "isolated")
        return Counter(word for word, _ in splitter.pre_tokenize_str(text))
    text = byte_fallback.normalizer().normalize_str(text)
    words = byte_fallback.word_splitter().pre_tokenize_str(text)
    return Counter(word.replace("▁", " ") for word, _ in words)


TEXTS = st.text(st.sampled_from(AWKWARD)) | st.text(st.characters(exclude_categories=["Cs", "Cn"]))


@given(TEXTS)
def test_the_kernels_cut_as_the_byte_level_tokenizer_does(text):
    assert kernel_words(text, BYTE_LEVEL) == library_words(text, BYTE_LEVEL)


@given(TEXTS)
def test_the_kernels_cut_as_the_byte_fallback_tokenizer_does(text):
    text = text.replace("▁", "").replace(byte_fallback.ESCAPE, "")  # what is escaped is cut otherwise; see below
    assert kernel_words(text, BYTE_FALLBACK) == library_words(text, BYTE_FALLBACK)


def test_what_is_escaped_stands_alone():
    assert kernel_words("a▁ \ue000.", BYTE_FALLBACK) == Counter(["a", "▁", " ", "\ue000", "."])


@pytest.mark.parametrize("rule", [BYTE_FALLBACK, BYTE_LEVEL])
def test_every_character_is_of_the_class_that_the_library_gives_it(rule):
    """Between two letters and behind a space a character shows its class. 1 in 16 of the big blocks are looked at."""
    known = [code for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")]
    known = [code for code in known if code < 0x3400 or code % 16 == 0 or code in (0x9FFF, 0xD7A3, 0xE0100)]
    known = [code for code in known if chr(code) not in "▁ſ"]  # escaped; an s without case, in "'s"
    text = "".join(f"a{chr(code)}b {chr(code)}{chr(code)}\n" for code in known)
    difference = kernel_words(text, rule) - library_words(text, rule)
    assert not difference, sorted(difference)[:20]


def test_real_text_is_cut_alike(data):
    documents = [text for code in ("ar", "en", "th", "zh") for _, text in corpora.real_documents(data, code, 60_000)]
    for rule in (BYTE_FALLBACK, BYTE_LEVEL):
        for text in documents:
            text = text.replace("▁", "")
            assert kernel_words(text, rule) == library_words(text, rule)


@given(st.lists(TEXTS), st.sampled_from([BYTE_FALLBACK, BYTE_LEVEL]))
def test_words_and_counts_hold_the_whole_text(texts, rule):
    """However often the tables grow, every byte is in one word."""
    table = WordTable(rule)
    for text in texts:
        table.add(text, times=3)
    counted = sum(len(word.encode()) * n for word, n in zip(table.words(), table.counts[:, 0].tolist(), strict=True))
    assert counted == 3 * sum(len(text.encode()) for text in texts)
    assert len(set(table.words())) == len(table)


def test_a_table_grows_and_two_columns_are_apart():
    table, words = WordTable(BYTE_FALLBACK), [f"w{chr(97 + n % 26)}{'x' * (n // 26)}" for n in range(9000)]
    for word in words:
        table.add(word, 2)
    for word in words[:10]:
        table.add(word, 5, column=1)
    assert table.words() == words
    assert table.counts.tolist() == [[2, 5 * (number < 10)] for number in range(9000)]


def plain_chunks(text: str) -> list[str]:
    import re

    return re.findall(" ?[^ \n]+", text)


def split_by_punctuation(chunks: list[str]) -> list[list[str]]:
    splitter = pre_tokenizers.Split(Regex(r" ?[^\s\p{P}]+|\p{P}+"), "isolated")
    return [[word for word, _ in splitter.pre_tokenize_str(chunk)] for chunk in chunks]


@given(st.lists(TEXTS))
def test_counting_chunks_first_changes_nothing(texts):
    sample = [Text("xx" if number % 2 else "yy", text, 1 + number % 3) for number, text in enumerate(texts)]
    expected: dict[str, Counter[str]] = {}
    for language, text, times in sample:
        words = expected.setdefault(language, Counter())
        for cut in split_by_punctuation(plain_chunks(text)):
            for word in cut:
                words[word] += times
    for chunk_bytes in (0, 50, 10**6):  # how often the chunks are cut and let go
        assert count_words(sample, split_by_punctuation, chunk_bytes=chunk_bytes) == expected


def test_chunks_are_cut_before_chinese_punctuation():
    assert kernel_words("今天，他说：“好。”", CHUNK) == Counter(["今天", "，他说", "：“好", "。”"])
    assert kernel_words("(a)。", CHUNK) == Counter(["(a)。"])  # ")。" is one word


def test_rare_words_are_forgotten_where_there_is_no_room():
    choose = random.Random(0)
    rare = ["".join(choose.choices("abcdefgh", k=12)) for _ in range(2000)]
    sample = [Text("en", f"{word} often", 1) for word in rare]
    tables = count_by_rule(sample, BYTE_FALLBACK, max_bytes=5000)
    words = dict(zip(tables["en"].words(), tables["en"].counts[:, 0].tolist(), strict=True))
    assert words[" often"] == 2000
    assert tables["en"].bytes <= 5000
    assert tables["en"].forgotten + sum(words.values()) == 4000
    again = count_by_rule(sample, BYTE_FALLBACK, max_bytes=5000)["en"]
    assert again.words() == tables["en"].words()

    counted = count_words(sample, split_by_punctuation, chunk_bytes=1000, word_bytes=5000)
    assert counted["en"][" often"] == 2000
    assert counted.forgotten["en"] + counted["en"].total() == 4000
    assert counted.forgotten["en"] > 1000


def test_progress_tells_the_bytes_read():
    told: list[int] = []
    count_by_rule([Text("en", "abc", 2), Text("th", "กข", 1)], BYTE_LEVEL, told.append)
    assert told == [6, 12]
