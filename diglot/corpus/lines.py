r"""Line-wise corrections (PolyLM 3.1, step 2): URLs, very long words, whitespace, invisible characters.

A correction only takes characters away, or puts a plain space or newline in the place of an odd one. What it takes
away is counted by kind, and the shares of the text *as read* that are URLs and that are invisible or broken become
the signals `urls` and `invisible`.

    "Visit https://x.org/a  now\u200b!\n\n\n\n\nBye" -> "Visit now!\n\n\nBye"

- **urls**: `http://`, `https://` or `www.` up to whitespace, a bracket, a quote, or a Chinese or Japanese character;
  a full stop or comma at its end stays.
- **long_words**: more than 100 characters between whitespace (URLs not counted), in scripts that have spaces.
- **whitespace**: runs within a line become one space, ends of lines lose theirs, more than two blank lines become
  two; `\r\n` and the Unicode line separators become `\n`. Indentation at the start of a line stays.
- **invisible**: controls, zero-width spaces, soft hyphens, byte-order marks. The joiners U+200C and U+200D stay
  after a character of a script that needs them (from Hebrew's block on: Persian, Hindi, emoji, …). Direction marks
  stay: right-to-left text needs them to be displayed.

Text is not normalised to NFC: that would change what authors wrote (and break Hebrew's and Vietnamese's
conventional orders, and the identity of text that passes through a tokenizer); who wants it can do it before.

Broken characters are counted but left: U+FFFD, private use, and UTF-8 read as Latin-1 or Windows-1252 ("Ø§Ù„").
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from diglot.corpus.characters import (
    BROKEN,
    INVISIBLE,
    SPACE,
    UNSPACED,
    array_of,
    character_tables,
    decode,
    kernel,
    text_buffers,
)

CORRECTIONS = ("urls", "long_words", "whitespace", "invisible")
URL_COLUMN, LONG_COLUMN, SPACE_COLUMN, INVISIBLE_COLUMN = range(4)
MAX_WORD = 100
MAX_NEWLINES = 3

NEWLINE, RETURN, IDEOGRAPHIC_SPACE, TAB = 10, 13, 0x3000, 9
FIRST_JOINING_SCRIPT, FIRST_EAST_ASIAN = 0x0590, 0x2E80

# What Windows-1252 shows for the bytes 0x80-0x9F, where Latin-1 has controls.
_WINDOWS_1252 = np.array(sorted(ord(c) for c in "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"), np.int64)


class Corrected(NamedTuple):
    """The corrected texts, and what was found in the texts as they were read.

    Attributes:
        texts: `large_string` array [documents].
        characters: int64 [documents], of the text as read.
        removed: int64 [documents, 4], characters taken away by kind of correction (`CORRECTIONS`).
        urls: int64 [documents], characters within URLs in the text as read.
        broken: int64 [documents], invisible and broken characters in the text as read.
    """

    texts: pa.Array
    characters: np.ndarray
    removed: np.ndarray
    urls: np.ndarray
    broken: np.ndarray


def correct(texts: pa.Array, apply: bool = True) -> Corrected:
    """Correct texts line by line, or only count (`apply=False`) what a correction would find.

    Args:
        texts: `large_string` array [documents].
        apply: whether to change the texts.
    """
    data, offsets = text_buffers(texts)
    classes, _ = character_tables()
    output = np.empty(int(offsets[-1] - offsets[0]) + 1, np.uint8)
    output_offsets = np.zeros(len(texts) + 1, np.int64)
    removed = np.zeros((len(texts), len(CORRECTIONS)), np.int64)
    found = np.zeros((len(texts), 3), np.int64)
    _correct_all(data, offsets, classes, _WINDOWS_1252, output, output_offsets, removed, found)
    if not apply:
        return Corrected(texts, found[:, 0], np.zeros_like(removed), found[:, 1], found[:, 2])
    corrected = array_of(output[: output_offsets[-1]], output_offsets)
    return Corrected(corrected, found[:, 0], removed, found[:, 1], found[:, 2])


@kernel
def _correct_all(data, offsets, classes, windows, output, output_offsets, removed, found):
    position = 0
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        position = _correct_document(
            data, start, end, classes, windows, output, position, removed[document], found[document]
        )
        output_offsets[document + 1] = position


@kernel
def _correct_document(data, start, end, classes, windows, output, position, removed, found):
    """Write one corrected text to `output` from `position` on; returns where it ends.

    Whitespace is held back until a character that stays follows it, so that removed words leave no gap behind.
    """
    begin = position
    newlines = blanks = pending = 0
    single = 32
    indent_start = indent_end = start
    at = start
    while at < end:
        code, size = decode(data, at)
        if classes[code] & SPACE and not classes[code] & INVISIBLE:
            found[0] += 1
            pending += 1
            at += size
            if code == RETURN and at < end and data[at] == NEWLINE:
                continue
            if 10 <= code <= 13 or code == 0x85 or code == 0x2028 or code == 0x2029:
                newlines += 1
                blanks = 0
                indent_start = indent_end = at
            else:
                blanks += 1
                single = code
                if indent_end == at - size:
                    indent_end = at
            continue
        word_end, kept, urls, invisible, broken, characters, unspaced = _look_at_word(
            data, at, end, classes, windows
        )
        found[0] += characters
        found[1] += urls
        found[2] += broken
        removed[URL_COLUMN] += urls
        removed[INVISIBLE_COLUMN] += invisible
        if kept > MAX_WORD and not unspaced:
            removed[LONG_COLUMN] += kept
        elif kept > 0:
            position, written = _write_whitespace(
                data, output, position, position == begin, newlines, blanks, single, indent_start, indent_end
            )
            removed[SPACE_COLUMN] += pending - written
            newlines = blanks = pending = 0
            position = _write_word(data, at, word_end, classes, output, position, urls + invisible > 0)
        at = word_end
    removed[SPACE_COLUMN] += pending
    return position


@kernel
def _write_whitespace(data, output, position, at_start, newlines, blanks, single, indent_start, indent_end):
    """Write the whitespace before a word; returns the new position and the number of characters written."""
    written = 0
    if at_start:
        return position, written
    if newlines > 0:
        for _ in range(min(newlines, MAX_NEWLINES)):
            output[position] = NEWLINE
            position += 1
            written += 1
        for at in range(indent_start, indent_end):
            output[position] = data[at]
            position += 1
            written += (data[at] & 0xC0) != 0x80
    elif blanks > 0:
        written = 1
        if blanks == 1 and single == IDEOGRAPHIC_SPACE:
            output[position], output[position + 1], output[position + 2] = 0xE3, 0x80, 0x80
            return position + 3, written
        output[position] = TAB if blanks == 1 and single == TAB else 32
        position += 1
    return position, written


@kernel
def _look_at_word(data, start, end, classes, windows):
    """Measure the characters up to the next whitespace.

    Returns its end, the characters that stay, those in URLs, those that are invisible and go, those that are
    invisible or broken, all of them, and whether it has characters of a script without spaces.
    """
    kept = urls = invisible = broken = characters = mojibake = 0
    unspaced = False
    previous = 0
    at = start
    while at < end:
        byte = data[at]
        if 32 < byte < 127 and (byte | 0x20) != 104 and (byte | 0x20) != 119:  # no h, no w: no URL begins
            previous = int(byte)
            kept += 1
            characters += 1
            at += 1
            continue
        code, size = decode(data, at)
        kind = classes[code]
        if kind & SPACE and not kind & INVISIBLE:
            break
        url_end = _url_end(data, at, end, previous, code, classes)
        if url_end > at:
            length = 0
            while at < url_end:
                length += (data[at] & 0xC0) != 0x80
                at += 1
            urls += length
            characters += length
            previous = 0
            continue
        if mojibake == 0 and 0xC2 <= code <= 0xF4:
            mojibake = _mojibake(data, at + size, end, code, windows)
        goes = _goes(code, previous, kind)
        broken += mojibake > 0 or goes or (kind & BROKEN) != 0
        mojibake = max(mojibake - 1, 0)
        invisible += goes
        kept += not goes
        unspaced = unspaced or (kind & UNSPACED) != 0
        if not goes:
            previous = code
        characters += 1
        at += size
    return at, kept, urls, invisible, broken, characters, unspaced


@kernel
def _write_word(data, start, end, classes, output, position, changed):
    """Copy a word without its URLs and invisible characters; returns the new position."""
    previous = 0
    at = start
    while not changed and at < end:
        output[position] = data[at]
        position += 1
        at += 1
    while at < end:
        code, size = decode(data, at)
        url_end = _url_end(data, at, end, previous, code, classes)
        if url_end > at:
            at = url_end
            previous = 0
            continue
        if _goes(code, previous, classes[code]):
            at += size
            continue
        for _ in range(size):
            output[position] = data[at]
            position += 1
            at += 1
        previous = code
    return position


@kernel
def _goes(code, previous, kind):
    """Whether a character is invisible and taken away."""
    if code == 0x200C or code == 0x200D:
        return previous < FIRST_JOINING_SCRIPT
    return (kind & INVISIBLE) != 0


@kernel
def _mojibake(data, at, end, lead, windows):
    """How many characters, `lead` included, are one UTF-8 sequence read as Latin-1 or Windows-1252; 0 if none."""
    wanted = 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
    for _ in range(wanted):
        if at >= end:
            return 0
        code, size = decode(data, at)
        if not 0x80 <= code <= 0xBF:
            place = np.searchsorted(windows, code)
            if place == len(windows) or windows[place] != code:
                return 0
        at += size
    return wanted + 1


@kernel
def _is_alphanumeric(code):
    return 48 <= code <= 57 or 65 <= code <= 90 or 97 <= code <= 122


@kernel
def _url_end(data, at, end, previous, code, classes):
    """Where the URL that begins at `at` ends, in bytes; `at` itself where none begins."""
    first = code | 0x20
    if (first != 104 and first != 119) or code > 127 or _is_alphanumeric(previous):
        return at
    body = _after_scheme(data, at, end)
    if body == at:
        return at
    last = stop = body
    while stop < end:
        code, size = decode(data, stop)
        if classes[code] & (SPACE | INVISIBLE) or code >= FIRST_EAST_ASIAN:
            break
        if code in (34, 40, 41, 60, 62, 91, 93, 123, 124, 125):  # " ( ) < > [ ] { | }
            break
        stop += size
        if code not in (33, 44, 46, 58, 59, 63):  # ! , . : ; ?
            last = stop
    return last if last > body else at


@kernel
def _after_scheme(data, at, end):
    """Where the text behind `http://`, `https://` or `www.` begins; `at` where there is none of them."""
    for prefix in (b"https://", b"http://", b"www."):
        if at + len(prefix) <= end:
            matches = True
            for place in range(len(prefix)):
                if (data[at + place] | (0x20 if 65 <= data[at + place] <= 90 else 0)) != prefix[place]:
                    matches = False
                    break
            if matches:
                return at + len(prefix)
    return at
