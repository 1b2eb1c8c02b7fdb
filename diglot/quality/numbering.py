"""The words of a corpus as numbers: a file of them, and the vocabulary.

A word is known by a hash of 64 bits (at a million words the chance that any two agree is 3 in 10⁸; they would count
as one). Words are numbered as they are met, and renumbered by frequency when all is read: the frequent ones, which
are looked up most, then lie side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from diglot.quality.normalization import Normalization, normalize
from diglot.quality.trie import BEGIN, END, SPECIAL
from diglot.text.hash_table import enter, slot_of
from diglot.text.hashing import hash_bytes
from diglot.text.unicode import array_of, kernel, text_buffers

_BATCH_BYTES = 8_000_000  # of text that is numbered at a time
_BLANK, _NEWLINE = 0x20, 0x0A
Progress = Callable[[float, float | None, str, str], None]


def read_corpus(
    batches: Iterable[pa.Array], normalization: Normalization, scratch: Path, progress: Progress
) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Number the words of texts by frequency.

    Returns:
        The vocabulary (`large_string`), how often each word occurs (uint32), and the corpus: a file of word numbers
        (uint32 [positions]) in which each sentence is `<s> … </s>`.
    """
    keys, numbers = np.zeros(1 << 12, np.uint64), np.zeros(1 << 12, np.uint32)
    spellings = [name.encode() for name in SPECIAL]
    known = len(SPECIAL)
    size = 0
    with (scratch / "first_numbers").open("wb") as out:
        for text in _chunks(batches):
            normalized = normalize(text, normalization)
            data, offsets = text_buffers(normalized)
            data, at = data[: offsets[-1]], 0
            while at < len(data):
                # A call stops when the table is half full, and goes on from there in a larger one.
                if 2 * known > len(keys):
                    keys, numbers = _grown(keys, numbers)
                # At most a token for every two bytes, and <s> and </s> for each line.
                room = np.empty(2 * (len(data) - at) + 4, np.uint32)
                spans = np.empty((len(keys) // 2 + 1 - known + 1, 2), np.int64)
                at, length, found = _number(data, at, keys, numbers, known, room, spans)
                spellings += [data[begin:end].tobytes() for begin, end in spans[:found].tolist()]
                known += found
                room[:length].tofile(out)
                size += length
            progress(size, None, "tokens", "reading")
    first = np.memmap(scratch / "first_numbers", np.uint32, "r") if size else np.zeros(0, np.uint32)
    return _by_frequency(first, spellings, scratch)


def _chunks(batches: Iterable[pa.Array]) -> Iterable[pa.Array]:
    """Arrays of at most about `_BATCH_BYTES`, however large a batch is."""
    for batch in batches:
        begin = 0
        offsets = text_buffers(batch)[1] if len(batch) else np.zeros(1, np.int64)
        while begin < len(batch):
            end = int(np.searchsorted(offsets, offsets[begin] + _BATCH_BYTES, "right")) - 1
            end = max(end, begin + 1)
            yield batch.slice(begin, end - begin)
            begin = end


def _grown(keys: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    larger, their_numbers = np.zeros(4 * len(keys), np.uint64), np.zeros(4 * len(keys), np.uint32)
    used = keys != 0
    their_numbers[enter(keys[used], larger)] = numbers[used]
    return larger, their_numbers


@kernel
def _number(data, at, keys, numbers, known, out, spans):
    """Number tokens from a position of normalized text until its end, or until the table is half full.

    data uint8; keys uint64 and numbers uint32 [slots]; out uint32, spans int64 [words, 2], written.
    """
    size, found = 0, 0
    while at < len(data) and 2 * (known + found) <= len(keys):
        if at == 0 or data[at - 1] == _NEWLINE:  # also where an earlier call stopped
            out[size] = BEGIN
            size += 1
        begin = at
        while data[at] != _BLANK and data[at] != _NEWLINE:
            at += 1
        key = hash_bytes(data, begin, at)
        place = slot_of(keys, key)
        if keys[place] == 0:  # a new word: its number is how many are known
            keys[place] = key
            numbers[place] = known + found
            spans[found, 0], spans[found, 1] = begin, at
            found += 1
        out[size] = numbers[place]
        size += 1
        if data[at] == _NEWLINE:
            out[size] = END
            size += 1
        at += 1
    return at, size, found


def _by_frequency(first: np.ndarray, spellings: list[bytes], scratch: Path) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Renumber the words: the most frequent first, equally frequent ones as they were met."""
    counts = np.zeros(len(spellings), np.uint32)
    _count_words(first, counts)
    order = np.argsort(-counts[len(SPECIAL) :].astype(np.int64), kind="stable") + len(SPECIAL)
    order = np.concatenate([np.arange(len(SPECIAL)), order])
    numbers = np.empty(len(order), np.uint32)
    numbers[order] = np.arange(len(order), dtype=np.uint32)
    size = len(first)
    tokens = np.memmap(scratch / "tokens", np.uint32, "w+", shape=(size,)) if size else first
    _renumber(first, numbers, tokens)
    (scratch / "first_numbers").unlink()
    words = [spellings[place] for place in order.tolist()]
    ends = np.cumsum([0, *map(len, words)], dtype=np.int64)
    vocabulary = array_of(np.frombuffer(b"".join(words), np.uint8), ends)
    return vocabulary, counts[order], tokens


@kernel
def _count_words(tokens, counts):
    """Count words (tokens uint32 [positions]) into counts (uint32 [words])."""
    for at in range(len(tokens)):
        counts[tokens[at]] += np.uint32(1)


@kernel
def _renumber(old, numbers, new):
    """Number tokens anew; old, new uint32 [positions], numbers uint32 [words]."""
    for at in range(len(old)):
        new[at] = numbers[old[at]]
