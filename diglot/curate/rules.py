"""Rules: thresholds on signals. The first rule that a document breaks is the reason it is dropped for.

A rule is called `min_` or `max_` and its signal: a document below or above its limit is dropped, one at the limit
stays, and so does one whose signal was not measured (NaN). `sample_quality` is the stochastic rule of GPT-3 (Brown et
al. 2020, appendix A), which RedPajama's palm score is made for: a document stays if a draw from a Pareto distribution
is above 1 - quality; the draw depends on the document's id alone.

The order is fixed: broken text first (what is broken is not in a wrong language), then length, then language, then
the other rules in the order of their set.

A **rule set** is a YAML file (docs/corpus.md lists those that come with the package, in `rulesets/`):

    description: What it is good for.
    rules:
      - {rule: min_words, limit: 50, source: "Gopher, A.1.1"}
      - {rule: min_gopher_stop_words, limit: 2, only: [en], source: "Gopher, A.1.1"}
    lines:                                  # lines that are taken out (`lines`)
      - {rule: line_words, limit: 5, source: "C4"}
    languages:                              # limits for one language; null switches a rule off
      ar: {source: "measured", max_top_2gram: 0.25, line_words: null}
    only: [en]                              # the set is for these languages alone,
    otherwise: polylm                       # and the others have this one (or no rules)

A language's limit comes from the last of: the set's `rules`, its `languages`, learnt limits (`learn`), the
recipe's `limits`, the recipe's `languages`.

Rules that presuppose something about the text are left out where it does not hold:
- lengths of words, in languages written without spaces, unless the limit is given for that language;
- for parallel text, which may be pairs of single words, all but the upper limit on words, and the shares of letters,
  digits, URLs, and invisible or broken characters.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diglot.curate.clean.line_rules import LineRule
from diglot.curate.rule_files import SAMPLE_QUALITY, Limit, RuleFile, read_rule_file
from diglot.recipe.curate import Rules
from diglot.recipe.signals import NAMES, SIGNALS
from diglot.text.languages import base_code, is_unspaced
from diglot.text.unicode import kernel

LANGUAGE_REASONS = ("wrong_language", "low_confidence")

_FIRST = ("max_invisible", "min_characters", "min_words")
_OF_SPACED_TEXT = {
    f"{side}_{signal}"
    for side in ("min", "max")
    for signal in ("mean_word_length", "mean_bare_word_length", "longest_word", "long_words")
}
_OF_PAIRS = {"max_words", "min_alphabetic_words", "max_digits", "max_invisible", "max_urls"}
_COLUMN = {name: place for place, name in enumerate(NAMES)}
_SCALE = {signal.name: signal.scale for signal in SIGNALS}
_NEEDS = {signal.name: signal.needs for signal in SIGNALS}


class Rule(NamedTuple):
    """A threshold: values below `low` or above `high` break it.

    Attributes:
        name: also the reason that documents are dropped for.
        signal: what it looks at.
        low: or None.
        high: or None.
        source: where the limit comes from.
        alpha: shape of the Pareto distribution, of the stochastic rule alone.
    """

    name: str
    signal: str
    low: float | None
    high: float | None
    source: str
    alpha: float | None = None

    def broken(self, values: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Which documents break the rule.

        Args:
            values: float [documents], of the signal.
            draws: float [documents], uniform in [0, 1).

        Returns:
            bool [documents].
        """
        if self.alpha is not None:
            return (1.0 - draws) ** (-1.0 / self.alpha) - 1.0 <= 1.0 - values
        return values < self.low if self.low is not None else values > self.high

    def describe(self, value: float) -> str:
        """Why a value breaks the rule, in words."""
        if self.alpha is not None:
            return f"{self.signal} {value:.4g}, kept by {(2.0 - value) ** -self.alpha:.2%} of draws"
        limit = f"< {self.low:g}" if self.low is not None else f"> {self.high:g}"
        return f"{self.signal} {value:.4g} {limit}"


class RuleSet(NamedTuple):
    """The rules of a stage, for any language.

    Attributes:
        file: the set.
        otherwise: the set for languages that it is not for.
        learnt: learnt limits, by language.
        limits: the recipe's, for all languages.
        languages: the recipe's, by language.
    """

    file: RuleFile
    otherwise: RuleFile | None
    learnt: dict[str, tuple[Limit, ...]]
    limits: tuple[Limit, ...]
    languages: dict[str, tuple[Limit, ...]]

    def rules_for(self, language: str, parallel: bool) -> list[Rule]:
        """The rules that apply to a source, in the order in which they are asked."""
        rules = [
            _rule(limit)
            for limit, for_language in self._chosen(language)
            if (limit.name in _OF_PAIRS or not parallel)
            and (for_language or limit.name not in _OF_SPACED_TEXT or not is_unspaced(language))
        ]
        return sorted(rules, key=lambda rule: _FIRST.index(rule.name) if rule.name in _FIRST else len(_FIRST))

    def rules_to_learn(self, language: str) -> list[Rule]:
        """The rules that reference text of a language can give limits, those on lengths of words among them."""
        rules = [_rule(limit) for limit, _ in self._chosen(language)]
        return [rule for rule in rules if _NEEDS[rule.signal] in ("text", "lines")]

    def _chosen(self, language: str) -> list[tuple[Limit, bool]]:
        """The last limit that each rule is given, and whether any was for this language."""
        chosen: dict[str, tuple[Limit, bool]] = {}
        for limit, for_language in self._limits(language, "rules"):
            chosen[limit.name] = limit, for_language or chosen.get(limit.name, (limit, False))[1]
        return [(limit, for_language) for limit, for_language in chosen.values() if limit.value is not None]

    def line_rules(self, language: str) -> tuple[LineRule, ...]:
        """The rules on lines that apply to a language, in the set's order."""
        chosen = {limit.name: limit for limit, _ in self._limits(language, "lines")}
        return tuple(LineRule(limit.name, limit.value) for limit in chosen.values() if limit.value is not None)

    def _limits(self, language: str, kind: str) -> Iterator[tuple[Limit, bool]]:
        """All limits on documents or on lines that are given for a language, the last word last."""
        file = self.file if _is_for(language, self.file.only) else self.otherwise
        if file is not None:
            for limit in getattr(file, kind):
                if _is_for(language, limit.only):
                    yield limit, False
            yield from ((limit, True) for limit in _of(language, file.languages) if limit.kind == kind)
        if kind == "rules":
            yield from ((limit, True) for limit in _of(language, self.learnt))
            yield from ((limit, False) for limit in self.limits)
            yield from ((limit, True) for limit in _of(language, self.languages))


