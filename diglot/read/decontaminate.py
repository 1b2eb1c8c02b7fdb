"""Decontamination: documents that share a run of words with an evaluation item are dropped.

A run is 13 words (GPT-3, appendix C), or 30 characters in languages written without spaces, normalised as in `dedup`
(case and punctuation do not count). An item of fewer words is matched as a whole if it has 8 words (20 characters) at
least; a shorter one says nothing of where a text comes from, and is left out (`build` returns how many are).

    build(settings, Path("table.npz"), base, "corpus")      # the items' runs, once
    contaminated(texts, False, load(Path("table.npz")))     # which documents have one, and of which item

A document is walked once: the hash of 8 words in a row is looked up in a bit table, and only where that has it the
longer runs are. Memory: 12 bytes a word of the evaluation sets, and 2 bytes for the bit table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from diglot.base.errors import UserError
from diglot.base.files import atomic
from diglot.read.files import Record, read_records
from diglot.recipe.source import Decontamination
from diglot.text.minhash import normalise
from diglot.text.unicode import HASH_PRIME, UNSPACED, character_tables, finish, kernel, text_array, text_buffers

CHARACTERS, SHORTEST, SHORTEST_CHARACTERS = 30, 8, 20
BITS_A_RUN = 16


class Runs(NamedTuple):
    """Runs of one kind of unit.

    Attributes:
        prefix, length: units that are looked up first, and of a full run.
        bits: uint64, the bit table (a Bloom filter) of the prefixes' hashes.
        keys: uint64 [runs], ascending, hashes of full runs and of short items.
        items: int32 [runs], the item each comes from (the first, of several).
    """

    prefix: int
    length: int
    bits: np.ndarray
    keys: np.ndarray
    items: np.ndarray


class Built(NamedTuple):
    """What a table is made of.

    Attributes:
        items: records of the evaluation sets.
        texts: in their fields.
        too_short: texts that are left out.
    """

    items: int
    texts: int
    too_short: int


class Table(NamedTuple):
    """What documents are compared with.

    Attributes:
        words, characters: the runs.
        labels: names of the items.
    """

    words: Runs
    characters: Runs
    labels: list[str]


def build(settings: Decontamination, path: Path, base: Path | None, stage: str) -> Built:
    """Collect the runs of all evaluation items and write them to a file.

    Args:
        settings: the sets, and the length of a run.
        path: the file (`.npz`).
        base: what relative paths are relative to.
        stage: name of the stage, for messages.

    Raises:
        UserError: an evaluation set cannot be read, or has no text in the fields.
    """
    labels: list[str] = []
    texts: list[list[bytes]] = [[], []]  # of scripts with spaces, and of those without
    items: list[list[int]] = [[], []]
    for record in read_records(settings.path, stage=stage, source="decontamination", base=base):
        if isinstance(record, Record):
            labels.append(f"{record.file}:{record.line}")
            for text in _texts(record.value, settings.fields):
                kind = int(is_unspaced_text(text))
                texts[kind].append(text.encode(errors="replace"))  # half a surrogate pair matches nothing
                items[kind].append(len(labels) - 1)
    number = sum(map(len, texts))
    if not number:
        fields = f"in the fields {', '.join(settings.fields)} " if settings.fields else ""
        raise UserError(
            f"decontamination: there is no text {fields}of {settings.path}; correct {stage}.decontamination.fields"
        )
    too_short = 0
    # One file, by kind of unit: runs of words, and runs of characters.
    arrays: dict[str, Any] = {"labels": np.array(labels, np.str_)}
    for kind, name in enumerate(("words", "characters")):
        length = CHARACTERS if kind else settings.ngram
        prefix = min(SHORTEST_CHARACTERS if kind else SHORTEST, length)
        found, left_out = _collect(text_array(texts[kind]), np.array(items[kind], np.int32), prefix, length, bool(kind))
        too_short += left_out
        arrays |= {f"{name}_{field}": np.asarray(value) for field, value in found._asdict().items()}
    with atomic(path) as partial, partial.open("wb") as stream:
        np.savez(stream, **arrays)
    return Built(len(labels), number, too_short)


def load(path: Path) -> Table:
    """Open a file that `build` wrote."""
    with np.load(path) as arrays:
        runs = [
            Runs(
                int(arrays[f"{kind}_prefix"]),
                int(arrays[f"{kind}_length"]),
                *(arrays[f"{kind}_{field}"] for field in ("bits", "keys", "items")),
            )
            for kind in ("words", "characters")
        ]
        return Table(runs[0], runs[1], arrays["labels"].tolist())


def contaminated(texts: pa.Array, by_characters: bool, table: Table) -> tuple[np.ndarray, list[str]]:
    """Find the documents that share a run with an evaluation item.

    Args:
        texts: `large_string` array [documents].
        by_characters: runs are of characters and not of words: in languages written without spaces.
        table: of the evaluation items.

    Returns:
        bool [documents], and for each of those that do the item in words.
    """
    runs = table.characters if by_characters else table.words
    data, offsets = text_buffers(texts)
    found = np.full(len(texts), -1, np.int64)
    if len(runs.keys):
        _search(
            data, offsets, *character_tables(), by_characters, runs.prefix, runs.length, runs.bits, runs.keys,
            runs.items, found,
        )  # fmt: skip
    items = [f"shares text with evaluation item {table.labels[item]}" for item in found[found >= 0]]
    return found >= 0, items


def _texts(value: Any, fields: list[str] | None) -> Iterator[str]:
    """All texts in a record, or in some of its fields."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part, None)
    elif isinstance(value, dict):
        for name, part in value.items():
            if fields is None or name in fields:
                yield from _texts(part, None)


