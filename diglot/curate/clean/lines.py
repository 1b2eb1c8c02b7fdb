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
- **invisible**: ASCII's controls, zero-width spaces, soft hyphens, byte-order marks, where nothing depends on them.
  What stays: the joiners U+200C and U+200D beside a letter of a script that needs them (from Hebrew's block on: Persian,
  Hindi, Sinhala, …) and after emoji; zero-width spaces and word joiners in Thai, Lao, Khmer, Burmese and other scripts
  without spaces, where they say what a word is; Mongolian's vowel separator and narrow space, which shape its letters;
  U+2061 to U+2064 within a formula. Direction marks, variation selectors, fillers and tags are never taken away.

Lines can be taken out whole after that: see `line_rules`.

Text is not normalised to NFC: that would change what authors wrote (and break Hebrew's and Vietnamese's
conventional orders, and the identity of text that passes through a tokenizer); who wants it can do it before.

Broken characters are counted but left: U+FFFD, private use, and what was read in the wrong encoding: UTF-8 as Latin-1 or
Windows-1252 ("Ø§Ù„"), Windows-1252 as Latin-1 (U+0092 for an apostrophe).

Most text needs no correction, so the kernel first looks at 32 bytes at a time for what might (`_is_clean`, which
compiles to vector instructions), then at single words (a table of bytes, one of blocks of 64 characters), and copies
the runs between.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from diglot.curate.clean.line_rules import LINE_RULES, LineRule, remove_lines
from diglot.text.unicode import (
    BROKEN,
    INVISIBLE,
    LETTER,
    MARK,
    SPACE,
    UNSPACED,
    array_of,
    character_tables,
    decode,
    kernel,
    text_buffers,
)

CORRECTIONS = ("urls", "long_words", "whitespace", "invisible", *LINE_RULES)
URL_COLUMN, LONG_COLUMN, SPACE_COLUMN, INVISIBLE_COLUMN, FIRST_LINE_COLUMN = range(5)
MAX_WORD = 100
MAX_NEWLINES = 3
CHUNK = 32

NEWLINE, RETURN, IDEOGRAPHIC_SPACE, OGHAM_SPACE, NARROW_SPACE, TAB = 10, 13, 0x3000, 0x1680, 0x202F, 9
FIRST_JOINING_SCRIPT, FIRST_EAST_ASIAN = 0x0590, 0x2E80

# What Windows-1252 shows for the bytes 0x80-0x9F, where Latin-1 has controls.
_WINDOWS_1252 = np.array(sorted(ord(c) for c in "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"), np.int64)
# Kinds of first bytes of characters.
_PLAIN, _URL_START, _BLANK, _TWO, _THREE, _OTHER = range(6)


class Corrected(NamedTuple):
    """The corrected texts, and what was found in the texts as they were read.

    Attributes:
        texts: `large_string` array [documents].
        characters: int64 [documents], of the text as read.
        removed: int64 [documents, len(CORRECTIONS)], characters taken away by kind.
        urls: int64 [documents], characters within URLs in the text as read.
        broken: int64 [documents], invisible and broken characters in the text as read.
    """

    texts: pa.Array
    characters: np.ndarray
    removed: np.ndarray
    urls: np.ndarray
    broken: np.ndarray


def correct(texts: pa.Array, corrections: bool = True, line_rules: tuple[LineRule, ...] = ()) -> Corrected:
    """Correct texts line by line, and take out the lines that break a rule.

    Args:
        texts: `large_string` array [documents].
        corrections: whether to correct the texts, or only to count URLs and invisible and broken characters.
        line_rules: the rules on lines, applied to what the corrections leave.
    """
    data, offsets = text_buffers(texts)
    classes, _ = character_tables()
    bytes_, blocks = _byte_tables()
    output = np.empty(int(offsets[-1] - offsets[0]) + 1, np.uint8)
    output_offsets = np.zeros(len(texts) + 1, np.int64)
    removed = np.zeros((len(texts), len(CORRECTIONS)), np.int64)
    found = np.zeros((len(texts), 3), np.int64)
    tables = (classes, bytes_, blocks, _WINDOWS_1252)
    _correct_all(data, offsets, tables, output, output_offsets, removed, found)
    if corrections:
        texts = array_of(output[: output_offsets[-1]], output_offsets)
    else:
        removed[:] = 0
    if line_rules:
        texts = remove_lines(texts, line_rules, removed[:, FIRST_LINE_COLUMN:])
    return Corrected(texts, found[:, 0], removed, found[:, 1], found[:, 2])


