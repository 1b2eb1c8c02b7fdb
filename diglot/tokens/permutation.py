"""Keyed permutations: the order in which an epoch visits documents, as a function of a key.

A balanced Feistel network over 2h bits is a bijection whatever its round function does; the smallest such domain
that holds `size` elements is at most four times too large, and cycle-walking (encrypting again what fell outside)
cuts it down to exactly `size`. Unlike an affine shuffle (a·i + b mod n), neighbours in the input do not stay at a
constant distance: affine orders showed up as phases in the loss.

    permutation(5, "seed/wiki/0")  ->  every number 0..4 once; another key, another order
"""

from __future__ import annotations

import hashlib

import numpy as np

ROUNDS = 6
CHUNK = 1 << 16  # elements at a time: the temporaries stay in the cache


def permutation(size: int, key: str) -> np.ndarray:
    """The order in which the elements 0..size-1 are visited.

    Args:
        size: how many elements.
        key: text; the same key gives the same order on every machine.

    Returns:
        int64 [size]: the element visited first, second, …
    """
    half_bits = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
    digest = hashlib.shake_256(key.encode()).digest(8 * ROUNDS)
    round_keys = np.frombuffer(digest, "<u8").astype(np.uint64)
    order = np.arange(size, dtype=np.uint64)
    for start in range(0, size, CHUNK):
        part = order[start : start + CHUNK]
        part[:] = _encrypt(part, half_bits, round_keys)
        while (outside := np.flatnonzero(part >= size)).size:
            part[outside] = _encrypt(part[outside], half_bits, round_keys)
    return order.astype(np.int64)


def _encrypt(values: np.ndarray, half_bits: np.uint64, round_keys: np.ndarray) -> np.ndarray:
    mask = (np.uint64(1) << half_bits) - np.uint64(1)
    left, right = values >> half_bits, values & mask
    for round_key in round_keys:
        left, right = right, left ^ (_mix(right ^ round_key) & mask)
    return (left << half_bits) | right


def _mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele et al. 2014); unsigned overflow is meant."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
