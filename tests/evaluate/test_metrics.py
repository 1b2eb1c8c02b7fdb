"""Metrics and standard errors against sacrebleu, closed forms and simulation."""

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from diglot.evaluate.metrics import bootstrap_error, corpus_score, mean_error, normalise, ratio_error, text_metric

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
def test_bootstrap_resamples_items(name):
    hypotheses, references = HYPOTHESES * 20, REFERENCES * 20
    metric = text_metric(name, "en")
    error = bootstrap_error(metric, hypotheses, references, seed="1")
    assert error == bootstrap_error(metric, hypotheses, references, seed="1")
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(100):
        rows = rng.integers(0, len(hypotheses), len(hypotheses))
        scores.append(corpus_score(metric, [hypotheses[r] for r in rows], [references[r] for r in rows]))
    assert error == pytest.approx(np.std(scores, ddof=1), rel=0.3)


def test_bootstrap_error_is_zero_for_perfect_answers_and_unknown_for_one():
    metric = text_metric("chrf", "ar")
    assert bootstrap_error(metric, REFERENCES, REFERENCES, seed="1") == 0
    assert bootstrap_error(metric, REFERENCES[:1], REFERENCES[:1], seed="1") is None


def test_mean_error_of_shares_is_binomial():
    assert mean_error([1.0] * 30 + [0.0] * 70) == pytest.approx(np.sqrt(0.3 * 0.7 / 99))
    assert mean_error([1.0]) is None


def test_ratio_error_is_the_spread_over_samples_of_documents():
    rng = np.random.default_rng(0)

    def sample():
        sizes = rng.integers(50, 500, 200).astype(float)
        return sizes * rng.normal(2, 0.3, 200), sizes

    ratios = [top.sum() / bottom.sum() for top, bottom in (sample() for _ in range(500))]
    assert ratio_error(*sample()) == pytest.approx(np.std(ratios), rel=0.2)
    assert ratio_error([1.0, 2.0], [2.0, 4.0]) == pytest.approx(0)
    assert ratio_error([1.0], [2.0]) is None


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
