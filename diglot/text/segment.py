r"""Words in languages written without spaces: the inference of BudouX as a kernel.

What a word is, by language:

- with spaces (all others): what stands between whitespace. In **Korean** that is an eojeol, a word with its
  particles ("학교에서" is one), so stop words and short words are rare; in **Vietnamese** it is a syllable
  ("ngôn ngữ", language, is two), so words are short and n-grams cover less. Thresholds taken from English are
  wrong for both: learn them from reference text (`learn-rules`).
- **Chinese, Japanese, Thai**: a segment of BudouX (Apache-2.0, models in its wheel). Its `zh-hans`, `zh-hant` and
  `th` models cut words; its default Japanese model cuts phrases (bunsetsu), so Japanese uses `ja_word`, which the
  wheel has too. Mean characters of a segment in real text: ja_word 1.8 (ja would be 4.5), zh-hans 1.9, th 4.1.
  Against single letters, the 5-gram limit of 0.15 drops 10% of real Chinese documents instead of 21%, of Japanese
  23% instead of 75%, of Thai 55% instead of 92%; 93% and more still have letters in 80% of their words. Gopher's
  least mean word length, 3, fits Thai only: it would drop 18% of Chinese and 43% of Japanese documents.
- **Lao, Khmer, Burmese, Tibetan**: a letter with its marks; no segmenter is at hand that installs with pip and
  needs no download. Rules about the length of words are left out for these.

BudouX asks of every place between two characters whether a segment ends there: the sum of weights of the
characters, pairs and triples around it, a boosted forest of stumps. Here each character, pair and triple is looked
up once and its weights are added to all the places that see it. A stretch between whitespace is a sentence to it.

    "今日は天気です" -> 今日 は 天気 です

Its models see little Latin text and cut `202|5` or `Lin|ux`: a cut counts only beside a character of a script
written without spaces (`signals`).
"""

from __future__ import annotations

import functools
import itertools
import json
from importlib import resources
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from diglot.text.hash_table import empty_keys, enter, find
from diglot.text.languages import base_code
from diglot.text.unicode import SPACE, character_tables, decode, finish, kernel, text_buffers

_MODELS = {"ja": "ja_word", "th": "th", "zh": "zh-hans", "wuu": "zh-hans", "yue": "zh-hant"}
_TRADITIONAL = ("zh-hant", "zh-tw", "zh-hk", "zh-mo")

_SINGLE = ("UW1", "UW2", "UW3", "UW4", "UW5", "UW6")
_PAIR = ("BW1", "BW2", "BW3")
_TRIPLE = ("TW1", "TW2", "TW3", "TW4")
_BITS = 20  # of a character's number within a packed pair or triple


class Model(NamedTuple):
    """A BudouX model as arrays.

    Attributes:
        numbers: uint16 [0x110000], of each code point: 0 where no feature has it.
        single: int64 [characters + 1, 6], weights of `UW1` … `UW6` by number.
        keys: uint64 [slots], hashes of packed pairs and triples of numbers (`finish` gives each its own).
        weights: int64 [slots, 4], of `BW1` … `BW3` or `TW1` … `TW4`.
        base: score of a place that no feature speaks for. It and all weights are doubled, to be whole.
    """

    numbers: np.ndarray
    single: np.ndarray
    keys: np.ndarray
    weights: np.ndarray
    base: int


def model_name(language: str | None) -> str | None:
    """The BudouX model that segments a language, if any does."""
    if language is None:
        return None
    if language.lower().startswith(_TRADITIONAL):
        return "zh-hant"
    return _MODELS.get(base_code(language))


@functools.cache
def load(name: str) -> Model:
    """Load a model from BudouX's wheel: `ja`, `ja_word`, `th`, `zh-hans` or `zh-hant`."""
    features = json.loads(resources.files("budoux").joinpath("models", f"{name}.json").read_text("utf-8"))
    alphabet = sorted({character for weights in features.values() for key in weights for character in key})
    numbers = np.zeros(0x110000, np.uint16)
    numbers[[ord(character) for character in alphabet]] = np.arange(1, len(alphabet) + 1)
    single = np.zeros((len(alphabet) + 1, len(_SINGLE)), np.int64)
    for column, feature in enumerate(_SINGLE):
        for character, weight in features.get(feature, {}).items():
            single[numbers[ord(character)], column] = 2 * weight
    grams: dict[int, np.ndarray] = {}
    for names in (_PAIR, _TRIPLE):
        for column, feature in enumerate(names):
            for text, weight in features.get(feature, {}).items():
                packed = 0
                for character in text:
                    packed = packed << _BITS | int(numbers[ord(character)])
                grams.setdefault(packed, np.zeros(4, np.int64))[column] = 2 * weight
    keys, weights = _table(grams)
    return Model(numbers, single, keys, weights, -sum(sum(group.values()) for group in features.values()))


