"""The pieces that a section of the page is made of: its finding and data, its figures, its numbers in words."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Section:
    """One section of the page: its anchor, title, finding, data, and its template where that has another name."""

    name: str
    title: str
    finding: str
    data: dict[str, Any]
    layout: str | None = None


@dataclass(frozen=True)
class Plot:
    """A figure for the page: its id, its JSON (safe inside a script element), height in pixels and caption."""

    name: str
    json: Markup
    height: int
    caption: str


def plot(name: str, figure: go.Figure, caption: str) -> Plot:
    """Make a figure ready for the page; the same figure always gives the same text."""
    spec = json.dumps(json.loads(figure.to_json()), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    spec = spec.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return Plot(name, Markup(spec), figure.layout.height, caption)  # noqa: S704  (no "<" is left in it)


def number(value: float | None) -> str:
    """A count as people read it: 950, 12,300, 5.2 million."""
    if value is None:
        return "–"
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if abs(value) >= size:
            return f"{value / size:.3g}{word}"
    return f"{value:,.0f}"


def share(part: float, whole: float) -> str:
    """A share in percent."""
    return f"{100 * part / whole:.1f}%" if whole else "–"


def words(name: str) -> str:
    """A name from a file in words: near_duplicate is near duplicate."""
    return name.replace("_", " ")


def join(parts: Iterable[str]) -> str:
    """Words in a row: a, b and c."""
    *most, last = [*parts] or [""]
    return f"{', '.join(most)} and {last}" if most else last
