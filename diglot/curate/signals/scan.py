r"""The walk over a document's bytes that finds its words, lines and paragraphs, and counts what needs no table.

A word is walked once, with its hash, its length and the classes of its characters, all in registers. Most words are
small letters and nothing else; the others (15% in English, 10% in Arabic) are walked a second time, by
`_look_closer`, for capitals, digits, punctuation and what the catalogue calls pieces. Counts go to one row of
`COUNTS` per document; `signals` divides them.
"""

from __future__ import annotations

import functools
import unicodedata
from typing import NamedTuple

import numba
import numpy as np

from diglot.curate.signals.lexicon import BANNED, GOPHER, IPSUM, JAVASCRIPT, LOREM, STOP
from diglot.text.hash_table import slot_of
from diglot.text.unicode import DIGIT as DIGIT_CLASS
from diglot.text.unicode import HASH_SEED, UNSPACED, absorb, character_tables, decode, finish, kernel
from diglot.text.unicode import LETTER as LETTER_CLASS
from diglot.text.unicode import MARK as MARK_CLASS
from diglot.text.unicode import SPACE as SPACE_CLASS

COUNTS = (
    "characters", "newlines", "words", "word_characters", "bare_words", "bare_characters", "lines",
    "line_characters", "paragraphs", "sentences", "longest_word", "long_words", "number_signs", "ellipses",
    "curly_brackets", "digits", "numerals", "capitals", "dates", "alphabetic_words", "pieces", "no_latin_pieces",
    "capital_pieces", "bullet_lines", "symbol_bullet_lines", "ellipsis_lines", "punctuated_lines",
    "terminal_lines", "short_lines", "javascript_lines", "stop_words", "distinct_stop_words",
    "gopher_stop_words", "banned_words", "lorem_ipsum", "different_words", "duplicate_lines",
    "duplicate_line_characters", "duplicate_paragraphs", "duplicate_paragraph_characters",
    "top_2gram", "top_3gram", "top_4gram", "duplicate_5grams", "duplicate_6grams", "duplicate_7grams",
    "duplicate_8grams", "duplicate_9grams", "duplicate_10grams",
)  # fmt: skip
(
    CHARACTERS, NEWLINES, WORDS, WORD_CHARACTERS, BARE_WORDS, BARE_CHARACTERS, LINES,
    LINE_CHARACTERS, PARAGRAPHS, SENTENCES, LONGEST_WORD, LONG_WORDS, NUMBER_SIGNS, ELLIPSES,
    CURLY_BRACKETS, DIGITS, NUMERALS, CAPITALS, DATES, ALPHABETIC_WORDS, PIECES, NO_LATIN_PIECES,
    CAPITAL_PIECES, BULLET_LINES, SYMBOL_BULLET_LINES, ELLIPSIS_LINES, PUNCTUATED_LINES,
    TERMINAL_LINES, SHORT_LINES, JAVASCRIPT_LINES, STOP_WORDS, DISTINCT_STOP_WORDS,
    GOPHER_STOP_WORDS, BANNED_WORDS, LOREM_IPSUM, DIFFERENT_WORDS, DUPLICATE_LINES,
    DUPLICATE_LINE_CHARACTERS, DUPLICATE_PARAGRAPHS, DUPLICATE_PARAGRAPH_CHARACTERS,
    TOP_2GRAM, _, _, DUPLICATE_5GRAMS, _, _, _, _, _,
) = range(len(COUNTS))  # fmt: skip

SHORT_LINE, LONG_WORD = 30, 30

# Kinds of characters. `_PLAIN` is all that a word may have to be counted without a closer look.
_SPACE, _WORD, _LETTER, _LATIN, _DIGIT, _NUMERIC, _UPPER, _CASED, _CHANGES, _PUNCTUATION, _TERMINAL, _UNSPACED, _MARK, _OTHER = (
    1 << bit for bit in range(14)
)  # fmt: skip
_PLAIN = _WORD | _LETTER | _LATIN | _CASED | _UNSPACED | _MARK

# Called for every word with 20 to 50 arguments (7 for each array): as real calls, on the stack, they took a fifth of
# all time.
_inlined = numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)

NEWLINE, NUMBER_SIGN, FULL_STOP, ELLIPSIS, RIGHT_QUOTE = 10, 0x23, 0x2E, 0x2026, 0x201D
_YEAR, _MONTH, _DAY = "年년", "月월", "日일号"
_YEARS, _MONTHS, _DAYS = (np.array([ord(c) for c in marks], np.int64) for marks in (_YEAR, _MONTH, _DAY))
_BULLETS = np.array([ord(c) for c in "•‣▪●◦*-"], np.int64)
_SYMBOL_BULLETS = np.array([ord(c) for c in "•‣▶◀◦■□▪▫–"], np.int64)