@functools.cache
def _byte_tables() -> tuple[np.ndarray, np.ndarray]:
    """Kinds of first bytes (uint8 [256]), and which blocks of 64 characters need a closer look (bool)."""
    kinds = np.full(256, _OTHER, np.uint8)
    kinds[33:127] = _PLAIN
    kinds[[ord(c) for c in "hHwW"]] = _URL_START
    kinds[[32, *range(9, 14)]] = _BLANK
    kinds[0xC2:0xE0], kinds[0xE0:0xF0] = _TWO, _THREE
    classes, _ = character_tables()
    blocks = np.array((classes.reshape(-1, 64) & (SPACE | INVISIBLE | BROKEN)).any(axis=1))
    for code in (0xC2, 0xF4, 0x200C, 0x200D):  # where UTF-8 read as Latin-1 may begin, and the joiners
        blocks[code >> 6] = True
    return kinds, blocks


# --- corrections ----------------------------------------------------------------------------------------------


@kernel
def _correct_all(data, offsets, tables, output, output_offsets, removed, found):
    """Correct all texts; the plain twin is `oracle` in tests/curate/test_lines.py.

    data uint8 [bytes], offsets int64 [texts + 1], output uint8 [bytes + 1], output_offsets int64 [texts + 1],
    removed int64 [texts, corrections], found int64 [texts, 3]: characters, those in URLs, those broken.
    """
    position = 0
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        position = _correct_document(data, start, end, tables, output, position, removed[document], found[document])
        output_offsets[document + 1] = position


@kernel
def _correct_document(data, start, end, tables, output, position, removed, found):
    """Write one corrected text to `output` from `position` on; returns where it ends.

    What stays as it is is copied in runs: [run, kept_end) is decided but not copied yet. Whitespace that needs no
    change is part of the run; other whitespace is held back until a word that stays follows it, so that removed
    words leave no gap behind.

    data uint8 [bytes]; start, end, position int64; output uint8; removed int64 [corrections], found int64 [3]: a row.
    """
    classes, kinds = tables[0], tables[1]
    begin = position
    run = kept_end = gap = at = next_try = start
    held = False  # whitespace of [gap, at) is held back, with removed words in it
    space = (0, 0, 0, 32, start, start)
    found[0] = _count_characters(data[start:end])
    while at < end:
        if not held and at >= next_try and (at > start or data[at] > 32):
            at, next_try = _skip_clean(data, at, end)
            kept_end = at
        # A gap that stays as it is costs nothing; any other is held back until a word that stays follows.
        size = 0 if held or at == start else _plain_gap(data, at, end, kinds)
        if size > 0:
            gap = at
            at += size
        else:
            if not held:
                space = (0, 0, 0, 32, at, at)
            at, space = _take_whitespace(data, at, end, classes, space)
            held = True
            if at == end:
                break
        word = at
        at, characters, urls, invisible, broken = _look_at_word(data, word, end, tables)
        left = characters - urls - invisible
        found[1] += urls
        found[2] += broken
        removed[URL_COLUMN] += urls
        removed[INVISIBLE_COLUMN] += invisible
        # A word goes whole: too long, or nothing but URLs and invisible characters.
        too_long = left > MAX_WORD and not _is_unspaced_word(data, word, at, classes)
        if too_long or left == 0:
            removed[LONG_COLUMN] += left
            if not held:  # the gap before it was taken for plain
                _, space = _take_whitespace(data, gap, word, classes, (0, 0, 0, 32, gap, gap))
                held = True
            continue
        if held:
            position = _copy(data, run, kept_end, output, position)
            position, written = _write_whitespace(data, output, position, position == begin, space)
            removed[SPACE_COLUMN] += space[2] - written
            held = False
            run = word
        if urls + invisible > 0:  # written character by character, between two runs
            position = _copy(data, run, word, output, position)
            position = _write_word(data, word, at, classes, output, position)
            run = at
        kept_end = at
    position = _copy(data, run, kept_end, output, position)
    if held:
        removed[SPACE_COLUMN] += space[2]
    return position


