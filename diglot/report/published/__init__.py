"""The tables of papers as columns beside one's own numbers; what is misprinted in them is said.

    [paper] = read_papers(["polylm"])
    paper.columns(keys)    ->  {"PolyLM-13B": {("task", "xnli-ar", "ar"): Cited(33.6, "table 18, base models")}, …}

A task of yours is one of a paper's where its name begins with the paper's name for it, whatever stands between letters
(`xnli-ar`, `XNLI_ar`), and has the same language; a translation's name ends in both languages (`wmt20-de-en`). The items
need not be the same, nor the prompt: these columns are for orientation, and no difference from them is tested.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from diglot.base.errors import UserError
from diglot.report.comparisons import Key

HERE = Path(__file__).parent
DIRECTION = re.compile(r"([a-z]{2,3})[-_>2]+([a-z]{2,3})$")


@dataclass(frozen=True)
class Cited:
    """A number of a paper: as printed, where it stands, and what is wrong with it, if anything."""

    value: float
    source: str
    misprint: str = ""


@dataclass(frozen=True)
class Paper:
    """The tables of a paper, as its YAML has them (`published/polylm.yaml` says what stands there)."""

    title: str
    tables: list[dict[str, Any]]
    misprints: list[dict[str, Any]]

    def columns(self, keys: Iterable[Key]) -> dict[str, dict[Key, Cited]]:
        """What the paper says of those of one's numbers that it has too, by model."""
        found: dict[str, dict[Key, Cited]] = {}
        for key in keys:
            for table, column in self._places(key):
                number = table["columns"].index(column)
                for model, row in table["rows"].items():
                    wrong = self.misprint(table, model, column)
                    cited = Cited(row[number], f"{self.title} {_named(table)}, {table['how']}", wrong)
                    found.setdefault(model, {}).setdefault(key, cited)
        return found

    def misprint(self, table: dict[str, Any], model: str, column: str) -> str:
        """What is wrong with a cell, or nothing."""
        for each in self.misprints:
            if (each["number"], each["model"], each["column"]) == (table["number"], model, column) and each[
                "task"
            ] in table["task"]:
                return str(each["why"])
        return ""

    def _places(self, key: Key) -> Iterator[tuple[dict[str, Any], str]]:
        """The tables and columns of a task."""
        kind, name, language = key
        if kind != "task":
            return
        letters = re.sub(r"[^a-z0-9]", "", name.lower())
        pair = DIRECTION.search(name.lower())
        for table in self.tables:
            if any(letters.startswith(task) for task in table["task"]):
                direction = "-".join(pair.groups()) if pair else ""
                column = next((each for each in (direction, language) if each in table["columns"]), None)
                if column is not None:
                    yield table, column


def _named(table: dict[str, Any]) -> str:
    number = table["number"]
    return f"table {number}" if isinstance(number, int) else f"table “{number}”"


def names() -> list[str]:
    """The papers that come with the package."""
    return sorted(file.stem for file in HERE.glob("*.yaml"))


def read_papers(wanted: Iterable[str]) -> list[Paper]:
    """Papers by name.

    Raises:
        UserError: there is none of that name.
    """
    found = []
    for name in wanted:
        if name not in names():
            raise UserError(f"--published: no paper {name!r}; there are: {', '.join(names())}")
        found.append(Paper(**yaml.safe_load((HERE / f"{name}.yaml").read_text("utf-8"))))
    return found
