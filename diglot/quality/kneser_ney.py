"""Training of n-gram models: interpolated modified Kneser–Ney smoothing, in bounded memory.

The estimates are those of KenLM's `lmplz` (Heafield et al. 2013): the closed-form discounts of Chen and Goodman
(1998, equation 26), `<s>` only as context, `<unk>` as a word that was never seen, unigrams interpolated with the
uniform distribution over the vocabulary, and pruning whose mass goes to the back-off weight. Where a text is too
small or too odd for the discounts' formula they fall back to 0.5, 1 and 1.5 (`lmplz --discount_fallback`).

How it is done in bounded memory, order by order:

1. `numbering`: the normalized text becomes a file of word numbers, the most frequent first.
2. `count_order`: an n-gram is a pair (its first n-1 words as one number, its last word), 64 bits in all. Blocks of
   positions are sorted, written to disk as sorted runs of distinct n-grams, and merged range by range. A position's
   n-gram is then known by one number again, for the next order; and the number it had before is its suffix.
3. `adjust`, `estimate`: passes over an order's n-grams, which lie sorted by context.
4. `assemble`: the trie of `trie.py`.

What must be reached at random (the counts and probabilities of one order) are files mapped into memory: the system
may drop their pages. All results are the same whatever the memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from diglot.base.errors import UserError
from diglot.quality.normalization import Normalization
from diglot.quality.numbering import Progress, read_corpus
from diglot.quality.trie import BEGIN, END, NONE, UNKNOWN, write_about
from diglot.text.unicode import kernel

FALLBACK = (0.0, 0.5, 1.0, 1.5)
_POSITION_BYTES = 100  # memory that a position of a block takes while it is sorted; measured
_WORD_BITS = np.uint64(32)


@dataclass
class Order:
    """The n-grams of one order, sorted by (prefix, last word): files mapped into memory.

    Attributes:
        prefixes: uint32, the number of the first n-1 words among the n-grams of the order below; empty for unigrams.
        words: uint32, the last word.
        counts: uint32, how often they occur.
        suffixes: uint32, the number of the last n-1 words among those of the order below.
        begins: those below this number begin with `<s>` (number 1 has no words before it, and 0 is never followed).
        adjusted: uint32, Kneser–Ney's counts: how many different words stand before; `counts` where none can.
        kept: uint32, the number after pruning, or NONE.
        probabilities, backoffs: float64.
    """

    prefixes: np.ndarray
    words: np.ndarray
    counts: np.ndarray
    suffixes: np.ndarray
    begins: int = field(default=0, kw_only=True)
    adjusted: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))
    kept: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))
    number_kept: int = field(default=0, kw_only=True)
    discounts: list[float] = field(default_factory=list, kw_only=True)
    probabilities: np.ndarray = field(default_factory=lambda: np.zeros(0))
    backoffs: np.ndarray = field(default_factory=lambda: np.zeros(0))


def train(
    batches: Iterable[pa.Array], folder: Path, scratch: Path, *, order: int, normalization: Normalization, prune: int = 0,
    memory: int = 2_000_000_000, progress: Progress = lambda done, total, unit, note: None,
) -> dict[str, Any]:  # fmt: skip
    """Train a model and write it into a folder, as `trie.py` describes.

    Args:
        batches: texts, `large_string` arrays without nulls.
        folder: where the model is written; it must exist.
        scratch: an empty folder for temporary files, about 30 bytes a token and 40 an n-gram; it is emptied again.
        order: the longest n-grams.
        normalization: how texts become tokens.
        prune: n-grams above bigrams that occur at most this often are left out.
        memory: bytes to sort in; the vocabulary (about 200 bytes a word while it is read) comes on top.
        progress: told how far it is.

    Returns:
        `tokens`, `sentences`, `ngrams` (of each order), `discounts`.

    Raises:
        UserError: there is no token in the texts.
    """
    vocabulary, word_counts, tokens = read_corpus(batches, normalization, scratch, progress)
    sentences = int(word_counts[END])
    if not sentences:
        raise UserError("there is no word in the texts to train an n-gram model on")
    numbers = np.arange(len(vocabulary), dtype=np.uint32)
    orders = [Order(np.zeros(0, np.uint32), numbers, word_counts, np.full(len(numbers), NONE, np.uint32))]
    # nodes: at each position the number of the n-gram that ends there, of the order counted last.
    nodes = _copy(tokens, scratch / "nodes")
    block = max(memory // _POSITION_BYTES, 1000)
    for length in range(2, order + 1):
        progress(length, order, "orders", "counting")
        orders.append(count_order(tokens, nodes, length, block, scratch, last=length == order))
    # Adjusted counts look one order up, probabilities one order down: so two passes.
    for length, (this, above) in enumerate(zip(orders, [*orders[1:], None]), 1):
        adjust(this, above, orders[length - 2] if length > 1 else None, scratch, length, prune)
    for length in range(1, order + 1):
        progress(length, order, "orders", "estimating")
        estimate(orders, length, len(vocabulary), scratch)
    counts = [this.number_kept for this in orders]
    about = {
        "tokens": len(tokens) - 2 * sentences, "sentences": sentences, "prune": prune,
        "discounts": [[round(d, 9) for d in this.discounts[1:]] for this in orders],
    }  # fmt: skip
    assemble(orders, folder)
    write_about(folder, counts, normalization, vocabulary, **about)
    del orders, tokens, nodes  # they are mapped: the files could not go
    shutil.rmtree(scratch)
    scratch.mkdir()
    return {"ngrams": counts, **about}


# --- counting ----------------------------------------------------------------------------------------------


def count_order(tokens: np.ndarray, nodes: np.ndarray, length: int, block: int, scratch: Path, *, last: bool) -> Order:
    """Count the n-grams of a length.

    Args:
        tokens: uint32 [positions], word numbers.
        nodes: uint32 [positions], the number of the (n-1)-gram that ends there, or NONE; becomes that of the n-gram.
        length: n.
        block: positions to sort at a time.
        scratch: where files go.
        last: whether it is the highest order, so that `nodes` is no longer needed.
    """
    starts = list(range(0, len(tokens), block))
    before = NONE
    for run, begin in enumerate(starts):
        piece = slice(begin, begin + block)
        here = np.array(nodes[piece])
        # An n-gram is the (n-1)-gram that ended one position before, and the word here.
        previous = np.concatenate([[before], here[:-1]]).astype(np.uint32)
        before = here[-1]
        ranks = _sort_block(tokens[piece], previous, here, scratch / f"run-{run}")
        nodes[piece] = ranks
    files = [scratch / f"run-{run}" for run in range(len(starts))]
    order = _merge(files, block, scratch / f"order-{length}")
    # Ranks within a run become numbers within the order, now that all runs are merged.
    for run, begin in enumerate(starts):
        if not last:
            own = np.load(files[run] / "keys.npy", mmap_mode="r")
            numbers = _places(own, order)
            piece = slice(begin, begin + block)
            _translate(nodes[piece], numbers)
        shutil.rmtree(files[run])
    return order


def _sort_block(tokens: np.ndarray, previous: np.ndarray, here: np.ndarray, folder: Path) -> np.ndarray:
    """Write the distinct n-grams of a block as a sorted run; returns the rank in it of each position's n-gram."""
    folder.mkdir()
    places = np.flatnonzero((tokens != BEGIN) & (previous != NONE))
    keys = (previous[places].astype(np.uint64) << _WORD_BITS) | tokens[places]
    order = np.argsort(keys)
    keys = keys[order]
    new = np.empty(len(keys), bool)
    new[:1] = True
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    firsts = np.flatnonzero(new)
    np.save(folder / "keys.npy", keys[firsts])
    np.save(folder / "counts.npy", np.diff(np.append(firsts, len(keys))).astype(np.uint32))
    np.save(folder / "suffixes.npy", here[places[order[firsts]]])
    ranks = np.full(len(tokens), NONE, np.uint32)
    ranks[places[order]] = np.cumsum(new, dtype=np.uint32) - np.uint32(1)
    return ranks


