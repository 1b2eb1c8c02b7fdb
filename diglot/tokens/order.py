"""The data order: a pure function of the plan, the seed and the number of the step.

Nothing is remembered between steps, so resuming, changing the number of machines, and asking "which documents were
in step 41,207?" are all the same evaluation:

    step  ->  rows step·B … step·B + B - 1 of the whole training
    row   ->  its phase; its slot in the phase's block; the slot's source (mixture.py), and how many rows of that
              source came before: (whole blocks) · (rows a block) + (rows earlier in the block) + (earlier phases)
    row of a source  ->  its epoch and its number in the epoch  ->  documents (permutation.py, packing.py)

A source's rows are counted on across phases, so no document repeats before all have been seen. Each epoch has a
permutation of its own: of the documents for text, which is cut anew; of the packed rows for conversations and
pairs. The layouts of the last epochs are kept to save time; they are functions of their key as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from diglot.artifact import UserError, fingerprint
from diglot.tokens.mixture import deal, rows_per_block, token_shares
from diglot.tokens.packing import Batch, Fragments, Rows, assemble, lay_out
from diglot.tokens.permutation import permutation
from diglot.tokens.shards import TokenSource

VERSION = 1  # of the function: in the fingerprint, so that a run cannot resume under another order


@dataclass(frozen=True)
class PhasePlan:
    """A stretch of steps with one mixture.

    Attributes:
        name: the phase's name.
        steps: how many steps.
        mixture: weights by source name or language code (see `mixture.token_shares`); None: all by size.
    """

    name: str
    steps: int
    mixture: Mapping[str, float] | None = None


class SourceRows:
    """All rows of a source, epoch after epoch, numbered from 0."""

    def __init__(self, source: TokenSource, sequence_length: int, key: str):
        self.source, self.sequence_length, self.key = source, sequence_length, key
        first = lay_out(source, sequence_length, f"{key}/0")
        self.rows_per_epoch, self.tokens_per_epoch = first.num_rows, first.num_tokens
        self.dropped = first.dropped
        self._layouts: dict[int, tuple[Rows, np.ndarray | None]] = {}
        self._packed = None if source.form == "text" else first
        if not self.rows_per_epoch:
            raise UserError(
                f"source {source.name!r}: each of its {source.num_documents} documents is longer than a sequence of "
                f"{sequence_length} tokens; raise sequence_length"
            )

    def _layout(self, epoch: int) -> tuple[Rows, np.ndarray | None]:
        """The rows of an epoch, and the order in which they are read (None: as they are)."""
        if epoch not in self._layouts:
            key = f"{self.key}/{epoch}"
            layout: tuple[Rows, np.ndarray | None]
            if self._packed is None:
                layout = lay_out(self.source, self.sequence_length, key), None
            else:
                layout = self._packed, permutation(self.rows_per_epoch, key)
            while len(self._layouts) > 1:  # a batch reads two epochs at most, unless the source is tiny
                del self._layouts[min(self._layouts)]
            self._layouts[epoch] = layout
        return self._layouts[epoch]

    def fragments(self, numbers: np.ndarray) -> list[Fragments]:
        """What lies in rows; `row` counts from 0 within `numbers`."""
        epochs, within = np.divmod(numbers, self.rows_per_epoch)
        parts = []
        for epoch in np.unique(epochs).tolist():
            places = np.flatnonzero(epochs == epoch)
            rows, order = self._layout(epoch)
            part = rows.fragments(within[places] if order is None else order[within[places]])
            parts.append(replace(part, row=places[part.row], epoch=np.full_like(part.row, epoch)))
        return parts


@dataclass(frozen=True)
class _Phase:
    """A phase, worked out. S sources; `rows` a block, `slots` [block], `before` [block + 1, S], `start` [S]."""

    name: str
    shares: dict[str, float]
    first_row: int
    num_rows: int
    rows: np.ndarray
    slots: np.ndarray
    before: np.ndarray
    start: np.ndarray

    def rows_of_sources(self, num_rows: int) -> np.ndarray:
        """int64 [S]: how many of the phase's first rows each source has."""
        blocks, slots = divmod(num_rows, len(self.slots))
        return blocks * self.rows + self.before[slots]


