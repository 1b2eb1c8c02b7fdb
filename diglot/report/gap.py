"""Where a model is behind another: bits per byte by language and by kind of text, with the documents of the widest gaps.

    gap = gap_of(rows, "ours", "theirs")      rows: documents with `language`, `domain`, `source`, `bytes` and `bits` by model
    gap.groups[0].difference                  ->  0.21 bits per byte that `ours` needs more, ± half an interval

Both models are measured on the same bytes, so the difference of a document is its own, and what is hard is hard for both. The
error is the jackknife's over documents; verdicts are corrected for the number of groups by Holm's method, as in `compare.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diglot.base.errors import UserError
from diglot.base.files import write_json, write_text
from diglot.base.format import excerpt, join, number
from diglot.base.intervals import half_interval, jackknife_error
from diglot.base.significance import LEVEL, holm, student_p
from diglot.base.table import Cell, Column, Table, left, right
from diglot.text.languages import shown_language

PARALLEL = "parallel"
EXAMPLES = 3  # documents a language
FEWEST_BYTES = 100  # of an example: a title of three words says little
NOTE = (
    "Bits per byte of the same held-out bytes; lower is better. ± is half of a 95% interval over documents, of the difference "
    "document by document; coloured where it is beyond chance after Holm's correction for all rows."
)


@dataclass(frozen=True)
class Group:
    """Documents of one kind.

    Attributes:
        language: code; of parallel text, as it belongs to no single one, empty.
        kind: `all`, or domain and source.
        documents, bytes: how many.
        ours, theirs: bits per byte.
        half: half of the 95% interval of the difference; None of a single document.
        p: of the difference, two-sided; `adjusted` by Holm's method.
    """

    language: str
    kind: str
    documents: int
    bytes: int
    ours: float
    theirs: float
    half: float | None
    p: float | None
    adjusted: float | None = None

    @property
    def difference(self) -> float:
        """Bits per byte that ours needs more."""
        return self.ours - self.theirs

    @property
    def verdict(self) -> str:
        """`behind`, `ahead`, `level` where chance may have made the difference, `unknown` of a single document."""
        if self.adjusted is None:
            return "unknown"
        if self.adjusted >= LEVEL:
            return "level"
        return "behind" if self.difference > 0 else "ahead"


@dataclass(frozen=True)
class Gap:
    """The names of both models, the groups by language (all of it first), and the documents furthest behind by language."""

    names: tuple[str, str]
    groups: list[Group]
    examples: dict[str, list[dict[str, Any]]]

    def finding(self) -> str:
        """Where it is behind, in a sentence."""
        ours, theirs = self.names
        behind = [group for group in self.groups if group.verdict == "behind" and group.kind != "all"]
        behind.sort(key=lambda group: -group.difference)
        ahead = sum(group.verdict == "ahead" and group.kind != "all" for group in self.groups)
        kinds = sum(group.kind != "all" for group in self.groups)
        if not behind:
            return f"{ours} is behind {theirs} in none of {kinds} kinds of text, and ahead in {ahead}."
        named = [f"{_title(group)} (+{group.difference:.3f})" for group in behind[:3]]
        return (
            f"{ours} is behind {theirs} in {len(behind)} of {kinds} kinds of text, most in {join(named)} bits per byte, "
            f"and ahead in {ahead}."
        )


def gap_of(rows: Sequence[dict[str, Any]], ours: str, theirs: str) -> Gap:
    """Compare two models on the documents of both.

    Args:
        rows: documents with `id`, `text`, `language`, `domain`, `source`, `bytes`, and `bits` by model.
        ours: the model that is asked about.
        theirs: the one beside it.
    """
    by_group: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        language = "" if row["domain"] == PARALLEL else row["language"]
        kinds = [f"{row['domain']} · {row['source']}", *(["all"] if language else [])]
        for kind in kinds:
            by_group.setdefault((language, kind), []).append(row)
    keys = sorted(by_group, key=lambda key: (not key[0], key[0], key[1] != "all", key[1]))
    groups = [_group(*key, by_group[key], ours, theirs) for key in keys]
    tested = [place for place, group in enumerate(groups) if group.p is not None]
    for place, adjusted in zip(tested, holm([groups[place].p or 0.0 for place in tested])):
        groups[place] = replace(groups[place], adjusted=adjusted)
    examples = {
        language: _furthest(of, ours, theirs)
        for (language, kind), of in by_group.items()
        if kind == "all" or not language
    }
    return Gap((ours, theirs), groups, {language: of for language, of in sorted(examples.items()) if of})


def _group(language: str, kind: str, rows: Sequence[dict[str, Any]], ours: str, theirs: str) -> Group:
    size, count = sum(row["bytes"] for row in rows), len(rows)
    more = [row["bits"][ours] - row["bits"][theirs] for row in rows]
    whole, half, p = math.fsum(more), None, None
    # Each document left out in turn: of the same bytes for both models, so the difference is one ratio.
    without = [(whole - by) / (size - row["bytes"]) for by, row in zip(more, rows)] if count > 1 else []
    if (error := jackknife_error(without)) is not None:
        half = half_interval(error, count)
        p = student_p(whole / size / error, count - 1) if error else float(whole == 0)
    sums = {name: math.fsum(row["bits"][name] for row in rows) / size for name in (ours, theirs)}
    return Group(language, kind, count, size, sums[ours], sums[theirs], half, p)


def _furthest(rows: Sequence[dict[str, Any]], ours: str, theirs: str) -> list[dict[str, Any]]:
    """Documents that ours needs the most bits a byte more for."""
    found = [
        {**row, "difference": (row["bits"][ours] - row["bits"][theirs]) / row["bytes"]}
        for row in rows
        if row["bytes"] >= FEWEST_BYTES
    ]
    found.sort(key=lambda row: (-row["difference"], row["source"], row["id"]))
    return [row for row in found[:EXAMPLES] if row["difference"] > 0]


# --- shown ----------------------------------------------------------------------------------------------------


def tables(gap: Gap) -> list[Table]:
    """The groups, and excerpts of the documents furthest behind."""
    return [gap_table(gap), *([example_table(gap)] if gap.examples else [])]


def gap_table(gap: Gap) -> Table:
    """A row a kind of text."""
    table = Table(
        [*left("language", "text"), *right("documents", *gap.names, "difference")],
        f"{gap.names[0]} beside {gap.names[1]}",
        [gap.finding(), NOTE],
        True,
    )
    styles = {"behind": "bad", "ahead": "good"}
    for group in gap.groups:
        half = f"±{group.half:.3f}" if group.half is not None else ""
        table.add(
            shown_language(group.language) or "parallel",
            group.kind,
            number(group.documents),
            f"{group.ours:.3f}",
            f"{group.theirs:.3f}",
            Cell(f"{group.difference + 0.0:+.3f}".replace("-", "−"), half, styles.get(group.verdict, "quiet")),
        )
    return table


def example_table(gap: Gap) -> Table:
    """The documents furthest behind, by language."""
    columns = [*left("language", "document"), *right("difference"), Column("text", align="auto", overflow="cut")]
    table = Table(columns, "Furthest behind", grouped=True)
    for language, rows in gap.examples.items():
        for row in rows:
            table.add(
                shown_language(language) or "parallel",
                f"{row['source']} · {row['id']}",
                f"+{row['difference']:.3f}",
                excerpt(row["text"]),
            )
    return table


def _title(group: Group) -> str:
    return f"{shown_language(group.language) or 'parallel'}, {group.kind}"


def as_json(gap: Gap) -> dict[str, Any]:
    """For scripts."""
    groups = [{**vars(group), "difference": group.difference, "verdict": group.verdict} for group in gap.groups]
    examples = {
        language: [{key: row[key] for key in ("id", "source", "bytes", "bits", "difference", "text")} for row in rows]
        for language, rows in gap.examples.items()
    }
    return {"models": list(gap.names), "groups": groups, "examples": examples, "finding": gap.finding()}


def write_gap(gap: Gap, folder: Path) -> Path:
    """Write `gap.json` and the page `gap.html`; returns the page.

    Raises:
        UserError: the libraries that draw are missing.
    """
    try:
        # extra: report; the terminal's tables need no templates
        from diglot.report.page import render
        from diglot.report.section import Section
    except ModuleNotFoundError as error:
        raise UserError(f"--out needs {error.name}, which is not installed: pip install 'diglot[report]'") from error

    samples = {
        shown_language(language) or "parallel": [
            {
                "id": row["id"],
                "source": row["source"],
                "detail": f"+{row['difference']:.3f}: {row['bits'][gap.names[0]] / row['bytes']:.3f} and "
                f"{row['bits'][gap.names[1]] / row['bytes']:.3f} bits per byte",
                "excerpt": excerpt(row["text"]),
            }
            for row in rows
        ]
        for language, rows in gap.examples.items()
    }
    section = Section(
        "gap", "By language and kind of text", gap.finding(), {"table": gap_table(gap), "groups": samples}
    )
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "gap.html"
    write_text(page, render(f"Where {gap.names[0]} is behind {gap.names[1]}", [section]))
    write_json(folder / "gap.json", as_json(gap))
    return page
