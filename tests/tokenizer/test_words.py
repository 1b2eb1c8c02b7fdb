import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from diglot.tokenizer.sample import Text
from diglot.tokenizer.words import Rule, WordTable, count_by_rule, count_by_splitting

AWKWARD = " \t\n\r\u00a0\u3000\u2028'’sStTrReEvVlLdDmMaé12²٣.,_-<|>()ا\u064eบิ中。、\u200d▁\ue000👩\u0301\x1c"
TEXTS = st.text(st.sampled_from(AWKWARD)) | st.text(st.characters(exclude_categories=["Cs", "Cn"]))


def counted(text: str, rule: Rule) -> Counter[str]:
    table = WordTable(rule)
    assert table.add(text) == len(text.encode())
    return Counter(dict(zip(table.words(), table.counts[:, 0].tolist(), strict=True)))


def test_what_is_escaped_stands_alone():
    assert counted("a▁ \ue000.", "byte-fallback") == Counter(["a", "▁", " ", "\ue000", "."])


@given(st.lists(TEXTS), st.sampled_from(["byte-fallback", "byte-level"]))
def test_words_and_counts_hold_the_whole_text(texts, rule):
    """However often the tables grow, every byte is in one word."""
    table = WordTable(rule)
    for text in texts:
        table.add(text, times=3)
    counted = sum(len(word.encode()) * n for word, n in zip(table.words(), table.counts[:, 0].tolist(), strict=True))
    assert counted == 3 * sum(len(text.encode()) for text in texts)
    assert len(set(table.words())) == len(table)


def test_a_table_grows_and_two_columns_are_apart():
    table, words = WordTable("byte-fallback"), [f"w{chr(97 + n % 26)}{'x' * (n // 26)}" for n in range(9000)]
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
        assert count_by_splitting(sample, split_by_punctuation, chunk_bytes=chunk_bytes) == expected


def test_chunks_are_cut_before_chinese_punctuation():
    assert counted("今天，他说：“好。”", "chunks") == Counter(["今天", "，他说", "：“好", "。”"])
    assert counted("(a)。", "chunks") == Counter(["(a)。"])  # ")。" is one word


def test_rare_words_are_forgotten_where_there_is_no_room():
    choose = random.Random(0)
    rare = ["".join(choose.choices("abcdefgh", k=12)) for _ in range(2000)]
    sample = [Text("en", f"{word} often", 1) for word in rare]
    tables = count_by_rule(sample, "byte-fallback", max_bytes=5000)
    words = dict(zip(tables["en"].words(), tables["en"].counts[:, 0].tolist(), strict=True))
    assert words[" often"] == 2000
    assert tables["en"].bytes <= 5000
    assert tables["en"].forgotten + sum(words.values()) == 4000
    again = count_by_rule(sample, "byte-fallback", max_bytes=5000)["en"]
    assert again.words() == tables["en"].words()

    by_splitting = count_by_splitting(sample, split_by_punctuation, chunk_bytes=1000, word_bytes=5000)
    assert by_splitting["en"][" often"] == 2000
    assert by_splitting.forgotten["en"] + by_splitting["en"].total() == 4000
    assert by_splitting.forgotten["en"] > 1000


def test_progress_tells_the_bytes_read():
    told: list[int] = []
    count_by_rule([Text("en", "abc", 2), Text("th", "กข", 1)], "byte-level", told.append)
    assert told == [6, 12]
