"""Metrics of generated text, and what every score would be without each item in turn: standard errors come from these.

Corpus metrics come from sacrebleu (chrF2: characters up to 6-grams; BLEU: its 13a tokenisation, characters for
languages that write no spaces), on its scale of 0 to 100. Each item's counts are kept once, and the score without an
item only takes its counts off.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from diglot.text.languages import is_unspaced

SCORINGS = {"sum": "acc", "character": "acc_norm", "byte": "acc_bytes", "token": "acc_token"}  # the metric of each
CORPUS_METRICS = ("chrf", "bleu")
_BLEU_TOKENIZERS = {"zh": "zh", "ja": "char", "th": "char"}


def normalise(text: str) -> str:
    """For exact matches: compatibility forms, case, punctuation and white space do not count."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(" " if unicodedata.category(char).startswith("P") else char for char in folded)
    return re.sub(r"\s+", " ", kept).strip()


def words(text: str, language: str) -> list[str]:
    """Words of a text for F1 and ROUGE, normalised; characters of languages that write no spaces."""
    normal = normalise(text)
    return list(normal.replace(" ", "")) if is_unspaced(language) else normal.split()


def f1(answer: str, references: Sequence[str], language: str) -> float:
    """SQuAD's F1 over words, the best of several references: 0 to 1. Articles count, as not all languages have them."""
    given = Counter(words(answer, language))
    best = 0.0
    for reference in references:
        wanted = Counter(words(reference, language))
        common = sum((given & wanted).values())
        best = max(best, 2 * common / (given.total() + wanted.total()) if common else 0.0)
    return best


def rouge(answer: str, references: Sequence[str], language: str) -> float:
    """The mean of ROUGE-1, ROUGE-2 and ROUGE-L (F), the best of several references: 0 to 100."""
    from rouge_score import rouge_scorer  # extra: evaluate

    class Tokenizer:  # the library's own drops all that is not a Latin letter or a digit
        @staticmethod
        def tokenize(text: str) -> list[str]:
            return words(text, language)

    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=Tokenizer())
    scores = [scorer.score(reference, answer).values() for reference in references]
    return max(100 * mean([score.fmeasure for score in each]) for each in scores)


def item_score(name: str, answer: str, references: Sequence[str], language: str) -> float:
    """A metric that is a mean over items, for one of them."""
    if name == "exact_match":
        return float(normalise(answer) in map(normalise, references))
    return f1(answer, references, language) if name == "f1" else rouge(answer, references, language)


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


def chance_of_texts(name: str, language: str, references: Sequence[str]) -> float:
    """What answers in the right language score that have nothing to do with the question: other items' references.

    Returns:
        0 where all items have the same reference.
    """
    distinct = list(dict.fromkeys(references))
    if len(distinct) < 2:
        return 0.0
    other = dict(zip(distinct, distinct[1:] + distinct[:1]))
    answers = [other[reference] for reference in references]
    if name in CORPUS_METRICS:
        return corpus_score(text_metric(name, language), answers, references)
    return mean([item_score(name, answer, [reference], language) for answer, reference in zip(answers, references)])
