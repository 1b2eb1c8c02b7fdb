"""Token sources made of known numbers, without a tokenizer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from diglot.tokens.shards import TokenSource

SPECIAL = {"unk": 0, "bos": 1, "eos": 2, "pad": 3, "end": 7}
MakeSource = Callable[..., TokenSource]


@pytest.fixture
def make_source(tmp_path: Path) -> MakeSource:
    """Builds a source whose token at flat place p is `first_token + p`, so that every token can be told apart."""

    def make(
        name: str,
        lengths: list[int],
        form: str = "text",
        language: str = "en",
        domain: str = "web",
        first_token: int = 10,
    ) -> TokenSource:
        offsets = np.concatenate([[0], np.cumsum(np.array(lengths, dtype=np.int64))])
        ids_file = tmp_path / f"{name}.ids.parquet"
        parquet.write_table(pa.table({"id": [f"{name}/{number}" for number in range(len(lengths))]}), ids_file)
        targets = None
        if form != "text":  # the second half of each conversation is the answer
            targets = np.concatenate([(np.arange(length) >= length // 2).astype(np.uint8) for length in lengths])
        return TokenSource(
            name=name,
            form=form,  # type: ignore[arg-type]
            language=language,
            domain=domain,
            split="train",
            content=f"{name}{lengths}",
            special=SPECIAL,
            tokens=(first_token + np.arange(offsets[-1])).astype(np.uint32),
            offsets=offsets,
            targets=targets,
            bytes=np.array(lengths, dtype=np.int64) * 3,
            ids_file=ids_file,
        )

    return make
