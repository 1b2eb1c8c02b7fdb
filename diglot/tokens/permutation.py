"""Keyed permutations: the order in which an epoch reads documents, as a function of a key.

A balanced Feistel network over 2h bits is a bijection whatever its round function does; the smallest such domain
that holds `size` elements is at most four times too large, and cycle-walking (encrypting again what fell outside)
cuts it down to exactly `size`. Unlike an affine shuffle (a·i + b mod n), neighbours in the input do not stay at a
constant distance: affine orders showed up as phases in the loss.

    permutation(5, "seed/wiki/0")                ->  every number 0..4 once; another key, another order
    Permutation(10**12, "seed/wiki/0").at([7])   ->  one element of a permutation that is never written out
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

ROUNDS = 6
CHUNK = 1 << 16  # elements at a time: the temporaries stay in the cache


class Permutation:
    """A permutation of 0..size-1 that can be asked for any of its elements, and backwards.

    The same key gives the same permutation on every machine.
    """

    def __init__(self, size: int, key: str):
        self.size = size
        self._half_bits = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
        digest = hashlib.shake_256(key.encode()).digest(8 * ROUNDS)
        self._round_keys = np.frombuffer(digest, "<u8").astype(np.uint64)

    def at(self, places: np.ndarray) -> np.ndarray:
        """int64: the elements at these places."""
        return self._walk(places, self._encrypt)

    def places(self, elements: np.ndarray) -> np.ndarray:
        """int64: the places of these elements."""
        return self._walk(elements, self._decrypt)

    def _walk(self, values: np.ndarray, step: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        walked = np.array(values, dtype=np.uint64)
        for start in range(0, len(walked), CHUNK):
            part = walked[start : start + CHUNK]
            part[:] = step(part)
            while (outside := np.flatnonzero(part >= self.size)).size:
                part[outside] = step(part[outside])
        return walked.astype(np.int64)

    def _encrypt(self, values: np.ndarray) -> np.ndarray:
        mask = (np.uint64(1) << self._half_bits) - np.uint64(1)
        left, right = values >> self._half_bits, values & mask
        for round_key in self._round_keys:
            left, right = right, left ^ (mix(right ^ round_key) & mask)
        return (left << self._half_bits) | right

    def _decrypt(self, values: np.ndarray) -> np.ndarray:
        mask = (np.uint64(1) << self._half_bits) - np.uint64(1)
        left, right = values >> self._half_bits, values & mask
        for round_key in self._round_keys[::-1]:
            left, right = right ^ (mix(left ^ round_key) & mask), left
        return (left << self._half_bits) | right


def permutation(size: int, key: str) -> np.ndarray:
    """The whole of a permutation.

    Args:
        size: how many elements.
        key: text; the same key gives the same order on every machine.

    Returns:
        int64 [size]: the element that comes first, second, …
    """
    return Permutation(size, key).at(np.arange(size))


def mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele et al. 2014), of uint64; unsigned overflow is meant."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
