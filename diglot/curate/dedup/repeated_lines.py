r"""Lines and paragraphs that repeat over the corpus: menus, cookie notices, "click here" (CCNet, Wenzek et al. 2020).

A unit (a line, or a paragraph between blank lines) that is found in more documents than a limit is taken out of all of
them but the first. Units are equal if their letters and digits are, and where words end; those of fewer than 15 bytes
of letters and digits are left alone: headings, "Yes.", list numbers. Two passes over the corpus:

    write_units(file, texts, "lines", number)         # of each shard: 16 bytes a unit and document, sorted by hash
    build_table(files, limit, table, executor.map)      # those found too often; out of core, by ranges of the hash
    remove(texts, number, load(table))                # of each shard, in the second pass

A place is a shard's number and a document's row in it, so "the first" does not depend on who counts. Memory: `MEMORY`
bytes a task of the count, and 24 bytes a repeated unit of the table, mapped from disk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from diglot.base.files import atomic
from diglot.text.unicode import (
    HASH_SEED,
    PUNCTUATION,
    SPACE,
    absorb,
    array_of,
    character_tables,
    decode,
    finish,
    kernel,
    text_buffers,
)

SHORTEST = 15  # bytes of letters and digits
SHOWN = 50
MEMORY = 1 << 30
BYTES_A_UNIT = 64  # of a partition, while it is sorted
NEWLINE = 10
DOCUMENT_BITS = 15  # a shard has at most 20,000 records

FOUND = np.dtype([("hash", "<u8"), ("place", "<u8")])
REPEATED = np.dtype([("hash", "<u8"), ("place", "<u8"), ("documents", "<i8")])


class Table(NamedTuple):
    """Units that are found too often.

    Attributes:
        kind: `lines` or `paragraphs`.
        units: `REPEATED` [units], by hash.
        shown: hashes of the commonest.
    """

    kind: str
    units: np.ndarray
    shown: np.ndarray


def write_units(path: Path, texts: pa.Array, kind: str, number: int) -> None:
    """Hash the units of a shard's documents and write them to a file.

    Args:
        path: the file (`.npy`, `FOUND`, by hash; a unit once a document).
        texts: `large_string` array [documents].
        kind: `lines` or `paragraphs`.
        number: of the shard; below 2^49.
    """
    data, offsets = text_buffers(texts)
    room = int(np.count_nonzero(data[offsets[0] : offsets[-1]] == NEWLINE)) + len(texts) + 1
    hashes, documents = np.empty(room, np.uint64), np.empty(room, np.uint64)
    total = _hash_all(data, offsets, *character_tables(), kind == "paragraphs", hashes, documents)
    found = np.empty(total, FOUND)
    found["hash"], found["place"] = hashes[:total], documents[:total] | np.uint64(number << DOCUMENT_BITS)
    with atomic(path) as partial, partial.open("wb") as stream:
        np.save(stream, np.unique(found))


class _Range(NamedTuple):
    """A task: count the units of a range of hashes."""

    files: tuple[Path, ...]
    limit: int
    number: int
    ranges: int
    result: Path


def build_table(
    files: Iterable[Path],
    limit: int,
    path: Path,
    run_all: Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]],
) -> None:
    """Find the units that are in more documents than a limit.

    Args:
        files: what `write_units` wrote, of one kind.
        limit: documents.
        path: the table (`.npy`, `REPEATED`).
        run_all: runs a function on tasks and gives the results in order.
    """
    files = tuple(files)
    units = sum(len(np.load(file, mmap_mode="r")) for file in files)
    ranges = max(1, math.ceil(units * BYTES_A_UNIT / MEMORY))
    parts = [path.with_suffix(f".{number}.npy") for number in range(ranges)]
    tasks = [_Range(files, limit, number, ranges, part) for number, part in enumerate(parts)]
    for _ in run_all(_count_range, tasks):
        pass
    with atomic(path) as partial, partial.open("wb") as stream:
        np.save(stream, np.concatenate([np.load(part) for part in parts]))
    for part in parts:
        part.unlink()


def _count_range(task: _Range) -> None:
    bounds = [math.ceil(number * 2**64 / task.ranges) for number in (task.number, task.number + 1)]
    found = []
    for file in task.files:
        units = np.load(file, mmap_mode="r")
        low = np.searchsorted(units["hash"], np.uint64(bounds[0]))
        high = len(units) if task.number + 1 == task.ranges else np.searchsorted(units["hash"], np.uint64(bounds[1]))
        found.append(np.array(units[low:high]))
    units = np.sort(np.concatenate(found)) if found else np.empty(0, FOUND)
    _, first, counts = np.unique(units["hash"], return_index=True, return_counts=True)
    often = counts > task.limit
    result = np.empty(int(often.sum()), REPEATED)
    result["hash"], result["place"] = units["hash"][first[often]], units["place"][first[often]]
    result["documents"] = counts[often]
    with atomic(task.result) as partial, partial.open("wb") as stream:
        np.save(stream, result)


def load(path: Path, kind: str) -> Table:
    """Open a table, mapped."""
    units = np.load(path, mmap_mode="r")
    order = np.lexsort((units["hash"], -units["documents"]))[:SHOWN]
    return Table(kind, units, np.sort(units["hash"][order]))


def remove(texts: pa.Array, number: int, table: Table) -> tuple[pa.Array, np.ndarray, list[tuple[str, int]]]:
    """Take repeated units out of a shard's documents, but for those that are the first to have them.

    Args:
        texts: `large_string` array [documents], those that `write_units` saw.
        number: of the shard.
        table: the repeated units.

    Returns:
        The texts without them; int64 [documents], how many characters were taken; and the commonest units whose first
        document is here, with the number of documents that they are in.
    """
    taken = np.zeros(len(texts), np.int64)
    if not len(table.units) or not len(texts):
        return texts, taken, []
    data, offsets = text_buffers(texts)
    output = np.empty(int(offsets[-1] - offsets[0]), np.uint8)
    output_offsets = np.zeros(len(texts) + 1, np.int64)
    first = np.full((len(table.shown), 2), -1, np.int64)
    _remove_all(
        data, offsets, *character_tables(), table.kind == "paragraphs", np.uint64(number << DOCUMENT_BITS),
        table.units["hash"], table.units["place"], table.shown, output, output_offsets, taken, first,
    )  # fmt: skip
    counts = table.units["documents"][np.searchsorted(table.units["hash"], table.shown)]
    shown = [
        (data[begin:end].tobytes().decode(errors="replace").strip(), int(count))
        for (begin, end), count in zip(first.tolist(), counts, strict=True)
        if begin >= 0
    ]
    return array_of(output[: output_offsets[-1]], output_offsets), taken, shown


@kernel
def _unit(data, start, end, classes, lower, paragraphs):
    """The end of the unit that begins at a byte, and its hash; 0 for one that is left alone.

    data uint8 [bytes]; start, end int64; classes uint8, lower uint32 [code points]; paragraphs bool.
    """
    state, letters, gap = HASH_SEED, 0, False
    blank = True
    at = start
    while at < end:
        code, size = decode(data, at)
        kind = classes[code]
        if kind & SPACE:
            gap = letters > 0
            if code == NEWLINE:
                if not paragraphs or (blank and letters > 0):
                    at += size
                    break
                blank = True
        else:
            blank = False
            if not kind & PUNCTUATION:
                if gap:
                    state = absorb(state, 32)
                    gap = False
                state = absorb(state, lower[code])
                letters += size
        at += size
    return at, (finish(state) | np.uint64(1) if letters >= SHORTEST else np.uint64(0))


@kernel
def _hash_all(data, offsets, classes, lower, paragraphs, hashes, documents):
    """Hash the units of all texts; returns how many. The plain twin is `naive` in tests/curate/test_repeated_lines.py.

    data uint8 [bytes], offsets int64 [texts + 1]; fills hashes, documents uint64 [units].
    """
    total = 0
    for document in range(len(offsets) - 1):
        at = offsets[document]
        while at < offsets[document + 1]:
            at, hashed = _unit(data, at, offsets[document + 1], classes, lower, paragraphs)
            if hashed != 0:
                hashes[total], documents[total] = hashed, document
                total += 1
    return total


@kernel
def _remove_all(
    data, offsets, classes, lower, paragraphs, number, hashes, places, shown, output, output_offsets, taken, first
):  # fmt: skip
    """Write what stays of all texts; the plain twin is `naive` in tests/curate/test_repeated_lines.py.

    data, output uint8 [bytes], offsets, output_offsets int64 [texts + 1], number uint64, hashes and places uint64
    [repeated units], shown uint64 [shown], taken int64 [texts], first int64 [shown, 2]: where each shown one stands.
    """
    position = 0
    for document in range(len(offsets) - 1):
        at = offsets[document]
        while at < offsets[document + 1]:
            end, hashed = _unit(data, at, offsets[document + 1], classes, lower, paragraphs)
            goes = False
            if hashed != 0:
                place = np.searchsorted(hashes, hashed)
                if place < len(hashes) and hashes[place] == hashed:
                    goes = places[place] != number | np.uint64(document)
                    if not goes:
                        _note(shown, hashed, at, end, first)
            for byte in range(at, end):
                if goes:
                    taken[document] += (data[byte] & 0xC0) != 0x80
                else:
                    output[position] = data[byte]
                    position += 1
            at = end
        output_offsets[document + 1] = position


@kernel
def _note(shown, hashed, begin, end, first):
    """Remember where a unit that is to be shown stands.

    shown uint64 [shown], ascending; hashed uint64; begin, end int64; first int64 [shown, 2].
    """
    place = np.searchsorted(shown, hashed)
    if place < len(shown) and shown[place] == hashed and first[place, 0] < 0:
        first[place, 0], first[place, 1] = begin, end
