r"""What of a text a tokenizer has no token for: characters that become its unknown token, bytes that it drops.

T5        مرحبا  ->  <unk>       counted in ids
SmolLM2   \x04    ->  nothing     counted in bytes: byte-level vocabularies have no unknown token
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tokenizers import Tokenizer

from diglot.text.unicode import text_buffers
from diglot.tokenizer.folder import bytes_without_token, unknown_id


class Unspelled:
    """Counts what a tokenizer loses."""

    def __init__(self, tokenizer: Tokenizer):
        self._unknown, missing = unknown_id(tokenizer), bytes_without_token(tokenizer)
        self._is_missing = np.zeros(256, bool)
        self._is_missing[missing] = True
        self._drops = bool(missing)

    def count(self, texts: pa.Array, ids: NDArray[np.uint32]) -> int:
        """How often the texts (`large_string`) with these ids hold what has no token."""
        if self._unknown is not None:
            return int(np.count_nonzero(ids == self._unknown))
        if not self._drops:
            return 0
        content, offsets = text_buffers(texts)
        return int(np.count_nonzero(self._is_missing[content[offsets[0] : offsets[-1]]]))