def _table(grams: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A hash table of packed pairs and triples."""
    keys = empty_keys(len(grams), 3)
    weights = np.zeros((len(keys), 4), np.int64)
    hashes = np.array([finish(np.uint64(packed)) for packed in grams], np.uint64)
    weights[enter(hashes, keys)] = list(grams.values())
    return keys, weights


def segment(texts: pa.Array, name: str) -> list[list[str]]:
    """Cut texts as BudouX's parser does, stretch by stretch between whitespace.

    Args:
        texts: `large_string` array [documents].
        name: of a model.

    Returns:
        The segments of each document, whitespace left out.
    """
    data, offsets = text_buffers(texts)
    classes, _ = character_tables()
    model = load(name)
    results = []
    for start, end in itertools.pairwise(offsets):
        cuts = np.zeros(end - start + 1, np.uint8)
        find_cuts(data, start, end, classes, model, cuts)
        raw = data[start:end].tobytes()
        places = [0, *np.flatnonzero(cuts[: end - start]).tolist(), end - start]
        pieces = [raw[low:high].decode() for low, high in itertools.pairwise(places) if high > low]
        results.append([segment for piece in pieces for segment in piece.split()])
    return results


@kernel
def find_cuts(data, start, end, classes, model, cuts):
    """Set `cuts[i]` to 1 where a segment begins at byte `start + i` that is not the first of its stretch.

    `cuts` comes in as zeros. While character k is looked at, `two_back` is the score of the place before character
    k - 2, which sees no further than this; `one_back`, `here`, `ahead_1` … those of the places before k - 1, k, ….

    data uint8, classes uint8 [code points], cuts uint8 [end - start + 1]. The plain twin is BudouX's own parser.
    """
    bits, base = np.uint64(_BITS), np.int64(model.base)
    two_back = one_back = here = ahead_1 = ahead_2 = base
    before = before_2 = np.uint64(0)
    # Byte positions of the two characters before; -1: not in this stretch, or its first.
    place_1 = place_2 = -1
    at, first = start, True
    while at <= end:
        code, size = (10, 1) if at == end else decode(data, at)
        if classes[code] & SPACE:
            # Whitespace: the two places before it have seen all that they will.
            if place_2 >= 0 and two_back > 0:
                cuts[place_2 - start] = 1
            if place_1 >= 0 and one_back > 0:
                cuts[place_1 - start] = 1
            two_back = one_back = here = ahead_1 = ahead_2 = base
            before = before_2 = np.uint64(0)
            place_1 = place_2 = -1
            first = True
            at += size
            continue
        # A character speaks for six places: three before it, that in front of it, and two behind.
        ahead_3 = base
        number = np.uint64(model.numbers[code])
        if number:
            row = model.single[number]
            ahead_3 += row[0]
            ahead_2 += row[1]
            ahead_1 += row[2]
            here += row[3]
            one_back += row[4]
            two_back += row[5]
            if before:
                slot = find(model.keys, finish(before << bits | number))
                if slot >= 0:
                    ahead_1 += model.weights[slot, 0]
                    here += model.weights[slot, 1]
                    one_back += model.weights[slot, 2]
                if before_2:
                    slot = find(model.keys, finish((before_2 << bits | before) << bits | number))
                    if slot >= 0:
                        ahead_1 += model.weights[slot, 0]
                        here += model.weights[slot, 1]
                        one_back += model.weights[slot, 2]
                        two_back += model.weights[slot, 3]
        if place_2 >= 0 and two_back > 0:
            cuts[place_2 - start] = 1
        place_2, place_1 = place_1, -1 if first else at
        two_back, one_back, here, ahead_1, ahead_2 = one_back, here, ahead_1, ahead_2, ahead_3
        before_2, before = before, number
        first = False
        at += size
