r"""Kernels that cut text into words and count them: 100 MB in a second or two, where regular expressions take twenty.

Three rules say where a word ends, each with a table of character classes of its own:

    BYTE_FALLBACK   the words of `byte_fallback.WORDS`
    BYTE_LEVEL      the words of `byte_level.WORDS`
    CHUNK           ` ?[^ \n]+`: what lies between spaces and line ends, with its space, and also cut where Chinese or
                    Japanese punctuation follows a letter (no tokenizer in use has a word across that)

Tests compare the first two with the tokenizers library's own splitting. Where they part, over a character that this
Python's Unicode does not know, a count is off by one and nothing else: what is learnt here is applied by the library.

A table of counted words is a few flat arrays (W words, S slots, a power of two):

    pool    uint8 []       the words' bytes, one after another       starts  int64 [W + 1]   where each begins
    counts  int64 [W, 2]   how often, in two columns                 hashes  uint64 [W]
    slots   int32 [S]      word of each slot, -1: free               sizes   int64 [2]       words, bytes of pool in use
"""

from __future__ import annotations

import functools
import unicodedata

import numpy as np
from numpy.typing import NDArray

from diglot.text.unicode import decode, kernel

BYTE_FALLBACK, BYTE_LEVEL, CHUNK = range(3)
OTHER, LETTER, NUMBER, SPACE, NEWLINE, WHITE, STOP = range(7)

_WHITE_SPACE = [*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]  # fmt: skip
_CLASSIFIED = [range(0x3400), range(0x4DC0, 0x4E00), range(0xA000, 0xAC00), range(0xD7A4, 0xD800),
               range(0xE000, 0x20000), range(0x2A6DE, 0x33480), range(0xE0000, 0xE0200)]  # fmt: skip
_LETTERS_ONLY = [range(0x3400, 0x4DC0), range(0x4E00, 0xA000), range(0xAC00, 0xD7A4), range(0x20000, 0x2A6DE)]
_UNSPACED_STOPS = "。、，．：；！？「」『』（）《》〈〉【】〔〕…・～"
_PRIME = np.uint64(0x9E3779B97F4A7C15)


@functools.cache
def classes_of(rule: int) -> NDArray[np.uint8]:
    """The class of every code point under a rule."""
    classes = np.zeros(0x110000, np.uint8)
    for letters in _LETTERS_ONLY:
        classes[letters.start : letters.stop] = LETTER
    kinds = {"L": LETTER, "M": LETTER, "N": NUMBER}
    for code in (code for codes in _CLASSIFIED for code in codes):
        classes[code] = kinds.get(unicodedata.category(chr(code))[0], OTHER)
    classes[[0x200C, 0x200D]] = LETTER  # joiners
    classes[_WHITE_SPACE] = WHITE
    classes[[0x0A, 0x0D]] = NEWLINE
    classes[0x20] = SPACE
    if rule == BYTE_FALLBACK:  # the marks of escaped text stand alone: no piece holds them
        classes[[0x2581, 0xE000]] = NUMBER
    if rule == CHUNK:
        classes[[ord(stop) for stop in _UNSPACED_STOPS]] = STOP
    return classes


# --- where words end ------------------------------------------------------------------------------------------


@kernel
def _class_at(data, at, classes):
    code, _ = decode(data, at)
    return classes[code]


@kernel
def _run(data, at, end, classes, kind):
    """The end of a run of characters of one class."""
    while at < end:
        code, size = decode(data, at)
        if classes[code] != kind:
            break
        at += size
    return at


@kernel
def _byte_fallback_end(data, at, end, classes):
    code, size = decode(data, at)
    kind = classes[code]
    if kind == SPACE:
        after = _run(data, at, end, classes, SPACE)
        if after == end:
            return end
        next_kind = _class_at(data, after, classes)
        if next_kind != LETTER and next_kind != OTHER:
            return after
        return after - 1 if after - at > 1 else _run(data, after, end, classes, next_kind)
    if kind == NUMBER:
        return at + size
    if kind != WHITE:
        return _run(data, at, end, classes, kind)
    while at < end:
        code, size = decode(data, at)
        if classes[code] != WHITE and classes[code] != NEWLINE:
            break
        at += size
    return at


