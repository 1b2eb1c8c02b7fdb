"""What a running stage says of itself: how far it is, for how long, how long it will take, and the same for `diglot show`.

    progress = Tracker("[9/11] trunk")
    progress(29, 44, "steps", "loss 3.21")  # after others
    progress.line(90)  →  [9/11] trunk ━━━━━━━───── 29/44 steps · 3 min 12 s, 1 min 39 s left · loss 3.21 · 7 s each

What remains follows from a rate that forgets the start. Remembered for the whole stage it gave hours for minutes: loading,
compiling, the evaluation before the first step and what an earlier try had done all counted as steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from rich.cells import cell_len, set_cell_size

from diglot.base.artifact import Progress
from diglot.base.errors import UserError
from diglot.base.files import read_json, write_json
from diglot.base.format import duration, printable, short

FILE = "progress.json"  # in a stage's scratch folder, while it runs
WRITE_SECONDS = 2.0  # between two writings of that file
MOST_BYTES = 10_000  # of it
MOST_MARKS = 256
LONGEST_BAR, SHORTEST_BAR, SHORTEST_NOTE = 24, 8, 10  # columns


class Pace:
    """How fast work goes now: over the later half of its reports. The first report is where it begins."""

    def __init__(self) -> None:
        self.last = 0.0, 0.0  # time and amount done
        self.marks: list[tuple[float, float]] = []  # every `stride`-th report
        self.number, self.stride = 0, 1

    def add(self, now: float, done: float) -> None:
        """Take in a report; one of nothing done, or of less than before (a rollback), begins anew."""
        if done <= 0 or done < self.last[1]:
            self.last, self.marks, self.number, self.stride = (now, 0.0), [], 0, 1
        if done <= self.last[1]:
            return
        self.last = now, done
        if self.number % self.stride == 0:
            self.marks.append(self.last)
        self.number += 1
        if len(self.marks) > MOST_MARKS:
            self.marks, self.stride = self.marks[::2], 2 * self.stride

    @property
    def rate(self) -> float | None:
        """Amount a second; None before the second report."""
        marks = self.marks  # the live line asks from a thread of its own, and `add` may begin anew meanwhile
        if len(marks) < 2:
            return None
        (then, before), (now, done) = marks[(len(marks) - 1) // 2], self.last
        return (done - before) / max(now - then, 1e-6)


class Tracker:
    """The progress of one stage, and how it is shown. It is what a stage calls as its `context.progress`."""

    def __init__(self, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.title, self.clock = title, clock
        self.begun, self.pace = clock(), Pace()
        self.done: float = 0
        self.total: float | None = None
        self.unit = self.note = ""

    def __call__(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        """Take in a report."""
        if unit != self.unit:
            self.pace = Pace()
        self.done, self.total, self.unit, self.note = done, total, unit, printable(note)
        self.pace.add(self.clock(), done)

    def times(self) -> str:
        """How long it has taken, and will take: 3 min 12 s, 1 min 40 s left."""
        elapsed = _whole(self.clock() - self.begun)
        rate = self.pace.rate
        if not self.total or not rate or self.done >= self.total:
            return elapsed
        return f"{elapsed}, {_whole((self.total - self.done) / rate)} left"

    def rate(self) -> str:
        """How fast it goes now: 1.2k/s, or what one takes where that is more than a second."""
        rate = self.pace.rate
        if not rate:
            return ""
        return f"{short(rate)}/s" if rate >= 1 else f"{_whole(1 / rate)} each"

    def count(self) -> str:
        """How far it is: 29/44, or 1,234 where nobody knows the end."""
        return f"{short(self.done)}/{short(self.total)}" if self.total else short(self.done) if self.unit else ""

    def line(self, width: int) -> str:
        """All of it in one line of the terminal. What is least needed gives way: the bar, the rate, the note, the unit."""
        count, times = self.count(), self.times()
        counted = f"{count} {self.unit}".strip()
        room = width - cell_len(f"{self.title} {counted} · {times}")
        if room < 0:  # never the times: the unit goes, then the end of the name
            counted = count
            room = width - cell_len(f"{self.title} {counted} · {times}")
        title = self.title if room >= 0 else set_cell_size(self.title, max(cell_len(self.title) + room - 1, 1)) + "…"
        parts = [times]
        for text, least in ((self.note, SHORTEST_NOTE), (self.rate(), cell_len(self.rate()))):
            size = min(cell_len(text), room - 3)
            if text and size >= min(least, cell_len(text)):
                parts.append(text if size == cell_len(text) else set_cell_size(text, size - 1) + "…")
                room -= size + 3
        bar = _bar(self.done / self.total, min(room - 1, LONGEST_BAR)) if self.total else ""
        return f"{title} {bar}{' ' if bar else ''}{' · '.join(filter(None, [counted, *parts]))}"

    def sentence(self) -> str:
        """The same for a log, where nothing is cut."""
        return ", ".join(filter(None, [f"{self.count()} {self.unit}".strip(), self.times(), self.rate(), self.note]))


def _whole(seconds: float) -> str:
    return duration(seconds) if seconds >= 60 else f"{seconds:.0f} s"


def _bar(share: float, size: int) -> str:
    if size < SHORTEST_BAR:
        return ""
    full = int(size * min(max(share, 0.0), 1.0))
    return "━" * full + "─" * (size - full)


# --- for `diglot show` ----------------------------------------------------------------------------------------


class Recorder:
    """Passes reports on, and keeps the last one in a file, so that another process can say how far the stage is."""

    def __init__(self, file: Path, onward: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self.file, self.onward, self.clock = file, onward, clock
        self.next = clock() + WRITE_SECONDS
        write_json(file, {"done": 0, "total": None, "unit": ""}, indent=None)

    def __call__(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        """Take in a report."""
        self.onward(done, total, unit, note)
        now = self.clock()
        if now >= self.next:
            self.next = now + WRITE_SECONDS
            write_json(self.file, {"done": done, "total": total, "unit": unit}, indent=None)


def recorded(scratch: Path) -> str | None:
    """How far a stage is, or was when it stopped: step 29 of 44; empty where it has not said, None where none was begun."""
    if not (scratch / FILE).is_file():
        return None
    try:
        found = read_json(scratch / FILE, most=MOST_BYTES)
        done, total, unit = found["done"], found["total"], printable(found["unit"])
        of = f" of {short(total)}" if total else ""
        if unit == "steps":
            return f"step {short(done)}{of}"
        return f"{short(done)}{of} {unit}" if unit else ""
    except (UserError, LookupError, TypeError, ValueError, ArithmeticError):  # somebody else's file: nothing is known
        return ""
