r"""Containers and formats: from the bytes of a file to its records.

A format has two steps. The first cuts a file into **raw records**, cheaply: `(line, size, content)`, where content
is what the second step needs, or `Broken`. The second parses one. So a reader that wants every tenth shard of a
file pays for decompression and for finding line ends, and for nothing else.

    raw_lines, parse_json      JSONL: the line's bytes
    raw_elements               a `.json` file that holds one array: already parsed
    raw_whole, parse_text      a file is a document, or (raw_lines) each of its lines

CSV, TSV and pairs of files are in `tables.py`, Parquet and Arrow in `columns.py`, WARC and HTML in `web.py`. Nothing
here holds more than a record and a chunk.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from diglot.base.errors import UserError
from diglot.base.files import TOO_DEEP, is_encodable, is_too_deep
from diglot.base.format import excerpt
from diglot.read.decompress import DAMAGED, Decompressed, TruncatedError, reason_of
from diglot.read.encoding import as_utf8, guess_encoding

CHUNK_BYTES = 1 << 20
EXCERPT_BYTES = 1000


class Record(NamedTuple):
    """A record as it stands in a file.

    Attributes:
        file: the file's name, without folders.
        line: its line, row, element or WARC record, from 1.
        value: its fields.
    """

    file: str
    line: int
    value: dict[str, Any]


class Broken(NamedTuple):
    """A record that could not be read, or is no document.

    Attributes:
        file, line: as in `Record`.
        reason: one of those in `diglot.read.files`.
        detail: what was wrong with it.
        excerpt: its beginning.
        size: its bytes, as far as known.
    """

    file: str
    line: int
    reason: str
    detail: str
    excerpt: str
    size: int


class Reading(NamedTuple):
    """How to read the files of a source.

    Attributes:
        fields: the field that holds the text, or both of a pair. Of Parquet files that have the first, only these,
            `id`, the url and the title are read; all columns if empty.
        url: the field that holds the address.
        title: the field that holds the title, where it is wanted.
        html: the first of the fields holds an HTML page: its main text replaces it.
        encoding: of text files; None: UTF-8, or what a file's first bytes prove.
        columns: names of the columns of CSV and TSV files whose first line is none of names.
        each_line: in text files each line is a document.
        pair: the fields that the lines of two files side by side become.
        limit: read at most this many records of all files together, broken ones included.
        max_record_bytes: longer records are broken.
        where: what the files are, for messages: `source 'web'`.
        remedy: what to do where they cannot be read.
        seen: told now and then how many bytes of a file, as stored, have been read.
    """

    fields: list[str] = []  # noqa: RUF012 (never changed; a NamedTuple has no factories)
    url: str = "url"
    title: str | None = None
    html: bool = False
    encoding: str | None = None
    columns: list[str] | None = None
    each_line: bool = False
    pair: tuple[str, ...] = ("src", "tgt")
    limit: int | None = None
    max_record_bytes: int = 20_000_000
    where: str = "the source"
    remedy: str = "give a folder or file that can be read"
    seen: Callable[[DataFile, int], None] = lambda file, position: None


class DataFile(NamedTuple):
    """A file to read; it pickles.

    Attributes:
        label: how it is called in messages.
        name: its name without folders.
        format: one of `FORMATS` in `diglot.read.files`.
        compression: what Arrow calls it.
        path: where it is, in its filesystem.
        size: bytes as stored, where that is known.
        filesystem: of fsspec; None: this machine's.
        beside: the file whose lines translate this one's, of the format `pairs`.
    """

    label: str
    name: str
    format: str
    compression: str | None
    path: str
    size: int | None = None
    filesystem: Any = None
    beside: DataFile | None = None


# (line, size in bytes, what the parser needs)
Raw = tuple[int, int, Any]


# --- opening --------------------------------------------------------------------------------------------------


def open_file(file: DataFile, reading: Reading) -> Any:
    """An Arrow stream of a file's bytes as stored, to be read from its beginning to its end.

    Raises:
        UserError: a remote file cannot be reached, now or in the middle of reading.
    """
    if file.filesystem is None:
        return pa.OSFile(os.fsencode(file.path))
    # In steps, fsspec asks a web server for ranges, which not all of them give.
    options = {"block_size": 0} if _is_address(file) else {}
    with network(file.label, reading.where, reading.remedy):
        opened = file.filesystem.open(file.path, "rb", **options)
    return pa.PythonFile(_RemoteFile(opened, file, reading), "r")


def open_seekable(file: DataFile, reading: Reading) -> Any:
    """The same for formats that need to jump about; what comes from a server that can't is copied to disk first."""
    if file.filesystem is None:
        return pa.OSFile(os.fsencode(file.path))
    with network(file.label, reading.where, reading.remedy):
        opened = file.filesystem.open(file.path, "rb")
        try:
            opened.seek(-1, 2)
            opened.read(1)
            opened.seek(0)
            return pa.PythonFile(_RemoteFile(opened, file, reading, sequential=False), "r")
        except ValueError:  # fsspec's for a web server without ranges
            opened.close()
    copy = tempfile.TemporaryFile()  # noqa: SIM115 (closed by the stream that is returned)
    with open_file(file, reading) as stream:
        shutil.copyfileobj(stream, copy, CHUNK_BYTES)
    copy.seek(0)
    return pa.PythonFile(copy, "r")


