"""Rollbacks: those that a run has had, the next one, and what to say when it is given up; see guard.py.

Nothing here needs torch: `diglot data` asks which data were skipped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diglot.base.errors import UserError
from diglot.base.files import read_json, write_json
from diglot.recipe.train import GuardSettings
from diglot.tokens.order import Order, Skipped, joined

ROLLBACKS = "guard.json"
SHOWN_DOCUMENTS = 20


@dataclass(frozen=True)
class Rollback:
    """One return to an older checkpoint.

    Attributes:
        step: the step that it happened after, from 1.
        to: steps that were kept.
        skipped_data: positions in the data order that are not read, first and end.
        skipped: the steps that were skipped, from 1, and documents of them.
    """

    step: int
    to: int
    skipped_data: tuple[int, int]
    skipped: list[dict[str, Any]]


class Rollbacks:
    """The list of a run's rollbacks, in its scratch folder."""

    def __init__(self, file: Path) -> None:
        """Read what there is."""
        self.file = file
        stored = read_json(file) if file.is_file() else []
        self.list = [Rollback(**{**each, "skipped_data": tuple(each["skipped_data"])}) for each in stored]

    def ranges(self) -> Skipped:
        """The positions that are skipped, ascending and apart."""
        return joined([each.skipped_data for each in self.list])

    def write(self, rollback: Rollback) -> None:
        """Add one, whole or not at all."""
        write_json(self.file, [asdict(each) for each in [*self.list, rollback]])


class Diverged(UserError):
    """The run is given up."""


class RollbackNeeded(Exception):
    """The run is to go on from an older checkpoint."""

    def __init__(self, rollback: Rollback) -> None:
        super().__init__(rollback)
        self.rollback = rollback


def plan_rollback(order: Order, settings: GuardSettings, earlier: int, steps: list[int], kept: list[int]) -> Rollback:
    """Where to go back to, and which data to skip.

    Args:
        order: the data order, with what is skipped already.
        settings: the guard's.
        earlier: rollbacks before this one.
        steps: the skipped steps, from 0.
        kept: the steps of the checkpoints.
    """
    first = order.position(steps[0])
    end = max(order.position(steps[-1]) + 1, first + settings.skip_data * 2**earlier)
    to = max([step for step in kept if step <= steps[0]], default=0)
    return Rollback(steps[-1] + 1, to, (first, end), [documents_of(order, step) for step in steps])


def documents_of(order: Order, step: int) -> dict[str, Any]:
    """A step, from 1, and some documents that it read."""
    seen = sorted({f"{source}:{document}" for source, document, *_ in order.documents(step)})
    return {"step": step + 1, "documents": seen[:SHOWN_DOCUMENTS], "more": max(0, len(seen) - SHOWN_DOCUMENTS)}


def used_up(step: int, steps: list[int], rollbacks: Rollbacks, order: Order, rate: float) -> Diverged:
    """What to say when the run is given up."""
    shown = documents_of(order, steps[-1])
    more = f" and {shown['more']} more" if shown["more"] else ""
    tried = "; ".join(
        f"after step {each.step} back to {each.to}, {each.skipped_data[1] - each.skipped_data[0]} steps' data skipped"
        for each in rollbacks.list
    )
    numbers = ", ".join(str(each + 1) for each in steps)
    return Diverged(
        f"step {step + 1}: the loss or the gradient leaps (steps {numbers} were skipped), and nothing is left to try"
        f"{f' ({tried})' if tried else ''}. Lower learning_rate (now {rate:.3g}), look at the data "
        f"({', '.join(shown['documents'])}{more}), or raise guard.deviations or guard.max_rollbacks"
    )
