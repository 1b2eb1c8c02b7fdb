"""A tokenizer.json as the kernels read it, where they know each of its parts.

    byte-level      ours, GPT-2's, SmolLM2's, Llama-3's, Qwen's, gpt-oss's, DeepSeek's   words by their patterns
    byte-fallback   ours                                                               words
                    Llama-2's, Gemma's                                                 nothing is split
    unigram         T5's, XLM-R's                                                      words at white space

Tokens that are found in text (not special, or `normalized`) are found by the kernel too. Where the order of normalising and finding
them could matter, `unsure` says of which texts, and these are the library's.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
from numpy.typing import NDArray

from diglot.encode import byte_pair_kernels, patterns
from diglot.encode import encode_kernels as kernels
from diglot.encode.byte_pair_kernels import Merges, fill_joins, fill_pairs, unmade
from diglot.encode.cut_kernels import Words
from diglot.encode.normalized import Normalize
from diglot.encode.unigram_kernels import UNKNOWN_PENALTY, Tree, tree_of
from diglot.encode.unit_kernels import MOST_ENTRIES, MOST_IDS, PADDING
from diglot.text.unicode import text_array, text_buffers
from diglot.text.words import BYTE_FALLBACK_WORDS, character_classes
from diglot.tokenizer.byte_fallback import BYTES
from diglot.tokenizer.byte_letters import BYTE_LETTERS, bytes_of
from diglot.tokenizer.folder import SPACE, merge_pairs

Encoded = tuple[NDArray[np.uint32], NDArray[np.int64]]
Unsure = Callable[[pa.Array], NDArray[np.bool_]]  # of each text, whether the kernel may be wrong

GPT_2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"  # `ByteLevel` cuts by it
# With the white space before each, which is nothing: `WhitespaceSplit`, then `Metaspace`, which splits before ▁ too.
UNIGRAM_WORDS = rf"\s*{SPACE}[^\s{SPACE}]*|\s*[^\s{SPACE}]+|\s+"
UNIGRAM_SPLITS = [{"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True}]  # fmt: skip


class Replace(NamedTuple):
    """A step of normalising: a string becomes another everywhere."""

    old: str
    new: str

    def __call__(self, texts: pa.Array) -> pa.Array:
        if not compute.any(compute.match_substring(texts, self.old)).as_py():
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


Step = Replace | Prepend | Normalize
SPACES = Replace(SPACE, " ")  # to the kernel a space is what the vocabulary writes as ▁


class Kernel:
    """Encodes by `encode_kernels.py`; see `encoder.Engine`.

    Args:
        model: the tables.
        steps: what texts go through first.
        unsure: which texts the kernel may be wrong about; None: about none.
    """

    def __init__(self, model: kernels.Model, steps: list[Step], unsure: Unsure | None = None):
        self._model, self._steps, self.unsure = model, steps, unsure
        self._free: list[kernels.Workspace] = []  # of threads that are done; a list's pop and append are atomic

    @staticmethod
    def of(specification: dict[str, Any]) -> Kernel | None:
        """The kernel, where each part of the tokenizer is one that it knows."""
        model, added = specification["model"], specification.get("added_tokens", [])
        entries = dict(model["vocab"]).keys() if model["type"] == "Unigram" else model["vocab"].values()
        if len(entries) >= MOST_ENTRIES or (model["type"] == "BPE" and max(entries, default=0) >= MOST_ENTRIES):
            return None
        try:
            made = _unigram(specification) if model["type"] == "Unigram" else _byte_pairs(specification)
        except patterns.UnknownPatternError:
            return None
        if made is None:
            return None
        tables, steps = made
        if all(token["special"] for token in added):
            return Kernel(tables, steps)
        found = _tokens_found(specification, steps)
        if found is None:
            return None
        tree, starts, names = found
        return Kernel(tables._replace(found=tree, starts=starts), steps, _unsure(names, steps))

    def __call__(self, texts: pa.Array) -> Encoded:
        for step in self._steps:
            texts = step(texts)
        content, offsets = text_buffers(texts)
        size = int(offsets[-1] - offsets[0])
        data = np.empty(size + PADDING, np.uint8)
        data[:size] = content[offsets[0] : offsets[-1]]
        data[size:] = 0
        # A workspace (20 MB of tables) is kept for the next call; the units in it make that faster.
        longest = int(np.diff(offsets).max(initial=0))
        work = self._free.pop() if self._free else None
        if work is None or len(work.ends) <= longest:
            work = kernels.workspace(longest, work)
        out, ends = np.empty(2 * size + MOST_IDS, np.uint32), np.empty(len(offsets), np.int64)
        written = kernels.encode_texts(data, offsets - offsets[0], self._model, work, out, ends)
        self._free.append(work)
        return out[:written].copy(), ends


# --- what goes before and around ------------------------------------------------------------------------------


def _tokens_found(specification: dict[str, Any], steps: list[Step]) -> tuple[Tree, NDArray[np.bool_], list[str]] | None:
    """The tree of tokens that are found in text, their first bytes and their names; None where they are too special."""
    added = specification["added_tokens"]
    found = [token for token in added if not token["special"]]
    normalized = {token["normalized"] for token in found}
    plain = not any(token[option] for token in found for option in ("lstrip", "rstrip", "single_word"))
    if not plain or len(normalized) > 1 or any(isinstance(step, Prepend) for step in steps):
        return None
    if normalized == {True} and steps:
        return None
    same = [token for token in added if token["normalized"] in normalized and token["content"]]
    strings = {token["content"]: (kernels.FOUND_NOT if token["special"] else token["id"], 0.0) for token in same}
    tree = tree_of(strings)
    starts = np.zeros(256, bool)
    starts[[name.encode()[0] for name in strings]] = True
    return (tree, starts, [token["content"] for token in found]) if tree else None


def _unsure(names: list[str], steps: list[Step]) -> Unsure | None:
    """Which texts are the library's: those where a token is found in text that a step changes first."""
    if SPACES in steps and any(SPACE in name for name in names):
        return lambda texts: compute.match_substring(texts, SPACE).to_numpy(zero_copy_only=False)
    normalize = next((step for step in steps if isinstance(step, Normalize)), None)
    if normalize is None:
        return None
    pattern = "|".join(map(re.escape, names))

    def unsure(texts: pa.Array) -> NDArray[np.bool_]:
        loud = normalize.loud(texts)
        if loud.any():
            loud[loud] = compute.match_substring_regex(texts.filter(pa.array(loud)), pattern).to_numpy(
                zero_copy_only=False
            )
        return loud

    return unsure


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _words_of(cut_by: Sequence[str]) -> Words:
    """The tables of patterns that cut one after the other."""
    tables = [patterns.table(pattern) for pattern in cut_by]
    firsts = np.cumsum([0, *(len(table.steps) for table in tables)], dtype=np.int64)
    classes = [table.classes for table in tables] or [np.zeros(0, np.uint8)]
    steps = [table.steps for table in tables] or [np.zeros(0, np.uint32)]
    return Words(np.stack(classes), np.concatenate(steps), firsts[:-1].copy())


