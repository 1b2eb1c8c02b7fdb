"""What `diglot compare` shows: its tables, for the terminal and for the page that it writes with --out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from diglot.base.errors import UserError
from diglot.base.files import write_json, write_text
from diglot.base.format import join, number
from diglot.base.table import Cell, Column, Table, left, right
from diglot.report.compare import Change, ModelComparison, Row, as_json
from diglot.report.published import Cited, Paper
from diglot.text.languages import shown_language

STYLES = {"better": "good", "worse": "bad", "noise": "quiet", "unknown": "quiet"}
COVERS = (
    "Beside the first model: ± half of a 95% interval over items. Beside the others: the change from the first, ± the same; "
    "green or red where it is beyond noise after Holm's correction for all changes of the table (adjusted p below 0.05)."
)
MEANS = (
    "The mean change of a language's tasks, in points of 100, ± half of a 95% interval (tasks taken as independent; not "
    "corrected for the number of languages)."
)
MOST_NAMED = 4  # rows in a note


def tables(found: ModelComparison) -> list[Table]:
    """The numbers of all models, and the mean change by language."""
    shown = [numbers_table(found)]
    shown[0].notes = [found.finding(), *shown[0].notes]
    if found.by_language():
        shown.append(language_table(found))
    if found.cited:
        shown.append(cited_table(found))
    return shown


def numbers_table(found: ModelComparison) -> Table:
    """A row a number: all models, and the changes from the first."""
    base, *others = found.names
    models = [Column(name, "" if name != base or not others else "base", align="right") for name in found.names]
    table = Table(
        [*left("language", "measured"), *right("items", "chance"), *models], notes=_notes(found), grouped=True
    )
    for row in found.rows:
        either = row.either.either
        quiet = [Cell(text, style="quiet") for text in (number(either.items), either.chance_text)]
        cells = [_model_cell(row, name, name == base) for name in found.names]
        named = Cell(row.either.name, row.either.detail)
        table.add(shown_language(either.language) or "no language", named, *quiet, *cells)
    return table


def cited_table(found: ModelComparison) -> Table:
    """The numbers that papers have too, as printed."""
    columns = [Column(name, align="right") for name in (*found.names, *found.cited)]
    table = Table([*left("measured"), *columns], "Beside what papers print", _cited_notes(found))
    for row in found.rows:
        if row.cited:
            own = [Cell(row.results[name].text if name in row.results else "–") for name in found.names]
            printed = [_cited_cell(row.cited.get(name)) for name in found.cited]
            table.add(Cell(row.either.name, shown_language(row.key[2])), *own, *printed)
    return table


def _model_cell(row: Row, name: str, is_base: bool) -> Cell:
    result = row.results.get(name)
    if result is None:
        return Cell("–")
    change = row.changes.get(name)
    if is_base or change is None:
        return Cell(result.text, result.error_text)
    moved = change.contrast.comparison
    return Cell(result.text, f"{moved.change_text} {moved.half_text}".strip(), STYLES[change.verdict])


def _cited_cell(cited: Cited | None) -> Cell:
    if cited is None:
        return Cell("–")
    return (
        Cell(f"{cited.value:g}", "misprint?", "caution") if cited.misprint else Cell(f"{cited.value:g}", style="quiet")
    )


def _notes(found: ModelComparison) -> list[str]:
    """How to read the table, what was not compared item by item, and what is wrong with printed numbers."""
    notes = [COVERS]
    changes = [(row, name, change) for row in found.rows for name, change in row.changes.items()]
    parts = (
        ("Other items, so not compared one by one", [c for c in changes if c[2].contrast.paired is None and c[2].contrast.p is not None]),
        ("Compared on the items that both have", [c for c in changes if _in_part(*c)]),
        ("Not judged, as no spread is known", [c for c in changes if c[2].adjusted is None and c[0].key[0] not in ("margin", "gain")]),
    )  # fmt: skip
    for words, some in parts:
        rows = list(dict.fromkeys(f"{row.either.name} ({shown_language(row.key[2])})" for row, _, _ in some))
        more = [f"{len(rows) - MOST_NAMED} more"] if len(rows) > MOST_NAMED else []
        if rows:
            notes.append(f"{words}: {join([*rows[:MOST_NAMED], *more])}.")
    return notes


def _cited_notes(found: ModelComparison) -> list[str]:
    """Where printed numbers stand, and what is wrong with some."""
    models: dict[str, list[str]] = {}
    for name in found.cited:
        sources = dict.fromkeys(row.cited[name].source for row in found.rows if name in row.cited)
        models.setdefault(join(sources), []).append(name)
    notes = [f"{join(names)}: {sources}." for sources, names in models.items()]
    notes += [
        f"{name}, {row.either.name}: {row.cited[name].value:g} is likely a misprint: {row.cited[name].misprint}."
        for row in found.rows
        for name in row.cited
        if row.cited[name].misprint
    ]
    return [
        *notes,
        "Printed numbers are of other prompts, and of items that may be others: for orientation, not tested.",
    ]


def _in_part(row: Row, name: str, change: Change) -> bool:
    return change.contrast.paired is not None and change.contrast.paired != row.results[name].items


def language_table(found: ModelComparison) -> Table:
    """The mean change of every language's tasks."""
    others = found.names[1:]
    table = Table([*left("language"), *right(*others)], f"Change from {found.names[0]} by language", [MEANS])
    for language, of in found.by_language().items():
        cells = []
        for name in others:
            change = of.get(name)
            half = f" ±{change.half:.1f}" if change and change.half is not None else ""
            tasks = f"{change.tasks} task{'s' if change.tasks > 1 else ''}" if change else ""
            # + 0.0: no minus zero
            points = f"{round(change.points, 1) + 0.0:+.1f}".replace("-", "−") if change else "–"
            cells.append(Cell(points + half, tasks))
        table.add(shown_language(language) or "no language", *cells)
    return table


