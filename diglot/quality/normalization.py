r"""Text as a quality model sees it: tokens with one space between them, a sentence (a line of the text) on each line.

As in CCNet (Wenzek et al. 2020, 4.2) letters are lower-case and every digit is 0, so that a model need not learn
years and prices. Other than there, punctuation is cut off and stays as tokens of its own: menus and lists of
keywords are told from prose by what stands between the words. Arabic vowel signs and tatweel go, as they come and go
in print; what cannot be seen goes. Scripts without spaces, and models of characters, have a token per character, with
`▁` for whitespace.

    >>> normalize(pa.array(["Hello, World!\n\nIn 1984"], pa.large_string()), Normalization()).to_pylist()
    ['hello , world !\nin 0000\n']

The same form is the training text of fastText and what KenLM reads, so that all models agree on what a token is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from diglot.text.languages import is_unspaced
from diglot.text.unicode import (
    DIGIT,
    INVISIBLE,
    MARK,
    PUNCTUATION,
    SPACE,
    UNSPACED,
    array_of,
    character_tables,
    decode,
    kernel,
    text_buffers,
)

_LOWER, _ZEROS, _SPLIT, _STRIP, _CHARACTERS = (1 << bit for bit in range(5))
_NEWLINE, _BLANK, _WHITESPACE = 0x0A, 0x20, 0x2581
_GROWTH = 4  # one byte of whitespace becomes the three of `▁` and a blank


@dataclass(frozen=True)
class Normalization:
    """How text becomes tokens.

    Attributes:
        lower: letters become lower-case.
        zeros: digits become 0.
        split: punctuation marks are tokens of their own.
        strip: Arabic vowel signs and tatweel are left out.
        characters: every character is a token.
    """

    lower: bool = True
    zeros: bool = True
    split: bool = True
    strip: bool = True
    characters: bool = False

    @property
    def flags(self) -> int:
        """The same as bits."""
        bits = (self.lower, self.zeros, self.split, self.strip, self.characters)
        return sum(1 << place for place, bit in enumerate(bits) if bit)


def normalization_for(language: str, unit: str = "word") -> Normalization:
    """The normalization of our own models: words, but characters in languages without spaces."""
    return Normalization(characters=unit == "character" or is_unspaced(language))


def normalize(texts: pa.Array, normalization: Normalization) -> pa.Array:
    """Texts as tokens; every line ends in a newline, and empty ones are left out.

    Args:
        texts: `large_string` [documents], valid UTF-8, no nulls.
        normalization: how.

    Returns:
        `large_string` [documents].
    """
    data, offsets = text_buffers(texts)
    classes, lower = character_tables()
    out = np.empty(_GROWTH * int(offsets[-1] - offsets[0]) + 8 * len(texts) + 16, np.uint8)
    ends = np.zeros(len(texts) + 1, np.int64)
    size = _normalize(data, offsets, classes, lower, normalization.flags, out, ends)
    return array_of(out[:size].copy(), ends)


@kernel
def _normalize(data, offsets, classes, lower, flags, out, ends):
    """Data uint8, offsets int64 [documents + 1]; classes uint8, lower uint32 [code points]; out uint8 and ends int64, written."""
    size = 0
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        line = size  # where the present line begins in `out`
        gap = False  # whether whitespace was met since the last token
        alone = True  # whether the last token takes no more characters
        while at < end:
            code, length = decode(data, at)
            at += length
            flag = classes[code]
            if code == _NEWLINE:
                size = _end_line(out, line, size)
                line, gap, alone = size, False, True
                continue
            if flag & SPACE:
                gap = True
                continue
            if flag & INVISIBLE or _is_left_out(code, flags):
                continue
            single = _is_single(code, flag, flags)
            if size > line and (gap or single or alone):
                if gap and flags & _CHARACTERS:
                    size = _write(out, size, _WHITESPACE, True)
                out[size] = _BLANK
                size += 1
            if flag & DIGIT and flags & _ZEROS:
                code = 0x30
            elif flags & _LOWER:
                code = np.int64(lower[code])
            size = _write(out, size, code, False)
            gap, alone = False, single
        size = _end_line(out, line, size)
        ends[document + 1] = size
    return size


@kernel
def _end_line(out, line, size):
    """End a line that is not empty; out uint8. Returns the new size."""
    if size > line:
        out[size] = _NEWLINE
        size += 1
    return size


@kernel
def _is_left_out(code, flags):
    """Marks of direction and joining; and, if wanted, Arabic vowel signs and tatweel. code, flags int64."""
    if 0x200C <= code <= 0x200F or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069:
        return True
    return flags & _STRIP != 0 and (0x064B <= code <= 0x0652 or code in (0x0640, 0x0670))


@kernel
def _is_single(code, flag, flags):
    """Whether a character is a token of its own. code, flags int64, flag uint8."""
    if flags & _CHARACTERS:
        return True
    if not flags & _SPLIT:
        return False
    return flag & (PUNCTUATION | UNSPACED) != 0 and flag & MARK == 0


@kernel
def _write(out, size, code, blank_first):
    """Append a code point as UTF-8, if wanted after a blank; returns the new size. out uint8."""
    if blank_first:
        out[size] = _BLANK
        size += 1
    if code < 0x80:
        out[size] = code
        return size + 1
    if code < 0x800:
        out[size] = 0xC0 | (code >> 6)
        out[size + 1] = 0x80 | (code & 0x3F)
        return size + 2
    if code < 0x10000:
        out[size] = 0xE0 | (code >> 12)
        out[size + 1] = 0x80 | ((code >> 6) & 0x3F)
        out[size + 2] = 0x80 | (code & 0x3F)
        return size + 3
    out[size] = 0xF0 | (code >> 18)
    out[size + 1] = 0x80 | ((code >> 12) & 0x3F)
    out[size + 2] = 0x80 | ((code >> 6) & 0x3F)
    out[size + 3] = 0x80 | (code & 0x3F)
    return size + 4
