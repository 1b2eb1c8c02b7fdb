r"""Reading raw data: files, folders, globs and URLs, one record at a time, whatever is broken in them.

| suffix | a record is |
|---|---|
| `.jsonl`, `.ndjson`, `.json` | a line (split on `\n` only); of a `.json` file that begins with `[`, an element |
| `.csv`, `.tsv` | a row; its columns are named by the first line, or by `columns` |
| `.parquet`, `.arrow`, `.feather` | a row |
| `.txt` | the whole file, as `{"text": …}`; with `each_line`, a line |
| `.html`, `.htm` | the whole file: its main text, as `{"text": …}` |
| `.warc`, `.wet` | a page: `{"id", "url", "date", "text"}` of HTML responses and of WET's texts |

All but Parquet and Arrow may also end in `.gz` or `.zst`. Folders are searched for these suffixes, in the order of
names, without hidden files; of what `datasets` saved (`save_to_disk`) the data alone are read. Blank lines are not
records, nor are WARC's requests and notes. Text is UTF-8, or what `encoding` says (`encoding.py`). URLs
(`hf://datasets/…`, `s3://…`, `https://…`) are opened through fsspec; `hf://datasets/ORG/NAME` stands for the Parquet
and JSONL files of a data set on the hub. Two files side by side (`find_pairs`) are read as pairs of their lines.

A broken record becomes a `Broken` with its reason, and reading goes on:

    invalid_utf8 · invalid_json · invalid_csv · wrong_columns · oversized_record · truncated_archive (what came before the break was read; the
    record cut off is lost) · unreadable_file · unreadable_rows (of Parquet or Arrow) · broken_warc_record
    no_main_text · broken_html · not_html (a response with something else) · http_status (an error page, a redirect)

What leaves nothing to go on with (a missing path, no readable record at all, no network) is a `UserError`.

**Shards.** `read_shards` cuts files into stretches of 32 MB (decompressed) or 20,000 records, by what is in them
alone. Workers that share a big file each go through it, and parse only the shards that they want:

    for shard in read_shards(files, reading, lambda number: number % 4 == 0):
        if shard.records is not None: ...  # this worker's

**Memory.** Two shards, parsed (the caller's and the one in the making), a record of `max_record_bytes` and a few
chunks of 1 MB, whatever the size of the file: about 2 × 32 MB + 20 MB for texts that Python holds in as many bytes as
UTF-8 does. One in Latin script with an emoji takes four bytes a character. Parquet adds a batch of 8 MB and some
pages, which are as large as the writer made them: Arrow puts 1024 rows into one, so 100 MB at 100 KB a row; a zstd file
written with `--long=31` its window, 2 GiB where it is as large.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from diglot.base.errors import UserError
from diglot.base.files import expand_home
from diglot.read.arrow import raw_batches
from diglot.read.parquet import raw_rows
from diglot.read.records import (
    Broken,
    DataFile,
    Raw,
    Reading,
    Record,
    chunks_of,
    likely_encoding,
    network,
    parse_json,
    parse_text,
    raw_json,
    raw_lines,
    raw_whole,
    text_of,
)
from diglot.read.tables import parse_pair, parse_row, raw_pairs, raw_table
from diglot.read.web import main_text_of, parse_page, parse_warc, raw_warc
from diglot.recipe.source import RawFiles, Source

__all__ = ["Broken", "DataFile", "RawShard", "Reading", "Record", "find_files", "read_records", "read_shards"]

FORMATS = {
    ".jsonl": "lines", ".ndjson": "lines", ".json": "json", ".parquet": "parquet", ".arrow": "arrow",
    ".feather": "arrow", ".csv": "csv", ".tsv": "tsv", ".txt": "text", ".html": "html", ".htm": "html", ".warc": "warc",
    ".wet": "warc",
}  # fmt: skip
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
GLOB_CHARACTERS = "*?["
WHOLE = ("parquet", "arrow")  # are compressed inside
TEXTS = ("lines", "json", "csv", "tsv", "text", "pairs")
HUB_FORMATS = ("lines", "parquet")  # beside them lie files that are no data: README, dataset_infos.json
# Beside the data of a data set that `datasets` saved: what it says of them, and what it made of them and can make again.
NO_DATA = re.compile(r"(.*/)?(dataset_info\.json|dataset_dict\.json|state\.json|cache-[0-9a-f]+\.arrow)")
SHARD_BYTES = 32_000_000
SHARD_RECORDS = 20_000


class RawShard(NamedTuple):
    """A stretch of a list of files.

    Attributes:
        number: from 0.
        records: what is in it, in order; None if it was not wanted.
    """

    number: int
    records: list[Record | Broken] | None


def read_shards(
    files: list[DataFile], reading: Reading, wanted: Callable[[int], bool] = lambda number: True
) -> Iterator[RawShard]:
    """Cut files into shards, and parse those that are wanted.

    Where shards begin and end depends on the files alone, not on which are wanted, so what is made of a shard can be
    kept. A shard ends behind the record that fills it; it may go on into the next file. A shard that is not wanted
    costs decompression and the search for line ends; of Parquet files its row groups are not even read.

    Args:
        files: read in this order.
        reading: how.
        wanted: asked once for each shard, when it begins.

    Raises:
        UserError: a file may not be read, the network fails in the middle of one, an extra is not installed.
    """
    number, num_records, num_bytes, total = 0, 0, 0, 0
    records: list[Record | Broken] | None = None
    for file in files:
        for line, size, content in _raw_records(file, reading):
            # Asked at a shard's first record: an unwanted one is cut off, but never parsed.
            if not num_records:
                records = [] if wanted(number) else None
            if records is not None:
                records.append(_parse(file, reading, line, content))
            num_records, num_bytes, total = num_records + 1, num_bytes + size, total + 1
            # The limit ends a shard too, so that the same limit gives the same shards.
            if num_records == SHARD_RECORDS or num_bytes >= SHARD_BYTES or total == reading.limit:
                yield RawShard(number, records)
                number, num_records, num_bytes, records = number + 1, 0, 0, None
            if total == reading.limit:
                return
    if num_records:
        yield RawShard(number, records)


def read_records(
    path: str | list[str],
    *,
    stage: str,
    source: str,
    base: Path | None = None,
    limit: int | None = None,
    max_record_bytes: int = 20_000_000,
    how: RawFiles | None = None,
) -> Iterator[Record | Broken]:
    """Read all records of a source, in a fixed order.

    Args:
        path: files, folders, globs or URLs.
        stage: name of the stage, for messages.
        source: name of the source, for messages.
        base: what relative paths are relative to; the working folder by default.
        limit: read at most this many records, broken ones included.
        max_record_bytes: longer records are broken.
        how: the source's settings of how files are read; of pairs in two files as well (`Source`).

    Raises:
        UserError: a path is missing or of unknown kind, the network or hub cannot be reached, or there is not one
            readable record.
    """
    where = f"source {source!r}"
    remedy = f"give a folder or file that can be read: diglot run RECIPE {stage}.sources.{source}.path=FOLDER"
    reading = Reading(
        max_record_bytes=max_record_bytes, where=where, remedy=remedy, **(how_to_read(how) if how else {})
    )
    files = find_source(path, getattr(how, "target_path", None), where, remedy, base)
    # The limit counts raw records, so a broken one costs a place, as it does where shards are read.
    raw_records = ((file, *raw) for file in files for raw in _raw_records(file, reading))
    good, reasons = 0, Counter[str]()
    examples: list[str] = []
    for file, line, _, content in itertools.islice(raw_records, limit):
        record = _parse(file, reading, line, content)
        if isinstance(record, Broken):
            reasons[record.reason] += 1
            examples += [f"{record.file}, line {record.line}: {record.detail}"] if len(examples) < 3 else []
        else:
            good += 1
        yield record
    # Only at the end: a caller has every broken record by then, and has counted it.
    if not good:
        found = ", ".join(f"{number} × {reason}" for reason, number in reasons.most_common()) or "no records"
        shown = "; ".join([*examples, *(file.label for file in files[:3] if not examples)])
        raise UserError(f"{where}: nothing could be read: {found} ({shown}); {remedy}")


def _raw_records(file: DataFile, reading: Reading) -> Iterator[Raw]:
    """A file's records, cut out and not yet parsed."""
    max_bytes = reading.max_record_bytes
    try:
        if cut_whole := {"parquet": raw_rows, "arrow": raw_batches, "pairs": raw_pairs}.get(file.format):
            yield from cut_whole(file, reading)
            return
        with contextlib.closing((chunks_of if file.format == "warc" else text_of)(file, reading)) as chunks:
            if file.format in ("csv", "tsv"):
                yield from raw_table(file, chunks, reading)
            elif file.format == "text":
                yield from _raw_text(file, chunks, reading)
            else:
                cut = {"lines": raw_lines, "json": raw_json, "warc": raw_warc}.get(file.format, raw_whole)
                yield from cut(file, chunks, max_bytes)
    except PermissionError as error:
        raise UserError(
            f"{reading.where}: {file.label} may not be read ({error.strerror}); {reading.remedy}"
        ) from error


