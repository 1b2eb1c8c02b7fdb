"""The terminal that tables and progress are drawn on."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from diglot.base.format import printable


class SafeConsole(Console):
    """A console whose own escape sequences reach the terminal, and no others; see screen.py."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich's, which lets escapes in texts pass."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def make_console(**options: Any) -> Console:
    """The terminal; in a pipe, lines are not broken."""
    return SafeConsole(**{"highlight": False, "soft_wrap": not sys.stdout.isatty(), **options})
