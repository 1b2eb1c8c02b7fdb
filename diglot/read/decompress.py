"""What compressed files hold: members of gzip, or frames of zstd, that stand one behind another.

Zeros behind a member are padding, as tapes and block devices leave it; anything else there is damage. Frames of zstd
that are to be skipped are skipped. Windows of zstd may be as large as the library takes them (`--long=31`: 2 GiB):
that much of the decompressed data is held, where a file is that large.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

INPUT_BYTES = 1 << 17
WITH_HEAD = 32 + zlib.MAX_WBITS  # zlib's number for gzip's form, or its own
DAMAGED = (zlib.error, zstd.ZstdError, MemoryError)


class TruncatedError(Exception):
    """A compressed file breaks off, or what follows in it cannot be decompressed."""


def _zstd() -> Any:
    parameter = zstd.DecompressionParameter.window_log_max
    return zstd.ZstdDecompressor(options={parameter: parameter.bounds()[1]})


MEMBERS: dict[str, Callable[[], Any]] = {"gzip": lambda: zlib.decompressobj(WITH_HEAD), "zstd": _zstd}


class Decompressed:
    """A compressed file's content, to be read from its beginning to its end."""

    def __init__(self, stream: Any, compression: str):
        """Begin.

        Args:
            stream: of the file's bytes as stored.
            compression: gzip or zstd.
        """
        self.stream, self.begin = stream, MEMBERS[compression]
        self.member: Any = None
        self.input, self.num_members = b"", 0

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end.

        Raises:
            EOFError: the file breaks off within a member; all before was given out.
            zlib.error, zstd.ZstdError, MemoryError: it is damaged, or its window too large. What the call would have
                given is lost: smaller ones reach closer to the damage.
        """
        try:
            while self.member is not None or self._next_member():
                output = self.member.decompress(self.input, size)
                self.input = getattr(self.member, "unconsumed_tail", b"")  # zstd's holds what it has not taken
                if self.member.eof:
                    self.input, self.member = self.member.unused_data, None
                if output:
                    return output
                if self.member is not None and not self.input and not self._more():
                    raise EOFError("it breaks off there")
        except (EOFError, *DAMAGED):
            self.member = None  # its window may be 2 GiB, and the error would hold it
            raise
        return b""

    def _next_member(self) -> bool:
        while self.num_members and not self.input.lstrip(b"\0"):
            self.input = b""
            if not self._more():
                return False
        if not self.input and not self._more():
            return False
        self.input = self.input.lstrip(b"\0") if self.num_members else self.input
        self.member, self.num_members = self.begin(), self.num_members + 1
        return True

    def _more(self) -> bool:
        self.input = self.stream.read(INPUT_BYTES)
        return bool(self.input)


def reason_of(error: BaseException, compression: str) -> str:
    """What is wrong with a compressed file, in words."""
    if isinstance(error, MemoryError) or "memory" in str(error).lower():
        return (
            "its window is larger than this machine or the library can hold; write it again with a smaller one: "
            "zstd -dc --long=31 FILE | zstd --long=27"
        )
    return str(error) if isinstance(error, EOFError) else f"what follows there is no {compression} ({error})"
