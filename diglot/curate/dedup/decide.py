"""The documents that passed all rules: which of them stay, which are held out, and which are duplicates of which.

A document is known by its number: sources in the order of the recipe, files in the order of names, records in the
order of files. Of equal or similar documents the one with the least number stays, if it is not itself dropped.
Memory: 2 bytes a document (on disk, mapped), 32 bytes a dropped one, and what `duplicates` needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from diglot.base.executor import Executor
from diglot.base.format import excerpt
from diglot.base.ledger import SAMPLES, Sample, least
from diglot.curate.dedup.duplicates import SignedShard, equal_documents, near_duplicates
from diglot.curate.dedup.minhash import agreement
from diglot.curate.scratch import Passed, starts_of
from diglot.recipe.curate import Curate
from diglot.text.hashing import hash_names, keyed
from diglot.text.languages import is_unspaced

CLUSTERS, CLUSTER_IDS = 30, 10
KEPT, HELD_OUT, EXACT_DUPLICATE, SAME_URL, NEAR_DUPLICATE = range(5)
REASONS = {EXACT_DUPLICATE: "exact_duplicate", SAME_URL: "same_url", NEAR_DUPLICATE: "near_duplicate"}
MEMORY = 1 << 30


class Located(NamedTuple):
    """A shard's documents, the source they belong to, and those they are compared with.

    Attributes:
        source: name of the source (with the language, where a source was sorted by language).
        recipe_source: its name in the recipe.
        languages: the language, or both of pairs: what equal ones are compared within.
        passed: the files.
    """

    source: str
    recipe_source: str
    languages: tuple[str | None, ...]
    passed: Passed


@dataclass
class Fates:
    """What becomes of every document.

    Attributes:
        shards: in order.
        starts: int64 [shards + 1], the number of each shard's first document.
        fates: uint8 [documents], mapped from disk: `KEPT` and so on.
        dropped, kept_by: int64 [duplicates]: a dropped document, ascending, and the one that stays for it.
        leaders, cluster_sizes: int64 [clusters]: the documents that stay for others, and how many they stand for.
        repeated: int64: documents whose id occurred before, ascending.
        names: what they are called instead: `id#2`, `id#3`, …
    """

    shards: list[Located]
    starts: np.ndarray
    fates: np.ndarray
    dropped: np.ndarray
    kept_by: np.ndarray
    leaders: np.ndarray
    cluster_sizes: np.ndarray
    repeated: np.ndarray
    names: list[str]

    def of_shard(self, place: int) -> np.ndarray:
        """The fates of a shard's documents."""
        return self.fates[self.starts[place] : self.starts[place + 1]]


def decide(shards: list[Located], settings: Curate, executor: Executor, scratch: Path, seed: str) -> Fates:
    """Find the duplicates, and hold out a share of what each source has left.

    Args:
        shards: all documents that passed the rules.
        settings: of the stage.
        executor: runs the comparisons.
        scratch: a folder for what does not belong into memory.
        seed: key of the held-out split.
    """
    scratch.mkdir(exist_ok=True)
    starts = starts_of(shard.passed for shard in shards)
    fates = np.lib.format.open_memmap(scratch / "fates.npy", "w+", np.uint8, (int(starts[-1]),))
    dropped, kept_by = _duplicates(shards, starts, fates, settings, executor, scratch)
    leaders, sizes = np.unique(kept_by, return_counts=True)
    found = Fates(shards, starts, fates, dropped, kept_by, leaders, sizes + 1, np.empty(0, np.int64), [])
    _name_repeated(found, executor, scratch)
    _hold_out(shards, starts, fates, settings, seed)
    return found