@kernel
def _count_characters(data):
    """Characters of UTF-8: data uint8 [bytes]."""
    number = 0
    for byte in data:
        number += (byte & 0xC0) != 0x80
    return number


@kernel
def _copy(data, start, end, output, position):
    """Copy data[start:end] (uint8) to output (uint8) at a position (int64); returns where it ends."""
    size = end - start
    output[position : position + size] = data[start:end]
    return position + size


@kernel
def _skip_clean(data, start, end):
    """Walk over what certainly stays as it is, from the start of the text or the end of a word to the end of a word.

    Returns where it ends, and where to try again.

    data uint8 [bytes]; start, end int64.
    """
    at = start
    while at + CHUNK + 3 < end and _is_clean(data[at : at + CHUNK + 3]):
        at += CHUNK
    next_try = at + CHUNK
    while at > start and data[at] > 32:  # back out of the word that the last chunk ended in
        at -= 1
    while at > start and data[at - 1] <= 32:
        at -= 1
    return at, next_try


@kernel
def _is_clean(data):
    """Whether `CHUNK` bytes, three more following, certainly need no correction.

    Unclean are: no whitespace (a word may be too long), other controls than newlines, whitespace beside whitespace
    (but two or three newlines), `htt` and `www`, C1 controls, no-break space and soft hyphen, what could be UTF-8
    read as Latin-1, rare spaces, all of U+2000 to U+206F but dashes, quotes and bullets, U+3000, private use, most of
    U+F000 to U+FFFF, and characters of four bytes. No branches, or there are no vector instructions.

    data uint8 [CHUNK + 3].
    """
    unclean = False
    whitespace = False
    for at in range(CHUNK):
        a, b, c, d = data[at], data[at + 1], data[at + 2], data[at + 3]
        whitespace |= a <= 32
        unclean |= (a < 32) & (a != 10)
        unclean |= (a == 127) | (a == 0xEE) | (a >= 0xF0)
        unclean |= (a <= 32) & (b <= 32) & ((a != 10) | (b != 10))
        unclean |= (a == 10) & (b == 10) & (c == 10) & (d == 10)
        unclean |= ((a | 32) == 104) & ((b | 32) == 116) & ((c | 32) == 116)
        unclean |= ((a | 32) == 119) & ((b | 32) == 119) & ((c | 32) == 119)
        unclean |= (a == 0xC2) & ((b <= 0xA0) | (b == 0xAD))
        unclean |= (a == 0xC3) & (c >= 0x80)
        unclean |= (a == 0xE1) & ((b == 0x9A) | (b == 0xA0))
        unclean |= (a == 0xE2) & ((b == 0x80) | (b == 0x81)) & ((b != 0x80) | (c < 0x90) | (c > 0xA7))
        unclean |= (a == 0xE3) & (b == 0x80) & (c == 0x80)
        unclean |= (a == 0xEF) & (b != 0xBC) & (b != 0xBD)
    return whitespace and not unclean


@kernel
def _plain_gap(data, at, end, kinds):
    """The length of whitespace that stays as it is: a space, or up to three newlines, before what is none; else 0.

    data uint8 [bytes]; at, end int64; kinds uint8 [256].
    """
    size = 0
    if data[at] == 32:
        size = 1
    else:
        while size < MAX_NEWLINES and at + size < end and data[at + size] == NEWLINE:
            size += 1
    if size == 0 or at + size >= end:
        return 0
    after = data[at + size]
    certain = kinds[after] <= _URL_START or (after >= 0xC3 and (after < 0xE1 or after > 0xE3))
    return size if certain else 0


