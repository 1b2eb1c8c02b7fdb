"""Summaries of what judges text: n-gram models, classifiers, learnt rules."""

from __future__ import annotations

from dataclasses import dataclass, field

from diglot.base.summaries.summary import Record, Summary


@dataclass(frozen=True)
class Separation(Record):
    """How well a score tells good documents from bad ones.

    Attributes:
        auc: the probability that a good document scores above a bad one, half for ties.
        threshold: with the best F1 of keeping good documents; `precision` and `recall` are measured there.
        good, bad: documents it was measured on.
    """

    auc: float
    threshold: float
    precision: float
    recall: float
    good: int
    bad: int


@dataclass(frozen=True)
class NgramModel(Record):
    """An n-gram model of one language.

    Attributes:
        held_out: documents that it was measured on.
        perplexity: of all their tokens; None if it knows none of them.
        quantiles: of the documents' perplexities, by share.
        tokens, sentences: it was trained on.
        ngrams: of each order.
        taken_from: the file that it was read from instead.
        separation: from the negatives, where there are any in the language.
    """

    held_out: int
    perplexity: float | None
    quantiles: dict[str, float]
    tokens: int | None = None
    sentences: int | None = None
    ngrams: list[int] = field(default_factory=list)
    taken_from: str | None = None
    separation: Separation | None = None


@dataclass(frozen=True)
class NgramSummary(Summary, of=("train-ngram",)):
    """N-gram models by language; `unit` is what their tokens are."""

    headline = ("order", "perplexity")

    unit: str
    order: int
    languages: dict[str, NgramModel]

    @property
    def perplexity(self) -> dict[str, float]:
        """Of held-out text, by language."""
        return {name: of.perplexity for name, of in self.languages.items() if of.perplexity is not None}


@dataclass(frozen=True)
class ClassifierModel(Record):
    """A classifier of one language: the documents of both labels that it was trained on, and how well it tells them apart."""

    documents: dict[str, int]
    separation: Separation | None


@dataclass(frozen=True)
class ClassifierSummary(Summary, of=("train-classifier",)):
    """Classifiers by language; `word_ngrams` is the longest n-gram of words."""

    headline = ("word_ngrams", "auc")

    word_ngrams: int
    languages: dict[str, ClassifierModel]

    @property
    def auc(self) -> dict[str, float]:
        """Of held-out documents, by language."""
        return {name: of.separation.auc for name, of in self.languages.items() if of.separation}


@dataclass(frozen=True)
class LearntRules(Record):
    """The reference documents of a language, and how many rules they gave limits for."""

    documents: int
    rules: int


@dataclass(frozen=True)
class RulesSummary(Summary, of=("rules",)):
    """Learnt limits: the rule set that they are for, and how many by language."""

    headline = ("rules",)

    set: str
    languages: dict[str, LearntRules]

    @property
    def rules(self) -> dict[str, int]:
        """How many limits were learnt, by language."""
        return {name: of.rules for name, of in self.languages.items()}
