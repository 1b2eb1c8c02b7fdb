"""Answers about a stage's data as tables, readable at 100 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.markup import escape
from rich.table import Table


def mixture_tables(mixture: dict[str, Any]) -> Iterator[Table | str]:
    """One table a phase: shares asked for and realised, tokens, passes."""
    for name, phase in mixture["phases"].items():
        ramp = ", ramping from the mixture before" if phase["ramp"] else ""
        table = _table(f"{mixture['stage']}: phase {name}, {phase['steps']:,} steps{ramp}", ("source",))
        for column in ("planned", "realised", "tokens", "rows", "passes", "at most", "fill"):
            table.add_column(column, justify="right")
        for source, entry in phase["sources"].items():
            cap = entry["max_epochs"]
            table.add_row(
                escape(source),
                f"{entry['planned']:.2%}",
                f"{entry['realised']:.2%}",
                f"{entry['tokens']:,}",
                f"{entry['rows']:,}",
                f"{entry['epochs']:.2f}",
                "–" if cap is None else f"{cap:g}",
                f"{entry['fill']:.1%}",
            )
        yield table
    yield "planned: the recipe's share of tokens (of a ramp, at its end); passes: when the phase ends"
    for source, number in mixture["dropped_as_too_long"].items():
        if number:
            yield f"{source}: {number:,} documents are longer than a sequence and left out"


def step_tables(found: dict[str, Any], limit: int) -> Iterator[Table | str]:
    """The documents of a step."""
    documents = found["documents"]
    table = _table(
        f"{found['stage']}: step {found['step']:,}, phase {found['phase']}, fill {found['fill']:.1%}",
        ("source", "document"),
    )
    for column in ("row", "epoch", "tokens"):
        table.add_column(column, justify="right")
    table.add_column("begins", no_wrap=True, overflow="ellipsis", ratio=1)
    for entry in documents[:limit]:
        table.add_row(
            escape(entry["source"]),
            escape(entry["id"]),
            str(entry["row"]),
            str(entry["epoch"]),
            f"{entry['from']}–{entry['to']}",
            escape(entry["words"]),
        )
    yield table
    if len(documents) > limit:
        yield f"and {len(documents) - limit:,} more of {len(documents):,}; --limit or --json shows them"


def document_tables(found: dict[str, Any], limit: int) -> Iterator[Table | str]:
    """The steps that read a document."""
    visits = found["visits"]
    if not visits:
        yield f"{found['source']}:{found['id']} is not read in stage {found['stage']}"
        return
    table = _table(f"{found['stage']}: {found['source']}:{found['id']}", ("phase",))
    for column in ("step", "epoch", "tokens"):
        table.add_column(column, justify="right")
    for visit in visits[:limit]:
        tokens = f"{visit['from']}–{visit['to']}"
        table.add_row(escape(visit["phase"]), f"{visit['step']:,}", str(visit["epoch"]), tokens)
    yield table
    if len(visits) > limit:
        yield f"and {len(visits) - limit:,} more; --limit or --json shows them"


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=escape(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
