"""Evaluations of several models beside each other: what `diglot compare` says, as plain data.

    comparison = compare_models([Column("base", scores_a), Column("chat", scores_b)], papers=[])
    comparison.rows[0].changes["chat"].verdict      ->  "better", "worse", "noise" or "unknown"

The first column is the base; every other one is compared with it, number by number, item by item where the items are the
same (matched.py). All tests of the table are corrected together by Holm's method: a table is read for the differences
that stand out, and of many differences by chance some always do. Holm's says something wrong anywhere in the table in at
most 5% of tables, also where tests depend on each other, as those of two metrics or of neighbouring languages do;
Benjamini and Hochberg's would let 5% of what it calls a difference be none, which suits a search among thousands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diglot.base.artifact import MANIFEST_BYTES, Artifact, read_artifact
from diglot.base.errors import UserError
from diglot.base.files import read_json
from diglot.base.significance import LEVEL, holm
from diglot.report.comparisons import Comparison, Key, by_key, in_reading_order
from diglot.report.matched import Contrast, contrast
from diglot.report.published import Cited, Paper
from diglot.report.results import Result


@dataclass(frozen=True)
class Column:
    """A model that was evaluated: the name that it has here, and its scores."""

    name: str
    scores: Artifact


@dataclass(frozen=True)
class Change:
    """A model's number against the base's; `adjusted` is p after Holm's correction."""

    contrast: Contrast
    adjusted: float | None = None

    @property
    def verdict(self) -> str:
        """`better` or `worse` than the base beyond chance, `noise`, or `unknown` where it cannot be judged."""
        change = self.contrast.comparison.change
        if self.adjusted is None or change is None:
            return "unknown"
        if self.adjusted >= LEVEL or change == 0:
            return "noise"
        lower_is_better = self.contrast.comparison.either.lower_is_better
        return "better" if (change < 0) == lower_is_better else "worse"

    @property
    def raw_verdict(self) -> bool:
        """Whether a table of this one number would have called it a difference."""
        return self.contrast.p is not None and self.contrast.p < LEVEL


@dataclass(frozen=True)
class Row:
    """One number of all models: results by column, changes by column but the base's, and what papers print."""

    key: Key
    results: dict[str, Result]
    changes: dict[str, Change] = field(default_factory=dict)
    cited: dict[str, Cited] = field(default_factory=dict)

    @property
    def either(self) -> Comparison:
        """Any of its results, for what they share: name, language, chance."""
        return Comparison(None, next(iter(self.results.values())))


@dataclass(frozen=True)
class LanguageChange:
    """How a model moved in a language: the mean over tasks, in points of 100, and half of its 95% interval."""

    points: float
    half: float | None
    tasks: int


@dataclass(frozen=True)
class ModelComparison:
    """The whole table.

    Attributes:
        names: of the columns, the base first.
        rows: by language.
        cited: names of papers' columns.
    """

    names: list[str]
    rows: list[Row]
    cited: list[str]

    @property
    def changes(self) -> list[Change]:
        """Every change of every row."""
        return [change for row in self.rows for change in row.changes.values()]

    @property
    def num_tests(self) -> int:
        """Differences that were corrected together."""
        return sum(change.adjusted is not None for change in self.changes)

    def by_language(self) -> dict[str, dict[str, LanguageChange]]:
        """By language and column, the mean change of its tasks; languages without a task that both have are left out."""
        found: dict[str, dict[str, LanguageChange]] = {}
        for name in self.names[1:]:
            moved: dict[str, list[Comparison]] = {}
            for row in self.rows:
                change = row.changes.get(name)
                if change and row.key[0] == "task" and not row.either.either.lower_is_better:
                    moved.setdefault(row.key[2], []).append(change.contrast.comparison)
            for language, of in moved.items():
                found.setdefault(language, {})[name] = _mean_change(of)
        return found

    def finding(self) -> str:
        """What the table says, in a sentence or two."""
        if not self.num_tests:
            return "No difference could be tested: one evaluation, or none of its numbers in another."
        judged = [change for change in self.changes if change.adjusted is not None]
        real = [change for change in judged if change.verdict in ("better", "worse")]
        better = sum(change.verdict == "better" for change in real)
        alone = sum(change.raw_verdict for change in judged)
        text = f"Of {len(judged)} differences from {self.names[0]}, {len(real)} are beyond noise"
        text += f" ({better} better, {len(real) - better} worse)" if real else ""
        return f"{text}; looked at one by one, {alone} would seem so (Holm's correction)."


def _mean_change(moved: Sequence[Comparison]) -> LanguageChange:
    """The mean over tasks; their errors add up as those of independent items do."""
    scale = [100 if item.either.is_share else 1 for item in moved]
    points = [by * (item.change or 0.0) for by, item in zip(scale, moved)]
    halves = [item.half for item in moved]
    known = all(half is not None for half in halves)
    half = math.hypot(*(by * (each or 0.0) for by, each in zip(scale, halves))) / len(moved) if known else None
    return LanguageChange(math.fsum(points) / len(moved), half, len(moved))