def _merge(runs: list[Path], block: int, folder: Path) -> Order:
    """Merge sorted runs into one order's files, one range of keys at a time."""
    folder.mkdir()
    parts = [[np.load(run / f"{name}.npy", mmap_mode="r") for name in ("keys", "counts", "suffixes")] for run in runs]
    bounds = _ranges([part[0] for part in parts], block)
    with (
        (folder / "prefixes").open("wb") as prefixes, (folder / "words").open("wb") as words,
        (folder / "counts").open("wb") as counts, (folder / "suffixes").open("wb") as suffixes,
    ):  # fmt: skip
        for cut in bounds:
            slices = [[np.asarray(column[low:high]) for column in part] for part, (low, high) in zip(parts, cut)]
            keys, number, suffix = (np.concatenate(columns) for columns in zip(*slices))
            if len(runs) > 1:
                order = np.argsort(keys, kind="stable")
                keys, number, suffix = keys[order], number[order], suffix[order]
                firsts = np.flatnonzero(np.append([True], keys[1:] != keys[:-1]))
                number = np.add.reduceat(number, firsts).astype(np.uint32)
                keys, suffix = keys[firsts], suffix[firsts]
            (keys >> _WORD_BITS).astype(np.uint32).tofile(prefixes)
            (keys & np.uint64(0xFFFFFFFF)).astype(np.uint32).tofile(words)
            number.tofile(counts)
            suffix.tofile(suffixes)
    return Order(*[_open(folder / name) for name in ("prefixes", "words", "counts", "suffixes")])


