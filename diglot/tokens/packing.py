"""Rows and batches: how documents are laid into sequences of T tokens.

Text is a stream of documents that is cut at row ends. A row reads T + 1 tokens and steps by T, so that each token
is predicted exactly once; what goes on in the next row is a new *fragment*, whose positions restart and which
attention does not reach back from. Conversations and pairs are never cut: they are packed into rows, and a pair's two documents
share a row.

    stream   a a a b b b b c c            T = 4
    row 0    a a a b   targets  a a · b   (· is -100: the next token is another document's)
    row 1    b b b c   targets  b b · c

Shapes: B rows, T tokens a row, F fragments, D documents.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np

from diglot.tokens.permutation import permutation
from diglot.tokens.shards import TokenSource

IGNORED = -100
TRIED, TIMES = 48, 3  # lengths that are tried to fill a row, and how often each; more of either fill no better
FEWEST_DOCUMENTS = 10  # of held-out text: none takes more than a tenth of what is measured


@dataclass(frozen=True)
class Batch:
    """What a training step reads.

    Attributes:
        tokens_BT: int64.
        targets_BT: int64, the next token, or -100 where none is to be predicted; never across documents.
        positions_BT: int64, from 0 in every document (fragment).
        documents_BT: int32, the fragment's number in the batch, rising in row order; -1 for padding. In form
            `pairs`, 2i and 2i + 1 are the chosen and the rejected conversation of the batch's i-th pair.
        sources_B: int32, index into the order's sources.
        bytes: UTF-8 bytes of the documents that begin in this batch (held-out batches; 0 in training).
        packing_efficiency: share of the places that hold a token; the rest is padding.
        reference_BT: float32, the reference's log-probability of each target (0 where there is none), where it is stored.
    """

    tokens_BT: np.ndarray
    targets_BT: np.ndarray
    positions_BT: np.ndarray
    documents_BT: np.ndarray
    sources_B: np.ndarray
    bytes: int = 0
    packing_efficiency: float = 1.0
    reference_BT: np.ndarray | None = None


@dataclass(frozen=True)
class Fragments:
    """Pieces of documents and where they lie in a batch; int64 [F] each.

    Attributes:
        row: row in the batch.
        column: where in the row the fragment begins.
        source: index of the source.
        epoch: of the source.
        document: number in the source.
        first: the fragment's first token within the document.
        length: tokens.
    """

    row: np.ndarray
    column: np.ndarray
    source: np.ndarray
    epoch: np.ndarray
    document: np.ndarray
    first: np.ndarray
    length: np.ndarray

    def select(self, chosen: np.ndarray) -> Fragments:
        """The fragments that an index or a mask names."""
        return Fragments(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @staticmethod
    def join(parts: Sequence[Fragments]) -> Fragments:
        """All fragments, in row order."""
        joined = Fragments(
            *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Fragments))
        )
        return joined.select(np.lexsort((joined.column, joined.row)))


class Rows(Protocol):
    """The rows of one epoch of some documents.

    Attributes:
        num_rows: how many rows an epoch has.
        num_tokens: tokens in them, padding not counted.
        dropped: documents that do not fit into a row and are left out.
    """

    num_rows: int
    num_tokens: int
    dropped: int

    def fragments(self, numbers: np.ndarray) -> Fragments:
        """What lies in the rows of these numbers; `row` counts from 0 within `numbers`."""
        ...


class CutRows:
    """Text: documents one after the other, cut at row ends."""

    dropped = 0

    def __init__(self, documents: np.ndarray, lengths: np.ndarray, sequence_length: int):
        """Lay out documents.

        Args:
            documents: [D] document numbers, in the order of the epoch.
            lengths: tokens of every document of the source.
            sequence_length: T.
        """
        self.documents, self.sequence_length = documents, sequence_length
        self.starts = np.concatenate([[0], np.cumsum(lengths[documents])])
        self.num_tokens = int(self.starts[-1])
        # The stream's last token is predicted but predicts nothing, so it needs no place of its own.
        self.num_rows = max(1, -(-(self.num_tokens - 1) // sequence_length))

    def fragments(self, numbers: np.ndarray) -> Fragments:
        """See `Rows`."""
        begin = numbers * self.sequence_length
        end = np.minimum(begin + self.sequence_length, self.num_tokens)
        return cut(self.documents, self.starts[:-1], self.starts[1:], begin, end)


def cut(documents: np.ndarray, starts: np.ndarray, ends: np.ndarray, begin: np.ndarray, end: np.ndarray) -> Fragments:
    """The pieces of a stream of documents that lie in ranges of it.

    Args:
        documents: [D] in the order of the stream; where no range is, documents may be left out.
        starts: [D] where each begins in the stream.
        ends: [D] and ends.
        begin: [R] where each range begins.
        end: [R] and ends.

    Returns:
        Fragments of source 0 and epoch 0; `row` counts the ranges.
    """
    first = np.searchsorted(starts, begin, side="right") - 1
    counts = np.searchsorted(starts, end, side="left") - first
    row = np.repeat(np.arange(len(begin)), counts)
    place = first[row] + counting(counts)
    fragment_begin = np.maximum(starts[place], begin[row])
    zeros = np.zeros_like(row)
    return Fragments(
        row=row,
        column=fragment_begin - begin[row],
        source=zeros,
        epoch=zeros,
        document=documents[place],
        first=fragment_begin - starts[place],
        length=np.minimum(ends[place], end[row]) - fragment_begin,
    )


class WholeRows:
    """Conversations and pairs: packed, never cut; what is longer than a row is left out and counted."""

    def __init__(self, units: np.ndarray, lengths: np.ndarray, sequence_length: int, unit_size: int):
        """Pack documents.

        Args:
            units: [U] numbers of conversations or pairs, in the order of the epoch.
            lengths: tokens of every document of the source.
            sequence_length: T.
            unit_size: documents that must share a row: 1 for conversations, 2 for pairs.
        """
        unit_lengths = lengths.reshape(-1, unit_size).sum(axis=1)[units]
        fits = unit_lengths <= sequence_length
        units, unit_lengths = units[fits], unit_lengths[fits]
        self.dropped = int((~fits).sum()) * unit_size
        row_of_unit = pack(unit_lengths, sequence_length)
        by_row = np.argsort(row_of_unit, kind="stable")
        self.documents = (units[by_row, None] * unit_size + np.arange(unit_size)).reshape(-1)
        self.lengths = lengths[self.documents]
        per_row = np.bincount(row_of_unit).astype(np.int64) * unit_size
        self.row_starts = np.concatenate([[0], np.cumsum(per_row)])
        self.num_rows, self.num_tokens = len(per_row), int(self.lengths.sum())
        ends = np.cumsum(self.lengths)
        row_begins = np.concatenate([[0], ends])[self.row_starts[:-1]]
        self.columns = ends - self.lengths - np.repeat(row_begins, per_row)

    def fragments(self, numbers: np.ndarray) -> Fragments:
        """See `Rows`."""
        counts = self.row_starts[numbers + 1] - self.row_starts[numbers]
        row = np.repeat(np.arange(len(numbers)), counts)
        place = self.row_starts[numbers][row] + counting(counts)
        zeros = np.zeros_like(row)
        return Fragments(
            row=row,
            column=self.columns[place],
            source=zeros,
            epoch=zeros,
            document=self.documents[place],
            first=zeros,
            length=self.lengths[place],
        )


def lay_out(
    source: TokenSource, sequence_length: int, key: str, limit: int | None = None, longest: int | None = None
) -> Rows:
    """The rows of one epoch of a source.

    Args:
        source: the source.
        sequence_length: T.
        key: of the permutation that gives the order of documents.
        limit: take documents only until there are so many tokens.
        longest: of text, cut documents to so many tokens.
    """
    unit_size = documents_a_unit(source)
    lengths = source.lengths if longest is None or source.form != "text" else np.minimum(source.lengths, longest)
    units = permutation(source.num_documents // unit_size, key)
    if limit is not None:
        sizes = lengths.reshape(-1, unit_size).sum(axis=1)[units]
        units = units[: 1 + int(np.searchsorted(np.cumsum(sizes), limit))]
    if source.form == "text":
        return CutRows(units, lengths, sequence_length)
    return WholeRows(units, lengths, sequence_length, unit_size)


def documents_a_unit(source: TokenSource) -> int:
    """How many documents must share a row: the two of a pair."""
    return 2 if source.form == "pairs" else 1


def too_long(source: TokenSource, sequence_length: int) -> int:
    """How many documents of a source are left out, as they or their pairs don't fit into a row; text is cut."""
    if source.form == "text":
        return 0
    size = documents_a_unit(source)
    return size * int((source.lengths.reshape(-1, size).sum(axis=1) > sequence_length).sum())


