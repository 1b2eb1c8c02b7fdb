"""A corpus in the terminal: what each source kept and lost and why, its signals, samples and clusters of duplicates.

diglot show RUN --stage corpus                    # all sources
diglot show RUN --stage corpus --source wiki      # one of them, with its signals, samples and clusters
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from diglot.base.artifact import Artifact
from diglot.base.errors import UserError
from diglot.base.files import read_json
from diglot.base.format import excerpt, words
from diglot.base.ledger import read_ledger
from diglot.base.table import Column, Table, left, right
from diglot.report.ledgers import reasons_table, sources_table

BLOCKS = " ▁▂▃▄▅▆▇█"
CELLS = 10
SAMPLES = 2


def corpus_views(artifact: Artifact, source: str | None) -> Iterator[Table | RenderableType]:
    """What there is to see of a corpus.

    Args:
        artifact: of kind `corpus`.
        source: show this one in depth.

    Raises:
        UserError: there is no such source.
    """
    ledgers = read_ledger(artifact.path)
    if source is None:
        yield sources_table(ledgers, "Sources")
        return
    if source not in ledgers:
        raise UserError(f"no source {source!r} in {artifact.stage}; there are {', '.join(ledgers)}")
    yield sources_table({source: ledgers[source]}, "Sources")
    yield reasons_table(ledgers[source])
    yield _signals(_read(artifact, "signals.json").get(source, {}))
    yield from _samples(ledgers[source])
    clusters = [c for c in _read(artifact, "duplicates.json") if len(ledgers) == 1 or _is_of(source, c)]
    if clusters:
        yield _clusters(clusters[:10])


def _read(artifact: Artifact, name: str) -> Any:
    return read_json(artifact.file(name))


def _signals(signals: dict[str, Any]) -> Table:
    """Signals that a rule looks at; bars are shares of documents over the range that holds all of them."""
    signal, kept, dropped = (Column(name, overflow="keep") for name in ("signal", "kept", "dropped"))
    columns = [signal, *right("low", "high"), *left("from"), kept, dropped, *left("to")]
    table = Table(columns, "Signals with a limit (the report has all)")
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
        table.add(words(name), *limits, f"{edges[first]:.3g}", *bars, f"{edges[last]:.3g}")
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
            yield Text(f"\n{words(reason)}", style="bold")
        for sample in samples[:SAMPLES]:
            yield Text(f"  {sample['id']}  {sample['detail']}", style="dim")
            yield Text("  " + excerpt(" ".join(sample["excerpt"].split()), 200))


def _is_of(source: str, cluster: dict[str, Any]) -> bool:
    return any(name.startswith(f"{source}/") for name in [cluster["kept"], *cluster["dropped"]])


def _clusters(clusters: list[dict[str, Any]]) -> Table:
    table = Table([*right("size"), *left("reason", "kept", "beginning")], "Largest clusters of duplicates")
    for cluster in clusters:
        beginning = excerpt(" ".join(cluster["excerpt"].split()), 80)
        table.add(f"{cluster['size']:,}", words(cluster["reason"]), cluster["kept"], beginning)
    return table
