"""The files of a shard in the scratch folder: what passed the rules, until it is known which of it stays.

    00002-00017-ar.arrow            Arrow IPC, uncompressed: memory-mapped, so texts can be looked up
    00002-00017-ar.signatures.npy   uint32 [documents, permutations]
    00002-00017-ar.bands.npy        uint64 [bands, documents]
    00002-00017.dropped.parquet     what did not pass: source, id, reason
    00002-00017.json                the shard's account; written last: a shard is done when it is there

The first number is the group of files, the second the shard in it. Columns of the Arrow file: `id`, `text`,
`compared` (what the signature is of, where it is not the text), `url`, `hash`, `id_hash`, `url_hash`,
`held_out_key`, the sizes (`SIZES`), and the signals.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diglot.base.files import atomic
from diglot.curate.clean.lines import CORRECTIONS
from diglot.curate.units import shard_name
from diglot.recipe.signals import NAMES

REPEATED = "repeated"  # what deduplication of lines and paragraphs took, counted like a correction
TAKEN = (*CORRECTIONS, REPEATED)
SIZES = ("read_characters", "read_bytes", "characters_left", "bytes_left", *(f"taken_{name}" for name in TAKEN))


class Passed(NamedTuple):
    """The documents of a shard and language that passed the rules, on disk.

    Attributes:
        path: of the Arrow file; the arrays lie beside it.
        rows: number of documents.
    """

    path: str
    rows: int

    @property
    def signatures(self) -> Path:
        """The file of MinHash signatures."""
        return Path(self.path).with_suffix(".signatures.npy")

    @property
    def bands(self) -> Path:
        """The file of band keys."""
        return Path(self.path).with_suffix(".bands.npy")

    def table(self) -> pa.Table:
        """All columns, memory-mapped."""
        with pa.memory_map(self.path) as file:
            return pa.ipc.open_file(file).read_all()

    def column(self, name: str) -> np.ndarray:
        """One column of numbers, memory-mapped."""
        return self.table()[name].chunk(0).to_numpy()

    def sizes(self) -> np.ndarray:
        """int64 [rows, len(SIZES)]."""
        table = self.table()
        return np.stack([table[name].chunk(0).to_numpy() for name in SIZES], axis=1)


def write_passed(
    path: Path, columns: dict[str, pa.Array], sizes: np.ndarray, signals: np.ndarray, arrays: dict[str, np.ndarray]
) -> Passed:
    """Write the files of a shard and language.

    Args:
        path: of the Arrow file.
        columns: `id`, `text`, `url` and the hashes.
        sizes: int64 [documents, len(SIZES)].
        signals: float64 [documents, len(NAMES)].
        arrays: `signatures` and `bands`.
    """
    columns = dict(columns)
    columns |= {name: pa.array(sizes[:, place]) for place, name in enumerate(SIZES)}
    columns |= {
        f"signal_{name}": pa.array(signals[:, place].astype(np.float32), from_pandas=True)  # NaN becomes null
        for place, name in enumerate(NAMES)
    }
    batch = pa.record_batch(columns)
    with atomic(path) as partial, pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, batch.schema) as out:
        out.write_batch(batch)
    for name, array in arrays.items():
        with atomic(path.with_suffix(f".{name}.npy")) as partial, partial.open("wb") as stream:
            np.save(stream, array)
    return Passed(str(path), batch.num_rows)


def dropped_file(folder: Path, group: int, shard: int) -> Path:
    """The file of what a shard lost to the rules."""
    return folder / f"{shard_name(group, shard)}.dropped.parquet"


def write_dropped(path: Path, dropped: list[tuple[str, str, list[str]]]) -> None:
    """Write the ids of dropped documents.

    Args:
        path: of the file.
        dropped: source, reason, ids.
    """
    ids = [identifier for _, _, ids in dropped for identifier in ids]
    sources = [source for source, _, ids in dropped for _ in ids]
    reasons = [reason for _, reason, ids in dropped for _ in ids]
    with atomic(path) as partial:
        pq.write_table(dropped_table(sources, ids, reasons), partial, compression="zstd")


def dropped_table(sources: list[str], ids: list[str], reasons: list[str]) -> pa.Table:
    """Dropped documents as a table."""
    strings, few = pa.large_string(), pa.dictionary(pa.int32(), pa.string())
    columns = {"id": pa.array(ids, strings), "source": pa.array(sources, few), "reason": pa.array(reasons, few)}
    return pa.table(columns)


def starts_of(shards: Iterable[Passed]) -> np.ndarray:
    """Where each shard begins in the corpus (int64 [shards + 1])."""
    return np.cumsum([0, *(shard.rows for shard in shards)])
