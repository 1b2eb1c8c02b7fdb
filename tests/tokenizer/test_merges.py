"""The merge learner against definitions: count everything again at every step, encode every word again by rank."""

import json
import unicodedata
from collections import Counter
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import tokenizers
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from diglot.tokenizer.learn import merges
from diglot.tokenizer.learn.merges import MINIMUM_COUNT, Words, continue_merges

# One, two, three and four bytes; é and è begin alike, and so do ข and ค.
LETTERS = "abcéèขค😀 ."
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
        "base_script": None,
        "tolerance": None,
        "every_split": False,
        "parity": False,
    }
    options |= changes
    if options["base_script"] is not None:
        codes = [ord(character) for character in options["base_script"]]
        options["base_script"] = np.isin(np.arange(0x110000), codes)
    return continue_merges(as_words(rows), list(pieces), number=number, **options)


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


def made_of(piece, base_script):
    """Of what is new, of the base's letters (and spaces), or of other characters of the base."""
    begun, whole, rest = parts(piece)
    ends = [character for character in base_script if character.encode().startswith(rest)] if rest else []
    if not base_script.issuperset(whole) or (rest and not ends):
        return "new"
    letters = [unicodedata.category(character)[0] in "LM" for character in whole]
    letters += [any(unicodedata.category(character)[0] in "LM" for character in ends)] if rest else []
    others = [not is_letter for is_letter, character in zip(letters, [*whole, rest], strict=False) if character != " "]
    return "words" if (begun or any(letters)) and not any(others) else "other"


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
    ids = list(ids)
    while True:
        found = [
            (ranks[text], place)
            for place, (left, right) in enumerate(pairwise(ids))
            if not fixed & {left, right} and (text := pieces[left] + pieces[right]) in ranks
        ]
        if not found:
            return ids
        rank, place = min(found)
        ids[place : place + 2] = [rank]


def by_definition(rows, pieces, number, max_characters, fixed, base_script, tolerance, every_split, parity):
    """Learn merges; returns merges, pieces and tokens. With every split, words are encoded anew by rank each time."""
    pieces, first, joined, refused = list(pieces), len(pieces), [], set()
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
    while len(joined) < number:
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
        order = sorted((group for group in candidates if candidates[group]), key=lambda group: (-costs[group], group))
        if not order:
            break
        found = counts[order[0]]
        unit = min(candidates[order[0]], key=lambda unit: (-found[unit], unit))
        left, right = min(splits[unit], key=lambda pair: (-splits[unit][pair], pair))
        text = pieces[left] + pieces[right]
        often = tolerance is None or seconds[unit] / base_total > tolerance * found[unit] / total
        kind = "new" if base_script is None else made_of(text, base_script)
        if kind == "other" or (kind == "words" and often):
            refused.add(unit)
            continue
        joined.append((left, right))
        pieces.append(text)
        if every_split:
            sequences = [encode_by_rank(ids, pieces, fixed) for ids in originals]
        else:
            sequences = [replace(ids, (left, right), len(pieces) - 1) for ids in sequences]
        tokens.append(cut_into(1))
    return joined, pieces[first:], tokens


def assert_as_defined(rows, pieces, **options):
    learnt = learn(rows, pieces, **options)
    joined, new, tokens = by_definition(rows, pieces, **options)
    assert (list(map(tuple, learnt.merges.tolist())), learnt.pieces) == (joined, new)
    assert learnt.tokens.tolist() == tokens


OPTIONS = st.fixed_dictionaries(
    {
        "number": st.sampled_from([0, 1, 3, 40]),
        "max_characters": st.sampled_from([1, 2, 3, 16]),
        "fixed": st.just(frozenset()),
        "base_script": st.none() | st.frozensets(st.sampled_from(LETTERS)),
        "tolerance": st.sampled_from([None, 0.0, 0.5, 9.0]),
        "every_split": st.booleans(),
        "parity": st.just(False),
    }
)


