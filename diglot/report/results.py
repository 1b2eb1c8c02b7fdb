"""Scores of evaluate stages as results: one `Result` is one number, with its interval and what chance would give.

Only the standard library is used here: the command line prints from it at the end of a run.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from diglot.base.artifact import Artifact
from diglot.base.intervals import half_interval, share_interval
from diglot.base.summaries.scores import ScoresSummary

UNIFORM = 8.0  # bits per byte of a model that knows nothing: all 256 bytes equally likely
# Points of 100 below which written answers count as unrelated to the question, however low chance is. Measured on 300
# sentences of NTREX: other sentences of the language have a chrF of 16 to 23 (8 languages with letters), 8 in Japanese and
# 6 in Chinese; the commonest word again and again has 0 to 7.
FLOOR = 10.0
# Shares whose items are right or wrong.
COUNTED = ("acc", "acc_norm", "acc_bytes", "acc_token", "accuracy", "exact_match", "language_consistency")
OUT_OF_100 = ("chrf", "bleu", "ter", "rouge")  # what names of metrics begin with that are no shares of 1
LOWER_IS_BETTER = re.compile(r"perplexity|bits_per_byte|brier|^(ter|wer|cer)$")  # names of such metrics of the harness


@dataclass(frozen=True)
class Result:
    """One number of one evaluate stage.

    Attributes:
        kind: `task`, `bits`, `preference` (accuracy), `margin` (of log-probabilities) or `gain` (of DPO's margin).
        name: task or source; for `bits` the words "bits per byte".
        language: ISO 639 code (for parallel text the source's name).
        metric: `acc`, `chrf`, …
        value: shares in 0..1, chrF and BLEU in 0..100, bits per byte, or nats.
        standard_error: in the unit of `value`; None if unknown.
        chance: what guessing scores, in the unit of `value`; None where there is no such thing.
        items: items, documents or pairs measured.
        written: answers are written by the model, not chosen.
    """

    kind: str
    name: str
    language: str
    metric: str
    value: float
    standard_error: float | None = None
    chance: float | None = None
    items: int | None = None
    written: bool = False

    @property
    def is_share(self) -> bool:
        """Whether the value is a share of items (shown in percent) rather than a score out of 100."""
        if self.kind == "task":
            return not self.metric.lower().startswith(OUT_OF_100) and not self.lower_is_better
        return self.kind == "preference"

    @property
    def points(self) -> float:
        """The value on a scale of 0 to 100, for tasks and preference accuracy."""
        return self.value * 100 if self.is_share else self.value

    def format(self, value: float | None, signed: bool = False) -> str:
        """A value in the unit of this result, as people read it."""
        if value is None or not math.isfinite(value):
            return "–"
        scale, digits, unit = self._unit
        number = f"{round(value * scale, digits) + 0.0:{'+' if signed else ''}.{digits}f}"  # + 0.0: no minus zero
        return number + (" points" if signed and unit == "%" else unit)

    @property
    def _unit(self) -> tuple[int, int, str]:
        """Scale, digits after the point, and unit that people read this result in."""
        if self.is_share:
            return 100, 0, "%"
        return (1, 3 if self.kind == "bits" else 1, "")

    @property
    def text(self) -> str:
        """The value as people read it."""
        return self.format(self.value)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval over items; None where it is not known."""
        if self.standard_error is None:
            return None
        if self.items and self.is_share and self.metric in COUNTED and 0 <= self.value <= 1:
            return share_interval(self.value, self.items)
        half = half_interval(self.standard_error, self.items)
        return self.value - half, self.value + half

    @property
    def error_text(self) -> str:
        """Half of the 95% interval as people read it, or nothing."""
        if self.interval is None:
            return ""
        low, high = self.interval
        return "±" + self.format((high - low) / 2).removesuffix("%")

    @property
    def lower_is_better(self) -> bool:
        """Whether a smaller number is a better one."""
        return self.kind == "bits" or bool(self.kind == "task" and LOWER_IS_BETTER.search(self.metric.lower()))

    @property
    def needed(self) -> float:
        """What a score must exceed to say anything: chance, and for written answers a floor."""
        floor = FLOOR / (100 if self.is_share else 1) if self.written else 0.0
        return max(self.chance or 0.0, floor)

    @property
    def is_known(self) -> bool:
        """Whether the score exceeds chance, or the floor, by its interval; bits per byte: those of equally likely bytes."""
        if self.interval is None:
            return False
        if self.lower_is_better:
            return self.kind == "bits" and self.interval[1] < UNIFORM
        return self.interval[0] > self.needed

    @property
    def chance_text(self) -> str:
        """The chance level as people read it."""
        return self.format(self.chance or None)


def scores_of(artifact: Artifact) -> ScoresSummary:
    """What an evaluate stage measured."""
    assert isinstance(artifact.summary, ScoresSummary), f"{artifact.stage} has no scores"
    return artifact.summary


def results(scores: ScoresSummary) -> list[Result]:
    """All results of one evaluate stage, in the order of the tasks."""
    found = []
    for name, task in scores.tasks.items():
        own, written = task.score, task.kind == "generation"
        about = ("task", name, task.language, task.metric)
        found.append(Result(*about, own.value, own.standard_error, task.chance, task.items, written))
    for language, bits in scores.bits_per_byte.items():
        found.append(
            Result(
                "bits", "bits per byte", language, "bits/byte", bits.value, bits.standard_error, None, bits.documents
            )
        )
    for source, pair in scores.preferences.items():
        right, margin = pair.accuracy, pair.margin
        found += [
            Result("preference", source, pair.language, "accuracy", right.value, right.standard_error, 0.5, pair.pairs),
            Result("margin", source, pair.language, "log-ratio", margin.value, margin.standard_error, None, pair.pairs),
        ]
    return found