def _ranges(columns: list[np.ndarray], block: int) -> list[list[tuple[int, int]]]:
    """Cut sorted columns of keys at common keys, so that about `block` keys lie in each range."""
    total = sum(map(len, columns))
    pieces = max(-(-total // block), 1)
    step = max(block // 64, 1)
    sample = np.sort(np.concatenate([column[::step] for column in columns]))
    splitters = sample[np.linspace(0, len(sample), pieces + 1).astype(int)[1:-1]]
    edges = [np.concatenate([[0], np.searchsorted(c, splitters), [len(c)]]) for c in columns]
    cuts = [[(int(edge[piece]), int(edge[piece + 1])) for edge in edges] for piece in range(pieces)]
    return [cut for cut in cuts if any(high > low for low, high in cut)]


def _places(keys: np.ndarray, order: Order) -> np.ndarray:
    """Where the sorted keys of a run stand among the n-grams of an order (uint32)."""
    places = np.empty(len(keys), np.uint32)
    _join(keys, order.prefixes, order.words, places)
    return places


@kernel
def _join(keys, prefixes, words, places):
    """Find sorted keys (uint64 [run]) among an order's prefixes and words (uint32 [n-grams]); places uint32 [run], written."""
    at = 0
    for row in range(len(keys)):
        prefix, word = np.uint32(keys[row] >> _WORD_BITS), np.uint32(keys[row] & np.uint64(0xFFFFFFFF))
        while prefixes[at] != prefix or words[at] != word:
            at += 1
        places[row] = at


@kernel
def _translate(nodes, numbers):
    """Replace numbers of a run by those of the order, in place; nodes uint32 [positions], numbers uint32 [run]."""
    for at in range(len(nodes)):
        if nodes[at] != NONE:
            nodes[at] = numbers[nodes[at]]


# --- smoothing ---------------------------------------------------------------------------------------------


def adjust(this: Order, above: Order | None, below: Order | None, scratch: Path, length: int, prune: int) -> None:
    """Compute an order's adjusted counts, its discounts, and which of its n-grams are kept."""
    this.adjusted = this.counts
    if below is None:
        this.begins = 0
    elif length == 2:
        this.begins = int(np.searchsorted(this.prefixes, BEGIN, "right"))
    else:
        this.begins = int(np.searchsorted(this.prefixes, below.begins))
    if above is not None:
        this.adjusted = _new(scratch / f"adjusted-{length}", np.uint32, len(this.words))
        _continuations(above.suffixes, this.adjusted)
        this.adjusted[: this.begins] = this.counts[: this.begins]
    if length == 1:
        this.adjusted[UNKNOWN] = this.adjusted[BEGIN] = 0
    tally = np.zeros(5, np.int64)
    _tally(this.adjusted, tally)
    this.discounts = _discounts(tally.tolist())
    this.kept = _new(scratch / f"kept-{length}", np.uint32, len(this.words))
    this.number_kept = int(_keep(this.counts, prune if length > 2 else -1, this.kept))


def _discounts(tally: list[int]) -> list[float]:
    """Discounts for adjusted counts of 0, 1, 2, and 3 or more (Chen and Goodman 1998, equation 26)."""
    if min(tally[1:4]) == 0:
        return list(FALLBACK)
    share = tally[1] / (tally[1] + 2 * tally[2])
    found = [0.0] + [n - (n + 1) * share * tally[n + 1] / tally[n] for n in (1, 2, 3)]
    return found if all(0 <= found[n] <= n for n in (1, 2, 3)) else list(FALLBACK)


@kernel
def _continuations(suffixes, adjusted):
    """Count the different words before n-grams; suffixes uint32 [above], adjusted uint32 [n-grams], added to."""
    for node in range(len(suffixes)):
        adjusted[suffixes[node]] += np.uint32(1)


@kernel
def _tally(adjusted, tally):
    """How many n-grams have the counts 0 to 4; adjusted uint32 [n-grams], tally int64 [5], added to."""
    for node in range(len(adjusted)):
        if adjusted[node] < 5:
            tally[adjusted[node]] += 1


@kernel
def _keep(counts, prune, kept):
    """Number the n-grams that occur more often than prune; counts, kept uint32 [n-grams]. Returns how many those are."""
    number = 0
    for node in range(len(counts)):
        if np.int64(counts[node]) > prune:
            kept[node] = number
            number += 1
        else:
            kept[node] = NONE
    return number


def estimate(orders: list[Order], length: int, vocabulary: int, scratch: Path) -> None:
    """Compute an order's probabilities and the back-off weights of the order below."""
    this = orders[length - 1]
    this.probabilities = _new(scratch / f"probabilities-{length}", np.float64, len(this.words))
    discounts = np.array(this.discounts)
    if length == 1:
        adjusted = this.adjusted
        total = adjusted.sum(dtype=np.int64)
        taken = discounts[np.minimum(adjusted, 3)]
        uniform = taken.sum() / total / (vocabulary - 1)  # the vocabulary without <s>
        this.probabilities[:] = (adjusted - taken) / total + uniform
        this.probabilities[BEGIN] = 1.0  # as lmplz writes it; it is never asked for
        return
    below = orders[length - 2]
    below.backoffs = _new(scratch / f"backoffs-{length - 1}", np.float64, len(below.words))
    below.backoffs[:] = 1.0
    _interpolate(
        this.prefixes, this.adjusted, this.kept, this.suffixes, discounts, below.probabilities, below.backoffs,
        this.probabilities,
    )  # fmt: skip


@kernel
def _interpolate(prefixes, adjusted, kept, suffixes, discounts, lower, backoffs, probabilities):
    """Probabilities of an order and back-off weights of the one below.

    prefixes, adjusted, kept, suffixes uint32 [n-grams]; discounts float64 [4]; lower, backoffs float64 [n-grams below] and
    probabilities float64 [n-grams], the last two written. The plain twin is `Reference` in tests/quality/test_ngram.py.
    """
    begin = 0
    while begin < len(prefixes):
        context = prefixes[begin]
        total, mass = 0.0, 0.0
        end = begin
        while end < len(prefixes) and prefixes[end] == context:
            total += adjusted[end]
            mass += adjusted[end] if kept[end] == NONE else discounts[min(adjusted[end], np.uint32(3))]
            end += 1
        backoff = mass / total
        backoffs[context] = backoff
        for node in range(begin, end):
            if kept[node] != NONE:
                own = (adjusted[node] - discounts[min(adjusted[node], np.uint32(3))]) / total
                probabilities[node] = own + backoff * lower[suffixes[node]]
        begin = end


# --- the trie ----------------------------------------------------------------------------------------------


def assemble(orders: list[Order], folder: Path) -> None:
    """Write the arrays of the trie."""
    sizes = [this.number_kept for this in orders]
    starts = np.cumsum([0, *sizes])
    nodes, inner = int(starts[-1]), int(starts[-2])
    kinds = {"words": np.uint32, "probabilities": np.float32, "suffixes": np.uint32}
    out: dict[str, Any] = {name: _array(folder, name, kind, nodes) for name, kind in kinds.items()}
    out["backoffs"] = _array(folder, "backoffs", np.float32, inner)
    out["beginnings"] = _array(folder, "beginnings", np.int64, inner + 1)
    children = out["beginnings"]
    children[0] = starts[1]
    nothing = np.zeros(0, np.uint32)
    for length, this in enumerate(orders):
        below = orders[length - 1].kept if length else nothing
        _place(
            this.prefixes, this.words, this.suffixes, this.kept, this.probabilities, this.backoffs, below,
            starts[length], starts[length - 1] if length else 0, out["words"], out["probabilities"], out["suffixes"],
            out["backoffs"], children,
        )  # fmt: skip
    _sum(children)
    for array in out.values():
        array.flush()


@kernel
def _place(
    prefixes, words, suffixes, kept, probabilities, backoffs, below, start, start_below, words_out, probabilities_out,
    suffixes_out, backoffs_out, children,
):  # fmt: skip
    """Write an order's n-grams to their nodes of the trie; arrays as in `Order`, those written as in `Trie`.

    below uint32, `kept` of the order below; start, start_below int64, the orders' first nodes; children int64, counted.
    """
    for node in range(len(words)):
        if kept[node] == NONE:
            continue
        place = start + kept[node]
        words_out[place] = words[node]
        probabilities_out[place] = min(np.log10(probabilities[node]), 0.0)
        if len(below):
            suffixes_out[place] = start_below + below[suffixes[node]]
            children[start_below + below[prefixes[node]] + 1] += 1
        else:
            suffixes_out[place] = NONE
        if len(backoffs):
            backoffs_out[place] = np.log10(backoffs[node])


@kernel
def _sum(children):
    """Turn counts into a running sum, in place; children int64 [nodes + 1]."""
    for node in range(1, len(children)):
        children[node] += children[node - 1]


# --- files ----------------------------------------------------------------------------------------------------


def _new(file: Path, kind: Any, size: int) -> np.ndarray:
    """A file of zeros, mapped into memory."""
    return np.memmap(file, kind, "w+", shape=(size,)) if size else np.zeros(0, kind)


def _open(file: Path) -> np.ndarray:
    return np.memmap(file, np.uint32, "r+") if file.stat().st_size else np.zeros(0, np.uint32)


def _copy(array: np.ndarray, file: Path) -> np.ndarray:
    np.asarray(array).tofile(file)  # of a mapped file: page by page
    return _open(file)


def _array(folder: Path, name: str, kind: Any, size: int) -> np.ndarray:
    """A `.npy` file of zeros, mapped into memory."""
    return np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (size,))
