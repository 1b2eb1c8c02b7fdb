"""Where the words of a text are, in every language, so that tokens per word can be compared between them.

- with spaces: what stands between whitespace, so "said," is a word (`len(text.split())` of them);
- Chinese, Japanese, Thai: a segment of BudouX, as the corpus cuts them (`diglot.text.segment`); a cut counts only
  beside a character of a script without spaces, and punctuation alone is no word (elsewhere it hangs on one);
- Lao, Khmer, Burmese, Tibetan: a letter with its marks, as in the corpus: there is no segmenter for these.

    "He said, 今日は天気です。"  (ja)  ->  He | said, | 今日 | は | 天気 | です
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from diglot.text.languages import is_unspaced
from diglot.text.segment import model_name, segment
from diglot.text.unicode import DIGIT, LETTER, MARK, SPACE, UNSPACED, character_tables

CORE = LETTER | DIGIT | MARK


class Spans(NamedTuple):
    """The words of one text, as places in it (counted in characters).

    Attributes:
        starts, ends: int64 [words], of each whole word.
        core_starts, core_ends: int64 [words with a letter or digit], without the punctuation around them.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    core_starts: NDArray[np.int64]
    core_ends: NDArray[np.int64]


def what_words_are(language: str | None) -> str:
    """What is counted as a word in a language: `spaces`, `segments` or `characters`."""
    if model_name(language):
        return "segments"
    return "characters" if is_unspaced(language) else "spaces"


def word_spans(texts: Sequence[str], language: str | None) -> list[Spans]:
    """The words of each text.

    Args:
        texts: in one language.
        language: its code (`zh`, `zh-Hant`, `ar`); None: words stand between spaces.
    """
    name = model_name(language)
    if name:
        segments = segment(pa.array(texts, pa.large_string()), name)
        return [_spans(text, _begins(text, of_text)) for text, of_text in zip(texts, segments, strict=True)]
    if is_unspaced(language):
        return [_spans(text, _letters(text)) for text in texts]
    return [_spans(text, None) for text in texts]


def _kinds(text: str) -> NDArray[np.uint8]:
    """The class flags of each character."""
    return character_tables()[0][np.frombuffer(text.encode("utf-32-le"), np.uint32)]


def _begins(text: str, segments: list[str]) -> NDArray[np.bool_]:
    """Where a segment begins that counts as a word: one of its neighbours is of a script without spaces."""
    found, at = np.zeros(len(text), bool), 0
    for piece in segments:
        at = text.index(piece, at)
        found[at] = True
        at += len(piece)
    beside = (_kinds(text) & (UNSPACED | MARK)) != 0
    beside[1:] |= beside[:-1].copy()
    return found & beside


def _letters(text: str) -> NDArray[np.bool_]:
    """Where a letter of a script without spaces begins, or what follows one and its marks."""
    kinds = _kinds(text)
    lone = (kinds & UNSPACED) != 0
    behind = np.zeros(len(text), bool)
    behind[1:] = ((kinds[:-1] & (UNSPACED | MARK)) != 0) & ((kinds[1:] & MARK) == 0)
    return (lone | behind) & ((kinds & MARK) == 0)


def _spans(text: str, begins: NDArray[np.bool_] | None) -> Spans:
    """Words that begin behind whitespace and at `begins`; of a script without spaces only those with a core."""
    kinds = _kinds(text)
    shown = np.concatenate(([False], (kinds & SPACE) == 0, [False]))
    first = shown[1:-1] & ~shown[:-2]
    if begins is not None:
        first |= begins & shown[1:-1]
    last = shown[1:-1] & ~(shown[2:] & ~np.append(first[1:], False))
    starts, ends = np.flatnonzero(first), np.flatnonzero(last) + 1
    core = np.flatnonzero(kinds & CORE)
    low, high = np.searchsorted(core, starts), np.searchsorted(core, ends)
    some = low < high
    if begins is not None:
        starts, ends = starts[some], ends[some]
    return Spans(starts, ends, core[low[some]], core[high[some] - 1] + 1)
