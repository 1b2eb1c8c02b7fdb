"""Rules: thresholds on signals. The first rule that a document breaks is the reason it is dropped for.

The order is fixed: broken text first (what is broken is not in a wrong language), then length, then language, then
the other rules in the order of the recipe's `Rules`. A rule is called `min_` or `max_` and its signal.

Rules that presuppose something about the text are left out where it does not hold:
- word lengths, in languages written without spaces (a word is one letter there);
- for parallel text, which may be pairs of single words, all but the upper limit on words, and the shares of letters,
  digits, URLs, and invisible or broken characters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diglot.corpus.signals import TEXT_SIGNALS
from diglot.recipe import Rules

SIGNALS = (*TEXT_SIGNALS, "urls", "invisible", "language_confidence")
LANGUAGE_REASONS = ("wrong_language", "low_confidence")

_FIRST = ("max_invisible", "min_characters", "min_words")
_OF_SPACED_TEXT = {"min_mean_word_length", "max_mean_word_length"}
_OF_PAIRS = {"max_words", "min_alphabetic_words", "max_digits", "max_invisible", "max_urls"}


class Rule(NamedTuple):
    """A threshold: values below `low` or above `high` break it."""

    name: str
    signal: str
    low: float | None
    high: float | None

    def broken(self, values: np.ndarray) -> np.ndarray:
        """Which values break the rule (bool, shape of `values`)."""
        return values < self.low if self.low is not None else values > self.high

    def describe(self, value: float) -> str:
        """Why a value breaks the rule, in words."""
        limit = f"< {self.low:g}" if self.low is not None else f"> {self.high:g}"
        return f"{self.signal} {value:.4g} {limit}"


def rules_for(settings: Rules, *, unspaced: bool, parallel: bool) -> list[Rule]:
    """The rules that apply to a source, in the order in which they are asked."""
    rules = []
    for name, limit in settings:
        left_out = (unspaced and name in _OF_SPACED_TEXT) or (parallel and name not in _OF_PAIRS)
        if limit is None or left_out:
            continue
        side, signal = name.split("_", 1)
        rules.append(Rule(name, signal, limit if side == "min" else None, limit if side == "max" else None))
    return sorted(rules, key=lambda rule: _FIRST.index(rule.name) if rule.name in _FIRST else len(_FIRST))


def reasons_in_order(rules: list[Rule]) -> list[str]:
    """The names of all reasons, in the order in which they are asked."""
    names = [rule.name for rule in rules]
    first = sum(name in _FIRST for name in names)
    return [*names[:first], *LANGUAGE_REASONS, *names[first:]]


def first_broken(rules: list[Rule], signals: np.ndarray, verdicts: np.ndarray) -> np.ndarray:
    """The first rule that each document breaks.

    Args:
        rules: from `rules_for`.
        signals: float [documents, len(SIGNALS)].
        verdicts: int [documents], from `identify.verdicts`.

    Returns:
        int64 [documents]: index into `reasons_in_order(rules)`, -1 where none is broken.
    """
    by_name = {rule.name: rule for rule in rules}
    result = np.full(len(signals), -1, np.int64)
    order = reasons_in_order(rules)
    for place in range(len(order) - 1, -1, -1):
        name = order[place]
        if name in LANGUAGE_REASONS:
            broken = verdicts == LANGUAGE_REASONS.index(name) + 1
        else:
            broken = by_name[name].broken(signals[:, SIGNALS.index(by_name[name].signal)])
        result[broken] = place
    return result


def thresholds(rules: list[Rule], min_confidence: float) -> dict[str, list[float | None]]:
    """The range [low, high] of each signal within which no rule is broken; null is open."""
    ranges: dict[str, list[float | None]] = {name: [None, None] for name in SIGNALS}
    for rule in rules:
        low, high = ranges[rule.signal]
        ranges[rule.signal] = [
            rule.low if rule.low is not None else low,
            rule.high if rule.high is not None else high,
        ]
    ranges["language_confidence"] = [min_confidence, None]
    return ranges


def histogram_edges(signal: str) -> np.ndarray:
    """Fixed edges (float64), the same for every corpus, so that histograms of parts can be added."""
    if signal == "characters":
        return np.logspace(0, 7, 43)
    if signal == "words":
        return np.logspace(0, 6, 37)
    return np.linspace(0, 20 if signal == "mean_word_length" else 1, 41)


def histogram(signal: str, values: np.ndarray) -> np.ndarray:
    """Count values (int64) between the edges; what lies outside counts in the outermost bins."""
    edges = histogram_edges(signal)
    return np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