# --- against the definitions ----------------------------------------------------------------------------------


@given(TEXTS, OPTIONS)
@examples(150)
def test_characters_merge_as_defined(texts, options):
    pieces = [letter.encode() for letter in LETTERS]
    rows = [([LETTERS.index(letter) for letter in word], *counts) for word, *counts in texts]
    assert_as_defined(rows, pieces, **options)


@given(TEXTS, OPTIONS)
@examples(150)
def test_bytes_merge_as_defined(texts, options):
    """Pieces may begin and end within a character."""
    pieces = [bytes([value]) for value in range(256)]
    rows = [(list(word.encode()), *counts) for word, *counts in texts]
    assert_as_defined(rows, pieces, **options)


@given(TEXTS, OPTIONS, st.booleans())
@examples(150)
def test_parity_merges_as_defined(texts, options, every_split):
    pieces = [letter.encode() for letter in LETTERS]
    rows = [([LETTERS.index(letter) for letter in word], *counts) for word, *counts in texts]
    options |= {"base_script": None, "tolerance": None, "parity": True, "every_split": every_split}
    assert_as_defined(rows, pieces, **options)


# A special token, pieces, a byte token, and a piece that may not be made.
BASE = [b"<s>", *(letter.encode() for letter in "abc<s>"), b"ab", b"bc", b"abc", b"ca", b"aa", b"bcab", b"<", b"cc"]
BASE_FIXED = frozenset({0, 13, 14})
BASE_TEXTS = st.lists(
    st.tuples(st.text("abc<s>", max_size=9), st.integers(0, 6), st.integers(0, 3), st.integers(0, 2)), max_size=8
)


@given(BASE_TEXTS, OPTIONS)
def test_merges_after_those_of_a_base_are_as_defined(texts, options):
    """New merges make what the base could not cut, and, with every split, pieces of the base in new ways."""
    rows = []
    for word, *counts in texts:
        ids = [1 + "abc<s>".index(letter) for letter in word]
        rows.append((encode_by_rank(ids, BASE, BASE_FIXED), *counts))
    assert_as_defined(rows, BASE, **(options | {"fixed": BASE_FIXED}))


@pytest.mark.parametrize("every_split", [False, True])
@pytest.mark.parametrize("parity", [False, True])
def test_many_merges_are_as_defined_when_room_is_short(monkeypatch, every_split, parity):
    """More candidates than there is room for at first: those that became rare are dropped on the way."""
    compacted = []
    monkeypatch.setattr(merges, "SPARE", 1.3)
    compact = merges._Learner._compact

    def counted(learner):
        compacted.append(learner.done)
        compact(learner)

    monkeypatch.setattr(merges._Learner, "_compact", counted)
    letters = [bytes([letter]) for letter in b"abcdefgh"]
    rows = [(ids, count, number % 3, number % 2) for number, (ids, count) in enumerate(made_up_words(80))]
    options = {"number": 400, "max_characters": 16, "fixed": frozenset(), "base_script": None, "tolerance": None}
    assert_as_defined(rows, letters, **options, every_split=every_split, parity=parity)
    assert max(compacted) > 0


# --- against the tokenizers library ---------------------------------------------------------------------------


def made_up_words(number):
    """Different words over eight letters, made of a few syllables, and how often each occurs."""
    random = Random(number)
    syllables = [random.choices(range(8), k=random.randint(1, 3)) for _ in range(25)]
    words = {
        tuple(letter for syllable in random.choices(syllables, k=random.randint(1, 5)) for letter in syllable)
        for _ in range(number)
    }
    return [(list(word), random.randint(1, 50)) for word in sorted(words)]


