"""The table of what was learnt, by language and task: at the end of `diglot run`, and first on the page."""

from __future__ import annotations

from collections.abc import Sequence

from diglot.base.artifact import Artifact
from diglot.base.table import Cell, Table, left, right
from diglot.report.results import Comparison, before_and_after, headline_comparisons
from diglot.text.languages import shown_language

VERDICT_STYLES = {"better": "good", "worse": "bad", "same": "quiet", "unknown": "quiet"}
NOTE = "± is half a 95% interval. Bits per byte: lower is better. A change in grey is within noise."


def learnt_of(artifacts: Sequence[Artifact]) -> Table | None:
    """What a run learnt, between the evaluate stages that its report compares, else the first and the last.

    Returns:
        None when the run has no evaluate stage.
    """
    report = next((artifact.settings for artifact in artifacts if artifact.do == "report"), {})
    first, last = before_and_after(artifacts, report.get("before"), report.get("after"))
    if last is None:
        return None
    title = f"What was learnt, from {first.stage} to {last.stage}" if first else f"Scores of {last.stage}"
    return learnt_table(headline_comparisons(artifacts, first, last), title)


def learnt_table(comparisons: Sequence[Comparison], title: str) -> Table:
    """Chance, before, after and change of every number, below the name of its language."""
    table = Table([*left("language", "measured"), *right("chance", "before", "after", "change")], title, [NOTE], True)
    for item in comparisons:
        chance = Cell(item.either.chance_text, style="quiet")
        results = [
            Cell(result.text, result.error_text) if result else Cell("–") for result in (item.before, item.after)
        ]
        change = Cell(item.change_text, style=VERDICT_STYLES[item.verdict])
        table.add(shown_language(item.either.language), Cell(item.name, item.detail), chance, *results, change)
    return table
