r"""Kernels that count words: 100 MB in a second or two, where regular expressions take twenty.

Two kinds of words are cut by `diglot.text.words`. A third rule is for other tokenizers, whose own splitting is slow:

    chunks   ` ?[^ \n]+`: what lies between spaces and line ends, with its space, and also cut where Chinese or
             Japanese punctuation follows a letter (no tokenizer in use has a word across that)

A table of counted words is a few flat arrays (W words, S slots, a power of two):

    pool    uint8 []       the words' bytes, one after another       starts  int64 [W + 1]   where each begins
    counts  int64 [W, 2]   how often, in two columns                 hashes  uint64 [W]
    slots   int32 [S]      word of each slot, -1: free               sizes   int64 [2]       words, bytes of pool in use

In all kernels `data` is uint8 [bytes], valid UTF-8, and places in it are int64.
"""

from __future__ import annotations

import numpy as np

from diglot.text.unicode import decode, kernel
from diglot.text.words import LETTER, OTHER

STOP = 6  # a class of characters beside those of `diglot.text.words`: UNSPACED_STOPS
UNSPACED_STOPS = "。、，．：；！？「」『』（）《》〈〉【】〔〕…・～"
_PRIME = np.uint64(0x9E3779B97F4A7C15)


@kernel
def cut_chunks(data, place, end, classes, ends):
    """Cut text into chunks, and the spaces and line ends between them one by one; returns how many there are.

    Types: classes uint8 [0x110000]; ends int64 [end - place + 1], receives where each ends. Plain twin: `plain_chunks`
    in tests/tokenizer/test_words.py.
    """
    count = 0
    while place < end:
        start = place
        if data[place] == 0x20:
            place += 1
        before = OTHER
        while place < end:
            code, length = decode(data, place)
            found = classes[code]
            if code == 0x20 or code == 0x0A or (found == STOP and before == LETTER):
                break
            before = found
            place += length
        if place == start:
            place += 1  # a line end
        ends[count] = place
        count += 1
    return count


@kernel
def _hash(data, at, end):
    """The hash (uint64) of a word; at, end: where it begins and ends."""
    value = np.uint64(end - at)
    for place in range(at, end):
        value = (value ^ np.uint64(data[place])) * _PRIME
    return value ^ (value >> np.uint64(29))


@kernel
def _find(data, at, end, value, pool, starts, hashes, slots):
    """The slot of a word, or the free one where it belongs; value uint64, its hash, and the table's arrays."""
    mask = np.uint64(len(slots) - 1)
    slot = value & mask
    while True:
        word = slots[slot]
        if word < 0:
            return slot
        if hashes[word] == value and starts[word + 1] - starts[word] == end - at:
            place = starts[word]
            same = True
            for offset in range(end - at):
                if pool[place + offset] != data[at + offset]:
                    same = False
                    break
            if same:
                return slot
        slot = (slot + np.uint64(1)) & mask


@kernel
def count_words(data, ends, first, chunks, weight, column, pool, starts, hashes, counts, slots, sizes):
    """Count the words of a text from one on; returns the number of the first that there was no room for, or of all.

    Types: ends int64 [words], where each word ends; first int64; chunks bool, the spaces and line ends between chunks
    are not counted; weight int64, what each word counts; column int64, of `counts`; and the table's arrays.
    """
    at = ends[first - 1] if first else 0
    for number in range(first, len(ends)):
        stop = ends[number]
        if chunks and stop - at == 1 and (data[at] == 0x20 or data[at] == 0x0A):
            at = stop
            continue
        value = _hash(data, at, stop)
        slot = _find(data, at, stop, value, pool, starts, hashes, slots)
        word = slots[slot]
        if word < 0:
            word, used = sizes[0], sizes[1]
            if word == len(hashes) or used + stop - at > len(pool):
                return number  # the caller makes room and goes on here
            pool[used : used + stop - at] = data[at:stop]
            slots[slot], hashes[word], starts[word + 1] = word, value, used + stop - at
            sizes[0], sizes[1] = word + 1, used + stop - at
        counts[word, column] += weight
        at = stop
    return len(ends)


@kernel
def fill_slots(hashes, number, slots):
    """Give every word a slot, in a table that has room for all; number int64, of words."""
    mask = np.uint64(len(slots) - 1)
    for word in range(number):
        slot = hashes[word] & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = word


@kernel
def keep_words(kept, pool, starts, hashes, counts, sizes):
    """Move the words that are kept together, in their order; kept bool [W]."""
    number = used = 0
    for word in range(sizes[0]):
        if not kept[word]:
            continue
        begin, length = starts[word], starts[word + 1] - starts[word]
        for offset in range(length):
            pool[used + offset] = pool[begin + offset]
        hashes[number], counts[number] = hashes[word], counts[word]
        number, used = number + 1, used + length
        starts[number] = used
    counts[number : sizes[0]] = 0
    sizes[0], sizes[1] = number, used
