r"""Byte-pair encoding in a kernel: UTF-8 text to ids, for the two kinds that we train and for Llama-2's.

    "A café, 12"  ──cut──►  A │ ␣café │ , │ ␣ │ 1 │ 2  ──look up──►  ids

1. A text's bytes are walked once and cut into units that no piece crosses: the words of our kinds' patterns, or, where
   a tokenizer does not split (Llama-2's), where the vocabulary has no piece with the two neighbouring characters.
2. Each unit is looked up in a table of units met before. Text repeats itself, so nearly all are found.
3. A new one is cut further wherever no merge can join the characters to the left with those to the right (scripts
   without spaces have long words, whose parts repeat though they don't), and its parts are looked up too.
4. What is left is encoded by its merges, lowest rank first, leftmost first, as the `tokenizers` library does.

The table is bounded: a new unit takes the place of the one before it. What is in it changes the speed alone, never the
ids. The plain twin of all kernels here is the `tokenizers` library (tests/encode/test_encoder.py). `data` is always uint8 [bytes + PADDING].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diglot.text.unicode import decode
from diglot.text.words import BEGIN, CUT_HERE, STATE, TRANSITIONS, cut_byte_fallback, cut_byte_level, inlined, kernel

BY_WORDS, BY_BYTE_LEVEL_WORDS, BETWEEN = range(3)  # how a text is cut
NO_PAIR = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
NO_RANK = np.uint32(0xFFFF_FFFF)
ID_BITS, RANK_BITS, LAST_RANK = np.uint64(20), np.uint64(24), np.uint64((1 << 24) - 1)
MOST_ENTRIES = (1 << 20) - 1  # of a vocabulary: ids have 20 bits, and the last is none
NOTHING, ANYTHING, UNKNOWN = -1, -2, -3  # in place of a character's id, see Model.joins
SHORT, LONG = 4, 8  # numbers in a unit's key in the two tables: up to 31 bytes with 7 ids, up to 63 with 15
# Slots: 32 and 4 MB. With a quarter of them, 18 languages mixed took 1.3 times as long.
SHORT_UNITS, LONG_UNITS = 1 << 19, 1 << 15
PADDING, MOST_IDS = 8 * LONG, 2 * LONG  # bytes read behind a text's end; ids written behind the last
FEW = 64  # symbols up to which looking at all pairs is cheaper than a heap

PRIMES = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93,
     0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53], np.uint64
)  # fmt: skip
_K0, _K1, _K2, _K3 = map(np.uint64, PRIMES[:4])
_1, _3, _6, _32, _40, _55, _56, _63, _LOW = map(np.uint64, (1, 3, 6, 32, 40, 55, 56, 63, 0xFFFFFFFF))


MASKS = np.array(
    [[(1 << 8 * min(max(length - 8 * part, 0), 8)) - 1 for part in range(8)] for length in range(64)], np.uint64
)


class Model(NamedTuple):
    """A tokenizer's model as the kernels read it.

    Attributes:
        classes: uint8 [0x110000], the class of every code point.
        characters: int32 [0x110000], the id of the piece that is this character; -1: its bytes (byte-level: always). A
            space's is that of ▁.
        bytes: int32 [256], the ids of the bytes.
        pairs: uint64 [slots], open addressing: 20 bits of the left id, 20 of the right id, 24 of the rank.
        merges: int32 [merges], by rank, the id of the merged piece.
        joins: uint64 [a power of two, 8], what stands around the places where merges join: four characters (by id),
            two to the left and two to the right, with NOTHING for the outer one where the left or right piece is one
            character; and the inner two alone, with ANYTHING around. The inner two choose a line (hashed), all four a
            bit of it. That the hash finds a few more than there are costs time and nothing else.
    """

    classes: NDArray[np.uint8]
    characters: NDArray[np.int32]
    bytes: NDArray[np.int32]
    pairs: NDArray[np.uint64]
    merges: NDArray[np.int32]
    joins: NDArray[np.uint64]


class Workspace(NamedTuple):
    """What one thread writes to.

    Attributes:
        short: uint64 [SHORT_UNITS, 8], units met before: 4 numbers with their bytes and, last, how many these are; 4
            numbers with two ids each and, last, how many these are. A slot is one line of the processor's cache.
        long: uint64 [LONG_UNITS, 16], likewise.
        units: int64 [longest text + 1], where each unit of a text ends.
        symbols: int32 [longest text + 1], a unit's characters, by id.
        places: int64 [longest text + 1], where each of them begins.
        merged, following, preceding: int32 [longest text + 1], the symbols of a part being merged, as a linked list.
        ranks: uint32 [longest text + 1], of the merge of each with the one after it, or NO_RANK.
        heap: int64 [3 * (longest text + 1)], rank << 32 | position.
    """

    short: NDArray[np.uint64]
    long: NDArray[np.uint64]
    units: NDArray[np.int64]
    symbols: NDArray[np.int32]
    places: NDArray[np.int64]
    merged: NDArray[np.int32]
    following: NDArray[np.int32]
    preceding: NDArray[np.int32]
    ranks: NDArray[np.uint32]
    heap: NDArray[np.int64]


def workspace(longest: int, before: Workspace | None = None) -> Workspace:
    """A workspace for texts of up to this many bytes; the units that one before it holds are kept."""
    if before is None:
        short, long = _aligned(SHORT_UNITS, 2 * SHORT), _aligned(LONG_UNITS, 2 * LONG)
    else:
        short, long = before.short, before.long
    size = longest + 1
    return Workspace(
        short=short,
        long=long,
        units=np.empty(size, np.int64),
        symbols=np.empty(size, np.int32),
        places=np.empty(size, np.int64),
        merged=np.empty(size, np.int32),
        following=np.empty(size, np.int32),
        preceding=np.empty(size, np.int32),
        ranks=np.empty(size, np.uint32),
        heap=np.empty(3 * size, np.int64),
    )


def _aligned(slots: int, width: int) -> NDArray[np.uint64]:
    """Zeros that begin at a line of the processor's cache, of 64 bytes."""
    memory = np.zeros(slots * width + 8, np.uint64)
    first = -memory.ctypes.data % 64 // 8
    return memory[first : first + slots * width].reshape(slots, width)


