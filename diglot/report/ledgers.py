"""Tables from a corpus's account of its documents: all sources, and the reasons of one. Page and terminal show them."""

from __future__ import annotations

from typing import Any

from diglot.base.format import number, share, words
from diglot.base.ledger import UNKNOWN_LANGUAGE
from diglot.base.table import Cell, Table, left, right
from diglot.text.languages import shown_language

NUM_REASONS = 4  # of a source, beside its numbers


def sources_table(entries: dict[str, dict[str, Any]], title: str = "") -> Table:
    """A row a source: documents read, kept, held out and dropped, and the main reasons to drop them."""
    numbers = right("read", "kept", "share", "held out", "dropped")
    table = Table([*left("source", "language", "domain"), *numbers, *left("main reasons")], title)
    for place, (name, entry) in enumerate(entries.items()):
        read, kept, held_out = parts_of(entry)
        dropped = dropped_by(entry)
        reasons = ", ".join(f"{words(reason)} {number(count)}" for reason, count in list(dropped.items())[:NUM_REASONS])
        table.add(
            Cell(name, link=f"source-{place}"),
            shown_language(language_of(entry)),
            ", ".join(filter(None, (entry.get("domain"), entry.get("origin")))),
            number(read),
            number(kept),
            share(kept, read),
            number(held_out),
            number(sum(dropped.values())),
            Cell(reasons, style="quiet"),
        )
    return table


def reasons_table(entry: dict[str, Any]) -> Table:
    """Why a source's documents were dropped, with all that break a rule, whatever they were dropped for."""
    dropped, unconditional = dropped_by(entry), entry.get("unconditional") or {}
    numbers = right("dropped", "share", *(["break the rule"] if unconditional else []))
    table = Table([*left("reason"), *numbers, *left("")], "Why documents were dropped, by the first reason")
    for reason, documents in dropped.items():
        breaking = Cell(number(unconditional[reason]) if reason in unconditional else "", style="quiet")
        bar = Cell("", bar=100 * documents / max(dropped.values()))
        row = (words(reason), number(documents), share(documents, parts_of(entry)[0]))
        table.add(*row, *([breaking] if unconditional else []), bar)
    return table


def parts_of(entry: dict[str, Any]) -> tuple[int, int, int]:
    """Documents of a source: read, kept, held out."""
    return entry["read"]["documents"], entry["kept"]["documents"], entry.get("held_out", {}).get("documents", 0)


def dropped_by(entry: dict[str, Any]) -> dict[str, int]:
    """Dropped documents of a source by reason, the most frequent first."""
    dropped = {reason: count["documents"] for reason, count in (entry.get("dropped") or {}).items()}
    return dict(sorted(dropped.items(), key=lambda item: (-item[1], item[0])))


def language_of(entry: dict[str, Any]) -> str:
    """A source's language; what a source that was sorted by language has left over is in none of them."""
    return "other languages" if entry.get("language") == UNKNOWN_LANGUAGE else entry.get("language", "")