# --- byte-pair models -----------------------------------------------------------------------------------------


def _byte_pairs(specification: dict[str, Any]) -> tuple[kernels.Model, list[Step]] | None:
    """The tables and steps of a byte-pair tokenizer, of words or of none."""
    model, pre_tokenizer = specification["model"], specification.get("pre_tokenizer")
    if model["type"] != "BPE" or any(
        model.get(option) for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    ):
        return None
    if model.get("byte_fallback"):
        steps = byte_fallback_steps(specification)
        if steps is None or not is_byte_fallback(model) or model.get("ignore_merges"):
            return None
        cut = kernels.BY_WORDS if pre_tokenizer == _split(BYTE_FALLBACK_WORDS) else kernels.BETWEEN
        return _model(cut, [], merges=_merges(model, BYTES)), steps
    cut_by = byte_level_patterns(pre_tokenizer)
    if cut_by is None or (model.get("unk_token") and not model["vocab"].keys() >= set(BYTE_LETTERS)):
        return None
    normalizer = specification.get("normalizer")
    is_plain = normalizer is None or normalizer == {"type": "Sequence", "normalizers": []}
    normalize = None if is_plain else Normalize.of(specification)
    if not is_plain and normalize is None:
        return None
    tables = _model(kernels.BY_PATTERNS, cut_by, merges=_merges(model, BYTE_LETTERS))
    whole = _whole(tables.merges, model["vocab"]) if model.get("ignore_merges") else tables.whole
    return (tables._replace(whole=whole), [normalize] if normalize else []) if whole else None


