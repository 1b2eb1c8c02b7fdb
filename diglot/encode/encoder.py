"""Encode text in bulk, many times faster than the `tokenizers` library, to the same ids.

A tokenizer's folder is encoded by one of two engines:

    kernel      our own kinds and the common ones of others, and their extensions (`kernel.py` says which)
    tokenizers  everything else, and whatever the kernel is caught at encoding otherwise

The library's ids are the truth. The kernel takes a folder only when every part of its tokenizer.json is one that it
knows; texts that it is unsure about are the library's; and `check` compares ids on the corpus's own text: where they
differ the library takes over, and `difference` keeps the text.

    encoder = Encoder(folder)
    encoder.check(some_texts)
    ids, offsets = encoder.encode(["Hello", "كتاب"])   # text 1 is ids[offsets[1]:offsets[2]]
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import tokenizers
from numpy.typing import NDArray

from diglot.encode.kernel import Encoded, Kernel, Unsure
from diglot.tokenizer.description import read_specification
from diglot.tokenizer.folder import load_tokenizer


class Engine(Protocol):
    """Gives the ids of a `large_string` array's texts, one after the other, and where each text's begin and end.

    Without BOS, and special tokens in a text are plain text. Threads may call it at the same time.
    """

    def __call__(self, texts: pa.Array) -> Encoded: ...


class Encoder:
    """The bulk encoder of a tokenizer's folder.

    Attributes:
        engine: the name of what encodes: `kernel` or `tokenizers`.
        checked: texts that were compared with the library's.
        difference: the first text that the engine chosen at first encoded otherwise, cut to 200 characters around the
            difference; None where there is none.

    Args:
        folder: the tokenizer's.
        tokenizer: as `load_tokenizer` gives it, where it is loaded already (Gemma's takes seconds).

    Raises:
        UserError: the folder has no readable tokenizer.json.
    """

    def __init__(self, folder: Path, tokenizer: tokenizers.Tokenizer | None = None):
        self.checked = 0
        self.difference: str | None = None
        self._library = Library(load_tokenizer(folder) if tokenizer is None else tokenizer)
        self.engine, self._encode = choose_engine(read_specification(folder), self._library)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of all texts (no BOS, no EOS; uint32), and int64 [texts + 1], where each text's begin and end."""
        return self.encode_array(pa.array(texts, pa.large_string()))

    def encode_array(self, texts: pa.Array) -> Encoded:
        """As `encode`, of a `large_string` array; several threads may call it."""
        return self._encode(texts)

    def check(self, texts: Sequence[str]) -> None:
        """Compare with the library; where a text's ids differ, leave everything to the library from now on."""
        self.checked += len(texts)
        if self.engine == "tokenizers" or not texts:
            return
        (ids, offsets), (true_ids, true_offsets) = (
            self.encode(texts),
            self._library(pa.array(texts, pa.large_string())),
        )
        # Text by text, so that the one that differs can be shown.
        for number, text in enumerate(texts):
            ours = ids[offsets[number] : offsets[number + 1]]
            theirs = true_ids[true_offsets[number] : true_offsets[number + 1]]
            if not np.array_equal(ours, theirs):
                self.difference = self._around_difference(text, ours, theirs)
                self.engine, self._encode = "tokenizers", self._library
                return

    def _around_difference(self, text: str, ours: NDArray[np.uint32], theirs: NDArray[np.uint32]) -> str:
        """The part of a text that the first differing id stands in."""
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))
        encoding = self._library.tokenizer.encode(text, add_special_tokens=False)
        start = encoding.offsets[same][0] if same < len(encoding.offsets) else len(text)
        return text[max(0, start - 100) : start + 100]


def choose_engine(specification: dict[str, Any], library: Library) -> tuple[str, Engine]:
    """The kernel where it knows all parts of a tokenizer.json, else the library; and the name."""
    kernel = Kernel.of(specification)
    if kernel is None:
        return "tokenizers", library
    return "kernel", Divided(kernel, library, kernel.unsure) if kernel.unsure else kernel


class Library:
    """The `tokenizers` library."""

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, texts: pa.Array) -> Encoded:
        encodings = self.tokenizer.encode_batch_fast(texts.to_pylist(), add_special_tokens=False)
        rows = [np.array(encoding.ids, np.uint32) for encoding in encodings]
        ends = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return np.concatenate(rows) if rows else np.zeros(0, np.uint32), ends


class Divided:
    """The kernel, and the library for texts that it is unsure about."""

    def __init__(self, fast: Engine, library: Library, unsure: Unsure):
        self._fast, self._library, self._unsure = fast, library, unsure

    def __call__(self, texts: pa.Array) -> Encoded:
        is_apart = self._unsure(texts)
        if not is_apart.any():
            return self._fast(texts)
        # Both encode their own; every text's ids then go where they belong.
        parts = (
            (~is_apart, self._fast(texts.filter(pa.array(~is_apart)))),
            (is_apart, self._library(texts.filter(pa.array(is_apart)))),
        )
        lengths = np.zeros(len(texts), np.int64)
        for own, (_, offsets) in parts:
            lengths[own] = np.diff(offsets)
        ids = np.empty(lengths.sum(), np.uint32)
        for own, (its_ids, _) in parts:
            ids[np.repeat(own, lengths)] = its_ids
        return ids, np.cumsum([0, *lengths], dtype=np.int64)
