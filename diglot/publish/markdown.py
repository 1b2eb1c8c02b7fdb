"""Text and tables as Markdown in which nothing of others is markup: no tags, links, images, headings or code."""

from __future__ import annotations

import html
import re

from diglot.base.format import excerpt, one_line
from diglot.base.table import Cell, Table

# Signs that are markup wherever they stand; `@` and `#` become mentions and issues on hubs.
_SIGNS = re.compile(r"([\\`*_\[\]#|~$@])")
_ADDRESS = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)  # addresses become links by themselves
_BEGINNING = re.compile(r"^([-+=:]|\d+(?=[.)](?:\s|$)))")  # of lists, and of lines below headings


def text(value: object, characters: int = 300) -> str:
    """A text of others on one line, cut where it is long, with every sign of markup written out."""
    line = " ".join(one_line(excerpt(str(value), characters)).split())
    escaped = _ADDRESS.sub(lambda found: "\\" + found[0], _SIGNS.sub(r"\\\1", line))
    numbered = _BEGINNING.sub(lambda found: found[0] + "\\" if found[0].isdigit() else "\\" + found[0], escaped)
    return html.escape(numbered, quote=False)


def table(made: Table) -> str:
    """A table, with its notes below; a group's name stands in its first row alone."""
    headings = [" ".join(filter(None, (column.heading, column.detail))) for column in made.columns]
    ends = ["---:" if column.align == "right" else "---" for column in made.columns]
    lines = [_row([text(heading) or " " for heading in headings]), _row(ends)]
    before = None
    for row in made.rows:
        cells = [_cell(cell) for cell in row]
        if made.grouped and row[0].text == before:
            cells[0] = ""
        before = row[0].text
        lines.append(_row(cells))
    notes = [f"\n{text(note, 1000)}" for note in made.notes]
    return "\n".join([*lines, *notes])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    shown = " ".join(filter(None, (text(cell.lead), text(cell.text), text(cell.detail))))
    return f"**{shown}**" if cell.style == "good" and shown else shown
