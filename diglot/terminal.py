"""What people see in the terminal: progress, plans and summaries."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from diglot.base.artifact import Artifact, Progress
from diglot.base.format import duration, printable, short, words
from diglot.base.summaries.summary import Record
from diglot.base.table import Cell, Table, left
from diglot.progress import Tracker
from diglot.recipe.common import at_step
from diglot.report.lineage import Member, about, at
from diglot.step import Step

MOST_IN_A_LINE = 4  # such as languages, with a number each
LOG_SECONDS = 15  # between two lines where there is no terminal
STATE_STYLE = {"done": "good", "damaged": "bad", "stale": "caution", "to do": "pending", "running": "good"}


class StageProgress:
    """Shows the stages of a run: a live line on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, total: int):
        self.console, self.total, self.number = console, total, 0
        self.live: Live | None = None

    def started(self, step: Step) -> Progress:
        """Announce a stage; returns what receives its progress."""
        self.number += 1
        tracker = Tracker(f"[{self.number}/{self.total}] {step.name}")
        if not self.console.is_terminal:
            self.console.print(f"{tracker.title} ({step.settings.do}) …", markup=False, highlight=False)
            return Logged(self.console, step.name, tracker)

        def line() -> Text:
            return Text(tracker.line(self.console.width), no_wrap=True, overflow="crop")

        self.live = Live(get_renderable=line, console=self.console, refresh_per_second=4, transient=True)
        self.live.start()
        return tracker

    def say(self, text: str) -> None:
        """A line that stays, from the stage that runs."""
        self.console.print(f"    {printable(text)}", markup=False, highlight=False)

    def finished(self, step: Step, artifact: Artifact) -> None:
        """Announce a finished stage with its headline numbers."""
        self.stop()
        seconds = duration(artifact.provenance.get("seconds"))
        self.console.print(
            f"[green]✓[/] [bold]{step.name}[/] [dim]{seconds}[/] {escape(headline(artifact))}", highlight=False
        )
        for warning in artifact.summary.warnings():
            self.console.print(f"    {printable(warning)}", style="yellow", markup=False, highlight=False)

    def stop(self) -> None:
        """Take the live line down."""
        if self.live:
            self.live.stop()
            self.live = None


class Logged:
    """Progress where there is no terminal: a line now and then."""

    def __init__(self, console: Console, name: str, tracker: Tracker) -> None:
        self.console, self.name, self.tracker, self.spoke = console, name, tracker, tracker.begun

    def __call__(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        """Take in a report."""
        self.tracker(done, total, unit, note)
        if (now := self.tracker.clock()) - self.spoke >= LOG_SECONDS:
            self.spoke = now
            self.console.print(f"    {self.name}: {self.tracker.sentence()}", markup=False, highlight=False)


def headline(artifact: Artifact) -> str:
    """A stage's summary in a line."""
    summary = artifact.summary
    parts = [_fact(name, getattr(summary, name)) for name in summary.headline]
    return " · ".join(part for part in parts if part)


def _fact(name: str, value: Any) -> str:
    """A field of a summary; of many numbers the first ones."""
    if isinstance(value, Record):
        value = vars(value)
    if isinstance(value, int | float):
        return f"{words(name)} {short(value)}"
    if isinstance(value, str):
        return f"{words(name)} {value}"
    if isinstance(value, dict) and value:
        shown = [f"{words(key)} {_item(item)}" for key, item in list(value.items())[:MOST_IN_A_LINE]]
        more = f" and {len(value) - len(shown)} more" if len(value) > len(shown) else ""
        return f"{words(name)} {', '.join(shown)}{more}"
    return ""


def _item(value: float | list[str] | None) -> str:
    """A number, or names, of one of many."""
    return "/".join(map(words, value)) if isinstance(value, list) else short(value)


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
        seconds = duration(artifact.provenance.get("seconds")) if artifact else ""
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
