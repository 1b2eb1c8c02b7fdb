"""The corpus that `curate` made, read back: the one door to its documents.

    corpus/documents/wiki-00000.parquet     training documents, one or more files a source
    corpus/heldout/wiki-00000.parquet       held-out documents
    corpus/ledger.json                      what became of each source (`base/ledger.py`)

    for batch in read_documents([corpus], "documents", ["id", "text"], language="ar"):
        batch["text"]       # at most 1,000 documents: a large_string array

Documents come in the order of corpora, files and rows, so what reads them twice sees the same order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from diglot.base.artifact import Artifact
from diglot.base.errors import UserError
from diglot.text.languages import NAMES

Split = Literal["documents", "heldout"]
BATCH_ROWS = 1000
PARALLEL = "parallel"  # the domain of documents in two languages
_CODES = {name: code for code, name in NAMES.items()}


class CorpusSource(NamedTuple):
    """What all documents of a source share."""

    language: str
    domain: str


def document_files(corpora: Sequence[Artifact], split: Split, source: str | None = None) -> list[Path]:
    """The Parquet files of a split, of one source or of all."""
    name = r".*" if source is None else re.escape(source) + r"-\d+\.parquet"  # `wiki` must not match `wiki-2-00000`
    files = [file for corpus in corpora for file in sorted(corpus.file(split).glob("*.parquet"))]
    return [file for file in files if re.fullmatch(name, file.name)]


def read_documents(
    corpora: Sequence[Artifact],
    split: Split,
    columns: Sequence[str],
    *,
    source: str | None = None,
    language: str | None = None,
    parallel: bool = True,
) -> Iterator[pa.RecordBatch]:
    """Some columns of documents, in batches; memory is that of one batch.

    Args:
        corpora: made by curate.
        split: `documents` (to train on) or `heldout`.
        columns: their names; `id` and `text` come as `large_string`.
        source: only documents of this source.
        language: only documents in this language.
        parallel: documents in two languages as well.

    Raises:
        UserError: a file has no such column.
    """
    asked_about = [name for name, asked in (("language", language is not None), ("domain", not parallel)) if asked]
    wanted = list(dict.fromkeys([*columns, *asked_about]))
    for file in document_files(corpora, split, source):
        with pq.ParquetFile(file) as parquet:
            _require(wanted, parquet, file)
            # Without Arrow's threads: stages have their own, and hold a batch each.
            for batch in parquet.iter_batches(BATCH_ROWS, columns=wanted, use_threads=False):
                if language is not None:
                    batch = batch.filter(pc.equal(batch["language"], language))
                if not parallel:
                    batch = batch.filter(pc.not_equal(batch["domain"], PARALLEL))
                if len(batch):
                    yield _as_large_strings(batch.select(columns))  # without what was only asked about


def read_schema(corpora: Sequence[Artifact], split: Split, source: str | None = None) -> pa.Schema:
    """The columns of documents and their types; none where there are no documents."""
    files = document_files(corpora, split, source)
    return pq.read_schema(files[0]) if files else pa.schema([])


def read_sources(corpora: Sequence[Artifact]) -> dict[str, CorpusSource]:
    """The sources that have training documents, in alphabetical order.

    Raises:
        UserError: a file does not say what it is of.
    """
    columns = ["source", "language", "domain"]
    found: dict[str, CorpusSource] = {}
    for file in document_files(corpora, "documents"):
        with pq.ParquetFile(file) as parquet:  # a file has documents of one source, so its first one tells
            _require(columns, parquet, file)
            first = next(parquet.iter_batches(1, columns=columns, use_threads=False))
        [row] = first.to_pylist()
        found.setdefault(row["source"], CorpusSource(row["language"], row["domain"]))
    return dict(sorted(found.items()))


def two_sides(text: str) -> list[tuple[str, str]] | None:
    """Language and text of both sides of a bilingual document, in its order; None where it is not of two lines.

    Args:
        text: as curate writes pairs: `English: Good morning.` above or below `Arabic: صباح الخير.`
    """
    lines = [line.split(": ", 1) for line in text.split("\n")]
    if len(lines) != 2 or any(len(line) != 2 or line[0] not in _CODES or not line[1].strip() for line in lines):
        return None
    return [(_CODES[name], side) for name, side in lines]


def _require(columns: Sequence[str], parquet: pq.ParquetFile, file: Path) -> None:
    if missing := sorted(set(columns) - set(parquet.schema_arrow.names)):
        raise UserError(f"{file}: no column {', '.join(missing)}; this is not a corpus made by curate")


def _as_large_strings(batch: pa.RecordBatch) -> pa.RecordBatch:
    long = pa.schema([(f.name, pa.large_string() if f.name in ("id", "text") else f.type) for f in batch.schema])
    return batch.cast(long)