def byte_level_patterns(pre_tokenizer: dict[str, Any] | None) -> list[str] | None:
    """The patterns that a byte-level tokenizer cuts by, one after the other; None where it cuts otherwise."""
    parts = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer])
    *splits, last = parts or [None]
    if not last or last["type"] != "ByteLevel" or last["add_prefix_space"]:
        return None
    cut_by = []
    for part in splits:
        if part["type"] == "Digits":
            cut_by.append(r"\p{N}" if part["individual_digits"] else r"\p{N}+")
            continue
        if part["type"] != "Split":
            return None
        pattern = part["pattern"].get("Regex") or re.escape(part["pattern"]["String"])
        way = part["behavior"], part["invert"]
        # What matches is kept and what lies between is dropped: the same, where nothing lies between.
        if way != ("Isolated", False) and (way != ("Removed", True) or patterns.table(pattern).has_gaps):
            return None
        cut_by.append(pattern)
    if last.get("use_regex", True):
        cut_by.append(GPT_2_WORDS)
    return cut_by or None


def byte_fallback_steps(specification: dict[str, Any]) -> list[Step] | None:
    """What text goes through first; None where normalizer or pre-tokenizer are not known."""
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
    # Gemma's splits at spaces, of which its normalizer has left none.
    nothing = (None, {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False})
    if pre_tokenizer in nothing or pre_tokenizer == _split(BYTE_FALLBACK_WORDS):
        return steps if SPACES in steps else None
    if pre_tokenizer["type"] != "Metaspace" or pre_tokenizer["replacement"] != SPACE or pre_tokenizer["split"]:
        return None
    prepend = [] if pre_tokenizer["prepend_scheme"] == "never" else [Prepend(" ", unless_there=True)]
    return [*steps, SPACES, *prepend]


def is_byte_fallback(model: dict[str, Any]) -> bool:
    """Whether a model has all bytes in its vocabulary, for unknown characters, and merges none of them."""
    if SPACE not in model["vocab"] or not model["vocab"].keys() >= set(BYTES):
        return False
    return set(BYTES).isdisjoint(itertools.chain.from_iterable(merge_pairs(model["merges"])))


def _model(cut: int, cut_by: list[str], *, merges: Merges, **tables: Any) -> kernels.Model:
    """A model with what it does not have left empty."""
    nothing = tree_of({})
    assert nothing is not None
    empty = {
        "found": nothing,
        "whole": nothing,
        "pieces": nothing,
        "unknown": np.int32(0),
        "unknown_score": np.float64(),
    }
    return kernels.Model(
        cut, character_classes(), _words_of(cut_by), starts=np.zeros(256, bool), merges=merges, **{**empty, **tables}
    )


