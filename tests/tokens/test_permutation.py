"""The keyed permutation is one, and shuffles."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from diglot.tokens.permutation import CHUNK, permutation


@given(size=st.integers(0, 3000), key=st.text(max_size=20))
def test_every_element_comes_once(size: int, key: str) -> None:
    order = permutation(size, key)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(size))


def test_sizes_over_one_chunk_are_permuted_too() -> None:
    order = permutation(2 * CHUNK + 7, "key")
    assert np.array_equal(np.sort(order), np.arange(2 * CHUNK + 7))
    assert np.abs(np.diff(order)).mean() > CHUNK / 3  # chunks are of the computation, not of the order


def test_the_key_decides_the_order() -> None:
    assert np.array_equal(permutation(100, "a"), permutation(100, "a"))
    assert not np.array_equal(permutation(100, "a"), permutation(100, "b"))


def test_the_order_is_the_same_on_every_machine() -> None:
    assert permutation(10, "diglot").tolist() == EXPECTED


def test_neighbours_do_not_keep_a_distance() -> None:
    """An affine shuffle has two distances; a random one has nearly as many as elements."""
    order = permutation(10_000, "key")
    assert len(np.unique(np.diff(order) % 10_000)) > 5_000
    positions = np.arange(10_000)
    assert abs(np.corrcoef(positions, order)[0, 1]) < 0.05
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05


EXPECTED = [1, 7, 3, 2, 5, 9, 8, 6, 0, 4]
