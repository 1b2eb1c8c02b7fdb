"""Byte-pair encoding of one unit in kernels: its merges, lowest rank first, leftmost first, as the `tokenizers` library.

Short units look for the lowest rank anew for each merge, long ones keep a heap. The plain twin of all kernels here is
the library (tests/encode/test_encoder.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diglot.text.unicode import decode
from diglot.text.words import inlined, kernel

NO_PAIR = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
NO_RANK = np.uint32(0xFFFF_FFFF)
ID_BITS, RANK_BITS, LAST_RANK = np.uint64(20), np.uint64(24), np.uint64((1 << 24) - 1)
NOTHING, ANYTHING, UNKNOWN = -1, -2, -3  # in place of a character's id, see Merges.joins
DROPPED = -1  # in place of a byte's id: it has none, and the library leaves it out
FEW = 64  # symbols up to which looking at all pairs is cheaper than a heap

_K0, _K1, _K2, _K3 = map(np.uint64, (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93))
_1, _6, _32, _55, _63 = map(np.uint64, (1, 6, 32, 55, 63))


class Merges(NamedTuple):
    """A byte-pair model.

    Attributes:
        characters: int32 [0x110000], the id of the piece that is this character; -1: its bytes. A space's is that of ▁.
            Empty in byte-level models, where characters always are their bytes.
        bytes: int32 [256], the ids of the bytes, or DROPPED.
        pairs: uint64 [slots], open addressing: 20 bits of the left id, 20 of the right id, 24 of the rank.
        possible: uint64 [a power of two], a bit set at the hash of every pair: most pairs do not merge, and this fits
            a nearer cache than `pairs`.
        merged: int32 [merges], by rank, the id of the merged piece.
        joins: uint64 [a power of two, 8], what stands around the places where merges join: four characters (by id),
            two to the left and two to the right, with NOTHING for the outer one where the left or right piece is one
            character; and the inner two alone, with ANYTHING around. The inner two choose a line (hashed), all four a
            bit of it. That the hash finds a few more than there are costs time and nothing else.
    """

    characters: NDArray[np.int32]
    bytes: NDArray[np.int32]
    pairs: NDArray[np.uint64]
    possible: NDArray[np.uint64]
    merged: NDArray[np.int32]
    joins: NDArray[np.uint64]


class Symbols(NamedTuple):
    """Where a unit is merged.

    Attributes:
        ids: int32 [longest + 1], a unit's characters, by id.
        places: int64 [longest + 1], where each of them begins.
        merged: int32 [longest + 1], the symbols of a part being merged.
        ranks: uint32 [longest + 1], of the merge of each with the one after it, or NO_RANK.
        following, preceding: int32 [longest + 1], the symbols beside each, where they are a linked list.
        heap: int64 [3 * (longest + 1)], rank << 32 | position.
    """

    ids: NDArray[np.int32]
    places: NDArray[np.int64]
    merged: NDArray[np.int32]
    ranks: NDArray[np.uint32]
    following: NDArray[np.int32]
    preceding: NDArray[np.int32]
    heap: NDArray[np.int64]


def symbols_of(longest: int) -> Symbols:
    """Room for units of up to so many bytes."""
    size = longest + 1
    ids, merged, following, preceding = (np.empty(size, np.int32) for _ in range(4))
    ranks, places = np.empty(size, np.uint32), np.empty(size, np.int64)
    return Symbols(ids, places, merged, ranks, following, preceding, np.empty(3 * size, np.int64))


# --- tables ---------------------------------------------------------------------------------------------------


@inlined
def _hash_of(key):
    """The hash (uint64) of a pair. Types: key uint64."""
    hashed = key * _K0
    return hashed ^ (hashed >> _32)


@kernel
def fill_pairs(pairs, possible, left, right):
    """Enter merges, in the order of their ranks; of two of the same pair the later one counts (as in `tokenizers`).

    Types: pairs uint64 [slots]; possible uint64 [a power of two]; left, right int32 [merges].
    """
    mask = np.uint64(len(pairs) - 1)
    for rank in range(len(left)):
        key = (np.uint64(left[rank]) << ID_BITS) | np.uint64(right[rank])
        hashed = _hash_of(key)
        bit = hashed >> _32
        possible[(bit >> _6) & np.uint64(len(possible) - 1)] |= _1 << (bit & _63)
        slot = hashed & mask
        while pairs[slot] != NO_PAIR and pairs[slot] >> RANK_BITS != key:
            slot = (slot + _1) & mask
        pairs[slot] = (key << RANK_BITS) | np.uint64(rank)


@inlined
def _rank_of(merges, left, right):
    """The rank of the merge of two ids, or NO_RANK. Types: merges Merges; left, right int32."""
    key = (np.uint64(left) << ID_BITS) | np.uint64(right)
    hashed = _hash_of(key)
    bit = hashed >> _32
    if (merges.possible[(bit >> _6) & np.uint64(len(merges.possible) - 1)] >> (bit & _63)) & _1 == 0:
        return NO_RANK
    mask = np.uint64(len(merges.pairs) - 1)
    slot = hashed & mask
    while True:
        found = merges.pairs[slot]
        if found >> RANK_BITS == key:
            return np.uint32(found & LAST_RANK)
        if found == NO_PAIR:
            return NO_RANK
        slot = (slot + _1) & mask


@inlined
def _inner_hash(left, right):
    """The hash (uint64) of the characters on both sides of a join. Types: left, right int32 or int64."""
    return (np.uint64(left) * _K0 + np.uint64(right)) * _K1


@inlined
def _has_join(joins, inner, before, after):
    """1 (uint64) where a merge may join with these characters around; see Merges.joins.

    Types: joins uint64 [lines, 8]; inner uint64; before, after int64.
    """
    line = (inner >> _32) & np.uint64(len(joins) - 1)
    bit = ((inner + np.uint64(before)) * _K2 + np.uint64(after)) * _K3 >> _55
    return (joins[line, bit >> _6] >> (bit & _63)) & _1


@kernel
def fill_joins(joins, around):
    """Enter what stands around joins: int64 [joins, 4]; see Merges.

    Types: joins uint64 [lines, 8]; around int64 [joins, 4].
    """
    for place in range(len(around)):
        before, left, right, after = around[place]
        inner = _inner_hash(left, right)
        line = (inner >> _32) & np.uint64(len(joins) - 1)
        bit = ((inner + np.uint64(before)) * _K2 + np.uint64(after)) * _K3 >> _55
        joins[line, bit >> _6] |= _1 << (bit & _63)


@inlined
def may_join(merges, left, right):
    """Whether any merge joins what ends with one character and what begins with another.

    Types: merges Merges; left, right int64, code points.
    """
    before, after = merges.characters[np.uint64(left)], merges.characters[np.uint64(right)]
    if before < 0 or after < 0:
        return np.uint64(0)
    return _has_join(merges.joins, _inner_hash(before, after), np.int64(ANYTHING), np.int64(ANYTHING))


@inlined
def _joins_here(joins, symbols, place, count):
    """Whether a merge may join what ends before a symbol of a unit with what begins at it.

    Types: joins uint64 [lines, 8]; symbols int32 [characters]; place, count int64.
    """
    inner = _inner_hash(symbols[place - 1], symbols[place])
    nothing = np.int64(NOTHING)
    before = np.int64(symbols[place - 2]) if place >= 2 else nothing
    after = np.int64(symbols[place + 1]) if place + 1 < count else nothing
    either = _has_join(joins, inner, nothing, nothing) | _has_join(joins, inner, before, nothing)
    return either | _has_join(joins, inner, nothing, after) | _has_join(joins, inner, before, after) != 0


# --- a unit ---------------------------------------------------------------------------------------------------


@kernel
def symbols_in(data, start, end, merges, work):
    """Write the ids of a unit's characters, or of their bytes, and where they begin; returns how many.

    Types: data uint8; start, end int64; merges Merges; work Symbols.
    """
    count, place = 0, start
    while place < end:
        length, found = 1, np.int32(-1)
        if len(merges.characters):
            code, length = decode(data, place)
            found = merges.characters[np.uint64(code)]
        if found >= 0:
            work.ids[count], work.places[count] = found, place
            count += 1
        else:
            for byte in range(place, place + length):
                number = merges.bytes[data[np.uint64(byte)]]
                work.ids[count], work.places[count] = number, byte
                count += number != DROPPED
        place += length
    work.places[count] = end
    return count


@kernel
def next_part(merges, work, first, count):
    """Where the part of a unit that begins at a symbol ends: no merge crosses that place.

    Types: merges Merges; work Symbols; first, count int64.
    """
    behind = first + 1
    while behind < count and _joins_here(merges.joins, work.ids, behind, count):
        behind += 1
    return behind


@kernel
def _merge_few(merges, symbols, ranks, count):
    """Merge few symbols: for each merge look for the lowest rank, and close the gap; returns how many are left.

    Types: merges Merges; symbols int32, ranks uint32 [count]; count int64.
    """
    for place in range(count - 1):
        ranks[place] = _rank_of(merges, symbols[place], symbols[place + 1])
    while count > 1:
        lowest = NO_RANK
        for place in range(count - 1):  # several at once, in a vector
            lowest = min(lowest, ranks[place])
        if lowest == NO_RANK:
            break
        place = 0
        while ranks[place] != lowest:
            place += 1
        symbols[place] = merges.merged[lowest]
        count -= 1
        for number in range(place + 1, count):
            symbols[number], ranks[number] = symbols[number + 1], ranks[number + 1]
        if place + 1 < count:
            ranks[place] = _rank_of(merges, symbols[place], symbols[place + 1])
        if place > 0:
            ranks[place - 1] = _rank_of(merges, symbols[place - 1], symbols[place])
    return count


@inlined
def _push(heap, size, entry):
    """Put an entry into the heap; returns its size. Types: heap int64 [entries]; size, entry int64."""
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if heap[parent] <= entry:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = entry
    return size + 1


@inlined
def _pop(heap, size):
    """Take the smallest entry, heap[0], off; returns the size left. Types: heap int64 [entries]; size int64."""
    size -= 1
    entry = heap[size]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= entry:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = entry
    return size


@inlined
def _look_up(merges, work, place, count, size):
    """Note the merge of a symbol with the one after it, in the heap too; returns the heap's size.

    Types: merges Merges; work Symbols; place, count, size int64.
    """
    after = work.following[place]
    rank = NO_RANK if after >= count else _rank_of(merges, work.merged[place], work.merged[after])
    work.ranks[place] = rank
    return size if rank == NO_RANK else _push(work.heap, size, np.int64(rank) << 32 | place)


@kernel
def _merge_many(merges, work, count):
    """Merge many symbols with a heap of rank << 32 | position, in n log n steps; returns how many are left.

    Types: merges Merges; work Symbols; count int64.
    """
    merged, ranks, following, preceding = work.merged, work.ranks, work.following, work.preceding
    for place in range(count):
        following[place], preceding[place] = place + 1, place - 1
    size = 0
    for place in range(count):
        size = _look_up(merges, work, place, count, size)
    while size:
        top = work.heap[0]
        size = _pop(work.heap, size)
        place = top & 0xFFFFFFFF
        if np.int64(ranks[place]) != top >> 32:
            continue  # one of the two has joined another since
        gone = following[place]
        after = following[gone]
        merged[place], ranks[gone], following[place] = merges.merged[ranks[place]], NO_RANK, after
        if after < count:
            preceding[after] = place
        size = _look_up(merges, work, place, count, size)
        if preceding[place] >= 0:
            size = _look_up(merges, work, np.int64(preceding[place]), count, size)
    left = place = 0
    while place < count:
        merged[left] = merged[place]
        left += 1
        place = np.int64(following[place])  # type: ignore[assignment]
    return left


@kernel
def _merge(merges, work, first, behind):
    """Merge symbols of a unit, into `work.merged`; returns how many are left.

    Types: merges Merges; work Symbols; first, behind int64.
    """
    count = behind - first
    for place in range(count):
        work.merged[place] = work.ids[first + place]
    if count <= FEW:
        return _merge_few(merges, work.merged, work.ranks, count)
    return _merge_many(merges, work, count)


@kernel
def merge_part(merges, work, first, behind, out, written):
    """Merge symbols of a unit and write their ids; returns how many.

    Types: merges Merges; work Symbols; first, behind, written int64; out uint32 [ids].
    """
    count = _merge(merges, work, first, behind)
    for place in range(count):
        out[written + place] = work.merged[place]
    return count


@kernel
def unmade(data, offsets, merges, ids, work, wrong):
    """Note the entries of a vocabulary that their own bytes are not merged to.

    Types: data uint8; offsets int64 [entries + 1]; merges Merges; ids int32 [entries]; work Symbols; wrong bool [entries].
    """
    for entry in range(len(ids)):
        count = _merge(merges, work, 0, symbols_in(data, offsets[entry], offsets[entry + 1], merges, work))
        wrong[entry] = count != 1 or work.merged[0] != ids[entry]
