"""A small corpus, and the stages run on it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizer_corpora import ARABIC, ENGLISH, INDONESIAN, artifact, varied, write_corpus

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.recipe.tokenizer import ExtendTokenizer, TrainTokenizer
from diglot.tokenizer import extend, train


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small corpus in English, Arabic and Indonesian."""
    languages = (("en", ENGLISH), ("ar", ARABIC), ("id", INDONESIAN))
    kept = [document for code, text in languages for document in varied(code, text, 200)]
    held_out = [document for code, text in languages for document in varied(code, text, 20, seed=1)]
    return write_corpus(tmp_path_factory.mktemp("corpus"), kept, held_out)


@pytest.fixture
def train_tokenizer(tmp_path: Path, context: Context) -> Callable[..., tuple[Artifact, dict]]:
    """Runs the stage `train-tokenizer`: corpus and settings to the artifact and its summary."""

    def run(corpus: Artifact, **settings) -> tuple[Artifact, dict]:
        output = tmp_path / f"trained-{len(list(tmp_path.iterdir()))}"
        output.mkdir()
        summary = train.run(TrainTokenizer(**settings), Inputs({"corpus": [corpus]}), output, context)
        return artifact(output, "tokenizer"), summary

    return run


@pytest.fixture
def extend_tokenizer(tmp_path: Path, context: Context) -> Callable[..., tuple[Artifact, dict]]:
    """Runs the stage `extend-tokenizer`: base, corpus and settings to the artifact and its summary."""

    def run(base: Artifact, corpus: Artifact, **settings) -> tuple[Artifact, dict]:
        output = tmp_path / f"extended-{len(list(tmp_path.iterdir()))}"
        output.mkdir()
        inputs = Inputs({"tokenizer": [base], "corpus": [corpus]})
        summary = extend.run(ExtendTokenizer(**settings), inputs, output, context)
        return artifact(output, "tokenizer"), summary

    return run
