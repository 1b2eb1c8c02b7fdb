r"""Texts as a tokenizer normalises them: most are as they should be already, and a kernel sees which.

A text is quiet if nothing in it changes and nothing could, whatever stands beside it; the others go through the
library's own normalizer, text by text. Each character has an order: 0 for one that changes nothing, LOUD for one that
changes or may change others, and for marks a number that must not fall from one to the next.

    NFC           order: the canonical combining class; LOUD: what NFC changes, or composes with what is before it
    Precompiled   (SentencePiece's rules) LOUD: a character with a rule, and the last of a rule of several; WHITE: a space
                  that becomes a plain one, which is nothing to a tokenizer that drops spaces, but for a mark behind it
"""

from __future__ import annotations

import base64
import functools
import itertools
import json
import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
from numpy.typing import NDArray
from tokenizers import Tokenizer, normalizers

from diglot.text.unicode import decode, text_buffers
from diglot.text.words import inlined, kernel

LOUD, WHITE, MARK = 255, 254, 1
# Where Unicode has no gaps, nor anything that changes: ideographs and Hangul syllables.
UNIFORM = ((0x3400, 0x4DB6), (0x4E00, 0x9FF0), (0xAC00, 0xD7A4), (0x20000, 0x2A6D7))
PRIVATE = ((0xE000, 0xF900), (0xF0000, 0xFFFFE), (0x100000, 0x10FFFE))
LAST, TAGS = 0x33480, (0xE0000, 0xE0200)  # above and between: not assigned, or private
JAMO = ((0x1161, 0x1176), (0x11A8, 0x11C3))  # vowels and ends of Hangul syllables, which NFC composes
SPACING = "\u0e33\u0eb3"  # letters that belong to the one before them nevertheless

Orders = NDArray[np.uint8]  # [0x110000]


