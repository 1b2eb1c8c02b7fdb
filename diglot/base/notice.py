"""A line for the one at the terminal that cannot wait: from a signal's handler, or while other output is being written."""

from __future__ import annotations

import contextlib
import os

STDERR = 2
CLEAR_LINE = "\r\x1b[2K"  # a live line stands there; it is drawn again below


def say_at_once(text: str) -> None:
    """Write a line to stderr, past Python's buffers: a handler may have interrupted them, and then they raise."""
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(STDERR, f"{CLEAR_LINE if os.isatty(STDERR) else ''}{text}\n".encode())
