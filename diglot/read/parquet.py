"""Parquet files as records, by the row.

The file's metadata tell how many rows there are and about how long they are, so shards are cut without reading any;
a row group is read, a batch at a time, when a row of it is asked for. Rows of a damaged group are broken, each.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from diglot.read.columns import UNREADABLE, first_line, refuse_deep, refuse_too_many, values_of, wanted_columns
from diglot.read.records import CHUNK_BYTES, Broken, DataFile, Raw, Reading, Record, open_seekable

BATCH_ROWS = 512
BATCH_BYTES = 8_000_000


def raw_rows(file: DataFile, reading: Reading) -> Iterator[Raw]:
    """The rows of a Parquet file; the content of a raw record is a function that reads the row.

    Sizes are averages of the row group: those of the file's metadata, so that nothing has to be read for them.
    """
    try:
        with open_seekable(file, reading) as stream:
            # A buffer size makes Arrow read column chunks in steps instead of whole.
            table = pq.ParquetFile(stream, buffer_size=CHUNK_BYTES, pre_buffer=False)
            refuse_deep(table.schema_arrow)
            groups = [table.metadata.row_group(index) for index in range(table.num_row_groups)]
            if any(group.num_rows < 0 for group in groups):
                raise pa.ArrowInvalid("its metadata claim fewer rows than none")
            num_rows = sum(group.num_rows for group in groups)
            refuse_too_many(num_rows, stream.size())
            rows = _Rows(file, reading, table)
            for index, group in enumerate(groups):
                size = max(1, group.total_byte_size // max(1, group.num_rows))
                reading.seen(file, stream.size() * rows.starts[index] // max(1, num_rows))
                for row in range(rows.starts[index], rows.starts[index + 1]):
                    yield row + 1, size, functools.partial(rows.read, row)
    except UNREADABLE as error:
        yield 1, 0, Broken(file.name, 1, "unreadable_file", first_line(error), "", 0)


class _Rows:
    """The rows of a Parquet file, read a batch at a time when asked for, in order; groups not asked for are not read.

    Attributes:
        starts: the number of the first row of each group, and that behind the last.
    """

    def __init__(self, file: DataFile, reading: Reading, table: pq.ParquetFile):
        self.file, self.reading, self.table = file, reading, table
        self.columns = wanted_columns(table.schema_arrow.names, reading)
        sizes = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
        self.starts = [sum(sizes[:group]) for group in range(len(sizes) + 1)]
        self.group, self.first, self.end = -1, 0, 0
        self.batches: Iterator[pa.RecordBatch] = iter(())
        self.values: list[dict[str, Any] | Broken] = []
        self.failure = ""

    def read(self, row: int) -> Record | Broken:
        """A row that comes after all that were read before."""
        group = bisect.bisect_right(self.starts, row) - 1
        if group != self.group:
            self._open(group)
        while row >= self.end and not self.failure:
            self._load()
        if row >= self.end:
            return Broken(self.file.name, row + 1, "unreadable_rows", self.failure, "", 0)
        value = self.values[row - self.first]
        return value if isinstance(value, Broken) else Record(self.file.name, row + 1, value)

    def _open(self, group: int) -> None:
        metadata = self.table.metadata.row_group(group)
        average = max(1, metadata.total_byte_size // max(1, metadata.num_rows))
        num_rows = max(1, min(BATCH_ROWS, BATCH_BYTES // average))
        self.group, self.failure, self.values = group, "", []
        self.first = self.end = self.starts[group]
        self.batches = self.table.iter_batches(num_rows, row_groups=[group], columns=self.columns, use_threads=False)

    def _load(self) -> None:
        self.first, self.values = self.end, []
        try:
            batch = next(self.batches, None)
            if batch is None:
                raise pa.ArrowInvalid("fewer rows than the file's metadata say")
            lines = range(self.first + 1, self.first + len(batch) + 1)
            self.values = values_of(batch, self.file, self.reading, lines)
        except UNREADABLE as error:
            self.failure = f"row group {self.group + 1}: {first_line(error)}"
        self.end += len(self.values)
