"""The data order: a pure function of the plan, the seed and the number of the step.

Nothing is remembered between steps, so resuming, changing the number of machines, and asking "which documents were
in step 41,207?" are all the same evaluation:

    step  ->  its position: the step, and what the guard has skipped before it
          ->  rows position·B … position·B + B - 1 of the whole training
    row   ->  its segment and slot in the segment's block (mixture.py): the slot's source, and how many
              rows of that source came before
    row of a source  ->  its epoch and its number in the epoch  ->  documents (epochs.py, packing.py)

A source's rows are counted on across phases, so no document repeats before all have been seen. Each epoch has a
permutation of its own. Nothing is proportional to the number of documents or of steps (where no weights are set), so
any step of a plan of a trillion tokens is found in milliseconds. What is kept to save time is a function of its key.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from diglot.base.artifact import fingerprint
from diglot.base.errors import UserError
from diglot.recipe.train import DocumentWeight
from diglot.tokens.epochs import SourceRows, Weights
from diglot.tokens.mixture import PhasePlan, Segment, plan_segments, segments_of, token_shares, with_language
from diglot.tokens.packing import Batch, Fragments, assemble
from diglot.tokens.shards import TokenSource

VERSION = 3  # of the function: in the fingerprint, so that a run cannot resume under another order
Skipped = Sequence[tuple[int, int]]


def position_of(step: int, skipped: Skipped) -> int:
    """The position in the plan that a step reads.

    Args:
        step: from 0.
        skipped: ranges of positions (first, end), ascending and apart, that are skipped.
    """
    for first, end in skipped:
        if step >= first:
            step += end - first
    return step


def step_of(position: int, skipped: Skipped) -> int | None:
    """The step that reads a position; None where it is skipped."""
    step = position
    for first, end in skipped:
        if first <= position < end:
            return None
        if position >= end:
            step -= end - first
    return step


def joined(ranges: Sequence[tuple[int, int]]) -> Skipped:
    """Ranges in ascending order, those that touch made one."""
    found: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((first, end))
    return tuple(found)


class Occurrence(NamedTuple):
    """A step's reading of a piece of a document: from which of its tokens to which; epochs count from 0."""

    step: int
    epoch: int
    first: int
    end: int


@dataclass(frozen=True)
class _Phase:
    """A phase, worked out: S sources. `start` and `end`, int64 [S], are rows of each source before and after it."""

    plan: PhasePlan
    shares: dict[str, float]
    num_rows: int
    start: np.ndarray
    end: np.ndarray


