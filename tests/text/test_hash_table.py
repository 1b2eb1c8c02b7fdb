"""The hash table of the kernels, beside a Python dictionary."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from diglot.text.hash_table import empty_keys, enter, find, slot_of


@given(st.lists(st.integers(1, 2**64 - 1) | st.integers(1, 40), max_size=60), st.integers(1, 4))
@examples(60)
def test_what_was_entered_is_found_and_nothing_else(hashes, slots_a_key):
    """Small numbers share their slots, so that the search has to go on."""
    array = np.array(hashes, np.uint64)
    keys = empty_keys(len(array) + 1, slots_a_key)  # one slot stays empty
    slots = enter(array, keys)
    plain = dict(zip(hashes, slots.tolist()))
    assert sorted(keys[keys != 0].tolist()) == sorted(plain)
    assert len(set(plain.values())) == len(plain)
    for hashed in [*hashes, 41, 2**63 + 5]:
        assert find(keys, np.uint64(hashed)) == plain.get(hashed, -1)
        slot = slot_of(keys, np.uint64(hashed))
        assert keys[slot] == (hashed if hashed in plain else 0)


@pytest.mark.parametrize(("number", "slots"), [(0, 16), (8, 16), (9, 32), (1000, 2048), (1025, 4096)])
def test_a_table_is_at_most_half_full(number, slots):
    assert len(empty_keys(number)) == slots
