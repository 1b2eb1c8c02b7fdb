"""Arrow's files as records, by the row: streams, as `datasets` saves them, and files (Feather, version 2).

Batches of this machine's files are mapped into memory, so what is not asked for is not read.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from diglot.read.columns import UNREADABLE, Slice, first_line, refuse_deep, refuse_too_many
from diglot.read.records import Broken, DataFile, Raw, Reading, open_seekable

MAGIC = b"ARROW1"  # the beginning of a file; a stream has none


def raw_batches(file: DataFile, reading: Reading) -> Iterator[Raw]:
    """The rows of an Arrow file; the content of a raw record is a function that reads the row."""
    row = 0
    try:
        mapped = file.filesystem is None
        with pa.memory_map(os.fsencode(file.path)) if mapped else open_seekable(file, reading) as stream:
            for batch, position in _batches(stream):
                refuse_too_many(row + len(batch), stream.size())
                # Of the buffers as they are: `nbytes` follows offsets, which may point anywhere.
                size = max(1, batch.get_total_buffer_size() // max(1, len(batch)))
                part = Slice(file, reading, batch, row)
                for place in range(len(batch)):
                    yield row + place + 1, size, functools.partial(part.read, row + place)
                row += len(batch)
                reading.seen(file, position)
    except UNREADABLE as error:
        yield row + 1, 0, Broken(file.name, row + 1, "unreadable_file", first_line(error), "", 0)


def _batches(stream: Any) -> Iterator[tuple[pa.RecordBatch, int]]:
    """The batches, and how many bytes of the file each ends behind."""
    beginning = stream.read(len(MAGIC))
    stream.seek(0)
    if beginning == MAGIC:
        with pa.ipc.open_file(stream) as table:
            refuse_deep(table.schema)
            for number in range(table.num_record_batches):  # by their places, so that the stream does not move
                yield table.get_batch(number), stream.size() * (number + 1) // table.num_record_batches
    else:
        with pa.ipc.open_stream(stream) as batches:
            refuse_deep(batches.schema)
            for batch in batches:
                yield batch, stream.tell()
