"""The carrier of documents through curation: a batch in memory, and on disk what is left of it.

`Documents` is a shard's documents, as columns of one length. Each step of `stage` takes it and gives it back with more
in its columns. No step takes a document out: a document is dropped by a reason in `reason`, and the ledger counts by
reasons. Where a source is sorted by language (`languages: [ar, en]`), `by_language` splits the batch once.

`SignedShard` is what passed the rules, in the scratch folder, until it is known which of it stays:

    00002-00017-ar.arrow            Arrow IPC, uncompressed: memory-mapped, so texts can be looked up
    00002-00017-ar.signatures.npy   uint32 [documents, permutations]
    00002-00017-ar.bands.npy        uint64 [bands, documents]
    00002-00017.dropped.parquet     what did not pass: source, id, reason
    00002-00017.json                the shard's accounts; written last: a shard is done when it is there

The first number is the group of files, the second the shard in it. Columns of the Arrow file: `id`, `text`, `compared`
(what the signature is of, where it is not the text), `title` (where it is kept), `url`, `hash`, `id_hash`, `url_hash`, the
sizes (`SIZES`), and the signals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diglot.base.files import atomic
from diglot.curate.clean.lines import CORRECTIONS
from diglot.curate.units import shard_name
from diglot.recipe.signals import NAMES
from diglot.text.hashing import hash_names, keyed
from diglot.text.language_id import RIGHT, Identified
from diglot.text.languages import is_unspaced, language_name

REPEATED = "repeated"  # what deduplication of lines and paragraphs took, counted like a correction
TAKEN = (*CORRECTIONS, REPEATED)
SIZES = ("read_characters", "read_bytes", "characters_left", "bytes_left", *(f"taken_{name}" for name in TAKEN))
STAYS = -1  # instead of a reason


@dataclass
class Documents:
    """A batch of documents of one source: columns of one length.

    Attributes:
        source: its name in the recipe.
        name: the same, with the language where the source is sorted by language.
        expected: of each side (text, and target text of pairs) the languages that it may be in.
        languages: the language of each side, once each has one.
        number: of shard and language (49 bits), in the order of the corpus.
        ids, urls: `large_string` [documents]; a URL may be null.
        titles: the same, where the source says which field they are in.
        read: `large_string` [documents] of each side, as it was read.
        texts: the same as corrected so far.
        compared: `large_string` [documents], what is measured and compared: the text, or both sides of a pair.
        id_hashes: uint64 [documents].
        sample_keys: uint64 [documents]; those with the least are shown as samples.
        characters, bytes: int64 [documents], of the text as read.
        taken: int64 [documents, len(TAKEN)], characters that each correction took.
        identified: what each side was identified as.
        verdicts: int64 [documents], `RIGHT`, `WRONG_LANGUAGE` or `LOW_CONFIDENCE`.
        language: int64 [documents], the place in `expected[0]` of each document's language, or -1.
        signals: float64 [documents, len(NAMES)]; NaN where not measured.
        reasons: names of the reasons to drop a document, in the order in which they are asked.
        reason: int64 [documents], the place of each document's reason in `reasons`, or `STAYS`.
        details: str [documents], what was wrong, where the reason does not say it.
        hashes: uint64 [documents], of the whole normalised text; 0 where it is empty or the document is dropped.
        signatures: uint32 [documents, permutations], MinHash.
        repeated: the commonest repeated lines whose first document is here, and in how many documents they are.
    """

    source: str
    name: str
    expected: list[list[str]]
    languages: tuple[str, ...]
    number: int
    ids: pa.Array
    urls: pa.Array
    titles: pa.Array | None
    read: list[pa.Array]
    texts: list[pa.Array]
    compared: pa.Array
    id_hashes: np.ndarray
    sample_keys: np.ndarray
    characters: np.ndarray
    bytes: np.ndarray
    taken: np.ndarray
    identified: list[Identified]
    verdicts: np.ndarray
    language: np.ndarray
    signals: np.ndarray
    reasons: list[str]
    reason: np.ndarray
    details: np.ndarray
    hashes: np.ndarray
    signatures: np.ndarray
    repeated: list[tuple[str, int]]

    @classmethod
    def of_texts(
        cls, source: str, expected: list[list[str]], number: int, *, ids: pa.Array, urls: pa.Array,
        titles: pa.Array | None = None, read: list[pa.Array],
    ) -> Documents:  # fmt: skip
        """Documents as they were read, of which nothing is known yet."""
        # Every column is there from the start, at what "not known yet" means for it; steps fill them.
        length, id_hashes = len(ids), hash_names(ids)
        return cls(
            source=source,
            name=source,
            expected=expected,
            languages=tuple(languages[0] for languages in expected),
            number=number,
            ids=ids,
            urls=urls,
            titles=titles,
            read=read,
            # Until something is corrected the texts are those that were read: the same buffers, not copies.
            texts=read,
            compared=read[0],
            id_hashes=id_hashes,
            sample_keys=keyed("sample", id_hashes),
            characters=np.zeros(length, np.int64),
            bytes=np.sum([byte_lengths(side) for side in read], axis=0),
            taken=np.zeros((length, len(TAKEN)), np.int64),
            identified=[],
            verdicts=np.full(length, RIGHT),
            language=np.zeros(length, np.int64),
            signals=np.full((length, len(NAMES)), np.nan),
            reasons=[],
            reason=np.full(length, STAYS),
            details=np.full(length, "", object),
            hashes=np.zeros(length, np.uint64),
            signatures=np.empty((length, 0), np.uint32),
            repeated=[],
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_parallel(self) -> bool:
        """Whether the documents are pairs."""
        return len(self.read) > 1

    @property
    def passed(self) -> np.ndarray:
        """The rows (int64) of the documents that have no reason to be dropped."""
        return np.flatnonzero(self.reason == STAYS)

    def signal(self, name: str) -> np.ndarray:
        """A signal's column (float64 [documents]), to be read or written."""
        return self.signals[:, NAMES.index(name)]

    def drop(self, rows: np.ndarray, reason: str) -> None:
        """Give some documents (a mask, or rows) a reason, whatever they had before."""
        self.reason[rows] = self.reasons.index(reason)

    def take(self, rows: np.ndarray) -> Documents:
        """Some of the documents."""
        return replace(self, **{field.name: _take(getattr(self, field.name), rows) for field in fields(self)})

    def sizes(self) -> np.ndarray:
        """Characters and bytes as read and as left, and what each correction took: int64 [documents, len(SIZES)]."""
        characters_left = self.characters - self.taken.sum(axis=1)
        bytes_left = np.sum([byte_lengths(side) for side in self.texts], axis=0)
        return np.column_stack([self.characters, self.bytes, characters_left, bytes_left, self.taken])


