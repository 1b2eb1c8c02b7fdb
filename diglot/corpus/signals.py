r"""Signals: numbers measured on a document, in one pass over its UTF-8 bytes.

Definitions are Gopher's (Rae et al. 2021, table A1 and section A.1.1), in the form RedPajama-v2 and ALLaM use them:

- A **word** is what stands between whitespace; in scripts written without spaces (Chinese, Japanese kana, Thai,
  Lao, Khmer, Burmese, Tibetan) each letter with its marks is a word.
- A **line** is what stands between `\n`, without the whitespace around it; blank lines are not counted. Lines with
  the same words are duplicates; the first of them is not one.
- **n-gram** signals count characters of words over all characters of words. `top_*gram`: the commonest n-gram (the
  earlier of equals) times how often it occurs, 0 if it occurs once. `duplicate_*grams`: characters covered by
  n-grams that occur more than once, each character counted once.
- `symbol_to_word`: the commoner of "#" and the ellipsis ("…", "..."), over words. `ellipsis_lines`,
  `bullet_lines`: lines that end or begin so. `alphabetic_words`: words with at least one letter. `digits`: decimal
  digits over characters.

An n-gram can occur twice only where its first n-1 words do, so each length looks at what the length before left
over: most of a normal text is gone after the bigrams. Working arrays are as large as the largest document needs.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from diglot.corpus.characters import (
    DIGIT,
    HASH_SEED,
    LETTER,
    MARK,
    SPACE,
    UNSPACED,
    absorb,
    character_tables,
    decode,
    finish,
    kernel,
    text_buffers,
)

TEXT_SIGNALS = (
    "characters",
    "words",
    "mean_word_length",
    "symbol_to_word",
    "bullet_lines",
    "ellipsis_lines",
    "alphabetic_words",
    "digits",
    "duplicate_lines",
    "duplicate_line_characters",
    "top_2gram",
    "top_3gram",
    "top_4gram",
    "duplicate_5grams",
    "duplicate_10grams",
)
FIRST_LINE_SIGNAL, FIRST_GRAM_SIGNAL = 8, 10

NEWLINE, NUMBER_SIGN, FULL_STOP, ELLIPSIS = 10, 35, 46, 0x2026
BULLETS = np.array([ord(c) for c in "•‣▪●◦*-"], np.int64)


def measure(texts: pa.Array) -> np.ndarray:
    """Measure `TEXT_SIGNALS` on texts.

    Args:
        texts: `large_string` array [documents].

    Returns:
        float64 [documents, len(TEXT_SIGNALS)].
    """
    data, offsets = text_buffers(texts)
    classes, _ = character_tables()
    signals = np.zeros((len(texts), len(TEXT_SIGNALS)))
    if len(texts):
        _measure_all(data, offsets, classes, BULLETS, signals)
    return signals


@kernel
def _measure_all(data, offsets, classes, bullets, signals):
    longest = 0
    for document in range(len(offsets) - 1):
        longest = max(longest, offsets[document + 1] - offsets[document])
    capacity = longest // 2 + 2  # a word takes a byte and the space behind it
    words = np.empty(capacity, np.uint64)
    lengths = np.empty(capacity, np.int64)
    lines = np.empty(capacity, np.uint64)
    line_lengths = np.empty(capacity, np.int64)
    table_size = 4
    while table_size < 2 * capacity:
        table_size *= 2
    keys, counts = np.empty(table_size, np.uint64), np.empty(table_size, np.int32)
    slots, positions = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    for document in range(len(offsets) - 1):
        signal = signals[document]
        num_words, num_lines = _scan(
            data, offsets[document], offsets[document + 1], classes, bullets,
            words, lengths, lines, line_lengths, signal,
        )  # fmt: skip
        _repeated_lines(lines, line_lengths, num_lines, keys, counts, slots, positions, signal)
        _repeated_grams(words, lengths, num_words, keys, counts, slots, positions, signal)


@kernel
def _scan(data, start, end, classes, bullets, words, lengths, lines, line_lengths, signal):
    """Walk a document once: hash its words and lines, and measure what needs no table."""
    num_words = num_lines = characters = 0
    digits = number_signs = ellipses = dots = alphabetic = bullet_lines = ellipsis_lines = 0
    word, word_length, has_letter, lone = HASH_SEED, 0, False, False
    line, line_start, line_end, bullet, tail = HASH_SEED, -1, 0, False, 0
    at = start
    while at <= end:
        code, size = (NEWLINE, 1) if at == end else decode(data, at)
        kind = classes[code]
        if word_length > 0 and (kind & (SPACE | UNSPACED) or (lone and not kind & MARK)):
            words[num_words] = finish(word)
            lengths[num_words] = word_length
            line = absorb(line, words[num_words])
            alphabetic += has_letter
            num_words += 1
            word, word_length, has_letter, lone = HASH_SEED, 0, False, False
        if kind & SPACE:
            dots = 0
            if code == NEWLINE and line_start >= 0:
                lines[num_lines] = finish(line)
                line_lengths[num_lines] = line_end - line_start
                bullet_lines += bullet
                ellipsis_lines += tail >= 3
                num_lines += 1
                line, line_start = HASH_SEED, -1
        else:
            if line_start < 0:
                line_start, tail = characters, 0
                bullet = _contains(bullets, code)
            elif line_end < characters:
                tail = 0
            line_end = characters + 1
            word = absorb(word, code)
            word_length += 1
            has_letter = has_letter or (kind & LETTER) != 0
            lone = lone or (kind & UNSPACED) != 0
            digits += (kind & DIGIT) != 0
            number_signs += code == NUMBER_SIGN
            dots = dots + 1 if code == FULL_STOP else 0
            tail = 3 if code == ELLIPSIS else tail + 1 if code == FULL_STOP else 0
            if dots == 3 or code == ELLIPSIS:
                ellipses += 1
                dots = 0
        characters += 1
        at += size
    characters -= 1  # the newline set behind the end
    letters = 0
    for place in range(num_words):
        letters += lengths[place]
    signal[0] = characters
    signal[1] = num_words
    signal[2] = letters / max(num_words, 1)
    signal[3] = max(number_signs, ellipses) / max(num_words, 1)
    signal[4] = bullet_lines / max(num_lines, 1)
    signal[5] = ellipsis_lines / max(num_lines, 1)
    signal[6] = alphabetic / max(num_words, 1)
    signal[7] = digits / max(characters, 1)
    return num_words, num_lines


@kernel
def _contains(values, value):
    for other in values:  # noqa: SIM110 (numba compiles no generators)
        if other == value:
            return True
    return False


@kernel
def _count(hashes, positions, number, keys, counts, slots):
    """Count equal hashes in a table with open addressing; `slots[i]` is where `hashes[positions[i]]` is counted."""
    size = 4
    while size < 2 * number:
        size *= 2
    mask = np.uint64(size - 1)
    counts[:size] = 0
    for i in range(number):
        value = hashes[positions[i]]
        slot = value & mask
        while counts[slot] != 0 and keys[slot] != value:
            slot = (slot + np.uint64(1)) & mask
        keys[slot] = value
        counts[slot] += 1
        slots[i] = slot


@kernel
def _repeated_lines(lines, line_lengths, number, keys, counts, slots, positions, signal):
    for i in range(number):
        positions[i] = i
    _count(lines, positions, number, keys, counts, slots)
    duplicates = characters = 0
    for i in range(number - 1, -1, -1):  # from the end, so that the first of equal lines is left
        if counts[slots[i]] > 1:
            counts[slots[i]] -= 1
            duplicates += 1
            characters += line_lengths[i]
    signal[FIRST_LINE_SIGNAL] = duplicates / max(number, 1)
    signal[FIRST_LINE_SIGNAL + 1] = characters / max(signal[0], 1.0)


@kernel
def _repeated_grams(words, lengths, num_words, keys, counts, slots, positions, signal):
    """Signals of the commonest 2-, 3-, 4-grams and of repeated 5- and 10-grams; `lengths` becomes its own sums."""
    total = 0
    for i in range(num_words):
        lengths[i], total = total, total + lengths[i]
    lengths[num_words] = total
    grams = np.empty(num_words, np.uint64)
    for i in range(num_words):
        grams[i] = absorb(HASH_SEED, words[i])  # not words[i] itself: `a b` would be hashed as `b a` is
    left = max(num_words - 1, 0)
    for i in range(left):
        positions[i] = i
    for n in range(2, 6):
        number = 0
        for i in range(left):  # what the length before left over, where one more word follows
            at = positions[i]
            if at + n <= num_words:
                grams[at] = absorb(grams[at], words[at + n - 1])
                positions[number] = at
                number += 1
        _count(grams, positions, number, keys, counts, slots)
        commonest, left = 1, 0
        for i in range(number):
            at, times = positions[i], counts[slots[i]]
            if n <= 4 and times > commonest:
                commonest = times
                signal[FIRST_GRAM_SIGNAL + n - 2] = times * (lengths[at + n] - lengths[at]) / total
            if times > 1:
                positions[left] = at
                left += 1
    signal[FIRST_GRAM_SIGNAL + 3] = _covered(positions, left, 5, lengths) / max(total, 1)
    left = _repeated_10grams(grams, num_words, keys, counts, slots, positions, left)
    signal[FIRST_GRAM_SIGNAL + 4] = _covered(positions, left, 10, lengths) / max(total, 1)


@kernel
def _repeated_10grams(grams, num_words, keys, counts, slots, positions, left):
    """Narrow repeated 5-grams down to repeated 10-grams, each two 5-grams end to end; returns how many."""
    repeated = np.zeros(num_words, np.bool_)
    for i in range(left):
        repeated[positions[i]] = True
    number = 0
    for i in range(left):  # ascending, so that grams[at + 5] is still that of a 5-gram
        at = positions[i]
        if at + 10 <= num_words and repeated[at + 5]:
            grams[at] = absorb(finish(grams[at]), grams[at + 5])
            positions[number] = at
            number += 1
    _count(grams, positions, number, keys, counts, slots)
    left = 0
    for i in range(number):
        if counts[slots[i]] > 1:
            positions[left] = positions[i]
            left += 1
    return left


@kernel
def _covered(positions, number, n, sums):
    """Characters of words within any of the n-grams at ascending positions, each counted once."""
    characters = covered = 0
    for i in range(number):
        at = positions[i]
        characters += sums[at + n] - sums[max(at, covered)]
        covered = at + n
    return characters
