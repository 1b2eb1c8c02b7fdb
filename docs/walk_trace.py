"""Follows a document: which functions of ours run in a stage, and what the objects of ours hold meanwhile.

`sys.setprofile` tells of every call and return, in every thread. numba tells of the kernels that Python calls; those
that a kernel calls in turn are found by the names in its code.
"""

import contextlib
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import diglot

PACKAGE = Path(diglot.__file__).parent
# Told apart: what every stage shares (artifacts, the ledger, the executor), settings, and the command line.
SHARED = {"base", "recipe"}
# Of training, what makes a step's batch and its loss. What comes after (gradients, the guard, checkpoints) sees no text.
BATCH = ("Order.batch", "micro_batches", "language_modelling")
LOOKS = 600  # times that a function's locals are looked at: more often than there are documents

Watch = Callable[[FrameType, Any], None]


class Trace:
    """Notes the functions that run while a stage does, and what instances of our classes hold.

    Attributes:
        functions: (file, qualified name) of each function of the package that ran.
        held: by class (module and name), what the fields of its instances hold: see `contents`.
        touched: by function, what its locals and its result hold.
    """

    def __init__(self, mark: str, watched: dict[str, Watch] | None = None):
        """Make a trace.

        Args:
            mark: text that only the followed document has.
            watched: called at the return of a function, by its file and qualified name ("tokens/order.py:Order.batch").
        """
        self.mark, self.watched = mark, watched or {}
        self.functions: set[tuple[str, str]] = set()
        self.held: dict[str, set[str]] = {}
        self.touched: dict[tuple[str, str], set[str]] = {}
        self.looks: dict[Any, int] = {}
        self.roots: tuple[str, ...] = ()
        self.inside = 0
        self.started = self.finished = False

    def __call__(self, frame: FrameType, event: str, result: Any) -> None:
        """What `sys.setprofile` calls."""
        code = frame.f_code
        if event not in ("call", "return") or self.finished or not code.co_filename.startswith(str(PACKAGE)):
            return
        is_root = code.co_qualname in self.roots or (not self.roots and _is_stage(frame))
        if self.roots and not self.started:
            self.started = code.co_qualname == self.roots[0]
            if not self.started:
                return  # an evaluation, before the first step's batch
        if is_root and event == "call":
            self.inside += 1
            self.note(frame.f_back)
        if self.inside:
            self.note(frame)
            if event == "return":
                self.look(frame, result)
        if is_root and event == "return":
            self.inside -= 1
            if self.roots and frame.f_back is not None:  # the loop: it has the batch from here on
                caller = (frame.f_back.f_code.co_filename, frame.f_back.f_code.co_qualname)
                found = set().union(*(contents(field, self.mark) for field in fields(result)))
                self.touched.setdefault(caller, set()).update(found)
            self.finished = bool(self.roots) and code.co_qualname == self.roots[-1]

    def note(self, frame: FrameType | None) -> None:
        """Notes a function; a module or a class that is being defined is none."""
        if frame is not None and frame.f_code.co_flags & inspect.CO_NEWLOCALS:
            code = frame.f_code
            if code.co_filename.startswith(str(PACKAGE)):
                self.functions.add((code.co_filename, code.co_qualname))

    def look(self, frame: FrameType, result: Any) -> None:
        """Notes what objects of ours hold, among a function's locals and its result."""
        code = frame.f_code
        watch = self.watched.get(f"{code.co_filename[len(str(PACKAGE)) + 1 :]}:{code.co_qualname}")
        if watch:
            watch(frame, result)
        self.looks[code] = self.looks.get(code, 0) + 1
        if self.looks[code] > LOOKS:
            return
        touched = self.touched.setdefault((code.co_filename, code.co_qualname), set())
        for value in [*frame.f_locals.values(), result]:
            touched |= contents(value, self.mark)
            for one in list(value)[:40] if type(value) in (list, tuple) else [value]:
                kind = type(one)
                if kind.__module__.startswith("diglot.") and kind.__module__.split(".")[1] not in SHARED:
                    held = self.held.setdefault(f"{kind.__module__}.{kind.__qualname__}", set())
                    found = set().union(*(contents(field, self.mark) for field in fields(one)))
                    held |= found
                    touched |= found


def _is_stage(frame: FrameType) -> bool:
    return frame.f_back is not None and frame.f_back.f_code.co_name == "_summary" and frame.f_code.co_name == "run"


def fields(thing: Any) -> list[Any]:
    """The values of an object's fields."""
    if hasattr(thing, "_fields"):
        return list(thing)
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*getattr(thing, "__dict__", {}).values(), *(getattr(thing, name, None) for name in slots)]


def contents(value: Any, mark: str, depth: int = 2) -> set[str]:
    """What a field holds: "text" where the mark is in it; shapes of arrays as "3×61"; "strings 307" of Arrow's."""
    if isinstance(value, str | bytes):
        text = value if isinstance(value, str) else value.decode("utf-8", "replace")
        return {"text"} if mark in text else set()
    if depth and type(value) in (dict, list, tuple):
        inner = list(value.values() if isinstance(value, dict) else value)[:1000]
        return set().union(*(contents(one, mark, depth - 1) for one in inner))
    if hasattr(value, "num_rows"):  # an Arrow table or batch
        return {f"strings {value.num_rows}"}
    if type(value).__module__.startswith("pyarrow") and hasattr(value, "type") and hasattr(value, "__len__"):
        return {f"strings {len(value)}" if "string" in str(value.type) else str(len(value))}
    shape = getattr(value, "shape", None)
    return {"×".join(map(str, shape))} if isinstance(shape, tuple) and shape else set()


def kernels_within(functions: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The kernels among the functions, and the kernels that they call."""
    from numba.core.dispatcher import Dispatcher

    def key(kernel: Any) -> tuple[str, str]:
        return kernel.py_func.__code__.co_filename, kernel.py_func.__name__

    modules = [module for name, module in sys.modules.items() if name.startswith("diglot")]
    kernels = {
        key(value): value for module in modules for value in vars(module).values() if isinstance(value, Dispatcher)
    }
    found = functions & kernels.keys()
    waiting = list(found)
    while waiting:
        function = kernels[waiting.pop()].py_func
        names, known = function.__code__.co_names, function.__globals__
        modules = [known[name] for name in names if inspect.ismodule(known.get(name))]  # `scan.scan(…)`
        for called in (vars(place).get(name) if inspect.ismodule(place) else place.get(name)
                       for name in names for place in (known, *modules)):  # fmt: skip
            if isinstance(called, Dispatcher) and key(called) not in found:
                found.add(key(called))
                waiting.append(key(called))
    return found


@contextlib.contextmanager
def following(trace: Trace, roots: tuple[str, ...] = ()) -> Iterator[None]:
    """Traces this thread and those started meanwhile.

    Args:
        trace: what notes.
        roots: qualified names of the functions while which it notes; none: while a stage's `run` does.
    """
    trace.roots, trace.inside, trace.started, trace.finished = roots, 0, False, False
    threading.setprofile(trace)
    sys.setprofile(trace)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
