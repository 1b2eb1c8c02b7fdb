"""The documents that passed all rules: which of them stay, which are held out, and which are duplicates of which.

A document is known by its number: sources in the order of the recipe, files in the order of names, records in the
order of files. Of equal or similar documents the one with the least number stays, if it is not itself dropped.
Memory: 2 bytes a document (on disk, mapped), 32 bytes a dropped one, and what `duplicates` needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from diglot.base.executor import Executor
from diglot.base.format import excerpt
from diglot.base.ledger import SAMPLES, Sample, least
from diglot.curate.dedup.duplicates import ShardReader, equal_documents, near_duplicates
from diglot.curate.documents import SignedShard
from diglot.recipe.curate import Curate
from diglot.text.hashing import hash_names, keyed
from diglot.text.minhash import agreement

CLUSTERS, CLUSTER_IDS = 30, 10
KEPT, HELD_OUT, EXACT_DUPLICATE, SAME_URL, NEAR_DUPLICATE = range(5)
REASONS = {EXACT_DUPLICATE: "exact_duplicate", SAME_URL: "same_url", NEAR_DUPLICATE: "near_duplicate"}
MEMORY = 1 << 30


@dataclass
class Decisions:
    """What becomes of every document.

    Attributes:
        shards: in order.
        decisions: uint8 [documents], mapped from disk: `KEPT` and so on.
        dropped, kept_by: int64 [duplicates]: a dropped document, ascending, and the one that stays for it.
        representatives, cluster_sizes: int64 [clusters]: the documents that stay for others, ascending, and how many
            they stand for.
        repeated: int64: documents whose id occurred before, ascending.
        names: what they are called instead: `id#2`, `id#3`, …
    """

    shards: list[SignedShard]
    decisions: np.ndarray
    dropped: np.ndarray
    kept_by: np.ndarray
    representatives: np.ndarray
    cluster_sizes: np.ndarray
    repeated: np.ndarray
    names: list[str]

    def of_shard(self, shard: SignedShard) -> np.ndarray:
        """The decisions about a shard's documents (uint8 [rows])."""
        return self.decisions[shard.first : shard.first + shard.rows]


def decide(shards: list[SignedShard], settings: Curate, executor: Executor, scratch: Path, seed: str) -> Decisions:
    """Find the duplicates, and hold out a share of what each source has left.

    Args:
        shards: all documents that passed the rules, numbered one after another.
        settings: of the stage.
        executor: runs the comparisons.
        scratch: a folder for what does not belong into memory.
        seed: key of the held-out split.
    """
    scratch.mkdir(exist_ok=True)
    documents = sum(shard.rows for shard in shards)
    decisions = np.lib.format.open_memmap(scratch / "decisions.npy", "w+", np.uint8, (documents,))
    dropped, kept_by = _find_duplicates(shards, decisions, settings, executor, scratch)
    representatives, sizes = np.unique(kept_by, return_counts=True)
    repeated, names = _rename(shards, decisions, executor, scratch)
    _hold_out(shards, decisions, settings, seed)
    return Decisions(shards, decisions, dropped, kept_by, representatives, sizes + 1, repeated, names)


def _find_duplicates(
    shards: list[SignedShard], decisions: np.ndarray, settings: Curate, executor: Executor, scratch: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Decide about the duplicates; returns them, ascending, and those that stay for them."""
    wanted = settings.deduplication
    if wanted.across == "language":
        groups = {languages: group for group, languages in enumerate(dict.fromkeys(s.languages for s in shards))}
        shards = [shard._replace(group=groups[shard.languages]) for shard in shards]
    alive = scratch / "alive.npy"
    kinds = ((EXACT_DUPLICATE, wanted.exact), (SAME_URL, wanted.url), (NEAR_DUPLICATE, wanted.minhash))
    pairs = []
    for kind in (kind for kind, is_wanted in kinds if is_wanted):
        np.save(alive, decisions == KEPT)  # what fell before takes no part: the dearest comparison comes last
        if kind == NEAR_DUPLICATE:
            found = near_duplicates(shards, wanted, alive, executor.map, scratch, MEMORY)
        else:
            column = "hash" if kind == EXACT_DUPLICATE else "url_hash"
            found = equal_documents(shards, column, alive, executor.map, MEMORY)
        decisions[found[0]] = kind
        pairs.append(found)
    dropped = np.concatenate([np.empty(0, np.int64), *(documents for documents, _ in pairs)])
    kept_by = np.concatenate([np.empty(0, np.int64), *(others for _, others in pairs)])
    order = np.argsort(dropped)
    dropped, kept_by = dropped[order], kept_by[order]
    for _ in pairs:  # an exact duplicate's first may be a near duplicate of yet another
        kept_by = _looked_up(dropped, kept_by, kept_by)
    return dropped, kept_by


def _looked_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The values of those wanted that are among the (ascending) keys; the others as they are."""
    if not len(keys):
        return wanted
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], wanted)


