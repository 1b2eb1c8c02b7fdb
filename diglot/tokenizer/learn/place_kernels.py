"""Kernels that lay the words of the merge learner out in memory, and find the first candidates.

The symbols of all words stand one after another with a bound between words. A symbol that merges have made
keeps the places of what it was made of; its first place says what it is, and its first and last place how many places
it has, so that both neighbours are one step away:

    place     0   1    2    3    4    5     the word "abcd" after a merge of b and c
    symbol    |   a    bc   .    d    |
    span      0   1    2    2    1    0

Each place also says which candidate (see `candidate_kernels.py`) its symbol and the next are, and what its word weighs;
all that a join needs of it is in one line of the processor's cache.
"""

from __future__ import annotations

import numpy as np

from diglot.text.unicode import finish, kernel
from diglot.tokenizer.learn.candidate_kernels import alive, find_candidate, give_stretch, release
from diglot.tokenizer.learn.piece_kernels import NONE

PLACE = np.dtype([("symbol", np.int32), ("candidate", np.int32), ("span", np.int32), ("weight", np.int32)])
WEIGHT = np.dtype([("count", np.int64), ("second", np.int64), ("group", np.int64)])
UNKNOWN = -2  # a pair that was not looked at yet

_BASE = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)


@kernel
def _write_place(places, at, symbol, span, weight):
    """Write what stands at a place, without a candidate.

    Types: places PLACE [places]; at, symbol, span, weight int64.
    """
    places[at].symbol, places[at].candidate, places[at].span, places[at].weight = symbol, NONE, span, weight


@kernel
def lay_out(symbols, offsets, counts, seconds, groups, places, weights, table, tokens, costs):
    """Write the words of two symbols and more into places, and their different weights; count all tokens.

    `table` is int32 [a power of two, more than there are words] of NONE. Returns how many different weights there are.

    Types: symbols int32 [symbols]; offsets int64 [words + 1]; counts, seconds int64 [words]; groups int32 [words];
    places PLACE [places]; weights WEIGHT [weights]; table int32 [power of two]; tokens, costs int64 [groups].
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
        # Equal weights are kept once: millions of rare words share a few thousand.
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
        # A word of one symbol has no pair and takes no places; the others end with NONE.
        for index in range(offsets[word], offsets[word + 1]):
            _write_place(places, at, symbols[index], 1, table[slot])
            at += 1
        _write_place(places, at, NONE, 0, 0)
        at += 1
    return number


@kernel
def _pair_slot(keys, values, left, right, group):
    """Where a pair stands in a table, or the empty place where it belongs; and its key.

    Types: keys int64 [power of two]; values int32 [power of two]; left, right, group int64.
    """
    key = (left << 40) | (right << 16) | group
    mask = np.uint64(len(keys) - 1)
    slot = finish(np.uint64(key) * _BASE) & mask
    while values[slot] != UNKNOWN and keys[slot] != key:
        slot = (slot + _ONE) & mask
    return slot, key


@kernel
def move_pairs(keys, values, new_keys, new_values):
    """Enter a table of pairs into a larger one, which is empty; returns that.

    Types: keys int64 [power of two]; values int32 [power of two]; new_keys int64 [larger]; new_values int32 [larger].
    """
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
    """Find the candidates of the words as they are given, from the place `first` on.

    `keys` and `values` (int64 and int32 [a power of two]) are a table of pairs and their candidates, or UNKNOWN, with
    `used` pairs in it. Returns the place that there is no room for (or the number of places), and the pairs now in
    the table.

    Types: first, used, groups int64; keys int64 [power of two]; values int32 [power of two]; places PLACE [places];
    weights WEIGHT [weights]; pieces Pieces; candidates Candidates; state STATE [1]; rules Rules.
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
            values[slot] = max(find_candidate(left, right, group, ring, candidates, pieces, state, rules), NONE)
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
    """Give the candidates of `count_pairs` their stretches of the pool, and drop those that cannot be learnt.

    Types: places PLACE [places]; candidates Candidates; state STATE [1]; every_split bool.
    """
    links = candidates.links
    for candidate in range(state[0].candidates):
        if every_split or alive(candidate, candidates, every_split):
            give_stretch(candidate, candidates, state)
        else:
            links[candidate].events = NONE
    for place in range(len(places)):
        owner = np.int64(places[place].candidate)
        if owner != NONE:
            at = links[owner].events
            if at == NONE:
                places[place].candidate = NONE
            else:
                candidates.pool[at] = place
                links[owner].events = at + 1
    for candidate in range(state[0].candidates):
        if links[candidate].events == NONE:
            release(candidate, candidates, state)
        else:
            links[candidate].events = 0