def is_unspaced_text(text: str) -> bool:
    """Whether most characters are of scripts written without spaces."""
    classes, _ = character_tables()
    shown = [ord(character) for character in text[:500] if not character.isspace()]
    return bool(shown) and 2 * int(np.count_nonzero(classes[shown] & UNSPACED)) > len(shown)


def _collect(texts: pa.Array, items: np.ndarray, prefix: int, length: int, by_characters: bool) -> tuple[Runs, int]:
    """The runs of texts, and how many texts are too short to have one."""
    data, offsets = text_buffers(texts)
    room = int(offsets[-1] - offsets[0]) + 1
    prefixes, keys, owners = np.empty(room, np.uint64), np.empty(room, np.uint64), np.empty(room, np.int32)
    number, too_short = _runs_of(
        data, offsets, *character_tables(), by_characters, prefix, length, items, prefixes, keys, owners
    )
    bits = np.zeros(1 << max(4, (BITS_A_RUN * number // 64).bit_length()), np.uint64)
    _set_bits(prefixes[:number], bits)
    unique, first = np.unique(keys[:number], return_index=True)
    return Runs(prefix, length, bits, unique, owners[:number][first]), too_short


@kernel
def _runs_of(data, offsets, classes, lower, by_characters, prefix, length, items, prefixes, keys, owners):
    """Hashes of the runs of all texts, and of their beginnings; returns how many, and of how many texts there are none.

    data uint8 [bytes], offsets int64 [texts + 1], items int32 [texts]; fills prefixes, keys uint64 and owners int32.
    """
    units = np.empty(1, np.uint64)
    total = too_short = 0
    for text in range(len(items)):
        start, end = offsets[text], offsets[text + 1]
        if end - start + 1 > len(units):
            units = np.empty(end - start + 1, np.uint64)
        number = normalise(data, start, end, classes, lower, by_characters, units)
        if number < prefix:
            too_short += 1
            continue
        for at in range(max(number - length, 0) + 1):
            prefixes[total] = finish(_hash(units[at : at + prefix]))
            keys[total] = finish(_hash(units[at : min(at + length, number)]))
            owners[total] = items[text]
            total += 1
    return total, too_short


@kernel
def _set_bits(hashes, bits):
    """Enter hashes (uint64) into the bit table: bits uint64 [words], a power of two."""
    for hashed in hashes:
        word, mask = _place_in_table(hashed, bits)
        bits[word] |= mask


@kernel
def _place_in_table(hashed, bits):
    """The word and the four bits in it of a hash: one access to memory, and one false alarm in some 200 hashes.

    hashed uint64; bits uint64 [words].
    """
    mask, one, low = np.uint64(0), np.uint64(1), np.uint64(63)
    for shift in (40, 46, 52, 58):
        mask |= one << ((hashed >> np.uint64(shift)) & low)
    return hashed & np.uint64(len(bits) - 1), mask


@kernel
def _hash(units):
    """A polynomial hash of units in a row, which `_search` rolls along.

    units uint64.
    """
    state = np.uint64(0)
    for unit in units:
        state = state * HASH_PRIME + unit
    return state


@kernel
def _search(data, offsets, classes, lower, by_characters, prefix, length, bits, keys, items, found):
    """Find the item that each text shares a run with; the plain twin is `naive` in tests/read/test_decontaminate.py.

    data uint8 [bytes], offsets int64 [texts + 1]; prefix, length int64; bits uint64 [words], keys uint64 and items
    int32 [runs]; found int64 [texts], -1 where there is none.
    """
    longest = 0
    for document in range(len(found)):
        longest = max(longest, offsets[document + 1] - offsets[document])
    units = np.empty(longest + 1, np.uint64)
    highest = np.uint64(1)
    for _ in range(prefix - 1):
        highest *= HASH_PRIME
    for document in range(len(found)):
        number = normalise(data, offsets[document], offsets[document + 1], classes, lower, by_characters, units)
        rolling = _hash(units[: min(prefix - 1, number)])
        for at in range(number - prefix + 1):
            rolling = rolling * HASH_PRIME + units[at + prefix - 1]
            word, mask = _place_in_table(finish(rolling), bits)
            if bits[word] & mask == mask:
                item = _item_at(units[at : min(at + length, number)], prefix, rolling, keys, items)
                if item >= 0:
                    found[document] = item
                    break
            rolling -= units[at] * highest


@kernel
def _item_at(units, prefix, state, keys, items):
    """The item that a run at the beginning of these units comes from, or -1; `state` is the hash of the prefix.

    units uint64, prefix int64, state uint64, keys uint64 and items int32 [runs].
    """
    for place in range(prefix, len(units) + 1):
        hashed = finish(state)
        key = np.searchsorted(keys, hashed)
        if key < len(keys) and keys[key] == hashed:
            return items[key]
        if place < len(units):
            state = state * HASH_PRIME + units[place]
    return -1