@kernel
def _take_whitespace(data, at, end, classes, space):
    """Walk over whitespace.

    `space` is (newlines, blanks since the last of them, characters, the last blank, start and end of the
    indentation), of the whitespace before, if any; returns where it ends, and the sum.

    data uint8 [bytes]; at, end int64; classes uint8 [code points]; space: six int64.
    """
    newlines, blanks, pending, single, indent_start, indent_end = space
    while at < end:
        code, size = decode(data, at)
        if not classes[code] & SPACE or classes[code] & INVISIBLE:
            break
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
    return at, (newlines, blanks, pending, single, indent_start, indent_end)


@kernel
def _write_whitespace(data, output, position, at_start, space):
    """Write the whitespace before a word; returns the new position and the number of characters written.

    data, output uint8 [bytes]; position int64; at_start bool; space: six int64.
    """
    # Line ends win over blanks: what stands before them is at the end of a line, and means nothing.
    newlines, blanks, _, single, indent_start, indent_end = space
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
        # Mongolian suffixes stand behind a narrow space, which shapes them; Ogham's space is a visible line.
        if blanks == 1 and (
            single in (IDEOGRAPHIC_SPACE, OGHAM_SPACE)
            or (single == NARROW_SPACE and _ends_in_mongolian(output, position))
        ):
            output[position] = 0xE0 | (single >> 12)
            output[position + 1] = 0x80 | ((single >> 6) & 0x3F)
            output[position + 2] = 0x80 | (single & 0x3F)
            return position + 3, written
        output[position] = TAB if blanks == 1 and single == TAB else 32
        position += 1
    return position, written


@kernel
def _ends_in_mongolian(output, position):
    """Whether what was written last is a character from U+1800 to U+18BF; output uint8 [bytes], position int64."""
    return position >= 3 and output[position - 3] == 0xE1 and 0xA0 <= output[position - 2] <= 0xA2


@kernel
def _look_at_word(data, start, end, tables):
    """Measure the characters up to the next whitespace.

    Returns its end, all characters, those in URLs, those that are invisible and go, and those that are invisible or
    broken.

    data uint8 [bytes]; start, end int64; tables: classes, kinds, blocks and Windows-1252, of `correct`.
    """
    classes, kinds, blocks, windows = tables
    characters = urls = invisible = broken = mojibake = 0
    before = -1  # where the last character that stays begins, -1 at the start and behind a URL
    at = start
    while at < end:
        kind = kinds[data[at]]
        if mojibake == 0:  # most characters are told by their first bytes
            if kind == _PLAIN or (kind == _URL_START and not _may_be_url(data, at, end)):
                before = at
                characters += 1
                at += 1
                continue
            if kind == _BLANK:
                break
            if kind == _TWO and not blocks[data[at] & 0x1F]:
                before = at
                characters += 1
                at += 2
                continue
            if kind == _THREE and not blocks[((data[at] & 0x0F) << 6) | (data[at + 1] & 0x3F)]:
                before = at
                characters += 1
                at += 3
                continue
        code, size = decode(data, at)
        flags = classes[code]
        if flags & SPACE and not flags & INVISIBLE:
            break
        previous = 0 if before < 0 else decode(data, before)[0]
        url_end = _url_end(data, at, end, previous, code, classes)
        if url_end > at:  # counted whole; what follows is as at the start of a word
            length = 0
            while at < url_end:
                length += (data[at] & 0xC0) != 0x80
                at += 1
            urls += length
            characters += length
            before = -1
            continue
        if mojibake == 0 and 0xC2 <= code <= 0xF4 and at + size < end and data[at + size] >= 0x80:
            # So many characters from here on are one that was read in the wrong encoding.
            mojibake = _mojibake(data, at + size, end, code, windows)
        goes = _goes(data, at + size, end, code, previous, classes)
        broken += mojibake > 0 or goes or (flags & BROKEN) != 0
        mojibake = max(mojibake - 1, 0)
        invisible += goes
        if not goes:
            before = at
        characters += 1
        at += size
    return at, characters, urls, invisible, broken


@kernel
def _may_be_url(data, at, end):
    """Whether an `h` or `w` is followed by what follows it in `http` and `www`.

    data uint8 [bytes]; at, end int64.
    """
    return at + 1 < end and (data[at + 1] | 0x20) == (116 if (data[at] | 0x20) == 104 else 119)


