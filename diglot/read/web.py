r"""Web pages: the main text of HTML, and the pages of WARC and WET archives.

A WARC archive is a row of records, each a head of lines and a block whose length the head gives:

    WARC/1.0\r\n WARC-Type: response\r\n … Content-Length: 5117\r\n \r\n … 5117 bytes … \r\n\r\n

They are cut out here and not by fastwarc: version 2.0.1 reports a truncated archive as whole and stops at the first
bad head, where this goes on at the next head that can be found. fastwarc then reads the response's headers, `body.py`
undoes what HTTP did to its content, and trafilatura finds the main text (Barbaresi 2021). Extraction runs at 1 to 3 MB of HTML a
second, so only the records of wanted shards are extracted.
"""

from __future__ import annotations

import codecs
import functools
import io
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from diglot.base.errors import UserError
from diglot.read.body import decode_body
from diglot.read.decompress import TruncatedError
from diglot.read.records import EXCERPT_BYTES, Broken, DataFile, Raw, Reading, Record, broken, oversized, shown

MAX_HEAD_BYTES = 65_536
END_OF_BLOCK = b"\r\n\r\n"
HTML_TYPES = ("text/html", "application/xhtml+xml")
# Of these WARC records a document is made; requests, metadata, revisits and the like are no documents.
DOCUMENT_TYPES = ("response", "resource", "conversion")
META_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
META_BYTES = 4096
# Comments atomic and possessive: each could end at any later `-->`, and forty in a row would be tried for days.
HTML_START = re.compile(rb"(?:\xef\xbb\xbf)?(?>\s*<!--.*?-->)*+\s*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
# Browsers read these labels as what they are taken for on most pages (WHATWG Encoding Standard, section 4.2).
MEANT = {
    "iso-8859-1": "cp1252", "latin-1": "cp1252", "latin1": "cp1252", "us-ascii": "cp1252", "ascii": "cp1252",
    "iso-8859-9": "cp1254", "iso-8859-11": "cp874", "tis-620": "cp874", "gb2312": "gb18030", "gbk": "gb18030",
    "shift_jis": "cp932", "shift-jis": "cp932", "x-sjis": "cp932", "euc-kr": "cp949", "ks_c_5601-1987": "cp949",
}  # fmt: skip
# Pages in these are also valid UTF-8 or ASCII, so the label is all there is to go by.
SEVEN_BIT = ("iso-2022", "iso2022", "hz", "utf-16", "utf16")


# --- HTML -----------------------------------------------------------------------------------------------------


def parse_page(file: DataFile, line: int, content: bytes) -> Record | Broken:
    """An HTML file as a record."""
    return _page(file.name, line, content, {})


def main_text_of(record: Record, reading: Reading) -> Record | Broken:
    """A record whose text field holds HTML, with the main text instead; one without such a field stays as it is."""
    field = reading.fields[0] if reading.fields else "text"
    html = record.value.get(field)
    if not isinstance(html, str):
        return record
    return _page(record.file, record.line, html, record.value, field)


def _page(
    file: str, line: int, html: str | bytes, value: dict[str, Any], field: str = "text", charset: str | None = None
) -> Record | Broken:
    raw = html.encode(errors="replace") if isinstance(html, str) else html

    def broken_page(reason: str, detail: str) -> Broken:
        return Broken(file, line, reason, detail, shown(raw), len(raw))

    try:
        text = _extractor()(html if isinstance(html, str) else decode_page(html, charset))
    except UserError:
        raise
    except Exception as error:  # a page can make lxml and trafilatura raise anything
        return broken_page("broken_html", f"{type(error).__name__}: {error}".split("\n")[0])
    if not text or not text.strip():
        return broken_page("no_main_text", "no main text was found in the page")
    return Record(file, line, {**value, field: text})


@functools.cache
def _extractor() -> Callable[[str | bytes], str | None]:
    """Finds the main text of a page, or None.

    Precision before recall and no readers' comments, as FineWeb's extraction has it (Penedo et al. 2024, 3.2).
    """
    try:
        import trafilatura  # extra: web
    except ImportError as error:
        raise _missing_extra(error) from error
    for name in ("trafilatura", "htmldate", "courlan", "justext"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what is broken goes into the ledger
    return functools.partial(trafilatura.extract, include_comments=False, favor_precision=True)


def _missing_extra(error: ImportError) -> UserError:
    return UserError(f"reading web pages needs {error.name}: pip install 'diglot[web]'")


def decode_page(html: bytes, charset: str | None = None) -> str | bytes:
    """A page as text; bytes, for the extractor's own detection, where neither UTF-8 nor a label fits.

    Args:
        html: the page.
        charset: what the HTTP header says; the page's own label comes after it.

    UTF-8 goes before labels: many servers say ISO-8859-1 of everything, and hardly any other text is valid UTF-8.
    """
    label = META_CHARSET.search(html[:META_BYTES])
    labels = [MEANT.get(name, name) for name in (_clean(charset), _clean(label and label[1].decode())) if name]
    marked = "utf-16" if html.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else None
    seven_bit = [name for name in labels if name.startswith(SEVEN_BIT)]
    for name in filter(None, [marked, *(seven_bit if html.isascii() else []), "utf-8-sig", *labels]):
        try:
            return html.decode(name)
        except (UnicodeError, LookupError, ValueError):
            continue
    return html


def _clean(label: str | None) -> str:
    return (label or "").strip().strip("\"'").lower()


# --- WARC -----------------------------------------------------------------------------------------------------


class WarcRecord(NamedTuple):
    """A record of an archive.

    Attributes:
        head: its lines, the version first.
        fields: the head's fields by their names in lower case.
        block: what the head describes.
    """

    head: bytes
    fields: dict[str, str]
    block: bytes


class _Stream:
    """Chunks as a stream to read from; holds what is asked for and a chunk."""

    def __init__(self, chunks: Iterator[bytes]):
        self.chunks = chunks
        self.held = b""
        self.failure = ""

    def more(self) -> bool:
        """Hold another chunk; False at the end."""
        try:
            chunk = next(self.chunks, b"")
        except TruncatedError as error:
            self.failure, chunk = str(error), b""
        self.held += chunk
        return bool(chunk)

    def read(self, size: int) -> bytes:
        """As many bytes, or fewer at the end."""
        parts = [self.held[:size]]
        missing, self.held = size - len(parts[0]), self.held[size:]
        while missing > 0 and self.more():
            parts.append(self.held[:missing])
            missing, self.held = missing - len(parts[-1]), self.held[missing:]
        return b"".join(parts)

    def skip(self, size: int) -> int:
        """Pass over bytes, holding a chunk; how many there were."""
        skipped = 0
        while skipped < size and (self.held or self.more()):
            step = min(size - skipped, len(self.held))
            skipped, self.held = skipped + step, self.held[step:]
        return skipped

    def skip_blank(self) -> None:
        """Pass over ends of lines."""
        while True:
            self.held = self.held.lstrip(b"\r\n")
            if self.held or not self.more():
                return

    def head(self) -> bytes | None:
        """What is held, up to a blank line; None if there is no end to it."""
        while True:
            ends = [self.held.find(mark) + len(mark) for mark in (b"\r\n\r\n", b"\n\n") if mark in self.held]
            if ends and min(ends) <= MAX_HEAD_BYTES:
                return self.held[: min(ends)]
            if len(self.held) > MAX_HEAD_BYTES or not self.more():
                return None

    def is_at_end_of_block(self) -> bool:
        """Whether an empty line comes next, as it must, or the next head, as programs have it that forget the line."""
        while len(self.held) < len(END_OF_BLOCK) and self.more():
            pass
        if self.held.startswith(END_OF_BLOCK):
            return True
        self.skip_blank()
        while len(self.held) < len(b"WARC/") and self.more():
            pass
        return not self.held or self.held.startswith(b"WARC/")

    def skip_to_next_head(self) -> int:
        """Pass over what is no head; how many bytes that were."""
        skipped = 0
        while True:
            place = self.held.find(b"\nWARC/")
            if place >= 0:
                return skipped + self.skip(place + 1)
            skipped += self.skip(max(0, len(self.held) - len(b"\nWARC/")))
            if not self.more():
                return skipped + self.skip(len(self.held))


def raw_warc(file: DataFile, chunks: Iterator[bytes], max_bytes: int) -> Iterator[Raw]:
    """The documents of an archive as `WarcRecord`; records are numbered from 1, those that are no documents too."""
    stream = _Stream(chunks)
    number = 0
    while True:
        stream.skip_blank()
        if not stream.held:
            break
        number += 1
        head = stream.head()
        fields = _fields(head) if head else None
        if head is None and stream.failure:
            break
        if head is None or fields is None:
            start = head or stream.held[:EXCERPT_BYTES]
            size = stream.skip_to_next_head()
            yield number, size, _broken_warc(file, number, "no head of a WARC record", start, size)
            continue
        stream.skip(len(head))
        yield from _raw_block(file, number, WarcRecord(head, fields, b""), stream, max_bytes)
    if stream.failure:
        detail, size = stream.failure, len(stream.held)
        yield (number + 1, size, Broken(file.name, number + 1, "truncated_archive", detail, shown(stream.held), size))


def _raw_block(file: DataFile, number: int, record: WarcRecord, stream: _Stream, max_bytes: int) -> Iterator[Raw]:
    """The record whose head was read, if it is a document or broken."""
    length = int(record.fields["content-length"])
    is_document = record.fields["warc-type"].lower() in DOCUMENT_TYPES
    is_held = is_document and length <= max_bytes
    block = stream.read(length) if is_held else b""
    there = len(block) if is_held else stream.skip(length)
    size = len(record.head) + there
    if there < length:
        if not stream.failure:  # else the archive's end is counted, once, by the caller
            detail = f"{there:,} of {length:,} bytes: the archive breaks off"
            yield (number, size, Broken(file.name, number, "truncated_archive", detail, shown(record.head), size))
        return
    if not stream.is_at_end_of_block():
        size += stream.skip_to_next_head()
        yield number, size, _broken_warc(file, number, "its length is wrong", record.head, size)
    elif is_document and not is_held:
        yield number, size, oversized(file, number, record.head, size, max_bytes)
    elif is_document:
        yield number, size, record._replace(block=block)


def _broken_warc(file: DataFile, number: int, detail: str, start: bytes, size: int) -> Broken:
    return Broken(file.name, number, "broken_warc_record", detail, shown(start), size)


def _fields(head: bytes) -> dict[str, str] | None:
    """A head's fields; None if it is none."""
    lines = head.decode(errors="replace").replace("\r\n", "\n").split("\n")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    length = fields.get("content-length", "")
    is_number = length.isascii() and length.isdigit() and len(length) < 16
    return fields if lines[0].startswith("WARC/") and is_number and "warc-type" in fields else None


def parse_warc(file: DataFile, line: int, record: WarcRecord, max_bytes: int) -> Record | Broken:
    """A page of an archive: the text of a WET record, or the main text of an HTML response."""
    fields = record.fields
    value = {
        "id": fields.get("warc-record-id", "").strip("<>"),
        "url": fields.get("warc-target-uri", "").strip("<>"),
        "date": fields.get("warc-date", ""),
    }
    kind = fields["warc-type"].lower()
    if kind == "conversion":
        try:
            return Record(file.name, line, {**value, "text": record.block.decode()})
        except UnicodeDecodeError as error:
            return broken(file, line, "invalid_utf8", str(error), record.block)
    if kind == "resource":
        return _page_of(file, line, record.block, value, fields.get("content-type", ""))
    try:
        status, content_type, content = _http(record, max_bytes)
    except OSError as error:
        return broken(file, line, "broken_warc_record", f"no HTTP response: {error}", record.block)
    if status is not None and not 200 <= status < 300:
        return broken(file, line, "http_status", f"status {status}", record.block)
    return _page_of(file, line, content, value, content_type)


def _page_of(file: DataFile, line: int, content: bytes, value: dict[str, Any], content_type: str) -> Record | Broken:
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() not in HTML_TYPES:
        return broken(file, line, "not_html", f"content type {content_type or 'unknown'}", content)
    charset = re.search(r"charset\s*=\s*([^;\s]+)", parameters, re.IGNORECASE)
    return _page(file.name, line, content, value, charset=charset[1] if charset else None)


def _http(record: WarcRecord, max_bytes: int) -> tuple[int | None, str, bytes]:
    """Status, content type and content of a response, with transfer and content encodings undone.

    Raises:
        OSError: there is no response.
    """
    try:
        from fastwarc.warc import ArchiveIterator  # extra: web
    except ImportError as error:
        raise _missing_extra(error) from error
    stream = io.BytesIO(b"".join([record.head, record.block, b"\r\n\r\n"]))
    for response in ArchiveIterator(stream, auto_decode="none", stream_detect=False):
        headers = response.http_headers
        content = response.reader.read()
        if headers is None:
            return None, record.fields.get("content-type", ""), content
        said = [headers.get(name) or "" for name in ("Transfer-Encoding", "Content-Encoding", "Content-Type")]
        content = decode_body(content, said[0], said[1], max_bytes)
        return headers.status_code, said[2] or _sniffed_type(content), content
    raise OSError("nothing in it")


def _sniffed_type(content: bytes) -> str:
    """The type of a page whose server said none."""
    return "text/html" if HTML_START.match(content) else ""