# --- tables ---------------------------------------------------------------------------------------------------


@inlined
def _pair_slot(key, mask):
    """The slot (uint64) where the search for a pair begins. Types: key, mask uint64."""
    hashed = key * _K0
    return (hashed ^ (hashed >> _32)) & mask


@kernel
def fill_pairs(pairs, left, right):
    """Enter merges, in the order of their ranks; of two of the same pair the later one counts (as in `tokenizers`).

    Types: pairs uint64 [slots]; left, right int32 [merges].
    """
    mask = np.uint64(len(pairs) - 1)
    for rank in range(len(left)):
        key = (np.uint64(left[rank]) << ID_BITS) | np.uint64(right[rank])
        slot = _pair_slot(key, mask)
        while pairs[slot] != NO_PAIR and pairs[slot] >> RANK_BITS != key:
            slot = (slot + _1) & mask
        pairs[slot] = (key << RANK_BITS) | np.uint64(rank)


@inlined
def find_rank(pairs, left, right):
    """The rank of the merge of two ids, or NO_RANK. Types: pairs uint64 [slots]; left, right int32."""
    mask = np.uint64(len(pairs) - 1)
    key = (np.uint64(left) << ID_BITS) | np.uint64(right)
    slot = _pair_slot(key, mask)
    while True:
        found = pairs[slot]
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
    """1 (uint64) where a merge may join with these characters around; see Model.joins.

    Types: joins uint64 [lines, 8]; inner uint64; before, after int64.
    """
    line = (inner >> _32) & np.uint64(len(joins) - 1)
    bit = ((inner + np.uint64(before)) * _K2 + np.uint64(after)) * _K3 >> _55
    return (joins[line, bit >> _6] >> (bit & _63)) & _1


