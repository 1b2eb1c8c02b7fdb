"""What was learnt, by language and task: at the end of `diglot run` and first on the page, in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diglot.base.artifact import Artifact
from diglot.base.format import join
from diglot.base.table import Cell, Table, left, right
from diglot.report.comparisons import Comparison, before_and_after, headline_comparisons, losses, new_languages
from diglot.report.finding import finding_of
from diglot.text.languages import shown_language

VERDICT_STYLES = {"better": "good", "worse": "bad", "same": "quiet", "unknown": "quiet"}
COVERS = (
    "± is half a 95% interval over the items of a test: how far other items like them might move the number. That of a "
    "change is paired, item by item (jackknife), where both models had the same items."
)
GREY = "Bits per byte: lower is better. A change in grey is within its interval, or has none and is not judged."


@dataclass(frozen=True)
class Learnt:
    """The table, and the finding in words."""

    table: Table
    finding: str


def learnt_of(artifacts: Sequence[Artifact]) -> Learnt | None:
    """What a run learnt, between the evaluate stages that its report compares, else the first and the last.

    Returns:
        None when the run has no evaluate stage.
    """
    report = next((artifact.settings for artifact in artifacts if artifact.do == "report"), {})
    first, last = before_and_after(artifacts, report.get("before"), report.get("after"))
    if last is None:
        return None
    title = f"What was learnt, from {first.stage} to {last.stage}" if first else f"Scores of {last.stage}"
    rows = headline_comparisons(artifacts, first, last)
    finding = finding_of(rows, new_languages(artifacts), losses(artifacts, first, last))
    return Learnt(learnt_table(rows, title, next_seed(artifacts)), finding)


def next_seed(artifacts: Sequence[Artifact]) -> int:
    """A seed that the run did not have."""
    return max((artifact.inputs.get("seed") or 0 for artifact in artifacts), default=0) + 1


def learnt_table(comparisons: Sequence[Comparison], title: str, seed: int) -> Table:
    """Chance, before, after and change of every number, below the name of its language; `seed` is to be tried next."""
    moved: dict[str, dict[str, None]] = {}
    for item in comparisons:
        if item.since:
            moved.setdefault(item.since, {})[shown_language(item.either.language)] = None
    notes = [
        COVERS,
        f"No ± covers another training: diglot run RECIPE seed={seed} --run FOLDER shows how much a seed moves.",
        *(f"{join(of)}: before {stage}, bits per byte were worse than 8, those of equally likely bytes." for stage, of in moved.items()),
        GREY,
    ]  # fmt: skip
    table = Table([*left("language", "measured"), *right("chance", "before", "after", "change")], title, notes, True)
    for item in comparisons:
        chance = Cell(item.either.chance_text, style="quiet")
        results = [
            Cell(result.text, result.error_text) if result else Cell("–") for result in (item.before, item.after)
        ]
        change = Cell(item.change_text, item.half_text, VERDICT_STYLES[item.verdict])
        table.add(shown_language(item.either.language), Cell(item.name, item.detail), chance, *results, change)
    return table
