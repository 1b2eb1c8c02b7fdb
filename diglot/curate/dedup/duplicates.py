"""Duplicates over the whole corpus, out of core: equal documents, and near duplicates by MinHash, verified.

The shards of the corpus lie on disk (texts, signatures, band keys); documents are known by their number. All work is
cut into tasks that only read shards and hand on small files or arrays, so it runs on threads or on a cluster:

    (group, band, partition of keys)  buckets ──verify──► edges ──┐
    (group, band, partition of keys)  buckets ──verify──► edges ──┼─ components ─► representatives ─► dropped, kept_by
    …                                                             ┘

1. **Buckets.** A task reads one band's keys of its group and keeps those of its partition that occur at least twice.
   The first document of a bucket represents it; the others are held against it. Those that it does not resemble are a
   bucket of their own, with a first document of their own, at most `REPRESENTATIVES` times: rarer company is let go.
2. **Verified** means: the signatures agree on `verify` plus 4.5 standard errors (0.5 + 0.2 at 128 permutations), or
   on no less than `verify` minus as much and the exact Jaccard similarity of the texts is `verify`. Thus a pair of
   similarity s ≥ `verify` is found with probability 1 - (1 - s^rows)^bands, and one below is not joined (of
   candidates of 0.49, which agree in a band at least, 1 in 50,000 passes for clear; of 0.45, 1 in 3 million).
3. **Components** of verified edges (union-find, on disk) are independent of each other and spread over tasks.
4. **Representatives.** Through a chain a ~ b ~ c, c may not resemble a at all. So in each component, in the order of
   documents, one is dropped only if it is verified against one that is kept: a neighbour, or what a dropped
   neighbour was dropped for (c is held against a when b fell to it). Otherwise it is kept, and represents others.

What is found depends on the texts, their order and the settings alone: never on workers, partitions or memory.

**Memory** of a task, beside the shard that it reads:

| | bytes | of |
|---|---|---|
| buckets | 32 if a third have twins (13 if none, 65 if all) | documents of a partition: as many as fit `memory` |
| signatures | 16 x permutations x `PAIRS` (67 MB) | a block of pairs |
| texts | twice `TEXT_BYTES` (64 MB), or two documents; 24 times the longest of them | a block of pairs |
| components | 100 | verified edges of a part: as many as fit `memory`, but a component is not cut |

The process that hands out the tasks holds 16 bytes a dropped document; union-find's 8 bytes a document are a file,
mapped, of which only pages with edges exist.

Three million documents took 5.3 CPU seconds and 0.34 GB (`benchmarks/dedup.py`), 1.8 µs each. Every further
partition reads all keys again, twice: 0.03 µs a document and band. From these, a billion documents with `memory` of
1 GB: 32 partitions a band, 448 tasks, 7 TB of keys read in all, about 4 CPU hours; 4 GB make it an hour and a quarter.
On disk are 512 GB of signatures and 112 GB of keys; the file of parents has 8 GB at most.
"""

from __future__ import annotations

import itertools
import math
import mmap
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from diglot.base.executor import check_stopping
from diglot.base.files import atomic
from diglot.curate.documents import SignedShard
from diglot.recipe.curate import Deduplication
from diglot.text.minhash import agreement, jaccard
from diglot.text.unicode import kernel, text_buffers

BYTES_A_DOCUMENT = 32  # of a partition, if a third of the documents have twins
BYTES_AN_EDGE = 100
EDGES_A_PART = 1 << 18  # less than memory allows, so that there is work for many workers
PAIRS, TEXT_BYTES = 1 << 15, 32_000_000
REPRESENTATIVES, ROUNDS = 4, 100
STANDARD_ERRORS = 4.5
UNKNOWN, YES, NO = 0, 1, 2
UNDECIDED = -1

RunAll = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


class Partition(NamedTuple):
    """A task's share of a group's keys.

    Attributes:
        shards: of the group, in order.
        key: the column of hashes, or the number of the band.
        alive: a .npy file, bool [documents of the corpus]: which take part.
        number, partitions: which of how many.
    """

    shards: tuple[SignedShard, ...]
    key: str | int
    alive: Path
    number: int
    partitions: int