def left_out(dropped: Mapping[str, int], documents: Mapping[str, int], kind: str = "documents") -> list[str]:
    """What to say of the documents that are too long for a row.

    Args:
        dropped: how many, by source.
        documents: how many there are, by source.
        kind: what they are called.
    """
    return [
        f"{number:,} of {documents[name]:,} {kind} of {name} are longer than a sequence and left out"
        for name, number in dropped.items()
        if number
    ]


def counting(counts: np.ndarray) -> np.ndarray:
    """0, 1, … counts[0]-1, 0, 1, … counts[1]-1, and so on."""
    ends = np.cumsum(counts)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts)


def pack(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """The row of each unit, int64 [U]: by the packing that takes fewer rows of the two below.

    Rows filled one by one reach the least number where units are much shorter than rows, best fit where two or three fill one
    (`benchmarks/packing.py`).

    Args:
        lengths: int64 [U], none above the capacity.
        capacity: tokens of a row.
    """
    found = [_best_fit(lengths, capacity), _filled(lengths, capacity)]
    return min(found, key=lambda rows: int(rows.max(initial=-1)))


def _filled(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """Rows filled one by one: the longest unit that is left, and those beside it whose sum comes nearest to what is free."""
    order = np.argsort(lengths, kind="stable")
    sizes, starts = np.unique(lengths[order], return_index=True)
    units = [part.tolist() for part in np.split(order, starts[1:])] if len(order) else []
    left = dict(zip(sizes.tolist(), units, strict=True))
    distinct = sizes.tolist()  # lengths of which there are units, ascending
    row_of_unit = np.empty(len(lengths), dtype=np.int64)
    num_rows = 0

    def place(length: int) -> int:
        row_of_unit[left[length].pop()] = num_rows
        if not left[length]:
            del distinct[bisect_left(distinct, length)]
        return length

    while distinct:
        free = capacity - place(distinct[-1])
        for length in _best_sum(distinct, left, free):
            free -= place(length)
        # Only some lengths were tried: what still fits comes in, the longest first.
        while distinct and distinct[0] <= free:
            free -= place(distinct[bisect_right(distinct, free) - 1])
        num_rows += 1
    return row_of_unit


def _best_sum(distinct: list[int], left: dict[int, list[int]], free: int) -> list[int]:
    """Lengths whose sum comes nearest to what is free, the longer ones first where there is a choice.

    Args:
        distinct: lengths to choose from, ascending.
        left: the units of each.
        free: tokens.
    """
    fitting = distinct[: bisect_right(distinct, free)]
    step = -(-len(fitting) // TRIED) or 1
    tried = [length for length in fitting[::-1][::step] for _ in range(min(len(left[length]), TIMES, free // length))]
    # Bit s of `reached`: some of the lengths so far have the sum s. All sums together, in one shift a length.
    reached, before, room = 1, [], (1 << (free + 1)) - 1
    for length in tried:
        before.append(reached)
        reached |= (reached << length) & room
        if reached >> free:
            break
    chosen, rest = [], reached.bit_length() - 1
    for length, earlier in zip(reversed(tried[: len(before)]), reversed(before)):
        if not earlier >> rest & 1:  # no sum without it
            chosen.append(length)
            rest -= length
    return chosen


def _best_fit(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """Best-fit decreasing bin packing: the row of each unit, int64 [U]."""
    rows_with_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms: list[int] = []  # the distinct rooms left in rows, ascending
    row_of_unit = np.empty(len(lengths), dtype=np.int64)
    num_rows = 0
    order = np.argsort(-lengths, kind="stable")
    for unit, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        place = bisect_left(rooms, length)
        if place == len(rooms):
            row, room = num_rows, capacity
            num_rows += 1
        else:
            room = rooms[place]
            row = rows_with_room[room].pop()
            if not rows_with_room[room]:
                del rooms[place]
        row_of_unit[unit] = row
        left = room - length
        if left:
            if not rows_with_room[left]:
                insort(rooms, left)
            rows_with_room[left].append(row)
    return row_of_unit


def assemble(fragments: Fragments, sources: Sequence[TokenSource], shape: tuple[int, int]) -> Batch:
    """Read the tokens of fragments into a batch.

    Args:
        fragments: in row order.
        sources: what `fragments.source` points into.
        shape: B and T.
    """
    size, special = shape[0] * shape[1], sources[0].special
    # Padding is masked everywhere; a base model's tokenizer may have no token for it.
    tokens = np.full(size, special.get("pad", special["eos"]), dtype=np.int64)
    targets = np.full(size, IGNORED, dtype=np.int64)
    positions = np.zeros(size, dtype=np.int64)
    documents = np.full(size, -1, dtype=np.int32)
    reference = None if sources[0].reference is None else np.zeros(size, dtype=np.float32)
    sources_B = np.zeros(shape[0], dtype=np.int32)
    sources_B[fragments.row] = fragments.source

    # One entry a token: its fragment's number, its place in that fragment, and its place in the flat batch.
    number = np.repeat(np.arange(len(fragments.row)), fragments.length)
    position = counting(fragments.length)
    place = (fragments.row * shape[1] + fragments.column)[number] + position
    positions[place], documents[place] = position, number
    for index in np.unique(fragments.source).tolist():
        source = sources[index]
        if len(sources) == 1:
            mine, here = number, place
        else:
            chosen = fragments.source[number] == index
            mine, here = number[chosen], place[chosen]
        document = fragments.document[mine]
        at = source.offsets[document] + fragments.first[mine] + positions[here]
        # A document's last token predicts nothing: what follows it belongs to another document.
        is_last = at + 1 == source.offsets[document + 1]
        tokens[here] = source.tokens[at]
        at_next = np.where(is_last, at, at + 1)
        predicted = ~is_last if source.targets is None else ~is_last & (source.targets[at_next] == 1)
        targets[here[predicted]] = source.tokens[at_next[predicted]]
        if reference is not None and source.reference is not None:
            reference[here[predicted]] = source.reference[at_next[predicted]]
    return Batch(
        tokens_BT=tokens.reshape(shape),
        targets_BT=targets.reshape(shape),
        positions_BT=positions.reshape(shape),
        documents_BT=documents.reshape(shape),
        sources_B=sources_B,
        packing_efficiency=float(fragments.length.sum() / size),
        reference_BT=None if reference is None else reference.reshape(shape),
    )


def heldout_batches(source: TokenSource, max_tokens: int, sequence_length: int, batch_size: int) -> Iterator[Batch]:
    """Batches of a held-out source for evaluation, always the same ones.

    Documents are taken, in a fixed mixed order, until there are `max_tokens`; text is then cut into rows as in
    training. `bytes` of a batch counts the documents that begin in it, so the sum over all batches is exact:
    bits per byte = (sum of losses in nats) / ln 2 / (sum of bytes). A text's EOS is among the losses and has no
    bytes. A document that would take more than a tenth of the tokens (and more than a row) is cut: its bytes are then
    counted by the share of its tokens that is left.
    The last batch may have fewer rows. Conversations longer than a row are left out, of both sums.
    """
    longest = _longest(max_tokens, sequence_length)
    for fragments, num_rows in heldout_fragments(source, max_tokens, sequence_length, batch_size):
        begins = fragments.document[fragments.first == 0]
        batch = assemble(fragments, [source], (num_rows, sequence_length))
        left = np.minimum(1.0, longest / source.lengths[begins]) if source.form == "text" else 1.0
        yield replace(batch, bytes=round(float((source.bytes[begins] * left).sum())))


def heldout_fragments(
    source: TokenSource, max_tokens: int, sequence_length: int, batch_size: int
) -> Iterator[tuple[Fragments, int]]:
    """What lies in each batch of `heldout_batches`, and how many rows that has."""
    longest = _longest(max_tokens, sequence_length)
    rows = lay_out(source, sequence_length, f"heldout/{source.name}", limit=max_tokens, longest=longest)
    for start in range(0, rows.num_rows, batch_size):
        numbers = np.arange(start, min(start + batch_size, rows.num_rows))
        yield rows.fragments(numbers), len(numbers)


def _longest(max_tokens: int, sequence_length: int) -> int:
    return max(sequence_length, max_tokens // FEWEST_DOCUMENTS)
