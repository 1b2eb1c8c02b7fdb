"""Texts that are not UTF-8: read as what they are said to be, or as what their first bytes prove, and guessed at.

What is read is given on as UTF-8, so that nothing else need know of encodings. A byte that its encoding does not have
becomes one that UTF-8 does not have either, so that its record is counted as any other that is not text. Without a
setting nothing is converted but UTF-16 and UTF-32, which their first bytes prove; a guess is only told.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator

from diglot.read.decompress import TruncatedError

START_BYTES = 4096
NOT_UTF8, REPLACEMENT = b"\xff", "\ufffd".encode()
SAMPLE_BYTES = 1 << 16
MARKS = (  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
# Those that text on the web is in (WHATWG Encoding Standard), by Python's names; others only make the guess worse.
LIKELY = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874", "iso8859_2",
    "iso8859_6", "iso8859_7", "iso8859_8", "koi8_r", "cp866", "cp932", "euc_jp", "cp949", "gb18030", "big5",
]  # fmt: skip


def as_utf8(chunks: Iterator[bytes], encoding: str | None) -> Iterator[bytes]:
    """A file's bytes as UTF-8 without a byte-order mark.

    Args:
        chunks: the file.
        encoding: what it is in; None: UTF-8, unless its beginning is UTF-16's or UTF-32's.
    """
    start, failure = b"", None
    try:
        while len(start) < START_BYTES and (chunk := next(chunks, b"")):
            start += chunk
    except TruncatedError as error:
        failure = error
    encoding = encoding or proven_encoding(start)
    if encoding in ("utf-16", "utf-32") and proven_encoding(start) != encoding:
        encoding += "-le"  # the mark is left out
    convert = _as_it_is if encoding in (None, "utf-8") else _converter(encoding)
    yield convert(start, False).removeprefix(codecs.BOM_UTF8)
    if failure:  # told behind what came before it
        raise failure
    for chunk in chunks:
        yield convert(chunk, False)
    yield convert(b"", True)


def _as_it_is(chunk: bytes, is_last: bool) -> bytes:
    return chunk


def _converter(encoding: str) -> Callable[[bytes, bool], bytes]:
    """A function that gives chunk after chunk as UTF-8; the last call may be told so."""
    decoder = codecs.getincrementaldecoder(encoding)()
    is_another = False

    def convert(chunk: bytes, is_last: bool) -> bytes:
        nonlocal is_another
        before = decoder.getstate()
        for decoder.errors in () if is_another else ("strict", "replace"):
            try:
                text = decoder.decode(chunk, is_last)
                if decoder.errors == "strict":
                    return text.encode()
                is_another = text.count("\ufffd") > len(text) / 10
                return text.encode().replace(REPLACEMENT, NOT_UTF8)
            except UnicodeError:  # some codecs take no handler, some characters no UTF-8
                decoder.setstate(before)
        # Each fault costs a microsecond, and a file in another encoding is nothing else: its lines are only counted.
        is_another = True
        return NOT_UTF8 + chunk.replace(b"\n", b"\n" + NOT_UTF8) if chunk else b""

    return convert


def proven_encoding(start: bytes) -> str | None:
    """The encoding that the first bytes of a file prove: a mark, or every other byte a zero, as in UTF-16."""
    for mark, encoding in MARKS:
        if start.startswith(mark):
            return encoding
    start = start[: START_BYTES // 2 * 2]
    for first, encoding in ((0, "utf-16-be"), (1, "utf-16-le")):
        # Text has spaces and line ends in every script, and no zeros at all in UTF-8.
        zeros, others = start[first::2].count(0), start[1 - first :: 2].count(0)
        if zeros > 8 and zeros * 20 > len(start) and others * 20 < zeros:
            return encoding
    return None


def guess_encoding(sample: bytes) -> str | None:
    """The likeliest encoding of a beginning of a file that is not UTF-8; None where there is nothing to go by."""
    lines = [line for line in sample.split(b"\n")[:-1] or [sample] if not line.isascii()]
    sample = b"\n".join(lines)[:SAMPLE_BYTES]
    if not sample:
        return None
    import charset_normalizer  # start-up: only where a file is not UTF-8

    best = charset_normalizer.from_bytes(sample, cp_isolation=LIKELY).best()
    return best.encoding if best else None
