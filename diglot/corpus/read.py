r"""Reading raw data: files, folders, globs and URLs, one record at a time, whatever is broken in them.

| suffix | a record is |
|---|---|
| `.jsonl`, `.ndjson`, `.json` | a line (split on `\n` only); of a `.json` file that begins with `[`, an element |
| `.parquet` | a row |
| `.txt` | the whole file, as `{"text": …}` |

All but Parquet may also end in `.gz` or `.zst`. Folders are searched for these suffixes, in the order of names.
Blank lines are not records. URLs (`hf://datasets/…`, `s3://…`, `https://…`) are opened through fsspec.

A broken record becomes a `Broken` with its reason, and reading goes on:

    invalid_utf8 · invalid_json · oversized_record · truncated_archive (what came before the break was read; the
    record cut off is lost) · unreadable_file

What leaves nothing to go on with (a missing path, no readable record at all, no network) is a `UserError`.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from diglot.artifact import UserError
from diglot.corpus.ledger import excerpt

FORMATS = {".jsonl": "lines", ".ndjson": "lines", ".json": "json", ".parquet": "parquet", ".txt": "text"}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
CHUNK_BYTES = 1 << 20
PARQUET_ROWS = 512
GLOB_CHARACTERS = "*?["


class Record(NamedTuple):
    """A record as it stands in a file.

    Attributes:
        file: the file's name, without folders.
        line: its line, row or element, from 1.
        value: its fields.
    """

    file: str
    line: int
    value: dict[str, Any]


class Broken(NamedTuple):
    """A record that could not be read.

    Attributes:
        file, line: as in `Record`.
        reason: one of the reasons above.
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


class DataFile(NamedTuple):
    """A file to read: how it is called in messages, its format and compression, and what opens it."""

    label: str
    name: str
    format: str
    compression: str | None
    open: Callable[[], Any]


def read_records(
    path: str | list[str],
    *,
    stage: str,
    source: str,
    base: Path | None = None,
    limit: int | None = None,
    max_record_bytes: int = 20_000_000,
) -> Iterator[Record | Broken]:
    """Read all records of a source, in a fixed order.

    Args:
        path: files, folders, globs or URLs.
        stage: name of the stage, for messages.
        source: name of the source, for messages.
        base: what relative paths are relative to; the working folder by default.
        limit: read at most this many records, broken ones included.
        max_record_bytes: longer records are broken.

    Raises:
        UserError: a path is missing or of unknown kind, the network or hub cannot be reached, or there is not one
            readable record.
    """
    where = f"source {source!r}"
    remedy = f"give a folder or file that can be read: diglot run RECIPE {stage}.sources.{source}.path=FOLDER"
    paths = [path] if isinstance(path, str) else path
    files = [file for one in paths for file in find_files(one, where, remedy, base)]
    records = itertools.chain.from_iterable(
        _read_file(file, max_record_bytes, where, remedy) for file in files
    )
    good, reasons = 0, Counter[str]()
    examples: list[str] = []
    for record in itertools.islice(records, limit):
        if isinstance(record, Broken):
            reasons[record.reason] += 1
            examples += [f"{record.file}, line {record.line}: {record.detail}"] if len(examples) < 3 else []
        else:
            good += 1
        yield record
    if not good:
        found = ", ".join(f"{number} × {reason}" for reason, number in reasons.most_common()) or "no records"
        shown = "; ".join([*examples, *(file.label for file in files[:3] if not examples)])
        raise UserError(f"{where}: nothing could be read: {found} ({shown}); {remedy}")


# --- finding files --------------------------------------------------------------------------------------------


def find_files(path: str, where: str, remedy: str, base: Path | None = None) -> list[DataFile]:
    """The files that a path, folder, glob or URL stands for, in the order of their names.

    Raises:
        UserError: there are none, or one is of a kind that cannot be read.
    """
    if "://" in path:
        return _find_remote(path, where, remedy)
    full = (base or Path.cwd()) / Path(path).expanduser()
    if full.is_file():
        if _format_of(full.name) is None:
            raise UserError(f"{where}: {full} is of no known kind ({_known_suffixes()}); {remedy}")
        found = [full]
    elif full.is_dir():
        found = sorted(file for file in full.rglob("*") if file.is_file() and _format_of(file.name))
    elif any(character in path for character in GLOB_CHARACTERS):
        root = Path(full.anchor)
        matches = root.glob(str(full.relative_to(root)))
        found = sorted(file for file in matches if file.is_file() and _format_of(file.name))
    else:
        raise UserError(f"{where}: there is no file or folder {full}; {remedy}")
    if not found:
        raise UserError(f"{where}: no files of a known kind ({_known_suffixes()}) in {full}; {remedy}")
    return [_data_file(str(file), functools.partial(pa.OSFile, str(file))) for file in found]


