"""What people see in the terminal: progress, plans and summaries."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from diglot.base.artifact import Artifact
from diglot.base.format import duration, short, words
from diglot.base.summaries.summary import Record
from diglot.base.table import Cell, Table, left
from diglot.flow import Step
from diglot.recipe.common import at_step
from diglot.report.lineage import Member, about, at

MOST_IN_A_LINE = 4  # such as languages, with a number each
STATE_STYLE = {"done": "good", "stale": "caution", "to do": "pending"}


def make_console() -> Console:
    """The terminal; in a pipe, lines are not broken."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


class StageProgress:
    """Shows the stages of a run: a live bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, total: int):
        self.console, self.total, self.number = console, total, 0
        self.bar: Progress | None = None
        self.clock = time.monotonic()

    def started(self, step: Step) -> Callable[..., None]:
        """Announce a stage; returns what receives its progress."""
        self.number += 1
        self.clock = self.spoke = time.monotonic()
        title = f"[{self.number}/{self.total}] {step.name}"
        if not self.console.is_terminal:
            self.console.print(f"{title} ({step.settings.do}) …", markup=False, highlight=False)
            return lambda done, total, unit, note="": self._line(step.name, done, total, unit, note)
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]} {task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            transient=True,
        )
        task = self.bar.add_task(f"{title} ({step.settings.do})", total=None, unit="", rate="", note="")
        self.bar.start()
        return lambda done, total, unit, note="": self._update(task, done, total, unit, note)

    def _update(self, task: Any, done: float, total: float | None, unit: str, note: str) -> None:
        if self.bar:
            rate = f"{short(done / max(time.monotonic() - self.clock, 1e-3))}/s"
            self.bar.update(task, completed=done, total=total, unit=unit, note=note, rate=rate)

    def _line(self, name: str, done: float, total: float | None, unit: str, note: str) -> None:
        now = time.monotonic()
        if now - self.spoke < 15:
            return
        self.spoke, rate = now, done / (now - self.clock)
        left = f", {duration((total - done) / rate)} left" if total and rate else ""
        of = f"{short(done)}/{short(total)}" if total else short(done)
        self.console.print(f"    {name}: {of} {unit}, {short(rate)}/s{left} {note}", markup=False, highlight=False)

    def finished(self, step: Step, artifact: Artifact) -> None:
        """Announce a finished stage with its headline numbers."""
        self.stop()
        seconds = duration(artifact.provenance["seconds"])
        self.console.print(
            f"[green]✓[/] [bold]{step.name}[/] [dim]{seconds}[/] {escape(headline(artifact))}", highlight=False
        )

    def stop(self) -> None:
        """Take the live bar down."""
        if self.bar:
            self.bar.stop()
            self.bar = None


def headline(artifact: Artifact) -> str:
    """A stage's summary in a line."""
    summary = artifact.summary
    parts = [_fact(name, getattr(summary, name)) for name in summary.headline]
    return " · ".join(part for part in parts if part)


def _fact(name: str, value: Any) -> str:
    """A field of a summary, or nothing where it has too much to say for a line."""
    if isinstance(value, Record):
        value = vars(value)
    if isinstance(value, int | float):
        return f"{words(name)} {short(value)}"
    if isinstance(value, dict) and 0 < len(value) <= MOST_IN_A_LINE:
        return f"{words(name)} " + ", ".join(f"{words(key)} {short(item)}" for key, item in value.items())
    return ""


def plan_table(steps: list[Step]) -> Table:
    """What a run would do."""
    table = Table(left("stage", "kind", "reads", "state", "why"))
    for step in steps:
        reads = ", ".join(name for names in step.reads.values() for name in names)
        if step.settings.reads_everything and not step.settings.from_:
            reads = "all stages"
        table.add(step.name, step.settings.do, reads, Cell(step.state, style=STATE_STYLE[step.state]), step.why)
    return table


def run_table(steps: list[Step], artifacts: dict[str, Artifact]) -> Table:
    """What a run holds."""
    table = Table(left("stage", "kind", "state", "time", "summary"))
    for step in steps:
        artifact = artifacts.get(step.name)
        state = Cell(step.state, f"({step.why})" if step.why else "", STATE_STYLE[step.state])
        seconds = duration(artifact.provenance["seconds"]) if artifact else ""
        table.add(step.name, step.settings.do, state, seconds, headline(artifact) if artifact else "")
    return table


def members(steps: list[Step], artifacts: dict[str, Artifact]) -> list[Member]:
    """The lineage of a run's models, made or to be made."""
    models = {step.name for step in steps if step.settings.makes == "model"}
    found = []
    for step in steps:
        if step.name not in models:
            continue
        settings = step.settings.settings()
        # Models that it reads, with the step that is named of each: role, stage, step or None.
        read = [
            (role, *at_step(name)) for role, names in step.reads.items() for name in names if at_step(name)[0] in models
        ]
        named = [(role, stage, int(number) if number else None) for role, stage, number in read]
        steps_here = settings.get("steps", 0)  # of a train stage; other makers of models have none
        found.append(
            Member(
                stage=step.name,
                do=step.settings.do,
                parents=tuple((stage, number) for role, stage, number in named if role != "base"),
                base=next((at(stage, number) for role, stage, number in named if role == "base"), None),
                steps=steps_here,
                tokens=steps_here * settings.get("batch_size", 0) * settings.get("sequence_length", 0),
                about=about(step.settings.do, settings),
                done=step.name in artifacts,
            )
        )
    return found
