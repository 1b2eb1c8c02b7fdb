"""ROUGE-L: rouge-score is the reference, pair by pair; pools and orders by their definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from diglot.align.rouge import Pool, cut_words, rouge_l

WORDS = st.lists(st.sampled_from(["the", "capital", "of", "Egypt", "?", "مصر", "عاصمة", "a"]), max_size=30)


class AsGiven:
    """A tokenizer for texts that are cut already."""

    def tokenize(self, text):
        return text.split()


SCORER = RougeScorer(["rougeL"], tokenizer=AsGiven())


def reference(first, second):
    return SCORER.score(" ".join(first), " ".join(second))["rougeL"].fmeasure


@given(WORDS, WORDS)
def test_it_is_rouge_scores(first, second):
    assert rouge_l(first, second) == pytest.approx(reference(first, second), abs=1e-12)


@given(st.lists(WORDS, max_size=8), st.lists(WORDS, max_size=8))
def test_the_nearest_of_a_pool(pool_texts, texts):
    pool = Pool()
    for words in pool_texts:
        pool.add(words)
    expected = [max((reference(words, other) for other in pool_texts), default=0.0) for words in texts]
    assert pool.nearest(texts) == pytest.approx(np.array(expected), abs=1e-12)


@given(st.lists(WORDS, max_size=6), st.lists(WORDS, max_size=10), st.sampled_from([0.3, 0.5, 0.7, 1.0]))
def test_what_is_taken_is_like_nothing_before_it(pool_texts, texts, limit):
    pool, expected, held = Pool(), [], list(pool_texts)
    for words in pool_texts:
        pool.add(words)
    for words in texts:
        nearest = max((reference(words, other) for other in held), default=0.0)
        expected.append(nearest)
        if nearest < limit - 1e-9:
            held.append(words)
    scores = pool.take_new(texts, limit)
    assert scores == pytest.approx(np.array(expected), abs=1e-12)
    assert len(pool) == len(held)


def test_more_texts_than_are_compared_at_a_time():
    texts = [[f"word{number}", "is", f"number{number}"] for number in range(600)]
    pool = Pool()
    scores = pool.take_new(texts, 0.7)
    assert len(pool) == 600
    assert scores == pytest.approx(np.array([0, *[1 / 3] * 599]))
    assert np.allclose(pool.nearest(texts), 1)


def test_many_words_step_over_the_surrogates():
    pool = Pool()
    pool.add([str(number) for number in range(60_000)])
    assert pool.nearest([["59999"]])[0] == pytest.approx(2 / 60_001)
    around = [str(number) for number in range(0xD7F0, 0xE010)]
    assert pool.nearest([around])[0] == pytest.approx(2 * len(around) / (60_000 + len(around)))


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("en", "What's 2+2?", ["What", "'", "s", "2", "+", "2", "?"]),
        ("ar", "ما عاصمة مصر؟", ["ما", "عاصمة", "مصر", "؟"]),
        ("ja", "今日は天気です。", ["今日", "は", "天気", "です", "。"]),
        ("th", "วันนี้อากาศดี", ["วัน", "นี้", "อากาศ", "ดี"]),
    ],
)
def test_words(language, text, words):
    assert cut_words([text], language) == [words]


def test_words_of_most_languages_are_nltks():
    from nltk.tokenize import wordpunct_tokenize

    text = "Geben Sie 3,5 € für „Äpfel“ aus — oder nicht?! l'été, Nguyễn\tx_y"
    assert cut_words([text], "de") == [wordpunct_tokenize(text)]
