"""Whether a fastText model file is whole: fastText itself crashes, or never ends, on one that was cut off.

The format (version 12, and 11 of before), as `FastText::saveModel` writes it, little-endian:

    magic, version · 12 settings and a double · sizes of the dictionary · its entries (name, 0, count, type) · pairs
    of pruned buckets · quantized? · input matrix · output quantized? · output matrix
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

MAGIC = 793712314
SETTINGS = 12 * 4 + 8
ENTRY_REST = 8 + 1  # count and type, behind the name and its 0
CENTROIDS = 256


def is_fasttext(file: Path) -> bool:
    """Whether a file begins as a fastText model does.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        return stream.read(4) == struct.pack("<i", MAGIC)


def is_whole(file: Path) -> bool:
    """Whether a fastText model ends where its sizes say."""
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _Reader(data).end_of_model() == len(data)
        except (struct.error, ValueError):  # cut off within a number, or no 0 behind a name
            return False


class _Reader:
    def __init__(self, data: mmap.mmap):
        self.data = data
        self.at = 8 + SETTINGS

    def take(self, form: str) -> tuple:
        """The next numbers."""
        values = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values

    def end_of_model(self) -> int:
        """Where the model ends."""
        entries, _, _, _, pruned = self.take("iiiqq")
        for _ in range(entries):
            end_of_name = self.data.find(b"\0", self.at)
            if end_of_name < 0:
                raise ValueError("a name has no end")
            self.at = end_of_name + 1 + ENTRY_REST
        self.at += 8 * max(pruned, 0)
        (quantized,) = self.take("?")
        self.skip_matrix(quantized)
        (output_too,) = self.take("?")
        self.skip_matrix(quantized and output_too)
        return self.at

    def skip_matrix(self, quantized: bool) -> None:
        """Skip a matrix of floats, or one of codes with its centroids."""
        with_norms = quantized and self.take("?")[0]
        rows, columns = self.take("qq")
        if not quantized:
            self.at += 4 * rows * columns
            return
        (codes,) = self.take("i")
        self.at += codes
        self.skip_centroids()
        if with_norms:
            self.at += rows
            self.skip_centroids()

    def skip_centroids(self) -> None:
        """Skip a product quantizer."""
        columns, _, _, _ = self.take("iiii")
        self.at += 4 * CENTROIDS * columns
