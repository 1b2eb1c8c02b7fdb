"""The classifier: the same numbers as fastText's own prediction, the same files twice, and what it tells apart."""

import random

import numpy as np
import pyarrow as pa
import pytest
from quality_corpora import corpus, document, shuffled

from diglot.base.artifact import Inputs
from diglot.base.errors import UserError
from diglot.quality.classifier import open_classifier, run
from diglot.quality.normalization import normalize
from diglot.recipe.quality import TrainClassifier

fasttext = pytest.importorskip("fasttext")


def texts_of(texts):
    return pa.array(texts, pa.large_string())


def inputs_of(path, number=60, languages=("en",)):
    random_ = random.Random(0)
    good = [(language, document(language, random_)) for language in languages for _ in range(number)]
    bad = [(language, f"{shuffled(text, random_)} click here") for language, text in good]
    return Inputs({"corpus": [corpus(path / "good", good)], "negatives": [corpus(path / "bad", bad)]})


def stage(inputs, output, context, **options):
    output.mkdir()
    settings = {"buckets": 5000, "epochs": 60, "held_out_texts": 10, **options}
    return run(TrainClassifier(**{"from": {"corpus": "good", "negatives": "bad"}, **settings}), inputs, output, context)


@pytest.mark.parametrize("word_ngrams", [1, 2, 4])
def test_our_prediction_is_fasttexts(tmp_path, context, word_ngrams):
    stage(inputs_of(tmp_path), tmp_path / "out", context, word_ngrams=word_ngrams)
    ours = open_classifier(tmp_path / "out" / "en")
    theirs = fasttext.load_model(str(tmp_path / "out" / "en" / "classifier.bin"))
    random_ = random.Random(1)
    texts = [document("en", random_) for _ in range(20)] + ["unknown words only", "ünïcödé das ist", "الملك قديم", "."]
    texts += [shuffled(text, random_) for text in texts]
    expected = []
    for text in normalize(texts_of(texts), ours.normalization).to_pylist():
        labels, probabilities = theirs.predict(text.replace("\n", " "), k=2)
        expected.append(dict(zip(labels, probabilities))["__label__good"])
    np.testing.assert_allclose(ours.score(texts_of(texts)), expected, atol=3e-5)  # theirs adds 1e-5 to each
    assert np.std(expected) > 3e-4  # ten times the tolerance: the model has learnt something


def test_it_tells_sentences_from_shuffled_words(tmp_path, context):
    summary = stage(inputs_of(tmp_path, 150), tmp_path / "out", context).languages["en"]
    assert summary.documents == {"good": 140, "bad": 140}
    assert summary.separation.auc > 0.95
    assert summary.separation.good == summary.separation.bad == 10
    scores = open_classifier(tmp_path / "out" / "en").score(
        texts_of([document("en", random.Random(5)), "a a the near sees click", ""])
    )
    assert scores[0] > 0.5 > scores[1]
    assert np.isnan(scores[2])


def test_the_same_files_twice(tmp_path, context):
    inputs = inputs_of(tmp_path, 40)
    for name in ("one", "two"):
        stage(inputs, tmp_path / name, context)
    for file in (tmp_path / "one" / "en").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / "en" / file.name).read_bytes(), file.name


def test_at_most_so_many_documents(tmp_path, context):
    summary = stage(inputs_of(tmp_path, 40), tmp_path / "out", context, documents=7).languages["en"]
    assert summary.documents == {"good": 7, "bad": 7}


def test_no_language_in_common(tmp_path, context):
    good = corpus(tmp_path / "good", [("en", "one two")] * 20)
    bad = corpus(tmp_path / "bad", [("ar", "واحد")] * 20)
    with pytest.raises(UserError, match="no language in common"):
        stage(Inputs({"corpus": [good], "negatives": [bad]}), tmp_path / "out", context)
