"""Escape sequences in other people's text never reach the terminal."""

import io
import json

import pytest
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from diglot.base.console import make_console
from diglot.base.screen import say, say_json
from diglot.cli import _crashed

HOSTILE = "\x1b]0;owned\x07 \x1b[2J\x9b31m\x7f\ud800 \r"


def test_what_is_said_is_clean(capsys: pytest.CaptureFixture) -> None:
    say(f"name {HOSTILE}\nnext\tline", lead="error: ")
    say(HOSTILE, error=True)
    shown = capsys.readouterr()
    assert shown.out == "error: name �]0;owned� �[2J�31m�� �\nnext\tline\n"
    assert shown.err == "�]0;owned� �[2J�31m�� �\n"


def test_a_traceback_is_clean(capsys: pytest.CaptureFixture) -> None:
    error = ValueError(HOSTILE)
    _crashed(ValueError, error, None)
    assert capsys.readouterr().err == "ValueError: �]0;owned� �[2J�31m�� �\n"


def test_json_is_clean_and_says_the_same(capsys: pytest.CaptureFixture) -> None:
    say_json({HOSTILE: [HOSTILE, "عربي"]})
    shown = capsys.readouterr().out
    assert all(character.isprintable() for character in shown.rstrip("\n"))
    assert json.loads(shown) == {HOSTILE: [HOSTILE, "عربي"]}


def test_what_is_drawn_is_clean_but_for_our_own_styles() -> None:
    file = io.StringIO()
    console = make_console(file=file, force_terminal=True, width=60, color_system="standard")
    table = Table(title=Text(HOSTILE))
    table.add_column(HOSTILE)
    table.add_row(Text(HOSTILE, style="bold red"))
    console.print(HOSTILE, table, markup=False)
    with Progress(console=console) as progress:
        progress.add_task(HOSTILE, total=1)
        console.print(f"[green]{HOSTILE}[/]")
    shown = file.getvalue()
    assert "\x1b[1;31m" in shown  # ours
    assert not any(each in shown for each in ("\x1b]", "\x1b[2J", "\x9b", "\x07", "\ud800"))
