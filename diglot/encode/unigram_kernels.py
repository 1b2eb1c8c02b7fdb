"""Strings in a tree, and the most probable pieces of one unit, in kernels.

The tree has a character an edge, and is a hash table of them. It holds the pieces of a unigram model, or the tokens that are found
in text. The most probable pieces are found from left to right as the `tokenizers` library does, its sums in its order, in float64: of
equal ways the one found first stays. The plain twin of all kernels here is the library (tests/encode/test_encoder.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diglot.text.unicode import decode, text_array, text_buffers
from diglot.text.words import inlined, kernel

NO_EDGE = np.uint64(0)
NODE_BITS, CODE_BITS = np.uint64(22), np.uint64(21)  # an edge is a node, a character, and the node behind it
MOST_NODES = 1 << 21
UNKNOWN_PENALTY = 10.0  # below the least probable piece: `K_UNK_PENALTY` in `tokenizers`
UNDERSCORE = 0x2581  # ▁
_1, _32, _K0 = map(np.uint64, (1, 32, 0x9E3779B97F4A7C15))
_CHILD = np.uint64((1 << 22) - 1)


class Tree(NamedTuple):
    """Strings by their characters.

    Attributes:
        edges: uint64 [slots], open addressing: node << 43 | code point << 22 | the node behind; 0: none.
        ids: int32 [nodes], of the string that ends at a node; -1: none does. Node 0 is the root.
        scores: float64 [nodes], of these strings.
    """

    edges: NDArray[np.uint64]
    ids: NDArray[np.int32]
    scores: NDArray[np.float64]


class Lattice(NamedTuple):
    """Where a unit's pieces are found: of the best way to each place between characters,

    Attributes:
        codes: int64 [longest + 2], the unit's characters.
        scores: float64 [longest + 3], its score.
        begins: int64 [longest + 3], where its last piece begins; -1: no way yet.
        ids: int32 [longest + 3], the id of that.
    """

    codes: NDArray[np.int64]
    scores: NDArray[np.float64]
    begins: NDArray[np.int64]
    ids: NDArray[np.int32]


def lattice_of(longest: int) -> Lattice:
    """Room for units of up to so many bytes."""
    size = longest + 3
    return Lattice(np.empty(size, np.int64), np.empty(size), np.empty(size, np.int64), np.empty(size, np.int32))


def tree_of(strings: Mapping[str, tuple[int, float]]) -> Tree | None:
    """The tree of strings with their ids and scores; None where it would have too many nodes."""
    size = sum(map(len, strings))
    if size >= MOST_NODES:
        return None
    tree = Tree(
        np.zeros(1 << max(2 * size, 15).bit_length(), np.uint64), np.full(size + 1, -1, np.int32), np.zeros(size + 1)
    )
    data, offsets = text_buffers(text_array([text.encode() for text in strings]))
    ids, scores = ([value[part] for value in strings.values()] for part in (0, 1))
    nodes = _fill_tree(tree, data, offsets, np.array(ids, np.int32), np.array(scores, np.float64))
    return Tree(tree.edges, tree.ids[:nodes].copy(), tree.scores[:nodes].copy())


@inlined
def _slot(tree, node, code):
    """The slot of an edge, or the free one where it would be. Types: tree Tree; node, code int64."""
    key = (np.uint64(node) << CODE_BITS) | np.uint64(code)
    hashed = key * _K0
    mask = np.uint64(len(tree.edges) - 1)
    slot = (hashed ^ (hashed >> _32)) & mask
    while tree.edges[slot] != NO_EDGE and tree.edges[slot] >> NODE_BITS != key:
        slot = (slot + _1) & mask
    return slot


@inlined
def child_of(tree, node, code):
    """The node behind a node and a character, or 0. Types: tree Tree; node, code int64."""
    return np.int64(tree.edges[_slot(tree, node, code)] & _CHILD)


@kernel
def _fill_tree(tree, data, offsets, ids, scores):
    """Enter strings; returns how many nodes there are. Types: tree Tree; data uint8; offsets int64 [strings + 1]."""
    nodes = 1
    for number in range(len(offsets) - 1):
        node, place = np.int64(0), offsets[number]
        while place < offsets[number + 1]:
            code, length = decode(data, place)
            slot = _slot(tree, node, code)
            if tree.edges[slot] == NO_EDGE:
                key = (np.uint64(node) << CODE_BITS) | np.uint64(code)
                tree.edges[slot] = (key << NODE_BITS) | np.uint64(nodes)
                nodes += 1
            node = np.int64(tree.edges[slot] & _CHILD)
            place += length
        tree.ids[node], tree.scores[node] = ids[number], scores[number]
    return nodes


@kernel
def longest_here(tree, data, place, end):
    """The id and the bytes of the longest string that begins at a place, or -1 and 0.

    Types: tree Tree; data uint8; place, end int64.
    """
    start, node, found, size = place, np.int64(0), np.int32(-1), np.int64(0)
    while place < end:
        code, length = decode(data, place)
        node = child_of(tree, node, code)
        if node == 0:
            break
        place += length
        if tree.ids[node] >= 0:
            found, size = tree.ids[node], place - start
    return found, size


@kernel
def _best_ways(tree, lattice, count, unknown, unknown_score):
    """Find the best way to each place between a unit's characters.

    Types: tree Tree; lattice Lattice; count int64; unknown int32; unknown_score float64.
    """
    codes, scores, begins, ids = lattice.codes, lattice.scores, lattice.begins, lattice.ids
    for place in range(count + 1):
        begins[place], scores[place] = -1, 0.0
    for start in range(count):
        so_far, node, is_known = scores[start], np.int64(0), False
        for place in range(start, count):
            node = child_of(tree, node, codes[place])
            if node == 0:
                break
            if tree.ids[node] < 0:
                continue
            score = tree.scores[node] + so_far
            is_known |= place == start
            if begins[place + 1] < 0 or score > scores[place + 1]:
                scores[place + 1], begins[place + 1], ids[place + 1] = score, start, tree.ids[node]
        if not is_known:
            score = unknown_score + so_far
            if begins[start + 1] < 0 or score > scores[start + 1]:
                scores[start + 1], begins[start + 1], ids[start + 1] = score, start, unknown


@kernel
def most_probable(data, start, end, tree, lattice, unknown, unknown_score, out, written):
    """Write the ids of the pieces of a word, with ▁ before it and without the white space there; returns how many.

    Characters without a piece that stand side by side are one unknown token.

    Types: data uint8; start, end, written int64; tree Tree; lattice Lattice; unknown int32; unknown_score float64;
    out uint32 [ids].
    """
    codes, count = lattice.codes, np.int64(0)
    while start < end:
        code, length = decode(data, start)
        if count == 0 and not _is_white(code) and code != UNDERSCORE:
            codes[0], count = np.int64(UNDERSCORE), np.int64(1)
        if count or code == UNDERSCORE:  # white space before a word is nothing
            codes[count] = code
            count += 1
        start += length
    _best_ways(tree, lattice, count, unknown, unknown_score)
    # Backwards from the end, then turned round.
    number, place, before = np.int64(0), count, np.int32(-1)
    while place > 0:
        found = lattice.ids[place]
        if found != unknown or before != unknown:
            out[written + number] = np.uint32(found)
            number += 1
        before, place = found, lattice.begins[place]
    for step in range(number // 2):
        first, last = written + step, written + number - 1 - step
        out[first], out[last] = out[last], out[first]
    return number


@inlined
def _is_white(code):
    """Whether a character is white space to the library (Unicode's property White_Space). Types: code int64."""
    if code < 0x85:
        return code == 0x20 or 0x9 <= code <= 0xD
    if code < 0x2000:
        return code in (0x85, 0xA0, 0x1680)
    return code <= 0x200A or code in (0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