def test_words_are_cut_as_the_tokenizers_library_cuts_them():
    """Each word is a group of its own, so its tokens are known after each merge."""
    words = made_up_words(1000)
    letters = [bytes([letter]) for letter in b"abcdefgh"]
    learnt = learn([(ids, 1, 0, group) for group, (ids, _) in enumerate(words)], letters)
    strings = [piece.decode() for piece in [*letters, *learnt.pieces]]
    assert len(learnt.merges) > 100
    for done in (0, 1, 10, 100, len(learnt.merges)):
        model = models.BPE(
            vocab={text: number for number, text in enumerate(strings[: len(letters) + done])},
            merges=[(strings[left], strings[right]) for left, right in learnt.merges[:done]],
        )
        cut = [len(model.tokenize("".join(strings[letter] for letter in ids))) for ids, _ in words]
        assert learnt.tokens[done].tolist() == cut


def test_with_every_split_words_are_cut_as_the_tokenizers_library_cuts_them():
    """With a merge for every split, in the order of the pieces. Its splits of one piece have an order of their own,
    so in "a aa a" it may take another "aaa" than the first; no such word is among these.
    """
    words = made_up_words(1000)
    letters = [bytes([letter]) for letter in b"abcdefgh"]
    learnt = learn([(ids, 1, 0, group) for group, (ids, _) in enumerate(words)], letters, every_split=True)
    new = [piece.decode() for piece in learnt.pieces]
    vocabulary = {text: number for number, text in enumerate([*"abcdefgh", *new])}
    splits = [(text[:at], text[at:]) for text in new for at in range(1, len(text))]
    model = models.BPE(vocab=vocabulary, merges=[pair for pair in splits if vocabulary.keys() >= set(pair)])
    cut = [len(model.tokenize("".join("abcdefgh"[letter] for letter in ids))) for ids, _ in words]
    assert len(model.tokenize(new[-1])) == 1
    assert learnt.tokens[-1].tolist() == cut


@pytest.mark.parametrize("seed", range(100, 110))
def test_from_scratch_merges_are_those_of_the_tokenizers_library(seed):
    words = made_up_words(seed)
    letters = [bytes([letter]) for letter in b"abcdefgh"]
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=10_000, min_frequency=2, initial_alphabet=list("abcdefgh"), show_progress=False
    )
    texts = ["".join("abcdefgh"[letter] for letter in ids) for ids, _ in words]
    tokenizer.train_from_iterator(
        [text for text, (_, count) in zip(texts, words, strict=True) for _ in range(count)], trainer
    )
    theirs = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    learnt = learn([(ids, count, 0, 0) for ids, count in words], letters, max_characters=99)
    strings = [piece.decode() for piece in [*letters, *learnt.pieces]]
    ours = [(strings[left], strings[right]) for left, right in learnt.merges]
    # Where a second pair spells a piece that it has, the library merges that as well, and ways part.
    made = ["".join(pair) for pair in theirs]
    same = next((number for number, text in enumerate(made) if text in made[:number]), len(made))
    assert ours[:same] == theirs[:same]
    assert same > 30


# --- what is allowed ------------------------------------------------------------------------------------------


def test_overlapping_pairs_join_from_the_left():
    learnt = learn([([0] * 7, 1, 0, 0)], [b"a"])
    assert learnt.merges.tolist() == [[0, 0], [1, 1]]
    assert learnt.tokens.tolist() == [[7], [4], [3]]  # aaaaaaa: aa aa aa a: aaaa aa a


def test_with_every_split_all_ways_to_spell_a_piece_count_together():
    """ "abc" is seen as ab c and as a bc: three times each way are more than any pair's five."""
    pieces = [b"a", b"b", b"c", b"x", b"ab", b"bc"]
    rows = [([4, 2], 3, 0, 0), ([0, 5], 3, 0, 0), ([3, 1], 5, 0, 0)]
    assert learn(rows, pieces, number=1, every_split=True).pieces == [b"abc"]
    assert learn(rows, pieces, number=1, every_split=True).tokens.tolist() == [[22], [16]]
    assert learn(rows, pieces, number=1, every_split=False).pieces == [b"xb"]


