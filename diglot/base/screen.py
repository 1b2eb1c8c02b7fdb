"""What is printed: everything passes here, or through `console.py` where it is drawn.

Names, manifests, data and what servers say are other people's text, and a terminal obeys the escape sequences in it. So
controls are shown as U+FFFD, in JSON as escapes.
"""

from __future__ import annotations

import json
import re
from typing import Any

import click

from diglot.base.format import printable


def say(text: str, *, error: bool = False, lead: str = "") -> None:
    """Print a text.

    Args:
        text: anything.
        error: to the error output.
        lead: what stands before it; the program's own words, which may be styled.
    """
    click.echo(lead + printable(text), err=error)


def say_json(value: Any, indent: int | None = None) -> None:
    """Print a value as JSON."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)  # C0 controls are escaped by it, DEL and C1 are not
    click.echo(re.sub(r"[\x7f-\x9f\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text))
