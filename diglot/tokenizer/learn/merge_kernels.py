"""The kernels of the merge learner (see `merges.py`, which holds their arrays and makes room in them).

`place_kernels.py` explains how the words stand in memory, `candidate_kernels.py` what can be learnt and in what order.

**A step** joins all places of a candidate and counts the pairs that this makes. There is no table of pairs: all with
the new symbol come up now, so an array says for every neighbour which candidate the two are. Only with every split can
they come up later, and are then found by their text.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diglot.text.unicode import kernel
from diglot.tokenizer.learn.candidate_kernels import PIECE, alive, choose, find_candidate, give_stretch, push, release
from diglot.tokenizer.learn.piece_kernels import NONE, add_pieces, byte_at, find_piece, length_of
from diglot.tokenizer.learn.place_kernels import UNKNOWN

EVENT = np.dtype([("candidate", np.int32), ("place", np.int32)])
_STATE = (
    "pieces",
    "merges",
    "candidates",
    "free",
    "unused",
    "stretches",
    "pool",
    "longest",
    "events",
    "touched",
    "asked",
)
STATE = np.dtype([(name, np.int64) for name in _STATE])
_NEEDED = ("candidates", "stretches", "pool", "queue", "events", "content")
NEEDED = np.dtype([(name, np.int64) for name in _NEEDED])

FINISHED, SLICE, ROOM = range(3)  # what `learn` returns
_BLOCK = 256  # places that are looked at together before they are joined, so that the memory is asked for them at once


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
        base_script: uint8 [code points]: bit k of v says that the base language has a character whose code point without
            its last k bytes is v, and bit 4 + k that it has such a letter; empty where nothing is refused.
        tolerance: see `continue_merges`; below 0: every candidate of the base script is refused.
        total: of the counts of words, at least 1.
        total_seconds: of their seconds, at least 1.
    """

    max_characters: int
    every_split: bool
    parity: bool
    base_script: np.ndarray
    tolerance: float
    total: float
    total_seconds: float


class Result(NamedTuple):
    """merges int32 [merges, 2]; tokens int64 [merges + 1, groups]; costs int64 [groups], tokens of the seconds."""

    merges: np.ndarray
    tokens: np.ndarray
    costs: np.ndarray


@kernel
def _unlink(place, weight, places, totals):
    """A place belongs to no candidate any more.

    Types: place int64; weight WEIGHT; places PLACE [places]; totals TOTAL [candidates].
    """
    candidate = places[place].candidate
    if candidate >= 0:
        totals[candidate].count -= weight.count
        totals[candidate].second -= weight.second
        places[place].candidate = NONE


@kernel
def _join(place, symbol, weight, places, totals):
    """Join a place's symbol with its right neighbour.

    Types: place, symbol int64; weight WEIGHT; places PLACE [places]; totals TOTAL [candidates].
    """
    middle = place + places[place].span
    end = middle + places[middle].span
    _unlink(place - places[place - 1].span, weight, places, totals)
    _unlink(place, weight, places, totals)
    _unlink(middle, weight, places, totals)
    places[place].symbol = symbol
    places[place].span = places[end - 1].span = end - place


@kernel
def _spelled(left, right, new, group, groups, step, pieces):
    """The piece that two neighbours spell, or NONE.

    Types: left, right, new, group, groups int64; step Step; pieces Pieces.
    """
    if left == new:
        known = np.int64(step.neighbours[(len(step.neighbours) >> 1) + right * groups + group])
    elif right == new:
        known = np.int64(step.neighbours[left * groups + group])
    else:
        known = np.int64(UNKNOWN)
    if known >= NONE or pieces.shapes[left].fixed or pieces.shapes[right].fixed:
        return np.int64(NONE)
    if known <= PIECE:
        return PIECE - known
    piece = find_piece(pieces, left, right)
    return np.int64(NONE) if piece != NONE and pieces.shapes[piece].fixed else piece


@kernel
def _join_spelled(place, new, group, weight, places, totals, pieces, step, groups):
    """After a join: while the symbol and a neighbour spell a piece, join them as well, the oldest piece first.

    This is what an encoder that ranks pairs by their piece does at this moment, since all other pairs come later.

    Returns:
        The symbol's place, and how many joins were made.

    Types: place, new, group, groups int64; weight WEIGHT; places PLACE [places]; totals TOTAL [candidates]; pieces
    Pieces; step Step.
    """
    joins = 0
    while True:
        symbol = np.int64(places[place].symbol)
        before, after = np.int64(NONE), np.int64(NONE)
        previous, following = place - places[place - 1].span, place + places[place].span
        if previous != place:
            other = np.int64(places[previous].symbol)
            before = _spelled(other, symbol, new, group, groups, step, pieces)
        if places[following].span:
            other = np.int64(places[following].symbol)
            after = _spelled(symbol, other, new, group, groups, step, pieces)
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
    """Find the candidate that a place and its right neighbour are now.

    Types: place, new, groups int64; weight WEIGHT; places PLACE [places]; candidates Candidates; pieces Pieces; step
    Step; state STATE [1]; rules Rules.
    """
    left, right = np.int64(places[place].symbol), np.int64(places[place + places[place].span].symbol)
    group = weight.group if rules.parity else 0
    # Pairs with the new symbol are the same few again and again: a table by the other symbol remembers them.
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
            # With parity the pair may be a candidate of another language's already.
            for other in range(groups):
                ring = max(ring, np.int64(step.neighbours[at + other]))
        candidate = find_candidate(left, right, group, ring, candidates, pieces, state, rules)
        if at != NONE:
            step.neighbours[at + group] = candidate
            step.asked[state[0].asked] = at + group
            state[0].asked += 1
    if candidate >= 0:
        places[place].candidate = candidate
        candidates.totals[candidate].count += weight.count
        candidates.totals[candidate].second += weight.second
        # Where its places are stored is decided when the step is over and their number known.
        if candidates.links[candidate].events == 0:
            step.touched[state[0].touched] = candidate
            state[0].touched += 1
        candidates.links[candidate].events += 1
        event = state[0].events
        step.events[event].candidate, step.events[event].place = candidate, place
        state[0].events += 1


