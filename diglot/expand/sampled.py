"""A bounded sample of a corpus's training text, in the tokens of a tokenizer: what initialisations learn from.

Every language gets an equal part of the bytes, as far as it has them. Whether a document is taken depends on its id
and the seed alone, so the sample does not depend on the order or the number of files.

    for ids in TokenSample(corpora, tokenizer, "1/expand"): ...     # one document, int64, without BOS and EOS
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from diglot.base.artifact import Artifact
from diglot.base.errors import UserError
from diglot.base.randomness import uniform
from diglot.tokenizer.sample import documents

SAMPLE_BYTES = 200_000_000  # of text; as many as tokenizers are trained on
BATCH = 256  # documents encoded at a time


class TokenSample:
    """Documents in tokens, which can be read again and again.

    Attributes:
        rates: share of each language's bytes that is read.
        bytes: about how many bytes are read.
    """

    def __init__(
        self, corpora: Sequence[Artifact], tokenizer: Tokenizer, seed: str, max_bytes: int = SAMPLE_BYTES
    ) -> None:
        """Plan the sample.

        Args:
            corpora: where the documents are.
            tokenizer: the extended one.
            seed: chooses the documents.
            max_bytes: size of the sample, of all languages together.

        Raises:
            UserError: the corpora hold no text.
        """
        sizes: dict[str, int] = {}
        for _, language, _, text in documents(corpora):
            sizes[language] = sizes.get(language, 0) + len(text.encode())
        if not sum(sizes.values()):
            raise UserError("the corpus has no documents to learn new rows from")
        share = max_bytes / len(sizes)
        self.rates = {language: min(1.0, share / max(1, size)) for language, size in sizes.items()}
        self.bytes = sum(self.rates[language] * size for language, size in sizes.items())
        self.corpora, self.tokenizer, self.seed = corpora, tokenizer, seed

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        """The tokens of each document, in the order of the files."""
        texts = self._texts()
        while batch := list(islice(texts, BATCH)):
            for encoding in self.tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                yield np.array(encoding.ids, dtype=np.int64)

    def _texts(self) -> Iterator[str]:
        for identifier, language, _, text in documents(self.corpora):
            if uniform(f"{self.seed}/{identifier}") < self.rates[language]:
                yield text
