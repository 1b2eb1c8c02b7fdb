"""Quality models as curation loads them."""

import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from quality_corpora import corpus, document, shuffled

from diglot.base.artifact import Context, Inputs, writing
from diglot.base.errors import UserError
from diglot.quality import classifier, ngram
from diglot.quality.models import load
from diglot.recipe.quality import TrainClassifier, TrainNgram


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """An artifact of n-gram models and one of classifiers, in English; and the folder they lie in."""
    pytest.importorskip("fasttext")
    path = tmp_path_factory.mktemp("run")
    random_ = random.Random(0)
    good = [("en", document("en", random_)) for _ in range(60)]
    bad = [("en", shuffled(text, random_)) for _, text in good]
    inputs = Inputs({"corpus": [corpus(path / "good", good)], "negatives": [corpus(path / "bad", bad)]})
    (path / "scratch").mkdir()
    context = Context(name="quality", seed=0, scratch=path / "scratch", workers=1)
    stages = {
        "perplexity": (ngram.run, TrainNgram(**{"from": {"corpus": "good"}, "order": 3})),
        "good-text": (
            classifier.run,
            TrainClassifier(**{"from": {"corpus": "good", "negatives": "bad"}, "buckets": 1000}),
        ),
    }
    for name, (run, settings) in stages.items():
        manifest = {"stage": name, "kind": "quality", "do": settings.do, "fingerprint": "f", "settings": {}}
        with writing(path / name, **manifest, inputs={}) as unfinished:
            unfinished.summary = run(settings, inputs, unfinished.folder, context)
    return path


TEXTS = pa.array([document("en", random.Random(9)), "house a the sees near near a", "", "…"], pa.large_string())


def test_signals(artifacts):
    models = load([artifacts / "good-text", artifacts / "perplexity"])
    assert models.languages() == ["en"]
    measured = models.measure(TEXTS, "en")
    assert tuple(measured) == models.signals == ("perplexity", "perplexity_rank", "quality")
    assert all(values.dtype == np.float64 and len(values) == 4 for values in measured.values())
    assert measured["perplexity"][0] < measured["perplexity"][1]
    assert measured["perplexity_rank"][0] <= 0.9
    assert measured["perplexity_rank"][1] == 1
    assert all(np.isnan(values[2]) for values in measured.values())
    assert not np.isnan(measured["perplexity"][3])


def test_a_language_without_a_model_has_no_signals(artifacts):
    models = load([artifacts / "perplexity"])
    measured = models.measure(TEXTS, "ar")
    assert set(measured) == {"perplexity", "perplexity_rank"}
    assert all(np.isnan(values).all() for values in measured.values())
    np.testing.assert_array_equal(
        models.measure(TEXTS, "en-Latn")["perplexity"], models.measure(TEXTS, "en")["perplexity"]
    )
    assert load([]).measure(TEXTS, "en") == {}


def test_pickled_and_in_threads_they_measure_the_same(artifacts):
    models = load([artifacts / "perplexity", artifacts / "good-text"])
    copy = pickle.loads(pickle.dumps(models))
    assert len(pickle.dumps(models)) < 1000
    expected = models.measure(TEXTS, "en")
    with ThreadPoolExecutor(4) as pool:
        for measured in pool.map(lambda _: copy.measure(TEXTS, "en"), range(20)):
            for name, values in measured.items():
                np.testing.assert_array_equal(values, expected[name])


def test_slices_of_arrays(artifacts):
    models = load([artifacts / "perplexity", artifacts / "good-text"])
    whole, part = models.measure(TEXTS, "en"), models.measure(TEXTS.slice(1, 2), "en")
    for name in whole:
        np.testing.assert_array_equal(part[name], whole[name][1:3])


def test_what_cannot_be_loaded_is_said(artifacts):
    with pytest.raises(UserError, match="good is not an artifact of train-ngram"):
        load([artifacts / "good"])
    with pytest.raises(UserError, match="both made by train-ngram"):
        load([artifacts / "perplexity", artifacts / "perplexity"])


def test_a_model_from_elsewhere_is_taken_instead_of_training(artifacts, tmp_path):
    arpa = artifacts / "perplexity" / "en" / "model.arpa.gz"
    good = [("en", document("en", random.Random(seed))) for seed in range(40)]
    inputs = Inputs({"corpus": [corpus(tmp_path / "good", good)]})
    settings = TrainNgram(**{"from": {"corpus": "good"}, "models": {"en": str(arpa)}, "arpa": False})
    assert settings.outside_paths() == {("models", "en"): str(arpa)}
    (tmp_path / "scratch").mkdir()
    manifest = {"stage": "taken", "kind": "quality", "do": settings.do, "fingerprint": "f", "settings": {}}
    with writing(tmp_path / "taken", **manifest, inputs={}) as unfinished:
        context = Context(name="taken", seed=0, scratch=tmp_path / "scratch", workers=1)
        unfinished.summary = ngram.run(settings, inputs, unfinished.folder, context)
        assert unfinished.summary.languages["en"].taken_from == "model.arpa.gz"
    one, other = (load([path]).measure(TEXTS, "en") for path in (artifacts / "perplexity", tmp_path / "taken"))
    np.testing.assert_allclose(other["perplexity"], one["perplexity"], rtol=1e-5)
