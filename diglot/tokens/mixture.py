"""Mixtures: which source each row of a training reads, and how many of that source's rows came before.

A phase's shares of tokens become rows in three steps:

    shares    {en: 0.5, ar: 0.25, parallel: 0.25}, of tokens; a language stands for its sources        `token_shares`
    segments  runs of rows with one mixture: one a phase, more where it ramps or caps a source        `plan_segments`
    blocks    en ar en parallel en ar en parallel …: a segment's block is dealt again and again       `deal`

**Blocks.** Shares are quantised to whole rows of a block of at least 1024 rows, and the rows of a block are dealt out
so that after any number of rows every source has its share to within one row (Tijdeman 1980, "The chairman assignment
problem"): no window of training drifts from the plan by luck. Two windows' ends bound it, so any window within a
segment is within two rows. A row's source and its number within that source are found without counting.

**Segments.** A phase is one segment, unless

- it ramps from the mixture before it to its own: then the shares climb in up to 256 stairs, each a segment. On a ramp
  of up to four million rows, where a stair is one block, what a stair rounds is made up for by the next; the stairs'
  own distance from a straight line is at most 1/512 of the way between the two mixtures (with fewer than 256 stairs of
  64 rows: half a stair's);
- `max_epochs` caps a source: its share is lowered beforehand so that it lasts to the phase's end, and what rounding
  leaves over ends the segment: no row is read beyond the cap.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from diglot.base.errors import UserError
from diglot.tokens.shards import TokenSource

Value = TypeVar("Value")
SMALLEST_BLOCK, LARGEST_BLOCK = 1024, 16384
FEWEST_ROWS = 16  # blocks grow until the rarest source has this many rows: its share is then within 1/32 of the plan
STAIRS, SMALLEST_STAIR = 256, 64


# --- phases ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PhasePlan:
    """Steps with one mixture.

    Attributes:
        name: the phase's name.
        steps: how many steps.
        mixture: weights by source name or language code (see `token_shares`); None: all by size.
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


# --- shares of tokens ----------------------------------------------------------------------------------------


def token_shares(
    mixture: Mapping[str, float] | None, sources: Mapping[str, TokenSource], phase: str
) -> dict[str, float]:
    """The share of tokens that each source shall have.

    Args:
        mixture: weights by source name, or by a language code, which stands for that language's text sources
            (parallel text aside) that the mixture does not name themselves, split by size. None: all by size.
        sources: what there is.
        phase: the phase's name, for errors.

    Returns:
        Shares that add up to 1, by source name, in the order of `sources`.

    Raises:
        UserError: a name is neither a source nor a language of one.
    """
    sizes = {name: source.num_tokens for name, source in sources.items()}
    if mixture is None:
        mixture = {name: float(size) for name, size in sizes.items()}
    weights = dict.fromkeys(sources, 0.0)
    for name, weight in mixture.items():
        members = [name] if name in sources else _of_language(name, mixture, sources)
        if not members:
            languages = sorted({source.language for source in sources.values() if _is_plain_text(source)})
            raise UserError(
                f"phase {phase!r}: mixture names {name!r}, which no token source has (or each of that language is "
                f"named itself). Sources: {', '.join(sources) or 'none'}. Languages: {', '.join(languages) or 'none'}"
            )
        total = sum(sizes[member] for member in members)
        for member in members:
            weights[member] += weight * sizes[member] / total
    total_weight = sum(weights.values())
    if total_weight <= 0:
        raise UserError(f"phase {phase!r}: no source has a share in the mixture")
    return {name: weight / total_weight for name, weight in weights.items() if weight > 0}


def _is_plain_text(source: TokenSource) -> bool:
    return source.form == "text" and source.domain != "parallel"


def _of_language(language: str, mixture: Mapping[str, object], sources: Mapping[str, TokenSource]) -> list[str]:
    return [
        name
        for name, source in sources.items()
        if source.language == language and _is_plain_text(source) and name not in mixture
    ]


def with_language(given: Mapping[str, Value], sources: Mapping[str, TokenSource], where: str) -> dict[str, Value]:
    """Settings by source, from settings by source or language; a source's own goes before its language's.

    Raises:
        UserError: a name is neither a source nor a language of plain text.
    """
    found: dict[str, Value] = {}
    for name, value in given.items():
        members = [name] if name in sources else _of_language(name, given, sources)
        if not members:
            raise UserError(f"{where}: names {name!r}; sources: {', '.join(sources) or 'none'}")
        found |= dict.fromkeys(members, value)
    return found


# --- blocks --------------------------------------------------------------------------------------------------


def rows_per_block(shares: np.ndarray, tokens_per_row: np.ndarray) -> np.ndarray:
    """Whole numbers of rows that come closest to shares of tokens.

    Args:
        shares: [S] shares of tokens, all above 0.
        tokens_per_row: [S] mean tokens of a source's rows: packed rows are not quite full.

    Returns:
        int64 [S], each at least 1; their sum is the size of the block.
    """
    weights = shares / tokens_per_row
    weights = weights / weights.sum()
    block = SMALLEST_BLOCK
    while block < LARGEST_BLOCK and block * weights.min() < FEWEST_ROWS and len(weights) > 1:
        block *= 2
    exact = weights * block
    rows = np.maximum(np.floor(exact).astype(np.int64), 1)
    missing = block - int(rows.sum())
    if missing > 0:
        rows[np.argsort(rows - exact, kind="stable")[:missing]] += 1
    while missing < 0:  # very small shares were raised to a row: the largest give way
        rows[np.argmax(rows)] -= 1
        missing += 1
    return rows


