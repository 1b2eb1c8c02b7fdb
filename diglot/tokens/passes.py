"""The passes over a source: which documents lie in which row, epoch after epoch, without writing an epoch out.

Text is a stream of documents that is cut at row ends, so where row r begins depends on the lengths of all documents
before it. A permutation of a billion documents and their running sum would take minutes and 16 GB an epoch. So
documents are thrown into groups of `GROUP`, once and for all and at random (not by place in the corpus: neighbours
there are often about the same thing), and the tokens of each group are summed, once, when they are encoded:

    epoch  ->  a permutation of the groups, their running sum (one number a group)
    row    ->  its groups, by search in that sum  ->  a permutation of each group's documents  ->  documents

A source of up to 4096 documents is one group, and its order is a plain permutation. Finding a row costs one group's
documents, whatever the size of the source.

With weights (weights.py) passes differ in length and repeat after eight; a document's second and third visit lie in
other groups, so that they are spread over the pass. Conversations and pairs are packed once, and their rows permuted.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np

from diglot.base.artifact import UserError
from diglot.tokens.packing import Fragments, WholeRows, counting, cut
from diglot.tokens.permutation import Permutation, permutation
from diglot.tokens.shards import TokenSource, group_documents, group_of, num_groups
from diglot.tokens.weights import PASSES, Weights

CACHED_GROUPS, CACHED_EPOCHS = 16, 2  # a batch reads a few neighbours; a group takes about 100 kB


class Reading(NamedTuple):
    """Where a document is read: in which row of the source, from which of its tokens to which."""

    row: int
    epoch: int
    first: int
    end: int


class Passes(Protocol):
    """All rows of a source, pass after pass, numbered from 0. Passes differ in length, and repeat after some.

    Attributes:
        row_bounds: [passes + 1] rows before each pass, and in all of them.
        tokens_per_row: mean, padding not counted.
        dropped: documents that do not fit into a row and are left out.
    """

    row_bounds: np.ndarray
    tokens_per_row: float
    dropped: int

    def fragments(self, epoch: int, rows: np.ndarray) -> Fragments:
        """What lies in rows of an epoch; `row` counts from 0 within `rows`."""
        ...

    def find(self, epoch: int, document: int) -> list[tuple[int, int, int]]:
        """The rows of an epoch that read a document, with the first and end token."""
        ...


class SourceRows:
    """A source's rows, numbered on from epoch to epoch."""

    def __init__(self, source: TokenSource, sequence_length: int, key: str, weights: Weights | None = None):
        self.source = source
        self.passes: Passes
        if source.form == "text":
            self.passes = TextPasses(source, sequence_length, key, weights)
        else:
            self.passes = PackedPasses(source, sequence_length, key)
        self._bounds = self.passes.row_bounds
        self._period = int(self._bounds[-1])
        self.tokens_per_row, self.dropped = self.passes.tokens_per_row, self.passes.dropped
        self.fill = self.tokens_per_row / sequence_length

    def rows_before(self, epochs: float) -> int:
        """Rows of so many epochs, rounded down."""
        whole, part = divmod(epochs, 1)
        periods, number = divmod(int(whole), len(self._bounds) - 1)
        begin, end = self._bounds[number : number + 2]
        return periods * self._period + int(begin) + int(part * (end - begin))

    def epoch_of(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The epochs of rows, and their numbers within these."""
        periods, within = np.divmod(numbers, self._period)
        number = np.searchsorted(self._bounds, within, side="right") - 1
        return periods * (len(self._bounds) - 1) + number, within - self._bounds[number]

    def epochs(self, num_rows: int) -> float:
        """How many passes so many rows are."""
        epochs, within = self.epoch_of(np.array([num_rows]))
        number = int(epochs[0]) % (len(self._bounds) - 1)
        return float(epochs[0] + within[0] / (self._bounds[number + 1] - self._bounds[number]))

    def fragments(self, numbers: np.ndarray) -> list[Fragments]:
        """What lies in rows; `row` counts from 0 within `numbers`."""
        epochs, within = self.epoch_of(numbers)
        parts = []
        for epoch in np.unique(epochs).tolist():
            places = np.flatnonzero(epochs == epoch)
            part = self.passes.fragments(epoch, within[places])
            parts.append(replace(part, row=places[part.row], epoch=np.full_like(part.row, epoch)))
        return parts

    def find(self, document: int, num_rows: int) -> list[Reading]:
        """Where a document is read among the first rows, in the order of reading."""
        found = []
        for epoch in range(int(np.ceil(self.epochs(num_rows)))):
            begin = self.rows_before(epoch)
            rows = sorted(self.passes.find(epoch, document))
            found += [Reading(begin + row, epoch, first, end) for row, first, end in rows if begin + row < num_rows]
        return found


class TextPasses:
    """Text: documents one after the other, cut at row ends; see the module."""

    dropped = 0

    def __init__(self, source: TokenSource, sequence_length: int, key: str, weights: Weights | None = None):
        self.source, self.sequence_length, self.key, self._weights = source, sequence_length, key, weights
        self.num_groups = num_groups(source.num_documents)
        self._most = weights.most if weights else 1
        self._totals = self._sum_groups(weights) if weights else source.group_tokens[None]
        tokens = self._totals.sum(axis=1)
        # A stream's last token is predicted but predicts nothing, so it needs no place of its own.
        rows = np.where(tokens > 0, np.maximum(1, -(-(tokens - 1) // sequence_length)), 0)
        if not rows.any():
            raise UserError(f"source {source.name!r}: its document_weights leave nothing to read; raise `low`")
        self.row_bounds = np.concatenate([[0], np.cumsum(rows)])
        self.tokens_per_row = float(tokens.sum() / rows.sum())
        self._epoch = functools.lru_cache(CACHED_EPOCHS)(self._lay_out_epoch)
        self._groups: OrderedDict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = OrderedDict()

    def _group_of_visit(self, home: int, visit: int, sign: int = 1) -> int:
        """The group in which a group's documents have a visit (the first is at home); backwards with sign -1."""
        return (home + sign * visit * max(1, self.num_groups // self._most)) % self.num_groups

    def _sum_groups(self, weights: Weights) -> np.ndarray:
        """int64 [passes, groups]: tokens of each group in each pass, by one look at every document."""
        totals = np.zeros((PASSES, self.num_groups), dtype=np.int64)
        for home in range(self.num_groups):
            documents = group_documents(self.source.num_documents, home)
            lengths, eighths = self.source.lengths_of(documents), weights.eighths(documents)
            for number in range(PASSES):
                visits = weights.visits(documents, eighths, number)
                for visit in range(self._most):
                    group = self._group_of_visit(home, visit)
                    totals[number, group] += lengths[visits > visit].sum()
        return totals

    def _lay_out_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The groups in the order of an epoch, and the tokens before each and in all."""
        groups = permutation(self.num_groups, f"{self.key}/{epoch}")
        totals = self._totals[epoch % len(self._totals)]
        return groups, np.concatenate([[0], np.cumsum(totals[groups])])

    def _documents(self, epoch: int, group: int) -> tuple[np.ndarray, np.ndarray]:
        """A group's documents in the order of an epoch, and the tokens before each and in all."""
        if (epoch, group) in self._groups:
            self._groups.move_to_end((epoch, group))
            return self._groups[epoch, group]
        visited = []
        for visit in range(self._most):
            members = group_documents(self.source.num_documents, self._group_of_visit(group, visit, -1))
            if self._weights:
                visits = self._weights.visits(members, self._weights.eighths(members), epoch)
                members = members[visits > visit]
            visited.append(members)
        documents = np.concatenate(visited)
        documents = documents[permutation(len(documents), f"{self.key}/{epoch}/{group}")]
        starts = np.concatenate([[0], np.cumsum(self.source.lengths_of(documents))])
        self._groups[epoch, group] = documents, starts
        while len(self._groups) > CACHED_GROUPS:
            self._groups.popitem(last=False)
        return documents, starts

    def fragments(self, epoch: int, rows: np.ndarray) -> Fragments:
        """See `Passes`."""
        groups, bounds = self._epoch(epoch)
        begin = rows * self.sequence_length
        end = np.minimum(begin + self.sequence_length, bounds[-1])
        first = np.searchsorted(bounds, begin, side="right") - 1
        number = np.searchsorted(bounds, end, side="left") - first
        places = np.unique(np.repeat(first, number) + counting(number))
        parts = [self._documents(epoch, group) for group in groups[places].tolist()]
        documents = np.concatenate([part for part, _ in parts])
        shift = bounds[places].tolist()
        starts = np.concatenate([inner[:-1] + before for (_, inner), before in zip(parts, shift, strict=True)])
        ends = np.concatenate([inner[1:] + before for (_, inner), before in zip(parts, shift, strict=True)])
        return cut(documents, starts, ends, begin, end)

    def find(self, epoch: int, document: int) -> list[tuple[int, int, int]]:
        """See `Passes`."""
        home = group_of(self.source.num_documents, document)
        homes = {self._group_of_visit(home, visit) for visit in range(self._most)}
        groups, bounds = self._epoch(epoch)
        found = []
        for group in sorted(homes):
            before = int(bounds[np.flatnonzero(groups == group)[0]])
            documents, starts = self._documents(epoch, group)
            for place in np.flatnonzero(documents == document).tolist():
                begin, end = before + int(starts[place]), before + int(starts[place + 1])
                for row in range(begin // self.sequence_length, (end - 1) // self.sequence_length + 1):
                    left, right = row * self.sequence_length, (row + 1) * self.sequence_length
                    found.append((row, max(left, begin) - begin, min(right, end) - begin))
        last = int(np.diff(self.row_bounds)[epoch % (len(self.row_bounds) - 1)])
        return [reading for reading in found if reading[0] < last]


class PackedPasses:
    """Conversations and pairs: packed best fit first, once; every epoch reads the rows in an order of its own."""

    def __init__(self, source: TokenSource, sequence_length: int, key: str):
        unit_size = 2 if source.form == "pairs" else 1
        units = permutation(source.num_documents // unit_size, f"{key}/0")
        self._rows = WholeRows(units, source.lengths, sequence_length, unit_size)
        if not self._rows.num_rows:
            raise UserError(
                f"source {source.name!r}: each of its {source.num_documents} documents is longer than a sequence of "
                f"{sequence_length} tokens; raise sequence_length"
            )
        self.key = key
        self.row_bounds = np.array([0, self._rows.num_rows])
        self.tokens_per_row = self._rows.num_tokens / self._rows.num_rows
        self.dropped = self._rows.dropped

    def fragments(self, epoch: int, rows: np.ndarray) -> Fragments:
        """See `Passes`."""
        return self._rows.fragments(self._order(epoch).at(rows))

    def find(self, epoch: int, document: int) -> list[tuple[int, int, int]]:
        """See `Passes`."""
        places = np.flatnonzero(self._rows.documents == document)
        packed = np.searchsorted(self._rows.row_starts, places, side="right") - 1
        lengths = self._rows.lengths[places].tolist()
        rows = self._order(epoch).places(packed).tolist()
        return [(row, 0, length) for row, length in zip(rows, lengths, strict=True)]

    def _order(self, epoch: int) -> Permutation:
        return Permutation(self._rows.num_rows, f"{self.key}/{epoch}")
