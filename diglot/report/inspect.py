"""A corpus in the terminal: what each source kept and lost and why, its signals, samples and clusters of duplicates.

diglot show RUN --stage corpus                    # all sources
diglot show RUN --stage corpus --source wiki      # one of them, with its signals, samples and clusters
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from diglot.base.artifact import Artifact, UserError
from diglot.base.files import read_json
from diglot.base.format import excerpt
from diglot.base.ledger import read_ledger

BLOCKS = " ▁▂▃▄▅▆▇█"
CELLS = 10
SAMPLES = 2


def corpus_views(artifact: Artifact, source: str | None) -> Iterator[RenderableType]:
    """What there is to see of a corpus.

    Args:
        artifact: of kind `corpus`.
        source: show this one in depth.

    Raises:
        UserError: there is no such source.
    """
    ledgers = read_ledger(artifact.path)
    if source is None:
        yield _sources(ledgers)
        return
    if source not in ledgers:
        raise UserError(f"no source {source!r} in {artifact.stage}; there are {', '.join(ledgers)}")
    yield _sources({source: ledgers[source]})
    yield _reasons(ledgers[source])
    yield _signals(_read(artifact, "signals.json").get(source, {}))
    yield from _samples(ledgers[source])
    clusters = [c for c in _read(artifact, "duplicates.json") if len(ledgers) == 1 or _is_of(source, c)]
    if clusters:
        yield _clusters(clusters[:10])


def _read(artifact: Artifact, name: str) -> Any:
    return read_json(artifact.file(name))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in columns:
        right = name in (
            "read",
            "kept",
            "held out",
            "dropped",
            "documents",
            "share",
            "unconditional",
            "low",
            "high",
            "size",
        )
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    return table


def _sources(ledgers: dict[str, Any]) -> Table:
    table = _table("Sources", "source", "language", "read", "kept", "held out", "dropped", "main reasons")
    for name, ledger in ledgers.items():
        dropped = {reason: counts["documents"] for reason, counts in ledger["dropped"].items()}
        most = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))[:3]
        numbers = [ledger[part]["documents"] for part in ("read", "kept", "held_out")] + [sum(dropped.values())]
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in most)
        table.add_row(Text(name), ledger["language"], *(f"{number:,}" for number in numbers), reasons)
    return table


def _reasons(ledger: dict[str, Any]) -> Table:
    table = _table(
        "Dropped, by the first reason; `unconditional`: all that break the rule",
        "reason",
        "documents",
        "share",
        "unconditional",
    )
    read = max(ledger["read"]["documents"], 1)
    for reason, counts in sorted(ledger["dropped"].items(), key=lambda item: -item[1]["documents"]):
        unconditional = ledger.get("unconditional", {}).get(reason)
        number = counts["documents"]
        table.add_row(
            reason, f"{number:,}", f"{number / read:.1%}", f"{unconditional:,}" if unconditional is not None else ""
        )
    return table


def _signals(signals: dict[str, Any]) -> Table:
    """Signals that a rule looks at; bars are shares of documents over the range that holds all of them."""
    table = _table(
        "Signals with a limit (the report has all)", "signal", "low", "high", "from", "kept", "dropped", "to"
    )
    table.columns[4].justify = table.columns[5].justify = "left"
    for column in (0, 4, 5):
        table.columns[column].no_wrap = True
    limited = {name: s for name, s in signals.items() if s["low"] is not None or s["high"] is not None}
    for name, signal in limited.items():
        counts = [kept + dropped for kept, dropped in zip(signal["kept"], signal["dropped"], strict=True)]
        filled = [place for place, count in enumerate(counts) if count]
        if not filled:
            continue
        first, last = filled[0], filled[-1] + 1
        limits = ["" if signal[side] is None else f"{signal[side]:g}" for side in ("low", "high")]
        bars = [_bars(signal[fate][first:last]) for fate in ("kept", "dropped")]
        edges = signal["edges"]
        table.add_row(name, *limits, f"{edges[first]:.3g}", *bars, f"{edges[last]:.3g}")
    return table


def _bars(counts: list[int]) -> str:
    cells = [0] * min(CELLS, len(counts))
    for place, count in enumerate(counts):
        cells[place * len(cells) // len(counts)] += count
    highest = max(cells) or 1
    return "".join(BLOCKS[-(-cell * (len(BLOCKS) - 1) // highest)] for cell in cells)


def _samples(ledger: dict[str, Any]) -> Iterator[RenderableType]:
    shown = [("kept", ledger.get("kept_samples", []))]
    shown += sorted(ledger["samples"].items(), key=lambda item: -ledger["dropped"][item[0]]["documents"])
    for reason, samples in shown:
        if samples:
            yield Text(f"\n{reason}", style="bold")
        for sample in samples[:SAMPLES]:
            yield Text(f"  {sample['id']}  {sample['detail']}", style="dim")
            yield Text("  " + excerpt(" ".join(sample["excerpt"].split()), 200))


def _is_of(source: str, cluster: dict[str, Any]) -> bool:
    return any(name.startswith(f"{source}/") for name in [cluster["kept"], *cluster["dropped"]])


def _clusters(clusters: list[dict[str, Any]]) -> Table:
    table = _table("Largest clusters of duplicates", "size", "reason", "kept", "beginning")
    for cluster in clusters:
        beginning = excerpt(" ".join(cluster["excerpt"].split()), 80)
        table.add_row(f"{cluster['size']:,}", cluster["reason"], Text(cluster["kept"]), Text(beginning))
    return table
