"""The short table at the end of `diglot run`: what was learnt, by language and task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from diglot.base.artifact import Artifact
from diglot.report.results import before_and_after, headline_comparisons, shown_language

STYLES = {"better": "green", "worse": "red", "same": "dim", "unknown": "dim"}


def learnt_table(artifacts: Sequence[Artifact], before: str | None = None, after: str | None = None) -> Table | None:
    """What was learnt: per language and task chance, before, after and change.

    Args:
        artifacts: those of a run, in run order.
        before: evaluate stage to compare with; if absent the report stage's, else the first.
        after: evaluate stage to show; if absent the report stage's, else the last.

    Returns:
        None when the run has no evaluate stage.
    """
    report = next((artifact.settings for artifact in artifacts if artifact.do == "report"), {})
    first, last = before_and_after(artifacts, before or report.get("before"), after or report.get("after"))
    if last is None:
        return None
    table = Table(
        title=f"What was learnt, from {first.stage} to {last.stage}" if first else f"Scores of {last.stage}",
        caption="± 95% interval; bits per byte: lower is better; changes within noise are dim",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("", overflow="fold")
    for column in ("chance", "before", "after", "change"):
        table.add_column(column, justify="right", no_wrap=True)
    rows = headline_comparisons(artifacts, first, last)
    names = Counter((row.either.language, row.name) for row in rows)
    for number, row in enumerate(rows):
        language = row.either.language
        if number == 0 or rows[number - 1].either.language != language:
            table.add_row(Text(shown_language(language), style="bold"))
        name = f"{row.name} ({row.detail})" if names[language, row.name] > 1 else row.name
        before, after = (f"{r.text} {r.error_text}" if r else "–" for r in (row.before, row.after))
        change = Text(_short(row.change_text), style=STYLES[row.verdict])
        table.add_row(Text(f"  {name}"), row.either.chance_text, _short(before), _short(after), change)
    return table


def _short(text: str) -> str:
    """Without the units, which would make the table wider than a terminal."""
    return text.replace(" points", "").replace(" nats", "")