def _is_for(language: str, only: tuple[str, ...]) -> bool:
    return not only or language in only or base_code(language) in only


def _of(language: str, limits: dict[str, tuple[Limit, ...]]) -> tuple[Limit, ...]:
    return limits.get(language, limits.get(base_code(language), ()))


def _rule(limit: Limit) -> Rule:
    if limit.name == SAMPLE_QUALITY:
        return Rule(limit.name, "quality", None, None, limit.source, limit.value)
    side, signal = limit.name.split("_", 1)
    low, high = (limit.value, None) if side == "min" else (None, limit.value)
    return Rule(limit.name, signal, low, high, limit.source)


def load_rule_set(settings: Rules, learnt: Path | None, base: Path | None) -> RuleSet:
    """Load the rules that a stage's settings ask for.

    Args:
        settings: the set's name or path, and changes to it.
        learnt: a file of learnt limits, from `learn`.
        base: what a relative path is relative to; the working folder where there is none.

    Raises:
        UserError: there is no such set, or its file is not in order; with file, line and key.
    """
    file = read_rule_file(settings.set, base)
    return RuleSet(
        file=file,
        otherwise=read_rule_file(file.otherwise, None) if file.otherwise else None,
        learnt=read_rule_file(str(learnt), None).languages if learnt else {},
        limits=_limits_of(settings.limits),
        languages={language: _limits_of(limits) for language, limits in settings.languages.items()},
    )


def _limits_of(limits: dict[str, float | None]) -> tuple[Limit, ...]:
    return tuple(Limit("rules", name, value, "the recipe") for name, value in limits.items())


# --- applying -------------------------------------------------------------------------------------------------


def reasons_in_order(rules: list[Rule]) -> list[str]:
    """The names of all reasons, in the order in which they are asked."""
    names = [rule.name for rule in rules]
    first = sum(name in _FIRST for name in names)
    return [*names[:first], *LANGUAGE_REASONS, *names[first:]]


def first_broken(rules: list[Rule], signals: np.ndarray, verdicts: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The first rule that each document breaks.

    Args:
        rules: from `RuleSet.rules_for`.
        signals: float [documents, len(catalogue.NAMES)]; NaN where not measured.
        verdicts: int [documents], from `identify.verdicts`.
        draws: float [documents], uniform in [0, 1), for the stochastic rule.

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
            broken = by_name[name].broken(signals[:, _COLUMN[by_name[name].signal]], draws)
        result[broken] = place
    return result


def unconditional(rules: list[Rule], signals: np.ndarray, draws: np.ndarray) -> dict[str, int]:
    """How many documents each rule breaks, whatever other rules they break as well; arguments of `first_broken`."""
    return {rule.name: int(np.count_nonzero(rule.broken(signals[:, _COLUMN[rule.signal]], draws))) for rule in rules}


def thresholds(rules: list[Rule]) -> dict[str, tuple[float | None, float | None]]:
    """The range (low, high) of each signal within which no rule is broken; None is open."""
    ranges: dict[str, tuple[float | None, float | None]] = {}
    for rule in rules:
        low, high = ranges.get(rule.signal, (None, None))
        ranges[rule.signal] = (rule.low if rule.low is not None else low, rule.high if rule.high is not None else high)
    return ranges


@functools.cache
def histogram_edges(signal: str) -> np.ndarray:
    """Fixed edges (float64), the same for every corpus, so that histograms of parts can be added."""
    if signal == "gopher_stop_words":
        return np.arange(10.0)
    scale = _SCALE[signal]
    if scale in ("count", "size"):  # six bins a decade
        return np.logspace(0, 7, 43) if signal == "characters" else np.logspace(0, 6, 37)
    return np.linspace(0, {"length": 20, "entropy": 10}.get(scale, 1), 41)


def histogram(signal: str, values: np.ndarray) -> np.ndarray:
    """Count values (int64) between the edges; what lies outside counts in the outermost bins, NaN nowhere."""
    edges = histogram_edges(signal)
    counts = np.zeros(len(edges) - 1, np.int64)
    _count_between(np.ascontiguousarray(values, np.float64), edges, bool(edges[0] == 1.0), counts)
    return counts


@kernel
def _count_between(values, edges, logarithmic, counts):
    """Count values between edges that are evenly spaced, or so are their logarithms: a guess, then a look.

    values float64, edges float64 [bins + 1], logarithmic bool, counts int64 [bins].
    """
    last = len(counts) - 1
    low, high = edges[0], edges[last + 1]
    scale = len(counts) / (np.log10(high) - np.log10(low) if logarithmic else high - low)
    for value in values:
        if np.isnan(value):
            continue
        inside = min(max(value, low), high)
        place = min(int((np.log10(inside) if logarithmic else inside - low) * scale), last)
        while place > 0 and value < edges[place]:
            place -= 1
        while place < last and value >= edges[place + 1]:
            place += 1
        counts[place] += 1
