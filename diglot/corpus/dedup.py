"""Deduplication: exact, and near by MinHash with verified candidates (ALLaM: 128 permutations, 14 bands of 9 rows).

**Normaliser**, for both: every character lower-cased, punctuation, symbols and invisible characters left out,
whitespace only separates words. "Hello,  World!" and "hello world" are equal. Documents without any letter or digit
are never duplicates.

**Exact**: equal 63-bit hashes of the normalised words (among 10^8 documents, the odds that two different ones share
a hash are about 1 in 1800).

**Near**: shingles are 5 words, or 13 characters in languages written without spaces (words of fewer are one
shingle). A signature holds the least of `a * x + b mod 2^32` over the shingles' hashes x, for each of 128 fixed odd
a and any b. Documents that agree in all rows of a band are candidates: a pair of Jaccard similarity s is one with
probability 1 - (1 - s^9)^14 (0.44 at 0.7, 0.87 at 0.8, 0.999 at 0.9). In each band, every document of a bucket is
held against the bucket's first; if their signatures agree on less than `verify`, the candidate is left alone.
Verified pairs are joined (union-find), and the first document of a cluster, in the order of sources and positions,
is kept. Nothing depends on the number of threads.

Memory: 4 bytes a permutation and document (about 0.5 GB a million documents), and one band's keys at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from diglot.corpus.characters import (
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
SHINGLE_BLOCK = 4096
EMPTY_HASH = np.uint64(0)


class Signatures(NamedTuple):
    """What deduplication needs of documents.

    Attributes:
        hashes: uint64 [documents], of the whole normalised text; 0 where it is empty.
        minhash: uint32 [documents, permutations].
    """

    hashes: np.ndarray
    minhash: np.ndarray


def sign(texts: pa.Array, permutations: int, shingle: int, by_characters: bool) -> Signatures:
    """Hash texts for exact and near deduplication.

    Args:
        texts: `large_string` array [documents].
        permutations: length of the signatures.
        shingle: words in a shingle (of languages with spaces).
        by_characters: shingle characters instead of words.
    """
    random = np.random.Generator(np.random.PCG64(14_009))  # fixed: signatures of all corpora are comparable
    factors = random.integers(0, 2**32, permutations, dtype=np.uint32) | np.uint32(1)
    offsets = random.integers(0, 2**32, permutations, dtype=np.uint32)
    result = Signatures(np.zeros(len(texts), np.uint64), np.empty((len(texts), permutations), np.uint32))
    data, starts = text_buffers(texts)
    classes, lower = character_tables()
    size = CHARACTER_SHINGLE if by_characters else shingle
    _sign_all(data, starts, classes, lower, factors, offsets, size, by_characters, *result)
    return result


@kernel
def _sign_all(data, starts, classes, lower, factors, offsets, size, by_characters, hashes, minhash):
    longest = 0
    for document in range(len(starts) - 1):
        longest = max(longest, starts[document + 1] - starts[document])
    units = np.empty(longest + 1, np.uint64)
    shingles = np.empty(SHINGLE_BLOCK, np.uint32)
    for document in range(len(starts) - 1):
        start, end = starts[document], starts[document + 1]
        number = _normalise(data, start, end, classes, lower, by_characters, units)
        whole = HASH_SEED
        for i in range(number):
            whole = absorb(whole, units[i])
        hashes[document] = finish(whole) | np.uint64(1) if number > 0 else EMPTY_HASH
        minhash[document] = np.uint32(0xFFFFFFFF)
        _sign(units, number, size, factors, offsets, shingles, minhash[document])


@kernel
def _normalise(data, start, end, classes, lower, by_characters, units):
    """Hashes of the words, or characters, of a normalised text; returns how many."""
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
def _sign(units, number, size, factors, offsets, shingles, signature):
    """MinHash of the shingles of `size` units, by a rolling polynomial hash."""
    size = min(size, number)
    highest = np.uint64(1)
    for _ in range(size - 1):
        highest *= HASH_PRIME
    rolling, filled = np.uint64(0), 0
    for i in range(number):
        if i >= size:
            rolling -= units[i - size] * highest
        rolling = rolling * HASH_PRIME + units[i]
        if i >= size - 1:
            shingles[filled] = finish(rolling) >> np.uint64(32)
            filled += 1
        if filled == SHINGLE_BLOCK or i == number - 1:
            for place in range(filled):
                shingle = shingles[place]
                for j in range(len(signature)):
                    signature[j] = min(signature[j], np.uint32(factors[j] * shingle + offsets[j]))
            filled = 0


def exact_duplicates(hashes: np.ndarray, members: np.ndarray) -> np.ndarray:
    """For each document, the first with the same text.

    Args:
        hashes: uint64 [all documents].
        members: int64 [group], ascending: the documents to compare.

    Returns:
        int64 [group]: a member, itself where it is the first or has an empty text.
    """
    values = hashes[members]
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return np.where(values == EMPTY_HASH, members, members[first[inverse]])


def near_duplicates(
    minhash: np.ndarray, members: np.ndarray, bands: int, rows: int, verify: float
) -> np.ndarray:
    """For each document, the first of its cluster of near duplicates.

    Args:
        minhash: uint32 [all documents, permutations].
        members: int64 [group], ascending: the documents to compare; none with an empty text.
        bands: number of bands.
        rows: values of the signature in a band; bands × rows may not exceed the permutations.
        verify: candidates whose signatures agree on a smaller share are not joined.

    Returns:
        int64 [group]: a member, itself where it is kept.
    """
    parents = np.arange(len(members))
    keys = np.empty(len(members), np.uint64)
    for band in range(bands):
        _band_keys(minhash, members, band * rows, rows, keys)
        _join(keys, np.argsort(keys, kind="stable"), minhash, members, verify, parents)
    return members[_roots(parents)] if len(members) else members


@kernel
def _band_keys(minhash, members, first, rows, keys):
    for i in range(len(members)):
        key = HASH_SEED
        for row in range(first, first + rows):
            key = absorb(key, minhash[members[i], row])
        keys[i] = finish(key)


@kernel
def _join(keys, order, minhash, members, verify, parents):
    """Join each document of a run of equal keys with the first of the run, if their signatures agree."""
    first = 0
    for place in range(1, len(order)):
        if keys[order[place]] != keys[order[first]]:
            first = place
            continue
        one, other = _root(parents, order[first]), _root(parents, order[place])
        if (
            one != other
            and agreement(minhash[members[order[first]]], minhash[members[order[place]]]) >= verify
        ):
            parents[max(one, other)] = min(one, other)


@kernel
def _root(parents, place):
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = parents[place]
    return place


@kernel
def _roots(parents):
    roots = np.empty_like(parents)
    for place in range(len(parents)):
        roots[place] = _root(parents, place)
    return roots


@kernel
def agreement(one, other):
    """Share of equal values of two signatures: an estimate of the Jaccard similarity."""
    equal = 0
    for i in range(len(one)):
        equal += one[i] == other[i]
    return equal / len(one)