# Unicode's Sentence_Terminal=Yes, which Python's unicodedata does not know.
SENTENCE_TERMINALS = [
    *(0x21, 0x2E, 0x3F, 0x589, 0x6D4, 0x7F9, 0x837, 0x839, 0x1362, 0x166E, 0x1803, 0x1809, 0x203C, 0x203D, 0x2E2E),
    *(0x2E3C, 0x2E53, 0x2E54, 0x3002, 0xA4FF, 0xA6F3, 0xA6F7, 0xA92F, 0xABEB, 0xFE52, 0xFF01, 0xFF0E, 0xFF1F, 0xFF61),
    *range(0x61D, 0x620), *range(0x700, 0x703), 0x83D, 0x83E, 0x964, 0x965, 0x104A, 0x104B, 0x1367, 0x1368, 0x1735,
    *(0x1736, 0x17D4, 0x17D5, 0x17D6, 0x17D9, 0x17DA, 0x1944, 0x1945, *range(0x1AA8, 0x1AAC), 0x1B5A, 0x1B5B, 0x1B5E),
    *(0x1B5F, 0x1B7D, 0x1B7E, 0x1C3B, 0x1C3C, 0x1C7E, 0x1C7F, 0x2047, 0x2048, 0x2049, 0xA60E, 0xA60F, 0xA876, 0xA877),
    *(0xA8CE, 0xA8CF, 0xA9C8, 0xA9C9, 0xAA5D, 0xAA5E, 0xAA5F, 0xAAF0, 0xAAF1, 0xFE56, 0xFE57, 0x10A56, 0x10A57),
    *(*range(0x10F55, 0x10F5A), *range(0x10F86, 0x10F8A), 0x11047, 0x11048, *range(0x110BE, 0x110C2)),
    *(*range(0x11141, 0x11144), 0x111C5, 0x111C6, 0x111CD, 0x111DE, 0x111DF, 0x11238, 0x11239, 0x1123B, 0x1123C),
    *(0x112A9, 0x1144B, 0x1144C, 0x115C2, 0x115C3, *range(0x115C9, 0x115D8), 0x11641, 0x11642, *range(0x1173C, 0x1173F)),
    *(0x11944, 0x11946, 0x11A42, 0x11A43, 0x11A9B, 0x11A9C, 0x11C41, 0x11C42, 0x11EF7, 0x11EF8, 0x11F43, 0x11F44),
    *(0x16A6E, 0x16A6F, 0x16AF5, 0x16B37, 0x16B38, 0x16B44, 0x16E98, 0x1BC9F, 0x1DA88),
]  # fmt: skip


@functools.cache
def kinds_table() -> np.ndarray:
    """The kinds (uint16) of every code point."""
    classes, lower = character_tables()
    kinds = np.zeros(len(classes), np.uint16)
    for theirs, ours in (
        (SPACE_CLASS, _SPACE),
        (LETTER_CLASS, _LETTER | _WORD),
        (DIGIT_CLASS, _DIGIT | _NUMERIC | _WORD),
        (MARK_CLASS, _MARK | _WORD),
        (UNSPACED, _UNSPACED),
    ):
        kinds[classes & theirs != 0] |= ours
    # Ideographs and Hangul have none of what is asked below, but for those that are numbers (二, 三).
    for begin, end in zip((0, 0xA000, 0xD7A4), (0x3400, 0xAC00, 0x20000), strict=True):
        for code in range(begin, end):
            kinds[code] |= _further_kinds(chr(code))
    kinds[[code for code in range(0x3400, 0x33480) if chr(code).isnumeric()]] |= _NUMERIC
    kinds[lower != np.arange(len(lower))] |= _CHANGES
    kinds[SENTENCE_TERMINALS] |= _TERMINAL
    kinds[kinds & (_WORD | _SPACE) == 0] |= _OTHER
    return kinds


def _further_kinds(character: str) -> int:
    kinds = 0
    if character.isalnum() or character == "_":
        kinds |= _WORD
    if character.isascii() and character.isalpha():
        kinds |= _LATIN
    if character.isnumeric():
        kinds |= _NUMERIC
    if character.isupper():
        kinds |= _UPPER
    if character.islower() or unicodedata.category(character) == "Lt":  # "A".istitle() is true
        kinds |= _CASED
    if unicodedata.category(character)[0] == "P" or character in "$+<=>^`|~":
        kinds |= _PUNCTUATION
    return kinds


