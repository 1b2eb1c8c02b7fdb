r"""Tables of text: CSV and TSV, a row a record; and pairs in two files side by side, a line of each a record.

**CSV** as RFC 4180 and spreadsheets have it: a cell in quotation marks may hold delimiters, line ends, and quotation
marks, doubled. The delimiter is the comma, or the semicolon, tab or bar of which the first line has more. **TSV** as its
registration has it: no quotes, so that a quotation mark is one. The first line names the columns, unless the setting
`columns` does.

    invalid_csv (a quotation mark without its end) · wrong_columns (a row has more or fewer cells than there are columns)

**Pairs** as Moses and OPUS have them: line 7 of one file translates line 7 of the other. Where both lines are blank
there is no record; files with different numbers of lines are not side by side, and are refused.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from diglot.base.errors import UserError
from diglot.read.records import Broken, DataFile, Raw, Reading, Record, broken, oversized, raw_lines, text_of

DELIMITERS = ",;\t|"
csv.field_size_limit(2**31 - 1)  # a cell is as long as a record may be
# A quoted cell's rest, up to its end. Possessive: a long cell must not be gone through twice.
CLOSING = re.compile(rb'(?:[^"]++|"")*+"')


class Row(NamedTuple):
    """A row of a table, not yet parsed: the names of the columns, the delimiter (None: TSV) and the bytes."""

    names: list[str]
    delimiter: str | None
    content: bytes


# --- CSV and TSV ----------------------------------------------------------------------------------------------


def raw_table(file: DataFile, chunks: Iterator[bytes], reading: Reading) -> Iterator[Raw]:
    """The rows of a table as `Row`.

    Raises:
        UserError: the first line names a column twice.
    """
    names, delimiter = reading.columns, None
    lines = raw_lines(file, chunks, reading.max_record_bytes, blank=True)
    first = next(
        ((number, size, line) for number, size, line in lines if isinstance(line, Broken) or line.strip()), None
    )
    if first is None:
        return
    lines = itertools.chain([first], lines)
    if file.format == "csv":
        delimiter = max(DELIMITERS, key=first[2].decode(errors="replace").count) if isinstance(first[2], bytes) else ","
    for line, size, content in _whole_rows(file, lines, delimiter, reading.max_record_bytes) if delimiter else lines:
        if isinstance(content, Broken):
            yield line, size, content
        elif names is None:
            names = _names(file, Row([], delimiter, content), reading)
        elif content.strip(b" \r"):
            yield line, size, Row(names, delimiter, content)


def _names(file: DataFile, row: Row, reading: Reading) -> list[str]:
    names = [cell.strip() for cell in _cells(row._replace(content=row.content.decode(errors="replace").encode()))]
    names = [name or f"column {place}" for place, name in enumerate(names, 1)]
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise UserError(
            f"{reading.where}: {file.label}: the first line names the column {twice[0]!r} twice; if it is a row like "
            "the others, name the columns: columns: [first, second, …]"
        )
    return names


def _whole_rows(file: DataFile, lines: Iterator[Raw], delimiter: str, max_bytes: int) -> Iterator[Raw]:
    """Lines of CSV, joined where a quoted cell goes on behind the end of one."""
    opening = _opening(delimiter)
    held: list[bytes] = []
    begun = size = 0
    for line, length, content in lines:
        if not held:
            begun, size = line, 0
        size += length
        if isinstance(content, Broken):  # a line too long, or the archive's end: the row is lost with it
            yield begun, size, content._replace(line=begun, size=size)
            held = []
            continue
        rest = content
        if held:
            end = CLOSING.match(content)
            rest = b'""' + content[end.end() :] if end else None
        held.append(content)
        if rest is not None and not opening.fullmatch(rest):
            yield begun, size, b"\n".join(held)
            held = []
        elif size > max_bytes:
            yield begun, size, oversized(file, begun, held[0], size, max_bytes)
            held = []
    if held:
        detail = "a cell that begins with a quotation mark has no other at its end"
        yield begun, size, broken(file, begun, "invalid_csv", detail, b"\n".join(held))


def _opening(delimiter: str) -> re.Pattern[bytes]:
    """Matches a line that ends within a quoted cell."""
    mark = re.escape(delimiter).encode()
    closed = rb'"(?:[^"]++|"")*+"[^D]*+|[^"D][^D]*+|'
    return re.compile(rb'(?:(?:C)D)*+"(?:[^"]++|"")*+'.replace(b"C", closed).replace(b"D", mark))


def _cells(row: Row) -> list[str]:
    text = row.content.decode().removesuffix("\r")
    if row.delimiter is None:
        return text.split("\t")
    return next(csv.reader([text], delimiter=row.delimiter), [])


def parse_row(file: DataFile, line: int, row: Row) -> Record | Broken:
    """A row of a table as a record."""
    try:
        cells = _cells(row)
    except UnicodeDecodeError as error:
        return broken(file, line, "invalid_utf8", f"byte {error.start} of the row: {error.reason}", row.content)
    except csv.Error as error:
        return broken(file, line, "invalid_csv", str(error), row.content)
    if len(cells) != len(row.names):
        detail = f"{len(cells)} cells, but there are {len(row.names)} columns ({', '.join(row.names)})"
        return broken(file, line, "wrong_columns", detail, row.content)
    return Record(file.name, line, dict(zip(row.names, cells, strict=True)))


# --- pairs ----------------------------------------------------------------------------------------------------


def raw_pairs(file: DataFile, reading: Reading) -> Iterator[Raw]:
    """The lines of a file, each with that of the file beside it.

    Raises:
        UserError: one of them has more lines.
    """
    assert file.beside is not None
    positions: dict[str, int] = {}

    def seen(one: DataFile, position: int) -> None:  # a pair is as large as both, so both count
        positions[one.path] = position
        reading.seen(file, sum(positions.values()))

    how = reading._replace(seen=seen)
    sides = [raw_lines(one, text_of(one, how), reading.max_record_bytes, blank=True) for one in (file, file.beside)]
    number = 0
    for number, pair in enumerate(itertools.zip_longest(*sides), 1):
        faults = [side[2] for side in pair if side is not None and isinstance(side[2], Broken)]
        size = sum(side[1] for side in pair if side is not None)
        if faults:
            yield number, size, faults[0]._replace(file=file.name, line=number, size=size)
            if faults[0].reason == "truncated_archive":  # what the other has behind it has no partner
                return
        elif pair[0] is None or pair[1] is None:
            short, long = (file, file.beside) if pair[0] is None else (file.beside, file)
            raise UserError(
                f"{reading.where}: {short.label} ends after {number - 1:,} lines and {long.label} goes on: their lines "
                "are not side by side; give two files of which line 7 of one translates line 7 of the other"
            )
        elif pair[0][2].strip() or pair[1][2].strip():
            yield number, size, (pair[0][2], pair[1][2])


def parse_pair(file: DataFile, line: int, pair: tuple[bytes, bytes], reading: Reading) -> Record | Broken:
    """Two lines as a record with the fields of a pair."""
    try:
        texts = [side.decode().removesuffix("\r") for side in pair]
    except UnicodeDecodeError as error:
        return broken(file, line, "invalid_utf8", f"byte {error.start} of a line: {error.reason}", b"\n".join(pair))
    return Record(file.name, line, dict(zip(reading.pair, texts, strict=True)))