def _is_address(file: DataFile) -> bool:
    return file.path.startswith(("http://", "https://"))


class _RemoteFile:
    """A remote file whose failures are those of the network, not of the data in it."""

    def __init__(self, opened: Any, file: DataFile, reading: Reading, sequential: bool = True):
        self.opened, self.file, self.reading = opened, file, reading
        self.sequential, self.num_read = sequential, 0

    def read(self, size: int = -1) -> bytes:
        with network(self.file.label, self.reading.where, self.reading.remedy):
            content = self.opened.read(size)
            self.num_read += len(content)
            if self.sequential and not content and size and self.num_read < (self.file.size or 0):
                raise ConnectionError(f"it ended after {self.num_read:,} of {self.file.size:,} bytes")
            return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self.opened, name)


@contextlib.contextmanager
def network(url: str, where: str, remedy: str) -> Iterator[None]:
    """Turns whatever a remote filesystem raises into a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except ImportError as error:  # fsspec's message names the package
        raise UserError(f"{where}: {url} needs a package that is missing: {error}; or {remedy}") from error
    except Exception as error:  # each filesystem of fsspec has exceptions of its own
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise UserError(
            f"{where}: cannot read {url} ({excerpt(reason)}); try again, or, without a network, {remedy}"
        ) from error


def chunks_of(file: DataFile, reading: Reading) -> Generator[bytes, None, None]:
    """The decompressed bytes of a file.

    What was decompressed in a call that fails is lost, so after a failure the file is read again up to there and on in
    ever smaller steps, until all that can be had is had.

    Raises:
        TruncatedError: after all that can be had.
    """
    if file.compression is None:
        with open_file(file, reading) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                _see(file, reading, stream)
                yield chunk
        return
    offset, size = 0, CHUNK_BYTES
    while True:
        try:
            with open_file(file, reading) as stored:
                stream = Decompressed(stored, file.compression)
                to_skip = offset  # what was given out before the failure
                while to_skip:
                    to_skip -= len(stream.read(min(to_skip, CHUNK_BYTES)))
                while chunk := stream.read(size):
                    offset += len(chunk)
                    _see(file, reading, stored)
                    yield chunk
                return
        except (EOFError, OSError, *DAMAGED) as error:
            # Nothing comes of a step that fails: smaller ones reach closer to the damage.
            if size == 1 or isinstance(error, EOFError):
                raise TruncatedError(f"after {offset:,} bytes: {reason_of(error, file.compression)}") from error
            size = max(1, size // 32)


def _see(file: DataFile, reading: Reading, stored: Any) -> None:
    if file.filesystem is None:  # what comes from a server may not say where it stands
        reading.seen(file, stored.tell())


def text_of(file: DataFile, reading: Reading) -> Generator[bytes, None, None]:
    """The decompressed bytes of a text file as UTF-8, without a byte-order mark.

    Raises:
        TruncatedError: after all that can be had.
    """
    with contextlib.closing(chunks_of(file, reading)) as chunks:
        yield from as_utf8(chunks, reading.encoding)


@functools.lru_cache(maxsize=1000)
def likely_encoding(file: DataFile) -> str | None:
    """What a text file that is not UTF-8 looks like; None where its beginning does not tell."""
    with contextlib.closing(chunks_of(file, Reading())) as chunks:
        try:
            start = next(chunks, b"")
        except TruncatedError:
            return None
    # A fault of one line says nothing of a file whose beginning is UTF-8.
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
        return None
    except UnicodeDecodeError:
        return guess_encoding(start)


# --- lines ----------------------------------------------------------------------------------------------------


class _Unfinished:
    """The beginning of a line whose end is in a chunk to come; of too long a one only an excerpt is held."""

    def __init__(self, max_bytes: int):
        self.max_bytes, self.size, self.start = max_bytes, 0, b""
        self.parts: list[bytes] = []

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        if len(self.start) < EXCERPT_BYTES:
            self.start += piece[: EXCERPT_BYTES - len(self.start)]
        if self.size <= self.max_bytes:
            self.parts.append(piece)
        else:
            self.parts.clear()

    def take(self) -> tuple[int, bytes]:
        """The size and the line, or its excerpt if it is too long; leaves none."""
        size, content = self.size, b"".join(self.parts) if self.size <= self.max_bytes else self.start
        self.size, self.start = 0, b""
        self.parts.clear()
        return size, content


def raw_lines(file: DataFile, chunks: Iterator[bytes], max_bytes: int, blank: bool = False) -> Iterator[Raw]:
    r"""The lines, split on `\n`; of a longer one no more than max_bytes and a chunk are held.

    Args:
        file: named in what is broken.
        chunks: its bytes.
        max_bytes: longer lines are broken.
        blank: lines that are blank, too.
    """
    line, unfinished = 1, _Unfinished(max_bytes)
    try:
        for chunk in chunks:
            # The last piece has no end yet: it waits for the next chunk.
            pieces = chunk.split(b"\n")
            last = pieces.pop()
            for content in pieces:
                size = len(content)
                if unfinished.size:  # only the first piece of a chunk goes on from the one before
                    unfinished.add(content)
                    size, content = unfinished.take()
                if size > max_bytes:
                    yield line, size, oversized(file, line, content, size, max_bytes)
                elif blank or (content and not content.isspace()):
                    yield line, size, content
                line += 1
            unfinished.add(last)
    except TruncatedError as error:
        size, content = unfinished.take()
        yield line, size, Broken(file.name, line, "truncated_archive", str(error), shown(content), size)
        return
    size, content = unfinished.take()
    if size > max_bytes:
        yield line, size, oversized(file, line, content, size, max_bytes)
    elif content and (blank or not content.isspace()):
        yield line, size, content


def parse_json(file: DataFile, line: int, content: bytes) -> Record | Broken:
    """A line of JSONL as a record."""
    strange = False
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        value, strange = _parse_strange_json(file, line, content), True
        if isinstance(value, Broken):
            return value
    if fault := _fault_of(value, content.count(b"[") + content.count(b"{"), strange):
        return broken(file, line, *fault, content)
    return Record(file.name, line, value)


def _fault_of(value: Any, num_brackets: int, strange: bool) -> tuple[str, str] | None:
    """Why a JSON value is no record, as reason and detail.

    Half of a surrogate pair in a value costs only those who use it; names of fields stand in messages.
    """
    if not isinstance(value, dict):
        return "invalid_json", f"an object is wanted, not {type(value).__name__}"
    if is_too_deep(value, num_brackets):
        return "invalid_json", TOO_DEEP
    if strange and not is_encodable(_names(value)):
        return "invalid_utf8", "half of a surrogate pair in the name of a field"
    return None


def _names(value: Any) -> list[str]:
    """The names of all fields in a JSON value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = list(value) if isinstance(value, dict) else []
    return own + [name for item in inner for name in _names(item)]