class Words(NamedTuple):
    """What `scan` finds in a document, in arrays as long as the largest document needs.

    Attributes:
        hashes: uint64, of each word as it is written.
        bare: uint64, of each bare word; 0 where nothing is left of the word.
        lengths: int64, characters of each word.
        lines: uint64, a hash of each line's words.
        line_lengths: int64, its characters.
        line_breaks: bool, whether a blank line stands before it.
    """

    hashes: np.ndarray
    bare: np.ndarray
    lengths: np.ndarray
    lines: np.ndarray
    line_lengths: np.ndarray
    line_breaks: np.ndarray


@kernel
def make_words(num_bytes):
    """Room for the words and lines of a document of so many bytes.

    A word takes a byte and the space behind it; beside a letter of a script without spaces (3 bytes) or a mark (2)
    it may do without the space.

    num_bytes int64.
    """
    words, lines = num_bytes * 2 // 3 + 2, num_bytes // 2 + 2
    return Words(
        np.empty(words, np.uint64),
        np.empty(words, np.uint64),
        np.empty(words, np.int64),
        np.empty(lines, np.uint64),
        np.empty(lines, np.int64),
        np.empty(lines, np.bool_),
    )


@kernel
def scan(data, start, end, kinds, lower, segmented, cuts, lexicon, document, words, counts):
    """Walk the document at bytes `start` to `end`; fills `words` (`Words`) and adds to `counts` (int64 [COUNTS]).

    `segmented` says whether words begin where `cuts` (uint8, from `segment.find_cuts`) is set, else they do behind
    whitespace and at each letter of a script without spaces. `lexicon` is from `lexicon.compile_lists`; `document`
    is another number for each document.

    data uint8 [bytes]; start, end, document int64; kinds uint16, lower uint32 [code points]. The plain twin of all
    signals is tests/helpers/plain_signals.py.
    """
    num_words = num_lines = characters = alphabetic = bare_words = bare_characters = 0
    open_piece, fresh, lorem, javascript, blank = 0, True, False, False, False
    line, line_start, line_end, last_byte = HASH_SEED, -1, 0, start
    at = start
    while at <= end:  # a newline is set behind the end, so that the last line ends like the others
        code, size = (NEWLINE, 1) if at == end else decode(data, at)
        kind = kinds[code]
        if kind & _SPACE:
            if open_piece:
                open_piece = _close_piece(open_piece, counts)
            if code == NEWLINE:
                if line_start >= 0:
                    words.lines[num_lines] = finish(line)
                    words.line_lengths[num_lines] = line_end - line_start
                    words.line_breaks[num_lines] = blank
                    num_lines += 1
                    _measure_line_end(data, start, last_byte, line_end - line_start, kinds, counts)
                    counts[JAVASCRIPT_LINES] += javascript
                blank = line_start < 0
                line, line_start, javascript = HASH_SEED, -1, False
                counts[NEWLINES] += 1
            characters += 1
            at += size
            continue
        if line_start < 0:
            line_start = characters
            counts[BULLET_LINES] += _contains(_BULLETS, code)
            counts[SYMBOL_BULLET_LINES] += _contains(_SYMBOL_BULLETS, code)
        word_start = at
        at, length, hashed, seen = _walk_word(data, start, at, end, kinds, segmented, cuts)
        words.hashes[num_words] = hashed
        words.lengths[num_words] = length
        line = absorb(line, hashed)
        characters += length
        line_end, last_byte = characters, at
        alphabetic += seen & _LETTER != 0
        bare_length = length
        if seen & ~_PLAIN:  # capitals, digits, punctuation: walked a second time
            hashed, bare_length, open_piece, fresh = _look_closer(
                data, word_start, at, end, kinds, lower, open_piece, fresh, counts
            )
        else:  # its bare form is the word itself
            if open_piece and not open_piece & _WORD:
                open_piece = _close_piece(open_piece, counts)
            open_piece |= seen
            counts[SENTENCES] += fresh
            fresh = False
        words.bare[num_words] = hashed if bare_length > 0 else np.uint64(0)
        num_words += 1
        if bare_length > 0:
            bare_words += 1
            bare_characters += bare_length
            flags = _look_up(lexicon, hashed, document, counts)
            javascript = javascript or flags & JAVASCRIPT != 0
            counts[LOREM_IPSUM] += lorem and flags & IPSUM != 0
            lorem = flags & LOREM != 0
    counts[CHARACTERS] = characters - 1  # the newline set behind the end is none
    counts[NEWLINES] -= 1
    counts[WORDS], counts[LINES], counts[ALPHABETIC_WORDS] = num_words, num_lines, alphabetic
    counts[BARE_WORDS], counts[BARE_CHARACTERS] = bare_words, bare_characters
    _sum_lengths(words, num_words, num_lines, counts)


