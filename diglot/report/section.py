"""The pieces that a section of the page is made of: its finding and data, and its figures."""

from __future__ import annotations

import json
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