@kernel
def _is_unspaced_word(data, start, end, classes):
    """Whether a word has characters of a script without spaces, outside URLs.

    data uint8 [bytes]; start, end int64; classes uint8 [code points].
    """
    previous = 0
    at = start
    while at < end:
        code, size = decode(data, at)
        if classes[code] & UNSPACED:
            return True
        url_end = _url_end(data, at, end, previous, code, classes)
        if url_end > at:
            at, previous = url_end, 0
            continue
        if not _goes(data, at + size, end, code, previous, classes):
            previous = code
        at += size
    return False


@kernel
def _write_word(data, start, end, classes, output, position):
    """Copy a word without its URLs and invisible characters; returns the new position.

    data, output uint8 [bytes]; start, end, position int64; classes uint8 [code points].
    """
    previous = 0
    at = start
    while at < end:
        code, size = decode(data, at)
        url_end = _url_end(data, at, end, previous, code, classes)
        if url_end > at:
            at = url_end
            previous = 0
            continue
        if _goes(data, at + size, end, code, previous, classes):
            at += size
            continue
        for _ in range(size):
            output[position] = data[at]
            position += 1
            at += 1
        previous = code
    return position


@kernel
def _goes(data, after, end, code, previous, classes):
    """Whether a character is invisible and taken away: nothing beside it depends on it.

    data uint8 [bytes]; after, end int64: where what follows begins, and where it ends; code, previous int64, code points
    (0 at the beginning of a word); classes uint8 [code points].
    """
    is_joiner = code == 0x200C or code == 0x200D
    if not is_joiner and not classes[code] & INVISIBLE:
        return False
    following = np.int64(0)
    if after < end:
        following = decode(data, after)[0]
    if is_joiner:  # an Arabic letter may be joined to nothing, at the beginning of a word too
        shapes = following >= FIRST_JOINING_SCRIPT and classes[following] & (LETTER | MARK) != 0
        return previous < FIRST_JOINING_SCRIPT and not shapes
    if code == 0x200B or code == 0x2060:
        return not (_has_hidden_words(previous) or _has_hidden_words(following))
    if code == 0x180E:
        return not (0x1800 <= previous <= 0x18AF or 0x1800 <= following <= 0x18AF)
    if 0x2061 <= code <= 0x2064:  # applied to, times, separated from, plus
        return previous == 0 or following <= 32 or classes[following] & SPACE != 0
    return True


@kernel
def _has_hidden_words(code):
    """Whether a code point (int64) is of a script that shows words by zero-width spaces, if at all.

    Thai, Lao, Tibetan, Burmese; Khmer; Tai Le, New Tai Lue, Buginese, Tai Tham; Balinese, Batak; Javanese, Cham, Tai
    Viet and more Burmese; Ahom. (Line breaking class SA, and scripts of Indonesia.)
    """
    return (
        0x0E00 <= code <= 0x109F
        or 0x1780 <= code <= 0x17FF
        or 0x1950 <= code <= 0x1AAF
        or 0x1B00 <= code <= 0x1BFF
        or 0xA980 <= code <= 0xAADF
        or 0x11700 <= code <= 0x1174F
    )


@kernel
def _mojibake(data, at, end, lead, windows):
    """How many characters, `lead` included, are one UTF-8 sequence read as Latin-1 or Windows-1252; 0 if none.

    data uint8 [bytes]; at, end, lead int64; windows int64, ascending code points.
    """
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
    """Whether a code point (int64) is an ASCII letter or digit."""
    return 48 <= code <= 57 or 65 <= code <= 90 or 97 <= code <= 122


@kernel
def _url_end(data, at, end, previous, code, classes):
    """Where the URL that begins at `at` ends, in bytes; `at` itself where none begins.

    data uint8 [bytes]; at, end int64; previous, code int64, code points; classes uint8 [code points].
    """
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
    """Where the text behind `http://`, `https://` or `www.` begins; `at` where there is none of them.

    data uint8 [bytes]; at, end int64.
    """
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
