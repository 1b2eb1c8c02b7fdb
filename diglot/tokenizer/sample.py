"""Text for training tokenizers: a bounded, repeatable sample of a corpus, balanced between languages.

There are two balances:

- power: by share^alpha of their bytes (XLM-R; PolyLM 3.1 takes alpha 0.3). A language that is owed more than it has is
  repeated, as often as it takes.
- UniMax (Chung et al. 2023, section 3): all alike, but none is read more often than `max_repeats` times; what the small
  languages cannot use is shared by the others.

The sample as a whole is never larger than the corpus. Whether a document is in the sample depends only on its id and
the seed, so the sample does not depend on the order or the number of files. It is read from the files each time, and
never held.

Bilingual documents (domain `parallel`) are left out, except for a language that has nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute

from diglot.base.artifact import Artifact
from diglot.base.errors import UserError
from diglot.base.randomness import uniform
from diglot.read.corpus import PARALLEL, Split, read_documents

SLICE = 65_536  # characters: longer documents (books) are sampled in slices, so that one does not decide


class Text(NamedTuple):
    """A piece of a document, to be counted `times` times."""

    language: str
    text: str
    times: int


def languages_of(corpora: Sequence[Artifact]) -> dict[str, dict[bool, int]]:
    """UTF-8 bytes of training text by language and, within it, of parallel (True) and other (False) documents."""
    sizes: dict[str, dict[bool, int]] = {}
    for batch in read_documents(corpora, "documents", ["language", "domain", "text"]):
        lengths = pyarrow.compute.binary_length(batch["text"].cast(pa.large_binary())).to_pylist()
        rows = zip(batch["language"].to_pylist(), batch["domain"].to_pylist(), lengths, strict=True)
        for language, domain, length in rows:
            kinds = sizes.setdefault(language, {False: 0, True: 0})
            kinds[domain == PARALLEL] += length
    return dict(sorted(sizes.items()))


class Sample:
    """A sample of some languages of a corpus, which can be read again and again.

    Attributes:
        rates: how often each byte of a language is read, on average (above 1: repeated).
        bytes: about how many bytes of each language are read, repetitions included.
    """

    def __init__(
        self,
        corpora: Sequence[Artifact],
        languages: Sequence[str] | None,
        max_bytes: int,
        alpha: float,
        seed: str,
        max_repeats: int | None = None,
    ):
        """Plan the sample.

        Args:
            corpora: where the documents are.
            languages: those to read; all by default.
            max_bytes: size of the sample, of all languages together.
            alpha: 1 reads languages as they are, 0 all alike.
            seed: chooses the documents.
            max_repeats: balance by UniMax, reading no language more often than this; `alpha` is then not used.

        Raises:
            UserError: a language has no text in the corpora.
        """
        available = languages_of(corpora)
        chosen = list(available) if languages is None else sorted(set(languages))
        for language in chosen:
            if not sum(available.get(language, {}).values()):
                raise UserError(
                    f"languages: the corpus has no text in {language}; it has: {', '.join(available) or 'nothing'}"
                )
        if not chosen:
            raise UserError("the corpus has no documents to train a tokenizer on")
        self.corpora, self.seed = corpora, seed
        self.parallel = {language: not available[language][False] for language in chosen}
        sizes = {language: available[language][self.parallel[language]] for language in chosen}
        total = sum(sizes.values())
        budget = min(max_bytes, total)
        if max_repeats is None:
            weights = {language: (size / total) ** alpha for language, size in sizes.items()}
            wanted = {language: budget * weight / sum(weights.values()) for language, weight in weights.items()}
        else:
            wanted = unimax(sizes, budget, max_repeats)
        self.bytes = {language: round(size) for language, size in wanted.items()}
        self.rates = {language: wanted[language] / sizes[language] for language in chosen}

    def __iter__(self) -> Iterator[Text]:
        """The sampled texts, in the order of the files."""
        for identifier, language, domain, text in documents(self.corpora):
            if language not in self.rates or self.parallel[language] != (domain == PARALLEL):
                continue
            rate = self.rates[language]
            for number, part in enumerate(_slices(text)):
                times = int(rate) + (uniform(f"{self.seed}/{identifier}/{number}") < rate - int(rate))
                if times:
                    yield Text(language, part, times)


def unimax(sizes: Mapping[str, int], budget: float, max_repeats: float) -> dict[str, float]:
    """How much of each language is read: the budget in equal parts, none more than `max_repeats` times what there is.

    Chung et al. 2023 (2304.09151), algorithm 1: from the smallest language to the largest, each takes an equal part of
    what is left, or all that it may.
    """
    parts: dict[str, float] = {}
    left = budget
    for number, language in enumerate(sorted(sizes, key=lambda language: (sizes[language], language))):
        parts[language] = min(left / (len(sizes) - number), max_repeats * sizes[language])
        left -= parts[language]
    return {language: parts[language] for language in sizes}


def documents(corpora: Sequence[Artifact]) -> Iterator[tuple[str, str, str, str]]:
    """Id, language, domain and text of every training document."""
    columns = ["id", "language", "domain", "text"]
    for batch in read_documents(corpora, "documents", columns):
        yield from zip(*(batch[name].to_pylist() for name in columns), strict=True)


def texts_to_measure(corpora: Sequence[Artifact], language: str, max_bytes: int) -> tuple[str, list[str]]:
    """Texts of one language to measure on, and where they come from.

    Returns:
        `heldout` and the first held-out documents, or `documents` and training documents where nothing is held out
        in this language.
    """
    splits: tuple[Split, ...] = ("heldout", "documents")
    for split in splits:
        texts, size = [], 0
        batches = read_documents(corpora, split, ["text"], language=language, parallel=False)
        for text in (text for batch in batches for text in batch["text"].to_pylist()):
            texts.append(text)
            size += len(text.encode())
            if size >= max_bytes:
                break
        if texts:
            return split, texts
    return "documents", []


def _slices(text: str) -> Iterator[str]:
    """Cut a long text behind a line end or a space."""
    start = 0
    while len(text) - start > SLICE:
        end = max(text.rfind("\n", start, start + SLICE), text.rfind(" ", start, start + SLICE)) + 1
        end = end if end > start else start + SLICE
        yield text[start:end]
        start = end
    yield text[start:]
