r"""Rules on lines: whole lines that are taken out of a text (C4, Raffel et al. 2020, 2.2).

A line is taken out for the first of these rules that it breaks:

- **line_end**: its last character is no end of a sentence or closing quotation mark, or it ends in an ellipsis.
- **line_words**: it has fewer words than the limit; in scripts without spaces each letter is a word.
- **line_word_length**: it has a word of more characters than the limit, in scripts that have spaces.
- **line_javascript**, **line_policy**: it has the word, or one of C4's phrases on terms, privacy and cookies.

Blank lines stay, but no two of them come together, or stand at an end, because of what was between them.

    "Menu\n\nThe cat sat on the mat.\n\nWe use cookies." -> "The cat sat on the mat."
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from diglot.curate.signals.scan import SENTENCE_TERMINALS
from diglot.text.unicode import SPACE, UNSPACED, array_of, character_tables, decode, kernel, text_buffers

LINE_RULES = ("line_end", "line_words", "line_word_length", "line_javascript", "line_policy")
LINE_RULES_WITH_LIMIT = ("line_words", "line_word_length")

NEWLINE, TAB, FULL_STOP, ELLIPSIS = 10, 9, 0x2E, 0x2026
# C4's END_MARKS has the straight quotation mark; the others close quotations elsewhere.
_CLOSING_QUOTES = '"”“’»›」』'
_PHRASES = (
    (LINE_RULES.index("line_javascript"), "javascript"),
    *(
        (LINE_RULES.index("line_policy"), phrase)
        for phrase in (
            "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies",
        )
    ),
)  # fmt: skip
_LINE_END, _LINE_WORDS, _LINE_WORD_LENGTH, _LINE_JAVASCRIPT, _ = range(len(LINE_RULES))


class LineRule(NamedTuple):
    """A rule that takes lines out.

    Attributes:
        name: one of `LINE_RULES`.
        limit: of `LINE_RULES_WITH_LIMIT`; the others need none.
    """

    name: str
    limit: float = 1.0


@functools.cache
def _phrase_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bytes of the phrases (uint8 [phrases, bytes]), lengths, their rules, and which bytes begin one (bool [256])."""
    encoded = [phrase.encode() for _, phrase in _PHRASES]
    phrases = np.zeros((len(encoded), max(map(len, encoded))), np.uint8)
    begins = np.zeros(256, np.bool_)
    for row, phrase in zip(phrases, encoded, strict=True):
        row[: len(phrase)] = np.frombuffer(phrase, np.uint8)
        begins[[phrase[0], phrase[:1].upper()[0]]] = True
    return phrases, np.array([len(p) for p in encoded]), np.array([rule for rule, _ in _PHRASES]), begins


@functools.cache
def _line_ends() -> np.ndarray:
    """Which characters end a line well (bool [0x110000])."""
    ends = np.zeros(0x110000, np.bool_)
    ends[list(SENTENCE_TERMINALS)] = True
    ends[[ord(c) for c in _CLOSING_QUOTES]] = True
    return ends


def remove_lines(texts: pa.Array, line_rules: tuple[LineRule, ...], removed: np.ndarray) -> pa.Array:
    """Take out the lines that break a rule.

    Args:
        texts: `large_string` array [documents].
        line_rules: in any order.
        removed: int64 [documents, len(LINE_RULES)]; characters taken by each rule are added.
    """
    data, offsets = text_buffers(texts)
    classes, _ = character_tables()
    limits = np.zeros(len(LINE_RULES), np.int64)
    for rule in line_rules:
        limits[LINE_RULES.index(rule.name)] = int(rule.limit)
    output = np.empty(int(offsets[-1] - offsets[0]) + 1, np.uint8)
    output_offsets = np.zeros(len(texts) + 1, np.int64)
    _remove_all(data, offsets, classes, _line_ends(), _phrase_tables(), limits, output, output_offsets, removed)
    return array_of(output[: output_offsets[-1]], output_offsets)


@kernel
def _remove_all(data, offsets, classes, ends, phrases, limits, output, output_offsets, removed):
    """Take lines out of all texts; the plain twin is `c4_keeps` in tests/curate/test_lines.py.

    data uint8 [bytes], offsets int64 [texts + 1], classes uint8 and ends bool [code points], limits int64 [rules],
    output uint8, output_offsets int64 [texts + 1], removed int64 [texts, rules].
    """
    position = 0
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        position = _remove_lines(data, start, end, classes, ends, phrases, limits, output, position, removed[document])
        output_offsets[document + 1] = position