@kernel
def _contraction(data, at, end):
    """Length of 's, 't, 're, 've, 'm, 'll or 'd at an apostrophe, in either case; else 0."""
    if data[at] != 0x27 or at + 1 >= end:
        return 0
    first = data[at + 1] | 0x20
    if first == 0x73 or first == 0x74 or first == 0x6D or first == 0x64:
        return 2
    second = data[at + 2] | 0x20 if at + 2 < end else 0
    if (first == 0x72 or first == 0x76) and second == 0x65:
        return 3
    return 3 if first == 0x6C and second == 0x6C else 0


@kernel
def _byte_level_end(data, at, end, classes):
    code, size = decode(data, at)
    kind, after = classes[code], at + size
    contraction = _contraction(data, at, end)
    if contraction:
        return at + contraction
    if kind == LETTER:
        return _run(data, after, end, classes, LETTER)
    if kind == NUMBER:
        return after
    next_kind = _class_at(data, after, classes) if after < end else WHITE
    if kind != NEWLINE and next_kind == LETTER:
        return _run(data, after, end, classes, LETTER)
    if kind == OTHER or (kind == SPACE and next_kind == OTHER):
        return _run(data, _run(data, after, end, classes, OTHER), end, classes, NEWLINE)
    return _white_end(data, at, end, classes)


@kernel
def _white_end(data, at, end, classes):
    """White space up to its last line end; without one, all but the last where a word follows."""
    start, last, line_end = at, at, -1
    while at < end:
        code, size = decode(data, at)
        kind = classes[code]
        if kind != SPACE and kind != WHITE and kind != NEWLINE:
            break
        last = at
        at += size
        if kind == NEWLINE:
            line_end = at
    if line_end >= 0:
        return line_end
    return at if at == end or last == start else last


@kernel
def _chunk_end(data, at, end, classes):
    """The end of a chunk; `at` itself where none begins here."""
    start = at
    if data[at] == 0x20:
        at += 1
    begin, before = at, OTHER
    while at < end:
        code, size = decode(data, at)
        kind = classes[code]
        if code == 0x20 or code == 0x0A or (kind == STOP and before == LETTER):
            break
        before = kind
        at += size
    return at if at > begin else start


# --- counting -------------------------------------------------------------------------------------------------


@kernel
def _hash(data, at, end):
    value = np.uint64(end - at)
    for place in range(at, end):
        value = (value ^ np.uint64(data[place])) * _PRIME
    return value ^ (value >> np.uint64(29))


@kernel
def _find(data, at, end, value, pool, starts, hashes, slots):
    """The slot of a word, or the free one where it belongs."""
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
def count_text(data, at, rule, classes, weight, column, pool, starts, hashes, counts, slots, sizes):
    """Count the words of a text from a byte on; returns where it stopped for want of room, or the end."""
    end = len(data)
    while at < end:
        if rule == BYTE_FALLBACK:
            stop = _byte_fallback_end(data, at, end, classes)
        elif rule == BYTE_LEVEL:
            stop = _byte_level_end(data, at, end, classes)
        else:
            stop = _chunk_end(data, at, end, classes)
            if stop == at:
                at += 1  # a space or a line end
                continue
        value = _hash(data, at, stop)
        slot = _find(data, at, stop, value, pool, starts, hashes, slots)
        word = slots[slot]
        if word < 0:
            word, used = sizes[0], sizes[1]
            if word == len(hashes) or used + stop - at > len(pool):
                return at
            pool[used : used + stop - at] = data[at:stop]
            slots[slot], hashes[word], starts[word + 1] = word, value, used + stop - at
            sizes[0], sizes[1] = word + 1, used + stop - at
        counts[word, column] += weight
        at = stop
    return end


@kernel
def fill_slots(hashes, number, slots):
    """Give every word a slot, in a table that has room for all."""
    mask = np.uint64(len(slots) - 1)
    for word in range(number):
        slot = hashes[word] & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = word


@kernel
def keep_words(kept, pool, starts, hashes, counts, sizes):
    """Move the words that are kept together, in their order."""
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
