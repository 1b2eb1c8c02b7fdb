r"""The words of a sample, counted: all that learning merges has to see of a text.

`count_by_rule` counts the words of our own two kinds, cut by kernels. `count_by_splitting` does so for any tokenizer: cutting
as the tokenizer does costs microseconds a word, and most words come again and again, so chunks between spaces are
counted first, and only the different ones are cut into words, many at a time:

    "the cat, the dog"  ──chunks──►  "the" 1 · " cat," 1 · " the" 1 · " dog" 1  ──split──►  the · ▁cat · , · ▁the · ▁dog

Memory is bounded. Of different words (or chunks), a stated number of bytes of text is held, and beside it 50 to 70 bytes
a word. Where there is no room, the words seen least so far (first once, then twice, …) are forgotten until half of the
room is free. What is forgotten depends on the text and its order alone, and how much of it is counted.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diglot.text.words import NUMBER, character_classes, cut_byte_fallback, cut_byte_level
from diglot.tokenizer.sample import Text
from diglot.tokenizer.word_kernels import STOP, UNSPACED_STOPS, count_words, cut_chunks, fill_slots, keep_words

CHUNK_BYTES = 32_000_000  # of different chunks, before they are cut and let go
WORD_BYTES = 96_000_000  # of different words; 200 MB of text in 18 languages have about 30 MB

Split = Callable[[list[str]], list[list[str]]]
Rule = Literal["byte-fallback", "byte-level", "chunks"]
CUTTERS = {"byte-fallback": cut_byte_fallback, "byte-level": cut_byte_level, "chunks": cut_chunks}


@functools.cache
def classes_of(rule: Rule) -> NDArray[np.uint8]:
    """The class of every code point under a rule: uint8 [0x110000]."""
    classes = character_classes().copy()
    if rule == "byte-fallback":  # the marks of escaped text stand alone: no piece holds them
        classes[[0x2581, 0xE000]] = NUMBER
    if rule == "chunks":
        classes[[ord(stop) for stop in UNSPACED_STOPS]] = STOP
    return classes


class WordTable:
    """The different words of some text and how often they were seen, in two columns.

    Attributes:
        forgotten: how many occurrences were forgotten.
    """

    def __init__(self, rule: Rule):
        self.rule, self.classes, self.forgotten = rule, classes_of(rule), 0
        self._sizes = np.zeros(2, np.int64)
        self._pool = np.zeros(1 << 16, np.uint8)
        self._starts, self._hashes = np.zeros(1, np.int64), np.zeros(0, np.uint64)
        self._counts, self._slots = np.zeros((0, 2), np.int64), np.zeros(0, np.int32)
        self._allot(1 << 12)

    def _allot(self, room: int) -> None:
        """Make room for so many words, a power of two."""
        number = int(self._sizes[0])
        starts, hashes = np.zeros(room + 1, np.int64), np.zeros(room, np.uint64)
        counts, slots = np.zeros((room, 2), np.int64), np.full(2 * room, -1, np.int32)
        starts[: number + 1], hashes[:number] = self._starts[: number + 1], self._hashes[:number]
        counts[:number] = self._counts[:number]
        self._starts, self._hashes, self._counts, self._slots = starts, hashes, counts, slots
        fill_slots(self._hashes, number, self._slots)

    def __len__(self) -> int:
        return int(self._sizes[0])

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of all different words."""
        return int(self._sizes[1])

    @property
    def data(self) -> NDArray[np.uint8]:
        """The words' bytes, one word after another."""
        return self._pool[: self.bytes]

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each word begins, and the end: [W + 1]."""
        return self._starts[: len(self) + 1]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each word was seen, by column: [W, 2]."""
        return self._counts[: len(self)]

    def add(self, text: str, times: int = 1, column: int = 0) -> int:
        """Count the words of a text, each `times` times; returns the text's bytes."""
        data = np.frombuffer(text.encode(), np.uint8)
        if not len(data):
            return 0
        ends = np.empty(len(data) + 1, np.int64)
        ends = ends[: CUTTERS[self.rule](data, 0, len(data), self.classes, ends)]
        number, chunks = 0, self.rule == "chunks"
        while number < len(ends):
            number = count_words(
                data, ends, number, chunks, times, column,
                self._pool, self._starts, self._hashes, self._counts, self._slots, self._sizes,
            )  # fmt: skip
            if number < len(ends):  # the table is full: of words, or of their bytes
                if len(self) == len(self._hashes):
                    self._allot(2 * len(self))
                else:
                    self._pool = np.concatenate([self._pool, np.zeros(len(self._pool), np.uint8)])
        return len(data)

    def forget(self, least: int) -> None:
        """Forget the words seen at most so often, both columns together."""
        seen = self.counts.sum(axis=1)
        kept = seen > least
        self.forgotten += int(seen[~kept].sum())
        keep_words(kept, self._pool, self._starts, self._hashes, self._counts, self._sizes)
        self._slots[:] = -1
        fill_slots(self._hashes, len(self), self._slots)

    def words(self) -> list[str]:
        """The words as strings."""
        text, offsets = self.data.tobytes(), self.offsets.tolist()
        return [text[begin:end].decode() for begin, end in pairwise(offsets)]


