"""A hash table of flat arrays, for kernels: keys, and beside them whatever arrays of the same length are wanted.

    keys = empty_keys(len(hashes))
    slots = enter(hashes, keys)               # where each hash stands
    weights = np.zeros(len(keys)); weights[slots] = …
    slot = find(keys, hashed)                 # in a kernel; -1 if it is not there

Keys are hashes that are spread over their upper 63 bits (`finish` makes such); 0 is no key, it marks an empty slot.
Slots are tried one after the other, so a table must not get full.
"""

from __future__ import annotations

import numpy as np

from diglot.text.unicode import kernel


def empty_keys(number: int, slots_a_key: int = 2) -> np.ndarray:
    """Room for so many keys (uint64 [slots, a power of two], all 0): more slots a key cost memory and save steps."""
    return np.zeros(1 << max(slots_a_key * number - 1, 15).bit_length(), np.uint64)


def enter(hashes: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Enter hashes (uint64) into a table that has room for them; the slot of each (int64), equal ones share one."""
    slots = np.empty(len(hashes), np.int64)
    _enter(hashes, keys, slots)
    return slots


@kernel
def _enter(hashes, keys, slots):
    """Hashes uint64 [number]; keys uint64 [slots]; slots int64 [number], written."""
    for place in range(len(hashes)):
        slot = slot_of(keys, hashes[place])
        keys[slot], slots[place] = hashes[place], slot


@kernel
def slot_of(keys, key):
    """The slot (uint64) of a key (uint64, not 0) in keys (uint64 [slots]), or the empty slot where it belongs."""
    mask = np.uint64(len(keys) - 1)
    slot = (key >> np.uint64(1)) & mask  # the lowest bit of some hashes is always 1, lest they be 0
    while (keys[slot] != 0) & (keys[slot] != key):
        slot = (slot + np.uint64(1)) & mask
    return slot


@kernel
def find(keys, key):
    """The slot (int64) of a key (uint64, not 0) in keys (uint64 [slots]), or -1."""
    slot = slot_of(keys, key)
    return np.int64(slot) if keys[slot] == key else np.int64(-1)
