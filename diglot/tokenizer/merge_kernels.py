"""The kernels of the merge learner (see `merges.py`, which holds their arrays and makes room in them).

**Places.** The symbols of all words stand one after another with a bound between words. A symbol that merges have made
keeps the places of what it was made of; its first place says what it is, and its first and last place how many places
it has, so that both neighbours are one step away:

    place     0   1    2    3    4    5     the word "abcd" after a merge of b and c
    symbol    |   a    bc   .    d    |
    span      0   1    2    2    1    0

**Candidates** are what can be learnt: a pair of symbols or, with every split, the text of a new piece. With parity, each
group has its own, and `sibling` chains those of the same pair or text into a ring. A candidate's places lie in
stretches of one pool, ascending. They are found when its younger symbol is made, and are never taken out: where a
place says that it belongs to another candidate by now, it is passed over. So there is no table of pairs: while a
symbol is made, an array says for every neighbour which candidate the two are.

**Queue.** A heap for each group, of the candidates that occur at least `floors[group]` times. Counts fall all the
time; a candidate whose count has changed is put back where it belongs when it comes up. When a heap is empty, its
floor is lowered and the candidates are gone through once, so it stays small and near.

Everything compiled is in this file, since numba sees only changes of the file that a kernel stands in.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diglot.corpus.characters import finish, kernel

MINIMUM_COUNT = 2  # a pair seen once is no pattern

PLACE = np.dtype([("symbol", np.int32), ("candidate", np.int32), ("span", np.int32), ("weight", np.int32)])
WEIGHT = np.dtype([("count", np.int64), ("second", np.int64), ("group", np.int64)])
SHAPE = np.dtype([("characters", np.int32), ("open", np.bool_), ("fixed", np.bool_)])
TOTAL = np.dtype([("count", np.int64), ("second", np.int64)])
LINK = np.dtype([(name, np.int32) for name in ("left", "right", "stretch", "sibling", "group", "events")])
STRETCH = np.dtype([(name, np.int32) for name in ("begin", "length", "next", "owner")])
EVENT = np.dtype([("candidate", np.int32), ("place", np.int32)])
_STATE = ("pieces", "merges", "candidates", "free", "unused", "stretches", "pool", "longest", "events", "touched", "asked")
STATE = np.dtype([(name, np.int64) for name in _STATE])
NEEDED = np.dtype([(name, np.int64) for name in ("candidates", "stretches", "pool", "queue", "events", "content")])

NONE, UNKNOWN, PIECE = -1, -2, -3  # no candidate; not looked at yet; PIECE - n: they spell the piece n
REFUSED, UNUSED = -2, -3  # in links.events: never learnt; a number that the next candidate may have
FINISHED, SLICE, ROOM = range(3)  # what `learn` returns
NO_FLOOR = 1 << 62
_BLOCK = 256  # places that are looked at together before they are joined, so that the memory is asked for them at once

_BASE = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)


class Pieces(NamedTuple):
    """The bytes of all pieces.

    Attributes:
        content: uint8, all pieces one after another.
        offsets: int64 [pieces + 1].
        hashes: uint64 [pieces, 2]: the polynomial hash, and what the hash of what stands before is multiplied with;
            so the hash of two pieces joined follows from theirs.
        shapes: SHAPE [pieces]: characters that begin in it, whether it begins within one, whether it never merges.
        table: int32 [power of two], pieces by hash, or NONE.
    """

    content: np.ndarray
    offsets: np.ndarray
    hashes: np.ndarray
    shapes: np.ndarray
    table: np.ndarray


class Candidates(NamedTuple):
    """What can be learnt, and where.

    Attributes:
        totals: TOTAL [candidates]: counts and seconds now.
        links: LINK [candidates]: symbols that make it, first stretch (of an unused one: the next unused one), next in
            the ring, group of the queue, events in this step (or REFUSED, UNUSED).
        table: int32 [power of two]: with every split, one of each ring by the hash of its text.
        stretches: STRETCH [stretches]: begin in the pool, length, the next of its candidate, candidate.
        pool: int32: places.
    """

    totals: np.ndarray
    links: np.ndarray
    table: np.ndarray
    stretches: np.ndarray
    pool: np.ndarray


class Queue(NamedTuple):
    """A heap for each group: counts int64 and candidates int32 [groups, room]; sizes and floors int64 [groups]."""

    counts: np.ndarray
    candidates: np.ndarray
    sizes: np.ndarray
    floors: np.ndarray


class Step(NamedTuple):
    """What one step writes down.

    Attributes:
        events: EVENT [room], all pairs made.
        touched: int32 [room], the candidates in it.
        places: int32 [room], those of what is learnt.
        neighbours: int32 [2 * pieces * groups]: the candidate (or NONE, UNKNOWN, PIECE - n) that a symbol before, or
            after, the new piece makes with it.
        asked: int32 [2 * pieces * groups]: which of these are not UNKNOWN.
    """

    events: np.ndarray
    touched: np.ndarray
    places: np.ndarray
    neighbours: np.ndarray
    asked: np.ndarray


class Rules(NamedTuple):
    """What may be learnt.

    Attributes:
        max_characters: in a piece.
        every_split: candidates are texts, not pairs.
        parity: each merge goes to the group with the greatest cost.
        familiar: uint8 [code points]: bit k of v says that the base language has a character whose code point without
            its last k bytes is v; empty where nothing is refused.
        tolerance: see `continue_merges`; below 0: every familiar candidate is refused.
        total: of the counts of words, at least 1.
        total_seconds: of their seconds, at least 1.
    """

    max_characters: int
    every_split: bool
    parity: bool
    familiar: np.ndarray
    tolerance: float
    total: float
    total_seconds: float


class Result(NamedTuple):
    """merges int32 [merges, 2]; tokens int64 [merges + 1, groups]; costs int64 [groups], tokens of the seconds."""

    merges: np.ndarray
    tokens: np.ndarray
    costs: np.ndarray


# --- pieces ---------------------------------------------------------------------------------------------------


@kernel
def _byte(pieces, left, right, at):
    """A byte of two pieces joined."""
    first = pieces.offsets[left]
    length = pieces.offsets[left + 1] - first
    return pieces.content[first + at if at < length else pieces.offsets[right] + at - length]


@kernel
def _length(pieces, left, right):
    """Bytes of two pieces joined."""
    return pieces.offsets[left + 1] - pieces.offsets[left] + pieces.offsets[right + 1] - pieces.offsets[right]


@kernel
def _spell_the_same(pieces, left, right, other_left, other_right):
    length = _length(pieces, left, right)
    if length != _length(pieces, other_left, other_right):
        return False
    for at in range(length):
        if _byte(pieces, left, right, at) != _byte(pieces, other_left, other_right, at):
            return False
    return True


@kernel
def _hash(pieces, left, right):
    return pieces.hashes[left, 0] * pieces.hashes[right, 1] + pieces.hashes[right, 0]


@kernel
def find_piece(pieces, left, right):
    """The piece that two pieces spell, or NONE. Of equal ones it is the first that can merge."""
    hash_, length = _hash(pieces, left, right), _length(pieces, left, right)
    mask = np.uint64(len(pieces.table) - 1)
    slot = finish(hash_) & mask
    while pieces.table[slot] != NONE:
        piece = np.int64(pieces.table[slot])
        begin = pieces.offsets[piece]
        if pieces.hashes[piece, 0] == hash_ and pieces.offsets[piece + 1] - begin == length:
            at = 0
            while at < length and pieces.content[begin + at] == _byte(pieces, left, right, at):
                at += 1
            if at == length:
                return piece
        slot = (slot + _ONE) & mask
    return np.int64(NONE)


@kernel
def add_pieces(pieces, first, last):
    """Enter pieces whose bytes stand in `content`; returns the number of bytes of the longest."""
    longest = 1
    mask = np.uint64(len(pieces.table) - 1)
    for piece in range(first, last):
        begin, length = pieces.offsets[piece], pieces.offsets[piece + 1] - pieces.offsets[piece]
        longest = max(longest, length)
        hash_, power, characters = np.uint64(0), _ONE, 0
        for at in range(begin, begin + length):
            hash_ = hash_ * _BASE + np.uint64(pieces.content[at]) + _ONE
            power *= _BASE
            characters += pieces.content[at] & 0xC0 != 0x80
        pieces.hashes[piece, 0], pieces.hashes[piece, 1] = hash_, power
        pieces.shapes[piece].characters = characters
        pieces.shapes[piece].open = length > 0 and pieces.content[begin] & 0xC0 == 0x80
        slot = finish(hash_) & mask
        while pieces.table[slot] != NONE:
            other = pieces.table[slot]
            if pieces.hashes[other, 0] == hash_ and pieces.offsets[other + 1] - pieces.offsets[other] == length:
                at = 0
                while at < length and pieces.content[begin + at] == pieces.content[pieces.offsets[other] + at]:
                    at += 1
                if at == length:
                    break
            slot = (slot + _ONE) & mask
        if pieces.table[slot] == NONE or pieces.shapes[pieces.table[slot]].fixed:
            pieces.table[slot] = piece
    return longest


@kernel
def is_familiar(pieces, left, right, familiar):
    """Whether two pieces joined consist of the base language's characters, so far as they can be told."""
    at, length = np.int64(0), _length(pieces, left, right)
    while at < length and _byte(pieces, left, right, at) & 0xC0 == 0x80:
        at += 1
    while at < length:
        byte = np.int64(_byte(pieces, left, right, at))
        missing = (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
        code = byte & (0x7F if missing == 0 else 0x3F >> missing)
        at += 1
        while missing and at < length and _byte(pieces, left, right, at) & 0xC0 == 0x80:
            code = (code << 6) | (np.int64(_byte(pieces, left, right, at)) & 0x3F)
            missing -= 1
            at += 1
        if code >= len(familiar) or not (familiar[code] >> missing) & 1:
            return False
    return True


# --- the queue ------------------------------------------------------------------------------------------------


@kernel
def _comes_first(one, other, links, pieces, every_split):
    """Of two candidates with equal counts: the smaller symbols, or, with every split, the text that sorts first."""
    left, right = np.int64(links[one].left), np.int64(links[one].right)
    other_left, other_right = np.int64(links[other].left), np.int64(links[other].right)
    if not every_split:
        return left < other_left or (left == other_left and right < other_right)
    length, other_length = _length(pieces, left, right), _length(pieces, other_left, other_right)
    for at in range(min(length, other_length)):
        byte, other_byte = _byte(pieces, left, right, at), _byte(pieces, other_left, other_right, at)
        if byte != other_byte:
            return byte < other_byte
    return length < other_length


@kernel
def _push(queue, candidate, candidates, pieces, every_split):
    """Put a candidate into its queue with its count of now."""
    group, count = candidates.links[candidate].group, candidates.totals[candidate].count
    counts, heap = queue.counts[group], queue.candidates[group]
    at = queue.sizes[group]
    queue.sizes[group] += 1
    while at > 0:
        parent = (at - 1) >> 1
        if counts[parent] > count:
            break
        if counts[parent] == count and not _comes_first(
            candidate, np.int64(heap[parent]), candidates.links, pieces, every_split
        ):
            break
        counts[at], heap[at] = counts[parent], heap[parent]
        at = parent
    counts[at], heap[at] = count, candidate


@kernel
def _pop(queue, group, links, pieces, every_split):
    """Take the first out of a queue."""
    counts, heap = queue.counts[group], queue.candidates[group]
    queue.sizes[group] -= 1
    size = queue.sizes[group]
    # The last takes the place of the first: the hole sinks to the bottom, then the last rises from there.
    at = np.int64(0)
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size:
            one, other = counts[child], counts[child + 1]
            if other > one or (
                other == one
                and _comes_first(np.int64(heap[child + 1]), np.int64(heap[child]), links, pieces, every_split)
            ):
                child += 1
        counts[at], heap[at] = counts[child], heap[child]
        at = child
    count, candidate = counts[size], np.int64(heap[size])
    while at > 0:
        parent = (at - 1) >> 1
        if counts[parent] > count or (
            counts[parent] == count
            and not _comes_first(candidate, np.int64(heap[parent]), links, pieces, every_split)
        ):
            break
        counts[at], heap[at] = counts[parent], heap[parent]
        at = parent
    counts[at], heap[at] = count, candidate


@kernel
def _refill(queue, group, candidates, pieces, state, every_split):
    """Lower the floor of an empty queue, to half of the greatest count, and put in what stands on it."""
    greatest = 0
    for candidate in range(state[0].candidates):
        if candidates.totals[candidate].count > greatest:
            link = candidates.links[candidate]
            if link.group == group and link.events >= 0:
                greatest = candidates.totals[candidate].count
    floor = max((greatest + 1) // 2, MINIMUM_COUNT)
    queue.floors[group] = floor
    for candidate in range(state[0].candidates):
        if candidates.totals[candidate].count >= floor:
            link = candidates.links[candidate]
            if link.group == group and link.events >= 0:
                _push(queue, candidate, candidates, pieces, every_split)


@kernel
def _neediest(queue, costs):
    """The group with the greatest cost among those that something may be left of, or NONE."""
    best = NONE
    for group in range(len(queue.sizes)):
        open_ = queue.sizes[group] > 0 or queue.floors[group] > MINIMUM_COUNT
        if open_ and (best == NONE or costs[group] > costs[best]):
            best = group
    return best


@kernel
def _allowed(candidate, candidates, pieces, rules):
    """Whether a candidate may be learnt now."""
    left, right = np.int64(candidates.links[candidate].left), np.int64(candidates.links[candidate].right)
    if find_piece(pieces, left, right) != NONE:
        return False
    if len(rules.familiar) == 0 or not is_familiar(pieces, left, right, rules.familiar):
        return True
    rate = candidates.totals[candidate].second / rules.total_seconds
    return rules.tolerance >= 0 and not (
        rate > rules.tolerance * candidates.totals[candidate].count / rules.total
    )


@kernel
def _choose(queue, candidates, pieces, state, costs, rules):
    """Take the candidate that is learnt next out of the queue, or NONE."""
    links, every_split = candidates.links, rules.every_split
    while True:
        group = _neediest(queue, costs)
        if group == NONE:
            return np.int64(NONE)
        if queue.sizes[group] == 0:
            _refill(queue, group, candidates, pieces, state, every_split)
            continue
        count, candidate = queue.counts[group, 0], np.int64(queue.candidates[group, 0])
        _pop(queue, group, links, pieces, every_split)
        if links[candidate].events < 0 or links[candidate].group != group:
            continue  # the number has been given to another candidate
        now = candidates.totals[candidate].count
        if now != count:
            if now >= queue.floors[group]:
                _push(queue, candidate, candidates, pieces, every_split)
        elif _allowed(candidate, candidates, pieces, rules):
            return candidate
        else:
            while links[candidate].events != REFUSED:
                links[candidate].events = REFUSED
                candidate = np.int64(links[candidate].sibling)


# --- candidates -----------------------------------------------------------------------------------------------


@kernel
def _candidate_slot(left, right, candidates, pieces):
    """Where a text stands in the table of candidates, or the empty place where it belongs."""
    hash_ = _hash(pieces, left, right)
    mask = np.uint64(len(candidates.table) - 1)
    slot = finish(hash_) & mask
    while candidates.table[slot] != NONE:
        link = candidates.links[candidates.table[slot]]
        other_left, other_right = np.int64(link.left), np.int64(link.right)
        if _hash(pieces, other_left, other_right) == hash_ and _spell_the_same(
            pieces, left, right, other_left, other_right
        ):
            break
        slot = (slot + _ONE) & mask
    return slot


@kernel
def _find_candidate(left, right, group, ring, candidates, pieces, state, rules):
    """The candidate that two symbols are in a group: one that is known, a new one, NONE, or PIECE - n.

    Args:
        ring: without every split, the same pair's candidate in another group, or NONE.
    """
    shapes, links = pieces.shapes, candidates.links
    if shapes[left].fixed or shapes[right].fixed:
        return np.int64(NONE)
    if rules.every_split:
        piece = find_piece(pieces, left, right)
        if piece != NONE:
            return np.int64(NONE) if shapes[piece].fixed else PIECE - piece
    characters = shapes[left].characters + shapes[right].characters + (1 if shapes[left].open else 0)
    if characters > rules.max_characters:
        return np.int64(NONE)
    slot = np.uint64(0)
    if rules.every_split:
        slot = _candidate_slot(left, right, candidates, pieces)
        ring = np.int64(candidates.table[slot])
        if ring != NONE:
            if links[ring].events == REFUSED:
                return np.int64(NONE)
            member = ring
            while True:
                if links[member].group == group:
                    return member
                member = np.int64(links[member].sibling)
                if member == ring:
                    break
    if state[0].unused:
        made = state[0].free
        state[0].free = links[made].stretch
        state[0].unused -= 1
    else:
        made = state[0].candidates
        state[0].candidates += 1
    candidates.totals[made].count = candidates.totals[made].second = 0
    links[made].left, links[made].right, links[made].stretch = left, right, NONE
    links[made].group, links[made].events, links[made].sibling = group, 0, made
    if ring != NONE:
        links[made].sibling = links[ring].sibling
        links[ring].sibling = made
    elif rules.every_split:
        candidates.table[slot] = made
    return made


@kernel
def _alive(candidate, candidates, every_split):
    """Whether any of a ring can still be learnt."""
    member = candidate
    while True:
        count, second = candidates.totals[member].count, candidates.totals[member].second
        if count >= MINIMUM_COUNT or (every_split and (count or second)):
            return True
        member = np.int64(candidates.links[member].sibling)
        if member == candidate:
            return False


@kernel
def _release(candidate, candidates, state):
    """Let a candidate's number be used again; no place says any more that it belongs to it."""
    link = candidates.links[candidate]
    stretch = np.int64(link.stretch)
    while stretch != NONE:
        candidates.stretches[stretch].owner = NONE
        stretch = np.int64(candidates.stretches[stretch].next)
    link.events, link.stretch = UNUSED, state[0].free
    state[0].free = candidate
    state[0].unused += 1


@kernel
def _give_stretch(candidate, candidates, state):
    """Room in the pool for a candidate's events; from here on `events` says where the next one goes."""
    link = candidates.links[candidate]
    stretch, begin = state[0].stretches, state[0].pool
    candidates.stretches[stretch].begin, candidates.stretches[stretch].length = begin, link.events
    candidates.stretches[stretch].next, candidates.stretches[stretch].owner = link.stretch, candidate
    state[0].stretches += 1
    state[0].pool += link.events
    link.stretch, link.events = stretch, begin


@kernel
def _store(places, candidates, queue, pieces, step, state, every_split):
    """Give the candidates of a step their stretches of the pool, and their place in the queue."""
    links, totals = candidates.links, candidates.totals
    for number in range(state[0].touched):
        candidate = np.int64(step.touched[number])
        if every_split or _alive(candidate, candidates, every_split):
            _give_stretch(candidate, candidates, state)
        else:
            links[candidate].events = NONE
    for number in range(state[0].events):
        candidate, place = np.int64(step.events[number].candidate), np.int64(step.events[number].place)
        at = links[candidate].events
        if at != NONE:
            candidates.pool[at] = place
            links[candidate].events = at + 1
        elif places[place].candidate == candidate:
            places[place].candidate = NONE
    for number in range(state[0].touched):
        candidate = np.int64(step.touched[number])
        if links[candidate].events == NONE:
            _release(candidate, candidates, state)
            continue
        links[candidate].events = 0
        if totals[candidate].count >= queue.floors[links[candidate].group]:
            _push(queue, candidate, candidates, pieces, every_split)
    state[0].events = state[0].touched = 0
    for number in range(state[0].asked):
        step.neighbours[step.asked[number]] = UNKNOWN
    state[0].asked = 0


# --- the beginning --------------------------------------------------------------------------------------------


@kernel
def _write_place(places, at, symbol, span, weight):
    places[at].symbol, places[at].candidate, places[at].span, places[at].weight = symbol, NONE, span, weight


@kernel
def lay_out(symbols, offsets, counts, seconds, groups, places, weights, table, tokens, costs):
    """Write the words of two symbols and more into places, and their different weights; count all tokens.

    Args:
        table: int32 [power of two] of NONE, more than there are words.

    Returns:
        How many different weights there are.
    """
    _write_place(places, 0, NONE, 0, 0)
    at, number = 1, 0
    mask = np.uint64(len(table) - 1)
    for word in range(len(offsets) - 1):
        count, second, group = counts[word], seconds[word], np.int64(groups[word])
        length = offsets[word + 1] - offsets[word]
        tokens[group] += count * length
        costs[group] += second * length
        if length < 2:
            continue
        hash_ = (np.uint64(count) * _BASE + np.uint64(second)) * _BASE + np.uint64(group)
        slot = finish(hash_) & mask
        while table[slot] != NONE:
            weight = weights[table[slot]]
            if weight.count == count and weight.second == second and weight.group == group:
                break
            slot = (slot + _ONE) & mask
        if table[slot] == NONE:
            table[slot] = number
            weights[number].count, weights[number].second, weights[number].group = count, second, group
            number += 1
        for index in range(offsets[word], offsets[word + 1]):
            _write_place(places, at, symbols[index], 1, table[slot])
            at += 1
        _write_place(places, at, NONE, 0, 0)
        at += 1
    return number


@kernel
def _pair_slot(keys, values, left, right, group):
    """Where a pair stands in a table, or the empty place where it belongs; and its key."""
    key = (left << 40) | (right << 16) | group
    mask = np.uint64(len(keys) - 1)
    slot = finish(np.uint64(key) * _BASE) & mask
    while values[slot] != UNKNOWN and keys[slot] != key:
        slot = (slot + _ONE) & mask
    return slot, key


@kernel
def move_pairs(keys, values, new_keys, new_values):
    """Enter a table of pairs into a larger one, which is empty; returns that."""
    mask = np.uint64(len(new_keys) - 1)
    for old in range(len(keys)):
        if values[old] != UNKNOWN:
            slot = finish(np.uint64(keys[old]) * _BASE) & mask
            while new_values[slot] != UNKNOWN:
                slot = (slot + _ONE) & mask
            new_keys[slot], new_values[slot] = keys[old], values[old]
    return new_keys, new_values


@kernel
def count_pairs(first, used, keys, values, places, weights, pieces, candidates, state, groups, rules):
    """Find the candidates of the words as they are given.

    Args:
        first: the place to begin at.
        used: pairs in the table.
        keys, values: int64 and int32 [power of two], the pairs and their candidates, or UNKNOWN.
        groups: of the queues.

    Returns:
        The place that there is no room for (else the number of places), and the pairs in the table.
    """
    for place in range(first, len(places) - 1):
        if places[place].span == 0 or places[place + 1].span == 0:
            continue
        if 2 * used >= len(keys) or state[0].candidates >= len(candidates.links):
            return place, used
        weight = weights[places[place].weight]
        group = weight.group if rules.parity else 0
        left, right = np.int64(places[place].symbol), np.int64(places[place + 1].symbol)
        slot, key = _pair_slot(keys, values, left, right, group)
        if values[slot] == UNKNOWN:
            ring = np.int64(NONE)
            for other in range(groups if groups > 1 else 0):
                ring = max(ring, np.int64(values[_pair_slot(keys, values, left, right, other)[0]]))
            keys[slot] = key
            values[slot] = max(_find_candidate(left, right, group, ring, candidates, pieces, state, rules), NONE)
            used += 1
        candidate = np.int64(values[slot])
        if candidate != NONE:
            places[place].candidate = candidate
            candidates.links[candidate].events += 1
            candidates.totals[candidate].count += weight.count
            candidates.totals[candidate].second += weight.second
    return len(places), used


@kernel
def store_pairs(places, candidates, state, every_split):
    """Give the candidates of `count_pairs` their stretches of the pool, and drop those that cannot be learnt."""
    links = candidates.links
    for candidate in range(state[0].candidates):
        if every_split or _alive(candidate, candidates, every_split):
            _give_stretch(candidate, candidates, state)
        else:
            links[candidate].events = NONE
    for place in range(len(places)):
        candidate = np.int64(places[place].candidate)
        if candidate != NONE:
            at = links[candidate].events
            if at == NONE:
                places[place].candidate = NONE
            else:
                candidates.pool[at] = place
                links[candidate].events = at + 1
    for candidate in range(state[0].candidates):
        if links[candidate].events == NONE:
            _release(candidate, candidates, state)
        else:
            links[candidate].events = 0


# --- a step ---------------------------------------------------------------------------------------------------


@kernel
def _unlink(place, weight, places, totals):
    """A place belongs to no candidate any more."""
    candidate = places[place].candidate
    if candidate >= 0:
        totals[candidate].count -= weight.count
        totals[candidate].second -= weight.second
        places[place].candidate = NONE


@kernel
def _join(place, symbol, weight, places, totals):
    """Join a place's symbol with its right neighbour."""
    middle = place + places[place].span
    end = middle + places[middle].span
    _unlink(place - places[place - 1].span, weight, places, totals)
    _unlink(place, weight, places, totals)
    _unlink(middle, weight, places, totals)
    places[place].symbol = symbol
    places[place].span = places[end - 1].span = end - place


@kernel
def _spelled(left, right, pieces):
    """The piece that two neighbours spell, or NONE."""
    if pieces.shapes[left].fixed or pieces.shapes[right].fixed:
        return np.int64(NONE)
    piece = find_piece(pieces, left, right)
    return np.int64(NONE) if piece != NONE and pieces.shapes[piece].fixed else piece


@kernel
def _join_spelled(place, weight, places, totals, pieces):
    """After a join: while the symbol and a neighbour spell a piece, join them as well, the oldest piece first.

    This is what an encoder that ranks pairs by their piece does at this moment, since all other pairs come later.

    Returns:
        The symbol's place, and how many joins were made.
    """
    joins = 0
    while True:
        symbol = np.int64(places[place].symbol)
        before, after = np.int64(NONE), np.int64(NONE)
        previous, following = place - places[place - 1].span, place + places[place].span
        if previous != place:
            before = _spelled(np.int64(places[previous].symbol), symbol, pieces)
        if places[following].span:
            after = _spelled(symbol, np.int64(places[following].symbol), pieces)
        if before == NONE and after == NONE:
            return place, joins
        if after == NONE or (before != NONE and before <= after):
            place = previous
            _join(place, before, weight, places, totals)
        else:
            _join(place, after, weight, places, totals)
        joins += 1


@kernel
def _link(place, new, weight, places, candidates, pieces, step, state, groups, rules):
    """Find the candidate that a place and its right neighbour are now."""
    left, right = np.int64(places[place].symbol), np.int64(places[place + places[place].span].symbol)
    group = weight.group if rules.parity else 0
    at, candidate = np.int64(NONE), np.int64(UNKNOWN)
    if left == new:
        at = (len(step.neighbours) >> 1) + right * groups
    elif right == new:
        at = left * groups
    if at != NONE:
        candidate = np.int64(step.neighbours[at + group])
    if candidate == UNKNOWN:
        ring = np.int64(NONE)
        if at != NONE and groups > 1:
            for other in range(groups):
                ring = max(ring, np.int64(step.neighbours[at + other]))
        candidate = _find_candidate(left, right, group, ring, candidates, pieces, state, rules)
        if at != NONE:
            step.neighbours[at + group] = candidate
            step.asked[state[0].asked] = at + group
            state[0].asked += 1
    if candidate >= 0:
        places[place].candidate = candidate
        candidates.totals[candidate].count += weight.count
        candidates.totals[candidate].second += weight.second
        if candidates.links[candidate].events == 0:
            step.touched[state[0].touched] = candidate
            state[0].touched += 1
        candidates.links[candidate].events += 1
        event = state[0].events
        step.events[event].candidate, step.events[event].place = candidate, place
        state[0].events += 1


@kernel
def _gather(candidate, candidates, places):
    """A candidate's places, ascending, and ones that were; returns how many."""
    size, number = 0, 0
    stretch = np.int64(candidates.links[candidate].stretch)
    while stretch != NONE:
        begin, length = candidates.stretches[stretch].begin, candidates.stretches[stretch].length
        for index in range(length):
            places[size + index] = candidates.pool[begin + index]
        size += length
        number += 1
        stretch = np.int64(candidates.stretches[stretch].next)
    gap = size if number > 1 else 0
    while gap > 1:  # Shell's sort
        gap = 1 if gap < 5 else gap * 5 // 11
        for at in range(gap, size):
            place, hole = places[at], at
            while hole >= gap and places[hole - gap] > place:
                places[hole] = places[hole - gap]
                hole -= gap
            places[hole] = place
    return size


@kernel
def _pair_of(candidate, places, weights, candidates, pieces, step):
    """The symbols that a text is mostly made of; of equally many, the smallest."""
    link = candidates.links[candidate]
    left, right = np.int64(link.left), np.int64(link.right)
    counts = np.zeros(_length(pieces, left, right), np.int64)  # by the length of the left one
    pairs = np.full((len(counts), 2), NONE, np.int64)
    member = candidate
    while True:
        size = _gather(member, candidates, step.places)
        for index in range(size):
            place = np.int64(step.places[index])
            if places[place].candidate == member:
                one = np.int64(places[place].symbol)
                other = np.int64(places[place + places[place].span].symbol)
                at = pieces.offsets[one + 1] - pieces.offsets[one]
                counts[at] += weights[places[place].weight].count
                pairs[at, 0], pairs[at, 1] = one, other
        member = np.int64(candidates.links[member].sibling)
        if member == candidate:
            break
    most = -1
    for at in range(len(counts)):
        one, other = pairs[at, 0], pairs[at, 1]
        if one != NONE and (counts[at] > most or (counts[at] == most and (one, other) < (left, right))):
            most, left, right = counts[at], one, other
    return left, right


@kernel
def _enter(left, right, pieces, state):
    """Make the piece of two; returns its id."""
    new = state[0].pieces
    begin, length = pieces.offsets[new], _length(pieces, left, right)
    for at in range(length):
        pieces.content[begin + at] = _byte(pieces, left, right, at)
    pieces.offsets[new + 1] = begin + length
    state[0].longest = max(state[0].longest, add_pieces(pieces, new, new + 1))
    state[0].pieces += 1
    return new


@kernel
def _apply(member, new, places, weights, candidates, pieces, step, state, groups, rules, costs, tokens):
    """Join all places of a candidate, left to right, and note the pairs that this makes."""
    size, totals = _gather(member, candidates, step.places), candidates.totals
    for begin in range(0, size, _BLOCK):
        end = begin
        for index in range(begin, min(begin + _BLOCK, size)):
            place = step.places[index]
            if places[place].candidate == member:
                step.places[end] = place
                end += 1
        for index in range(begin, end):
            place = np.int64(step.places[index])
            if places[place].candidate != member:
                continue
            weight = weights[places[place].weight]
            _join(place, new, weight, places, totals)
            joins = 1
            if rules.every_split:
                place, more = _join_spelled(place, weight, places, totals, pieces)
                joins += more
            tokens[weight.group] -= weight.count * joins
            costs[weight.group] -= weight.second * joins
            before = places[place - 1].span
            if before:
                _link(place - before, new, weight, places, candidates, pieces, step, state, groups, rules)
            if places[place + places[place].span].span:
                _link(place, new, weight, places, candidates, pieces, step, state, groups, rules)


@kernel
def _has_room(candidate, candidates, pieces, queue, step, state, needed, groups, rules):
    """Whether the arrays are large enough for a candidate's step whatever it finds; `needed` says how large."""
    size, member = 0, candidate
    while True:
        stretch = np.int64(candidates.links[member].stretch)
        while stretch != NONE:
            size += candidates.stretches[stretch].length
            stretch = np.int64(candidates.stretches[stretch].next)
        member = np.int64(candidates.links[member].sibling)
        if member == candidate:
            break
    need, now = needed[0], state[0]
    queued, events = np.int64(0), 2 * size
    for group in range(groups):
        queued = max(queued, queue.sizes[group])
    made = events if rules.every_split else min(events, 2 * (now.pieces + 1) * groups)
    need.candidates, need.stretches = now.candidates - now.unused + made, now.stretches + made
    need.pool, need.queue, need.events = now.pool + events, queued + made, events
    need.content = pieces.offsets[now.pieces] + 2 * now.longest
    return (
        need.candidates <= len(candidates.links)
        and need.stretches <= len(candidates.stretches)
        and need.pool <= len(candidates.pool)
        and need.events <= len(step.events)
        and need.content <= len(pieces.content)
        and need.queue <= queue.counts.shape[1]
    )


@kernel
def learn(until, places, weights, pieces, candidates, queue, step, state, needed, rules, result):
    """Learn merges until there are so many; returns FINISHED, SLICE (there are), or ROOM (`needed` says what)."""
    links, groups = candidates.links, len(queue.sizes)
    while state[0].merges < until:
        candidate = _choose(queue, candidates, pieces, state, result.costs, rules)
        if candidate == NONE:
            return FINISHED
        if not _has_room(candidate, candidates, pieces, queue, step, state, needed, groups, rules):
            _push(queue, candidate, candidates, pieces, rules.every_split)
            return ROOM
        left, right = np.int64(links[candidate].left), np.int64(links[candidate].right)
        if rules.every_split:
            left, right = _pair_of(candidate, places, weights, candidates, pieces, step)
        new = _enter(left, right, pieces, state)
        merge = state[0].merges
        result.merges[merge, 0], result.merges[merge, 1] = left, right
        for group in range(result.tokens.shape[1]):
            result.tokens[merge + 1, group] = result.tokens[merge, group]
        tokens = result.tokens[merge + 1]
        member = candidate
        while True:
            _apply(
                member, new, places, weights, candidates, pieces, step, state, groups, rules, result.costs, tokens
            )  # fmt: skip
            member = np.int64(links[member].sibling)
            if member == candidate:
                break
        _store(places, candidates, queue, pieces, step, state, rules.every_split)
        while not rules.every_split:  # else the table of candidates knows it until the next `compact`
            following = np.int64(links[member].sibling)
            _release(member, candidates, state)
            member = following
            if member == candidate:
                break
        state[0].merges += 1
    return SLICE


# --- making room ----------------------------------------------------------------------------------------------


@kernel
def compact(places, candidates, queue, state, every_split):
    """Drop candidates that cannot be learnt any more, and places that are no longer theirs; empty the queue."""
    links, stretches = candidates.links, candidates.stretches
    keep = np.zeros(state[0].candidates, np.bool_)
    for candidate in range(state[0].candidates):
        if links[candidate].events != UNUSED:
            keep[candidate] = links[candidate].events != REFUSED and _alive(candidate, candidates, every_split)
            links[candidate].stretch = NONE
    kept, size = 0, 0
    for number in range(state[0].stretches):
        owner, first = np.int64(stretches[number].owner), size
        if owner == NONE:
            continue
        begin = stretches[number].begin
        for index in range(begin, begin + stretches[number].length):
            place = candidates.pool[index]
            if places[place].candidate == owner:
                if keep[owner]:
                    candidates.pool[size] = place
                    size += 1
                else:
                    places[place].candidate = NONE
        if size > first:
            stretches[kept].begin, stretches[kept].length = first, size - first
            stretches[kept].next, stretches[kept].owner = links[owner].stretch, owner
            links[owner].stretch = kept
            kept += 1
    state[0].stretches, state[0].pool = kept, size
    for candidate in range(state[0].candidates):
        events = links[candidate].events
        if not (keep[candidate] or events == UNUSED or (every_split and events == REFUSED)):
            _release(candidate, candidates, state)
    for group in range(len(queue.sizes)):
        queue.sizes[group], queue.floors[group] = 0, NO_FLOOR


@kernel
def fill_table(candidates, pieces, state):
    """Enter all candidates into an empty table."""
    for candidate in range(state[0].candidates):
        if candidates.links[candidate].events != UNUSED:
            left, right = np.int64(candidates.links[candidate].left), np.int64(candidates.links[candidate].right)
            slot = _candidate_slot(left, right, candidates, pieces)
            if candidates.table[slot] == NONE:
                candidates.table[slot] = candidate
