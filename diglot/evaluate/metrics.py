"""Metrics of generated text, and standard errors.

Corpus metrics come from sacrebleu (chrF2: characters up to 6-grams; BLEU: its 13a tokenisation, characters for
languages that write no spaces), on its scale of 0 to 100. Their standard error is a bootstrap over items: each
item's counts are kept once, and a resample only adds counts up.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from diglot.base.randomness import key_hash

BOOTSTRAP_RESAMPLES = 500
_BLEU_TOKENIZERS = {"zh": "zh", "ja": "char", "th": "char"}


def normalise(text: str) -> str:
    """For exact matches: compatibility forms, case, punctuation and white space do not count."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(" " if unicodedata.category(char).startswith("P") else char for char in folded)
    return re.sub(r"\s+", " ", kept).strip()


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return float(np.mean(values))


def mean_error(values: Sequence[float]) -> float | None:
    """Standard error of a mean; None for fewer than two values, which say nothing about spread."""
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def ratio_error(numerators: Sequence[float], denominators: Sequence[float]) -> float | None:
    """Standard error of sum(numerators) / sum(denominators) over documents (the linearised ratio estimator)."""
    if len(numerators) < 2:
        return None
    top, bottom = np.asarray(numerators, float), np.asarray(denominators, float)
    residuals = top - top.sum() / bottom.sum() * bottom
    count = len(top)
    return float(np.sqrt(count / (count - 1) * np.sum(residuals**2)) / bottom.sum())


def text_metric(name: str, language: str) -> Any:
    """The sacrebleu metric for texts of a language."""
    from sacrebleu.metrics import BLEU, CHRF  # extra: evaluate

    return CHRF() if name == "chrf" else BLEU(tokenize=_BLEU_TOKENIZERS.get(language, "13a"))


def corpus_score(metric: Any, hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """A corpus metric, 0 to 100."""
    return float(metric.corpus_score(list(hypotheses), [list(references)]).score)


def bootstrap_error(metric: Any, hypotheses: Sequence[str], references: Sequence[str], seed: str) -> float | None:
    """Standard error of a corpus metric: its deviation over resamples of the items."""
    if len(hypotheses) < 2:
        return None
    counts = np.array(metric._extract_corpus_statistics(list(hypotheses), [list(references)]))
    rng = np.random.default_rng(key_hash(seed))
    draws = rng.integers(0, len(counts), (BOOTSTRAP_RESAMPLES, len(counts)))
    sums = [counts[draw].sum(axis=0).tolist() for draw in draws]
    return float(np.std([metric._compute_score_from_stats(total).score for total in sums], ddof=1))
