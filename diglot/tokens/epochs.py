"""The epochs of a source: which documents lie in which of its rows, epoch after epoch, without writing an epoch out.

**Groups.** Text is a stream of documents that is cut at row ends, so where row r begins depends on the lengths of all
documents before it. A permutation of a billion documents and their running sum would take minutes and 16 GB an epoch.
So documents are thrown into groups of `GROUP`, once and for all and at random (not by place in the corpus: neighbours
there are often about the same thing), and the tokens of each group are summed, once, when they are encoded:

    epoch  ->  a permutation of the groups, their running sum (one number a group)
    row    ->  its groups, by search in that sum  ->  a permutation of each group's documents  ->  documents

A source of up to 4096 documents is one group, and its order is a plain permutation. Finding a row costs one group's
documents, whatever the size of the source. Conversations and pairs are packed once, and their rows permuted.

**Weights** say how often a document occurs in an epoch, from columns of the corpus that `encode` kept:

    document_weights:
      web-ar: {column: cluster_size, by: log, low: 1, high: 3}       1 + ln(size of its cluster of duplicates)
      web-en: {column: classifier, by: quantile, low: 0.5, high: 2}  the worst half as often, the best twice

A weight is a number of occurrences an epoch, in eighths. A document of weight 1.5 occurs once in one epoch and twice in
the next: in epoch e it occurs floor(w(e + 1) + u) - floor(w·e + u) times, where u in [0, 1) is a keyed hash of the
document. So over any epochs it has its weight's occurrences to within one, over every eight epochs exactly, and which
epoch it is in is as good as drawn. Epochs then differ in length and repeat after eight; a document's second and third
occurrence lie in other groups, so that they are spread over the epoch. Documents whose column has no number have
weight 1.
"""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np

from diglot.base.errors import UserError
from diglot.recipe.train import DocumentWeight
from diglot.tokens.packing import Fragments, WholeRows, counting, cut, documents_a_unit
from diglot.tokens.permutation import Permutation, mix, permutation
from diglot.tokens.shards import TokenSource, group_documents, group_of, num_groups

CACHED_GROUPS, CACHED_EPOCHS = 16, 2  # a batch reads a few neighbours; a group takes about 100 kB
PERIOD = 8  # weights are multiples of 1/PERIOD; after so many epochs everything repeats, in another order
QUANTILES = 256
SAMPLE = 100_000  # documents that quantiles are taken from


class Reading(NamedTuple):
    """Where a document is read: in which row of the source, from which of its tokens to which."""

    row: int
    epoch: int
    first: int
    end: int


class Epochs(Protocol):
    """All rows of a source, epoch after epoch, numbered from 0. Epochs differ in length, and repeat after some.

    Attributes:
        row_bounds: [epochs + 1] rows before each epoch, and in all of them.
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
        self.layout: Epochs
        if source.form == "text":
            self.layout = TextEpochs(source, sequence_length, key, weights)
        else:
            self.layout = PackedEpochs(source, sequence_length, key)
        self._bounds = self.layout.row_bounds
        self._period = int(self._bounds[-1])
        self.tokens_per_row, self.dropped = self.layout.tokens_per_row, self.layout.dropped
        self.packing_efficiency = self.tokens_per_row / sequence_length

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

    def epochs_in(self, num_rows: int) -> float:
        """How many epochs so many rows are."""
        epochs, within = self.epoch_of(np.array([num_rows]))
        number = int(epochs[0]) % (len(self._bounds) - 1)
        return float(epochs[0] + within[0] / (self._bounds[number + 1] - self._bounds[number]))

    def fragments(self, numbers: np.ndarray) -> list[Fragments]:
        """What lies in rows; `row` counts from 0 within `numbers`."""
        epochs, within = self.epoch_of(numbers)
        parts = []
        for epoch in np.unique(epochs).tolist():
            places = np.flatnonzero(epochs == epoch)
            part = self.layout.fragments(epoch, within[places])
            parts.append(replace(part, row=places[part.row], epoch=np.full_like(part.row, epoch)))
        return parts

    def find(self, document: int, num_rows: int) -> list[Reading]:
        """Where a document is read among the first rows, in the order of reading."""
        found = []
        for epoch in range(int(np.ceil(self.epochs_in(num_rows)))):
            begin = self.rows_before(epoch)
            rows = sorted(self.layout.find(epoch, document))
            found += [Reading(begin + row, epoch, first, end) for row, first, end in rows if begin + row < num_rows]
        return found


class Weights:
    """The weights of a source's documents.

    Attributes:
        most: no document occurs more often in an epoch.
    """

    def __init__(self, column: np.ndarray, rule: DocumentWeight, key: str):
        """Take a column.

        Args:
            column: [documents] numbers.
            rule: how they become weights.
            key: of the hash that says in which epoch a fraction of an occurrence falls.
        """
        self._column, self._rule = column, rule
        self._key = np.frombuffer(hashlib.sha256(key.encode()).digest(), "<u8", count=1).astype(np.uint64)
        self.most = -(-round(rule.high * PERIOD) // PERIOD)
        self._edges = self._quantiles() if rule.by == "quantile" else None

    def _quantiles(self) -> np.ndarray:
        number = len(self._column)
        # Whose quantiles these are does not depend on the run's seed: a document's weight is its own.
        sample = np.sort(Permutation(number, "quantiles").at(np.arange(min(number, SAMPLE))))
        values = np.asarray(self._column[sample], dtype=np.float64)
        values = values[np.isfinite(values)]
        return np.quantile(values, np.linspace(0, 1, QUANTILES + 1)) if len(values) else np.zeros(1)

    def eighths(self, documents: np.ndarray) -> np.ndarray:
        """int64: the documents' weights times `PERIOD`."""
        values = np.asarray(self._column[documents], dtype=np.float64)
        low, high = self._rule.low, self._rule.high
        if self._edges is not None:
            below = np.searchsorted(self._edges, values, "left") + np.searchsorted(self._edges, values, "right")
            weights = low + (high - low) * below / (2 * len(self._edges))
        elif self._rule.by == "log":
            weights = np.clip(1 + np.log(np.maximum(values, 1e-9)), low, high)
        else:
            weights = np.clip(values, low, high)
        return np.rint(np.where(np.isfinite(values), weights, 1.0) * PERIOD).astype(np.int64)

    def occurrences(self, documents: np.ndarray, eighths: np.ndarray, number: int) -> np.ndarray:
        """int64: how often each document occurs in epoch `number`."""
        drawn = (mix(documents.astype(np.uint64) + self._key) >> np.uint64(32)) % np.uint64(PERIOD)
        begin = eighths * (number % PERIOD) + drawn.astype(np.int64)
        return (begin + eighths) // PERIOD - begin // PERIOD