@kernel
def _remove_lines(data, start, end, classes, ends, phrases, limits, output, position, removed):
    """Write the lines of one text that stay to `output` from `position` on; returns where they end.

    Of `_remove_all`: data, start to end (int64), output from position on; removed int64 [rules]: a row.
    """
    begin = position
    taken = -1  # the last rule that took a line since a line that is not blank stayed
    was_blank = False  # whether the last line that stayed is blank
    at = start
    while at < end:
        line_end = at
        while line_end < end and data[line_end] != NEWLINE:
            line_end += 1
        after = min(line_end + 1, end)
        last = _last_character(data, at, line_end, classes)
        rule = -1 if last < 0 else _broken_rule(data, at, line_end, last, classes, ends, phrases, limits)
        if last < 0 and taken >= 0 and (was_blank or position == begin):
            rule = taken
        if rule >= 0:
            taken = rule
            removed[rule] += _characters(data, at, after)
        else:
            output[position : position + after - at] = data[at:after]
            position += after - at
            was_blank = last < 0
            taken = taken if last < 0 else -1
        at = after
    if taken >= 0:  # nothing but blank lines stayed behind the last line that was taken
        stop = position
        while position > begin and output[position - 1] in (NEWLINE, 32, TAB):
            position -= 1
        removed[taken] += stop - position
    return position


@kernel
def _characters(data, start, end):
    """Characters of UTF-8 between two bytes: data uint8 [bytes]; start, end int64."""
    number = 0
    for at in range(start, end):
        number += (data[at] & 0xC0) != 0x80
    return number


@kernel
def _last_character(data, start, end, classes):
    """Where the last character of a line that is not whitespace begins; -1 where there is none.

    data uint8 [bytes]; start, end int64; classes uint8 [code points].
    """
    at = end
    while at > start:
        at -= 1
        while (data[at] & 0xC0) == 0x80:
            at -= 1
        if not classes[decode(data, at)[0]] & SPACE:
            return at
    return -1


@kernel
def _broken_rule(data, start, end, last, classes, ends, phrases, limits):
    """The first rule that a line breaks, -1 if none.

    data uint8 [bytes]; start, end, last int64; classes uint8, ends bool [code points]; limits int64 [rules].
    """
    if limits[_LINE_END] > 0:
        code, _ = decode(data, last)
        dots = last - 1 > start and data[last] == FULL_STOP and data[last - 1] == FULL_STOP == data[last - 2]
        if not ends[code] or dots or code == ELLIPSIS:
            return _LINE_END
    if limits[_LINE_WORDS] > 0 or limits[_LINE_WORD_LENGTH] > 0:
        words, longest = _measure_words(data, start, end, classes)
        if words < limits[_LINE_WORDS]:
            return _LINE_WORDS
        if 0 < limits[_LINE_WORD_LENGTH] < longest:
            return _LINE_WORD_LENGTH
    return _phrase_rule(data, start, end, phrases, limits)


@kernel
def _measure_words(data, start, end, classes):
    """The number of words of a line, and the characters of the longest in a script that has spaces.

    data uint8 [bytes]; start, end int64; classes uint8 [code points].
    """
    words = longest = length = unspaced = 0
    at = start
    while at <= end:
        code, size = (NEWLINE, 1) if at == end else decode(data, at)
        if classes[code] & SPACE:
            words += max(unspaced, 1) if length > 0 else 0
            longest = max(longest, length if unspaced == 0 else 0)
            length = unspaced = 0
        else:
            length += 1
            unspaced += (classes[code] & UNSPACED) != 0
        at += size
    return words, longest


@kernel
def _phrase_rule(data, start, end, phrases, limits):
    """The rule whose phrase a line has, -1 if none.

    data uint8 [bytes]; start, end int64; phrases of `_phrase_tables`; limits int64 [rules].
    """
    letters, lengths, rules, begins = phrases
    found = len(limits)
    for at in range(start, end):
        if not begins[data[at]]:
            continue
        for place in range(len(lengths)):
            size = lengths[place]
            if limits[rules[place]] == 0 or rules[place] >= found or at + size > end:
                continue
            same = 0
            while same < size and _lower(data[at + same]) == letters[place, same]:
                same += 1
            if same == size:
                found = rules[place]
    return found if found < len(limits) else -1


@kernel
def _lower(byte):
    """A byte (uint8), ASCII capitals made small."""
    return byte | 0x20 if 65 <= byte <= 90 else byte