def by_reason(reason: np.ndarray, reasons: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The reasons that documents are dropped for, in order, each with the rows (int64) of its documents."""
    for place in np.unique(reason[reason != STAYS]):
        yield reasons[place], np.flatnonzero(reason == place)


def byte_lengths(texts: pa.Array) -> np.ndarray:
    """Bytes of each text of a `large_string` array (int64 [documents])."""
    return np.diff(np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1])


def _take(column: Any, rows: np.ndarray) -> Any:
    if isinstance(column, pa.Array):
        return column.take(pa.array(rows))
    if isinstance(column, np.ndarray):
        return column[rows]
    if isinstance(column, Identified):
        return Identified(*(array[rows] for array in column))
    if isinstance(column, list) and column and isinstance(column[0], pa.Array | Identified):
        return [_take(side, rows) for side in column]
    return column


# --- on disk --------------------------------------------------------------------------------------------------


class SignedShard(NamedTuple):
    """The documents of a shard and language that passed the rules, on disk.

    Attributes:
        path: of an uncompressed Arrow file of one batch; the arrays lie beside it.
        rows: number of documents.
        name: of the source (with the language, where a source is sorted by language).
        source: its name in the recipe.
        languages: the language, or both of pairs.
        first: the number of its first document in the corpus.
        group: documents are compared within groups.
    """

    path: Path
    rows: int
    name: str
    source: str
    languages: tuple[str, ...]
    first: int = 0
    group: int = 0

    @property
    def signatures(self) -> Path:
        """The file of MinHash signatures."""
        return self.path.with_suffix(".signatures.npy")

    @property
    def bands(self) -> Path:
        """The file of band keys."""
        return self.path.with_suffix(".bands.npy")

    @property
    def by_characters(self) -> bool:
        """Whether the shingles of its signatures are made of characters."""
        return any(is_unspaced(language) for language in self.languages)

    def batch(self) -> pa.RecordBatch:
        """All columns, memory-mapped."""
        return pa.ipc.open_file(pa.memory_map(str(self.path))).get_batch(0)

    def column(self, name: str) -> np.ndarray:
        """One column of numbers, memory-mapped."""
        return self.batch().column(name).to_numpy()

    def texts(self) -> pa.Array:
        """What the signatures are of (`large_string`, mapped)."""
        batch = self.batch()
        return batch.column("compared" if "compared" in batch.schema.names else "text")

    def sizes(self) -> np.ndarray:
        """int64 [rows, len(SIZES)]."""
        batch = self.batch()
        return np.stack([batch.column(name).to_numpy() for name in SIZES], axis=1)


def write_signed(path: Path, documents: Documents, bands: np.ndarray) -> int:
    """Write the files of the documents that passed; returns how many did.

    Args:
        path: of the Arrow file.
        documents: measured, judged and signed.
        bands: uint64 [bands, documents that passed], of their signatures.
    """
    passed = documents.passed
    chosen, sizes, signals = pa.array(passed), documents.sizes(), documents.signals.astype(np.float32)
    compared, urls = documents.compared.take(chosen), documents.urls.take(chosen)
    columns = {"id": documents.ids.take(chosen), "text": compared}
    if documents.is_parallel:
        columns |= {"text": _rendered(documents).take(chosen), "compared": compared}
    if documents.titles is not None:
        columns |= {"title": documents.titles.take(chosen)}
    columns |= {
        "url": urls,
        "hash": pa.array(documents.hashes[passed]),
        "id_hash": pa.array(documents.id_hashes[passed]),
        "url_hash": pa.array(hash_names(urls)),
    }
    columns |= {name: pa.array(sizes[passed, place]) for place, name in enumerate(SIZES)}
    columns |= {
        f"signal_{name}": pa.array(signals[passed, place], from_pandas=True)  # NaN becomes null
        for place, name in enumerate(NAMES)
    }
    batch = pa.record_batch(columns)
    with atomic(path) as partial, pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, batch.schema) as out:
        out.write_batch(batch)
    for name, array in {"signatures": documents.signatures[passed], "bands": bands}.items():
        with atomic(path.with_suffix(f".{name}.npy")) as partial, partial.open("wb") as stream:
            np.save(stream, array)
    return len(passed)


def _rendered(documents: Documents) -> pa.Array:
    """Pairs as bilingual documents, `Arabic: …` above `English: …`, or below, by the hash of the id."""
    labels = [f"{language_name(language)}: " for language in documents.languages]
    first, second = (
        pc.binary_join_element_wise(pa.scalar(label, pa.large_string()), side, pa.scalar("", pa.large_string()))
        for label, side in zip(labels, documents.texts, strict=True)
    )
    newline = pa.scalar("\n", pa.large_string())
    odd = pa.array((keyed("direction", documents.id_hashes) & np.uint64(1)).astype(bool))
    there = pc.binary_join_element_wise(first, second, newline)
    return pc.if_else(odd, pc.binary_join_element_wise(second, first, newline), there)


def dropped_file(folder: Path, group: int, shard: int) -> Path:
    """The file of what a shard lost to the rules."""
    return folder / f"{shard_name(group, shard)}.dropped.parquet"


def dropped_table(names: list[str], ids: list[str] | pa.Array, reasons: list[str]) -> pa.Table:
    """Dropped documents as a table: their ids, sources and reasons."""
    strings, few = pa.large_string(), pa.dictionary(pa.int32(), pa.string())
    columns = {"id": pa.array(ids, strings), "source": pa.array(names, few), "reason": pa.array(reasons, few)}
    return pa.table(columns)