@kernel
def _gather(candidate, candidates, places):
    """A candidate's places, ascending, and ones that were; returns how many.

    Types: candidate int64; candidates Candidates; places PLACE [places].
    """
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
    """The symbols that a text is mostly made of; of equally many, the smallest.

    Types: candidate int64; places PLACE [places]; weights WEIGHT [weights]; candidates Candidates; pieces Pieces; step
    Step.
    """
    link = candidates.links[candidate]
    left, right = np.int64(link.left), np.int64(link.right)
    counts = np.zeros(length_of(pieces, left, right), np.int64)  # by the length of the left one
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
    """Make the piece of two; returns its id.

    Types: left, right int64; pieces Pieces; state STATE [1].
    """
    new = state[0].pieces
    begin, length = pieces.offsets[new], length_of(pieces, left, right)
    for at in range(length):
        pieces.content[begin + at] = byte_at(pieces, left, right, at)
    pieces.offsets[new + 1] = begin + length
    state[0].longest = max(state[0].longest, add_pieces(pieces, new, new + 1))
    state[0].pieces += 1
    return new


@kernel
def _apply(member, new, places, weights, candidates, pieces, step, state, groups, rules, costs, tokens):
    """Join all places of a candidate, left to right, and note the pairs that this makes.

    Types: member, new, groups int64; places PLACE [places]; weights WEIGHT [weights]; candidates Candidates; pieces
    Pieces; step Step; state STATE [1]; rules Rules; costs, tokens int64 [groups].
    """
    size, totals = _gather(member, candidates, step.places), candidates.totals
    for begin in range(0, size, _BLOCK):
        end = begin
        # Two walks over a block: the first drops what was joined meanwhile and brings the rest into the cache.
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
                group = weight.group if rules.parity else 0
                place, more = _join_spelled(place, new, group, weight, places, totals, pieces, step, groups)
                joins += more
            tokens[weight.group] -= weight.count * joins
            costs[weight.group] -= weight.second * joins
            # Both neighbours are other pairs now; a span of 0 is the end of a word.
            before = places[place - 1].span
            if before:
                _link(place - before, new, weight, places, candidates, pieces, step, state, groups, rules)
            if places[place + places[place].span].span:
                _link(place, new, weight, places, candidates, pieces, step, state, groups, rules)


@kernel
def _store(places, candidates, queue, pieces, step, state, every_split):
    """Give the candidates of a step their stretches of the pool, and their place in the queue.

    Types: places PLACE [places]; candidates Candidates; queue Queue; pieces Pieces; step Step; state STATE [1];
    every_split bool.
    """
    links, totals = candidates.links, candidates.totals
    # Three walks: room in the pool for each candidate, its places into it, and then the queue.
    for number in range(state[0].touched):
        candidate = np.int64(step.touched[number])
        if every_split or alive(candidate, candidates, every_split):
            give_stretch(candidate, candidates, state)
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
            release(candidate, candidates, state)
            continue
        links[candidate].events = 0
        if totals[candidate].count >= queue.floors[links[candidate].group]:
            push(queue, candidate, candidates, pieces, every_split)
    state[0].events = state[0].touched = 0
    # Only what was asked is forgotten: the table has a cell for every symbol.
    for number in range(state[0].asked):
        step.neighbours[step.asked[number]] = UNKNOWN
    state[0].asked = 0


@kernel
def _has_room(candidate, candidates, pieces, queue, step, state, needed, groups, rules):
    """Whether the arrays are large enough for a candidate's step whatever it finds; `needed` says how large.

    Types: candidate, groups int64; candidates Candidates; pieces Pieces; queue Queue; step Step; state STATE [1];
    needed NEEDED [1]; rules Rules.
    """
    # All candidates that make the same piece are joined in one step: they lie in a ring.
    size, member = 0, candidate
    while True:
        stretch = np.int64(candidates.links[member].stretch)
        while stretch != NONE:
            size += candidates.stretches[stretch].length
            stretch = np.int64(candidates.stretches[stretch].next)
        member = np.int64(candidates.links[member].sibling)
        if member == candidate:
            break
    # A join makes two pairs at most, each perhaps a candidate that is new.
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
    """Learn merges until there are so many; returns FINISHED, SLICE (there are), or ROOM (`needed` says what).

    Types: until int64; places PLACE [places]; weights WEIGHT [weights]; pieces Pieces; candidates Candidates; queue
    Queue; step Step; state STATE [1]; needed NEEDED [1]; rules Rules; result Result.
    """
    links, groups = candidates.links, len(queue.sizes)
    while state[0].merges < until:
        candidate = choose(queue, candidates, pieces, state, result.costs, rules)
        if candidate == NONE:
            return FINISHED
        if not _has_room(candidate, candidates, pieces, queue, step, state, needed, groups, rules):
            push(queue, candidate, candidates, pieces, rules.every_split)
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
        # Else the table of candidates or the queues of other groups know it until the next `compact`: a number given
        # to another candidate would stand there in a wrong order.
        if not rules.every_split and groups == 1:
            release(candidate, candidates, state)
        state[0].merges += 1
    return SLICE
