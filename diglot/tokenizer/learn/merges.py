"""Learn byte-pair encoding: from scratch, or from where a tokenizer stands, merges that come after all it has.

Words are given as the ids that the tokenizer makes of them today (characters or bytes, from scratch). Each step joins
the most frequent pair of neighbours everywhere and gives the new piece the next id. Ties go to the pair with the
smallest ids, so the result depends on the counts alone, not on the order of the words.

    words {"▁كتاب": ▁ ك ت ا ب}  ──►  (▁,ك) (ت,ا) (تا,ب) …  ──►  "▁كتاب" in one piece

**Pairs or pieces.** In tokenizers of the `tokenizers` library, one pair of pieces makes a piece; another pair that
spells the same text stays two. Those of SentencePiece and tiktoken join every two neighbours that spell a piece
(`every_split`). Then what is counted and learnt is the text: all its splits together. When a join puts two symbols side
by side that spell a piece, they are joined at once, the oldest piece first, and so on; that is what an encoder does
which ranks pairs by their piece. Both kinds are exact: with the merges learnt so far, an encoder cuts every word
as it stands here. Ties go to the text that sorts first.

**Base script.** A piece made of the base language's own characters can also apply in its text. Such merges are
refused altogether, or, where the languages share an alphabet, when they are not of letters (code, formulas and markup
are full of what no sample holds), or would apply often: words of the base language take part with a count of their own
(`seconds`), and the candidate is refused when its rate there is more than `tolerance` times its rate in the new
languages.

**Parity** (Foroutan et al. 2025, arXiv 2508.04796, algorithm 1): each merge goes to the language whose parallel text
(`seconds`) takes most tokens, and is that language's most frequent pair.

**Memory**, beside the words as given: 22 bytes a symbol and a word (of two symbols and more), and 80 bytes a candidate:
a pair that occurs twice (with every split, that occurs; with parity, once for each group). Candidates that became rare
are dropped when room is short. 64,000 merges from 15.5 million symbols (1.6 million words: 108 MB of text in 18 languages, 9,144
characters) took 6 CPU seconds on a busy core and 450 MB, 256,000 from 17.3 million 9 seconds and 620 MB.

The plain twin of the kernels is `by_definition` in tests/tokenizer/test_merges.py: it counts all pairs anew for each
merge, and learns the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diglot.text.scripts import is_letter
from diglot.tokenizer.learn import candidate_kernels, merge_kernels, place_kernels
from diglot.tokenizer.learn.candidate_kernels import MINIMUM_COUNT, NO_FLOOR, Candidates, Queue
from diglot.tokenizer.learn.merge_kernels import Result, Rules, Step
from diglot.tokenizer.learn.piece_kernels import BASE, LETTER, NONE, SHAPE, Pieces, add_pieces
from diglot.tokenizer.learn.place_kernels import UNKNOWN

__all__ = ["MINIMUM_COUNT", "Learnt", "Words", "continue_merges"]

PROGRESS = 1000  # merges
CODE_POINTS = 0x110000
MOST_PIECES, MOST_GROUPS = 1 << 23, 1 << 16  # a pair and its group are one number of 63 bits
SPARE = 1.5  # room that an array gets beyond what is needed, so that it is short rarely


class Words(NamedTuple):
    """The words of a sample; a word of two languages stands there twice.

    Attributes:
        symbols: int32, the ids of all words, one word after another.
        offsets: int64 [words + 1], where each begins.
        counts: int64 [words], what pairs are counted by; 0: the word takes part only in what `seconds` measures.
        seconds: int64 [words]: extension: count in the base language's text; parity: in the parallel text; else 0.
        groups: int32 [words], the word's language.
    """

    symbols: NDArray[np.int32]
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    seconds: NDArray[np.int64]
    groups: NDArray[np.int32]


class Learnt(NamedTuple):
    """New pieces.

    Attributes:
        merges: int32 [merges, 2], ids of left and right; merge m makes the id len(pieces) + m. With every split, it is
            the most frequent one.
        pieces: the new pieces' bytes.
        tokens: int64 [merges + 1, groups], tokens that the words of each group are cut into (weighted by counts),
            before and after each merge.
    """

    merges: NDArray[np.int32]
    pieces: list[bytes]
    tokens: NDArray[np.int64]


def continue_merges(
    words: Words,
    pieces: list[bytes],
    *,
    number: int,
    max_characters: int,
    fixed: Collection[int],
    base_script: NDArray[np.bool_] | None,
    tolerance: float | None,
    every_split: bool,
    parity: bool,
    progress: Callable[[int], None] = lambda done: None,
) -> Learnt:
    """Learn up to `number` merges.

    Args:
        words: all words of the sample.
        pieces: the bytes of the text that each id stands for.
        number: how many merges to learn; fewer come back when nothing is left that occurs twice.
        max_characters: in a piece at most; an incomplete one at an end counts.
        fixed: ids that never merge: special tokens, and the bytes of byte fallback.
        base_script: [code points], the base language's own characters; None: nothing is refused. An incomplete
            character is of it if one of these begins so; what does not even say how one begins is.
        tolerance: a piece of only these, letters and spaces, is learnt if its rate in the base language is at most this
            multiple of its rate in the new languages; None learns no such piece.
        every_split: learn pieces that every split makes, not pairs.
        parity: each merge goes to the group that needs most tokens for its `seconds`.
        progress: told the number of merges every thousand.

    Raises:
        ValueError: a symbol is no id of `pieces`; there are more than MOST_PIECES or MOST_GROUPS; parity is asked for
            together with a tolerance, though `seconds` cannot count both texts.
    """
    if parity and base_script is not None and tolerance is not None:
        raise ValueError("seconds are either of the base language's text (tolerance) or of the parallel text (parity)")
    if len(words.symbols) and not 0 <= words.symbols.min() <= words.symbols.max() < len(pieces):
        raise ValueError(f"symbols {words.symbols.min()} to {words.symbols.max()} for {len(pieces)} pieces")
    if len(pieces) > MOST_PIECES or _number_of_groups(words) > MOST_GROUPS:
        raise ValueError(f"{len(pieces)} pieces and {_number_of_groups(words)} groups are more than fit a key")
    rules = Rules(
        max_characters=max_characters,
        every_split=every_split,
        parity=parity,
        base_script=_base_script_table(base_script),
        tolerance=-1.0 if tolerance is None else float(tolerance),
        total=float(max(words.counts.sum(), 1)),
        total_seconds=float(max(words.seconds.sum(), 1)),
    )
    learner = _Learner(words, pieces, number, frozenset(fixed), rules)
    while learner.learn(PROGRESS):
        progress(learner.done)
    return learner.learnt(len(pieces))


def _number_of_groups(words: Words) -> int:
    return int(words.groups.max()) + 1 if len(words.groups) else 0


def _base_script_table(base_script: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """See `Rules.base_script`."""
    if base_script is None:
        return np.zeros(0, np.uint8)
    table = np.zeros(CODE_POINTS, np.uint8)
    (codes,) = np.nonzero(base_script)
    letters = np.array([is_letter(chr(code)) for code in codes.tolist()], bool)
    for flag, chosen in ((BASE, codes), (LETTER, codes[letters])):
        for missing, first in enumerate((0, 0x80, 0x800, 0x10000)):  # of those with so many more bytes
            table[chosen[chosen >= first] >> 6 * missing] |= flag << missing
    return table


class _Learner:
    """The arrays of the kernels, which are enlarged as needed."""

    def __init__(self, words: Words, pieces: list[bytes], number: int, fixed: frozenset[int], rules: Rules):
        self.rules = rules
        groups = _number_of_groups(words)
        lengths = np.diff(words.offsets)
        long = lengths[lengths > 1]
        size = 1 + int(long.sum()) + len(long)
        self.number = number = max(min(number, size), 0)  # each merge takes a symbol at least
        self.state, self.needed = np.zeros(1, merge_kernels.STATE), np.zeros(1, merge_kernels.NEEDED)
        self.pieces = _enter_pieces(pieces, number, fixed)
        self.state["pieces"] = len(pieces)
        self.state["longest"] = add_pieces(self.pieces, 0, len(pieces))
        self.result = Result(
            np.empty((number, 2), np.int32),
            np.zeros((number + 1, groups), np.int64),
            np.zeros(max(groups, 1), np.int64),
        )
        self.places, weights = np.empty(size, place_kernels.PLACE), np.empty(len(long), place_kernels.WEIGHT)
        table = np.full(_power_of_two(2 * len(long)), NONE, np.int32)
        rows = place_kernels.lay_out(*words, self.places, weights, table, self.result.tokens[0], self.result.costs)
        self.weights = weights[:rows].copy()
        del weights, table
        self._make_candidates(max(groups, 1) if rules.parity else 1, len(pieces) + number)

    def _make_candidates(self, groups: int, number_of_pieces: int) -> None:
        """Count the pairs of the words as they stand."""
        self.candidates = Candidates(
            totals=np.empty(0, candidate_kernels.TOTAL),
            links=np.empty(0, candidate_kernels.LINK),
            table=np.full(1, NONE, np.int32),
            stretches=np.empty(0, candidate_kernels.STRETCH),
            pool=np.empty(0, np.int32),
        )
        self.queue = Queue(
            np.empty((groups, 0), np.int64),
            np.empty((groups, 0), np.int32),
            np.zeros(groups, np.int64),
            np.full(groups, NO_FLOOR),
        )
        self.step = Step(
            events=np.empty(0, merge_kernels.EVENT),
            touched=np.empty(0, np.int32),
            places=np.empty(0, np.int32),
            neighbours=np.full(2 * number_of_pieces * groups, UNKNOWN, np.int32),
            asked=np.empty(2 * number_of_pieces * groups, np.int32),
        )
        # A guess; the loop below makes room wherever it was too small, and nothing is counted twice.
        self._enlarge(len(self.places) // 8 + 1, 0)
        keys, values = _table_of_pairs(1 << 16)
        first = used = 0
        while first < len(self.places):
            first, used = place_kernels.count_pairs(
                first, used, keys, values, self.places, self.weights, self.pieces,
                self.candidates, self.state, groups, self.rules,
            )  # fmt: skip
            if self.state["candidates"][0] == len(self.candidates.links):
                self._enlarge(len(self.candidates.links) + 1, 0)
            if 2 * used >= len(keys):
                keys, values = place_kernels.move_pairs(keys, values, *_table_of_pairs(2 * len(keys)))
        del keys, values
        # Only now is it known how many there are, and so how much room their places take.
        number = int(self.state["candidates"][0])
        self._enlarge(number, len(self.places))
        place_kernels.store_pairs(self.places, self.candidates, self.state, self.rules.every_split)

    @property
    def done(self) -> int:
        """Merges learnt so far."""
        return int(self.state["merges"][0])

    def learn(self, slice_: int) -> bool:
        """Learn so many merges more; returns whether there may be others."""
        until = min(self.done + slice_, self.number)
        while self.done < until:
            ended = merge_kernels.learn(
                until, self.places, self.weights, self.pieces, self.candidates, self.queue,
                self.step, self.state, self.needed, self.rules, self.result,
            )  # fmt: skip
            if ended == merge_kernels.FINISHED:
                return False
            if ended == merge_kernels.ROOM:
                self._make_room()
        return self.done < self.number

    def _make_room(self) -> None:
        """Make the room that the kernel says it needs."""
        needed, candidates = self.needed[0], self.candidates
        events, content = int(needed["events"]), int(needed["content"])
        if events > len(self.step.events):
            self.step = self.step._replace(
                events=np.empty(events, merge_kernels.EVENT),
                touched=np.empty(events, np.int32),
                places=np.empty(events, np.int32),
            )
        if content > len(self.pieces.content):
            self.pieces = self.pieces._replace(content=_resize(self.pieces.content, int(content * SPARE)))
        if (
            needed["candidates"] > len(candidates.links)
            or needed["stretches"] > len(candidates.stretches)
            or needed["pool"] > len(candidates.pool)
            or needed["queue"] > self.queue.counts.shape[1]
        ):
            self._compact()

    def _compact(self) -> None:
        """Drop what is of no use any more, and enlarge what is still small for what the kernel needs."""
        before, needed = self.state[0].copy(), self.needed[0]
        candidate_kernels.compact(self.places, self.candidates, self.queue, self.state, self.rules.every_split)
        now = self.state[0]
        made = needed["candidates"] - (before["candidates"] - before["unused"])
        kept = max(now["candidates"] - now["unused"], now["stretches"])
        self._enlarge(int(kept + made), int(needed["pool"] - before["pool"] + now["pool"]))

    def _enlarge(self, number: int, pool: int) -> None:
        """Make room for so many candidates and places in the pool, all in all."""
        candidates, every_split = self.candidates, self.rules.every_split
        size = _enlarged(len(candidates.links), number)
        self.candidates = candidates._replace(
            totals=_resize(candidates.totals, size),
            links=_resize(candidates.links, size),
            table=np.full(_power_of_two(2 * size) if every_split else 1, NONE, np.int32),
            stretches=_resize(candidates.stretches, size),
            pool=_resize(candidates.pool, _enlarged(len(candidates.pool), pool)),
        )
        if every_split:
            candidate_kernels.fill_table(self.candidates, self.pieces, self.state)
        groups, width = self.queue.counts.shape
        if width < 2 * size:  # it is empty whenever there is not enough room
            self.queue = self.queue._replace(
                counts=np.empty((groups, 2 * size), np.int64), candidates=np.empty((groups, 2 * size), np.int32)
            )

    def learnt(self, first: int) -> Learnt:
        """The new pieces, which begin at an id."""
        done, offsets = self.done, self.pieces.offsets
        content = self.pieces.content[: offsets[first + done]].tobytes()
        ids = range(first, first + done)
        return Learnt(
            self.result.merges[:done].copy(),
            [content[offsets[id_] : offsets[id_ + 1]] for id_ in ids],
            self.result.tokens[: done + 1].copy(),
        )


def _table_of_pairs(size: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    return np.empty(size, np.int64), np.full(size, UNKNOWN, np.int32)


def _enter_pieces(pieces: list[bytes], number: int, fixed: frozenset[int]) -> Pieces:
    """The pieces, with room for so many more; `add_pieces` does the rest."""
    room = len(pieces) + number
    offsets = np.zeros(room + 1, np.int64)
    np.cumsum([len(piece) for piece in pieces], out=offsets[1 : len(pieces) + 1])
    shapes = np.zeros(room, SHAPE)
    shapes["fixed"][sorted(fixed)] = True
    return Pieces(
        content=np.frombuffer(b"".join(pieces), np.uint8).copy(),
        offsets=offsets,
        hashes=np.zeros((room, 2), np.uint64),
        shapes=shapes,
        table=np.full(_power_of_two(2 * room), NONE, np.int32),
    )


def _power_of_two(least: int) -> int:
    return 1 << max(int(least) - 1, 1).bit_length()


def _enlarged(size: int, needed: int) -> int:
    """The new size of an array: the same if a fifth of it is free."""
    return size if 4 * size >= 5 * needed else int(needed * SPARE) + 16


def _resize(array: np.ndarray, rows: int) -> np.ndarray:
    """An array with so many rows, the first of them as they were."""
    if rows == len(array):
        return array
    larger = np.empty((rows, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger
