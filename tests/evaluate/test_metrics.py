"""Metrics and standard errors against sacrebleu, closed forms and simulation."""

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from diglot.base.intervals import jackknife_error
from diglot.evaluate.metrics import (
    chance_of_texts,
    corpus_score,
    mean_without_each,
    normalise,
    ratio_without_each,
    text_metric,
    text_score_without_each,
)

REFERENCES = ["الخباز يبيع الخبز.", "The cat is on the mat today.", "He walks to the old market.", "Four."]
HYPOTHESES = ["الخباز يبيع خبزا.", "The cat sat on the mat today.", "He went to the market.", ""]


def test_corpus_scores_are_sacrebleus():
    assert corpus_score(text_metric("chrf", "en"), HYPOTHESES, REFERENCES) == pytest.approx(
        sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES]).score
    )
    assert corpus_score(text_metric("bleu", "en"), HYPOTHESES, REFERENCES) == pytest.approx(
        sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score
    )


@pytest.mark.parametrize("name", ["chrf", "bleu"])
def test_text_score_without_each_item_are_sacrebleus_and_give_the_error_of_resampled_items(name):
    hypotheses, references = HYPOTHESES * 20, REFERENCES * 20
    metric = text_metric(name, "en")
    without = text_score_without_each(metric, hypotheses, references)
    assert without[2] == pytest.approx(
        corpus_score(metric, hypotheses[:2] + hypotheses[3:], references[:2] + references[3:])
    )
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(100):
        rows = rng.integers(0, len(hypotheses), len(hypotheses))
        scores.append(corpus_score(metric, [hypotheses[r] for r in rows], [references[r] for r in rows]))
    assert jackknife_error(without) == pytest.approx(np.std(scores, ddof=1), rel=0.3)


def test_perfect_answers_have_no_error_and_one_item_has_no_score_without_it():
    metric = text_metric("chrf", "ar")
    assert jackknife_error(text_score_without_each(metric, REFERENCES, REFERENCES)) == 0
    assert text_score_without_each(metric, REFERENCES[:1], REFERENCES[:1]) == []


def test_chance_of_texts_is_the_score_of_another_items_reference():
    metric = text_metric("chrf", "en")
    shifted = [*REFERENCES[1:], REFERENCES[0]]
    assert chance_of_texts("chrf", "en", REFERENCES) == pytest.approx(corpus_score(metric, shifted, REFERENCES))
    # The same reference twice running is no other answer.
    twice = [reference for reference in REFERENCES for _ in range(2)]
    assert chance_of_texts("chrf", "en", twice) == pytest.approx(chance_of_texts("chrf", "en", REFERENCES))
    assert chance_of_texts("chrf", "en", ["yes", "yes"]) == 0


def test_the_error_of_a_mean_of_shares_is_binomial():
    assert jackknife_error(mean_without_each([1.0] * 30 + [0.0] * 70)) == pytest.approx(np.sqrt(0.3 * 0.7 / 99))
    assert mean_without_each([1.0]) == []


def test_the_error_of_a_ratio_is_the_spread_over_samples_of_documents():
    rng = np.random.default_rng(0)

    def sample():
        sizes = rng.integers(50, 500, 200).astype(float)
        return sizes * rng.normal(2, 0.3, 200), sizes

    ratios = [top.sum() / bottom.sum() for top, bottom in (sample() for _ in range(500))]
    assert jackknife_error(ratio_without_each(*sample())) == pytest.approx(np.std(ratios), rel=0.2)
    assert jackknife_error(ratio_without_each([1.0, 2.0], [2.0, 4.0])) == pytest.approx(0)
    assert ratio_without_each([1.0], [2.0]) == []


def test_normalise():
    assert normalise("  The Cat,  sat! ") == normalise("the cat sat") == "the cat sat"
    assert normalise("نعم، هو خباز.") == "نعم هو خباز"
    assert normalise("ﬁne") == "fine"
    assert normalise("one two") != normalise("onetwo")


@given(st.text())
def test_normalising_twice_is_normalising_once(text):
    # Folding may produce new compatibility characters, which is why a second pass must not change anything more.
    once = normalise(text)
    assert normalise(once) == normalise(normalise(once))
    assert once == once.strip()
    assert "  " not in once
