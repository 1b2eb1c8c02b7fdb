"""Ctrl-C while libraries are imported: it waits for the end of the import.

Inside an import an interrupt ends in a traceback: nothing catches it before the command line is there, and libraries in C
print one of their own and say that they could not be imported.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

INTERRUPTED = "\ninterrupted; the same command goes on from here"  # the last words of the program


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """Raises KeyboardInterrupt at the end of the block, if Ctrl-C was pressed within it.

    Does nothing where somebody else treats interrupts, or ignores them, and outside the main thread.
    """
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    pressed = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if pressed.is_set():
        raise KeyboardInterrupt
