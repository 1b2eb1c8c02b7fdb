"""What is repeated in a document: words, n-grams, lines and paragraphs, counted in a hash table.

An n-gram can occur twice only where both n-1-grams in it do. So each length counts only what the length before left
over at two neighbouring places: most of a normal text is gone before the trigrams, and all of it before the 5-grams.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diglot.curate.signals.scan import (
    DIFFERENT_WORDS,
    DUPLICATE_5GRAMS,
    DUPLICATE_LINE_CHARACTERS,
    DUPLICATE_LINES,
    DUPLICATE_PARAGRAPH_CHARACTERS,
    DUPLICATE_PARAGRAPHS,
    PARAGRAPHS,
    TOP_2GRAM,
)
from diglot.text.unicode import HASH_SEED, absorb, finish, kernel

# What one more occurrence of something that occurs c times adds to the sum of c·log(c).
_TIMES = np.arange(1, 4097, dtype=np.float64)
_STEPS = np.concatenate([[0.0], np.diff(_TIMES * np.log(_TIMES))])


class Table(NamedTuple):
    """Room to count in, for the largest document.

    Attributes:
        keys: uint64 [size], the hashes counted; size is a power of two.
        counts: int32 [size], how often each occurs; 0 is an empty slot.
        slots: int64 [number], the slot of each of the things counted.
        positions: int64 [number], what is counted.
        hashes: uint64 [number], of the n-grams.
    """

    keys: np.ndarray
    counts: np.ndarray
    slots: np.ndarray
    positions: np.ndarray
    hashes: np.ndarray


@kernel
def make_table(capacity):
    """Room to count so many things.

    capacity int64.
    """
    size = 4
    while size < 2 * capacity:
        size *= 2
    return Table(
        np.empty(size, np.uint64),
        np.empty(size, np.int32),
        np.empty(capacity, np.int64),
        np.empty(capacity, np.int64),
        np.empty(capacity, np.uint64),
    )


@kernel
def _count(hashes, number, table):
    """Count equal hashes at `table.positions[:number]`.

    hashes uint64, number int64.
    """
    mask = _clear(table, number)
    for place in range(number):
        slot = _slot(table, hashes[table.positions[place]], mask)
        table.counts[slot] += 1
        table.slots[place] = slot


@kernel
def _clear(table, number):
    """Empty as much of the table as so many things need; returns the mask of its slots.

    number int64.
    """
    size = 4
    while size < 2 * number:
        size *= 2
    table.counts[:size] = 0
    return np.uint64(size - 1)


@kernel
def _slot(table, value, mask):
    """The slot of a hash, taken for it if it has none.

    value, mask uint64.
    """
    slot = value & mask
    while (table.counts[slot] != 0) & (table.keys[slot] != value):
        slot = (slot + np.uint64(1)) & mask
    table.keys[slot] = value
    return slot


@kernel
def count_words(bare, num_words, table, counts):
    """Count bare words, and leave in `table.positions` the places of words that may be repeated.

    Returns:
        How many places those are, and the sum of c·log(c) over different words that occur c times.
    """
    mask = _clear(table, num_words)
    different, weighted = 0, 0.0
    for place in range(num_words):
        if bare[place] == 0:
            table.slots[place] = 0
            continue
        slot = _slot(table, bare[place], mask)
        times = table.counts[slot]
        table.counts[slot] = times + 1
        table.slots[place] = slot
        different += times == 0
        weighted += _step(times)
    left = 0
    for place in range(num_words):
        table.positions[left] = place
        left += (bare[place] == 0) | (table.counts[table.slots[place]] > 1)
    counts[DIFFERENT_WORDS] = different
    return left, weighted


@kernel
def _step(times):
    """What one more occurrence of what occurred so many times (int64) adds to the sum of c·log(c)."""
    if times < len(_STEPS):
        return _STEPS[times]
    return (times + 1) * np.log(times + 1) - times * np.log(times)


@kernel
def count_grams(words, lengths, num_words, left, table, counts):
    """Characters of the commonest 2-, 3-, 4-grams and within repeated 5- to 10-grams.

    Args:
        words: uint64, hashes of the words as they are written.
        lengths: int64 [num_words + 1], their characters; becomes its own running sum.
        num_words: how many there are.
        left: how many of `table.positions` hold words that may be repeated.
        table: from `count_words`.
        counts: int64 [COUNTS], added to.
    """
    total = 0
    for place in range(num_words):
        lengths[place], total = total, total + lengths[place]
    lengths[num_words] = total
    for place in range(left):  # not words[at] itself: `a b` would be hashed as `b a` is
        at = table.positions[place]
        table.hashes[at] = absorb(HASH_SEED, words[at])
    for n in range(2, 11):
        # An n-gram is counted only where the n-1-grams at its place and at the next one may be repeated.
        number = 0
        for place in range(left - 1):
            at = table.positions[place]
            table.hashes[at] = absorb(table.hashes[at], words[min(at + n, num_words) - 1])
            table.positions[number] = at
            number += (table.positions[place + 1] == at + 1) & (at + n <= num_words)
        _count(table.hashes, number, table)
        left, commonest, first = 0, 1, 0  # of equally common ones the first
        for place in range(number):
            at, times = table.positions[place], table.counts[table.slots[place]]
            if times > commonest:
                commonest, first = times, at
            table.positions[left] = at
            left += times > 1
        if left == 0:
            break
        if n <= 4:
            counts[TOP_2GRAM + n - 2] = commonest * (lengths[first + n] - lengths[first])
        else:
            counts[DUPLICATE_5GRAMS + n - 5] = _covered(table.positions, left, n, lengths)


@kernel
def _covered(positions, number, n, sums):
    """Characters of words within any of the n-grams at ascending positions, each counted once.

    positions int64 [number], n int64, sums int64: running sums of the words' characters.
    """
    characters = covered = 0
    for place in range(number):
        at = positions[place]
        characters += sums[at + n] - sums[max(at, covered)]
        covered = at + n
    return characters


@kernel
def count_lines(words, num_lines, table, counts):
    """Count lines and paragraphs that an earlier one equals; `words.lines` becomes the paragraphs.

    words of `scan.make_words`, num_lines int64, counts int64 [COUNTS].
    """
    duplicates, characters = _count_duplicates(words.lines, words.line_lengths, num_lines, table)
    counts[DUPLICATE_LINES], counts[DUPLICATE_LINE_CHARACTERS] = duplicates, characters
    number = _join_lines(words, num_lines)
    duplicates, characters = _count_duplicates(words.lines, words.line_lengths, number, table)
    counts[PARAGRAPHS] = number
    counts[DUPLICATE_PARAGRAPHS], counts[DUPLICATE_PARAGRAPH_CHARACTERS] = duplicates, characters


@kernel
def _count_duplicates(hashes, lengths, number, table):
    """How many equal an earlier one, and their characters: hashes uint64, lengths int64 [number]."""
    duplicates = characters = 0
    mask = _clear(table, number)
    for place in range(number):
        slot = _slot(table, hashes[place], mask)
        if table.counts[slot] > 0:
            duplicates += 1
            characters += lengths[place]
        table.counts[slot] = 1
    return duplicates, characters


@kernel
def _join_lines(words, num_lines):
    """Put each paragraph in the place of a line before it or its first; returns how many there are.

    words of `scan.make_words`, num_lines int64.
    """
    number, hashed, length = 0, HASH_SEED, 0
    for place in range(num_lines):
        if place > 0 and words.line_breaks[place]:
            words.lines[number], words.line_lengths[number] = finish(hashed), length
            number += 1
            hashed, length = HASH_SEED, 0
        hashed = absorb(hashed, words.lines[place])
        length += words.line_lengths[place]
    if num_lines > 0:
        words.lines[number], words.line_lengths[number] = finish(hashed), length
        number += 1
    return number