def _merges(model: dict[str, Any], names_of_bytes: Sequence[str]) -> Merges:
    """The tables of merges; `names_of_bytes` are the 256 bytes' in the vocabulary."""
    vocabulary, merges = model["vocab"], merge_pairs(model["merges"])
    characters = np.zeros(0, np.int32)
    if model.get("byte_fallback"):
        characters = np.full(0x110000, -1, np.int32)
        single = [(ord(piece), number) for piece, number in vocabulary.items() if len(piece) == 1]
        characters[[code for code, _ in single]] = [number for _, number in single]
        characters[ord(" ")] = vocabulary[SPACE]
    triples = [(vocabulary[left], vocabulary[right], vocabulary[left + right]) for left, right in merges]
    left, right, merged = map(np.ascontiguousarray, np.array(triples, np.int32).reshape(-1, 3).T)
    # Hardly more than half full, so that an open-addressed search ends soon.
    slots = _power_of_two(15 * len(merges) // 8)
    pairs, possible = np.full(slots, byte_pair_kernels.NO_PAIR, np.uint64), np.zeros(slots // 16, np.uint64)
    fill_pairs(pairs, possible, left, right)
    around = np.array(list(_around_joins(vocabulary, merges)), np.int64).reshape(-1, 4)
    joins = np.zeros((_power_of_two(len(np.unique(around[:, 1:3], axis=0))), 8), np.uint64)
    fill_joins(joins, around)
    byte_ids = np.array([vocabulary.get(name, byte_pair_kernels.DROPPED) for name in names_of_bytes], np.int32)
    return Merges(characters, byte_ids, pairs, possible, merged, joins)


def _around_joins(vocabulary: dict[str, int], merges: list[list[str]]) -> Iterator[tuple[int, int, int, int]]:
    """What stands around the place where each merge joins; see `byte_pair_kernels.Merges`."""
    for left, right in merges:
        unknown = byte_pair_kernels.UNKNOWN
        before = vocabulary.get(left[-2], unknown) if len(left) > 1 else byte_pair_kernels.NOTHING
        after = vocabulary.get(right[1], unknown) if len(right) > 1 else byte_pair_kernels.NOTHING
        last, first = vocabulary.get(left[-1], unknown), vocabulary.get(right[0], unknown)
        if unknown not in (before, last, first, after):  # a character without a piece is its bytes: they do not merge
            yield byte_pair_kernels.ANYTHING, last, first, byte_pair_kernels.ANYTHING
            yield before, last, first, after


def _whole(merges: Merges, vocabulary: dict[str, int]) -> Tree | None:
    """The entries that merges do not make, and that are ids of their own nevertheless (`ignore_merges`)."""
    texts, ids = [], []
    for piece, number in vocabulary.items():
        try:
            text = bytes_of(piece)
            text.decode()
        except ValueError:  # part of a character: no word is that
            continue
        texts.append(text)
        ids.append(number)
    data, offsets = text_buffers(text_array(texts))
    data = np.append(data[: offsets[-1]], np.zeros(PADDING, np.uint8))
    wrong = np.zeros(len(ids), bool)
    work = byte_pair_kernels.symbols_of(int(np.diff(offsets).max(initial=0)))
    unmade(data, offsets, merges, np.array(ids, np.int32), work, wrong)
    return tree_of({texts[place].decode(): (ids[place], 0.0) for place in np.flatnonzero(wrong)})


def _power_of_two(least: int) -> int:
    return 1 << max(least - 1, 15).bit_length()


# --- unigram models -------------------------------------------------------------------------------------------


def _unigram(specification: dict[str, Any]) -> tuple[kernels.Model, list[Step]] | None:
    """The tables and steps of a unigram tokenizer that splits at white space."""
    model, normalizer = specification["model"], specification.get("normalizer")
    pre_tokenizer = specification.get("pre_tokenizer") or {}
    if pre_tokenizer.get("pretokenizers") != UNIGRAM_SPLITS or model.get("byte_fallback") or model["unk_id"] is None:
        return None
    normalize = Normalize.of(specification) if normalizer else None
    pieces = {piece: (number, score) for number, (piece, score) in enumerate(model["vocab"])}
    tree = tree_of(pieces)
    if "" in pieces or tree is None or (normalizer and normalize is None):
        return None
    lowest = min((score for _, score in model["vocab"]), default=0.0)
    tables = _model(
        kernels.BY_PATTERNS,
        [UNIGRAM_WORDS],
        merges=_merges({"vocab": {}, "merges": []}, []),
        pieces=tree,
        unknown=np.int32(model["unk_id"]),
        unknown_score=np.float64(lowest - UNKNOWN_PENALTY),
    )
    return tables, [normalize] if normalize else []
