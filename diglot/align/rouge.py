"""ROUGE-L of short texts, also against a whole pool of them: how much of two texts is the same, in the same order.

    words = cut_words("Name the capital of Egypt.", "en")     Name the capital of Egypt .
    rouge_l(words, other)                                     2 · longest common subsequence / (words + other words)
    pool = Pool(); pool.add(words); pool.nearest([other])     the highest ROUGE-L to any text of the pool, a number a text

The longest common subsequence is rapidfuzz's, bit-parallel: 64 words of a text are compared at a time. Each word is a
code point to it, so that a text is a string.

What a word is follows PolyLM (2307.06018, appendix A.2), who used NLTK's wordpunct for most languages and a segmenter for
Japanese, Korean and Thai. Here those are BudouX (ja, th; zh too) and Kiwi (ko; the paper's Okt needs Java).
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from diglot.base.errors import UserError
from diglot.text.languages import base_code
from diglot.text.segment import model_name, segment

WORDPUNCT = re.compile(r"\w+|[^\w\s]+")  # nltk.tokenize.wordpunct_tokenize
SURROGATES = range(0xD800, 0xE000)  # no characters, so no words
QUERIES = 256  # texts compared with the pool at a time: their matrix stays in a few megabytes

Words = list[str]


def cut_words(texts: Sequence[str], language: str) -> list[Words]:
    """The words of texts.

    Args:
        texts: any.
        language: that they are in.

    Raises:
        UserError: Korean, and its segmenter is not installed.
    """
    segments: list[Words]
    if (name := model_name(language)) is not None:
        segments = segment(pa.array(texts, pa.large_string()), name)
    elif base_code(language) == "ko":
        segments = [[token.form for token in _kiwi().tokenize(text)] for text in texts]
    else:
        return [WORDPUNCT.findall(text) for text in texts]
    # Segmenters leave punctuation at the words. Thai vowels are no \w: wordpunct would take words apart at them.
    return [[word for piece in pieces for word in _apart(piece)] for pieces in segments]


def _apart(piece: str) -> Words:
    """A piece of text cut where punctuation begins or ends."""
    return [
        "".join(run)
        for _, run in itertools.groupby(piece, lambda character: unicodedata.category(character)[0] in "PS")
    ]


@functools.cache
def _kiwi() -> Any:
    try:
        from kiwipiepy import Kiwi  # extra: korean
    except ImportError as error:
        raise UserError("Korean is cut into words by Kiwi: pip install 'diglot[korean]'") from error
    return Kiwi()


def rouge_l(first: Words, second: Words) -> float:
    """ROUGE-L F1 of two texts; 0 where one has no words."""
    pool = Pool()
    pool.add(first)
    return float(pool.nearest([second])[0])


class Pool:
    """Texts to compare others with."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._texts: list[str] = []

    def __len__(self) -> int:
        return len(self._texts)

    def _spelled(self, words: Words) -> str:
        """A text with a code point for each word."""
        numbers = [self._numbers.setdefault(word, len(self._numbers)) for word in words]
        return "".join(chr(n if n < SURROGATES.start else n + len(SURROGATES)) for n in numbers)

    def add(self, words: Words) -> None:
        """Put a text into the pool."""
        self._texts.append(self._spelled(words))

    def nearest(self, texts: Sequence[Words]) -> NDArray[np.float64]:
        """The highest ROUGE-L F1 of each text to one of the pool; 0 where the pool is empty."""
        return self._nearest([self._spelled(words) for words in texts])

    def _nearest(self, spelled: list[str]) -> NDArray[np.float64]:
        best = np.zeros(len(spelled))
        if self._texts:
            for start in range(0, len(spelled), QUERIES):
                best[start : start + QUERIES] = f1(spelled[start : start + QUERIES], self._texts).max(axis=1)
        return best

    def take_new(self, texts: Sequence[Words], limit: float) -> NDArray[np.float64]:
        """Put those texts into the pool that are like none in it, in their order: a text is compared with those before it.

        Args:
            texts: the new ones.
            limit: a text whose ROUGE-L to another is as high is not taken.

        Returns:
            The highest ROUGE-L of each text: to the pool, and to the texts that were taken before it.
        """
        spelled = [self._spelled(words) for words in texts]
        best = np.zeros(len(spelled))
        # As many at a time as are compared with the pool: a round may have tens of thousands, and pairs their square.
        for start in range(0, len(spelled), QUERIES):
            part = spelled[start : start + QUERIES]
            scores, among = self._nearest(part), f1(part, part)
            taken: list[int] = []
            for place, text in enumerate(part):
                if taken:
                    scores[place] = max(scores[place], among[place, taken].max())
                if scores[place] < limit:
                    taken.append(place)
                    self._texts.append(text)
            best[start : start + QUERIES] = scores
        return best


def f1(first: Sequence[str], second: Sequence[str]) -> NDArray[np.float64]:
    """ROUGE-L F1 of all pairs of texts, [first, second]."""
    from rapidfuzz.distance import LCSseq  # extra: align
    from rapidfuzz.process import cdist

    if not first or not second:
        return np.zeros((len(first), len(second)))
    common = cdist(first, second, scorer=LCSseq.similarity, dtype=np.int32)
    lengths = np.array([len(text) for text in first])[:, None] + np.array([len(text) for text in second])
    return 2 * common / np.maximum(lengths, 1)