def deal(rows: np.ndarray) -> np.ndarray:
    """Deal out the rows of a block: after any number of slots each source is within one row of its share.

    Args:
        rows: int64 [S], rows of each source in a block.

    Returns:
        int32 [block]: the source of each slot.
    """
    # Plain numbers: sixteen thousand slots take 30 ms, where numpy's calls on a few numbers each took 900.
    counts, scale = rows.tolist(), 2 * len(rows) - 2
    block = sum(counts)
    if len(counts) == 1:
        return np.zeros(block, dtype=np.int32)
    dealt, slots = [0] * len(counts), []
    for slot in range(1, block + 1):
        chosen, earliest = -1, math.inf
        for source, count in enumerate(counts):
            # Due: more than 1/scale of a row below its share. The theorem says that there always is one.
            if scale * (count * slot - dealt[source] * block) >= block:
                deadline = (scale * (dealt[source] + 1) - 1) / count
                if deadline < earliest:
                    chosen, earliest = source, deadline
        slots.append(chosen)
        dealt[chosen] += 1
    return np.array(slots, dtype=np.int32)


# --- segments ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Segment:
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
        """The source of rows of the training that lie in this segment, and their numbers among its rows."""
        blocks, slots = np.divmod(rows - self.first_row, self.block)
        sources = self.slots[slots]
        return sources, self.start[sources] + blocks * self.rows[sources] + self.ranks[slots]

    def counts(self, num_rows: int) -> np.ndarray:
        """int64 [S]: how many of the segment's first rows each source has."""
        blocks, slots = divmod(num_rows, self.block)
        counts = blocks * self.rows
        return counts + np.bincount(self.slots[:slots], minlength=len(counts)) if slots else counts

    def row_of(self, source: int, number: int) -> int:
        """The row of the training that reads a source's row of this number, were the segment long enough."""
        blocks, rank = divmod(number - int(self.start[source]), int(self.rows[source]))
        slot = np.flatnonzero(self.slots == source)[rank]
        return self.first_row + blocks * self.block + int(slot)

    def rows_within(self, limits: np.ndarray) -> int:
        """How many rows can be read until a source, counted from the training's start, would exceed its limit."""
        most = -(-self.num_rows // self.block) * self.rows
        near = np.flatnonzero((self.rows > 0) & (self.start + most > limits))
        ends = [self.row_of(source, int(limits[source])) - self.first_row for source in near.tolist()]
        return min([self.num_rows, *ends])


def plan_segments(
    plan: PhasePlan,
    batch_size: int,
    begin: np.ndarray,
    end: np.ndarray,
    limits: np.ndarray,
    first_row: int,
    start: np.ndarray,
) -> list[Segment]:
    """The segments of a phase.

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
    segments: list[Segment] = []
    owed = np.zeros(len(start))  # rows of each source that rounding has not given yet
    for size, share in zip(sizes, shares, strict=True):
        left = size
        while left:  # once, but where a source reaches its cap in the middle
            live = _live(share, weights.max(axis=0), start < limits)
            if plan.ramp and left <= LARGEST_BLOCK:
                rows = _apportion(owed + live * left, live > 0, left)
            else:
                rows = np.zeros(len(start), dtype=np.int64)
                rows[live > 0] = rows_per_block(live[live > 0], np.ones(int((live > 0).sum())))
            segment = Segment(first_row, left, rows, start)
            fits = segment.rows_within(limits)  # a cap is exact: the segment ends where a source reaches it
            counts = segment.counts(fits)
            segments.append(segment if fits == left else replace(segment, num_rows=fits))
            owed += live * fits - counts
            first_row, left, start = first_row + fits, left - fits, start + counts
    return _until(segments, segments[0].first_row + plan.done * batch_size)


def _until(segments: list[Segment], end: int) -> list[Segment]:
    """The segments before a row."""
    return [
        segment if segment.first_row + segment.num_rows <= end else replace(segment, num_rows=end - segment.first_row)
        for segment in segments
        if segment.first_row < end
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


def segments_of(segments: Sequence[Segment], rows: np.ndarray) -> np.ndarray:
    """The index of the segment of each row; beyond the last one's end it goes on."""
    return np.searchsorted([segment.first_row for segment in segments], rows, side="right") - 1


def keep_under_caps(weights: np.ndarray, sizes: np.ndarray, caps: np.ndarray) -> np.ndarray:
    """Lower the weights of sources that would be read beyond their caps; the others take over in proportion.

    A capped source is lowered by one factor over the whole phase, so that it lasts to the phase's end instead of
    leaving the mixture in the middle (as UniMax does for languages, Chung et al. 2023).

    Args:
        weights: [K, S] weights of S sources in K segments of a phase.
        sizes: [K] rows of each segment.
        caps: [S] most rows of each source in all segments together; infinite where there is no cap. Together at
            least the rows of the phase.

    Returns:
        [K, S] shares of rows, that add up to 1 in each segment.
    """
    total = sizes.sum()
    factors = np.where(caps > 0, 1.0, 0.0)
    capped = np.flatnonzero(np.isfinite(caps) & (caps > 0))
    for _ in range(1000):
        shares = weights * factors
        shares = shares / shares.sum(axis=1, keepdims=True)
        used = np.clip((sizes @ shares)[capped] / total, 1e-12, 1 - 1e-12)
        wanted = np.clip(caps[capped] / total, 1e-12, 1 - 1e-12)
        # By odds: with one segment and one capped source a single turn is exact.
        lowered = np.minimum(1, factors[capped] * (wanted / (1 - wanted)) / (used / (1 - used)))
        if np.allclose(lowered, factors[capped], rtol=1e-9, atol=0):
            break
        factors[capped] = lowered
    return shares