def _raw_text(file: DataFile, chunks: Iterator[bytes], reading: Reading) -> Iterator[Raw]:
    """The document of a text file, or those of its lines."""
    if reading.each_line:
        yield from raw_lines(file, chunks, reading.max_record_bytes)
        return
    for line, size, content in raw_whole(file, chunks, reading.max_record_bytes):
        if isinstance(content, Broken) and content.reason == "oversized_record":
            content = content._replace(detail=f"{content.detail}; if each line is a document, set each_line: true")
        yield line, size, content


def _parse(file: DataFile, reading: Reading, line: int, content: Any) -> Record | Broken:
    """Parse a raw record."""
    record = _parse_any(file, reading, line, content)
    if not isinstance(record, Broken) or record.reason != "invalid_utf8":
        return record
    likely = likely_encoding(file) if file.format in TEXTS and not reading.encoding else None
    hint = f"; the file looks like {likely}: if it is, set encoding: {likely}" if likely else ""
    return record._replace(detail=record.detail + hint)


def _parse_any(file: DataFile, reading: Reading, line: int, content: Any) -> Record | Broken:
    if file.format == "lines" and isinstance(content, bytes):  # first: most records are these
        record = parse_json(file, line, content)
    elif isinstance(content, Broken | Record):
        record = content
    elif file.format in WHOLE:
        record = content()
    elif file.format == "text":
        record = parse_text(file, line, content)
    elif file.format in ("csv", "tsv"):
        record = parse_row(file, line, content)
    elif file.format == "pairs":
        record = parse_pair(file, line, content, reading)
    elif file.format == "html":
        return parse_page(file, line, content)
    elif file.format == "warc":
        return parse_warc(file, line, content, reading.max_record_bytes)
    else:
        record = parse_json(file, line, content)
    if reading.html and isinstance(record, Record):
        return main_text_of(record, reading)
    return record