def count_by_rule(
    sample: Iterable[Text],
    rule: Rule,
    progress: Callable[[int], None] = lambda done: None,
    *,
    max_bytes: int = WORD_BYTES,
) -> dict[str, WordTable]:
    """Count the words of a sample by language, as one of the rules cuts them.

    Args:
        sample: texts with their languages, and how often each counts.
        rule: says where words end; see CUTTERS.
        progress: told how many bytes were read, repetitions included, after every text.
        max_bytes: of different words to hold, of all languages together.
    """
    tables: dict[str, WordTable] = {}
    done = 0
    for language, text, times in sample:
        table = tables.setdefault(language, WordTable(rule))
        done += table.add(text, times) * times
        if sum(each.bytes for each in tables.values()) > max_bytes:
            make_room(tables, max_bytes)
        progress(done)
    return tables


def make_room(tables: dict[str, WordTable], max_bytes: int) -> None:
    """Forget the rarest words, of all languages alike, until half of the room is free."""
    least = 0
    while sum(table.bytes for table in tables.values()) > max_bytes // 2:
        least = least + 1 if least < 16 else 2 * least
        for table in tables.values():
            table.forget(least)


class WordCounts(dict[str, Counter[str]]):
    """Words by language, counted.

    Attributes:
        forgotten: occurrences of words that were forgotten because there was no room, by language; usually none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.forgotten: Counter[str] = Counter()

    def make_room(self, max_bytes: int) -> None:
        """Forget the rarest words, where there are too many, until half of the room is free."""
        least, limit = 0, max_bytes
        while sum(len(word) for words in self.values() for word in words) > limit:
            least, limit = least + 1 if least < 16 else 2 * least, max_bytes // 2
            for language, words in self.items():
                kept = Counter({word: count for word, count in words.items() if count > least})
                self.forgotten[language] += words.total() - kept.total()
                self[language] = kept


def count_by_splitting(
    sample: Iterable[Text],
    split: Split,
    progress: Callable[[int], None] = lambda done: None,
    *,
    chunk_bytes: int = CHUNK_BYTES,
    word_bytes: int = WORD_BYTES,
) -> WordCounts:
    """Count the words of a sample by language, as a tokenizer cuts them.

    Args:
        sample: texts with their languages, and how often each counts.
        split: cuts chunks (no line ends, a space at the start alone) into words: a list of words for every chunk.
        progress: told how many bytes were read, repetitions included, after every text.
        chunk_bytes: of different chunks to hold, before they are cut and let go.
        word_bytes: characters of different words to hold (about 150 bytes each as Python strings, counted).
    """
    words = WordCounts()
    chunks: dict[str, WordTable] = {}
    done = 0
    for language, text, times in sample:
        words.setdefault(language, Counter())
        done += chunks.setdefault(language, WordTable("chunks")).add(text, times) * times
        if sum(table.bytes for table in chunks.values()) > chunk_bytes:
            _cut(chunks, split, words)
            words.make_room(word_bytes)
        progress(done)
    _cut(chunks, split, words)
    words.make_room(word_bytes)
    return words


def _cut(chunks: dict[str, WordTable], split: Split, words: WordCounts) -> None:
    """Cut the chunks into words, add these to the others, and let the chunks go."""
    for language, table in chunks.items():
        counted = words[language]
        for count, its_words in zip(table.counts[:, 0].tolist(), split(table.words()), strict=True):
            for word in its_words:
                counted[word] += count
    chunks.clear()
