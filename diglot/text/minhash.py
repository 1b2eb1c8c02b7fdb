"""Signatures of documents, for exact and near deduplication (ALLaM: MinHash, 128 permutations, 14 bands of 9 rows).

**Normaliser**, for all that is here: every character lower-cased, punctuation, symbols and invisible characters left
out, whitespace only separates words. "Hello,  World!" and "hello world" are equal. Documents without any letter or
digit are never duplicates.

**Exact**: equal 63-bit hashes of the normalised words (among 10^8 documents, the odds that two different ones share
a hash are about 1 in 1800).

**Near**: shingles are 5 words, or 13 characters in languages written without spaces (texts of fewer are one
shingle). A signature holds the least of `a * x + b mod 2^32` over the shingles' hashes x, for each of 128 fixed odd
a and any b. Documents that agree in all rows of a band are candidates: a pair of Jaccard similarity s is one with
probability 1 - (1 - s^9)^14 (0.44 at 0.7, 0.87 at 0.8, 0.999 at 0.9). What becomes of candidates: `duplicates`.

    hashes, signatures = sign(texts, permutations=128, shingle=5, by_characters=False)
    keys = band_keys(signatures, bands=14, rows=9)            # equal keys: candidates
    agreement(*signatures[[0, 7]])                            # estimate of their similarity, ± 0.04
    jaccard(texts, np.array([[0, 7]]), 5, by_characters)      # the similarity itself

Memory: 12 bytes for each byte of the longest text of an array (24 by characters), beside what is returned.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from diglot.text.unicode import (
    HASH_PRIME,
    HASH_SEED,
    PUNCTUATION,
    SPACE,
    absorb,
    character_tables,
    decode,
    finish,
    kernel,
    text_buffers,
)

CHARACTER_SHINGLE = 13
AT_A_TIME = 4  # shingles: a signature's values are loaded and stored once for so many (25 ns a shingle, then 14)
EMPTY_KEY = np.uint64(0)
_MOST = np.uint32(0xFFFFFFFF)


def sign(texts: pa.Array, permutations: int, shingle: int, by_characters: bool) -> tuple[np.ndarray, np.ndarray]:
    """Hash texts for exact and near deduplication.

    Args:
        texts: `large_string` array [documents].
        permutations: length of the signatures.
        shingle: words in a shingle (of languages with spaces).
        by_characters: shingle characters instead of words.

    Returns:
        uint64 [documents], hashes of the whole normalised texts, 0 where they are empty; and uint32 [documents,
        permutations], the signatures.
    """
    random = np.random.Generator(np.random.PCG64(14_009))  # fixed: signatures of all corpora are comparable
    factors = random.integers(0, 2**32, permutations, dtype=np.uint32) | np.uint32(1)
    offsets = random.integers(0, 2**32, permutations, dtype=np.uint32)
    hashes, signatures = np.zeros(len(texts), np.uint64), np.full((len(texts), permutations), _MOST)
    data, starts = text_buffers(texts)
    size = CHARACTER_SHINGLE if by_characters else shingle
    _sign_all(data, starts, *character_tables(), factors, offsets, size, by_characters, hashes, signatures)
    return hashes, signatures


def band_keys(minhash: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """Hash each band of signatures.

    Args:
        minhash: uint32 [documents, permutations]; those of empty texts hold nothing but the largest value.
        bands: number of bands.
        rows: values of a signature in a band; bands × rows may not exceed the permutations.

    Returns:
        uint64 [bands, documents]: equal where the bands are; 0 (`EMPTY_KEY`) for empty texts.
    """
    keys = np.empty((bands, len(minhash)), np.uint64)
    _band_keys(minhash, rows, keys)
    return keys


def jaccard(texts: pa.Array, pairs: np.ndarray, shingle: int, by_characters: np.ndarray | bool) -> np.ndarray:
    """Jaccard similarity of the sets of shingles that signatures are made of.

    Args:
        texts: `large_string` array [documents].
        pairs: int64 [pairs, 2], places in `texts`; pairs in a row with the same first text are cheaper.
        shingle: words in a shingle (of languages with spaces).
        by_characters: bool, or bool [documents]: texts to shingle by characters.

    Returns:
        float64 [pairs]; 0 where a text is empty.
    """
    data, starts = text_buffers(texts)
    unspaced = np.full(len(texts), by_characters) if isinstance(by_characters, bool) else by_characters
    similarities = np.zeros(len(pairs))
    _jaccard_all(data, starts, *character_tables(), pairs, shingle, unspaced, similarities)
    return similarities


@kernel
def agreement(one, other):
    """Share of equal values of two signatures: an estimate of the Jaccard similarity.

    one, other uint32 [permutations].
    """
    equal = 0
    for i in range(len(one)):
        equal += one[i] == other[i]
    return equal / len(one)


@kernel
def _sign_all(data, starts, classes, lower, factors, offsets, size, by_characters, hashes, minhash):
    """Hash and sign all texts; the plain twin is `plain_shingles` in tests/helpers/signed_shards.py.

    data uint8 [bytes], starts int64 [texts + 1], factors and offsets uint32 [permutations], size int64, by_characters
    bool; fills hashes uint64 [texts] and minhash uint32 [texts, permutations].
    """
    longest = 0
    for document in range(len(hashes)):
        longest = max(longest, starts[document + 1] - starts[document])
    units, shingles = _room(longest, by_characters)
    for document in range(len(hashes)):
        start, end = starts[document], starts[document + 1]
        number = normalise(data, start, end, classes, lower, by_characters, units)
        if number == 0:
            continue
        whole = HASH_SEED
        for i in range(number):
            whole = absorb(whole, units[i])
        hashes[document] = finish(whole) | np.uint64(1)
        _sign(shingles, _shingle(units, number, size, shingles), factors, offsets, minhash[document])


@kernel
def _room(longest, by_characters):
    """Arrays for the units and the shingles of a text of so many bytes.

    longest int64, by_characters bool.
    """
    most = longest if by_characters else (longest + 1) // 2
    return np.empty(most, np.uint64), np.empty(most + AT_A_TIME, np.uint64)


@kernel
def normalise(data, start, end, classes, lower, by_characters, units):
    """Hashes of the words, or characters, of a normalised text; returns how many.

    data uint8 [bytes]; start, end int64; classes uint8, lower uint32 [code points]; by_characters bool; fills units uint64.
    """
    number = 0
    word, length = HASH_SEED, 0
    at = start
    while at <= end:
        code, size = (32, 1) if at == end else decode(data, at)
        kind = classes[code]
        if kind & SPACE:
            if length > 0:
                units[number] = finish(word)
                number += 1
                word, length = HASH_SEED, 0
        elif not kind & PUNCTUATION:
            word = absorb(word, lower[code])
            length += 1
            if by_characters:
                units[number] = finish(word)
                number += 1
                word, length = HASH_SEED, 0
        at += size
    return number


@kernel
def _shingle(units, number, size, shingles):
    """Hashes of the shingles of `size` units, by a rolling polynomial hash; returns how many.

    units uint64 [number]; size int64; fills shingles uint64.
    """
    if number == 0:
        return 0
    size = min(size, number)
    highest = np.uint64(1)
    for _ in range(size - 1):
        highest *= HASH_PRIME
    rolling = np.uint64(0)
    for i in range(size):
        rolling = rolling * HASH_PRIME + units[i]
    shingles[0] = finish(rolling)
    for i in range(size, number):
        rolling = (rolling - units[i - size] * highest) * HASH_PRIME + units[i]
        shingles[i - size + 1] = finish(rolling)
    return number - size + 1


@kernel
def _sign(shingles, number, factors, offsets, signature):
    """Lower a signature to the least hashes of the shingles; uses a few places behind them.

    shingles uint64 [number]; factors, offsets, signature uint32 [permutations].
    """
    high = np.uint64(32)
    for place in range(number, number + AT_A_TIME):
        shingles[place] = shingles[number - 1]
    for first in range(0, number, AT_A_TIME):
        one, two = np.uint32(shingles[first] >> high), np.uint32(shingles[first + 1] >> high)
        three, four = np.uint32(shingles[first + 2] >> high), np.uint32(shingles[first + 3] >> high)
        for j in range(len(signature)):
            factor, offset = factors[j], offsets[j]
            least = min(np.uint32(factor * one + offset), np.uint32(factor * two + offset))
            other = min(np.uint32(factor * three + offset), np.uint32(factor * four + offset))
            signature[j] = min(signature[j], min(least, other))


@kernel
def _band_keys(minhash, rows, keys):
    """Hash the bands of all signatures: minhash uint32 [documents, permutations]; fills keys uint64 [bands, documents]."""
    for document in range(len(minhash)):
        for band in range(len(keys)):
            key, least = HASH_SEED, _MOST
            for row in range(band * rows, (band + 1) * rows):
                key = absorb(key, minhash[document, row])
                least = min(least, minhash[document, row])
            keys[band, document] = EMPTY_KEY if least == _MOST else finish(key) | np.uint64(1)


@kernel
def _jaccard_all(data, starts, classes, lower, pairs, shingle, unspaced, similarities):
    """Similarities of pairs of texts; the plain twin is `plain_jaccard` in tests/helpers/signed_shards.py.

    data uint8 [bytes], starts int64 [texts + 1], pairs int64 [pairs, 2], shingle int64, unspaced bool [texts]; fills
    similarities float64 [pairs].
    """
    longest, by_characters = 0, False
    for document in range(len(unspaced)):
        longest = max(longest, starts[document + 1] - starts[document])
        by_characters |= unspaced[document]
    units, one = _room(longest, by_characters)
    other = np.empty_like(one)
    known, number = -1, 0
    for place in range(len(pairs)):
        first, second = pairs[place]
        if first != known:
            known = first
            number = _set_of(data, starts, classes, lower, first, shingle, unspaced, units, one)
        more = _set_of(data, starts, classes, lower, second, shingle, unspaced, units, other)
        common = _common(one[:number], other[:more])
        if common > 0:
            similarities[place] = common / (number + more - common)


@kernel
def _set_of(data, starts, classes, lower, document, shingle, unspaced, units, shingles):
    """The different shingles of a text, ascending; returns how many.

    Of `_jaccard_all`; document int64; units, shingles uint64, room for the longest text.
    """
    by_characters = unspaced[document]
    size = CHARACTER_SHINGLE if by_characters else shingle
    number = normalise(data, starts[document], starts[document + 1], classes, lower, by_characters, units)
    number = _shingle(units, number, size, shingles)
    shingles[:number].sort()
    different = 0
    for i in range(number):
        if i == 0 or shingles[i] != shingles[different - 1]:
            shingles[different] = shingles[i]
            different += 1
    return different


@kernel
def _common(one, other):
    """How many values two ascending arrays share.

    one, other uint64, each value once.
    """
    common, i, j = 0, 0, 0
    while i < len(one) and j < len(other):
        common += one[i] == other[j]
        i, j = i + (one[i] <= other[j]), j + (other[j] <= one[i])
    return common