def _parse_strange_json(file: DataFile, line: int, content: bytes) -> Any:
    """What orjson refuses and Python's own parser may take: NaN, infinite numbers, half surrogate pairs."""
    try:
        return json.loads(content.decode())
    except UnicodeDecodeError as error:
        return broken(file, line, "invalid_utf8", f"byte {error.start} of the line: {error.reason}", content)
    except (ValueError, RecursionError) as error:
        return broken(file, line, "invalid_json", str(error), content)


# --- arrays ---------------------------------------------------------------------------------------------------


def raw_json(file: DataFile, chunks: Iterator[bytes], max_bytes: int) -> Iterator[Raw]:
    """A `.json` file: the elements of an array if it begins with `[`, and lines otherwise."""
    try:
        first = next(chunks, b"")
    except TruncatedError as error:
        yield 1, 0, broken(file, 1, "truncated_archive", str(error), b"")
        return

    def all_chunks() -> Iterator[bytes]:
        yield first
        yield from chunks

    yield from (raw_elements if first.lstrip().startswith(b"[") else raw_lines)(file, all_chunks(), max_bytes)


def raw_elements(file: DataFile, chunks: Iterator[bytes], max_bytes: int) -> Iterator[Raw]:
    """The elements of an array, parsed one after the other; after one that is no JSON nothing can be found."""
    elements = _Elements(chunks, max_bytes)
    number = 1
    try:
        for value, size in elements:
            fault = ("invalid_utf8", elements.fault) if elements.fault else None
            if fault := fault or _fault_of(value, size, elements.is_escaped):
                yield number, size, broken(file, number, *fault, json.dumps(value).encode())
            else:
                yield number, size, Record(file.name, number, value)
            number += 1
    except TruncatedError as error:
        yield number, 0, broken(file, number, "truncated_archive", str(error), elements.rest())
    except (ValueError, RecursionError) as error:
        yield number, 0, broken(file, number, "invalid_json", f"{error}, and all after it", elements.rest())


