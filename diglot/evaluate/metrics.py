"""Metrics of generated text, and standard errors.

Corpus metrics come from sacrebleu (chrF2: characters up to 6-grams; BLEU: its 13a tokenisation, characters for
languages that write no spaces), on its scale of 0 to 100. Their standard error is a jackknife over items: each item's
counts are kept once, and the score without an item only takes its counts off.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

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


def scores_without_each(metric: Any, hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
    """What a corpus metric would be without each item in turn; with one item there is no such score."""
    counts = np.array(metric._extract_corpus_statistics(list(hypotheses), [list(references)]))
    if len(counts) < 2:
        return []
    return [float(metric._compute_score_from_stats(rest.tolist()).score) for rest in counts.sum(axis=0) - counts]


def chance_of_texts(metric: Any, references: Sequence[str]) -> float:
    """What answers in the right language score that have nothing to do with the question: other items' references.

    Returns:
        0 where all items have the same reference.
    """
    distinct = list(dict.fromkeys(references))
    if len(distinct) < 2:
        return 0.0
    other = dict(zip(distinct, distinct[1:] + distinct[:1]))
    return corpus_score(metric, [other[reference] for reference in references], references)
