"""Processes that test side by side compile each kernel once."""

from pathlib import Path
from typing import Any

import numba
from filelock import FileLock
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

from diglot.text import unicode  # noqa: F401  (importing it sets numba's cache folder)


def compile_once() -> None:
    """A kernel that another process compiles is waited for, and then found in the cache.

    Three processes that begin with an empty cache else compile the same kernels three times, which is minutes.
    """
    compile_here = Dispatcher.compile
    folder = Path(numba.config.CACHE_DIR)
    folder.mkdir(parents=True, exist_ok=True)

    def compile_one(self: Any, signature: Any) -> Any:
        name = f"{self.py_func.__module__}.{self.py_func.__qualname__}.lock"
        # The lock of this process's threads comes first: a thread that holds it compiles the kernels that a kernel
        # calls, and would wait for ever for a thread that holds the file of one of them.
        with global_compiler_lock, FileLock(folder / name, is_singleton=True):
            return compile_here(self, signature)

    Dispatcher.compile = compile_one