class TextEpochs:
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

    def _group_of_occurrence(self, home: int, occurrence: int, sign: int = 1) -> int:
        """The group in which a group's documents have an occurrence (the first is at home); backwards with sign -1."""
        return (home + sign * occurrence * max(1, self.num_groups // self._most)) % self.num_groups

    def _sum_groups(self, weights: Weights) -> np.ndarray:
        """int64 [PERIOD, groups]: tokens of each group in each epoch, by one look at every document."""
        totals = np.zeros((PERIOD, self.num_groups), dtype=np.int64)
        for home in range(self.num_groups):
            documents = group_documents(self.source.num_documents, home)
            lengths, eighths = self.source.lengths_of(documents), weights.eighths(documents)
            for number in range(PERIOD):
                occurrences = weights.occurrences(documents, eighths, number)
                for occurrence in range(self._most):
                    group = self._group_of_occurrence(home, occurrence)
                    totals[number, group] += lengths[occurrences > occurrence].sum()
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
        parts = []
        for occurrence in range(self._most):
            members = group_documents(self.source.num_documents, self._group_of_occurrence(group, occurrence, -1))
            if self._weights:
                occurrences = self._weights.occurrences(members, self._weights.eighths(members), epoch)
                members = members[occurrences > occurrence]
            parts.append(members)
        documents = np.concatenate(parts)
        documents = documents[permutation(len(documents), f"{self.key}/{epoch}/{group}")]
        starts = np.concatenate([[0], np.cumsum(self.source.lengths_of(documents))])
        self._groups[epoch, group] = documents, starts
        while len(self._groups) > CACHED_GROUPS:
            self._groups.popitem(last=False)
        return documents, starts

    def fragments(self, epoch: int, rows: np.ndarray) -> Fragments:
        """See `Epochs`."""
        groups, bounds = self._epoch(epoch)
        # [R]: where each row begins and ends in the epoch's stream of tokens; then the groups that it lies in.
        begin = rows * self.sequence_length
        end = np.minimum(begin + self.sequence_length, bounds[-1])
        first = np.searchsorted(bounds, begin, side="right") - 1
        number = np.searchsorted(bounds, end, side="left") - first
        places = np.unique(np.repeat(first, number) + counting(number))
        parts = [self._documents(epoch, group) for group in groups[places].tolist()]
        documents = np.concatenate([part for part, _ in parts])
        shift = bounds[places].tolist()  # from places in a group to places in the stream
        starts = np.concatenate([inner[:-1] + before for (_, inner), before in zip(parts, shift, strict=True)])
        ends = np.concatenate([inner[1:] + before for (_, inner), before in zip(parts, shift, strict=True)])
        return cut(documents, starts, ends, begin, end)

    def find(self, epoch: int, document: int) -> list[tuple[int, int, int]]:
        """See `Epochs`."""
        home = group_of(self.source.num_documents, document)
        homes = {self._group_of_occurrence(home, occurrence) for occurrence in range(self._most)}
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
        # The stream's last token has no row of its own where it would begin one.
        last = int(np.diff(self.row_bounds)[epoch % (len(self.row_bounds) - 1)])
        return [reading for reading in found if reading[0] < last]


class PackedEpochs:
    """Conversations and pairs: packed once; every epoch reads the rows in an order of its own."""

    def __init__(self, source: TokenSource, sequence_length: int, key: str):
        unit_size = documents_a_unit(source)
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
        """See `Epochs`."""
        return self._rows.fragments(self._order(epoch).at(rows))

    def find(self, epoch: int, document: int) -> list[tuple[int, int, int]]:
        """See `Epochs`."""
        places = np.flatnonzero(self._rows.documents == document)
        packed = np.searchsorted(self._rows.row_starts, places, side="right") - 1
        lengths = self._rows.lengths[places].tolist()
        rows = self._order(epoch).places(packed).tolist()
        return [(row, 0, length) for row, length in zip(rows, lengths, strict=True)]

    def _order(self, epoch: int) -> Permutation:
        return Permutation(self._rows.num_rows, f"{self.key}/{epoch}")
