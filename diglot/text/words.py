"""Kernels that cut a text into words: by the patterns of our two forms, without a regular expression.

A word's end is written as the place of the byte behind it. `byte_pair_kernels.py` encodes what is cut here.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from diglot.text.unicode import decode  # importing it sets numba's cache folder

# All arrays are the caller's, who keeps them: without reference counts the whole is 1.4 times as fast.
kernel = numba.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
inlined = numba.njit(nogil=True, cache=True, error_model="numpy", _nrt=False, forceinline=True)

OTHER, LETTER, NUMBER, SPACE, LINE_END, WHITE = range(6)  # classes of characters; OTHER: punctuation and the rest
TWO_SPACES, BEGIN = 6, 7  # states beside the classes: two spaces or more; before a text
STATE, CUT_HERE, CUT_BEFORE_SPACE = 7, 8, 16  # a transition: the next state, and whether to cut

_3 = np.uint64(3)


def _transitions() -> NDArray[np.uint8]:
    """What follows from a state (the class of the character before) and a character's class: `byte_fallback.WORDS`."""
    table = np.zeros((8, 8), np.uint8)
    for state in range(8):
        for found in range(6):
            if state in (SPACE, TWO_SPACES):  # the last of some spaces belongs to the letters after it
                attached = (SPACE, LETTER, OTHER)
                cut = 0 if found in attached else CUT_HERE
                if state == TWO_SPACES and found in (LETTER, OTHER):
                    cut = CUT_BEFORE_SPACE
            else:
                goes_on = found == state != NUMBER or (state, found) == (WHITE, LINE_END) or state == BEGIN
                cut = 0 if goes_on else CUT_HERE
            following = found
            if found == SPACE and state in (SPACE, TWO_SPACES):
                following = TWO_SPACES
            if found == LINE_END and state == WHITE:
                following = WHITE
            table[state, found] = following | cut
    return table.ravel()


TRANSITIONS = _transitions()


@kernel
def cut_words(data, place, end, classes, units):
    """Cut a text into words; writes where each ends, returns how many there are."""
    count = 0
    state = np.uint8(BEGIN)
    while place < end:
        code, length = decode(data, place)
        step = TRANSITIONS[np.uint64(state) << _3 | np.uint64(classes[np.uint64(code)])]
        state = step & np.uint8(STATE)
        cut_here, cut_before = np.int64(step >> np.uint8(3)) & 1, np.int64(step >> np.uint8(4))
        units[count] = place - cut_before  # without a branch: what is not a cut is written over
        count += cut_here | cut_before  # type: ignore[assignment]
        place += length
    units[count] = end
    return count + 1


@kernel
def _contraction(data, place, end):
    """The length of an apostrophe and the letters of `(?i:'s|'t|'re|'ve|'m|'ll|'d)` at a place, or 0."""
    if data[np.uint64(place)] != 0x27 or place + 1 >= end:
        return 0
    first = data[np.uint64(place + 1)] | np.uint8(0x20)
    if first in (0x73, 0x74, 0x6D, 0x64):  # s t m d
        return 2
    if place + 2 < end:
        second = data[np.uint64(place + 2)] | np.uint8(0x20)
        if (first in (0x72, 0x76) and second == 0x65) or (first == 0x6C and second == 0x6C):  # re ve ll
            return 3
        if data[np.uint64(place + 1)] == 0xC5 and data[np.uint64(place + 2)] == 0xBF:
            return 3  # ſ is an s to whom case does not matter
    return 0


@kernel
def _class_at(data, place, end, classes):
    """A character's class and length in bytes; behind the end, -1 and 0."""
    if place >= end:
        return -1, 0
    code, length = decode(data, place)
    return np.int64(classes[np.uint64(code)]), length


@kernel
def _run_end(data, place, end, classes, first, second, third):
    """The end of a run of characters of up to three classes, and the place behind the last line end in it."""
    behind_line = place
    while True:
        found, length = _class_at(data, place, end, classes)
        if found < 0 or (found != first and found != second and found != third):
            return place, behind_line
        place += length
        if found == LINE_END:
            behind_line = place


@kernel
def cut_byte_level(data, place, end, classes, units):
    """Cut a text into the words of `byte_level.WORDS`; writes where each ends, returns how many there are."""
    count = 0
    while place < end:
        found, length = _class_at(data, place, end, classes)
        following, _ = _class_at(data, place + length, end, classes)
        contraction = _contraction(data, place, end)
        if contraction:
            place += contraction
        elif found == NUMBER:
            place += length
        elif found == LETTER or (following == LETTER and found != LINE_END):
            place, _ = _run_end(data, place + length, end, classes, LETTER, LETTER, LETTER)
        elif found == OTHER or (found == SPACE and following == OTHER):
            place, _ = _run_end(data, place + length, end, classes, OTHER, OTHER, OTHER)
            place, _ = _run_end(data, place, end, classes, LINE_END, LINE_END, LINE_END)
        else:
            run, behind_line = _run_end(data, place, end, classes, SPACE, WHITE, LINE_END)
            if behind_line > place:
                place = behind_line
            elif run == end or run == place + length:
                place = run
            else:  # all but the last, which the word behind it may take
                place = run - 1
                while data[np.uint64(place)] & 0xC0 == 0x80:
                    place -= 1
        units[count] = place
        count += 1
    return count
