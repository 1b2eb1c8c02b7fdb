import random

import numpy as np
import pytest
from corpus_files import ENGLISH, sentences

from diglot.corpus.characters import text_array
from diglot.corpus.dedup import agreement, exact_duplicates, near_duplicates, sign

BANDS, ROWS = 14, 9


def signed(texts, by_characters=False):
    return sign(text_array([text.encode() for text in texts]), 128, 5, by_characters)


def jaccard(one: list[str], other: list[str], n: int = 5) -> float:
    a, b = ({tuple(words[i : i + n]) for i in range(len(words) - n + 1)} for words in (one, other))
    return len(a & b) / len(a | b)


def pairs_of_known_similarity(number: int) -> tuple[list[str], np.ndarray]:
    """Texts 2j and 2j+1 share most of their words; with the true word-5-gram Jaccard of each pair."""
    rng = random.Random(5)
    texts, similarities = [], []
    for _ in range(number):
        words = [str(rng.getrandbits(40)) for _ in range(400)]
        changed = words.copy()
        for place in rng.sample(range(400), rng.randint(1, 24)):
            changed[place] = str(rng.getrandbits(40))
        texts += [" ".join(words), " ".join(changed)]
        similarities.append(jaccard(words, changed))
    return texts, np.array(similarities)


@pytest.fixture(scope="module")
def pairs():
    texts, similarities = pairs_of_known_similarity(1500)
    return signed(texts).minhash, similarities


def test_candidates_are_found_as_the_theory_says(pairs):
    minhash, similarities = pairs
    kept = near_duplicates(minhash, np.arange(len(minhash)), BANDS, ROWS, verify=0.0)
    found = kept[1::2] == kept[::2]
    assert (kept[::2] == np.arange(0, len(minhash), 2)).all()
    for low in np.arange(0.5, 0.95, 0.1):
        here = (similarities >= low) & (similarities < low + 0.1)
        expected = 1 - (1 - similarities[here] ** ROWS) ** BANDS
        error = np.sqrt((expected * (1 - expected)).sum()) / here.sum()
        assert here.sum() > 30
        assert abs(found[here].mean() - expected.mean()) < 4 * error + 0.01, low


def test_agreement_estimates_the_similarity(pairs):
    minhash, similarities = pairs
    estimates = np.array([agreement(minhash[i], minhash[i + 1]) for i in range(0, len(minhash), 2)])
    assert abs((estimates - similarities).mean()) < 0.005
    assert np.abs(estimates - similarities).max() < 0.25  # 5 standard deviations at 128 permutations


def test_candidates_below_the_threshold_are_kept(pairs):
    minhash, _ = pairs
    kept = near_duplicates(minhash, np.arange(len(minhash)), BANDS, ROWS, verify=0.85)
    dropped = np.flatnonzero(kept != np.arange(len(kept)))
    assert len(dropped) > 50
    assert all(agreement(minhash[i], minhash[kept[i]]) >= 0.85 for i in dropped)


def test_the_first_of_a_cluster_is_kept_whatever_the_order():
    base = sentences(ENGLISH, 1, 60)
    texts = [
        sentences(ENGLISH, 2),
        base,
        sentences(ENGLISH, 3),
        base + " more",
        sentences(ENGLISH, 4),
        base + " at all",
    ]
    minhash = signed(texts).minhash
    kept = near_duplicates(minhash, np.arange(6), BANDS, ROWS, 0.7)
    assert kept.tolist() == [0, 1, 2, 1, 4, 1]
    assert near_duplicates(minhash, np.array([0, 3, 5]), BANDS, ROWS, 0.7).tolist() == [0, 3, 3]


def test_exact_means_equal_but_for_case_punctuation_and_spacing():
    texts = [
        "Hello,  World!",
        "hello\nworld",
        "hello worlds",
        "",
        "!?",
        "...",
        "HELLO WORLD",
        "😀",
        "😂",
        "hell oworld",
    ]
    kept = exact_duplicates(signed(texts).hashes, np.arange(len(texts)))
    assert kept.tolist() == [0, 0, 2, 3, 4, 5, 0, 7, 8, 9]


def test_characters_are_shingled_where_there_are_no_spaces():
    text = "".join(random.Random(1).choices("天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏", k=400))
    other = text[:200] + "新" + text[200:]
    by_characters = signed([text, other], by_characters=True).minhash
    by_words = signed([text, other]).minhash
    assert agreement(*by_characters) > 0.85
    assert agreement(*by_words) < 0.1
    spaced = signed([text, " ".join(text)], by_characters=True)
    assert spaced.hashes[0] == spaced.hashes[1]


def test_no_documents_at_all():
    empty = signed([])
    assert empty.minhash.shape == (0, 128)
    assert len(near_duplicates(empty.minhash, np.arange(0), BANDS, ROWS, 0.7)) == 0
    assert len(exact_duplicates(empty.hashes, np.arange(0))) == 0
