"""Encode text in bulk, many times faster than the `tokenizers` library, to the same ids.

A tokenizer's folder is encoded by one of three engines:

    kernel      our own kinds and their extensions; byte-fallback BPE without words, as Llama-2's (`byte_pair_kernels.py`)
    gigatoken   byte-level BPE of others (GPT-2's, Llama-3's, Qwen's), where `gigatoken` is installed
    tokenizers  everything else, and whatever an engine is caught at encoding otherwise

The library's ids are the truth. An engine takes a folder only when every part of its tokenizer.json is one that it
knows; texts with a character that gigatoken cuts otherwise are the library's (`agreement.py` finds these); and `check`
compares ids on the corpus's own text: where they differ the library takes over, and `difference` keeps the text.

    encoder = Encoder(folder)
    encoder.check(some_texts)
    ids, offsets = encoder.encode(["Hello", "كتاب"])   # text 1 is ids[offsets[1]:offsets[2]]
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import tokenizers
from numpy.typing import NDArray

from diglot.encode import byte_pair_kernels as kernels
from diglot.encode.agreement import differing_characters, ranges
from diglot.text.unicode import text_buffers
from diglot.text.words import BYTE_FALLBACK_WORDS, BYTE_LEVEL_WORDS, character_classes
from diglot.tokenizer.byte_fallback import BYTES
from diglot.tokenizer.byte_letters import BYTE_LETTERS
from diglot.tokenizer.description import read_specification
from diglot.tokenizer.folder import SPACE, load_tokenizer, merge_pairs

Encoded = tuple[NDArray[np.uint32], NDArray[np.int64]]


class Engine(Protocol):
    """Gives the ids of a `large_string` array's texts, one after the other, and where each text's begin and end.

    Without BOS, and special tokens in a text are plain text. Threads may call it at the same time.
    """

    def __call__(self, texts: pa.Array) -> Encoded: ...


class Encoder:
    """The bulk encoder of a tokenizer's folder.

    Attributes:
        engine: the name of what encodes: `kernel`, `gigatoken` or `tokenizers`.
        checked: texts that were compared with the library's.
        difference: the first text that the engine chosen at first encoded otherwise, cut to 200 characters around the
            difference; None where there is none.

    Raises:
        UserError: the folder has no readable tokenizer.json.
    """

    def __init__(self, folder: Path):
        self.checked = 0
        self.difference: str | None = None
        self._library = Library(load_tokenizer(folder))
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
    """The fastest engine that knows all parts of a tokenizer.json, and its name."""
    if (kernel := Kernel.of(specification)) is not None:
        return "kernel", kernel
    if (gigatoken := Gigatoken.of(specification)) is not None:
        differing = differing_characters(specification, Gigatoken)
        return "gigatoken", Divided(gigatoken, library, differing) if differing else gigatoken
    return "tokenizers", library


class Library:
    """The `tokenizers` library."""

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, texts: pa.Array) -> Encoded:
        encodings = self.tokenizer.encode_batch_fast(texts.to_pylist(), add_special_tokens=False)
        rows = [np.array(encoding.ids, np.uint32) for encoding in encodings]
        ends = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return np.concatenate(rows) if rows else np.zeros(0, np.uint32), ends


class Gigatoken:
    """The `gigatoken` library, given the tokenizer without its special tokens, which are plain text then."""

    def __init__(self, specification: dict[str, Any]):
        import gigatoken  # extra: fast

        self._tokenizer = gigatoken.Tokenizer.from_json(json.dumps(specification))

    @staticmethod
    def of(specification: dict[str, Any]) -> Gigatoken | None:
        """The engine, where it is installed and takes this tokenizer."""
        added = [token for token in specification.get("added_tokens", []) if not token["special"]]
        try:
            return Gigatoken({**specification, "added_tokens": added})
        except ImportError:
            return None
        except RuntimeError:  # it names what it does not support
            return None

    def __call__(self, texts: pa.Array) -> Encoded:
        rows = self._tokenizer.encode_batch(texts.to_pylist(), parallel=False).layout
        offsets = np.asarray(rows.offsets.data, np.int64)
        return np.asarray(rows.content.data, np.uint32)[offsets[0] : offsets[-1]], offsets - offsets[0]


class Divided:
    """A fast engine, and the library for texts that hold a character that the engine cuts otherwise."""

    def __init__(self, fast: Engine, library: Library, characters: str):
        self._fast, self._library = fast, library
        self._pattern = "[" + "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in ranges(characters)) + "]"

    def __call__(self, texts: pa.Array) -> Encoded:
        apart = compute.match_substring_regex(texts, self._pattern)
        is_apart = apart.to_numpy(zero_copy_only=False)
        if not is_apart.any():
            return self._fast(texts)
        # Both encode their own; every text's ids then go where they belong.
        parts = (
            (~is_apart, self._fast(texts.filter(compute.invert(apart)))),
            (is_apart, self._library(texts.filter(apart))),
        )
        lengths = np.zeros(len(texts), np.int64)
        for own, (_, offsets) in parts:
            lengths[own] = np.diff(offsets)
        ids = np.empty(lengths.sum(), np.uint32)
        for own, (its_ids, _) in parts:
            ids[np.repeat(own, lengths)] = its_ids
        return ids, np.cumsum([0, *lengths], dtype=np.int64)


# --- the kernel -----------------------------------------------------------------------------------------------


class Replace(NamedTuple):
    """A step of normalising: a string becomes another everywhere."""

    old: str
    new: str

    def __call__(self, texts: pa.Array) -> pa.Array:
        data, offsets = text_buffers(texts)
        if self.old.encode() not in data[offsets[0] : offsets[-1]].tobytes():
            return texts
        return compute.replace_substring(texts, self.old, self.new)


class Prepend(NamedTuple):
    """A step of normalising: a string comes before every text that is not empty."""

    prefix: str
    unless_there: bool

    def __call__(self, texts: pa.Array) -> pa.Array:
        exempt = compute.equal(compute.binary_length(texts), 0)
        if self.unless_there:
            exempt = compute.or_(exempt, compute.starts_with(texts, self.prefix))
        prefixes = compute.if_else(exempt, pa.scalar("", pa.large_string()), pa.scalar(self.prefix, pa.large_string()))
        return compute.binary_join_element_wise(prefixes, texts, pa.scalar("", pa.large_string()))


Step = Replace | Prepend
SPACES = Replace(SPACE, " ")  # to the kernel a space is what the vocabulary writes as ▁


class Kernel:
    """Byte-pair encoding by `byte_pair_kernels.py`.

    Args:
        model: the tables.
        steps: what texts go through first.
        cut: how they are cut; see `kernels.encode_texts`.
    """

    def __init__(self, model: kernels.Model, steps: list[Step], cut: int):
        self._model, self._steps, self._cut = model, steps, cut
        self._free: list[kernels.Workspace] = []  # of threads that are done; a list's pop and append are atomic

    @staticmethod
    def of(specification: dict[str, Any]) -> Kernel | None:
        """The engine, where each part of the tokenizer is one that it knows."""
        model = specification["model"]
        options = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
        if model["type"] != "BPE" or any(model.get(option) for option in options):
            return None
        if max(model["vocab"].values(), default=0) >= kernels.MOST_ENTRIES:
            return None
        if not all(token["special"] for token in specification.get("added_tokens", [])):
            return None  # these are found in text
        if is_our_byte_level(specification):
            return Kernel(kernel_model(model, BYTE_LETTERS), [], kernels.BY_BYTE_LEVEL_WORDS)
        steps = kernel_steps(specification)
        if steps is None or not is_byte_fallback(model):
            return None
        split = specification.get("pre_tokenizer") == _split(BYTE_FALLBACK_WORDS)
        return Kernel(kernel_model(model, BYTES), steps, kernels.BY_WORDS if split else kernels.BETWEEN)

    def __call__(self, texts: pa.Array) -> Encoded:
        for step in self._steps:
            texts = step(texts)
        content, offsets = text_buffers(texts)
        size = int(offsets[-1] - offsets[0])
        data = np.empty(size + kernels.PADDING, np.uint8)
        data[:size] = content[offsets[0] : offsets[-1]]
        data[size:] = 0
        # A workspace (36 MB of tables) is kept for the next call; the units in it make that faster.
        longest = int(np.diff(offsets).max(initial=0))
        work = self._free.pop() if self._free else None
        if work is None or len(work.symbols) <= longest:
            work = kernels.workspace(longest, work)
        out, ends = np.empty(size + kernels.MOST_IDS, np.uint32), np.empty(len(offsets), np.int64)
        written = kernels.encode_texts(data, offsets - offsets[0], self._cut, self._model, work, out, ends)
        self._free.append(work)
        return out[:written].copy(), ends


def kernel_steps(specification: dict[str, Any]) -> list[Step] | None:
    """What the kernel's text goes through first; None where normalizer or pre-tokenizer are not known."""
    normalizer, pre_tokenizer = specification.get("normalizer"), specification.get("pre_tokenizer")
    parts = [] if normalizer is None else normalizer.get("normalizers", [normalizer])
    steps: list[Step] = []
    for part in parts:
        if SPACES in steps:
            return None
        if part["type"] == "Prepend":
            steps.append(Prepend(part["prepend"], unless_there=False))
        elif part == {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}:
            steps.append(SPACES)
        elif part["type"] == "Replace" and part["pattern"].get("String"):
            steps.append(Replace(part["pattern"]["String"], part["content"]))
        else:
            return None
    if pre_tokenizer is None or pre_tokenizer == _split(BYTE_FALLBACK_WORDS):
        return steps if SPACES in steps else None
    if pre_tokenizer["type"] != "Metaspace" or pre_tokenizer["replacement"] != SPACE or pre_tokenizer["split"]:
        return None
    prepend = [] if pre_tokenizer["prepend_scheme"] == "never" else [Prepend(" ", unless_there=True)]
    return [*steps, SPACES, *prepend]


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def is_byte_fallback(model: dict[str, Any]) -> bool:
    """Whether a model has all bytes in its vocabulary, for unknown characters, and merges none of them."""
    if not model.get("byte_fallback") or SPACE not in model["vocab"] or not model["vocab"].keys() >= set(BYTES):
        return False
    return set(BYTES).isdisjoint(itertools.chain.from_iterable(merge_pairs(model["merges"])))


