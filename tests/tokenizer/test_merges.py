"""The merge learner against the definition of byte-pair encoding: count everything again at every step."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from diglot.tokenizer.merges import MINIMUM_COUNT, Word, continue_merges

STRINGS = [*"abcxy", "<0x00>"]
FIXED = frozenset({5})
FAMILIAR = frozenset("abc")
words_of = st.lists(
    st.builds(
        Word,
        st.lists(st.integers(0, 5), min_size=1, max_size=8),
        st.integers(0, 6),
        st.integers(0, 3),
    ),
    max_size=8,
)


def count_pairs(sequences):
    new, base = {}, {}
    for ids, new_count, base_count in sequences:
        for pair in pairwise(ids):
            if not FIXED.intersection(pair):
                new[pair] = new.get(pair, 0) + new_count
                base[pair] = base.get(pair, 0) + base_count
    return new, base


def replace(ids, pair, new):
    out, place = [], 0
    while place < len(ids):
        here = tuple(ids[place : place + 2]) == pair
        out.append(new if here else ids[place])
        place += 2 if here else 1
    return out


def by_definition(words, number, max_length, tolerance):
    strings, sequences, merges = list(STRINGS), list(words), []
    total = max(sum(word.new_count for word in words), 1)
    base_total = max(sum(word.base_count for word in words), 1)
    refused = set()
    while len(merges) < number:
        new, base = count_pairs(sequences)
        candidates = [pair for pair, count in new.items() if count >= MINIMUM_COUNT and pair not in refused]
        if not candidates:
            break
        pair = min(candidates, key=lambda pair: (-new[pair], pair))
        string = strings[pair[0]] + strings[pair[1]]
        frequent = tolerance is None or base[pair] / base_total > tolerance * new[pair] / total
        if len(string) > max_length or string in strings or (set(string) <= FAMILIAR and frequent):
            refused.add(pair)
            continue
        merges.append((*pair, len(strings)))
        sequences = [(replace(ids, pair, len(strings)), *counts) for ids, *counts in sequences]
        strings.append(string)
    return merges, strings


@given(words_of, st.integers(0, 12), st.sampled_from([2, 3, 16]), st.sampled_from([None, 0.0, 0.5, 9.0]))
@settings(max_examples=400, deadline=None)
def test_merges_are_those_of_the_definition(words, number, max_length, tolerance):
    strings = list(STRINGS)
    merges = continue_merges(words, strings, FIXED, number, max_length, FAMILIAR, tolerance)
    assert ([tuple(merge) for merge in merges], strings) == by_definition(
        words, number, max_length, tolerance
    )


def test_more_words_only_need_more_count():
    """The order in which words are listed does not matter."""
    words = [Word([0, 1, 3], 5, 0), Word([1, 3, 3, 3], 4, 0), Word([4, 3, 3], 3, 1)]
    results = [
        continue_merges(order, list(STRINGS), FIXED, 9, 16, FAMILIAR, None) for order in (words, words[::-1])
    ]
    assert results[0] == results[1] != []
