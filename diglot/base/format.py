"""How things are shown to people: excerpts of texts, numbers, durations."""

from __future__ import annotations

import re

EXCERPT = 300


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def excerpt(text: str) -> str:
    """The beginning of a text, at most 300 characters, that can be shown anywhere."""
    return printable(text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…")


def printable(text: str) -> str:
    """The text with U+FFFD for controls: a page may not hold them, and a terminal would obey them."""
    return _CONTROLS.sub("\ufffd", text)