def _duplicates(
    shards: list[Located], starts: np.ndarray, fates: np.ndarray, settings: Curate, executor: Executor, scratch: Path
) -> tuple[np.ndarray, np.ndarray]:
    wanted = settings.deduplication
    groups: dict[tuple, int] = {}
    for shard in shards:
        groups.setdefault(shard.languages if wanted.across == "language" else (), len(groups))
    signed = _signed(shards, starts, [groups.get(shard.languages, 0) for shard in shards])
    alive = scratch / "alive.npy"
    pairs = []
    for fate, is_wanted in ((EXACT_DUPLICATE, wanted.exact), (SAME_URL, wanted.url), (NEAR_DUPLICATE, wanted.minhash)):
        if not is_wanted:
            continue
        np.save(alive, fates == KEPT)
        if fate == NEAR_DUPLICATE:
            found = near_duplicates(signed, wanted, alive, executor.map, scratch, MEMORY)
        else:
            column = "hash" if fate == EXACT_DUPLICATE else "url_hash"
            found = equal_documents(signed, column, alive, executor.map, MEMORY)
        fates[found[0]] = fate
        pairs.append(found)
    dropped = np.concatenate([np.empty(0, np.int64), *(documents for documents, _ in pairs)])
    kept_by = np.concatenate([np.empty(0, np.int64), *(others for _, others in pairs)])
    order = np.argsort(dropped)
    dropped, kept_by = dropped[order], kept_by[order]
    for _ in pairs:  # an exact duplicate's first may be a near duplicate of yet another
        kept_by = _looked_up(dropped, kept_by, kept_by)
    return dropped, kept_by


def _signed(shards: list[Located], starts: np.ndarray, groups: Iterable[int]) -> list[SignedShard]:
    return [
        SignedShard(
            arrow=Path(shard.passed.path),
            signatures=shard.passed.signatures,
            bands=shard.passed.bands,
            first=int(first),
            rows=shard.passed.rows,
            group=group,
            by_characters=any(is_unspaced(language) for language in shard.languages),
        )
        for shard, first, group in zip(shards, starts, groups, strict=False)
    ]


