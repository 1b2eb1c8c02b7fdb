"""The commands that stand before a run: what is there, and how to begin."""

from __future__ import annotations

import sys

import click

from diglot.base.interrupts import interrupts_wait
from diglot.base.screen import say, say_json
from diglot.base.table import show

DOCTOR_EXAMPLES = """\b
Examples:
  diglot doctor
  diglot doctor --json
"""


@click.command("doctor", epilog=DOCTOR_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="For scripts: one JSON object.")
def doctor_command(as_json: bool) -> None:
    """Show what is installed, what this machine can do, and what each extra would bring.

    Measures for a second or two. The exit code is 1 where something that Diglot needs is missing or too old.
    """
    with interrupts_wait():
        from diglot.base.console import make_console
        from diglot.doctor import examine, views

    health = examine()
    if as_json:
        say_json(health.as_json())
    else:
        show(make_console(), views(health))
        for text in health.advice:
            say(f"· {text}")
    for text in health.broken:
        say(text, error=True, lead=f"{click.style('broken', fg='red', bold=True)}: ")
    if health.broken:
        sys.exit(1)
