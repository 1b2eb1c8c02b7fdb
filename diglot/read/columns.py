"""From Arrow's columns to records: the rows of a batch, with what cannot be read.

Only what is asked for is read: a date beyond the year 9999, or in a time zone that this machine has no tables of, is
nobody's text. Where all columns are asked for, such a value is None.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from diglot.base.files import MAX_DEPTH, TOO_DEEP
from diglot.read.records import EXCERPT_BYTES, Broken, DataFile, Reading, Record, broken, oversized

# What Arrow and Python raise for values that Python cannot hold; of time zones KeyError.
UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError, KeyError, TypeError, MemoryError)
SLICE_ROWS = 512
# Rows that a damaged file claims would each be counted as lost: 100 documents a byte are no documents.
MAX_ROWS_PER_BYTE = 100


def wanted_columns(names: list[str], reading: Reading) -> list[str] | None:
    """The columns to read; None for all, where the first of the fields that are asked for is not there."""
    asked = [*reading.fields, *([reading.title] if reading.title else [])]
    roots = [field if field in names else field.partition(".")[0] for field in asked]
    if not reading.fields or roots[0] not in names:
        return None
    return [name for name in dict.fromkeys([*roots, "id", reading.url]) if name in names]


class Slice:
    """Some rows of a file, made records when asked for, in order."""

    def __init__(self, file: DataFile, reading: Reading, batch: pa.RecordBatch, first: int):
        """Take a batch.

        Args:
            file: it is of.
            reading: says which columns are wanted.
            batch: not yet looked at: an Arrow file may say of it what it likes.
            first: the number of its first row in the file.
        """
        columns = wanted_columns(batch.schema.names, reading)
        self.file, self.reading, self.first = file, reading, first
        self.batch = batch if columns is None else batch.select(columns)
        self.begin = self.end = first
        self.values: list[dict[str, Any] | Broken] = []

    def read(self, row: int) -> Record | Broken:
        """A row, by its number in the file."""
        if not self.begin <= row < self.end:
            self.begin, self.end = row, min(row + SLICE_ROWS, self.first + len(self.batch))
            self.values = self._load(self.batch.slice(row - self.first, self.end - row))
        value = self.values[row - self.begin]
        return value if isinstance(value, Broken) else Record(self.file.name, row + 1, value)

    def _load(self, part: pa.RecordBatch) -> list[dict[str, Any] | Broken]:
        lines = range(self.begin + 1, self.end + 1)
        if (fault := _fault(part)) is None:
            return values_of(part, self.file, self.reading, lines)
        rows = [part.slice(place, 1) for place in range(len(part))]
        found: list[dict[str, Any] | Broken] = []
        for row, line in zip(rows, lines, strict=True):  # one bad value spoils the batch
            fault = _fault(row)
            good = values_of(row, self.file, self.reading, [line]) if fault is None else []
            found += good or [broken(self.file, line, "unreadable_rows", fault or "", b"")]
        return found


def _fault(part: pa.RecordBatch) -> str | None:
    """What is wrong with the inside of some rows: offsets that point anywhere would end the process."""
    try:
        part.validate(full=True)
    except UNREADABLE as error:
        return first_line(error)
    return None


def values_of(
    batch: pa.RecordBatch, file: DataFile, reading: Reading, lines: Iterable[int]
) -> list[dict[str, Any] | Broken]:
    """The values of a batch's rows, or why there are none.

    Args:
        batch: some rows, of which nothing points outside.
        file: they are of.
        reading: says which columns are wanted, and how long a record may be.
        lines: the number of each row in the file.
    """
    try:
        values: list[Any] = batch.to_pylist()
    except UNREADABLE:  # one bad value spoils the batch
        values = [_value(batch, place, file, reading, line) for place, line in enumerate(lines)]
    return [_checked(value, file, reading, line) for value, line in zip(values, lines, strict=True)]


def _value(batch: pa.RecordBatch, place: int, file: DataFile, reading: Reading, line: int) -> dict[str, Any] | Broken:
    row: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[place].as_py()
        except UnicodeDecodeError as error:
            return broken(file, line, "invalid_utf8", f"column {name!r}: {error}", b"")
        except UNREADABLE as error:
            if name in reading.fields:
                return broken(file, line, "unreadable_rows", f"column {name!r}: {first_line(error)}", b"")
            row[name] = None
    return row


def _checked(value: dict[str, Any] | Broken, file: DataFile, reading: Reading, line: int) -> dict[str, Any] | Broken:
    if isinstance(value, Broken):
        return value
    texts = [text for text in value.values() if isinstance(text, str)]
    if 4 * sum(map(len, texts)) > reading.max_record_bytes:
        size = sum(len(text.encode(errors="replace")) for text in texts)
        if size > reading.max_record_bytes:
            start = max(texts, key=len)[:EXCERPT_BYTES].encode(errors="replace")
            return oversized(file, line, start, size, reading.max_record_bytes)
    return value


def refuse_too_many(num_rows: int, num_bytes: int) -> None:
    """Refuse more rows than a file can hold.

    Raises:
        pa.ArrowInvalid: there are.
    """
    if num_rows > MAX_ROWS_PER_BYTE * num_bytes:
        raise pa.ArrowInvalid(f"its metadata claims {num_rows:,} rows, more than it can hold")


def refuse_deep(schema: pa.Schema) -> None:
    """Refuse columns that are nested deeper than functions can walk.

    Raises:
        pa.ArrowInvalid: one is.
    """
    level, depth = [field.type for field in schema], 0
    while level and depth <= MAX_DEPTH:
        level = [kind.field(place).type for kind in level for place in range(kind.num_fields)]
        depth += 1
    if depth > MAX_DEPTH:
        raise pa.ArrowInvalid(f"its columns are {TOO_DEEP}")


def first_line(error: BaseException) -> str:
    """The first line of an error of Arrow's, whose messages are long."""
    return str(error).split("\n")[0] or type(error).__name__