@kernel
def fill_joins(joins, around):
    """Enter what stands around joins: int64 [joins, 4]; see Model.

    Types: joins uint64 [lines, 8]; around int64 [joins, 4].
    """
    for place in range(len(around)):
        before, left, right, after = around[place]
        inner = _inner_hash(left, right)
        line = (inner >> _32) & np.uint64(len(joins) - 1)
        bit = ((inner + np.uint64(before)) * _K2 + np.uint64(after)) * _K3 >> _55
        joins[line, bit >> _6] |= _1 << (bit & _63)


# --- merges ---------------------------------------------------------------------------------------------------


@inlined
def _symbols(data, start, end, characters, byte_ids, symbols, places):
    """Write the ids of a unit's characters, or of their bytes, and where they begin; returns how many.

    Types: data uint8; start, end int64; characters int32 [0x110000]; byte_ids int32 [256]; symbols int32 [characters];
    places int64 [characters + 1].
    """
    count = 0
    place = start
    while place < end:
        code, length = decode(data, place)
        found = characters[code]
        if found >= 0:
            symbols[count] = found
            places[count] = place
            count += 1
        else:
            for byte in range(place, place + length):
                symbols[count] = byte_ids[data[np.uint64(byte)]]
                places[count] = byte
                count += 1
        place += length
    return count


@inlined
def _look_up(work, place, count, pairs):
    """Note the rank of the merge of a symbol with the one after it, or NO_RANK; returns it.

    Types: work Workspace; place, count int64; pairs uint64 [slots].
    """
    after = work.following[place]
    rank = NO_RANK if after >= count else find_rank(pairs, work.merged[place], work.merged[after])
    work.ranks[place] = rank
    return rank


@inlined
def _join(work, place, count, merges):
    """Join a symbol with the one after it. Types: work Workspace; place, count int64; merges int32 [merges]."""
    gone = work.following[place]
    after = work.following[gone]
    work.merged[place] = merges[work.ranks[place]]
    work.ranks[gone] = NO_RANK
    work.following[place] = after
    if after < count:
        work.preceding[after] = place


@kernel
def _merge_few(work, count, pairs, merges):
    """Merge few symbols: for each merge look for the lowest rank (several at once, in a vector).

    Types: work Workspace; count int64; pairs uint64 [slots]; merges int32 [merges].
    """
    ranks = work.ranks
    for place in range(count):
        _look_up(work, place, count, pairs)
    while True:
        best = NO_RANK
        for place in range(count):
            best = min(best, ranks[place])
        if best == NO_RANK:
            return
        place = 0
        while ranks[place] != best:
            place += 1
        _join(work, place, count, merges)
        _look_up(work, place, count, pairs)
        if work.preceding[place] >= 0:
            _look_up(work, work.preceding[place], count, pairs)


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


@kernel
def _merge_many(work, count, pairs, merges):
    """Merge many symbols with a heap of rank << 32 | position, in n log n steps.

    Types: work Workspace; count int64; pairs uint64 [slots]; merges int32 [merges].
    """
    heap, size = work.heap, 0
    for place in range(count):
        rank = _look_up(work, place, count, pairs)
        if rank != NO_RANK:
            size = _push(heap, size, np.int64(rank) << 32 | place)
    while size:
        top = heap[0]
        size = _pop(heap, size)
        place = top & 0xFFFFFFFF
        if np.int64(work.ranks[place]) != top >> 32:
            continue  # one of the two has joined another since
        _join(work, place, count, merges)
        rank = _look_up(work, place, count, pairs)
        if rank != NO_RANK:
            size = _push(heap, size, np.int64(rank) << 32 | place)
        before = np.int64(work.preceding[place])
        if before >= 0:
            rank = _look_up(work, before, count, pairs)
            if rank != NO_RANK:
                size = _push(heap, size, np.int64(rank) << 32 | before)


# --- cutting where nothing splits --------------------------------------------------------------------------------------------------


