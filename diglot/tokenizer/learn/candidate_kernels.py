"""Kernels over what can be learnt next: the candidates of the merge learner, their places, and the queue.

**Candidates** are pairs of symbols or, with every split, the texts of new pieces. With parity, each group has its own,
and `sibling` chains those of the same pair or text into a ring. A candidate's places lie in stretches of one pool,
ascending. They are found when its younger symbol is made, and are never taken out: where a place says that it belongs
to another candidate by now, it is passed over.

**Queue.** A heap for each group, of the candidates that occur at least `floors[group]` times. Counts fall all the
time; a candidate whose count has changed is put back where it belongs when it comes up. When a heap is empty, its
floor is lowered and the candidates are gone through once, so it stays small and near.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diglot.text.unicode import finish, kernel
from diglot.tokenizer.learn.piece_kernels import (
    NEW,
    NONE,
    WORDS,
    byte_at,
    find_piece,
    hash_of,
    length_of,
    made_of,
    spell_the_same,
)

MINIMUM_COUNT = 2  # a pair seen once is no pattern

TOTAL = np.dtype([("count", np.int64), ("second", np.int64)])
LINK = np.dtype([(name, np.int32) for name in ("left", "right", "stretch", "sibling", "group", "events")])
STRETCH = np.dtype([(name, np.int32) for name in ("begin", "length", "next", "owner")])
PIECE = -3  # PIECE - n: no candidate, since they spell the piece n
REFUSED, UNUSED = -2, -3  # in links.events: never learnt; a number that the next candidate may have
NO_FLOOR = 1 << 62

_ONE = np.uint64(1)


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


# --- candidates -----------------------------------------------------------------------------------------------


@kernel
def _candidate_slot(left, right, candidates, pieces):
    """Where a text stands in the table of candidates, or the empty place where it belongs.

    Types: left, right int64; candidates Candidates; pieces Pieces.
    """
    hash_ = hash_of(pieces, left, right)
    mask = np.uint64(len(candidates.table) - 1)
    slot = finish(hash_) & mask
    while candidates.table[slot] != NONE:
        link = candidates.links[candidates.table[slot]]
        other_left, other_right = np.int64(link.left), np.int64(link.right)
        if hash_of(pieces, other_left, other_right) == hash_ and spell_the_same(
            pieces, left, right, other_left, other_right
        ):
            break
        slot = (slot + _ONE) & mask
    return slot


@kernel
def find_candidate(left, right, group, ring, candidates, pieces, state, rules):
    """The candidate that two symbols are in a group: one that is known, a new one, NONE, or PIECE - n.

    `ring`: without every split, the same pair's candidate in another group, or NONE.

    Types: left, right, group, ring int64; candidates Candidates; pieces Pieces; state STATE [1]; rules Rules.
    """
    shapes, links = pieces.shapes, candidates.links
    if shapes[left].fixed or shapes[right].fixed:
        return np.int64(NONE)
    # With every split, two symbols that spell a piece which is known are that piece, not a candidate.
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
    # A new one, in a place that was released where there is one.
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
def alive(candidate, candidates, every_split):
    """Whether any of a ring can still be learnt.

    Types: candidate int64; candidates Candidates; every_split bool.
    """
    member = candidate
    while True:
        count, second = candidates.totals[member].count, candidates.totals[member].second
        if count >= MINIMUM_COUNT or (every_split and (count or second)):
            return True
        member = np.int64(candidates.links[member].sibling)
        if member == candidate:
            return False


@kernel
def release(candidate, candidates, state):
    """Let a candidate's number be used again; no place says any more that it belongs to it.

    Types: candidate int64; candidates Candidates; state STATE [1].
    """
    link = candidates.links[candidate]
    stretch = np.int64(link.stretch)
    while stretch != NONE:
        candidates.stretches[stretch].owner = NONE
        stretch = np.int64(candidates.stretches[stretch].next)
    link.events, link.stretch = UNUSED, state[0].free
    state[0].free = candidate
    state[0].unused += 1


@kernel
def give_stretch(candidate, candidates, state):
    """Room in the pool for a candidate's events; from here on `events` says where the next one goes.

    Types: candidate int64; candidates Candidates; state STATE [1].
    """
    link = candidates.links[candidate]
    stretch, begin = state[0].stretches, state[0].pool
    candidates.stretches[stretch].begin, candidates.stretches[stretch].length = begin, link.events
    candidates.stretches[stretch].next, candidates.stretches[stretch].owner = link.stretch, candidate
    state[0].stretches += 1
    state[0].pool += link.events
    link.stretch, link.events = stretch, begin


# --- the queue ------------------------------------------------------------------------------------------------


@kernel
def _comes_first(one, other, links, pieces, every_split):
    """Of two candidates with equal counts: the smaller symbols, or, with every split, the text that sorts first.

    Types: one, other int64; links LINK [candidates]; pieces Pieces; every_split bool.
    """
    left, right = np.int64(links[one].left), np.int64(links[one].right)
    other_left, other_right = np.int64(links[other].left), np.int64(links[other].right)
    if not every_split:
        return left < other_left or (left == other_left and right < other_right)
    length, other_length = length_of(pieces, left, right), length_of(pieces, other_left, other_right)
    for at in range(min(length, other_length)):
        byte, other_byte = byte_at(pieces, left, right, at), byte_at(pieces, other_left, other_right, at)
        if byte != other_byte:
            return byte < other_byte
    return length < other_length


@kernel
def push(queue, candidate, candidates, pieces, every_split):
    """Put a candidate into its queue with its count of now.

    Types: queue Queue; candidate int64; candidates Candidates; pieces Pieces; every_split bool.
    """
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
    """Take the first out of a queue.

    Types: queue Queue; group int64; links LINK [candidates]; pieces Pieces; every_split bool.
    """
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
    # It rarely has far to rise; sunk from the top it would take two comparisons a level on its way down.
    count, candidate = counts[size], np.int64(heap[size])
    while at > 0:
        parent = (at - 1) >> 1
        if counts[parent] > count or (
            counts[parent] == count and not _comes_first(candidate, np.int64(heap[parent]), links, pieces, every_split)
        ):
            break
        counts[at], heap[at] = counts[parent], heap[parent]
        at = parent
    counts[at], heap[at] = count, candidate


@kernel
def _refill(queue, group, candidates, pieces, state, every_split):
    """Lower the floor of an empty queue, to half of the greatest count, and put in what stands on it.

    Types: queue Queue; group int64; candidates Candidates; pieces Pieces; state STATE [1]; every_split bool.
    """
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
                push(queue, candidate, candidates, pieces, every_split)


@kernel
def _neediest(queue, costs):
    """The group with the greatest cost among those that something may be left of, or NONE.

    Types: queue Queue; costs int64 [groups].
    """
    best = NONE
    for group in range(len(queue.sizes)):
        open_ = queue.sizes[group] > 0 or queue.floors[group] > MINIMUM_COUNT
        if open_ and (best == NONE or costs[group] > costs[best]):
            best = group
    return best


@kernel
def _allowed(candidate, candidates, pieces, rules):
    """Whether a candidate may be learnt now.

    Types: candidate int64; candidates Candidates; pieces Pieces; rules Rules.
    """
    left, right = np.int64(candidates.links[candidate].left), np.int64(candidates.links[candidate].right)
    if find_piece(pieces, left, right) != NONE:
        return False
    script = NEW if len(rules.base_script) == 0 else made_of(pieces, left, right, rules.base_script)
    if script != WORDS:
        return script == NEW
    rate = candidates.totals[candidate].second / rules.total_seconds
    return rules.tolerance >= 0 and not (rate > rules.tolerance * candidates.totals[candidate].count / rules.total)


@kernel
def choose(queue, candidates, pieces, state, costs, rules):
    """Take the candidate that is learnt next out of the queue, or NONE.

    Types: queue Queue; candidates Candidates; pieces Pieces; state STATE [1]; costs int64 [groups]; rules Rules.
    """
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
        if links[candidate].events == REFUSED:
            continue
        now = candidates.totals[candidate].count
        if now != count:
            if now >= queue.floors[group]:
                push(queue, candidate, candidates, pieces, every_split)
        elif _allowed(candidate, candidates, pieces, rules):
            return candidate
        else:
            while links[candidate].events != REFUSED:
                links[candidate].events = REFUSED
                candidate = np.int64(links[candidate].sibling)


# --- making room ----------------------------------------------------------------------------------------------


@kernel
def compact(places, candidates, queue, state, every_split):
    """Drop candidates that cannot be learnt any more, and places that are no longer theirs; empty the queue.

    Types: places PLACE [places]; candidates Candidates; queue Queue; state STATE [1]; every_split bool.
    """
    links, stretches = candidates.links, candidates.stretches
    # First who stays; links to stretches are made anew below.
    keep = np.zeros(state[0].candidates, np.bool_)
    for candidate in range(state[0].candidates):
        if links[candidate].events != UNUSED:
            keep[candidate] = links[candidate].events != REFUSED and alive(candidate, candidates, every_split)
            links[candidate].stretch = NONE
    kept, size = 0, 0
    # Places move to the front of the pool, in order: what is read is never behind what is written.
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
            release(candidate, candidates, state)
    for group in range(len(queue.sizes)):
        queue.sizes[group], queue.floors[group] = 0, NO_FLOOR


@kernel
def fill_table(candidates, pieces, state):
    """Enter all candidates into an empty table.

    Types: candidates Candidates; pieces Pieces; state STATE [1].
    """
    for candidate in range(state[0].candidates):
        if candidates.links[candidate].events != UNUSED:
            left, right = (np.int64(candidates.links[candidate].left), np.int64(candidates.links[candidate].right))
            slot = _candidate_slot(left, right, candidates, pieces)
            if candidates.table[slot] == NONE:
                candidates.table[slot] = candidate
