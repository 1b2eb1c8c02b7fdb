"""How scores vary with their items: every score without each of its items in turn, as `without.json`.

    {"task": {"cloze-en": {"items": "5f0c…", "without": [0.81, 0.8, …]}}, "bits": {"en": …}, "preference": …, "margin": …}

Two models that were measured on the same items (`items` is a hash of them) can then be compared item by item, which
tells smaller changes from noise than two intervals side by side do: hard items are hard for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diglot.base.artifact import fingerprint
from diglot.base.files import write_json
from diglot.evaluate.metrics import mean_without_each, ratio_without_each
from diglot.evaluate.preferences import judgements

FILE = "without.json"
DIGITS = 9  # a mean of 100,000 items moves by 1e-5 without one of them


class Spread:
    """What was found for each score; by kind, then by task, language or source."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {}

    def add(self, kind: str, name: str, items: Any, without: Sequence[float]) -> None:
        """Add a score; `items` is what tells them from others, such as ids and prompts."""
        if without:
            values = [round(value, DIGITS) for value in without]
            self.found.setdefault(kind, {})[name] = {"items": fingerprint(items), "without": values}

    def add_documents(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add bits per byte, from the rows of `documents.jsonl`."""
        for group in sorted({row["group"] for row in rows}):
            own = [row for row in rows if row["group"] == group]
            sizes = [row["bytes"] for row in own]
            items = [(row["source"], row["id"], row["bytes"]) for row in own]
            self.add("bits", group, items, ratio_without_each([row["bits"] for row in own], sizes))

    def add_pairs(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add accuracies and margins of preferences, from the rows of `pairs.jsonl`."""
        for source in dict.fromkeys(row["source"] for row in rows):
            own = [row for row in rows if row["source"] == source]
            items = [(row["prompt"], row["chosen"]["messages"], row["rejected"]["messages"]) for row in own]
            for kind, values in zip(("preference", "margin"), judgements(own)):
                self.add(kind, source, items, mean_without_each(values))

    def write(self, folder: Path) -> None:
        """Write the file."""
        write_json(folder / FILE, self.found, indent=None)