def _looked_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The values of those wanted that are among the (ascending) keys; the others as they are."""
    if not len(keys):
        return wanted
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], wanted)


def _name_repeated(fates: Fates, executor: Executor, scratch: Path) -> None:
    """Give documents that stay, and whose id another one before them has, an id of their own."""
    alive = scratch / "alive.npy"
    np.save(alive, fates.fates == KEPT)
    signed = _signed(fates.shards, fates.starts, [0] * len(fates.shards))
    fates.repeated, _ = equal_documents(signed, "id_hash", alive, executor.map, MEMORY)
    known = _look_up(fates, fates.repeated)
    own = [known[document][0] for document in fates.repeated.tolist()]
    times: dict[str, int] = {}
    fates.names = list(own)
    clashing = list(range(len(own)))
    while clashing:  # more than once only where a document is called `x#2` of itself
        for place in clashing:
            times[own[place]] = times.get(own[place], 1) + 1
            fates.names[place] = f"{own[place]}#{times[own[place]]}"
        clashing = _taken_names(fates)


def _taken_names(fates: Fates) -> list[int]:
    """Places of the new names that some document has as its own id, or an earlier one as its new name."""
    hashes = hash_names(pa.array(fates.names, pa.large_string()))
    _, first = np.unique(hashes, return_index=True)
    taken = np.ones(len(hashes), np.bool_)
    taken[first] = False
    for shard in fates.shards:
        taken |= np.isin(hashes, shard.passed.column("id_hash"))
    return np.flatnonzero(taken).tolist()


def _hold_out(shards: list[Located], starts: np.ndarray, fates: np.ndarray, settings: Curate, seed: str) -> None:
    """Mark the held-out share of each source: the documents with the least keyed hashes of their ids."""
    for places in _by_source(shards).values():
        keys, documents, left = np.empty(0, np.uint64), np.empty(0, np.int64), 0
        for place in places:
            rows = np.flatnonzero(fates[starts[place] : starts[place + 1]] == KEPT)
            left += len(rows)
            keys = np.concatenate([keys, keyed(seed, shards[place].passed.column("id_hash")[rows])])
            documents = np.concatenate([documents, starts[place] + rows])
            order = np.lexsort((documents, keys))[: settings.max_held_out]
            keys, documents = keys[order], documents[order]
        number = min(round(settings.held_out * left), settings.max_held_out)
        if settings.held_out > 0 and left > 1:
            number = max(number, 1)
        fates[documents[:number]] = HELD_OUT


def _by_source(shards: list[Located]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, shard in enumerate(shards):
        places.setdefault(shard.source, []).append(place)
    return places


# --- evidence -------------------------------------------------------------------------------------------------


def sampled(fates: Fates) -> dict[str, dict[int, list[Sample]]]:
    """Random documents of each source and fate, by the keyed hashes of their ids."""
    chosen: dict[str, dict[int, list[tuple[int, int]]]] = {}
    for place, shard in enumerate(fates.shards):
        of_shard, keys = fates.of_shard(place), keyed("sample", shard.passed.column("id_hash"))
        for fate in np.unique(of_shard):
            rows = np.flatnonzero(of_shard == fate)
            rows = rows[np.argsort(keys[rows], kind="stable")[:SAMPLES]]
            found = [(int(keys[row]), int(fates.starts[place] + row)) for row in rows]
            of_source = chosen.setdefault(shard.source, {})
            of_source[int(fate)] = sorted(of_source.get(int(fate), []) + found)[:SAMPLES]
    return {
        source: {fate: _samples(fates, found) for fate, found in of_source.items()}
        for source, of_source in chosen.items()
    }


def _samples(fates: Fates, chosen: list[tuple[int, int]]) -> list[Sample]:
    documents = np.array([document for _, document in chosen], np.int64)
    kept = _looked_up(fates.dropped, fates.kept_by, documents)
    known = _look_up(fates, np.concatenate([documents, kept]))
    samples = []
    for (key, document), other in zip(chosen, kept.tolist(), strict=True):
        detail = ""
        if other != document:
            detail = f"of {known[other][0]}"
            if fates.fates[document] == NEAR_DUPLICATE:
                similarity = agreement(_signature(fates, document), _signature(fates, other))
                detail += f", similarity about {similarity:.2f}"
        samples.append(Sample(key, *known[document], detail))
    return least(samples)


def _signature(fates: Fates, document: int) -> np.ndarray:
    place = int(np.searchsorted(fates.starts, document, "right")) - 1
    signatures = np.load(fates.shards[place].passed.signatures, mmap_mode="r")
    return np.array(signatures[document - fates.starts[place]])


def _look_up(fates: Fates, documents: np.ndarray) -> dict[int, tuple[str, str]]:
    """Ids and excerpts of some documents."""
    wanted = np.unique(documents)
    places = np.searchsorted(fates.starts, wanted, "right") - 1
    found = {}
    for place in np.unique(places):
        rows = wanted[places == place]
        table = fates.shards[place].passed.table().select(["id", "text"])
        table = table.take(pa.array(rows - fates.starts[place]))
        for document, row in zip(rows.tolist(), table.to_pylist(), strict=True):
            found[document] = (row["id"], excerpt(row["text"]))
    return found


def largest_clusters(fates: Fates) -> list[dict[str, Any]]:
    """The largest clusters of duplicates, the larger and then the earlier first."""
    order = np.argsort(-fates.cluster_sizes, kind="stable")[:CLUSTERS]
    clusters = []
    for leader, size in zip(fates.leaders[order].tolist(), fates.cluster_sizes[order].tolist(), strict=True):
        members = fates.dropped[fates.kept_by == leader][:CLUSTER_IDS]
        known = _look_up(fates, np.concatenate([[leader], members]))
        reasons, counts = np.unique(fates.fates[members], return_counts=True)
        clusters.append({
            "reason": REASONS[int(reasons[counts.argmax()])],
            "size": size,
            "kept": known[leader][0],
            "dropped": [known[member][0] for member in members.tolist()],
            "excerpt": known[leader][1],
        })  # fmt: skip
    return clusters