def is_our_byte_level(specification: dict[str, Any]) -> bool:
    """Whether a tokenizer is of our byte-level kind, with all bytes in its vocabulary."""
    if specification.get("normalizer") is not None or specification["model"].get("byte_fallback"):
        return False
    parts = (specification.get("pre_tokenizer") or {}).get("pretokenizers", [])
    if len(parts) != 2 or parts[0] != _split(BYTE_LEVEL_WORDS) or parts[1]["type"] != "ByteLevel":
        return False
    plain = not parts[1]["add_prefix_space"] and not parts[1]["use_regex"]
    return plain and specification["model"]["vocab"].keys() >= set(BYTE_LETTERS)


def kernel_model(model: dict[str, Any], names_of_bytes: Sequence[str]) -> kernels.Model:
    """The tables of a model for the kernel; `names_of_bytes` are the 256 bytes' in its vocabulary."""
    vocabulary, merges = model["vocab"], merge_pairs(model["merges"])
    # Code point -> id, where a character is a piece; in byte-level models characters are always their bytes.
    characters = np.full(0x110000, -1, np.int32)
    if model.get("byte_fallback"):
        single = [(ord(piece), number) for piece, number in vocabulary.items() if len(piece) == 1]
        characters[[code for code, _ in single]] = [number for _, number in single]
        characters[ord(" ")] = vocabulary[SPACE]
    triples = [(vocabulary[left], vocabulary[right], vocabulary[left + right]) for left, right in merges]
    merge_ids = np.array(triples, np.int32).reshape(-1, 3)
    left, right, merged = map(np.ascontiguousarray, merge_ids.T)
    # At most half full, so that an open-addressed search ends soon.
    pairs = np.full(_power_of_two(2 * len(merges)), kernels.NO_PAIR, np.uint64)
    kernels.fill_pairs(pairs, left, right)
    around = np.array(list(_around_joins(vocabulary, merges)), np.int64).reshape(-1, 4)
    joins = np.zeros((_power_of_two(len(np.unique(around[:, 1:3], axis=0))), 8), np.uint64)
    kernels.fill_joins(joins, around)
    byte_ids = np.array([vocabulary[name] for name in names_of_bytes], np.int32)
    return kernels.Model(character_classes(), characters, byte_ids, pairs, merged, joins)


def _around_joins(vocabulary: dict[str, int], merges: list[list[str]]) -> Iterator[tuple[int, int, int, int]]:
    """What stands around the place where each merge joins; see `kernels.Model`."""
    for left, right in merges:
        unknown = kernels.UNKNOWN
        before = vocabulary.get(left[-2], unknown) if len(left) > 1 else kernels.NOTHING
        after = vocabulary.get(right[1], unknown) if len(right) > 1 else kernels.NOTHING
        last, first = vocabulary.get(left[-1], unknown), vocabulary.get(right[0], unknown)
        if unknown not in (before, last, first, after):  # a character without a piece is its bytes: they do not merge
            yield kernels.ANYTHING, last, first, kernels.ANYTHING
            yield before, last, first, after


def _power_of_two(least: int) -> int:
    return 1 << max(least - 1, 15).bit_length()
