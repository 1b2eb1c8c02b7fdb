"""Scores of evaluate stages as comparable results: before, after, chance, and what is beyond noise.

One `Result` is one number of one evaluate stage; one `Comparison` sets it beside the same number of another.

    comparison = compare(before, after)[0]
    comparison.name, comparison.before.text, comparison.after.text, comparison.verdict
    # ('cloze', '26%', '84%', 'better')

Only the standard library is used here: the command line prints from it at the end of a run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from diglot.base.artifact import Artifact
from diglot.base.summaries.model import TrainedModel
from diglot.base.summaries.scores import ScoresSummary

INTERVAL = 1.96  # standard errors on each side of a 95% interval


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
    """

    kind: str
    name: str
    language: str
    metric: str
    value: float
    standard_error: float | None = None
    chance: float | None = None
    items: int | None = None

    @property
    def is_share(self) -> bool:
        """Whether the value is a share of items (shown in percent) rather than a score out of 100."""
        if self.kind == "preference":
            return True
        return self.kind == "task" and not self.metric.lower().startswith(
            ("chrf", "bleu", "ter", "rouge", "perplexity")
        )

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
    def error_text(self) -> str:
        """Half of the 95% interval as people read it, or nothing."""
        if self.standard_error is None:
            return ""
        half = self.format(self.standard_error * INTERVAL).removesuffix("%")
        return f"±{half}"

    @property
    def chance_text(self) -> str:
        """The chance level as people read it."""
        return self.format(self.chance or None)


@dataclass(frozen=True)
class Comparison:
    """The same number of two evaluate stages; either may be missing, not both."""

    before: Result | None
    after: Result | None

    @property
    def either(self) -> Result:
        """Whichever is there: kind, name, language, metric and chance are the same in both."""
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def name(self) -> str:
        """What was measured."""
        names = {
            "preference": "preference accuracy",
            "margin": "preference margin, nats",
            "gain": "margin over the reference, nats",
        }
        return names.get(self.either.kind, self.either.name)

    @property
    def detail(self) -> str:
        """How it was measured: a task's metric, the source of preference pairs."""
        return {"task": self.either.metric, "bits": ""}.get(self.either.kind, self.either.name)

    @property
    def change(self) -> float | None:
        """After minus before."""
        return self.after.value - self.before.value if self.before and self.after else None

    @property
    def change_text(self) -> str:
        """The change as people read it, with its sign."""
        return self.either.format(self.change, signed=True).replace("-", "−")

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `same` where the change is within the 95% interval of the difference.

        Margins are not judged: measured, a model that knows nothing of chats had 413 nats (long answers against
        short ones) and the one trained on the pairs 109, while its accuracy rose from 45% to 80%.
        """
        if self.change is None or not self.before or not self.after or self.either.kind in ("margin", "gain"):
            return "unknown"
        noise = math.hypot(self.before.standard_error or 0, self.after.standard_error or 0) * INTERVAL
        if abs(self.change) <= noise:
            return "same"
        lower = self.either.kind == "bits" or "perplexity" in self.either.metric or self.either.metric == "ter"
        return "better" if (self.change < 0) == lower else "worse"


def scores_of(artifact: Artifact) -> ScoresSummary:
    """What an evaluate stage measured."""
    assert isinstance(artifact.summary, ScoresSummary), f"{artifact.stage} has no scores"
    return artifact.summary


def results(scores: ScoresSummary) -> list[Result]:
    """All results of one evaluate stage, in the order of the tasks."""
    found = []
    for name, task in scores.tasks.items():
        own = task.score
        found.append(
            Result("task", name, task.language, task.metric, own.value, own.standard_error, task.chance, task.items)
        )
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


def compare(before: Artifact | None, after: Artifact) -> list[Comparison]:
    """Set the results of two evaluate stages side by side, in the order of the later one."""

    def by_key(artifact: Artifact | None) -> dict[tuple[str, str, str], Result]:
        found = results(scores_of(artifact)) if artifact else []
        return {(item.kind, item.name, item.language): item for item in found}

    first, last = by_key(before), by_key(after)
    return [Comparison(first.get(key), last.get(key)) for key in dict.fromkeys([*last, *first])]


def headline_comparisons(artifacts: Sequence[Artifact], before: Artifact | None, after: Artifact) -> list[Comparison]:
    """The comparisons that say what a run learnt, new languages first.

    Where preferences were trained, their margin is what DPO itself measures on held-out pairs: by how many nats the
    model has raised the chosen answer over the reference model more than the rejected one. Zero before its first step.
    """
    comparisons = compare(before, after)
    gains = []
    trained = [artifact.summary for artifact in artifacts if artifact.settings.get("objective") == "dpo"]
    for summary in (each for each in trained if isinstance(each, TrainedModel)):
        for source, now in summary.sources.items():
            was = summary.sources_before.get(source)
            if was and was.margin is not None and now.margin is not None:
                margins = (was.margin, now.margin)
                gains.append(Comparison(*(Result("gain", source, now.language, "log-ratio", m) for m in margins)))
    if gains:
        comparisons = [item for item in comparisons if item.either.kind != "margin"] + gains
    return in_reading_order(comparisons, new_languages(artifacts))


def before_and_after(
    artifacts: Sequence[Artifact], before: str | None = None, after: str | None = None
) -> tuple[Artifact | None, Artifact | None]:
    """The two evaluate stages to compare: those named, else the first and the last; None where there is none."""
    scores = [artifact for artifact in artifacts if artifact.kind == "scores"]
    by_name = {artifact.stage: artifact for artifact in scores}
    last = by_name.get(after or "", scores[-1] if scores else None)
    first = by_name.get(before or "", scores[0] if scores else None)
    return (None if first is last else first), last


def new_languages(artifacts: Sequence[Artifact]) -> list[str]:
    """The languages that the run adds: those its tokenizer was extended for."""
    extended = [artifact for artifact in artifacts if artifact.do == "extend-tokenizer"]
    return list(dict.fromkeys(code for artifact in extended for code in artifact.settings.get("languages") or []))


def in_reading_order(comparisons: list[Comparison], new: list[str]) -> list[Comparison]:
    """New languages first, then the others; within a language tasks, bits per byte, preferences."""
    kinds = ["task", "bits", "preference", "margin", "gain"]
    languages = [*new, *dict.fromkeys(item.either.language for item in comparisons)]
    return sorted(comparisons, key=lambda item: (languages.index(item.either.language), kinds.index(item.either.kind)))