@_inlined
def _walk_word(data, start, at, end, kinds, segmented, cuts):
    """Walk from a word's first byte to the one behind it; also its characters, its hash and all kinds in it.

    data uint8 [bytes]; start, at, end int64; kinds uint16 [code points]; segmented bool; cuts uint8.
    """
    length, hashed, seen = 0, HASH_SEED, np.int64(0)
    code, size = decode(data, at)
    kind = np.int64(kinds[code])
    # What is found here is used for all that follows, so the text is decoded once.
    lone = kind & _UNSPACED != 0
    while True:
        hashed = absorb(hashed, code)
        seen |= kind
        length += 1
        at += size
        if at >= end:
            break
        previous = kind
        code, size = decode(data, at)
        kind = np.int64(kinds[code])
        if kind & _SPACE:
            break
        # Without spaces: the segmenter cuts between its letters, or, without a model, every letter is a word.
        if segmented:
            if cuts[at - start] and (kind | previous) & (_UNSPACED | _MARK):
                break
        elif lone:
            if not kind & _MARK:
                break
        elif kind & _UNSPACED:
            break
    return at, length, finish(hashed), seen


@_inlined
def _look_closer(data, at, word_end, end, kinds, lower, open_piece, fresh, counts):
    """Walk a word again that is not plain: its bare form, its pieces, and what is counted by character.

    data uint8 [bytes]; at, word_end, end, open_piece int64; fresh bool; counts int64 [COUNTS].
    """
    hashed, bare_length, dots, before = HASH_SEED, 0, 0, 0
    while at < word_end:
        code, size = decode(data, at)
        kind = np.int64(kinds[code])
        if not kind & _PUNCTUATION:
            hashed = absorb(hashed, lower[code])
            bare_length += 1
        # A piece ends where word characters meet others.
        if open_piece and (open_piece ^ kind) & _WORD:
            open_piece = _close_piece(open_piece, counts)
        open_piece |= kind
        if kind & _WORD:
            counts[SENTENCES] += fresh
            fresh = False
            counts[CAPITALS] += kind & _UPPER != 0
            counts[NUMERALS] += kind & _NUMERIC != 0
            if kind & _DIGIT:
                counts[DIGITS] += 1
                counts[DATES] += _may_begin_date(before, kinds) and _is_date(data, at, end, kinds)
            dots = 0
        else:
            fresh = fresh or kind & _TERMINAL != 0
            dots = dots + 1 if code == FULL_STOP else 0  # three of them are an ellipsis
            if dots == 3 or code == ELLIPSIS:
                counts[ELLIPSES] += 1
                dots = 0
            counts[NUMBER_SIGNS] += code == NUMBER_SIGN
            counts[CURLY_BRACKETS] += code in (0x7B, 0x7D)
            counts[CAPITALS] += kind & _UPPER != 0
        before = code
        at += size
    return finish(hashed), bare_length, open_piece, fresh


@_inlined
def _look_up(lexicon, hashed, document, counts):
    """Count a bare word on the lists that it is on; returns their flags. `BANNED_WORDS` counts beginnings only.

    Without a branch on whether it is on any: many words are, many are not, and a processor cannot predict which.

    hashed uint64, document int64, counts int64 [COUNTS].
    """
    slot = slot_of(lexicon.keys, hashed)
    flags = lexicon.flags[slot]  # 0 where the slot is empty
    counts[STOP_WORDS] += flags & STOP != 0
    counts[BANNED_WORDS] += flags & BANNED != 0
    first = lexicon.stamps[slot] != document
    lexicon.stamps[slot] = document
    counts[DISTINCT_STOP_WORDS] += first & (flags & STOP != 0)
    counts[GOPHER_STOP_WORDS] += first & (flags & GOPHER != 0)
    return flags


@kernel
def _close_piece(kinds_in_it, counts):
    """Count a piece by the kinds of its characters; returns what stands for no open piece.

    kinds_in_it int64, counts int64 [COUNTS].
    """
    counts[PIECES] += 1
    counts[NO_LATIN_PIECES] += kinds_in_it & _LATIN == 0
    counts[CAPITAL_PIECES] += kinds_in_it & (_UPPER | _CASED) == _UPPER
    return 0


