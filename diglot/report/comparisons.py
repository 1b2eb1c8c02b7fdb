"""Two evaluate stages side by side: before, after, the change with its interval, and what is beyond noise.

    comparison = compare(before, after)[0]
    comparison.name, comparison.before.text, comparison.after.text, comparison.verdict
    # ('cloze', '26%', '84%', 'better')

Only the standard library is used here: the command line prints from it at the end of a run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from diglot.base.artifact import Artifact
from diglot.base.files import read_json
from diglot.base.intervals import half_interval, jackknife_error
from diglot.base.summaries.model import TrainedModel
from diglot.report.results import UNIFORM, Result, results, scores_of

Key = tuple[str, str, str]  # kind, name and language of a result
UNJUDGED = ("margin", "gain")
MOST_BYTES = 2**27  # of the file; ten million items have less
LARGEST = 1e12  # that a score can be; a file from elsewhere may hold any number


@dataclass(frozen=True)
class Comparison:
    """The same number of two evaluate stages; either may be missing, not both.

    Attributes:
        before, after: the results.
        error: standard error of the change; None if unknown.
        paired: the error is of differences item by item; else the two were measured on other items, or it is not known.
        since: the stage of `before`, where that is not the one that the whole table is about.
    """

    before: Result | None
    after: Result | None
    error: float | None = None
    paired: bool = False
    since: str = ""

    @property
    def either(self) -> Result:
        """Whichever is there: kind, name, language, metric and chance are the same in both."""
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def key(self) -> Key:
        """What tells this number from the others of a stage."""
        return self.either.kind, self.either.name, self.either.language

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
    def half(self) -> float | None:
        """Half of the 95% interval of the change; None where it is not known.

        Of shares a whole item is added: that 4 of 150 items turned right and none wrong is within chance (a sign test
        gives 12%), but four equal differences and 146 zeros have a standard error that says otherwise.
        """
        if self.change is None or self.error is None:
            return None
        items = self.either.items
        one = 1 / items if items and self.either.is_share else 0.0
        return half_interval(math.hypot(self.error, one), items)

    @property
    def half_text(self) -> str:
        """Half of the interval of the change as people read it, or nothing."""
        return f"±{self.either.format(self.half).removesuffix('%')}" if self.half is not None else ""

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `same` where the change is within its 95% interval, or `unknown` where that is not known.

        Margins are not judged: measured, a model that knows nothing of chats had 413 nats (long answers against
        short ones) and the one trained on the pairs 109, while its accuracy rose from 45% to 80%.
        """
        if self.change is None or self.half is None or self.either.kind in UNJUDGED:
            return "unknown"
        if abs(self.change) <= self.half:
            return "same"
        return "better" if (self.change < 0) == self.either.lower_is_better else "worse"

    @property
    def is_learnt(self) -> bool:
        """Whether a task is better than before by more than noise, and beyond chance or the floor."""
        return self.verdict == "better" and self.after is not None and self.after.is_known


# --- setting side by side -------------------------------------------------------------------------------------


def compare(before: Artifact | None, after: Artifact) -> list[Comparison]:
    """Set the results of two evaluate stages side by side, in the order of the later one."""
    first, last = by_key(before) if before else {}, by_key(after)
    without_first, without_last = _without(before) if before else {}, _without(after)
    found = []
    for key in dict.fromkeys([*last, *first]):
        was, now = first.get(key), last.get(key)
        error, paired = _change_error(was, now, *(_of(without, key) for without in (without_first, without_last)))
        found.append(Comparison(was, now, error, paired))
    return found


def by_key(artifact: Artifact) -> dict[Key, Result]:
    """The results of an evaluate stage."""
    return {Comparison(None, item).key: item for item in results(scores_of(artifact))}


def _without(artifact: Artifact) -> dict[str, Any]:
    """What evaluation wrote about its scores without each of their items; nothing where another version ran it."""
    file = artifact.file("without.json")
    found = read_json(file, f"run the stage {artifact.stage!r} again", MOST_BYTES) if file.is_file() else {}
    return found if isinstance(found, dict) else {}


