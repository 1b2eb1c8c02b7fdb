"""Cutting text in kernels: into the words of any pattern, and around tokens that are found in text.

`data` is always uint8, valid UTF-8 with some bytes more that may be read; places are int64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diglot.encode.patterns import BACK, CUT, GAP, MATCHED, START, STATE_BITS
from diglot.text.unicode import decode
from diglot.text.words import kernel

_MATCHED, _CUT, _BACK, _GAP, _STATE = map(np.uint32, (MATCHED, CUT, BACK, GAP, STATE_BITS))


class Words(NamedTuple):
    """Patterns that cut one after the other, each what the one before it left whole.

    Attributes:
        classes: uint8 [patterns, 0x110000]; see `patterns.Table`.
        steps: uint32 [all steps].
        firsts: int64 [patterns], where the steps of each begin.
    """

    classes: NDArray[np.uint8]
    steps: NDArray[np.uint32]
    firsts: NDArray[np.int64]


@kernel
def cut_by_pattern(data, begin, end, words, pattern, ends, count):
    """Cut text that is not empty by a pattern; returns how many pieces there are by now.

    Types: data uint8; begin, end, pattern, count int64; words Words; ends int64 [pieces], receives where each ends.
    Plain twin: `pre_tokenizers` of the library, in tests/encode/test_patterns.py.
    """
    classes, steps, first = words.classes[pattern], words.steps, words.firsts[pattern]
    state, place, matched = np.int64(START), begin, begin
    was_gap = match_is_gap = np.int64(0)
    while True:
        found, length = np.uint8(0), 0  # the text's end
        if place < end:
            code, length = decode(data, place)
            found = classes[np.uint64(code)]
        step = steps[np.uint64(first + state + np.int64(found))]
        gap = np.int64((step & _GAP) != 0)
        if step & _BACK:
            count -= match_is_gap & was_gap  # a gap goes on
            ends[count] = matched
            count += 1
            was_gap, place, state = match_is_gap, matched, np.int64(START)
            continue
        is_match, cut = step & _MATCHED, np.int64((step & _CUT) != 0)
        matched = place if is_match else matched
        match_is_gap = gap if is_match else match_is_gap
        # Without a branch: what is not a cut is written over.
        count -= cut & gap & was_gap
        ends[count] = place
        count += cut
        was_gap = gap if cut else was_gap
        if place >= end:
            return count
        state = np.int64(step >> _STATE)
        place += length


@kernel
def cut_by_patterns(data, begin, end, words, ends, spare):
    """Cut text that is not empty by all patterns; returns how many pieces there are.

    Types: data uint8; begin, end int64; words Words; ends, spare int64 [pieces], `ends` receives where each ends.
    """
    count = cut_by_pattern(data, begin, end, words, 0, ends, 0)
    for pattern in range(1, len(words.firsts)):
        for piece in range(count):
            spare[piece] = ends[piece]
        start, pieces, count = begin, count, 0
        for piece in range(pieces):
            count = cut_by_pattern(data, start, spare[piece], words, pattern, ends, count)
            start = spare[piece]
    return count