class _Elements:
    """Iterates over the elements of a JSON array with the characters of each, holding one element and a chunk."""

    def __init__(self, chunks: Iterator[bytes], max_bytes: int):
        self.chunks, self.max_bytes = chunks, max_bytes
        self.decoder, self.to_text = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.text, self.place, self.ended = "", 0, False
        # Of the last element: whether it may hold half of a surrogate pair, and what of it is not UTF-8.
        self.is_escaped, self.fault = False, ""

    def rest(self) -> bytes:
        return self.text[self.place :][:EXCERPT_BYTES].encode(errors="replace")

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        self._next_character("[")
        if self._peek() == "]":
            return
        while True:
            self._peek()
            value, size = self._value()
            yield value, size
            if self._next_character(",]") == "]":
                return

    def _more(self) -> bool:
        if self.ended:
            return False
        # As much again as is held: an element is parsed a few times at most, however many chunks it fills.
        parts, wanted = [self.text[self.place :]], len(self.text) - self.place
        while wanted >= 0 and not self.ended:
            chunk = next(self.chunks, b"")
            self.ended = not chunk
            parts.append(self.to_text.decode(chunk, self.ended))
            wanted -= len(parts[-1]) or 1
        self.text, self.place = "".join(parts), 0
        return True

    def _peek(self) -> str:
        """The next character that is not white; empty at the end."""
        while True:
            while self.place < len(self.text) and self.text[self.place] in " \t\r\n":
                self.place += 1
            if self.place < len(self.text) or not self._more():
                return self.text[self.place : self.place + 1]

    def _next_character(self, wanted: str) -> str:
        found = self._peek()
        if not found or found not in wanted:
            raise ValueError(f"{' or '.join(wanted)} is wanted, not {found or 'the end of the file'!r}")
        self.place += 1
        return found

    def _value(self) -> tuple[Any, int]:
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.place)
                following = self.text[end : end + 1]
                is_cut_off = not following or (isinstance(value, int | float) and following in "0123456789.eE+-")
                if not is_cut_off or self.ended:  # a number may go on in the next chunk
                    element, self.place = self.text[self.place : end], end
                    self.is_escaped, self.fault = "\\u" in element, _not_utf8(element)
                    return value, len(element)
            except ValueError:
                if self.ended:
                    raise
            if len(self.text) - self.place > self.max_bytes:
                raise ValueError(f"more than max_record_bytes ({self.max_bytes:,}) without an end")
            if not self._more():
                self.ended = True


def _not_utf8(text: str) -> str:
    """Where bytes were escaped because they are not UTF-8; empty if none were."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"character {error.start} of the element: invalid byte"
    return ""


# --- whole files ----------------------------------------------------------------------------------------------


def raw_whole(file: DataFile, chunks: Iterator[bytes], max_bytes: int) -> Iterator[Raw]:
    """The one raw record of a file that is a document."""
    content, size = bytearray(), 0
    try:
        for chunk in chunks:
            size += len(chunk)
            if size <= max_bytes:
                content += chunk
    except TruncatedError as error:
        yield 1, size, broken(file, 1, "truncated_archive", str(error), bytes(content))
        return
    if size > max_bytes:
        yield 1, size, oversized(file, 1, bytes(content[:EXCERPT_BYTES]), size, max_bytes)
    else:
        yield 1, size, bytes(content)


def parse_text(file: DataFile, line: int, content: bytes) -> Record | Broken:
    """A text file as a record."""
    try:
        return Record(file.name, line, {"text": content.decode()})
    except UnicodeDecodeError as error:
        return broken(file, line, "invalid_utf8", str(error), content)


# --- what is broken -------------------------------------------------------------------------------------------


def broken(file: DataFile, line: int, reason: str, detail: str, content: bytes) -> Broken:
    """A broken record with all its bytes."""
    return Broken(file.name, line, reason, detail, shown(content), len(content))


def oversized(file: DataFile, line: int, start: bytes, size: int, max_bytes: int) -> Broken:
    """A record that is too long, of which the start is known."""
    detail = f"{size:,} bytes, more than max_record_bytes ({max_bytes:,})"
    return Broken(file.name, line, "oversized_record", detail, shown(start), size)


def shown(content: bytes) -> str:
    """The beginning of what may not be UTF-8."""
    return excerpt(content[:EXCERPT_BYTES].decode(errors="replace"))


def field_of(value: dict[str, Any], name: str) -> Any:
    """A field of a record, or one within another: `translation.en`."""
    found = value.get(name)
    if found is None and "." in name:
        found = value
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    return found