def _of(without: dict[str, Any], key: Key) -> tuple[str, list[float]] | None:
    """The hash of a result's items, and the score without each of them."""
    kind, name, language = key
    of_kind = without.get(kind)
    found = of_kind.get(language if kind == "bits" else name) if isinstance(of_kind, dict) else None
    if not isinstance(found, dict) or not isinstance(found.get("without"), list):
        return None
    values = [value for value in found["without"] if type(value) in (int, float) and abs(value) < LARGEST]
    return (str(found.get("items")), values) if len(values) == len(found["without"]) else None


def _change_error(before: Result | None, after: Result | None, first: Any, last: Any) -> tuple[float | None, bool]:
    """The standard error of a change, and whether it is paired: of differences on the same items, one by one."""
    if before is None or after is None:
        return None, False
    if first and last and first[0] == last[0] and len(first[1]) == len(last[1]):
        return jackknife_error([now - was for was, now in zip(first[1], last[1])]), True
    if before.standard_error is None or after.standard_error is None:
        return None, False
    return math.hypot(before.standard_error, after.standard_error), False


def headline_comparisons(artifacts: Sequence[Artifact], before: Artifact | None, after: Artifact) -> list[Comparison]:
    """The comparisons that say what a run learnt, new languages first.

    Where preferences were trained, their margin is what DPO itself measures on held-out pairs: by how many nats the
    model has raised the chosen answer over the reference model more than the rejected one. Zero before its first step.
    """
    comparisons = _with_baselines(artifacts, before, after, compare(before, after))
    gains = []
    trained = [artifact.summary for artifact in artifacts if artifact.settings.get("objective") == "dpo"]
    for summary in (each for each in trained if isinstance(each, TrainedModel)):
        for source, now in summary.sources.items():
            was = summary.sources_before.get(source)
            if was and was.margin is not None and now.margin is not None:
                first, last = (Result("gain", source, now.language, "log-ratio", m) for m in (was.margin, now.margin))
                gains.append(Comparison(first, last))
    if gains:
        comparisons = [item for item in comparisons if item.either.kind != "margin"] + gains
    return in_reading_order(comparisons, new_languages(artifacts))


def _with_baselines(
    artifacts: Sequence[Artifact], before: Artifact | None, after: Artifact, comparisons: list[Comparison]
) -> list[Comparison]:
    """Bits per byte worse than those of equally likely bytes give way to the next stage that has better ones.

    A byte-fallback tokenizer costs a base model 16 bits per byte of a script that it has never seen: whoever subtracts
    from that counts the tokenizer's change as the model's learning.
    """
    between = scored_until(artifacts, after)
    later = between[between.index(before) + 1 :] if before in between else []
    found = []
    for item in comparisons:
        if item.before is not None and item.either.kind == "bits" and item.before.value >= UNIFORM:
            key = item.key
            fit = (each for each in later if (bits := by_key(each).get(key)) and bits.value < UNIFORM)
            stage = next(fit, None)
            item = next(each for each in compare(stage, after) if each.key == key)
            item = replace(item, since=stage.stage if stage else "")
        found.append(item)
    return found


def scored_until(artifacts: Sequence[Artifact], after: Artifact) -> list[Artifact]:
    """The evaluate stages that ran before one."""
    scores = [artifact for artifact in artifacts if artifact.kind == "scores"]
    return scores[: scores.index(after)] if after in scores else scores


def losses(artifacts: Sequence[Artifact], before: Artifact | None, after: Artifact) -> list[Comparison]:
    """What the last model does worse, by more than noise, than the best one between it and the first.

    A score that was never beyond chance cannot be lost. The best of many stages is partly luck, so with many of them a
    loss at the border of its interval says less.
    """
    lost = []
    stages = [stage for stage in scored_until(artifacts, after) if stage is not before]
    beside = {stage.stage: {item.key: item for item in compare(stage, after)} for stage in stages}
    for key, now in by_key(after).items():
        sign = 1 if now.lower_is_better else -1
        known = [
            (sign * item.before.value, replace(item, since=name))
            for name, of in beside.items()
            if (item := of.get(key)) and item.before and item.before.is_known
        ]
        best = min(known, key=lambda each: each[0])[1] if known else None
        if best and best.verdict == "worse":
            lost.append(best)
    return in_reading_order(lost, new_languages(artifacts))


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