@kernel
def _cut_between(data, place, end, classes, characters, joins, units):
    """Cut a text that the tokenizer does not split where words would end, if no piece has both neighbours.

    Types: data uint8; place, end int64; classes uint8 [0x110000]; characters int32 [0x110000]; joins uint64 [lines, 8];
    units int64 [words].
    """
    count = 0
    state, previous = np.uint8(BEGIN), np.int64(0x20)
    while place < end:
        code, length = decode(data, place)
        step = TRANSITIONS[np.uint64(state) << _3 | np.uint64(classes[np.uint64(code)])]
        state = step & np.uint8(STATE)
        if step & np.uint8(CUT_HERE):
            left, right = characters[previous], characters[code]
            joined = np.uint64(0)
            if left >= 0 and right >= 0:
                joined = _has_join(joins, _inner_hash(left, right), np.int64(ANYTHING), np.int64(ANYTHING))
            units[count] = place
            count += np.int64(joined == 0)  # type: ignore[assignment]
        previous = code
        place += length
    units[count] = end
    return count + 1


# --- units ----------------------------------------------------------------------------------------------------


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


@inlined
def _word_at(data, at):
    """Eight bytes as one number, least first (compiled to one load). Types: data uint8; at uint64."""
    value = np.uint64(0)
    for byte in range(8):
        value |= np.uint64(data[at + np.uint64(byte)]) << np.uint64(8 * byte)
    return value


@inlined
def _key_part(data, start, length, part, parts):
    """One of the numbers that a unit's key is: 8 of its bytes, and in the last 7 and the length.

    Types: data uint8; start, length, part, parts int64.
    """
    value = _word_at(data, np.uint64(start + 8 * part)) & MASKS[length, part]
    if part == parts - 1:
        value |= np.uint64(length) << _56
    return value


@inlined
def _slot(table, data, start, length, parts):
    """The slot of a unit in a table. Types: table uint64 [slots, 2 * parts]; data uint8; start, length, parts int64."""
    hashed = np.uint64(0)
    for part in range(parts):
        hashed ^= _key_part(data, start, length, part, parts) * PRIMES[part]
    return ((hashed ^ (hashed >> _32)) * _K1 >> _40) & np.uint64(len(table) - 1)


@inlined
def _look_into(table, data, start, length, parts, out, written):
    """Write the ids of a unit that is in a table; returns how many, or -1.

    Types: table uint64 [slots, 2 * parts]; data uint8; start, length, parts, written int64; out uint32 [ids].
    """
    slot = _slot(table, data, start, length, parts)
    different = np.uint64(0)
    for part in range(parts):
        different |= table[slot, part] ^ _key_part(data, start, length, part, parts)
    if different:
        return np.int64(-1)
    for pair in range(parts):  # all, without a branch: what is too much is written over
        two = table[slot, parts + pair]
        out[written + 2 * pair], out[written + 2 * pair + 1] = np.uint32(two & _LOW), np.uint32(two >> _32)
    return np.int64(table[slot, 2 * parts - 1] >> _32)


@inlined
def _put_into(table, data, start, length, parts, out, begin, count):
    """Put a unit and its ids, which stand in `out`, into a table.

    Types: table uint64 [slots, 2 * parts]; data uint8; start, length, parts, begin, count int64; out uint32 [ids].
    """
    slot = _slot(table, data, start, length, parts)
    for part in range(parts):
        table[slot, part] = _key_part(data, start, length, part, parts)
        low = np.uint64(out[begin + 2 * part]) if 2 * part < count else np.uint64(0)
        high = np.uint64(out[begin + 2 * part + 1]) if 2 * part + 1 < count else np.uint64(0)
        table[slot, parts + part] = (high << _32) | low
    table[slot, 2 * parts - 1] |= np.uint64(count) << _32


@inlined
def _recall(work, data, start, length, out, written):
    """Write the ids of a unit met before; returns how many, or -1.

    Types: work Workspace; data uint8; start, length, written int64; out uint32 [ids].
    """
    if length < 8 * SHORT:
        return _look_into(work.short, data, start, length, SHORT, out, written)
    if length < 8 * LONG:
        return _look_into(work.long, data, start, length, LONG, out, written)
    return np.int64(-1)


@kernel
def _remember(work, data, start, length, out, begin, count):
    """Keep a unit and its ids, which stand in `out`, for the next time, if they are few enough.

    Types: work Workspace; data uint8; start, length, begin, count int64; out uint32 [ids].
    """
    if length < 8 * SHORT and count < 2 * SHORT:
        _put_into(work.short, data, start, length, SHORT, out, begin, count)
    elif 8 * SHORT <= length < 8 * LONG and count < 2 * LONG:
        _put_into(work.long, data, start, length, LONG, out, begin, count)