def equal_documents(
    shards: Iterable[SignedShard], column: str, alive: Path, run_all: RunAll, memory: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find documents with the same hash as an earlier one of their group.

    Args:
        shards: of the corpus, in order.
        column: the column of hashes (uint64; those of 0 are equal to nothing).
        alive: a .npy file, bool [documents]: which take part.
        run_all: runs a function on tasks and gives the results in order.
        memory: bytes that a task may use.

    Returns:
        int64 [duplicates], ascending, and for each the first document with its hash.
    """
    tasks = [task for group in _groups(shards) for task in _partitions(group, column, alive, memory)]
    return _in_order(list(run_all(_find_equal, tasks)))


def near_duplicates(
    shards: Iterable[SignedShard], settings: Deduplication, alive: Path, run_all: RunAll, scratch: Path, memory: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find documents that resemble an earlier one of their group, which stays.

    Args:
        shards: of the corpus, in order.
        settings: bands, shingles and the least similarity.
        alive: a .npy file, bool [documents]: which take part.
        run_all: runs a function on tasks and gives the results in order.
        scratch: a folder that all tasks see.
        memory: bytes that a task may use.

    Returns:
        int64 [duplicates], ascending, and for each a document that stays, of a Jaccard similarity of at least
        `settings.verify`.
    """
    shards = tuple(shards)
    folder = scratch / "near"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    partitions = (
        partition
        for group in _groups(shards)
        for band in range(settings.bands)
        for partition in _partitions(group, band, alive, memory)
    )
    tasks = ((partition, settings, folder / f"edges-{i}.npy") for i, partition in enumerate(partitions))
    files = [file for file in run_all(_match, tasks) if file]
    documents = max((shard.first + shard.rows for shard in shards), default=0)
    parts = _spread_components(files, documents, folder, memory)
    found = _in_order(list(run_all(_decide_components, ((shards, settings, part) for part in parts))))
    shutil.rmtree(folder)
    return found


def _groups(shards: Iterable[SignedShard]) -> list[tuple[SignedShard, ...]]:
    groups: dict[int, list[SignedShard]] = {}
    for shard in shards:
        if shard.rows:
            groups.setdefault(shard.group, []).append(shard)
    return [tuple(group) for group in groups.values()]


def _partitions(group: tuple[SignedShard, ...], key: str | int, alive: Path, memory: int) -> Iterator[Partition]:
    count = math.ceil(sum(shard.rows for shard in group) * BYTES_A_DOCUMENT / memory)
    return (Partition(group, key, alive, number, count) for number in range(count))


def _in_order(found: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    documents = np.concatenate([np.empty(0, np.int64), *(documents for documents, _ in found)])
    others = np.concatenate([np.empty(0, np.int64), *(others for _, others in found)])
    order = np.argsort(documents)
    return documents[order], others[order]


# --- buckets --------------------------------------------------------------------------------------------------


def _find_equal(task: Partition) -> tuple[np.ndarray, np.ndarray]:
    first, others, _ = _against_first(*_shared_keys(task))
    return others, first


def _match(task: tuple[Partition, Deduplication, Path]) -> Path | None:
    """Write the verified edges (int64 [edges, 2]) of a partition's buckets to a file; None where there are none."""
    partition, settings, file = task
    keys, documents = _shared_keys(partition)
    reader = ShardReader(partition.shards)
    edges = []
    for _ in range(REPRESENTATIVES):
        first, others, keys = _against_first(keys, documents)
        pairs = np.stack([first, others], axis=1)
        similar = verified(reader, pairs, settings)
        edges.append(pairs[similar])
        keys, documents = keys[~similar], others[~similar]  # those are a bucket of their own in the next round
    found = np.concatenate(edges)
    if not len(found):
        return None
    with atomic(file) as partial, partial.open("wb") as stream:
        np.save(stream, found)
    return file


def _against_first(keys: np.ndarray, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first document of each run of equal keys beside each of the others, and the others' keys."""
    begins = np.ones(len(keys), bool)
    begins[1:] = keys[1:] != keys[:-1]
    first = documents[np.maximum.accumulate(np.where(begins, np.arange(len(keys)), 0))]
    return first[~begins], documents[~begins], keys[~begins]


def _shared_keys(task: Partition) -> tuple[np.ndarray, np.ndarray]:
    """The keys of a partition that at least two documents have, ascending, and their documents, likewise.

    Most keys are alone, so they are first counted in a table of cells (uint8), some of which several keys share; only
    those of cells with several documents are held and sorted.
    """
    alive = np.load(task.alive, mmap_mode="r")
    documents = sum(shard.rows for shard in task.shards) / task.partitions
    cells = np.zeros(1 << max(math.ceil(math.log2(4 * documents)), 4), np.uint8)
    number = 0
    for shard, keys in _keys(task):
        number += _count(keys, alive[shard.first : shard.first + shard.rows], task.number, task.partitions, cells)
    found = np.empty(number, np.uint64), np.empty(number, np.int64)
    filled = 0
    for shard, keys in _keys(task):
        part = alive[shard.first : shard.first + shard.rows]
        filled = _collect(keys, part, task.number, task.partitions, cells, shard.first, filled, *found)
    order = np.argsort(found[0], kind="stable")
    keys, numbers = found[0][order], found[1][order]
    twins = np.zeros(len(keys), bool)
    twins[1:] = keys[1:] == keys[:-1]
    twins[:-1] |= twins[1:]
    return keys[twins], numbers[twins]


def _keys(task: Partition) -> Iterator[tuple[SignedShard, np.ndarray]]:
    for shard in task.shards:
        check_stopping()
        if isinstance(task.key, str):
            yield shard, shard.column(task.key)
        else:
            yield shard, mapped(shard.bands, np.uint64).reshape(-1, shard.rows)[task.key]


@kernel
def _count(keys, alive, number, count, cells):
    """Count the keys of a partition in the cells; returns how many more lie in cells of several.

    keys uint64 and alive bool [documents]; number, count int64: which partition of how many; cells uint8 [cells].
    """
    more, mask = 0, np.uint64(len(cells) - 1)
    for place in range(len(keys)):
        key = keys[place]
        if not alive[place] or not _belongs(key, number, count):
            continue
        cell = (key >> np.uint64(1)) & mask
        more += cells[cell] + (cells[cell] > 0) if cells[cell] < 2 else 1
        cells[cell] = min(cells[cell] + 1, 2)
    return more


@kernel
def _collect(keys, alive, number, count, cells, first, filled, found_keys, found_documents):
    """Collect the keys of a partition that lie in cells of several; returns how many are found so far.

    Of `_count`; first, filled int64; fills found_keys uint64 and found_documents int64.
    """
    mask = np.uint64(len(cells) - 1)
    for place in range(len(keys)):
        key = keys[place]
        if alive[place] and _belongs(key, number, count) and cells[(key >> np.uint64(1)) & mask] > 1:
            found_keys[filled], found_documents[filled] = key, first + place
            filled += 1
    return filled


@kernel
def _belongs(key, number, count):
    """Whether a key is of a partition: by its high bits, where the cells are by the low ones; 0 is of none.

    key uint64; number, count int64.
    """
    return key != 0 and ((key >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32) == np.uint64(number)


# --- verifying ------------------------------------------------------------------------------------------------


class ShardReader:
    """Shards, and the looking up of documents in them."""

    def __init__(self, shards: Iterable[SignedShard]):
        self.shards = [shard for shard in shards if shard.rows]
        self.firsts = np.array([shard.first for shard in self.shards])

    def by_shard(self, documents: np.ndarray) -> Iterator[tuple[SignedShard, slice, np.ndarray]]:
        """The shards that ascending documents are in, which of the documents, and their rows there."""
        places = np.searchsorted(self.firsts, documents, "right") - 1
        begins = np.flatnonzero(np.diff(places, prepend=-1))
        for begin, end in itertools.pairwise([*begins, len(documents)]):
            shard = self.shards[places[begin]]
            yield shard, slice(begin, end), documents[begin:end] - shard.first

    def signatures(self, documents: np.ndarray) -> np.ndarray:
        """uint32 [documents, permutations], of ascending documents."""
        parts = [
            mapped(shard.signatures, np.uint32).reshape(shard.rows, -1)[rows]
            for shard, _, rows in self.by_shard(documents)
        ]
        return np.concatenate(parts)

    def texts(self, documents: np.ndarray, limit: float) -> tuple[pa.Array, np.ndarray] | None:
        """The texts of ascending documents, and which are shingled by characters; None beyond `limit` bytes."""
        parts, by_characters = [], np.empty(len(documents), bool)
        for shard, chosen, rows in self.by_shard(documents):
            texts = shard.texts()
            _, starts = text_buffers(texts)
            limit -= (starts[rows + 1] - starts[rows]).sum()
            if limit < 0:
                return None
            parts.append(texts.take(pa.array(rows)))
            by_characters[chosen] = shard.by_characters
        return pa.concat_arrays(parts), by_characters


def mapped(path: Path, kind: type) -> np.ndarray:
    """The values of a .npy file, mapped, one after another: a quarter of the time of `np.load`."""
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(content, kind, offset=10 + int.from_bytes(content[8:10], "little"))


def verified(reader: ShardReader, pairs: np.ndarray, settings: Deduplication) -> np.ndarray:
    """Which pairs are at least `verify` similar: by their signatures where these are clear, else by their texts.

    Args:
        reader: where the documents are.
        pairs: int64 [pairs, 2], documents.
        settings: of the signatures, and the least similarity.

    Returns:
        bool [pairs].
    """
    estimates = np.empty(len(pairs))
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    for begin in range(0, len(pairs), PAIRS):
        check_stopping()
        chosen = order[begin : begin + PAIRS]
        documents, places = _different(pairs[chosen])
        estimates[chosen] = _agreements(reader.signatures(documents), places)
    margin = STANDARD_ERRORS * 0.5 / math.sqrt(settings.permutations)
    similar = estimates >= settings.verify + margin
    unclear = order[~similar[order] & (estimates[order] >= settings.verify - margin)]
    for begin in range(0, len(unclear), PAIRS):
        chosen = unclear[begin : begin + PAIRS]
        similar[chosen] = _similarities(reader, pairs[chosen], settings.shingle) >= settings.verify
    return similar


def _different(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    documents, places = np.unique(pairs, return_inverse=True)
    return documents, places.reshape(pairs.shape)


def _similarities(reader: ShardReader, pairs: np.ndarray, shingle: int) -> np.ndarray:
    """Exact Jaccard similarities of pairs; halves them as long as their texts are too much."""
    check_stopping()
    documents, places = _different(pairs)
    found = reader.texts(documents, TEXT_BYTES if len(pairs) > 1 else math.inf)
    if found is None:
        half = len(pairs) // 2
        return np.concatenate([_similarities(reader, part, shingle) for part in (pairs[:half], pairs[half:])])
    texts, by_characters = found
    return jaccard(texts, places, shingle, by_characters)


@kernel
def _agreements(signatures, places):
    """Estimated similarities (float64 [pairs]): signatures uint32 [documents, permutations], places int64 [pairs, 2]."""
    estimates = np.empty(len(places))
    for pair in range(len(places)):
        estimates[pair] = agreement(signatures[places[pair, 0]], signatures[places[pair, 1]])
    return estimates


# --- components -----------------------------------------------------------------------------------------------


def _spread_components(files: list[Path], documents: int, folder: Path, memory: int) -> list[Path]:
    """Put the edges of each component into one file of several; returns the files."""
    if not files:
        return []
    parents = np.lib.format.open_memmap(folder / "parents.npy", "w+", np.int64, (documents,))
    edges = 0
    for file in files:
        edges += _join(parents, np.load(file))
    parts = math.ceil(edges / max(min(EDGES_A_PART, memory // BYTES_AN_EDGE), 1))
    for file in files:
        found = np.load(file)
        part = _parts_of(parents, found, parts)
        order = np.argsort(part, kind="stable")
        found, part = found[order], part[order]
        begins = np.flatnonzero(np.diff(part, prepend=-1))
        for begin, end in itertools.pairwise([*begins, len(part)]):
            with (folder / f"part-{part[begin]}").open("ab") as stream:
                stream.write(found[begin:end].tobytes())
    return [path for i in range(parts) if (path := folder / f"part-{i}").exists()]


@kernel
def _join(parents, edges):
    """Join the ends of edges, the greater root under the lesser; returns the number of edges.

    parents int64 [documents], edges int64 [edges, 2].
    """
    for edge in range(len(edges)):
        one, other = _root(parents, edges[edge, 0]), _root(parents, edges[edge, 1])
        if one != other:
            parents[max(one, other)] = min(one, other) + 1
    return len(edges)


@kernel
def _root(parents, document):
    """A component's first document; parents are stored one higher: 0, as in an empty file, is a root.

    parents int64 [documents]; document int64.
    """
    while parents[document] > 0:
        parent = parents[document] - 1
        if parents[parent] > 0:
            parents[document] = parents[parent]
        document = parent
    return document


@kernel
def _parts_of(parents, edges, parts):
    """The part (int64 [edges]) of each edge's component: parents int64 [documents], edges int64 [edges, 2], parts int64."""
    numbers = np.empty(len(edges), np.int64)
    for edge in range(len(edges)):
        numbers[edge] = _root(parents, edges[edge, 0]) % parts
    return numbers


# --- representatives ------------------------------------------------------------------------------------------


def _decide_components(task: tuple[tuple[SignedShard, ...], Deduplication, Path]) -> tuple[np.ndarray, np.ndarray]:
    """Decide which documents of some components are dropped, and for which others.

    The task has the shards of the corpus, in order, and a file of edges: int64 pairs (earlier, later document).
    """
    shards, settings, file = task
    reader = ShardReader(shards)
    edges = np.fromfile(file, np.int64).reshape(-1, 2)
    documents, edges = _different(edges)
    edges = np.unique(edges[:, 1] * len(documents) + edges[:, 0])  # by later document, then by earlier one
    later, earlier = np.divmod(edges, len(documents))
    begins = np.searchsorted(later, np.arange(len(documents) + 1))
    kept_by = np.full(len(documents), UNDECIDED)
    verdicts = np.full(len(edges), UNKNOWN, np.int8)
    for _ in range(ROUNDS):
        asked = _decide(earlier, begins, kept_by, verdicts)
        if len(asked) == 0:
            break
        pairs, places = np.unique(kept_by[earlier[asked]] * len(documents) + later[asked], return_inverse=True)
        similar = verified(reader, documents[np.stack(np.divmod(pairs, len(documents)), axis=1)], settings)
        verdicts[asked] = np.where(similar[places], YES, NO)
    verdicts[verdicts == UNKNOWN] = NO  # of chains of hundreds, such as a page's revisions, the rest stays
    _decide(earlier, begins, kept_by, verdicts)
    dropped = np.flatnonzero(kept_by != np.arange(len(documents)))
    return documents[dropped], documents[kept_by[dropped]]


@kernel
def _decide(earlier, begins, kept_by, verdicts):
    """Decide about all documents that can be; returns the edges whose verdict others wait for.

    An edge's verdict is whether the later document resembles what the earlier one was dropped for.

    earlier int64 and verdicts int8 [edges], begins int64 [documents + 1], kept_by int64 [documents].
    """
    asked = np.empty(len(earlier), np.int64)
    number = 0
    for document in range(len(kept_by)):
        if kept_by[document] != UNDECIDED:
            continue
        representative, waiting, questions = len(kept_by), False, 0
        for edge in range(begins[document], begins[document + 1]):
            neighbour = earlier[edge]
            if kept_by[neighbour] == UNDECIDED:
                waiting = True
            elif kept_by[neighbour] == neighbour or verdicts[edge] == YES:
                representative = min(representative, kept_by[neighbour])
            elif verdicts[edge] == UNKNOWN:
                asked[number + questions] = edge
                questions += 1
        if representative < len(kept_by):
            kept_by[document] = representative
        elif not waiting and questions == 0:
            kept_by[document] = document
        elif not waiting:
            number += questions
    return asked[:number]
