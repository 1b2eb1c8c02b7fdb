"""What conversations and pairs must not hold: text of evaluation sets, near repetitions, another language.

    contaminated      a message shares 13 words in a row with an evaluation item (read/decontaminate.py)
    near_duplicate    what is asked resembles what an earlier record asks: Jaccard similarity of shingles of 5 words
    wrong_language    more of the messages than are allowed are in another language

**Near repetitions** are found by MinHash (text/minhash.py) and verified: 128 permutations in 32 bands of 4 rows, so that a pair
of similarity 0.8 is a candidate with probability 1 - (1 - 0.8^4)^32, that is always, and the shingles themselves decide. Some 2
KB a record are kept in memory, and its text.

**Language.** A message in the source's language is right, however short; one in another is wrong if it has 200 bytes at least (less
tells little), without blocks of code. Of a translation one side is wrong: half of its messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from diglot.align.messages import Message, Refused
from diglot.base.artifact import Context
from diglot.base.errors import UserError
from diglot.base.format import share
from diglot.base.summaries.corpus import EvaluationSets
from diglot.read.decontaminate import build, contaminated, is_unspaced_text, load
from diglot.recipe.source import Decontamination
from diglot.text.language_id import SHORT_BYTES, WRONG_LANGUAGE, Identifier, load_identifier
from diglot.text.minhash import EMPTY_KEY, band_keys, jaccard, sign

PERMUTATIONS, BANDS, ROWS, SHINGLE = 128, 32, 4, 5
CONFIDENCE = 0.6  # with which a message has to be in another language: as curate's language_confidence
CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)


class Decontaminator:
    """Compares texts with evaluation sets.

    Attributes:
        evaluation_sets: what they are made of; None where there are none, and then nothing is compared.
    """

    def __init__(self, settings: Decontamination | None, base: Path | None, context: Context):
        """Read the evaluation sets.

        Raises:
            UserError: they cannot be read, or have no text.
        """
        self.evaluation_sets: EvaluationSets | None = None
        if settings is not None:
            file = context.scratch / "contamination.npz"
            self.evaluation_sets = EvaluationSets(**build(settings, file, base, context.name)._asdict())
            self._table = load(file)
            file.unlink()

    def check(self, texts: Iterable[str]) -> None:
        """Refuse texts of which one shares a run of words with an evaluation item.

        Raises:
            Refused: contaminated.
        """
        if self.evaluation_sets is None:
            return
        kinds: tuple[list[str], list[str]] = ([], [])
        for text in texts:
            kinds[is_unspaced_text(text)].append(text)
        for by_characters, some in enumerate(kinds):
            _, items = contaminated(_array(some), bool(by_characters), self._table)
            if items:
                raise Refused("contaminated", items[0])


class NearDuplicates:
    """What was asked before, to compare questions with; those that resemble one of them are not kept."""

    def __init__(self, similarity: float):
        self._similarity = similarity
        self._texts: list[str] = []
        self._ids: list[str] = []
        self._bands: list[dict[int, list[int]]] = [{} for _ in range(BANDS)]

    def check(self, id_: str, text: str) -> None:
        """Refuse a text that resembles an earlier one; keep another.

        Raises:
            Refused: near_duplicate.
        """
        by_characters = is_unspaced_text(text)
        _, signatures = sign(_array([text]), PERMUTATIONS, SHINGLE, by_characters)
        keys = band_keys(signatures, BANDS, ROWS)[:, 0].tolist()
        if keys[0] == EMPTY_KEY:  # no letter or digit
            return
        candidates = sorted({number for band, key in zip(self._bands, keys) for number in band.get(key, ())})
        if candidates:
            texts = _array([text, *(self._texts[number] for number in candidates)])
            pairs = np.array([(0, place) for place in range(1, len(texts))])
            found = jaccard(texts, pairs, SHINGLE, np.full(len(texts), by_characters))
            best = int(found.argmax())
            if found[best] >= self._similarity:
                raise Refused("near_duplicate", f"{found[best]:.2f} similar to {self._ids[candidates[best]]}")
        for band, key in zip(self._bands, keys):
            band.setdefault(key, []).append(len(self._texts))
        self._texts.append(text)
        self._ids.append(id_)


class LanguageCheck:
    """Whether conversations are in the language of their source."""

    def __init__(self, limit: float | None, languages: Iterable[str]):
        """Take a limit.

        Args:
            limit: share of a conversation's messages that may be in another language; None: nothing is looked at.
            languages: of all sources.

        Raises:
            UserError: the identifier does not know one of them.
        """
        self._limit = limit
        self._identifier: Identifier | None = None
        if limit is None:
            return
        self._identifier = load_identifier()
        for language in languages:
            if not self._identifier.knows(language):
                raise UserError(
                    f"check_language: the built-in identifier does not know {language!r}; leave the setting out"
                )

    def check(self, messages: Sequence[Message], language: str) -> None:
        """Refuse a conversation with too many messages in another language.

        Raises:
            Refused: wrong_language.
        """
        if self._identifier is None or self._limit is None:
            return
        texts = _array([CODE.sub("", message["content"]) for message in messages])
        identified = self._identifier.identify(texts, [language])
        verdicts, _ = self._identifier.verdicts(texts, identified, [language], [CONFIDENCE])
        is_long = np.array([len(text.as_py().encode()) >= SHORT_BYTES for text in texts])
        wrong = (verdicts == WRONG_LANGUAGE) & is_long
        right = ~self._identifier.differs(identified, [language]) & (identified.language >= 0)
        if wrong.sum() > self._limit * (wrong.sum() + right.sum()):
            said = self._identifier.describe(identified, int(wrong.argmax()), [language])
            raise Refused("wrong_language", f"{share(wrong.sum(), wrong.sum() + right.sum())} of its messages: {said}")


def _array(texts: list[str]) -> pa.Array:
    """Texts for kernels; half a surrogate pair, which UTF-8 cannot spell, is replaced."""
    return pa.array([text.encode(errors="replace").decode() for text in texts], pa.large_string())
