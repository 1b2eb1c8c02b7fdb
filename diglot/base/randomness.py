"""Choices that depend on a key and on nothing else: alike on every machine, in any order, with any number of threads.

A key is a text such as `{seed}/{purpose}/{name}`. Where many names are at hand as an Arrow array, `text/hashing.py` makes
the same kind of choices for all of them at once.
"""

from __future__ import annotations

import hashlib


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=8).digest()


def key_bits(key: str) -> int:
    """A hash of 64 bits."""
    return int.from_bytes(_digest(key), "little")


def key_hash(key: str) -> int:
    """A hash of 63 bits: it fits an int64, and seeds the generators of torch and numpy."""
    return key_bits(key) >> 1


def uniform(key: str) -> float:
    """A number in [0, 1)."""
    return int.from_bytes(_digest(key), "big") / 2**64
