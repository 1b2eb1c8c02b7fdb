"""What is chosen by a key stays chosen: other values would be another corpus, sample or mask from the same settings."""

import numpy as np
import pyarrow as pa

from diglot.base.randomness import key_bits, key_hash, uniform
from diglot.text.hashing import draws, hash_names, keyed


def test_the_values_of_keys_never_change():
    assert key_bits("0/purpose/name") == 0xAC7DB8D23A64E505
    assert key_hash("0/purpose/name") == key_bits("0/purpose/name") >> 1
    assert uniform("0/purpose/name") == 0.023031486855616703


def test_values_are_spread_evenly():
    shares = [uniform(str(number)) for number in range(4000)]
    assert np.abs(np.histogram(shares, 10, (0, 1))[0] - 400).max() < 100
    assert {key_hash(str(number)) % 2 for number in range(50)} == {0, 1}


def test_names_are_keyed_together_as_they_are_alone():
    names = pa.array(["a", "b", "سماء", None], pa.large_string())
    hashes = hash_names(names)
    assert hashes[3] == 0
    assert len(set(hashes.tolist())) == 4
    alone = np.concatenate([keyed("key", hash_names(names.slice(place, 1))) for place in range(4)])
    assert np.array_equal(keyed("key", hashes), alone)
    assert not np.array_equal(keyed("key", hashes), keyed("other", hashes))
    assert 0 <= draws("key", hashes).min() <= draws("key", hashes).max() < 1
