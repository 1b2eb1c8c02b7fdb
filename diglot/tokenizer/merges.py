"""Continue byte-pair encoding from where a tokenizer stands: learn merges that come after all it has.

Words are given as the ids that the tokenizer makes of them today. Each step joins the most frequent pair of
neighbours everywhere and gives the new piece the next id; ties go to the pair with the smallest ids, so the result
depends on the counts alone.

    words {"▁كتاب": ▁ ك ت ا ب}  ──►  (▁,ك) (ت,ا) (تا,ب) …  ──►  "▁كتاب" in one piece

A piece made of the base language's own characters can also apply inside its words. Such merges are refused altogether,
or, where the languages share an alphabet, when they would apply often: words of the base language take part with a
count of their own, and the pair is refused when its rate there is more than `tolerance` times its rate in the new
languages.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable
from itertools import chain
from typing import NamedTuple

import numpy as np

MINIMUM_COUNT = 2  # a pair seen once is no pattern


class Word(NamedTuple):
    """A word as the tokenizer cuts it today, with its counts in the new languages' and in the base's text."""

    ids: list[int]
    new_count: int
    base_count: int


class Merge(NamedTuple):
    """Two neighbours that become the piece `id`."""

    left: int
    right: int
    id: int


class _Symbols:
    """All words as one linked list of symbols, with the counts and the places of all pairs of neighbours.

    `places` may hold places where the pair is no more; whoever reads them looks first.
    """

    def __init__(self, words: list[Word], fixed: frozenset[int]):
        lengths = np.array([len(word.ids) for word in words], np.int32)
        symbols = np.fromiter(chain.from_iterable(word.ids for word in words), np.int32, lengths.sum())
        weights = np.repeat(np.array([word.new_count for word in words], np.int64), lengths)
        base_weights = np.repeat(np.array([word.base_count for word in words], np.int64), lengths)
        places = np.arange(len(symbols), dtype=np.int32)
        ends = np.cumsum(lengths, dtype=np.int64)
        last, first = np.zeros(len(symbols), bool), np.zeros(len(symbols), bool)
        last[ends - 1], first[ends - lengths] = True, True
        self.fixed = fixed
        self.symbols, self.weights, self.base_weights = _array(symbols), _array(weights), _array(base_weights)
        self.before = _array(np.where(first, np.int32(-1), places - 1))
        self.after = _array(np.where(last, np.int32(-1), places + 1))

        free = ~np.isin(symbols, np.array(sorted(fixed), np.int32))
        starts = np.flatnonzero(~last[:-1] & free[:-1] & free[1:])
        keys = (symbols[starts].astype(np.int64) << 32) | symbols[starts + 1]
        starts = starts[np.argsort(keys, kind="stable")]
        found, first_of = np.unique(np.sort(keys), return_index=True)
        pairs = [(int(key >> 32), int(key & 0xFFFFFFFF)) for key in found]
        self.counts, self.base_counts = (
            dict(zip(pairs, np.add.reduceat(each[starts], first_of).tolist() if pairs else [], strict=True))
            for each in (weights, base_weights)
        )
        groups = np.split(starts.astype(np.int32), first_of[1:])
        self.places = {pair: _array(group) for pair, group in zip(pairs, groups, strict=False)}

    def add(self, place: int, sign: int) -> tuple[int, int]:
        """Count (sign 1) or uncount (-1) the pair that begins at a place."""
        pair = self.symbols[place], self.symbols[self.after[place]]
        self.counts[pair] = self.counts.get(pair, 0) + sign * self.weights[place]
        if self.base_weights[place]:
            self.base_counts[pair] = self.base_counts.get(pair, 0) + sign * self.base_weights[place]
        if sign > 0:
            self.places.setdefault(pair, array("i")).append(place)
        return pair

    def join(self, pair: tuple[int, int], new: int) -> set[tuple[int, int]]:
        """Replace a pair by a new symbol everywhere, left to right, and return the pairs this makes."""
        left, right = pair
        made = set()
        for place in sorted(self.places.pop(pair)):
            second = self.after[place]
            if self.symbols[place] != left or second < 0 or self.symbols[second] != right:
                continue
            first, last = self.before[place], self.after[second]
            open_left = first >= 0 and self.symbols[first] not in self.fixed
            open_right = last >= 0 and self.symbols[last] not in self.fixed
            if open_left:
                self.add(first, -1)
            if open_right:
                self.add(second, -1)
            self.symbols[place], self.symbols[second], self.after[place] = new, -1, last
            if last >= 0:
                self.before[last] = place
            if open_left:
                made.add(self.add(first, 1))
            if open_right:
                made.add(self.add(place, 1))
        del self.counts[pair]
        return made


def _array(values: np.ndarray) -> array:
    """A flat array whose single items Python reads and writes fast."""
    return array("i" if values.dtype == np.int32 else "q", values.tobytes())


def continue_merges(
    words: list[Word],
    strings: list[str],
    fixed: frozenset[int],
    number: int,
    max_length: int,
    familiar: frozenset[str],
    tolerance: float | None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Merge]:
    """Learn up to `number` merges.

    Args:
        words: all words of the sample, none of them empty.
        strings: the piece of every id; new pieces are appended to it.
        fixed: ids that never merge: bytes and special tokens.
        number: how many merges to learn; fewer come back when no pair is left that occurs twice.
        max_length: characters in a piece at most.
        familiar: the base language's own characters.
        tolerance: a piece of only these is learnt if its pair's rate in the base language is at most this multiple of
            its rate in the new languages; None learns no such piece.
        progress: told the number of merges now and then.
    """
    state = _Symbols(words, fixed)
    total = max(sum(word.new_count for word in words), 1)
    base_total = max(sum(word.base_count for word in words), 1)
    known = set(strings)
    queue = [(-count, pair) for pair, count in state.counts.items()]
    heapq.heapify(queue)
    merges: list[Merge] = []
    while queue and len(merges) < number:
        negative, pair = heapq.heappop(queue)
        count = state.counts.get(pair, 0)
        if count < MINIMUM_COUNT:
            continue
        if count != -negative:  # counts only fall after a pair is made: put it back where it belongs now
            heapq.heappush(queue, (-count, pair))
            continue
        string = strings[pair[0]] + strings[pair[1]]
        if len(string) > max_length or string in known:
            continue
        base_rate = state.base_counts.get(pair, 0) / base_total
        if familiar.issuperset(string) and (tolerance is None or base_rate > tolerance * count / total):
            continue
        merges.append(Merge(*pair, id=len(strings)))
        known.add(string)
        strings.append(string)
        for made in state.join(pair, merges[-1].id):
            heapq.heappush(queue, (-state.counts[made], made))
        if len(merges) % 500 == 0:
            progress(len(merges))
    return merges