# --- finding files --------------------------------------------------------------------------------------------


def find_source(
    path: str | list[str], target_path: str | list[str] | None, where: str, remedy: str, base: Path | None = None
) -> list[DataFile]:
    """The files of a source: all that its paths stand for; or pairs of them, where it has target paths.

    Raises:
        UserError: there are none, one is of a kind that cannot be read, or not every one has a partner.
    """
    paths, targets = ([given] if isinstance(given, str) else given for given in (path, target_path or []))
    if not targets:
        return [file for one in paths for file in find_files(one, where, remedy, base)]
    sides = [
        [file for one in side for file in find_files(one, where, remedy, base, "pairs")] for side in (paths, targets)
    ]
    if len(sides[0]) != len(sides[1]):
        raise UserError(
            f"{where}: path has {len(sides[0])} files and target_path {len(sides[1])}: each needs its partner"
        )
    # A group of files is read together by its size, of which a pair has both.
    return [
        file._replace(beside=other, size=None if None in (file.size, other.size) else file.size + other.size)
        for file, other in zip(*sides, strict=True)
    ]


def how_to_read(source: RawFiles) -> dict[str, Any]:
    """The fields of `Reading` that a source's settings give whatever is made of its records."""
    given: dict[str, Any] = {"encoding": source.encoding, "columns": source.columns}
    return (
        given | {"each_line": source.each_line, "pair": source.text_fields()} if isinstance(source, Source) else given
    )


