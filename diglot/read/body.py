"""The content of a stored HTTP response, with what HTTP did to it undone, where it was done.

Headers of archives are often not true of what is stored: crawlers wrote down decoded bodies under the headers of the
encoded ones (Common Crawl before 2018), servers say `gzip` of plain pages, and codings that there are none of (`none`,
`UTF-8`). So the bytes decide: a coding is undone where the body is in it, whether the headers say so or not where the
bytes themselves do (gzip, zstd), and a body that is in none of them is taken as it stands, as browsers do. Of one that
breaks off, what there is comes out.
"""

from __future__ import annotations

import contextlib
import io
import re
import zlib

from diglot.read.decompress import DAMAGED, Decompressed

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
MAX_CODINGS = 4  # one on another
STEP_BYTES = 1024  # a step that fails gives nothing
CHUNK_HEAD = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")


def decode_body(body: bytes, transfer: str, codings: str, max_bytes: int) -> bytes:
    """The content of a response.

    Args:
        body: as it was stored.
        transfer: what `Transfer-Encoding` says.
        codings: what `Content-Encoding` says.
        max_bytes: what comes out is cut there.
    """
    if "chunked" in transfer.lower():
        body = without_chunks(body)
    names = [name.strip().lower() for name in f"{codings},{transfer}".split(",")]
    for _ in range(MAX_CODINGS):
        if body.startswith(GZIP):
            found = _unpacked(body, "gzip", max_bytes)
        elif body.startswith(ZSTD):
            found = _unpacked(body, "zstd", max_bytes)
        elif "br" in names and not body.lstrip().startswith(b"<"):
            names.remove("br")
            found = _brotli(body, max_bytes)
        elif "deflate" in names and not body.lstrip().startswith(b"<"):
            names.remove("deflate")
            found = _inflated(body, max_bytes)
        else:
            break
        if not found:
            break
        body = found
    return body


def without_chunks(body: bytes) -> bytes:
    """A body without the lengths of its chunks; as it stands where it begins with none."""
    parts, place = [], 0
    while head := CHUNK_HEAD.match(body, place):
        size = int(head[1], 16)
        parts.append(body[head.end() : head.end() + size])
        place = head.end() + size
        if not size or place >= len(body):
            return b"".join(parts)
        end = re.compile(rb"\r?\n").match(body, place)
        if end is None:  # no chunk after all: a page may begin with a number
            return body
        place = end.end()
    return b"".join([*parts, body[place:]])


def _unpacked(body: bytes, compression: str, max_bytes: int) -> bytes:
    stream = Decompressed(io.BytesIO(body), compression)
    found = bytearray()
    try:
        while len(found) < max_bytes and (output := stream.read(STEP_BYTES)):
            found += output
    except (EOFError, *DAMAGED):  # a page that breaks off is shown as far as it goes
        pass
    return bytes(found)


def _inflated(body: bytes, max_bytes: int) -> bytes:
    """Deflate, in zlib's form as the standard has it or bare as some servers send it; empty where it is neither."""
    for window in (zlib.MAX_WBITS, -zlib.MAX_WBITS):
        with contextlib.suppress(zlib.error):
            if found := zlib.decompressobj(window).decompress(body, max_bytes):
                return found
    return b""


def _brotli(body: bytes, max_bytes: int) -> bytes:
    """Empty where it is none; there are no bytes to know it by."""
    import brotli  # extra: web

    with contextlib.suppress(brotli.error):
        return brotli.Decompressor().process(body, output_buffer_limit=max_bytes)
    return b""
