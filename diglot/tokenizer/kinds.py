"""The kinds of tokenizer in use, as what extending one needs of each: its words, its symbols, and a place for new ones.

    byte-fallback   BPE on characters; others are spelled in bytes      ▁the  كتا  <0xF0>     Llama-2, Gemma, ours
    byte-level      BPE on bytes, written as letters                    Ġthe  ÙĥØªØ§          GPT-2, Llama-3, Qwen
    unigram         the most probable pieces; others are unknown        ▁the  كتا  <unk>      T5, XLM-R

Each works on tokenizer.json as it is (the specification), so that all that is not named here stays as it was.

New pieces must not disturb what was there:

- BPE: their merges come after all of the base's, so that every text is first cut as the base cuts it. Where the base
  joins a piece from every two pieces that make it (`every_split`: what comes from SentencePiece and tiktoken), the new
  pieces do as well.
- unigram: a new piece has the score of its frequency (as SentencePiece's training ends in), and in any case a better
  one than the pieces it is made of. A piece of the base language's own characters is only just better than those, by
  ADVANTAGE: so of two ways to cut a text of that language that were apart before, the better stays the better.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import tokenizers
from tokenizers import pre_tokenizers

from diglot.tokenizer import byte_fallback, byte_letters
from diglot.tokenizer.folder import SPACE
from diglot.tokenizer.sentencepiece_model import splits

# In nats. It must be seen beside the score of a whole sentence in float32, which SentencePiece sums up in, and be small
# beside the difference between two ways to cut a word: 0.05 changed 1.8% of English lines after Arabic and Indonesian.
ADVANTAGE = 0.01
UNEVENNESS = 0.1  # so that no two ways to cut a text are equal: libraries would choose differently between those


class Joined(NamedTuple):
    """A new piece: the two that it was first made of.

    Attributes:
        left, right: the two.
        share: of all tokens of the sample, how many it was when it was learnt.
        in_base_script: it consists of the base language's own characters.
    """

    left: str
    right: str
    share: float
    in_base_script: bool

    @property
    def text(self) -> str:
        """The piece."""
        return self.left + self.right


class TokenizerKind:
    """A tokenizer that can be extended. Subclasses are the kinds.

    Attributes:
        specification: tokenizer.json; `add` changes it.
        takes_characters: characters can be tokens (in byte-level they follow from merges).
        every_split: a piece is made of every two pieces that spell it.
    """

    name: ClassVar[str]
    takes_characters: ClassVar[bool] = True

    def __init__(self, specification: dict[str, Any], every_split: bool):
        self.specification, self.every_split = specification, every_split

    @property
    def ids(self) -> dict[str, int]:
        """The id of every token."""
        raise NotImplementedError

    @property
    def fixed(self) -> frozenset[int]:
        """The ids that never join others: special tokens and single bytes."""
        ids = self.ids
        names = {token["content"] for token in self.specification["added_tokens"]} | set(byte_fallback.BYTES)
        return frozenset(ids[name] for name in names if name in ids)

    def tokenizer(self) -> tokenizers.Tokenizer:
        """The tokenizer as it stands."""
        return tokenizers.Tokenizer.from_str(json.dumps(self.specification, ensure_ascii=False))

    @property
    def missing_bytes(self) -> list[str]:
        """Tokens of bytes that the kind needs and does not have."""
        return []

    def splitter(self) -> Callable[[list[str]], list[list[str]]]:
        """A function that cuts chunks of text (a word with the space before it) into words that pieces never cross."""
        raise NotImplementedError

    def bytes_of(self, piece: str) -> bytes:
        """The text that a piece stands for."""
        return piece.replace(SPACE, " ").encode()

    def piece_of(self, data: bytes) -> str:
        """The piece that stands for a text."""
        return data.decode().replace(" ", SPACE)

    def add(self, characters: Iterable[str], joined: Iterable[Joined]) -> None:
        """Give new characters and pieces the next ids, in this order."""
        raise NotImplementedError


class ByteFallback(TokenizerKind):
    """BPE on characters, with a token for every byte."""

    name = "byte-fallback"

    @property
    def ids(self) -> dict[str, int]:
        """The id of every token."""
        return self.specification["model"]["vocab"]

    def splitter(self) -> Callable[[list[str]], list[list[str]]]:
        """As the base cuts, and where ours does.

        Some bases put a space in front of every text (Llama-2 does). Each chunk is therefore given a line of its own,
        and what stands before the first line end is dropped.
        """
        base, ours = self.tokenizer(), byte_fallback.word_splitter()
        normalise = base.normalizer.normalize_str if base.normalizer else str
        splitter = pre_tokenizers.Sequence([base.pre_tokenizer, ours]) if base.pre_tokenizer else ours

        def split(chunks: list[str]) -> list[list[str]]:
            words: list[list[str]] = []
            for word, _ in splitter.pre_tokenize_str(normalise("\n" + "\n".join(chunks))):
                if "\n" in word:  # a carriage return at a chunk's end joins two of them
                    words.extend([] for _ in range(word.count("\n")))
                elif words:
                    words[-1].append(word)
            return words

        return split

    def add(self, characters: Iterable[str], joined: Iterable[Joined]) -> None:
        """Characters get an id; pieces an id and merges, after all others."""
        _add_merges(self, characters, joined)


class ByteLevel(TokenizerKind):
    """BPE on bytes."""

    name = "byte-level"
    takes_characters = False

    @property
    def ids(self) -> dict[str, int]:
        """The id of every token."""
        return self.specification["model"]["vocab"]

    @property
    def missing_bytes(self) -> list[str]:
        """Bytes of UTF-8 that have no token (SmolLM2 lacks 8): text with one of them loses it."""
        return [byte_letters.BYTE_LETTERS[byte] for byte in byte_letters.missing_bytes(self.ids)]

    def splitter(self) -> Callable[[list[str]], list[list[str]]]:
        """As the base cuts."""
        base = self.tokenizer()
        normalise = base.normalizer.normalize_str if base.normalizer else str

        def split(chunks: list[str]) -> list[list[str]]:
            cut = base.pre_tokenizer.pre_tokenize_str
            return [[word for word, _ in cut(normalise(chunk))] for chunk in chunks]

        return split

    def bytes_of(self, piece: str) -> bytes:
        """The text that a piece stands for; special tokens need not be in letters."""
        try:
            return byte_letters.bytes_of(piece)
        except ValueError:
            return piece.encode()

    def piece_of(self, data: bytes) -> str:
        """The piece that stands for a text."""
        return byte_letters.letters_of(data)

    def add(self, characters: Iterable[str], joined: Iterable[Joined]) -> None:
        """Pieces get an id and merges, after all others."""
        _add_merges(self, characters, joined)


class Unigram(TokenizerKind):
    """The most probable pieces (SentencePiece)."""

    name = "unigram"

    @property
    def ids(self) -> dict[str, int]:
        """The id of every token."""
        return {piece: number for number, (piece, _) in enumerate(self.specification["model"]["vocab"])}

    @property
    def fixed(self) -> frozenset[int]:
        """Special tokens, bytes, and the unknown token."""
        unknown = self.specification["model"]["unk_id"]
        return super().fixed | ({unknown} if unknown is not None else set())

    @cached_property
    def least_score(self) -> float:
        """The score of the base's rarest piece."""
        fixed = self.fixed
        return min(score for n, (_, score) in enumerate(self.specification["model"]["vocab"]) if n not in fixed)

    def splitter(self) -> Callable[[list[str]], list[list[str]]]:
        """As the base cuts, and where ours does."""
        base, ours = self.tokenizer(), byte_fallback.word_splitter()
        normalise = base.normalizer.normalize_str if base.normalizer else str
        splitter = pre_tokenizers.Sequence([base.pre_tokenizer, ours]) if base.pre_tokenizer else ours

        def split(chunks: list[str]) -> list[list[str]]:
            return [[word for word, _ in splitter.pre_tokenize_str(normalise(chunk))] for chunk in chunks]

        return split

    def add(self, characters: Iterable[str], joined: Iterable[Joined]) -> None:
        """Characters are as rare as the base's rarest piece; see the top of this file for the others."""
        entries = self.specification["model"]["vocab"]
        scores = dict(entries)
        characters, pieces = list(characters), list(joined)
        for character in characters:
            scores[character] = self.least_score + UNEVENNESS * part(character)
        for piece in sorted(pieces, key=lambda piece: len(piece.text)):
            others, chance = best_score(piece.text, scores), part(piece.text)
            if piece.in_base_script:
                scores[piece.text] = others + ADVANTAGE * (1 + chance)
            else:
                scores[piece.text] = max(others + ADVANTAGE, math.log(piece.share)) + UNEVENNESS * chance
        entries.extend([token, scores[token]] for token in (*characters, *(piece.text for piece in pieces)))