def test_with_every_split_an_older_piece_joins_at_once():
    """After x and y are joined, xy and z spell a piece of the base, which they become without a merge."""
    pieces = [b"x", b"y", b"z", b"yz", b"xyz"]
    learnt = learn([([0, 1, 2], 4, 0, 0), ([0, 1], 4, 0, 0)], pieces, every_split=True)
    assert learnt.pieces == [b"xy"]
    assert learnt.tokens.tolist() == [[20], [8]]


def test_the_order_of_words_does_not_matter():
    words = [(ids, count, number % 4, number % 3) for number, (ids, count) in enumerate(made_up_words(200))]
    halves = [(ids, count // 2, second, group) for ids, count, second, group in words]
    others = [(ids, count - count // 2, 0, group) for ids, count, second, group in reversed(words)]
    letters = [bytes([letter]) for letter in b"abcdefgh"]
    for options in ({}, {"every_split": True}, {"parity": True}, {"every_split": True, "parity": True}):
        one, other = (learn(rows, letters, **options) for rows in (words, [*others, *halves]))
        assert one.pieces == other.pieces
        assert one.merges.tolist() == other.merges.tolist()
        assert one.tokens.tolist() == other.tokens.tolist()


def bytes_learnt(text, **options):
    """The pieces learnt from one word in bytes."""
    return learn([(list(text.encode()), 2, 0, 0)], [bytes([value]) for value in range(256)], **options).pieces


def test_incomplete_characters_count():
    assert bytes_learnt("ข", max_characters=1) == ["ข".encode()[1:], "ข".encode()]
    assert bytes_learnt("éa", max_characters=1) == ["é".encode()]
    assert bytes_learnt("éé", max_characters=2) == ["é".encode(), "éé".encode()]
    middle = learn([([0xA9, 0xC3], 2, 0, 0)], [bytes([value]) for value in range(256)], max_characters=1)
    assert middle.pieces == []  # the end of one, the beginning of another


def test_base_script_is_of_bytes_that_may_be_of_the_base_language():
    """é is C3 A9, è is C3 A8, ö is C3 B6, ข is E0 B8 82, ค is E0 B8 84."""
    assert bytes_learnt("ab", base_script=frozenset("ab")) == []
    assert bytes_learnt("ab", base_script=frozenset("a")) == [b"ab"]
    assert bytes_learnt("é", base_script=frozenset("è")) == ["é".encode()]
    assert bytes_learnt("aé", base_script=frozenset("aè")) == ["é".encode(), "aé".encode()]
    assert bytes_learnt("ข", base_script=frozenset("ค")) == []  # all it begins and ends with could be of ค
    assert bytes_learnt("ข", base_script=frozenset("é")) == ["ข".encode()[:2], "ข".encode()]
    assert bytes_learnt("ab", base_script=frozenset()) == [b"ab"]
    assert bytes_learnt("ab", base_script=None) == [b"ab"]


def test_what_cannot_be_learnt_from_is_refused():
    with pytest.raises(ValueError, match="symbols"):
        learn([([0, 5], 1, 0, 0)], [b"a"])
    with pytest.raises(ValueError, match="seconds"):
        learn([([0, 0], 1, 0, 0)], [b"a"], base_script=frozenset("a"), tolerance=0.5, parity=True)


def test_no_words_no_merges():
    learnt = learn([], [b"a"])
    assert (learnt.merges.shape, learnt.pieces, learnt.tokens.shape) == ((0, 2), [], (1, 0))


def test_progress_is_told():
    told = []
    words = [([letter, other], 2, 0, 0) for letter in range(50) for other in range(50)]
    as_learnt = as_words(words)
    options = {"max_characters": 9, "fixed": (), "base_script": None, "tolerance": None}
    continue_merges(
        as_learnt,
        [bytes([letter]) for letter in range(50)],
        number=2500,
        every_split=False,
        parity=False,
        progress=told.append,
        **options,
    )
    assert told == [1000, 2000]