@kernel
def _merge_part(work, first, behind, pairs, merges, out, written):
    """Merge symbols of a unit and write their ids; returns how many.

    Types: work Workspace; first, behind, written int64; pairs uint64 [slots]; merges int32 [merges]; out uint32 [ids].
    """
    merged, symbols, following, preceding = work.merged, work.symbols, work.following, work.preceding
    count = behind - first
    for place in range(count):
        merged[place] = symbols[first + place]
        following[place], preceding[place] = place + 1, place - 1
    if count <= FEW:
        _merge_few(work, count, pairs, merges)
    else:
        _merge_many(work, count, pairs, merges)
    number = place = 0
    while place < count:
        out[written + number] = merged[place]
        number += 1
        place = following[place]
    return number


@kernel
def _encode_unit(data, start, end, model, look, work, out, written):
    """Write the ids of a unit that was not met before, part by part if it may have some (`look`).

    Returns:
        How many ids are written by now.

    Types: data uint8; start, end, written int64; model Model; look bool; work Workspace; out uint32 [ids].
    """
    symbols, places = work.symbols, work.places
    count = _symbols(data, start, end, model.characters, model.bytes, symbols, places)
    places[count] = end
    first = 0
    for behind in range(1, count + 1):
        if behind < count and (not look or _joins_here(model.joins, symbols, behind, count)):
            continue
        if behind - first == 1:
            out[written] = symbols[first]
            written += 1
        else:
            part, length = places[first], places[behind] - places[first]
            number = _recall(work, data, part, length, out, written) if length < end - start else -1
            if number < 0:
                number = _merge_part(work, first, behind, model.pairs, model.merges, out, written)
                _remember(work, data, part, length, out, written, number)
            written += number
        first = behind
    return written


@kernel
def _encode_units(data, start, units, count, model, cut, work, out, written):
    """Write the ids of units; returns how many there are by now.

    Types: data uint8; start, count, cut, written int64; units int64 [words]; model Model; work Workspace; out uint32
    [ids].
    """
    for unit in range(count):
        end = units[unit]
        number = _recall(work, data, start, end - start, out, written)
        if number < 0:
            begin = written
            # Words of letters of one or two bytes are short, and hardly ever come apart.
            first = data[np.uint64(start)] if data[np.uint64(start)] != 0x20 else data[np.uint64(start + 1)]
            look = first >= 0xE0 or end - start >= 8 * SHORT or cut == BETWEEN
            written = _encode_unit(data, start, end, model, look, work, out, written)
            _remember(work, data, start, end - start, out, begin, written - begin)
        else:
            written += number
        start = end
    return written


@kernel
def encode_texts(data, offsets, cut, model, work, out, ends):
    """Encode texts.

    Args:
        data: uint8, valid UTF-8, with PADDING more bytes that may be read.
        offsets: int64 [texts + 1], where each text begins and ends.
        cut: BY_WORDS, BY_BYTE_LEVEL_WORDS or BETWEEN.
        model: see Model.
        work: see Workspace.
        out: uint32 [bytes + MOST_IDS], receives the ids.
        ends: int64 [texts + 1], receives where each text's ids begin and end.

    Returns:
        The number of ids.
    """
    written = 0
    ends[0] = 0
    classes, characters, joins, units = model.classes, model.characters, model.joins, work.units
    for text in range(len(offsets) - 1):
        begin, end = offsets[text], offsets[text + 1]
        if begin < end:
            if cut == BY_WORDS:
                count = cut_byte_fallback(data, begin, end, classes, units)
            elif cut == BY_BYTE_LEVEL_WORDS:
                count = cut_byte_level(data, begin, end, classes, units)
            else:
                count = _cut_between(data, begin, end, classes, characters, joins, units)
            written = _encode_units(data, begin, units, count, model, cut, work, out, written)
        ends[text + 1] = written
    return written
