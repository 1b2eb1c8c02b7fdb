"""Signatures, band keys and exact similarities, against theory and plain Python."""

import random
from typing import NamedTuple

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from signed_shards import BANDS, ROWS, plain_jaccard, plain_shingles

from diglot.text.minhash import EMPTY_KEY, agreement, band_keys, jaccard, sign
from diglot.text.unicode import text_array

SHINGLES = 200  # of each text of a pair
COMMON = [100, 134, 160, 180, 190]  # of both


def array(texts: list[str]):
    return text_array([text.encode() for text in texts])


class Signed(NamedTuple):
    """What `sign` returns, by name."""

    hashes: np.ndarray
    minhash: np.ndarray


def signed(texts: list[str], by_characters: bool = False):
    return Signed(*sign(array(texts), 128, 5, by_characters))


def pairs_with(common: int, number: int, by_characters: bool) -> tuple[list[str], float]:
    """Texts 2j and 2j + 1 share their first shingles and no others; with their Jaccard similarity."""
    rng, size = random.Random(common), 13 if by_characters else 5
    ideographs = [chr(code) for code in range(0x4E00, 0x9F00)]
    texts = []
    for pair in range(number):
        if by_characters:
            units = rng.choices(ideographs, k=2 * SHINGLES + size - 1 - common + size)
        else:
            units = [f"w{pair}x{i}" for i in range(2 * SHINGLES + size - 1 - common + size)]
        length, same = SHINGLES + size - 1, common + size - 1
        other = units[:same] + units[length : 2 * length - same]
        texts += [("" if by_characters else " ").join(part) for part in (units[:length], other)]
    return texts, common / (2 * SHINGLES - common)


@pytest.mark.parametrize("by_characters", [False, True])
@pytest.mark.parametrize("common", COMMON)
def test_agreement_is_an_unbiased_estimate_with_the_spread_of_independent_permutations(common, by_characters):
    number = 400
    texts, similarity = pairs_with(common, number, by_characters)
    minhash = signed(texts, by_characters).minhash
    estimates = np.array([agreement(minhash[i], minhash[i + 1]) for i in range(0, len(minhash), 2)])
    spread = np.sqrt(similarity * (1 - similarity) / 128)
    assert abs(estimates.mean() - similarity) < 4.5 * spread / np.sqrt(number) + 0.002  # 32-bit values
    assert 0.8 * spread < estimates.std() < 1.2 * spread


@pytest.mark.parametrize("by_characters", [False, True])
def test_jaccard_of_pairs_that_were_made_so(by_characters):
    for common in COMMON:
        texts, similarity = pairs_with(common, 3, by_characters)
        assert plain_jaccard(texts[0], texts[1], by_characters) == similarity
        found = jaccard(array(texts), np.arange(6).reshape(3, 2), 5, by_characters)
        assert found.tolist() == [similarity] * 3


# Few words, so that shingles are shared; cases, marks, wide and invisible characters; letters that grow in lower case.
PIECES = ["a", "b", "A", "é", "É", "中", "文", "İ", "ß", "😀", "！", "-", ".", "\u200b", "\u0651", " ", "\n", "\x85", "\u3000"]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=40)


@examples(300)
@given(st.lists(TEXTS, min_size=2, max_size=4), st.booleans())
def test_jaccard_is_that_of_sets_in_python(texts, by_characters):
    pairs = [(i, j) for i in range(len(texts)) for j in range(len(texts))]
    expected = [plain_jaccard(texts[i], texts[j], by_characters) for i, j in pairs]
    assert jaccard(array(texts), np.array(pairs), 5, by_characters).tolist() == expected


@examples(200)
@given(TEXTS, TEXTS, st.booleans())
def test_equal_shingles_have_equal_signatures(one, other, by_characters):
    result = signed([one, other], by_characters)
    sets = [plain_shingles(text, by_characters) for text in (one, other)]
    if sets[0] == sets[1]:
        assert (result.minhash[0] == result.minhash[1]).all()
    if not sets[0] & sets[1]:
        assert agreement(*result.minhash) == (sets[0] == sets[1])
    assert [bool(value) for value in result.hashes] == [bool(each) for each in sets]


def test_pairs_may_mix_words_and_characters():
    texts = ["one two three four five six", "天地玄黄宇宙洪荒日月盈昃辰宿列张", "One two three four five six!"]
    pairs = np.array([[0, 1], [1, 1], [0, 2], [2, 2]])
    assert jaccard(array(texts), pairs, 5, np.array([False, True, False])).tolist() == [0, 1, 1, 1]


def test_equal_hashes_mean_equal_but_for_case_punctuation_and_spacing():
    same = ["Hello,  World!", "hello\nworld", "HELLO WORLD", "\u200bhello — world…"]
    different = ["hello worlds", "hell oworld", "world hello", "hello", "hello world hello world"]
    nothing = ["", "!?", "...", "😀", " \n "]
    hashes = signed([*same, *different, *nothing]).hashes
    assert len(set(hashes[: len(same)].tolist())) == 1
    assert len(set(hashes[: len(same) + len(different)].tolist())) == 1 + len(different)
    assert (hashes[len(same) + len(different) :] == 0).all()


def test_characters_are_shingled_where_there_are_no_spaces():
    text = "".join(random.Random(1).choices("天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏", k=400))
    other = text[:200] + "新" + text[200:]
    assert agreement(*signed([text, other], by_characters=True).minhash) > 0.85
    assert agreement(*signed([text, other]).minhash) < 0.1
    spaced = signed([text, " ".join(text)], by_characters=True)
    assert spaced.hashes[0] == spaced.hashes[1]
    assert (spaced.minhash[0] == spaced.minhash[1]).all()


def test_band_keys_are_equal_where_the_bands_are():
    texts, _ = pairs_with(180, 200, False)
    minhash = signed(texts).minhash
    keys = band_keys(minhash, BANDS, ROWS)
    assert keys.shape == (BANDS, len(texts))
    for band in range(BANDS):
        rows = minhash[:, band * ROWS : (band + 1) * ROWS]
        _, by_rows = np.unique(rows, axis=0, return_inverse=True)
        _, by_keys = np.unique(keys[band], return_inverse=True)
        assert len(set(zip(by_rows.ravel().tolist(), by_keys.tolist(), strict=True))) == by_keys.max() + 1
    assert (keys != EMPTY_KEY).all()


def test_a_signature_depends_on_its_text_alone():
    texts, _ = pairs_with(160, 20, False)
    together = signed(texts)
    alone = [signed([text]) for text in texts]
    assert (together.minhash == np.concatenate([one.minhash for one in alone])).all()
    assert (together.hashes == np.concatenate([one.hashes for one in alone])).all()
    part = Signed(*sign(array(texts)[7:11], 128, 5, False))
    assert (part.minhash == together.minhash[7:11]).all()


def test_no_documents_and_empty_ones():
    none = signed([])
    assert none.minhash.shape == (0, 128)
    assert band_keys(none.minhash, BANDS, ROWS).shape == (BANDS, 0)
    assert len(jaccard(array([]), np.empty((0, 2), np.int64), 5, False)) == 0
    empty = signed(["", "…"])
    assert (band_keys(empty.minhash, BANDS, ROWS) == EMPTY_KEY).all()
    assert jaccard(array(["", "…"]), np.array([[0, 1], [0, 0]]), 5, False).tolist() == [0, 0]
