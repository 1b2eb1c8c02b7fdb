"""Kernels over the pieces of a tokenizer: the bytes of each, found again by those of two pieces joined.

Those two are never put together for it: the hash of a text is a polynomial in its bytes, so the hash of two texts
joined follows from the hashes of both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diglot.text.unicode import finish, kernel

SHAPE = np.dtype([("characters", np.int32), ("open", np.bool_), ("fixed", np.bool_)])
NONE = -1
NEW, WORDS, OTHER = range(3)  # what a piece is made of: see `made_of`
BASE, LETTER = 1, 16  # flags of a character (see `Rules.base_script`)

_BASE = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)


class Pieces(NamedTuple):
    """The bytes of all pieces.

    Attributes:
        content: uint8, all pieces one after another.
        offsets: int64 [pieces + 1].
        hashes: uint64 [pieces, 2]: the polynomial hash, and what the hash of what stands before is multiplied with;
            so the hash of two pieces joined follows from theirs.
        shapes: SHAPE [pieces]: characters that begin in it, whether it begins within one, whether it never merges.
        table: int32 [power of two], pieces by hash, or NONE.
    """

    content: np.ndarray
    offsets: np.ndarray
    hashes: np.ndarray
    shapes: np.ndarray
    table: np.ndarray


@kernel
def byte_at(pieces, left, right, at):
    """A byte of two pieces joined.

    Types: pieces Pieces; left, right, at int64.
    """
    first = pieces.offsets[left]
    length = pieces.offsets[left + 1] - first
    return pieces.content[first + at if at < length else pieces.offsets[right] + at - length]


@kernel
def length_of(pieces, left, right):
    """Bytes of two pieces joined.

    Types: pieces Pieces; left, right int64.
    """
    return pieces.offsets[left + 1] - pieces.offsets[left] + pieces.offsets[right + 1] - pieces.offsets[right]


@kernel
def spell_the_same(pieces, left, right, other_left, other_right):
    """Whether two pairs of pieces are the same text.

    Types: pieces Pieces; left, right, other_left, other_right int64.
    """
    length = length_of(pieces, left, right)
    if length != length_of(pieces, other_left, other_right):
        return False
    for at in range(length):
        if byte_at(pieces, left, right, at) != byte_at(pieces, other_left, other_right, at):
            return False
    return True


@kernel
def hash_of(pieces, left, right):
    """The hash (uint64) of two pieces joined.

    Types: pieces Pieces; left, right int64.
    """
    return pieces.hashes[left, 0] * pieces.hashes[right, 1] + pieces.hashes[right, 0]


@kernel
def find_piece(pieces, left, right):
    """The piece that two pieces spell, or NONE. Of equal ones it is the first that can merge.

    Types: pieces Pieces; left, right int64.
    """
    hash_, length = hash_of(pieces, left, right), length_of(pieces, left, right)
    mask = np.uint64(len(pieces.table) - 1)
    slot = finish(hash_) & mask
    while pieces.table[slot] != NONE:
        piece = np.int64(pieces.table[slot])
        begin = pieces.offsets[piece]
        if pieces.hashes[piece, 0] == hash_ and pieces.offsets[piece + 1] - begin == length:
            at = 0
            while at < length and pieces.content[begin + at] == byte_at(pieces, left, right, at):
                at += 1
            if at == length:
                return piece
        slot = (slot + _ONE) & mask
    return np.int64(NONE)


@kernel
def add_pieces(pieces, first, last):
    """Enter pieces whose bytes stand in `content`; returns the number of bytes of the longest.

    Types: pieces Pieces; first, last int64.
    """
    longest = 1
    mask = np.uint64(len(pieces.table) - 1)
    for piece in range(first, last):
        begin, length = pieces.offsets[piece], pieces.offsets[piece + 1] - pieces.offsets[piece]
        longest = max(longest, length)
        hash_, power, characters = np.uint64(0), _ONE, 0
        for at in range(begin, begin + length):
            hash_ = hash_ * _BASE + np.uint64(pieces.content[at]) + _ONE
            power *= _BASE
            characters += pieces.content[at] & 0xC0 != 0x80
        # The power of the length lets two pieces' hashes be joined without reading their bytes.
        pieces.hashes[piece, 0], pieces.hashes[piece, 1] = hash_, power
        pieces.shapes[piece].characters = characters
        pieces.shapes[piece].open = length > 0 and pieces.content[begin] & 0xC0 == 0x80
        slot = finish(hash_) & mask
        while pieces.table[slot] != NONE:
            other = pieces.table[slot]
            # Hashes of 64 bits may collide among millions of pieces, so the bytes decide.
            if pieces.hashes[other, 0] == hash_ and pieces.offsets[other + 1] - pieces.offsets[other] == length:
                at = 0
                while at < length and pieces.content[begin + at] == pieces.content[pieces.offsets[other] + at]:
                    at += 1
                if at == length:
                    break
            slot = (slot + _ONE) & mask
        if pieces.table[slot] == NONE or pieces.shapes[pieces.table[slot]].fixed:
            pieces.table[slot] = piece
    return longest


@kernel
def made_of(pieces, left, right, base_script):
    """What two pieces joined are made of, so far as it can be told.

    NEW: something that the base language has not. WORDS: letters of the base language, and spaces. OTHER: its other
    characters (punctuation, digits, controls), with or without letters, or spaces alone.

    Types: pieces Pieces; left, right int64; base_script uint8 [code points].
    """
    at, length = np.int64(0), length_of(pieces, left, right)
    while at < length and byte_at(pieces, left, right, at) & 0xC0 == 0x80:
        at += 1
    letters, others = bool(at > 0), False  # what begins within a character may be a letter
    while at < length:
        byte = np.int64(byte_at(pieces, left, right, at))
        missing = int(byte >= 0xC0) + int(byte >= 0xE0) + int(byte >= 0xF0)
        code = byte & (0x7F if missing == 0 else 0x3F >> missing)
        at += 1
        while missing and at < length and byte_at(pieces, left, right, at) & 0xC0 == 0x80:
            code = (code << 6) | (np.int64(byte_at(pieces, left, right, at)) & 0x3F)
            missing -= 1
            at += 1
        flags = np.int64(base_script[code]) >> missing if code < len(base_script) else 0
        if not flags & BASE:
            return NEW
        if flags & LETTER:
            letters = True
        elif byte != 0x20:
            others = True
    return WORDS if letters and not others else OTHER
