r"""The one cutter of words: text cut by the patterns of our two kinds of tokenizers, in kernels.

    BYTE_FALLBACK_WORDS   A │ ␣ │ ␣café │ , │ ␣ │ 1 │ 2      a run of letters (with marks and joiners) or of punctuation,
                                                            each with one space before it; digits one by one; white space
    BYTE_LEVEL_WORDS      A │ ␣ │ ␣café │ , │ ␣ │ 1 │ 2      as Llama-3's, but digits stand one by one, and marks and
                                                            joiners belong to the letters

A pattern is what stands in tokenizer.json; its kernel cuts as the `tokenizers` library does with it, many times as fast
(tests compare them on every character and on arbitrary text). Encoding and training both cut here. A tokenizer with
another pattern is left to the library.

A word's end is written as the place of the byte behind it.
"""

from __future__ import annotations

import functools
import itertools

import numba
import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, normalizers

from diglot.text.unicode import decode  # importing it sets numba's cache folder

LETTERS = r"\p{L}\p{M}\x{200C}\x{200D}"  # joiners shape letters, in Persian as in emoji
BYTE_FALLBACK_WORDS = "|".join(  # of normalised text, in which a space is ▁; the kernel cuts text with spaces
    (
        r"▁+(?=▁[^\s▁\p{N}])",  # a run of spaces, but for the one that belongs to the word after it
        rf"▁?[{LETTERS}]+",
        rf"▁?[^\s▁\p{{N}}{LETTERS}]+",
        r"\p{N}",
        r"▁+",
        r"[\r\n]+",
        r"\s+",
    )
)
BYTE_LEVEL_WORDS = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        rf"[^\r\n\p{{N}}{LETTERS}]?[{LETTERS}]+",
        r"\p{N}",
        rf" ?[^\s\p{{N}}{LETTERS}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)

# All arrays are the caller's, who keeps them: without reference counts the whole is 1.4 times as fast.
kernel = numba.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
inlined = numba.njit(nogil=True, cache=True, error_model="numpy", _nrt=False, forceinline=True)

OTHER, LETTER, NUMBER, SPACE, LINE_END, WHITE = range(6)  # classes of characters; OTHER: punctuation and the rest
CLASS_PATTERNS = {LETTER: rf"[{LETTERS}]+", NUMBER: r"\p{N}+", WHITE: r"\s+"}
ASSIGNED = [(0, 0xD800), (0xE000, 0x33480), (0xE0000, 0xE0200)]  # only private use and unassigned otherwise
TWO_SPACES, BEGIN = 6, 7  # states beside the classes: two spaces or more; before a text
STATE, CUT_HERE, CUT_BEFORE_SPACE = 7, 8, 16  # a transition: the next state, and whether to cut

_3 = np.uint64(3)


@functools.cache
def character_classes() -> NDArray[np.uint8]:
    """The class of every code point: uint8 [0x110000].

    Asked of the library itself (what is left when all of a class is taken out), whose Unicode is not Python's.
    """
    codes = list(itertools.chain.from_iterable(itertools.starmap(range, ASSIGNED)))
    characters = "".join(map(chr, codes))
    classes = np.full(0x110000, OTHER, np.uint8)
    for number, pattern in CLASS_PATTERNS.items():
        left = normalizers.Replace(Regex(pattern), "").normalize_str(characters)
        in_class = np.zeros(0x110000, bool)
        in_class[codes] = True
        in_class[np.frombuffer(left.encode("utf-32-le"), np.uint32)] = False
        classes[in_class] = number
    classes[[ord("\r"), ord("\n")]] = LINE_END
    classes[ord(" ")] = SPACE
    return classes


def _transitions() -> NDArray[np.uint8]:
    """What follows from a state (the class of the character before) and a character's class: uint8 [8 states * 8]."""
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
def cut_byte_fallback(data, place, end, classes, ends):
    """Cut text by BYTE_FALLBACK_WORDS; returns how many words there are, of a text that is not empty.

    Types: data uint8 [bytes], valid UTF-8; place, end int64, where the text begins and ends; classes uint8 [0x110000];
    ends int64 [end - place + 1], receives where each word ends. Plain twin: `library_words` in tests/text/test_word_cutting.py.
    """
    count = 0
    state = np.uint8(BEGIN)
    while place < end:
        code, length = decode(data, place)
        step = TRANSITIONS[np.uint64(state) << _3 | np.uint64(classes[np.uint64(code)])]
        state = step & np.uint8(STATE)
        cut_here, cut_before = np.int64(step >> np.uint8(3)) & 1, np.int64(step >> np.uint8(4))
        ends[count] = place - cut_before  # without a branch: what is not a cut is written over
        count += cut_here | cut_before  # type: ignore[assignment]
        place += length
    ends[count] = end
    return count + 1


@kernel
def _contraction(data, place, end):
    """The length of an apostrophe and the letters of `(?i:'s|'t|'re|'ve|'m|'ll|'d)` at a place, or 0.

    Types: as `cut_byte_fallback`.
    """
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
    """A character's class and length in bytes (int64 both); behind the end, -1 and 0. Types: as `cut_byte_fallback`."""
    if place >= end:
        return -1, 0
    code, length = decode(data, place)
    return np.int64(classes[np.uint64(code)]), length


@kernel
def _run_end(data, place, end, classes, first, second, third):
    """The end of a run of characters of up to three classes, and the place behind the last line end in it.

    Types: as `cut_byte_fallback`; first, second, third int64, classes.
    """
    behind_line = place
    while True:
        found, length = _class_at(data, place, end, classes)
        if found < 0 or (found != first and found != second and found != third):
            return place, behind_line
        place += length
        if found == LINE_END:
            behind_line = place


@kernel
def cut_byte_level(data, place, end, classes, ends):
    """Cut text by BYTE_LEVEL_WORDS; returns how many words there are.

    Types: as `cut_byte_fallback`. Plain twin: `library_words` in tests/text/test_word_cutting.py.
    """
    count = 0
    while place < end:
        # The branches stand in the order of the pattern's alternatives.
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
        ends[count] = place
        count += 1
    return count
