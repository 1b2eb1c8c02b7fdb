"""From phases to stretches: which source each row of a training reads, and how many of its rows came before.

A stretch is a run of rows with one mixture: a small table, the block, that is dealt again and again (mixture.py), so
that a row's source and its number within that source are found without counting. A phase is one stretch, unless

- it ramps from the mixture before it to its own: then the shares climb in up to 256 stairs, each a stretch;
- `max_epochs` caps a source: its share is lowered beforehand so that it lasts to the phase's end, and what rounding
  leaves over ends the stretch: no row is read beyond the cap.

How near to the plan: in any window within a stretch a source has its share of rows to within two rows (within one
from the stretch's start), where the shares of a block of 1,024 to 16,384 rows are whole rows. On a ramp of up to four
million rows, where a stair is one block, what a stair rounds is made up for by the next; the stairs' own distance
from a straight line is at most 1/512 of the way between the two mixtures (with fewer than 256 stairs of 64 rows:
half a stair's).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from diglot.base.artifact import UserError
from diglot.tokens.mixture import LARGEST_BLOCK, deal, keep_under_caps, rows_per_block

STAIRS, SMALLEST_STAIR = 256, 64


@dataclass(frozen=True)
class PhasePlan:
    """A stretch of steps with one mixture.

    Attributes:
        name: the phase's name.
        steps: how many steps.
        mixture: weights by source name or language code (see `mixture.token_shares`); None: all by size.
        max_epochs: by source name or language code: when the phase ends, the source (each of the language's) has
            been read at most so many times, earlier phases included.
        ramp: move from the phase before to this mixture over the phase.
        left_after: the phase was left after so many of its steps, for a branch; None: it was not.
    """

    name: str
    steps: int
    mixture: Mapping[str, float] | None = None
    max_epochs: Mapping[str, float] = field(default_factory=dict)
    ramp: bool = False
    left_after: int | None = None

    @property
    def done(self) -> int:
        """The steps that are done of it."""
        return self.steps if self.left_after is None else self.left_after


def cut(plans: Sequence[PhasePlan], steps: int) -> tuple[PhasePlan, ...]:
    """The first steps of a plan, for a branch that leaves it there; what was read is what the whole plan reads."""
    left, first = [], 0
    for plan in plans:
        if first < steps:
            left.append(plan if first + plan.done <= steps else replace(plan, left_after=steps - first))
        first += plan.done
    return tuple(left)


@dataclass(frozen=True, eq=False)
class Stretch:
    """A run of rows with one mixture of S sources.

    Attributes:
        first_row: of the whole training.
        num_rows: how many.
        rows: int64 [S], rows of each source in a block.
        start: int64 [S], rows that each source has had before.
    """

    first_row: int
    num_rows: int
    rows: np.ndarray
    start: np.ndarray

    @property
    def block(self) -> int:
        """Rows of a block."""
        return int(self.rows.sum())

    @functools.cached_property
    def slots(self) -> np.ndarray:
        """int32 [block]: the source of each slot of a block."""
        used = np.flatnonzero(self.rows)
        return used.astype(np.int32)[deal(self.rows[used])]

    @functools.cached_property
    def ranks(self) -> np.ndarray:
        """int64 [block]: how many slots before each have the same source."""
        ranks = np.empty(self.block, dtype=np.int64)
        for source in np.flatnonzero(self.rows):
            here = self.slots == source
            ranks[here] = np.arange(self.rows[source])
        return ranks

    def locate(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The source of rows of the training that lie in this stretch, and their numbers among its rows."""
        blocks, slots = np.divmod(rows - self.first_row, self.block)
        sources = self.slots[slots]
        return sources, self.start[sources] + blocks * self.rows[sources] + self.ranks[slots]

    def counts(self, num_rows: int) -> np.ndarray:
        """int64 [S]: how many of the stretch's first rows each source has."""
        blocks, slots = divmod(num_rows, self.block)
        counts = blocks * self.rows
        return counts + np.bincount(self.slots[:slots], minlength=len(counts)) if slots else counts

    def row_of(self, source: int, number: int) -> int:
        """The row of the training that reads a source's row of this number, were the stretch long enough."""
        blocks, rank = divmod(number - int(self.start[source]), int(self.rows[source]))
        slot = np.flatnonzero(self.slots == source)[rank]
        return self.first_row + blocks * self.block + int(slot)

    def rows_within(self, limits: np.ndarray) -> int:
        """How many rows can be read until a source, counted from the training's start, would exceed its limit."""
        most = -(-self.num_rows // self.block) * self.rows
        near = np.flatnonzero((self.rows > 0) & (self.start + most > limits))
        ends = [self.row_of(source, int(limits[source])) - self.first_row for source in near.tolist()]
        return min([self.num_rows, *ends])


def plan_stretches(
    plan: PhasePlan,
    batch_size: int,
    begin: np.ndarray,
    end: np.ndarray,
    limits: np.ndarray,
    first_row: int,
    start: np.ndarray,
) -> list[Stretch]:
    """The stretches of a phase.

    Args:
        plan: the phase.
        batch_size: rows of a step.
        begin: [S] share of rows of each source when the phase begins.
        end: [S] and when it ends; where it does not ramp, the same.
        limits: [S] rows of each source, counted from the training's start, that the phase may read at most.
        first_row: of the training.
        start: int64 [S], rows that each source has had before.

    Raises:
        UserError: the caps leave less than the phase needs.
    """
    num_rows = plan.steps * batch_size
    if not num_rows:
        return []
    sizes = _stairs(num_rows) if plan.ramp else [num_rows]
    middles = (np.cumsum(sizes) - np.array(sizes) / 2) / num_rows
    weights = begin + (end - begin) * middles[:, None] if plan.ramp else end[None]
    remaining = np.where(weights.max(axis=0) > 0, np.maximum(limits - start, 0), 0)
    if remaining.sum() < num_rows:
        raise UserError(
            f"phase {plan.name!r}: max_epochs leaves {int(remaining.sum()):,} rows, and its {plan.steps:,} steps need "
            f"{num_rows:,}; raise max_epochs, add a source to the mixture, or train for fewer steps"
        )
    shares = keep_under_caps(weights, np.array(sizes), remaining)
    stretches: list[Stretch] = []
    behind = np.zeros(len(start))  # rows that rounding owes to each source
    for size, share in zip(sizes, shares, strict=True):
        left = size
        while left:
            live = _live(share, weights.max(axis=0), start < limits)
            if plan.ramp and left <= LARGEST_BLOCK:
                rows = _apportion(behind + live * left, live > 0, left)
            else:
                rows = np.zeros(len(start), dtype=np.int64)
                rows[live > 0] = rows_per_block(live[live > 0], np.ones(int((live > 0).sum())))
            stretch = Stretch(first_row, left, rows, start)
            fits = stretch.rows_within(limits)
            counts = stretch.counts(fits)
            stretches.append(stretch if fits == left else replace(stretch, num_rows=fits))
            behind += live * fits - counts
            first_row, left, start = first_row + fits, left - fits, start + counts
    return _until(stretches, stretches[0].first_row + plan.done * batch_size)


def _until(stretches: list[Stretch], end: int) -> list[Stretch]:
    """The stretches before a row."""
    return [
        stretch if stretch.first_row + stretch.num_rows <= end else replace(stretch, num_rows=end - stretch.first_row)
        for stretch in stretches
        if stretch.first_row < end
    ]


def _live(share: np.ndarray, weights: np.ndarray, is_left: np.ndarray) -> np.ndarray:
    """Shares of the sources that are not used up; where rounding has used up all that a stair has, of any."""
    live = share * is_left
    if not live.any():
        live = weights * is_left
    return live / live.sum()


def _stairs(num_rows: int) -> list[int]:
    """Rows of each stair of a ramp. Larger than a block, stairs are whole numbers of blocks."""
    size = max(SMALLEST_STAIR, -(-num_rows // STAIRS))
    if size > LARGEST_BLOCK:
        size = -(-size // LARGEST_BLOCK) * LARGEST_BLOCK
    return [min(size, num_rows - begin) for begin in range(0, num_rows, size)]


def _apportion(wanted: np.ndarray, live: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers from 0, adding up to `total`, that come closest to `wanted` (largest remainders); 0 if not live."""
    rows = np.where(live, np.maximum(np.floor(wanted), 0), 0).astype(np.int64)
    while (missing := total - int(rows.sum())) > 0:
        furthest = np.argsort(np.where(live, rows - wanted, np.inf), kind="stable")
        rows[furthest[: min(missing, int(live.sum()))]] += 1
    while rows.sum() > total:
        rows[np.argmin(np.where(rows > 0, wanted - rows, np.inf))] -= 1
    return rows


def stretches_of(stretches: Sequence[Stretch], rows: np.ndarray) -> np.ndarray:
    """The index of the stretch of each row; beyond the last one's end it goes on."""
    return np.searchsorted([stretch.first_row for stretch in stretches], rows, side="right") - 1