@kernel
def _measure_line_end(data, start, last_byte, length, kinds, counts):
    """Count a line by its last character, which ends at `last_byte`, and by its length.

    data uint8 [bytes]; start, last_byte, length int64; kinds uint16 [code points]; counts int64 [COUNTS].
    """
    at = last_byte - 1
    while data[at] & 0xC0 == 0x80:
        at -= 1
    code, _ = decode(data, at)
    counts[PUNCTUATED_LINES] += kinds[code] & _TERMINAL != 0
    counts[TERMINAL_LINES] += code in (FULL_STOP, 0x21, 0x3F, RIGHT_QUOTE)
    dots = code == FULL_STOP and at >= start + 2 and data[at - 1] == FULL_STOP and data[at - 2] == FULL_STOP
    counts[ELLIPSIS_LINES] += dots or code == ELLIPSIS
    counts[SHORT_LINES] += length <= SHORT_LINE


@kernel
def _sum_lengths(words, num_words, num_lines, counts):
    """Sum up words and lines (`make_words`): num_words, num_lines int64; counts int64 [COUNTS]."""
    total = longest = long_words = line_total = 0
    for place in range(num_words):
        total += words.lengths[place]
        longest = max(longest, words.lengths[place])
        long_words += words.lengths[place] > LONG_WORD
    for place in range(num_lines):
        line_total += words.line_lengths[place]
    counts[WORD_CHARACTERS], counts[LINE_CHARACTERS] = total, line_total
    counts[LONGEST_WORD], counts[LONG_WORDS] = longest, long_words


@kernel
def _contains(values, value):
    """Whether one of the values (int64) is this one."""
    for other in values:
        if other == value:
            return True
    return False


@kernel
def _may_begin_date(before, kinds):
    """Whether a date may begin behind this character (0 for none): not within a number, a name or a version.

    before int64, a code point; kinds uint16 [code points].
    """
    return not (kinds[before] & (_DIGIT | _LATIN) or before in (0x2D, 0x2E, 0x2F, 0x5F))


@kernel
def _is_date(data, at, end, kinds):
    """Whether a date in figures begins at this digit.

    `2024-05-31` or `31.5.24` with one of - . / twice, a year of 4 digits first or of 2 or 4 last, and no further
    group; or year, month and day with their signs in Chinese, Japanese or Korean, with or without spaces.

    data uint8 [bytes]; at, end int64; kinds uint16 [code points].
    """
    first, at = _skip_digits(data, at, end, kinds)
    if at < end and data[at] in (0x2D, 0x2E, 0x2F):
        separator = data[at]
        second, at = _skip_digits(data, at + 1, end, kinds)
        if not 1 <= second <= 2 or at >= end or data[at] != separator:
            return False
        third, at = _skip_digits(data, at + 1, end, kinds)
        year_first, year_last = first == 4 and 1 <= third <= 2, 1 <= first <= 2 and third in (2, 4)
        return (year_first or year_last) and not _goes_on(data, at, end, kinds)
    if not 2 <= first <= 4:
        return False
    at = _skip_sign(data, at, end, kinds, _YEARS)
    month, at = _skip_digits(data, at, end, kinds)
    at = _skip_sign(data, at, end, kinds, _MONTHS)
    day, at = _skip_digits(data, at, end, kinds)
    return 1 <= month <= 2 and 1 <= day <= 2 and _skip_sign(data, at, end, kinds, _DAYS) < end + 1


@kernel
def _skip_digits(data, at, end, kinds):
    """The number of digits from here on, and where they end.

    data uint8 [bytes]; at, end int64; kinds uint16 [code points].
    """
    number = 0
    while at < end:
        code, size = decode(data, at)
        if not kinds[code] & _DIGIT:
            break
        number += 1
        at += size
    return number, at


@kernel
def _skip_sign(data, at, end, kinds, signs):
    """Where one of the signs ends, with a space before and behind it; beyond the end where there is none.

    data uint8 [bytes]; at, end int64; kinds uint16 [code points]; signs int64.
    """
    at = _skip_space(data, at, end, kinds)
    if at >= end:
        return end + 1
    code, size = decode(data, at)
    if not _contains(signs, code):
        return end + 1
    return _skip_space(data, at + size, end, kinds)


@kernel
def _skip_space(data, at, end, kinds):
    """Where a space here, if any, ends: data uint8 [bytes]; at, end int64; kinds uint16 [code points]."""
    if at < end:
        code, size = decode(data, at)
        if kinds[code] & _SPACE:
            return at + size
    return at


@kernel
def _goes_on(data, at, end, kinds):
    """Whether a letter, a digit, or a separator and a digit follow.

    data uint8 [bytes]; at, end int64; kinds uint16 [code points].
    """
    if at >= end:
        return False
    code, size = decode(data, at)
    if code in (0x2D, 0x2E, 0x2F):
        return _skip_digits(data, at + size, end, kinds)[0] > 0
    return kinds[code] & _WORD != 0