# --- making it --------------------------------------------------------------------------------------------------


def compare_models(columns: Sequence[Column], papers: Sequence[Paper] = ()) -> ModelComparison:
    """Set evaluations side by side; the first is the base."""
    base, *others = columns
    by_column = {column.name: by_key(column.scores) for column in columns}
    keys = dict.fromkeys(key for found in by_column.values() for key in found)
    cited = {model: of for paper in papers for model, of in paper.columns(keys).items()}
    rows = []
    for key in keys:
        results = {name: found[key] for name, found in by_column.items() if key in found}
        changes = {
            other.name: Change(contrast(base.scores, other.scores, results[base.name], results[other.name]))
            for other in others
            if base.name in results and other.name in results
        }
        rows.append(Row(key, results, changes, {name: of[key] for name, of in cited.items() if key in of}))
    in_order = {item.key: place for place, item in enumerate(in_reading_order([row.either for row in rows], []))}
    rows.sort(key=lambda row: in_order[row.key])
    return ModelComparison([column.name for column in columns], _corrected(rows), list(cited))


def _corrected(rows: Sequence[Row]) -> list[Row]:
    """The rows with adjusted p: all tests of the table together."""
    tested = [(place, name) for place, row in enumerate(rows) for name, c in row.changes.items() if c.contrast.p is not None]  # fmt: skip
    found = [rows[place].changes[name].contrast.p or 0.0 for place, name in tested]
    changes = [dict(row.changes) for row in rows]
    for (place, name), adjusted in zip(tested, holm(found)):
        changes[place][name] = replace(changes[place][name], adjusted=adjusted)
    return [replace(row, changes=of) for row, of in zip(rows, changes)]


def read_columns(given: Sequence[str]) -> list[Column]:
    """Columns from the command line: `[NAME=]FOLDER`, each the folder of an evaluation or of a run (its last evaluation).

    Raises:
        UserError: no evaluation there, or two columns have one name.
    """
    columns: list[Column] = []
    for text in given:
        name, equals, path = text.partition("=")
        # A folder may have = in its name; a name of a column has no slash.
        named = bool(equals) and "/" not in name
        scores = _scores_in(Path(path if named else text))
        folder = scores.path if scores.path.name not in ("", ".") else scores.path.resolve()
        label = name if named else f"{folder.parent.name}/{folder.name}" if folder.parent.name else folder.name
        if any(column.name == label for column in columns):
            raise UserError(
                f"two columns are called {label!r}; name them: diglot compare one={columns[-1].scores.path} …"
            )
        columns.append(Column(label, scores))
    return columns


def _scores_in(folder: Path) -> Artifact:
    """The evaluation in a folder, or the last one of the run there."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of an evaluation, or of a run")
    artifact = read_artifact(folder)
    if artifact is not None:
        if artifact.kind != "scores":
            raise UserError(f"{folder} holds a {artifact.kind}, and a comparison is of evaluations: diglot evaluate --model {folder} …")  # fmt: skip
        return artifact
    recipe = folder / "recipe.json"
    if not recipe.is_file():
        raise UserError(f"{folder} holds neither an evaluation (artifact.json) nor a run (recipe.json)")
    stages = read_json(recipe, "run the recipe again", MANIFEST_BYTES)
    names = stages.get("stages") if isinstance(stages, dict) else None
    found = [read_artifact(folder / name) for name in names] if isinstance(names, dict) else []
    scores = [each for each in found if each is not None and each.kind == "scores"]
    if not scores:
        raise UserError(
            f"{folder}: this run has no evaluation yet; run its recipe first, or add a stage `do: evaluate`"
        )
    return scores[-1]


# --- for scripts ------------------------------------------------------------------------------------------------


def as_json(found: ModelComparison) -> dict[str, Any]:
    """The table for scripts: values in the unit of their metric, changes as after minus before."""
    return {
        "models": found.names,
        "base": found.names[0],
        "correction": {"method": "holm", "level": LEVEL, "tests": found.num_tests},
        "rows": [_row_as_json(row) for row in found.rows],
        "by_language": {
            language: {name: vars(change) for name, change in of.items()}
            for language, of in found.by_language().items()
        },
        "finding": found.finding(),
    }


def _row_as_json(row: Row) -> dict[str, Any]:
    either = row.either.either
    values: Mapping[str, Any] = {
        name: {"value": result.value, "standard_error": result.standard_error, "interval": result.interval, "items": result.items}
        for name, result in row.results.items()
    }  # fmt: skip
    changes = {
        name: {
            "change": change.contrast.comparison.change,
            "half_interval": change.contrast.comparison.half,
            "paired_items": change.contrast.paired,
            "p": change.contrast.p,
            "adjusted_p": change.adjusted,
            "verdict": change.verdict,
        }
        for name, change in row.changes.items()
    }
    about = {"kind": either.kind, "name": either.name, "language": either.language, "metric": either.metric}
    cited = {name: vars(each) for name, each in row.cited.items()}
    return {**about, "chance": either.chance, "models": values, "changes": changes, "published": cited}
