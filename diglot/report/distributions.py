"""Distributions of signals as small multiples: a source has some sixty of them, too many for live figures.

Each is a few numbers for a small SVG picture: kept documents upwards from a common line, dropped ones downwards, heights
as the square root of counts (so that a few documents can be seen beside thousands), and what a rule forbids
shaded. Bins have equal widths whatever their edges, so counts over decades need no logarithms here; only the bins
between the first and the last document, and those with a limit, are shown.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from typing import Any

from diglot.base.format import digits, number, share, words
from diglot.recipe.signals import SIGNALS

BIN, HEIGHT = 4, 48  # units of a picture
CATALOGUE = {signal.name: signal for signal in SIGNALS}


def distributions(signals: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """Everything that is shown of a source's signals.

    Args:
        signals: of one source in `signals.json`.
        entry: of the source in `ledger.json`.

    Returns:
        `ruled` and `free`: pictures of signals with and without a limit, in the order of the catalogue; `constant`: names
        of those that are the same in (nearly) all documents, so that a picture says nothing.
    """
    ranked = sorted(signals, key=lambda name: (list(CATALOGUE).index(name) if name in CATALOGUE else 999, name))
    found: dict[str, list[Any]] = {"ruled": [], "free": [], "constant": []}
    for name in ranked:
        signal = signals[name]
        counts = [a + b for a, b in zip(signal["kept"], signal["dropped"])]
        ruled = _limits(signal) != (None, None)
        if sum(counts) == 0:
            continue
        if not ruled and sum(count > 0 for count in counts) == 1:
            found["constant"].append(words(name))
        else:
            found["ruled" if ruled else "free"].append(_picture(name, signal, entry))
    return found


def _limits(signal: dict[str, Any]) -> tuple[float | None, float | None]:
    low, high = (signal.get(key) for key in ("low", "high"))
    return tuple(value if value is not None and math.isfinite(value) else None for value in (low, high))  # type: ignore[return-value]


def _picture(name: str, signal: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """One signal: paths of the picture, labels of its ends, and the rule in words."""
    edges, (low, high) = signal["edges"], _limits(signal)
    at = {key: _position(edges, value) for key, value in (("low", low), ("high", high)) if value is not None}
    first, last = _shown_bins(signal, list(at.values()))
    # Square roots: a rule that drops one document in a thousand is still to be seen.
    up, down = ([math.sqrt(count) for count in signal[key][first : last + 1]] for key in ("kept", "dropped"))
    scale = (HEIGHT - 2) / ((max(up) + max(down)) or 1)
    base = 1 + max(up) * scale
    # Kept documents stand above the base line, dropped ones hang below.
    width = BIN * (last - first + 1)
    marks = {key: round(BIN * (place - first), 1) for key, place in at.items()}
    return {
        "name": words(name),
        "meaning": CATALOGUE[name].meaning if name in CATALOGUE else "",
        "rule": _rule(name, low, high),
        "broken": _broken(name, entry),
        "width": width,
        "height": HEIGHT,
        "base": round(base, 1),
        "kept": _steps([base - value * scale for value in up], base),
        "dropped": _steps([base + value * scale for value in down], base),
        "forbidden": [
            *([(0, marks["low"])] if "low" in marks else []),
            *([(marks["high"], round(width - marks["high"], 1))] if "high" in marks else []),
        ],
        "marks": list(marks.values()),
        "ends": [shown(name, edges[first]), shown(name, edges[last + 1])],
    }


def _position(edges: list[float], value: float) -> float:
    """Where a value lies, in bins from the first edge."""
    place = min(max(bisect_right(edges, value) - 1, 0), len(edges) - 2)
    left, right = edges[place], edges[place + 1]
    return place + min(max((value - left) / (right - left), 0.0), 1.0)


def _shown_bins(signal: dict[str, Any], marks: list[float]) -> tuple[int, int]:
    """The first and the last bin that a picture shows, with one more beyond a limit."""
    filled = [place for place, pair in enumerate(zip(signal["kept"], signal["dropped"])) if any(pair)]
    places = [*filled, *(math.floor(mark) - 1 for mark in marks), *(math.ceil(mark) for mark in marks)]
    return max(0, min(places)), min(len(signal["kept"]) - 1, max(places))


def _steps(heights: list[float], base: float) -> str:
    """The outline of a histogram as an SVG path, closed along the base."""
    path = [f"M0 {base:.1f}"]
    for height, run in itertools.groupby(f"{height:.1f}".removesuffix(".0") for height in heights):
        path.append(f"V{height}h{BIN * len(list(run))}")
    return "".join([*path, f"V{base:.1f}Z"])


def _rule(name: str, low: float | None, high: float | None) -> str:
    """A rule in words, as people write it: 10% ≤ … ≤ 90%."""
    if low is not None and high is not None:
        return f"{shown(name, low)} to {shown(name, high)}"
    if high is not None:
        return f"at most {shown(name, high)}"
    return f"at least {shown(name, low)}" if low is not None else ""


def _broken(name: str, entry: dict[str, Any]) -> str:
    """How many documents break a signal's rules, whatever they were dropped for."""
    rules = (f"min_{name}", f"max_{name}")
    number_of = sum((entry.get("unconditional") or {}).get(rule, 0) for rule in rules)
    return f"{number(number_of)} break it ({share(number_of, entry['read']['documents'])})" if number_of else ""


def shown(name: str, value: float) -> str:
    """A value of a signal: shares in percent, counts with separators."""
    is_share = name in CATALOGUE and CATALOGUE[name].scale in ("share", "ratio") and math.isfinite(value)
    return f"{digits(100 * value)}%" if is_share else digits(value)