class Order:
    """The order of a whole training.

    Attributes:
        sources: the sources that some phase uses, by name; `Batch.sources_B` points into this list.
        names: their names.
        num_steps: steps of all phases.
        dropped: documents too long for a row, by source (conversations and pairs).
        fingerprint: hash of everything that the order depends on; it belongs into checkpoints.
    """

    def __init__(
        self,
        sources: Mapping[str, TokenSource],
        phases: Sequence[PhasePlan],
        batch_size: int,
        sequence_length: int,
        seed: int | str,
    ):
        """Work out the plan.

        Args:
            sources: training sources by name.
            phases: in the order of training.
            batch_size: rows a step, B.
            sequence_length: tokens a row, T.
            seed: of the permutations.

        Raises:
            UserError: a mixture names what is not there, or a source has no document that fits into a row.
        """
        shares = [token_shares(phase.mixture, sources, phase.name) for phase in phases]
        used = sorted({name for share in shares for name in share})
        self.sources = [sources[name] for name in used]
        self.names = used
        self.batch_size, self.sequence_length = batch_size, sequence_length
        self._rows = [SourceRows(source, sequence_length, f"{seed}/{source.name}") for source in self.sources]
        self.dropped = {rows.source.name: rows.dropped for rows in self._rows}
        self._phases: list[_Phase] = []
        for plan, share in zip(phases, shares, strict=True):
            self._phases.append(self._plan_phase(plan, share))
        self.num_steps = sum(phase.steps for phase in phases)
        self.fingerprint = fingerprint(
            {
                "version": VERSION,
                "seed": str(seed),
                "phases": [asdict(phase) for phase in phases],
                "batch_size": batch_size,
                "sequence_length": sequence_length,
                "sources": {source.name: source.content for source in self.sources},
            }
        )

    def _plan_phase(self, plan: PhasePlan, shares: dict[str, float]) -> _Phase:
        used = [index for index, source in enumerate(self.sources) if source.name in shares]
        tokens_per_row = np.array(
            [self._rows[index].tokens_per_epoch / self._rows[index].rows_per_epoch for index in used]
        )
        rows = np.zeros(len(self.sources), dtype=np.int64)
        rows[used] = rows_per_block(
            np.array([shares[self.sources[index].name] for index in used]), tokens_per_row
        )
        slots = np.asarray(used, dtype=np.int32)[deal(rows[used])]
        one_hot = slots[:, None] == np.arange(len(self.sources))
        before = np.concatenate([np.zeros((1, len(rows)), np.int64), np.cumsum(one_hot, axis=0)])
        earlier = self._phases[-1] if self._phases else None
        return _Phase(
            name=plan.name,
            shares=shares,
            first_row=earlier.first_row + earlier.num_rows if earlier else 0,
            num_rows=plan.steps * self.batch_size,
            rows=rows,
            slots=slots,
            before=before,
            start=earlier.start + earlier.rows_of_sources(earlier.num_rows)
            if earlier
            else np.zeros_like(rows),
        )

    def _phase_at(self, step: int) -> _Phase:
        if not 0 <= step < self.num_steps:
            raise IndexError(f"step {step} is not among the {self.num_steps} of the plan")
        row = step * self.batch_size
        return next(phase for phase in reversed(self._phases) if phase.first_row <= row and phase.num_rows)

    def fragments(self, step: int) -> Fragments:
        """Which pieces of which documents a step reads, and where they lie in its batch."""
        phase = self._phase_at(step)
        row = step * self.batch_size - phase.first_row + np.arange(self.batch_size)
        block, slot = np.divmod(row, len(phase.slots))
        source = phase.slots[slot]
        number = phase.start[source] + block * phase.rows[source] + phase.before[slot, source]
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

    def phase(self, step: int) -> str:
        """The name of a step's phase."""
        return self._phase_at(step).name

    def realised(self, phase: str | int) -> dict[str, dict[str, Any]]:
        """Planned and realised shares of a phase, before anything is trained.

        Args:
            phase: name or number.

        Returns:
            By source: `planned` and `realised` share of the tokens, `rows`, `tokens` (read in the phase), and
            `epochs`, the passes over the source when the phase ends, earlier phases included.
        """
        chosen = (
            self._phases[phase]
            if isinstance(phase, int)
            else next(each for each in self._phases if each.name == phase)
        )
        rows = chosen.rows_of_sources(chosen.num_rows)
        tokens = [
            count * source.tokens_per_epoch / source.rows_per_epoch
            for count, source in zip(rows.tolist(), self._rows, strict=True)
        ]
        total = sum(tokens)
        return {
            source.name: {
                "planned": chosen.shares[source.name],
                "realised": tokens[index] / total if total else 0.0,
                "rows": int(rows[index]),
                "tokens": round(tokens[index]),
                "epochs": float(chosen.start[index] + rows[index]) / self._rows[index].rows_per_epoch,
            }
            for index, source in enumerate(self.sources)
            if source.name in chosen.shares
        }