class Order:
    """The order of a whole training.

    Attributes:
        sources: the sources that some phase uses, by name; `Batch.sources_B` points into this list.
        names: their names.
        num_steps: steps of all phases, without the previous ones.
        dropped: documents too long for a row, by source (conversations and pairs).
        num_documents: all there are, by source.
        fingerprint: hash of everything that the order depends on; it belongs into checkpoints. A last phase with one
            mixture may be given more steps.
    """

    def __init__(
        self,
        sources: Mapping[str, TokenSource],
        phases: Sequence[PhasePlan],
        batch_size: int,
        sequence_length: int,
        seed: int | str,
        previous: Sequence[PhasePlan] = (),
        weights: Mapping[str, DocumentWeight] | None = None,
    ):
        """Work out the plan.

        Args:
            sources: training sources by name.
            phases: in the order of training.
            batch_size: rows a step, B.
            sequence_length: tokens a row, T.
            seed: of the permutations.
            previous: phases that an earlier training has done, where this one goes on from it: step 0 is the step
                after them.
            weights: how often documents are read, by source name or language code; see epochs.py.

        Raises:
            UserError: a mixture, cap or weight names what is not there, a source has no document that fits into a
                row, or caps leave too little for the steps.
        """
        plans = [*previous, *phases]
        shares = [token_shares(plan.mixture, sources, plan.name) for plan in plans]
        used = sorted({name for share in shares for name in share})
        # Sorted, and only what is used: the order of the recipe's sources must not change a batch.
        self.sources = [sources[name] for name in used]
        self.names = used
        self.batch_size, self.sequence_length = batch_size, sequence_length
        self.skipped: Skipped = ()
        rules = with_language(weights or {}, sources, "document_weights")
        self._rows = [
            SourceRows(source, sequence_length, f"{seed}/{source.name}", _weights(source, rules, seed))
            for source in self.sources
        ]
        self.dropped = {rows.source.name: rows.dropped for rows in self._rows}
        self.num_documents = {source.name: source.num_documents for source in self.sources}
        self._phases: list[_Phase] = []
        self._segments: list[Segment] = []
        for plan, share in zip(plans, shares, strict=True):
            self._plan_phase(plan, share, sources)
        # What an earlier training read is planned too, so that its documents are not read a second time.
        self._own_phases = self._phases[len(previous) :]
        self._first_step = sum(plan.done for plan in previous)
        self.num_steps = sum(plan.done for plan in phases)
        self.fingerprint = fingerprint(
            {
                "version": VERSION,
                "seed": str(seed),
                "phases": [asdict(plan) for plan in plans[:-1]] + [_open_ended(plans[-1])],
                "first_step": self._first_step,
                "batch_size": batch_size,
                "sequence_length": sequence_length,
                "sources": {source.name: source.content for source in self.sources},
                "weights": {name: rule.model_dump() for name, rule in (weights or {}).items()},
            }
        )

    def _plan_phase(self, plan: PhasePlan, shares: dict[str, float], sources: Mapping[str, TokenSource]) -> None:
        earlier = self._phases[-1] if self._phases else None
        if plan.ramp and earlier is None:
            raise UserError(f"phase {plan.name!r}: there is no phase before it to ramp from")
        caps = with_language(plan.max_epochs, sources, f"phase {plan.name!r}: max_epochs")
        limits = np.array(
            [rows.rows_before(caps[rows.source.name]) if rows.source.name in caps else np.inf for rows in self._rows]
        )
        start = earlier.end if earlier else np.zeros(len(self.sources), dtype=np.int64)
        begin, end = self._row_shares(earlier.shares if earlier else shares), self._row_shares(shares)
        first_row = sum(phase.num_rows for phase in self._phases)
        segments = plan_segments(plan, self.batch_size, begin, end, limits, first_row, start)
        self._segments += segments
        last = segments[-1] if segments else None
        end_rows = last.start + last.counts(last.num_rows) if last else start
        self._phases.append(_Phase(plan, shares, plan.done * self.batch_size, start, end_rows))

    def _row_shares(self, shares: dict[str, float]) -> np.ndarray:
        """[S] shares of rows, from shares of tokens: packed rows are not quite full."""
        weights = np.array([shares.get(rows.source.name, 0.0) / rows.tokens_per_row for rows in self._rows])
        return weights / weights.sum()

    def skipping(self, skipped: Skipped) -> Order:
        """The same order with ranges of positions skipped; see `position_of`. Positions count from the beginning
        of the whole training, with the previous phases.

        Positions beyond the plan's end go on in the last phase, whose caps are not kept there. The mixture follows
        positions, so that later phases' mixtures begin as many steps earlier as were skipped.
        """
        other = copy.copy(self)
        other.skipped = tuple((first, end) for first, end in skipped)
        return other

    def position(self, step: int) -> int:
        """The position that a step reads, or, for the number of steps done, the next one to be read.

        Raises:
            IndexError: the plan has no such step.
        """
        if not 0 <= step <= self.num_steps:
            raise IndexError(f"step {step} is not among the {self.num_steps} of the plan")
        return position_of(self._first_step + step, self.skipped)

    def fragments(self, step: int) -> Fragments:
        """Which pieces of which documents a step reads, and where they lie in its batch."""
        if step == self.num_steps:
            raise IndexError(f"the plan ends after {self.num_steps} steps")
        row = self.position(step) * self.batch_size + np.arange(self.batch_size)
        # [B]: the source of each row, and which of that source's rows it is.
        source, number = np.empty(self.batch_size, dtype=np.int64), np.empty(self.batch_size, dtype=np.int64)
        segment_of_row = segments_of(self._segments, row)
        for index in np.unique(segment_of_row).tolist():
            here = segment_of_row == index
            source[here], number[here] = self._segments[index].locate(row[here])
        parts = []
        for index in np.unique(source).tolist():
            rows_here = np.flatnonzero(source == index)
            parts += [
                replace(part, row=rows_here[part.row], source=np.full_like(part.row, index))
                for part in self._rows[index].fragments(number[rows_here])
            ]
        return Fragments.join(parts)

    def batch(self, step: int) -> Batch:
        """The batch of a step.

        Raises:
            IndexError: the plan has no such step.
        """
        return assemble(self.fragments(step), self.sources, (self.batch_size, self.sequence_length))

    def documents(self, step: int) -> list[tuple[str, str, int, int, int]]:
        """What a step reads, in row order: source, document id, epoch (from 0), first token, end token."""
        fragments = self.fragments(step)
        ids = np.empty(len(fragments.row), dtype=object)
        for index in np.unique(fragments.source).tolist():
            chosen = np.flatnonzero(fragments.source == index)
            ids[chosen] = self.sources[index].document_ids(fragments.document[chosen])
        return [
            (self.sources[source].name, document_id, epoch, first, first + length)
            for source, document_id, epoch, first, length in zip(
                fragments.source.tolist(),
                ids.tolist(),
                fragments.epoch.tolist(),
                fragments.first.tolist(),
                fragments.length.tolist(),
                strict=True,
            )
        ]

    def occurrences(self, name: str, document: int) -> list[Occurrence]:
        """The steps that read a document, in order.

        Args:
            name: of the source.
            document: its number in the source.
        """
        index = self.names.index(name)
        last = self._segments[-1]
        # The last segment goes on beyond its end where steps were skipped, so its counts are taken at the last position.
        positions = self.position(self.num_steps - 1) + 1
        total = last.start + last.counts(positions * self.batch_size - last.first_row)
        starts = np.array([segment.start[index] for segment in self._segments])
        found = []
        for reading in self._rows[index].find(document, int(total[index])):
            # Segments that do not read the source begin with the same number as the next that does.
            segment = self._segments[int(np.searchsorted(starts, reading.row, side="right")) - 1]
            position = segment.row_of(index, reading.row) // self.batch_size
            step = step_of(position, self.skipped)
            if step is not None and step >= self._first_step:
                found.append(Occurrence(step - self._first_step, reading.epoch, reading.first, reading.end))
        return found

    def phase(self, step: int) -> str:
        """The name of the phase whose mixture a step reads."""
        position = self.position(step)
        for phase in self._phases:
            position -= phase.plan.done
            if position < 0:
                return phase.plan.name
        return self._phases[-1].plan.name

    def realised(self, phase: str | int) -> dict[str, dict[str, Any]]:
        """Planned and realised shares of a phase, before anything is trained.

        Args:
            phase: name or number; not of the previous ones.

        Returns:
            By source: `planned` (as the mixture has it; of a ramp, where it arrives) and `realised` share of the
            tokens, `rows`, `tokens` (read in the phase), `epochs` of the source when the phase ends,
            earlier phases included, and `packing_efficiency`, the share of its rows' places that hold tokens.
        """
        chosen = (
            self._own_phases[phase]
            if isinstance(phase, int)
            else next(each for each in self._own_phases if each.plan.name == phase)
        )
        rows = chosen.end - chosen.start
        tokens = [count * source.tokens_per_row for count, source in zip(rows.tolist(), self._rows, strict=True)]
        total = sum(tokens)
        return {
            source.name: {
                "planned": chosen.shares.get(source.name, 0.0),
                "realised": tokens[index] / total if total else 0.0,
                "rows": int(rows[index]),
                "tokens": round(tokens[index]),
                "epochs": self._rows[index].epochs_in(int(chosen.end[index])),
                "packing_efficiency": self._rows[index].packing_efficiency,
            }
            for index, source in enumerate(self.sources)
            if source.name in chosen.shares or rows[index]
        }


def _open_ended(plan: PhasePlan) -> dict[str, Any]:
    """The last phase: with one mixture all along, its batches do not depend on how many follow."""
    known = asdict(plan)
    return known if plan.ramp or plan.max_epochs or plan.left_after is not None else {**known, "steps": None}


def _weights(source: TokenSource, rules: Mapping[str, DocumentWeight], seed: int | str) -> Weights | None:
    rule = rules.get(source.name)
    if rule is None:
        return None
    if source.form != "text":
        raise UserError(f"document_weights: {source.name!r} has no columns; only text can be weighted")
    if rule.column not in source.columns:
        raise UserError(
            f"document_weights: {source.name!r} has no column {rule.column!r} beside its tokens; it has: "
            f"{', '.join(source.columns) or 'none'}. Name it in `keep` of the encode stage"
        )
    return Weights(source.columns[rule.column], rule, f"{seed}/{source.name}/weights")