def find_files(
    path: str, where: str, remedy: str, base: Path | None = None, format: str | None = None
) -> list[DataFile]:
    """The files that a path, folder, glob or URL stands for, in the order of their names.

    Args:
        path: as a source has it.
        where: what asks, for messages.
        remedy: what to do, for messages.
        base: what a relative path is relative to; the working folder by default.
        format: read files of any name as this, instead of what their names say.

    Raises:
        UserError: there are none, or one is of a kind that cannot be read.
    """
    if "://" in path:
        return _find_remote(path, where, remedy, format)
    full = (base or Path.cwd()) / expand_home(path)
    if full.is_file():
        if not format and _format_of(full.name) is None:
            raise UserError(f"{where}: {full} is of no known kind ({_known_suffixes()}); {remedy}")
        found = [full]
    elif full.is_dir():
        inside = [file for file in full.rglob("*") if file.is_file() and not _is_hidden(file.relative_to(full))]
        if not inside:
            raise UserError(f"{where}: there are no files in the folder {full}; {remedy}")
        found = sorted(file for file in inside if is_data(str(file)))
    elif any(character in path for character in GLOB_CHARACTERS):
        root = Path(full.anchor)
        matches = root.glob(str(full.relative_to(root)))
        found = sorted(file for file in matches if file.is_file() and (format or _format_of(file.name)))
    else:
        raise UserError(f"{where}: there is no file or folder {full}; {remedy}")
    if not found:
        raise UserError(f"{where}: no files of a known kind ({_known_suffixes()}) in {full}; {remedy}")
    return [_data_file(str(file), str(file), file.stat().st_size, None, format) for file in found]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def is_data(path: str) -> bool:
    """Whether a file that was found in a folder, not named by itself, is to be read."""
    return _format_of(path) is not None and not NO_DATA.fullmatch(path)


def _find_remote(url: str, where: str, remedy: str, format: str | None) -> list[DataFile]:
    with network(url, where, remedy):
        import fsspec  # start-up: only for a URL

        filesystem, path = fsspec.core.url_to_fs(url)
        sizes = _sizes(filesystem, path, url) if not format else {path: filesystem.info(path).get("size")}
    if url.startswith("hf://") and len({_format_of(name) for name in sizes}) > 1:
        data = {name: size for name, size in sizes.items() if _format_of(name) in HUB_FORMATS}
        sizes = data or sizes
    if not sizes:
        raise UserError(f"{where}: no files of a known kind ({_known_suffixes()}) at {url}; {remedy}")
    return [
        _data_file(filesystem.unstrip_protocol(name), name, size, filesystem, format)
        for name, size in sorted(sizes.items())
    ]


def _sizes(filesystem: Any, path: str, url: str) -> dict[str, int | None]:
    """The names of the readable files at a remote path, with their sizes where the listing has them."""
    found = listed(filesystem, path, url)
    return {name: info.get("size") for name, info in found.items() if is_data(name)}


def listed(filesystem: Any, path: str, url: str) -> dict[str, dict[str, Any]]:
    """What a filesystem of fsspec says of the files at a remote path, by name."""
    is_address = url.startswith(("http://", "https://"))  # there ? begins the query
    if any(character in path for character in ("*" if is_address else GLOB_CHARACTERS)):
        found = filesystem.glob(path, detail=True)
    elif _format_of(path):  # before isdir: that would fetch all of a file at an https address, to look for links
        found = {path: filesystem.info(path)}
        if found[path].get("type") == "directory":
            found = filesystem.find(path, detail=True)
    else:
        found = filesystem.find(path, detail=True)
    return {str(name): info for name, info in found.items()}


def _data_file(label: str, path: str, size: int | None, filesystem: Any, format: str | None) -> DataFile:
    # A name on disk need not be UTF-8, as ids and messages must.
    label, name = (text.encode(errors="replace").decode() for text in (label, _file_name(path)))
    compression = COMPRESSIONS.get(Path(name.lower()).suffix)
    return DataFile(label, name, format or _format_of(path) or "", compression, path, size, filesystem)


def _file_name(path: str) -> str:
    path = urlsplit(path).path if "://" in path else path
    return path.rsplit("/", 1)[-1]


def _format_of(path: str) -> str | None:
    name = Path(_file_name(path).lower())
    if name.suffix in COMPRESSIONS:
        inner = FORMATS.get(Path(name.stem).suffix)
        return inner if inner not in WHOLE else None
    return FORMATS.get(name.suffix)


def _known_suffixes() -> str:
    return f"{', '.join(FORMATS)}; compressed: {', '.join(COMPRESSIONS)}"
