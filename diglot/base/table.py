"""One table as plain data, for the terminal (`drawn`) and for a report's page (the macro `table` of its templates)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from diglot.base.format import one_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table as RichTable
    from rich.text import Text

# What a style is in the terminal; the page's style sheet has classes of the same names.
STYLES = {"": "", "good": "bold green", "bad": "bold red", "quiet": "dim", "strong": "bold", "code": "dim"}
STYLES |= {"caution": "yellow", "pending": "cyan"}
BAR_CELLS = 10  # of the terminal, for a bar of 100%


@dataclass(frozen=True)
class Column:
    """A column: its heading, how its cells lie, and what the terminal does where there is no room.

    Attributes:
        heading, detail: what stands above it; the detail is quieter.
        align: `auto` is by the direction of each text: what people or models wrote.
        overflow: in the terminal: `fold` goes on in the next line, `keep` is the last to be shortened, `cut` takes the
            room that is left.
    """

    heading: str
    detail: str = ""
    align: Literal["left", "right", "auto"] = "left"
    overflow: Literal["fold", "keep", "cut"] = "fold"


@dataclass(frozen=True)
class Cell:
    """A cell: its text, with something quieter before and after it.

    Attributes:
        style: a key of `STYLES`.
        link: an anchor on the page.
        bar: a length in percent, drawn after the text.
    """

    text: str
    detail: str = ""
    style: str = ""
    lead: str = ""
    link: str = ""
    bar: float | None = None


@dataclass
class Table:
    """A table. Texts are plain: neither markup of the terminal nor HTML is heeded.

    Attributes:
        grouped: the first column names groups of rows and is said once for each.
        notes: lines below it.
    """

    columns: Sequence[Column]
    title: str = ""
    notes: Sequence[str] = ()
    grouped: bool = False
    rows: list[list[Cell]] = field(default_factory=list)

    def add(self, *cells: str | Cell, style: str = "") -> None:
        """Add a row; the style is that of the cells which are only text."""
        self.rows.append([Cell(cell, style=style) if isinstance(cell, str) else cell for cell in cells])


def left(*headings: str) -> list[Column]:
    """Columns of words."""
    return [Column(heading) for heading in headings]


def right(*headings: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(heading, align="right", overflow="keep") for heading in headings]


def drawn(table: Table) -> RichTable:
    """The table for the terminal."""
    # start-up: rich is loaded only where something is drawn.
    from rich import box
    from rich.padding import Padding
    from rich.table import Table as RichTable

    shown = RichTable(
        title=_text((table.title, "bold")) if table.title else None,
        caption=_text(("\n".join(table.notes), "dim")) if table.notes else None,
        title_justify="left", caption_justify="left", header_style="bold",
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0),
        expand=any(column.overflow == "cut" for column in table.columns),
    )  # fmt: skip
    # The name of a group stands above its rows, which are indented: a column less for narrow terminals.
    for column in table.columns[table.grouped :]:
        shown.add_column(
            _text((column.heading, ""), (column.detail, "dim")),
            justify="right" if column.align == "right" else "left",
            overflow="fold" if column.overflow == "fold" else "ellipsis",
            no_wrap=column.overflow != "fold",
            ratio=1 if column.overflow == "cut" else None,
        )
    group = None
    for first, *others in table.rows:
        if table.grouped and first.text != group:
            group = first.text
            shown.add_row(_text((group, "bold")))
        cells: list[RenderableType] = [_cell(cell) for cell in (others if table.grouped else [first, *others])]
        shown.add_row(Padding(cells[0], (0, 0, 0, 2 if table.grouped else 0)), *cells[1:])
    return shown


def _cell(cell: Cell) -> Text:
    bar = "█" * round(BAR_CELLS * (cell.bar or 0) / 100)
    return _text((cell.lead, "dim"), (cell.text, STYLES[cell.style]), (bar, ""), (cell.detail, "dim"))


def _text(*parts: tuple[str, str]) -> Text:
    """Texts and styles in a row; controls, which a terminal would obey, are dots."""
    # start-up: as above.
    from rich.text import Text

    return Text(" ").join(
        Text("\n".join(map(one_line, text.split("\n"))), style=style) for text, style in parts if text
    )


def show(console: Console, views: Iterable[Table | RenderableType]) -> None:
    """Print tables, with an empty line after each, and what else there is; strings are no markup."""
    for view in views:
        if isinstance(view, Table):
            console.print(drawn(view), "")
        else:
            console.print(view, markup=False)
