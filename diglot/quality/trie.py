"""A back-off n-gram model as a trie in flat arrays, which are mapped into memory and walked by a kernel.

A node is an n-gram: its parent is the n-gram without the last word, and the children of a node are the words seen
after it. Nodes are numbered order by order, and within an order by parent and word; so the unigrams are numbered by
their words, the children of a node are neighbours, sorted by word, and one array of beginnings finds them. A node's
suffix is the longest known n-gram without the first word. To score a word, walk from the longest known context to
ever shorter ones, adding back-off weights, until one has the word as a child (the same as Katz' recursion, and as
KenLM's query with minimised state).

    order 1   <unk> <s> </s> the cat sat             words 0 1 2 3 4 5
    order 2   <s> the | the cat | cat sat            children of 1, 3, 4
    order 3   <s> the cat | the cat sat              suffixes: the cat, cat sat

Files of a model: `words.npy` (uint32 [nodes]), `probabilities.npy` (float32 [nodes], log10), `suffixes.npy` (uint32
[nodes]), `backoffs.npy` (float32 [nodes below the highest order], log10), `beginnings.npy` (int64 [the same, + 1]),
`vocabulary.txt` (a word on each line, in the order of their numbers), `model.json`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from diglot.base.files import read_json, write_json
from diglot.quality.normalization import Normalization, normalize
from diglot.text.hash_table import empty_keys, enter, slot_of
from diglot.text.hashing import hash_bytes, hash_names
from diglot.text.unicode import array_of, kernel, text_buffers

UNKNOWN, BEGIN, END = 0, 1, 2
SPECIAL = ("<unk>", "<s>", "</s>")
NONE = np.uint32(0xFFFFFFFF)
_ARRAYS = ("words", "probabilities", "suffixes", "backoffs", "beginnings")
_BLANK, _NEWLINE = 0x20, 0x0A


@dataclass(frozen=True)
class Trie:
    """A model, ready to score. The arrays are described above.

    Attributes:
        counts: number of n-grams of each order.
        normalization: how texts become tokens.
        keys, numbers: a hash table of the vocabulary (uint64 hashes, 0 where empty, and uint32 words).
        vocabulary: the words, `large_string`.
    """

    counts: list[int]
    normalization: Normalization
    words: np.ndarray
    probabilities: np.ndarray
    suffixes: np.ndarray
    backoffs: np.ndarray
    beginnings: np.ndarray
    vocabulary: pa.Array
    keys: np.ndarray
    numbers: np.ndarray

    @property
    def order(self) -> int:
        """The length of the longest n-grams."""
        return len(self.counts)

    def score(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Log10 probabilities (float64) of texts (`large_string`), and their tokens (int64), ends of lines included."""
        return self.score_normalized(normalize(texts, self.normalization))

    def score_normalized(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """The same of texts that are normalized."""
        data, offsets = text_buffers(texts)
        totals, tokens = np.zeros(len(texts)), np.zeros(len(texts), np.int64)
        _score(
            data, offsets, self.keys, self.numbers, self.words, self.probabilities, self.suffixes, self.backoffs,
            self.beginnings, totals, tokens,
        )  # fmt: skip
        return totals, tokens

    def perplexity(self, texts: pa.Array) -> np.ndarray:
        """Perplexities per token (float64 [documents]), unknown words and ends of lines included; NaN without tokens."""
        totals, tokens = self.score(texts)
        return perplexities(totals, tokens)


def perplexities(totals: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Perplexities from log10 probabilities and numbers of tokens; at most 1e300, NaN where there is no token."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(tokens > 0, 10.0 ** np.minimum(-totals / tokens, 300), np.nan)


def open_trie(folder: Path) -> Trie:
    """Open a model that lies in a folder; its arrays stay on disk until they are walked."""
    about = read_json(folder / "model.json")
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    vocabulary = read_vocabulary(folder / "vocabulary.txt")
    keys, numbers = hash_vocabulary(vocabulary)
    return Trie(
        counts=about["ngrams"], normalization=Normalization(**about["normalization"]), vocabulary=vocabulary, keys=keys,
        numbers=numbers, **arrays,
    )  # fmt: skip


def save_trie(trie: Trie, folder: Path) -> None:
    """Write a model that is in memory into a folder."""
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(trie, name))
    write_about(folder, trie.counts, trie.normalization, trie.vocabulary)


def write_about(
    folder: Path, counts: list[int], normalization: Normalization, vocabulary: pa.Array, **more: object
) -> None:
    """Write what is known of a model beside its arrays."""
    (folder / "vocabulary.txt").write_bytes(
        b"".join(word + b"\n" for word in vocabulary.cast(pa.large_binary()).to_pylist())
    )
    about = {"ngrams": counts, "normalization": asdict(normalization), **more}
    write_json(folder / "model.json", about)


def read_vocabulary(file: Path) -> pa.Array:
    """The words of a file, one a line, as `large_string`."""
    data = np.frombuffer(file.read_bytes(), np.uint8)
    ends = np.flatnonzero(data == _NEWLINE)
    starts = np.concatenate([[0], ends - np.arange(len(ends))])
    return array_of(data[data != _NEWLINE].copy(), starts.astype(np.int64))


def hash_vocabulary(vocabulary: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """A hash table (at most half full) of words: their hashes (uint64, 0 = empty) and numbers (uint32)."""
    keys = empty_keys(len(vocabulary))
    numbers = np.zeros(len(keys), np.uint32)
    numbers[enter(hash_names(vocabulary), keys)] = np.arange(len(vocabulary))
    return keys, numbers


@kernel
def child_of(node, word, words, beginnings):
    """The child of a node with a word, or -1: a binary search among its children.

    node int64, word uint32, words uint32 [nodes], beginnings int64 [inner nodes + 1].
    """
    if node >= len(beginnings) - 1:
        return np.int64(-1)
    low, high = beginnings[node], beginnings[node + 1]
    end = high
    while low < high:
        middle = (low + high) >> 1
        if words[middle] < word:
            low = middle + 1
        else:
            high = middle
    if low < end and words[low] == word:
        return np.int64(low)
    return np.int64(-1)


@kernel
def _score(data, offsets, keys, numbers, words, probabilities, suffixes, backoffs, beginnings, totals, tokens):
    """Log10 probabilities and tokens of normalized texts.

    data uint8, offsets int64 [documents + 1]; keys … beginnings as in `Trie`; totals float64, tokens int64 [documents], written.
    The plain twin is `Reference` in tests/quality/test_ngram.py.
    """
    inner = len(backoffs)
    for document in range(len(totals)):
        total, number = 0.0, 0
        state = np.int64(BEGIN)
        begin = offsets[document]
        for at in range(offsets[document], offsets[document + 1]):
            byte = data[at]
            if byte != _BLANK and byte != _NEWLINE:
                continue
            key = hash_bytes(data, begin, at)
            place = slot_of(keys, key)
            word = np.uint32(numbers[place] if keys[place] == key else UNKNOWN)
            begin = at + 1
            for last in range(2 if byte == _NEWLINE else 1):  # at a line's end its last word, and </s>
                if last:
                    word = np.uint32(END)
                found = child_of(state, word, words, beginnings)
                # Back off to ever shorter contexts until one was seen with the word; unigrams always were.
                while found < 0:
                    total += backoffs[state]
                    shorter = suffixes[state]
                    if shorter == NONE:
                        found = np.int64(word)
                        break
                    state = np.int64(shorter)
                    found = child_of(state, word, words, beginnings)
                total += probabilities[found]
                number += 1
                # An n-gram of the highest order is no context: its suffix is.
                state = found if found < inner else np.int64(suffixes[found])
            if byte == _NEWLINE:
                state = np.int64(BEGIN)
        totals[document], tokens[document] = total, number
