"""Measure what a tokenizer does to text.

    fertility             tokens per word; a word stands between spaces, and in languages written without them it is a
                          segment (see `word_spans.py`), so that languages compare
    characters_per_token  code points per token
    bytes_per_token       UTF-8 bytes per token: what a token carries, but scripts differ in bytes per character
    continued_words       share of words whose letters are cut into more than one token (Rust et al. 2021, 3.2)
    unknown_tokens        share of tokens that say only that something was there (a tokenizer without bytes)
    gini                  how unequally languages pay for the same content

Tokens are found in the text by their places in it, so that all of this works for every kind of tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tokenizers

from diglot.tokenizer.folder import BATCH, SPACE, unknown_id
from diglot.tokenizer.word_spans import what_words_are, word_spans


def measure(tokenizer: tokenizers.Tokenizer, texts: Sequence[str], language: str | None = None) -> dict[str, Any]:
    """Fertility and its relatives on some texts (see the top of this file).

    Args:
        tokenizer: as `load_tokenizer` loads it.
        texts: in one language.
        language: its code, which says what a word is; None: what stands between spaces.

    Returns:
        Counts of `documents`, `words` and `tokens`; `words_are` (`spaces`, `segments` or `characters`); and the
        measures, to 4 digits.
    """
    spans = word_spans(texts, language)
    unknown, space = unknown_id(tokenizer), tokenizer.token_to_id(SPACE)
    tokens = unknowns = cores = continued = 0
    for first in range(0, len(texts), BATCH):
        encoded = tokenizer.encode_batch(texts[first : first + BATCH], add_special_tokens=False)
        for encoding, words in zip(encoded, spans[first : first + BATCH], strict=True):
            ids = np.array(encoding.ids, np.int64)
            tokens, unknowns = (
                tokens + len(ids),
                unknowns + 0 if unknown is None else int(np.count_nonzero(ids == unknown)),
            )
            # [tokens, 2]: begin and end of each; the lone space of a word may have the place of its first letter
            places = np.array(encoding.offsets, np.int64).reshape(-1, 2)[ids != (-1 if space is None else space)]
            # A word's core is continued where more than one token lies between its first character and its last.
            begun = np.searchsorted(places[:, 0], words.core_ends, "left")
            ended = np.searchsorted(places[:, 1], words.core_starts, "right")
            cores, continued = cores + len(begun), continued + int(np.count_nonzero(begun - ended > 1))
    words_in_all = sum(len(words.starts) for words in spans)
    characters, size = sum(map(len, texts)), sum(len(text.encode()) for text in texts)
    return {
        "documents": len(texts),
        "words": words_in_all,
        "words_are": what_words_are(language),
        "tokens": tokens,
        "fertility": round(tokens / max(words_in_all, 1), 4),
        "characters_per_token": round(characters / max(tokens, 1), 4),
        "bytes_per_token": round(size / max(tokens, 1), 4),
        "continued_words": round(continued / max(cores, 1), 4),
        "unknown_tokens": round(unknowns / max(tokens, 1), 4),
    }


def gini(values: Sequence[float]) -> float:
    """The Gini coefficient of values that are not negative: 0 where all are equal, towards 1 where one has all.

    The mean difference between two values, divided by twice the mean.
    """
    total, count = sum(values), len(values)
    if not total:
        return 0.0
    ranked = sum(rank * value for rank, value in enumerate(sorted(values), 1))
    return 2 * ranked / (count * total) - (count + 1) / count


def phrases(texts: Iterable[str], number: int, words: int = 3) -> list[str]:
    """A few short phrases of letters only, one from a text, for showing how they are cut."""
    found = []
    for text in texts:
        run: list[str] = []
        for word in text.split():
            run = [*run, word] if word.isalpha() and len(word) > 2 else []
            if len(run) == words:
                found.append(" ".join(run))
                break
        if len(found) == number:
            break
    return found
