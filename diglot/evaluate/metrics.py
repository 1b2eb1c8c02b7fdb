"""Metrics of generated text, and what every score would be without each item in turn: standard errors come from these.

Corpus metrics come from sacrebleu (chrF2: characters up to 6-grams; BLEU: its 13a tokenisation, characters for
languages that write no spaces), on its scale of 0 to 100. Each item's counts are kept once, and the score without an
item only takes its counts off.
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


def mean_without_each(values: Sequence[float]) -> list[float]:
    """A mean without each value in turn; of a single one there is none."""
    return ratio_without_each(values, [1.0] * len(values))


def ratio_without_each(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """sum(numerators) / sum(denominators) without each document in turn; of a single one there is none."""
    if len(numerators) < 2:
        return []
    top, bottom = np.asarray(numerators, float), np.asarray(denominators, float)
    return ((top.sum() - top) / (bottom.sum() - bottom)).tolist()


def text_metric(name: str, language: str) -> Any:
    """The sacrebleu metric for texts of a language."""
    from sacrebleu.metrics import BLEU, CHRF  # extra: evaluate

    return CHRF() if name == "chrf" else BLEU(tokenize=_BLEU_TOKENIZERS.get(language, "13a"))


def corpus_score(metric: Any, hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """A corpus metric, 0 to 100."""
    return float(metric.corpus_score(list(hypotheses), [list(references)]).score)


def text_score_without_each(metric: Any, hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
    """What a corpus metric would be without each item in turn; of a single one there is none."""
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
