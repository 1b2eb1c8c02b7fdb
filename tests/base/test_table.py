"""One table: what the terminal and a page draw of it, and that texts stay texts."""

import io

import jinja2
from rich.console import Console

from diglot.base.table import Cell, Column, Table, drawn, left, right, show
from diglot.report.page import HERE


def on_terminal(table: Table, width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO(), color_system=None)
    console.print(drawn(table))
    return console.export_text()


def on_page(table: Table) -> str:
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined)  # fmt: skip
    html = templates.get_template("sections.html.jinja").module.table(table)  # type: ignore[attr-defined]
    return " ".join(str(html).split()).replace("> <", "><")


def a_table() -> Table:
    table = Table([*left("model"), *right("tokens", "score")], "Models", ["± is half an interval."])
    table.add("base", "12", Cell("26%", "±6", lead="20% →"))
    table.add("tuned", "1,234", Cell("84%", "±4", "good"), style="strong")
    return table


def test_the_terminal_aligns_and_has_title_and_notes() -> None:
    lines = [line.rstrip() for line in on_terminal(a_table()).splitlines()]
    assert lines == [
        "Models",
        "model  tokens         score",
        "───────────────────────────",
        "base       12  20% → 26% ±6",
        "tuned   1,234        84% ±4",
        "± is half an interval.",
    ]


def test_the_page_has_the_same_cells() -> None:
    page = on_page(a_table())
    assert "<caption>Models</caption>" in page
    assert '<th>model</th><th class="n">tokens</th>' in page
    assert '<td class="n" data-label="score"><small>20% → </small><bdi>26%</bdi><small>±6</small></td>' in page
    assert '<td class="strong"><bdi>tuned</bdi></td>' in page
    assert '<td class="n good" data-label="score"><bdi>84%</bdi>' in page
    assert '<p class="note">± is half an interval.</p>' in page


def test_texts_are_no_markup_and_no_commands() -> None:
    table = Table(left("[bold]a[/]", ""), "[red]title <b>", ["[/INST] <i>"])
    table.add("[/INST] <script>", Cell("a\x1b[31mb", "<b>", link='x"><b>'))
    shown = on_terminal(table)
    for text in ("[bold]a[/]", "[red]title <b>", "[/INST] <i>", "[/INST] <script>", "a·[31mb <b>"):
        assert text in shown
    page = on_page(table)
    assert "<b>" not in page
    assert "<i>" not in page
    assert "<script" not in page
    assert "[/INST] &lt;script&gt;" in page


def test_groups_are_named_once() -> None:
    table = Table([*left("language", "measured"), *right("score")], grouped=True)
    for row in (("Arabic", "cloze", "26%"), ("Arabic", "bits", "1.9"), ("English", "cloze", "80%")):
        table.add(*row)
    assert [line.rstrip() for line in on_terminal(table).splitlines()][2:] == [
        "Arabic", "  cloze     26%", "  bits      1.9", "English", "  cloze     80%",
    ]  # fmt: skip
    page = on_page(table)
    assert page.count("Arabic") == page.count("English") == 1
    assert page.count('<tr class="group">') == 2


def test_long_words_fold_and_numbers_are_kept() -> None:
    table = Table([*left("name"), *right("number")])
    table.add("x" * 50, "1,234,567")
    shown = on_terminal(table, width=40)
    assert max(map(len, shown.splitlines())) <= 40
    assert shown.count("x") == 50
    assert "1,234,567" in shown


def test_one_column_takes_the_room_that_is_left() -> None:
    table = Table([*left("name"), *right("number"), Column("begins", overflow="cut")])
    table.add("x" * 10, "1,234,567", "word " * 50)
    *_, line = on_terminal(table, width=60).splitlines()
    assert line.startswith("xxxxxxxxxx  1,234,567  word word")
    assert line.endswith("…")
    assert len(line) == 60


def test_bars_and_texts_of_either_direction() -> None:
    table = Table([Column("", align="auto"), *left("")])
    table.add("مرحبا", Cell("", bar=50))
    assert "مرحبا  █████\n" in on_terminal(table)
    page = on_page(table)
    assert '<td dir="auto"><bdi>مرحبا</bdi></td>' in page
    assert '<td class="bar"><i style="width:50.0%"></i></td>' in page
    assert "<thead>" not in page


def test_an_empty_line_follows_a_table() -> None:
    console = Console(width=60, record=True, file=io.StringIO())
    show(console, [a_table(), "after it: [x]"])
    assert console.export_text().endswith("an interval.     \n\nafter it: [x]\n")
