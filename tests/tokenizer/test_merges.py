"""The merge learner against definitions: count everything again at every step, encode every word again by rank."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from diglot.tokenizer.merges import MINIMUM_COUNT, Words, continue_merges

# One, two, three and four bytes; é and è begin alike, and so do ข and ค.
LETTERS = "abcéèขค😀"
WORD = st.text(LETTERS, max_size=9) | st.text("ab", max_size=9) | st.text("aé", min_size=4, max_size=12)
COUNTED = st.tuples(WORD, st.integers(0, 6), st.integers(0, 3), st.integers(0, 2))
TEXTS = st.lists(COUNTED, max_size=10)


def as_words(rows):
    """Words of (symbols, count, second, group)."""
    symbols = [symbol for row in rows for symbol in row[0]]
    offsets = np.cumsum([0, *(len(row[0]) for row in rows)])
    columns = [[row[column] for row in rows] for column in (1, 2, 3)]
    return Words(
        np.array(symbols, np.int32),
        offsets.astype(np.int64),
        *(np.array(column, kind) for column, kind in zip(columns, (np.int64, np.int64, np.int32), strict=True)),
    )


def learn(rows, pieces, number=1000, **changes):
    options = {
        "max_characters": 16,
        "fixed": (),
        "familiar": None,
        "tolerance": None,
        "every_split": False,
        "parity": False,
    }
    return continue_merges(as_words(rows), list(pieces), number=number, **(options | changes))


# --- plain definitions ----------------------------------------------------------------------------------------


def parts(piece):
    """Whether a piece begins within a character, its whole characters, and the bytes of an incomplete last one."""
    rest = piece.lstrip(bytes(range(0x80, 0xC0)))
    cut = len(rest)
    while True:
        try:
            return len(rest) < len(piece), rest[:cut].decode(), rest[cut:]
        except UnicodeDecodeError:
            cut -= 1


def number_of_characters(piece):
    begun, whole, rest = parts(piece)
    return begun + len(whole) + bool(rest)


def is_familiar(piece, familiar):
    _, whole, rest = parts(piece)
    return familiar.issuperset(whole) and (
        not rest or any(character.encode().startswith(rest) for character in familiar)
    )


def replace(ids, pair, new):
    out, place = [], 0
    while place < len(ids):
        here = tuple(ids[place : place + 2]) == pair
        out.append(new if here else ids[place])
        place += 2 if here else 1
    return out


def encode_by_rank(ids, pieces, fixed):
    """Join the two neighbours that spell the oldest piece, the first of them, again and again."""
    ranks = {piece: number for number, piece in reversed(list(enumerate(pieces))) if number not in fixed}
    forbidden = {pieces[number] for number in fixed} - ranks.keys()
    ids = list(ids)
    while True:
        found = [
            (ranks[text], place)
            for place, (left, right) in enumerate(pairwise(ids))
            if not fixed & {left, right} and (text := pieces[left] + pieces[right]) in ranks
        ]
        assert not forbidden & ranks.keys()
        if not found:
            return ids
        rank, place = min(found)
        ids[place : place + 2] = [rank]


def by_definition(rows, pieces, number, max_characters, fixed, familiar, tolerance, every_split, parity):
    """Learn merges; returns merges, pieces, tokens, and the symbols of all words at the end."""
    pieces, first, merges, refused = list(pieces), len(pieces), [], set()
    originals = [list(row[0]) for row in rows]
    sequences = [list(row[0]) for row in rows]
    groups = max((row[3] for row in rows), default=-1) + 1
    total, base_total = (max(sum(row[column] for row in rows), 1) for column in (1, 2))

    def cut_into(column):
        sizes = [0] * groups
        for ids, row in zip(sequences, rows, strict=True):
            sizes[row[3]] += len(ids) * row[column]
        return sizes

    tokens = [cut_into(1)]
    while len(merges) < number:
        counts, seconds = [Counter() for _ in range(groups)], Counter()
        splits = {}
        for ids, row in zip(sequences, rows, strict=True):
            for left, right in pairwise(ids):
                text = pieces[left] + pieces[right]
                if fixed & {left, right} or text in pieces or number_of_characters(text) > max_characters:
                    continue
                unit = text if every_split else (left, right)
                counts[row[3] if parity else 0][unit] += row[1]
                seconds[unit] += row[2]
                splits.setdefault(unit, Counter())[left, right] += row[1]
        candidates = {
            group: [unit for unit, count in found.items() if count >= MINIMUM_COUNT and unit not in refused]
            for group, found in enumerate(counts)
        }
        costs = cut_into(2) if parity else [0] * groups
        order = [group for group in sorted(candidates, key=lambda g: (-costs[g], g)) if candidates[group]]
        if not order:
            break
        found = counts[order[0]]
        unit = min(candidates[order[0]], key=lambda unit: (-found[unit], unit))
        left, right = min(splits[unit], key=lambda pair: (-splits[unit][pair], pair))
        text = pieces[left] + pieces[right]
        often = tolerance is None or seconds[unit] / base_total > tolerance * found[unit] / total
        if familiar is not None and is_familiar(text, familiar) and often:
            refused.add(unit)
            continue
        merges.append((left, right))
        pieces.append(text)
        if every_split:
            sequences = [encode_by_rank(ids, pieces, fixed) for ids in originals]
        else:
            sequences = [replace(ids, (left, right), len(pieces) - 1) for ids in sequences]
        tokens.append(cut_into(1))
    return merges, pieces[first:], tokens, sequences


def assert_as_defined(rows, pieces, **options):
    learnt = learn(rows, pieces, **options)
    merges, new, tokens, sequences = by_definition(rows, pieces, **options)
    assert (list(map(tuple, learnt.merges.tolist())), learnt.pieces) == (merges, new)
    assert learnt.tokens.tolist() == tokens
    return learnt, sequences


OPTIONS = st.fixed_dictionaries(
    {
        "number": st.sampled_from([0, 1, 3, 40]),
        "max_characters": st.sampled_from([1, 2, 3, 16]),
        "fixed": st.just(frozenset()),
        "familiar": st.none() | st.frozensets(st.sampled_from(LETTERS)),
        "tolerance": st.sampled_from([None, 0.0, 0.5, 9.0]),
        "every_split": st.booleans(),
        "parity": st.just(False),
    }
)


# --- against the definitions ----------------------------------------------------------------------------------


@given(TEXTS, OPTIONS)
@settings(max_examples=400)
def test_characters_merge_as_defined(texts, options):
    pieces = [letter.encode() for letter in LETTERS]
    rows = [([LETTERS.index(letter) for letter in word], *counts) for word, *counts in texts]
    assert_as_defined(rows, pieces, **options)


@given(TEXTS, OPTIONS)
@settings(max_examples=400)
def test_bytes_merge_as_defined(texts, options):
    """Pieces may begin and end within a character."""
    pieces = [bytes([value]) for value in range(256)]
    rows = [(list(word.encode()), *counts) for word, *counts in texts]
    assert_as_defined(rows, pieces, **options)


@given(TEXTS, OPTIONS, st.booleans())
@settings(max_examples=300)
def test_parity_merges_as_defined(texts, options, every_split):
    pieces = [letter.encode() for letter in LETTERS]
    rows = [([LETTERS.index(letter) for letter in word], *counts) for word, *counts in texts]
    options |= {"familiar": None, "tolerance": None, "parity": True, "every_split": every_split}
    assert_as_defined(rows, pieces, **options)


BASE = [b"<s>", *(letter.encode() for letter in "abc<s>"), b"ab", b"bc", b"abc", b"ca", b"aa", b"bcab", b"<", b"cc"]
BASE_FIXED = frozenset({0, 13, 14})  # a special token, a byte token, and one that may not be made


@given(
    st.lists(st.tuples(st.text("abc<s>", max_size=9), *COUNTED.original_strategies[1:]), max_size=8)
    if hasattr(COUNTED, "original_strategies")
    else st.lists(
        st.tuples(st.text("abc<s>", max_size=9), st.integers(0, 6), st.integers(0, 3), st.integers(0, 2)),
        max_size=8,
    ),
    OPTIONS,
)
@settings(max_examples=400)
def test_continued_from_a_base_merges_as_defined(texts, options):
    """New merges make what the base could not cut, and, with every split, pieces of the base in new ways."""
    options |= {"fixed": BASE_FIXED}
    index = {letter: 1 + place for place, letter in enumerate("abc<s>")}
    rows = []
    for word, *counts in texts:
        ids = [index[letter] for letter in word]
        rows.append((encode_by_rank(ids, BASE, BASE_FIXED), *counts))
    assert_as_defined(rows, BASE, **options)
