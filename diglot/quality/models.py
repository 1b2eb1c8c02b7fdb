"""Quality models as curation uses them: signals of the artifacts that `train-ngram` and `train-classifier` made.

    models = load([run / "perplexity", run / "classifier"])
    models.measure(texts, "ar")        # {"perplexity": …, "perplexity_rank": …, "quality": …}

`Models` pickles as its paths, for workers elsewhere. Each process opens a model once, when it is first needed; its
threads share it, since scoring writes nothing but its results.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from diglot.base.artifact import read_artifact
from diglot.base.errors import UserError
from diglot.quality.classifier import ABOUT_FILE, open_classifier
from diglot.quality.ngram import HELD_OUT_FILE, rank
from diglot.quality.trie import Trie, open_trie

PERPLEXITY, RANK, QUALITY = "perplexity", "perplexity_rank", "quality"
_KINDS = {"train-ngram": (PERPLEXITY, RANK), "train-classifier": (QUALITY,)}
_lock = threading.Lock()


@dataclass(frozen=True)
class Models:
    """The quality models of a run.

    Attributes:
        ngrams: the folder of the artifact of n-gram models, if any.
        classifiers: the folder of the artifact of classifiers, if any.
    """

    ngrams: Path | None = None
    classifiers: Path | None = None

    @property
    def signals(self) -> tuple[str, ...]:
        """The names of the signals that are measured."""
        return (_KINDS["train-ngram"] if self.ngrams else ()) + (_KINDS["train-classifier"] if self.classifiers else ())

    def measure(self, texts: pa.Array, language: str) -> dict[str, np.ndarray]:
        """The signals (float64 [documents]) of texts (`large_string`).

        NaN where there is no model for the language, or nothing to read in a text. A model for `zh` also serves
        `zh-Hant` if that has none of its own.
        """
        measured = {name: np.full(len(texts), np.nan) for name in self.signals}
        folder = _folder(self.ngrams, language)
        if folder:
            trie, held_out = _open_once(folder, _ngram)
            measured[PERPLEXITY] = trie.perplexity(texts)
            measured[RANK] = rank(measured[PERPLEXITY], held_out)
        folder = _folder(self.classifiers, language)
        if folder:
            measured[QUALITY] = _open_once(folder, open_classifier).score(texts)
        return measured

    def languages(self) -> list[str]:
        """The languages that have a model of some kind."""
        folders = [path for path in (self.ngrams, self.classifiers) if path]
        return sorted({entry.name for path in folders for entry in path.iterdir() if _is_model(entry)})


def load(artifacts: Iterable[Path]) -> Models:
    """The models of some artifacts of the kind `quality`.

    Raises:
        UserError: one is no such artifact, or two are of the same kind.
    """
    found: dict[str, Path] = {}
    for path in artifacts:
        artifact = read_artifact(path)
        if artifact is None or artifact.do not in _KINDS:
            raise UserError(f"{path} is not an artifact of {' or '.join(_KINDS)}")
        if artifact.do in found:
            raise UserError(
                f"{found[artifact.do].name} and {path.name} are both made by {artifact.do}, and would give the same "
                "signals; keep one of them (one stage can train models for many languages)"
            )
        found[artifact.do] = path
    return Models(found.get("train-ngram"), found.get("train-classifier"))


def _is_model(folder: Path) -> bool:
    return (folder / HELD_OUT_FILE).is_file() or (folder / ABOUT_FILE).is_file()


def _folder(path: Path | None, language: str) -> Path | None:
    """The folder of a language's model."""
    candidates = [path / code for code in (language, language.split("-")[0])] if path else []
    return next((folder for folder in candidates if _is_model(folder)), None)


def _ngram(folder: Path) -> tuple[Trie, np.ndarray]:
    return open_trie(folder), np.load(folder / HELD_OUT_FILE)


def _open_once(folder: Path, opener):  # type: ignore[no-untyped-def]
    with _lock:  # a cache alone would let two threads open the same model
        return _opened(folder, opener)


@functools.lru_cache(64)
def _opened(folder: Path, opener):  # type: ignore[no-untyped-def]
    return opener(folder)
