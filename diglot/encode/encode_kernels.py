r"""UTF-8 text to ids in a kernel, whatever the tokenizer's kind.

    "A café, 12"  ──cut──►  A │ ␣café │ , │ ␣ │ 1 │ 2  ──look up──►  ids

1. Tokens that are found in text (Gemma's "\n\n", Qwen's "<think>") part a text; what lies between is encoded alone.
2. It is cut into units that no piece crosses: the words of the tokenizer's patterns, or, where it does not split
   (Llama-2's, Gemma's), those words at whose ends no merge has the two neighbouring characters.
3. Each unit is looked up in a table of units met before (`unit_kernels.py`). Text repeats itself, so nearly all are found.
4. A new one is encoded by its merges (`byte_pair_kernels.py`) or its most probable pieces (`unigram_kernels.py`). A long one is
   cut further before it is merged, wherever no merge can join the characters to the left with those to the right (scripts
   without spaces have long words, whose parts repeat though they don't), and its parts are looked up too.

The plain twin of all kernels here is the `tokenizers` library (tests/encode/test_encoder.py). `data` is always uint8
[bytes + PADDING].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diglot.encode.byte_pair_kernels import (
    FEW,
    Merges,
    Symbols,
    may_join,
    merge_part,
    next_part,
    symbols_in,
    symbols_of,
)
from diglot.encode.cut_kernels import Words, cut_by_patterns
from diglot.encode.unigram_kernels import Lattice, Tree, lattice_of, longest_here, most_probable
from diglot.encode.unit_kernels import SHORT, Units, line_of, no_units, recall, remember, touch
from diglot.text.unicode import decode
from diglot.text.words import BEGIN, CUT_HERE, STATE, TRANSITIONS, cut_byte_fallback, kernel

BY_WORDS, BY_PATTERNS, BETWEEN = range(3)  # how a text is cut
FOUND_NOT = 1 << 30  # in place of the id of a special token: plain text, and yet no other token is found in it
_3 = np.uint64(3)


class Model(NamedTuple):
    """A tokenizer as the kernels read it; what its kind does not have is empty.

    Attributes:
        cut: BY_WORDS (our byte-fallback kind's), BY_PATTERNS or BETWEEN.
        classes: uint8 [0x110000], of the first and the last way to cut; see `text/words.py`.
        words: the patterns of the second.
        found: the tokens that are found in text.
        starts: bool [256], the bytes that these begin with.
        whole: the units that have an id of their own whatever their merges (`ignore_merges`), and are not made by them.
        merges: a byte-pair model.
        pieces: a unigram model's.
        unknown, unknown_score: its unknown token's id, and the score of a character that has no piece.
    """

    cut: int
    classes: NDArray[np.uint8]
    words: Words
    found: Tree
    starts: NDArray[np.bool_]
    whole: Tree
    merges: Merges
    pieces: Tree
    unknown: np.int32
    unknown_score: np.float64


class Workspace(NamedTuple):
    """What one thread writes to: units met before, and room for the longest text.

    Attributes:
        units: see `unit_kernels.Units`.
        ends: int64 [longest text + 1], where each unit of a text ends.
        spare: int64 [longest text + 1], the same while several patterns cut.
        lines: uint64 [longest text + 2], where each unit stands in the tables, if it is there.
        symbols: of a unit that is merged.
        lattice: of a unit whose pieces are found.
    """

    units: Units
    ends: NDArray[np.int64]
    spare: NDArray[np.int64]
    lines: NDArray[np.uint64]
    symbols: Symbols
    lattice: Lattice


def workspace(longest: int, before: Workspace | None = None) -> Workspace:
    """A workspace for texts of up to this many bytes; the units that one before it holds are kept."""
    units = no_units() if before is None else before.units
    ends, spare = np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int64)
    return Workspace(units, ends, spare, np.empty(longest + 2, np.uint64), symbols_of(longest), lattice_of(longest))


@kernel
def _cut_between(data, place, end, model, units):
    """Cut a text that the tokenizer does not split where words would end, if no piece has both neighbours.

    Types: data uint8; place, end int64; model Model; units int64 [words].
    """
    count = 0
    state, previous = np.uint8(BEGIN), np.int64(0x20)
    while place < end:
        code, length = decode(data, place)
        step = TRANSITIONS[np.uint64(state) << _3 | np.uint64(model.classes[np.uint64(code)])]
        state = step & np.uint8(STATE)
        if step & np.uint8(CUT_HERE):
            units[count] = place
            count += np.int64(may_join(model.merges, previous, code) == 0)  # type: ignore[assignment]
        previous = code
        place += length
    units[count] = end
    return count + 1


@kernel
def _merge_unit(data, start, end, model, work, out, written):
    """Write the ids of a unit that was not met before, by its merges; returns how many are written by now.

    Types: data uint8; start, end, written int64; model Model; work Workspace; out uint32 [ids].
    """
    merges, symbols = model.merges, work.symbols
    count = symbols_in(data, start, end, merges, symbols)
    # Words of few letters, and bytes of alphabets (first of one or two), hardly ever come apart.
    lead = data[np.uint64(start)] if data[np.uint64(start)] != 0x20 else data[np.uint64(start + 1)]
    look = end - start >= 8 * SHORT and (lead >= 0xE0 or end - start >= FEW or len(merges.characters) > 0)
    first = 0
    while first < count:
        behind = next_part(merges, symbols, first, count) if look else count
        if behind - first == 1:
            out[written] = symbols.ids[first]
            written += 1
        else:
            part, length = symbols.places[first], symbols.places[behind] - symbols.places[first]
            number = np.int64(-1)
            if length < end - start:
                line = line_of(work.units, data, part, length)
                number = recall(work.units, line, data, part, length, out, written)
            if number < 0:
                number = merge_part(merges, symbols, first, behind, out, written)
                if length < end - start:
                    remember(work.units, data, part, length, out, written, number)
            written += number
        first = behind
    return written


@kernel
def _encode_unit(data, start, end, model, work, out, written):
    """Write the ids of a unit that was not met before; returns how many are written by now. Types: as `_merge_unit`."""
    if len(model.whole.ids) > 1:
        found, size = longest_here(model.whole, data, start, end)
        if found >= 0 and size == end - start:
            out[written] = np.uint32(found)
            return written + 1
    if len(model.pieces.ids) > 1:
        unknown, score = model.unknown, model.unknown_score
        return written + most_probable(data, start, end, model.pieces, work.lattice, unknown, score, out, written)
    return _merge_unit(data, start, end, model, work, out, written)


@kernel
def _encode_between(data, start, end, model, work, out, written):
    """Write the ids of text without tokens that are found in text; returns how many there are by now.

    Types: as `_merge_unit`.
    """
    if start == end:
        return written
    if model.cut == BY_PATTERNS:
        count = cut_by_patterns(data, start, end, model.words, work.ends, work.spare)
    elif model.cut == BY_WORDS:
        count = cut_byte_fallback(data, start, end, model.classes, work.ends)
    else:
        count = _cut_between(data, start, end, model, work.ends)
    # Twice over the units: lines that do not depend on each other come from memory side by side.
    lines, place, touched = work.lines, start, np.uint64(0)
    for unit in range(count):
        length = work.ends[unit] - place
        lines[unit] = line_of(work.units, data, place, length)
        touched ^= touch(work.units, lines[unit], length)
        place = work.ends[unit]
    lines[count] = touched
    for unit in range(count):
        end = work.ends[unit]
        number = recall(work.units, lines[unit], data, start, end - start, out, written)
        if number < 0:
            begin = written
            written = _encode_unit(data, start, end, model, work, out, written)
            remember(work.units, data, start, end - start, out, begin, written - begin)
        else:
            written += number
        start = end
    return written


@kernel
def encode_texts(data, offsets, model, work, out, ends):
    """Encode texts.

    Args:
        data: uint8, valid UTF-8, with PADDING more bytes that may be read.
        offsets: int64 [texts + 1], where each text begins and ends.
        model: see Model.
        work: see Workspace.
        out: uint32 [2 * bytes + MOST_IDS], receives the ids.
        ends: int64 [texts + 1], receives where each text's ids begin and end.

    Returns:
        The number of ids.
    """
    written = np.int64(0)
    ends[0] = 0
    finds = len(model.found.ids) > 1
    for text in range(len(offsets) - 1):
        begin, end = offsets[text], offsets[text + 1]
        place = begin if finds else end
        while place < end:
            found, size = np.int32(-1), np.int64(0)
            if model.starts[data[np.uint64(place)]]:
                found, size = longest_here(model.found, data, place, end)
            if 0 <= found < FOUND_NOT:
                written = _encode_between(data, begin, place, model, work, out, written)
                out[written] = np.uint32(found)
                written += 1
                begin = place + size
            place += max(size, 1)
        written = _encode_between(data, begin, end, model, work, out, written)
        ends[text + 1] = written
    return written