def part(piece: str) -> float:
    """A number in [0, 1) that depends on the piece alone."""
    return int.from_bytes(hashlib.blake2b(piece.encode(), digest_size=4).digest(), "big") / 2**32


def best_score(text: str, scores: dict[str, float]) -> float:
    """The best sum of scores of pieces that spell a text, other than the text itself."""
    best = [0.0, *[float("-inf")] * len(text)]
    for end in range(1, len(text) + 1):
        for start in range(end):
            if end - start < len(text) and (score := scores.get(text[start:end])) is not None:
                best[end] = max(best[end], best[start] + score)
    return best[-1]


def _add_merges(kind: ByteFallback | ByteLevel, characters: Iterable[str], joined: Iterable[Joined]) -> None:
    """Add characters and merges to a BPE model.

    Where every split counts, a piece of the base may also be spelled with new pieces; such a merge stands with the
    others of that piece.
    """
    vocabulary, merges = kind.ids, kind.specification["model"]["merges"]
    first = len(vocabulary)
    pieces = list(joined)
    for token in [*characters, *(piece.text for piece in pieces)]:
        assert token not in vocabulary, token
        vocabulary[token] = len(vocabulary)
    if not kind.every_split:
        merges.extend([piece.left, piece.right] for piece in pieces)
        return
    fixed = kind.fixed
    usable = {token: number for token, number in vocabulary.items() if number not in fixed}
    kind.specification["model"]["merges"] = [
        *_with_new_splits(merges, usable, first),
        *(pair for piece in pieces for pair in splits(piece.text, usable)),
    ]


def _with_new_splits(merges: list[list[str]], usable: dict[str, int], first: int) -> Iterable[list[str]]:
    """The base's merges, and behind the last one of each piece those that are spelled with new pieces."""
    last = {left + right: place for place, (left, right) in enumerate(merges)}
    for place, (left, right) in enumerate(merges):
        yield [left, right]
        if last[left + right] == place:
            for pair in splits(left + right, usable):
                if usable[pair[0]] >= first or usable[pair[1]] >= first:
                    yield pair