# --- the page ---------------------------------------------------------------------------------------------------


def write_comparison(found: ModelComparison, papers: Sequence[Paper], folder: Path) -> Path:
    """Write `compare.json` and the page `compare.html`; returns the page.

    Raises:
        UserError: the libraries that draw are missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "compare.html"
    write_text(page, comparison_page(found, papers))
    write_json(folder / "compare.json", as_json(found))
    return page


def comparison_page(found: ModelComparison, papers: Sequence[Paper]) -> str:
    """The page as HTML: tables, a radar, bars, and the papers' tables whole.

    Raises:
        UserError: the libraries that draw are missing.
    """
    try:
        # extra: report; the terminal's table needs no plotly
        from diglot.report import compare_figures
        from diglot.report.page import render
        from diglot.report.section import Section, plot
    except ModuleNotFoundError as error:
        raise UserError(f"--out needs {error.name}, which is not installed: pip install 'diglot[report]'") from error

    drawn = [
        ("radar", compare_figures.radar(found), "An axis a task, 0 to 100; a line a model."),
        ("bars", compare_figures.bars(found), "Scores, 0 to 100, with 95% intervals over items; │ chance."),
    ]
    changes = compare_figures.change_bars(found)
    figures = [plot(name, figure, caption) for name, figure, caption in drawn if figure is not None]
    sections = [
        Section("table", "All numbers", found.finding(), {"plots": [], "tables": [numbers_table(found)]}, "compared")
    ]
    if changes is not None:
        data = {"plots": [plot("changes", changes, MEANS)], "tables": [language_table(found)]}
        sections.append(Section("languages", f"Change from {found.names[0]} by language", "", data, "compared"))
    if figures:
        sections.append(Section("profile", "Side by side", "", {"plots": figures, "tables": []}, "compared"))
    if found.cited:
        data = {"plots": [], "tables": [cited_table(found)]}
        sections.append(Section("cited", "Beside what papers print", "", data, "compared"))
    for place, paper in enumerate(papers):
        wrong = f"{len(paper.misprints)} cells are likely misprints, and marked."
        data = {"plots": [], "tables": list(paper_tables(paper))}
        sections.append(Section(f"paper-{place}", f"The tables of {paper.title}", wrong, data, "compared"))
    return render(f"{join(found.names)} beside each other", sections)


def paper_tables(paper: Paper) -> Iterator[Table]:
    """A paper's own tables, as printed; cells and averages that cannot be right are marked, and said why."""
    for table in paper.tables:
        averages = table.get("averages", [])
        heads = [f"mean of {len(each['of'])}" for each in averages]
        title = f"{paper.title}, {_what(table)}"
        shown = Table([*left("model"), *right(*table["columns"], *heads)], title)
        notes = []
        for model, row in table["rows"].items():
            cells = []
            printed = [each["printed"].get(model) for each in averages]
            for column, value in zip([*table["columns"], *["average"] * len(averages)], [*row, *printed]):
                why = paper.misprint(table, model, column)
                cells.append(
                    Cell(
                        f"{value:g}" if value is not None else "–", "misprint?" if why else "", "caution" if why else ""
                    )
                )
                if why:
                    notes.append(f"{model}, {column}: {why}.")
            shown.add(model, *cells)
        shown.notes = notes
        yield shown


def _what(table: dict[str, Any]) -> str:
    """Such as `table 18: xnli, acc, base models`."""
    task = re.sub(r"^mtg(?=.)", "MTG, ", table["task"][0])
    where = f"table {table['number']}" if isinstance(table["number"], int) else table["number"]
    return f"{where}: {task}, {table['metric']}, {table['how']}"
