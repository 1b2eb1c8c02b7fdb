"""Hashes of names: what is chosen by a document's id is chosen alike wherever and whenever it is met."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from diglot.base.randomness import key_bits
from diglot.text.unicode import HASH_SEED, absorb, finish, kernel, text_buffers


def hash_names(names: pa.Array) -> np.ndarray:
    """Hashes (uint64 [names], never 0) of the bytes of a `large_string` array; 0 for null."""
    data, offsets = text_buffers(names)
    hashes = np.zeros(len(names), np.uint64)
    _hash_all(data, offsets, hashes)
    if names.null_count:
        hashes[np.asarray(names.is_null())] = 0
    return hashes


@kernel
def _hash_all(data, offsets, hashes):
    """Data uint8 [bytes]; offsets int64 [names + 1]; hashes uint64 [names], written."""
    for name in range(len(hashes)):
        hashes[name] = hash_bytes(data, offsets[name], offsets[name + 1])


@kernel
def hash_bytes(data, begin, end):
    """The hash (uint64, never 0) of data[begin:end] (uint8)."""
    state = HASH_SEED
    for at in range(begin, end):
        state = absorb(state, data[at])
    return finish(state) | np.uint64(1)


def keyed(key: str, hashes: np.ndarray) -> np.ndarray:
    """Other hashes (uint64), which depend on a key as well: independent choices from the same names."""
    salt = np.uint64(key_bits(key))
    mixed = hashes ^ salt  # what follows is the finaliser of splitmix64
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def draws(key: str, hashes: np.ndarray) -> np.ndarray:
    """Uniform numbers (float64, in [0, 1)) that depend on names and a key."""
    return (keyed(key, hashes) >> np.uint64(11)).astype(np.float64) / 2.0**53
