"""What is said past the ordinary output: a line for the one at the terminal that cannot wait, from a signal's handler or
while other output is being written; and what libraries say that nobody needs to hear.
"""

from __future__ import annotations

import contextlib
import logging
import os

STDERR = 2
CLEAR_LINE = "\r\x1b[2K"  # a live line stands there; it is drawn again below


def say_at_once(text: str) -> None:
    """Write a line to stderr, past Python's buffers: a handler may have interrupted them, and then they raise."""
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(STDERR, f"{CLEAR_LINE if os.isatty(STDERR) else ''}{text}\n".encode())


def quieten_libraries() -> None:
    """Where they are installed, transformers and peft import torchao and bitsandbytes, which warn of each kernel that is not
    for this machine, and torch of torchao.
    """
    for name in ("torchao", "bitsandbytes", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