def _rename(
    shards: list[SignedShard], decisions: np.ndarray, executor: Executor, scratch: Path
) -> tuple[np.ndarray, list[str]]:
    """Documents that stay, and whose id another one before them has (ascending), and new ids for them."""
    alive = scratch / "alive.npy"
    np.save(alive, decisions == KEPT)
    repeated, _ = equal_documents(shards, "id_hash", alive, executor.map, MEMORY)
    known = _look_up(shards, repeated)
    own = [known[document][0] for document in repeated.tolist()]
    names, times = list(own), dict[str, int]()
    clashing = list(range(len(own)))
    while clashing:  # more than once only where a document is called `x#2` of itself
        for place in clashing:
            times[own[place]] = times.get(own[place], 1) + 1
            names[place] = f"{own[place]}#{times[own[place]]}"
        clashing = _taken_names(shards, names)
    return repeated, names


def _taken_names(shards: list[SignedShard], names: list[str]) -> list[int]:
    """Places of the new names that some document has as its own id, or an earlier one as its new name."""
    hashes = hash_names(pa.array(names, pa.large_string()))
    _, first = np.unique(hashes, return_index=True)
    taken = np.ones(len(hashes), np.bool_)
    taken[first] = False
    for shard in shards:
        taken |= np.isin(hashes, shard.column("id_hash"))
    return np.flatnonzero(taken).tolist()


def _hold_out(shards: list[SignedShard], decisions: np.ndarray, settings: Curate, seed: str) -> None:
    """Mark the held-out share of each source: the documents with the least keyed hashes of their ids."""
    most = None if settings.held_out == 1 else settings.max_held_out  # a corpus for tests alone is held out whole
    for name in dict.fromkeys(shard.name for shard in shards):
        keys, documents, left = np.empty(0, np.uint64), np.empty(0, np.int64), 0
        for shard in (shard for shard in shards if shard.name == name):
            rows = np.flatnonzero(decisions[shard.first : shard.first + shard.rows] == KEPT)
            left += len(rows)
            keys = np.concatenate([keys, keyed(seed, shard.column("id_hash")[rows])])
            documents = np.concatenate([documents, shard.first + rows])
            order = np.lexsort((documents, keys))[:most]
            keys, documents = keys[order], documents[order]
        number = left if most is None else min(round(settings.held_out * left), most)
        if settings.held_out > 0 and left > 1:
            number = max(number, 1)
        decisions[documents[:number]] = HELD_OUT


# --- evidence -------------------------------------------------------------------------------------------------


def sampled(decisions: Decisions) -> dict[str, dict[int, list[Sample]]]:
    """Random documents of each source and decision, by the keyed hashes of their ids."""
    chosen: dict[str, dict[int, list[tuple[int, int]]]] = {}
    for shard in decisions.shards:
        decided, keys = decisions.of_shard(shard), keyed("sample", shard.column("id_hash"))
        of_source = chosen.setdefault(shard.name, {})
        for decision in np.unique(decided).tolist():
            rows = np.flatnonzero(decided == decision)
            rows = rows[np.argsort(keys[rows], kind="stable")[:SAMPLES]]
            found = [(int(keys[row]), int(shard.first + row)) for row in rows]
            of_source[decision] = sorted(of_source.get(decision, []) + found)[:SAMPLES]
    return {
        name: {decision: _samples(decisions, found) for decision, found in of_source.items()}
        for name, of_source in chosen.items()
    }


def _samples(decisions: Decisions, chosen: list[tuple[int, int]]) -> list[Sample]:
    """Samples of documents (key, document), each beside the one that stays for it."""
    documents = np.array([document for _, document in chosen], np.int64)
    kept = _looked_up(decisions.dropped, decisions.kept_by, documents)
    known = _look_up(decisions.shards, np.concatenate([documents, kept]))
    reader = ShardReader(decisions.shards)
    samples = []
    for (key, document), other in zip(chosen, kept.tolist(), strict=True):
        detail = ""
        if other != document:
            detail = f"of {known[other][0]}"
            if decisions.decisions[document] == NEAR_DUPLICATE:
                detail += f", similarity about {agreement(*reader.signatures(np.array([other, document]))):.2f}"
        samples.append(Sample(key, *known[document], detail))
    return least(samples)


def _look_up(shards: list[SignedShard], documents: np.ndarray) -> dict[int, tuple[str, str]]:
    """Ids and excerpts of some documents."""
    found = {}
    for shard, _, rows in ShardReader(shards).by_shard(np.unique(documents)):
        batch = shard.batch().select(["id", "text"]).take(pa.array(rows))
        for row, document in zip(rows.tolist(), batch.to_pylist(), strict=True):
            found[shard.first + row] = document["id"], excerpt(document["text"])
    return found


def largest_clusters(decisions: Decisions) -> list[dict[str, Any]]:
    """The largest clusters of duplicates, the larger and then the earlier first."""
    order = np.argsort(-decisions.cluster_sizes, kind="stable")[:CLUSTERS]
    clusters = []
    for document, size in zip(decisions.representatives[order], decisions.cluster_sizes[order].tolist(), strict=True):
        members = decisions.dropped[decisions.kept_by == document][:CLUSTER_IDS]
        known = _look_up(decisions.shards, np.concatenate([[document], members]))
        reasons, counts = np.unique(decisions.decisions[members], return_counts=True)
        clusters.append({
            "reason": REASONS[int(reasons[counts.argmax()])],
            "size": size,
            "kept": known[document][0],
            "dropped": [known[member][0] for member in members.tolist()],
            "excerpt": known[document][1],
        })  # fmt: skip
    return clusters