def _find_remote(url: str, where: str, remedy: str) -> list[DataFile]:
    with _network(url, where, remedy):
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(url)
        if any(character in path for character in GLOB_CHARACTERS):
            names = filesystem.glob(path)
        elif filesystem.isdir(path):
            names = filesystem.find(path)
        else:
            names = [path] if filesystem.exists(path) else []
    names = sorted(str(name) for name in names if _format_of(str(name)))
    if not names:
        raise UserError(f"{where}: no files of a known kind ({_known_suffixes()}) at {url}; {remedy}")

    def open_remote(name: str) -> Any:
        with _network(url, where, remedy):
            return pa.PythonFile(_RemoteFile(filesystem.open(name, "rb"), url, where, remedy), "r")

    return [_data_file(name, functools.partial(open_remote, name)) for name in names]


class _RemoteFile:
    """A remote file whose failures are those of the network, not of the data in it."""

    def __init__(self, file: Any, url: str, where: str, remedy: str):
        self.file, self.about = file, (url, where, remedy)

    def read(self, size: int = -1) -> bytes:
        with _network(*self.about):
            return self.file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@contextlib.contextmanager
def _network(url: str, where: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each filesystem of fsspec has exceptions of its own
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise UserError(
            f"{where}: cannot reach {url} ({excerpt(reason)}); without a network, {remedy}"
        ) from error


def _data_file(label: str, open_file: Callable[[], Any]) -> DataFile:
    name = label.rsplit("/", 1)[-1]
    compression = COMPRESSIONS.get(Path(name).suffix)
    return DataFile(label, name, _format_of(name) or "", compression, open_file)


def _format_of(name: str) -> str | None:
    path = Path(name)
    if path.suffix in COMPRESSIONS:
        inner = FORMATS.get(Path(path.stem).suffix)
        return inner if inner != "parquet" else None
    return FORMATS.get(path.suffix)


def _known_suffixes() -> str:
    return f"{', '.join(FORMATS)}; compressed: {', '.join(COMPRESSIONS)}"


# --- reading one file -----------------------------------------------------------------------------------------


def _read_file(file: DataFile, max_bytes: int, where: str, remedy: str) -> Iterator[Record | Broken]:
    try:
        if file.format == "parquet":
            yield from _read_parquet(file)
        elif file.format == "text":
            yield _read_text(file, max_bytes)
        else:
            yield from _read_json(file, max_bytes)
    except PermissionError as error:
        raise UserError(f"{where}: {file.label} may not be read ({error.strerror}); {remedy}") from error


def _read_parquet(file: DataFile) -> Iterator[Record | Broken]:
    line = 0
    try:
        table = pq.ParquetFile(file.open())
        for batch in table.iter_batches(PARQUET_ROWS):
            for value in batch.to_pylist():
                line += 1
                yield Record(file.name, line, value)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        yield Broken(file.name, line + 1, "unreadable_file", str(error).split("\n")[0], "", 0)


def _read_text(file: DataFile, max_bytes: int) -> Record | Broken:
    try:
        content = bytearray()
        for chunk in _chunks(file):
            content += chunk
            if len(content) > max_bytes:
                return _oversized(file, 1, bytes(content[:1000]), len(content), max_bytes)
        return Record(file.name, 1, {"text": content.decode()})
    except UnicodeDecodeError as error:
        return _broken(file, 1, "invalid_utf8", str(error), bytes(content))
    except _TruncatedError as error:
        return _broken(file, 1, "truncated_archive", str(error), bytes(content))


def _read_json(file: DataFile, max_bytes: int) -> Iterator[Record | Broken]:
    chunks = _chunks(file)
    if file.format == "json":
        try:
            first = next(chunks, b"")
        except _TruncatedError as error:
            yield _broken(file, 1, "truncated_archive", str(error), b"")
            return
        chunks = itertools.chain([first], chunks)
        if first.lstrip().startswith(b"["):
            yield from _read_array(file, chunks)
            return
    for line, content in _lines(file, chunks, max_bytes):
        if isinstance(content, Broken):
            yield content
        elif content.strip():
            yield _parse(file, line, content)


def _parse(file: DataFile, line: int, content: bytes) -> Record | Broken:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        return _broken(file, line, "invalid_utf8", f"byte {error.start} of the line: {error.reason}", content)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _broken(file, line, "invalid_json", str(error), content)
    if not isinstance(value, dict):
        return _broken(
            file, line, "invalid_json", f"an object is wanted, not {type(value).__name__}", content
        )
    return Record(file.name, line, value)


def _read_array(file: DataFile, chunks: Iterator[bytes]) -> Iterator[Record | Broken]:
    """The elements of a `.json` file that holds one array; it is read whole."""
    content = b""
    try:
        content = b"".join(chunks)
        values = json.loads(content.decode())
    except _TruncatedError as error:
        yield _broken(file, 1, "truncated_archive", str(error), content)
        return
    except UnicodeDecodeError as error:
        yield _broken(file, 1, "invalid_utf8", str(error), content)
        return
    except (ValueError, RecursionError) as error:
        yield _broken(file, 1, "invalid_json", str(error), content)
        return
    for number, value in enumerate(values, 1):
        if isinstance(value, dict):
            yield Record(file.name, number, value)
        else:
            content = json.dumps(value).encode()
            detail = f"an object is wanted, not {type(value).__name__}"
            yield _broken(file, number, "invalid_json", detail, content)


def _lines(file: DataFile, chunks: Iterator[bytes], max_bytes: int) -> Iterator[tuple[int, bytes | Broken]]:
    r"""Lines with their numbers, split on `\n`; of a longer one no more than max_bytes and a chunk are held."""
    line, size, start = 1, 0, b""
    parts: list[bytes] = []
    try:
        for chunk in chunks:
            pieces = chunk.split(b"\n")
            for number, piece in enumerate(pieces):
                if number > 0:
                    oversized = size > max_bytes
                    yield (
                        line,
                        _oversized(file, line, start, size, max_bytes) if oversized else b"".join(parts),
                    )
                    line, parts, size, start = line + 1, [], 0, b""
                size += len(piece)
                start = start or piece[:1000]
                if size <= max_bytes:
                    parts.append(piece)
                else:
                    parts = []
    except _TruncatedError as error:
        yield line, Broken(file.name, line, "truncated_archive", str(error), _shown(start), size)
        return
    if size > max_bytes:
        yield line, _oversized(file, line, start, size, max_bytes)
    elif size:
        yield line, b"".join(parts)


class _TruncatedError(Exception):
    """A compressed file breaks off, or what follows in it cannot be decompressed."""


def _chunks(file: DataFile) -> Iterator[bytes]:
    """The decompressed bytes of a file.

    Arrow loses what it has decompressed in a call that fails, so after a failure the file is read again up to
    there and on in ever smaller steps, until all that can be had is had.
    """
    if file.compression is None:
        with file.open() as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
        return
    offset, size = 0, CHUNK_BYTES
    while True:
        try:
            with pa.CompressedInputStream(file.open(), file.compression) as stream:
                to_skip = offset
                while to_skip:
                    to_skip -= len(stream.read(min(to_skip, CHUNK_BYTES)))
                while chunk := stream.read(size):
                    offset += len(chunk)
                    yield chunk
                return
        except (OSError, pa.ArrowException) as error:
            if size == 1:
                raise _TruncatedError(f"after {offset:,} bytes: {error}") from error
            size = max(1, size // 32)


def _broken(file: DataFile, line: int, reason: str, detail: str, content: bytes) -> Broken:
    return Broken(file.name, line, reason, detail, _shown(content), len(content))


def _oversized(file: DataFile, line: int, start: bytes, size: int, max_bytes: int) -> Broken:
    detail = f"{size:,} bytes, more than max_record_bytes ({max_bytes:,})"
    return Broken(file.name, line, "oversized_record", detail, _shown(start), size)


def _shown(content: bytes) -> str:
    return excerpt(content[:1000].decode(errors="replace"))
