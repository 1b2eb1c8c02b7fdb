"""The documents that passed all rules: which of them stay, which are held out, and which are duplicates of which."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diglot.corpus.dedup import agreement, exact_duplicates, near_duplicates
from diglot.corpus.ledger import Sample, SourceLedger, excerpt
from diglot.corpus.shard import Measured
from diglot.recipe import Curate, Source

CLUSTERS, CLUSTER_IDS = 20, 10
KEPT, HELD_OUT, EXACT_DUPLICATE, NEAR_DUPLICATE = range(4)


@dataclass
class Account:
    """A source on its way through the stage."""

    source: Source
    ledger: SourceLedger
    shards: list[Measured] = field(default_factory=list)


@dataclass
class Survivors:
    """All documents that passed the rules, in the order of sources and positions.

    Attributes:
        starts: int64 [shards + 1], where each shard begins; shards in the order of sources.
        groups: int64 [documents], those to be compared with each other.
        hashes, minhash, held_out_keys, sizes: as in `shard.Survivors`.
        kept_by: int64 [documents], the document that stays in its stead; itself if it stays.
        fates: int64 [documents], `KEPT` and so on.
    """

    starts: np.ndarray
    groups: np.ndarray
    hashes: np.ndarray
    minhash: np.ndarray
    held_out_keys: np.ndarray
    sizes: np.ndarray
    kept_by: np.ndarray
    fates: np.ndarray


def gather(accounts: dict[str, Account]) -> Survivors:
    """Put what is known of all survivors end to end."""
    groups: dict[tuple[str, str | None], int] = {}
    parts = [
        (
            shard.survivors,
            groups.setdefault((account.source.language, account.source.target_language), len(groups)),
        )
        for account in accounts.values()
        for shard in account.shards
    ]
    numbers = [len(part.sizes) for part, _ in parts]
    total = sum(numbers)
    return Survivors(
        starts=np.cumsum([0, *numbers]),
        groups=np.repeat(np.array([group for _, group in parts]), numbers),
        hashes=np.concatenate([part.signatures.hashes for part, _ in parts]),
        minhash=np.concatenate([part.signatures.minhash for part, _ in parts]),
        held_out_keys=np.concatenate([part.held_out_keys for part, _ in parts]),
        sizes=np.concatenate([part.sizes for part, _ in parts]),
        kept_by=np.arange(total),
        fates=np.full(total, KEPT),
    )


def deduplicate(survivors: Survivors, settings: Curate) -> None:
    """Find which documents another one makes superfluous, within each group of languages."""
    wanted = settings.deduplication
    for group in range(int(survivors.groups.max(initial=-1)) + 1):
        members = np.flatnonzero(survivors.groups == group)
        if wanted.exact:
            first = exact_duplicates(survivors.hashes, members)
            survivors.fates[members[first != members]] = EXACT_DUPLICATE
            survivors.kept_by[members] = first
        if wanted.minhash:
            left = members[(survivors.fates[members] == KEPT) & (survivors.hashes[members] != 0)]
            kept = near_duplicates(survivors.minhash, left, wanted.bands, wanted.rows, wanted.verify)
            survivors.fates[left[kept != left]] = NEAR_DUPLICATE
            survivors.kept_by[left] = kept
            survivors.kept_by[members] = survivors.kept_by[survivors.kept_by[members]]


def hold_out(survivors: Survivors, accounts: dict[str, Account], settings: Curate) -> None:
    """Mark the held-out share of each source: the documents with the least keyed hashes of their ids."""
    for begin, end in ranges(survivors, accounts):
        left = begin + np.flatnonzero(survivors.fates[begin:end] == KEPT)
        number = min(round(settings.held_out * len(left)), settings.max_held_out)
        if settings.held_out > 0 and len(left) > 1:
            number = max(number, 1)
        order = np.argsort(survivors.held_out_keys[left], kind="stable")
        survivors.fates[left[order[:number]]] = HELD_OUT


def ranges(survivors: Survivors, accounts: dict[str, Account]) -> list[tuple[int, int]]:
    """Where the survivors of each source begin and end."""
    shards = np.cumsum([0, *(len(account.shards) for account in accounts.values())])
    bounds = survivors.starts[shards]
    return list(itertools.pairwise(bounds.tolist()))


def duplicate_samples(
    survivors: Survivors, accounts: dict[str, Account], documents: np.ndarray
) -> list[Sample]:
    kept = survivors.kept_by[documents]
    known = _look_up(survivors, accounts, np.concatenate([documents, kept]))
    samples = []
    for document, other in zip(documents.tolist(), kept.tolist(), strict=True):
        detail = f"of {known[other][0]}"
        if survivors.fates[document] == NEAR_DUPLICATE:
            similarity = agreement(survivors.minhash[document], survivors.minhash[other])
            detail += f", similarity about {similarity:.2f}"
        samples.append(Sample(*known[document], detail))
    return samples


def _look_up(
    survivors: Survivors, accounts: dict[str, Account], documents: np.ndarray
) -> dict[int, tuple[str, str]]:
    """Ids and excerpts of some documents, from the shards in the scratch folder."""
    files = [shard.file for account in accounts.values() for shard in account.shards]
    wanted = np.unique(documents)
    shards = np.searchsorted(survivors.starts, wanted, "right") - 1
    found = {}
    for shard in np.unique(shards):
        rows = wanted[shards == shard]
        table = pq.read_table(files[shard], columns=["id", "text"])
        table = table.take(pa.array(rows - survivors.starts[shard]))
        for document, row in zip(rows.tolist(), table.to_pylist(), strict=True):
            found[document] = (row["id"], excerpt(row["text"]))
    return found


def largest_clusters(survivors: Survivors, accounts: dict[str, Account]) -> list[dict[str, Any]]:
    """The largest clusters of duplicates, the larger and then the earlier first."""
    kept, sizes = np.unique(survivors.kept_by, return_counts=True)
    order = np.argsort(-sizes, kind="stable")[:CLUSTERS]
    order = order[sizes[order] > 1]
    clusters = [(int(first), np.flatnonzero(survivors.kept_by == first)) for first in kept[order]]
    shown = [members[members != first][:CLUSTER_IDS] for first, members in clusters]
    known = _look_up(survivors, accounts, np.concatenate([kept[order], *shown]).astype(np.int64))
    return [
        {
            "size": len(members),
            "kept": known[first][0],
            "dropped": [known[int(document)][0] for document in dropped],
            "excerpt": known[first][1],
        }
        for (first, members), dropped in zip(clusters, shown, strict=True)
    ]