class Normalize:
    """A step before the kernel: what a tokenizer's normalizer does to texts (`large_string`).

    Args:
        normalizer: the library's.
        orders: of its characters; see above.
    """

    def __init__(self, normalizer: normalizers.Normalizer, orders: Orders):
        self._normalizer, self._orders = normalizer, orders

    @staticmethod
    def of(specification: dict[str, Any]) -> Normalize | None:
        """The step, where the normalizer is one that it knows."""
        normalizer = specification["normalizer"]
        if normalizer["type"] == "NFC":
            orders = orders_of_nfc()
        elif normalizer["type"] == "Precompiled" and specification["model"]["type"] == "Unigram":
            orders = orders_of_rules(normalizer["precompiled_charsmap"])
        else:
            return None
        empty = {"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}, "normalizer": normalizer}
        return Normalize(Tokenizer.from_str(json.dumps(empty)).normalizer, orders)

    def loud(self, texts: pa.Array) -> NDArray[np.bool_]:
        """Of each text, whether it may change."""
        found = np.zeros(len(texts), bool)
        data, offsets = text_buffers(texts)
        _find_loud(data, offsets, self._orders, found)
        return found

    def __call__(self, texts: pa.Array) -> pa.Array:
        loud = self.loud(texts)
        if not loud.any():
            return texts
        mask = pa.array(loud)
        changed = [self._normalizer.normalize_str(text) for text in texts.filter(mask).to_pylist()]
        return compute.replace_with_mask(texts, mask, pa.array(changed, pa.large_string()))


@kernel
def _find_loud(data, offsets, orders, loud):
    """Note which texts may change. Types: data uint8; offsets int64 [texts + 1]; orders uint8; loud bool [texts].

    Plain twin: `normalize_str` of the library, in tests/encode/test_normalized.py.
    """
    for text in range(len(offsets) - 1):
        place, end, before = offsets[text], offsets[text + 1], np.uint8(0)
        while place < end:
            code, length = decode(data, place)
            order = orders[np.uint64(code)]
            if order != 0 and (order == LOUD or before > order):
                loud[text] = True
                break
            before = order
            place += length


def _assigned() -> Iterator[int]:
    """The code points that are looked at one by one."""
    begins = [0, *(end for _, end in UNIFORM)]
    for begin, end in zip(begins, [*(begin for begin, _ in UNIFORM), LAST], strict=True):
        yield from range(begin, end)
    yield from range(*TAGS)


@functools.cache
def orders_of_nfc() -> Orders:
    """Orders of NFC. What Python's Unicode does not know yet is LOUD: the library's may."""
    orders = np.full(0x110000, LOUD, np.uint8)
    for begin, end in (*UNIFORM, *PRIVATE):
        orders[begin:end] = 0
    composed = set(itertools.chain.from_iterable(itertools.starmap(range, JAMO)))
    for code in _assigned():
        character = chr(code)
        if unicodedata.category(character) not in ("Cn", "Cs"):
            orders[code] = unicodedata.combining(character)
        parts = unicodedata.decomposition(character).split()
        if len(parts) == 2 and parts[0][0] != "<":
            composed.add(int(parts[1], 16))
        if parts and not unicodedata.is_normalized("NFC", character):
            composed.add(code)
    orders[list(composed)] = LOUD
    return orders


@functools.lru_cache(4)
def orders_of_rules(rules: str) -> Orders:
    """Orders of SentencePiece's rules, as tokenizer.json has them."""
    orders = np.zeros(0x110000, np.uint8)
    attached = [code for code in _assigned() if _may_attach(chr(code))]
    orders[attached] = MARK
    several = np.zeros(0x110000, bool)
    data = base64.b64decode(rules)
    size = int.from_bytes(data[:4], "little")
    units = np.frombuffer(data, np.uint32, size // 4, 4)
    _find_several(units, np.empty((len(units), 3), np.int64), several)
    normalizer = normalizers.Precompiled(data)
    for code in _assigned():
        new = "" if 0xD800 <= code < 0xE000 else normalizer.normalize_str(chr(code))
        if new == " " and chr(code).isspace() and code != 0x20 and not 0x1C <= code <= 0x1F:
            orders[code] = WHITE
        elif new != chr(code):
            orders[code] = LOUD
    orders[several] = LOUD
    return orders


@kernel
def _find_several(units, waiting, several):
    """Note the last characters of rules of several characters.

    The rules are a double array (`darts`): a node's place xor a byte is the place of the node behind it, if that has
    this byte. A node with 1 << 8 set ends a rule, and the other bits say where its own nodes lie.

    Types: units uint32; waiting int64 [nodes, 3], for itself; several bool [0x110000].
    """
    waiting[0, 0], waiting[0, 1], waiting[0, 2] = _behind(units[0], 0), 0, 0
    count = 1
    while count:
        count -= 1
        place, characters, code = waiting[count]
        for byte in range(1, 256):
            near = place ^ byte
            if near >= len(units) or units[near] & np.uint32(0x800000FF) != byte:
                continue
            is_first, its_code = byte & 0xC0 != 0x80, (code << 6) | (byte & 0x3F)
            if is_first:
                its_code = byte if byte < 0x80 else byte & (0x1F if byte < 0xE0 else 0x0F if byte < 0xF0 else 0x07)
            if (units[near] >> 8) & 1 and characters + is_first > 1:
                several[its_code] = True
            waiting[count, 0], waiting[count, 1] = _behind(units[near], near), characters + is_first
            waiting[count, 2] = its_code
            count += 1


@inlined
def _behind(unit, place):
    """Where the nodes behind a node lie. Types: unit uint32; place int64."""
    return place ^ (np.int64(unit >> 10) << np.int64((unit & 0x200) >> 6))


def _may_attach(character: str) -> bool:
    """Whether a character may be one with that before it, to what the library takes for one."""
    category = unicodedata.category(character)
    return category[0] == "M" or category in ("Cf", "Cn", "Lm", "Sk") or character in SPACING
