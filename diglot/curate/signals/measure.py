r"""Signals: numbers measured on a document, in one walk over its UTF-8 bytes and a few over its words' hashes.

The catalogue (`catalogue.SIGNALS`) says what each signal means, what it is called elsewhere and how the definition
differs there; `segment` says what a word is in each language.

Where the time goes, on the 18 languages of real text at 89 MB/s a core: 58% in the walk (`scan`), 18% on n-grams, 11%
on counting words, 12% on cutting Chinese, Japanese and Thai (a third to a half of those languages' time, which run at
44 to 71 MB/s), 1% on lines and paragraphs. One pass over memory that only adds the bytes up runs at 11 GB/s, 130 times
as fast: what binds is the work for each character and word, not memory.

Differences from datatrove and RedPajama-v2 that show on real text. `benchmarks/signals.py` counts them on 1,500
documents, and takes those listed here away in their code: then at least 99.7% of documents have the same values to
1e-6. The rest have letters of scripts without spaces, each of which is a word here, within text that has spaces; and
the mean length of bare words is another where there is a Turkish `İ`, two characters in Python's lower case (3%).

- Lines: datatrove and RedPajama count blank lines and compare lines with the whitespace around them.
- Repeated n-grams: datatrove leaves out the first occurrence and divides by all characters; its top n-grams have the
  spaces in them and count where nothing occurs twice. RedPajama takes bare words. So 94% (top 4-grams) to 99.9% (top
  2-grams) of documents are on the same side of Gopher's limits as with datatrove.
- Bare words: RedPajama takes only ASCII's punctuation away, leaves typographic quotes and dashes, and counts an
  accented letter as two characters; stop words it looks up, capitals and all, among pieces with punctuation.
- Words: datatrove takes its mean length over those that are not punctuation alone, looks stop words up with their
  capitals and commas, and by default takes words of spaCy, which cuts punctuation off: thresholds go with a
  definition of words.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pyarrow as pa

from diglot.curate.signals import repetition, scan
from diglot.curate.signals.lexicon import (
    GOPHER,
    IPSUM,
    JAVASCRIPT,
    LOREM,
    STOP,
    Lexicon,
    WordLists,
    count_banned,
    make_lexicon,
)
from diglot.recipe.signals import TEXT_NAMES
from diglot.text.segment import Model, find_cuts, load, model_name
from diglot.text.unicode import character_tables, kernel, text_array, text_buffers

TEXT_SIGNALS = TEXT_NAMES

_NO_MODEL = Model(
    np.zeros(1, np.uint16), np.zeros((1, 6), np.int64), np.zeros(1, np.uint64), np.zeros((1, 4), np.int64), 0
)
_BANNED_WORDS = scan.BANNED_WORDS


def measure(texts: pa.Array, language: str | None = None, words: WordLists = WordLists()) -> np.ndarray:  # noqa: B008
    """Measure `TEXT_SIGNALS` on texts.

    Args:
        texts: `large_string` array [documents].
        language: what they are in; decides what a word is (`segment`). None: words stand between whitespace.
        words: lists of words of that language.

    Returns:
        float64 [documents, len(TEXT_SIGNALS)]; NaN where a signal needs a list that is not given.
    """
    counts = np.zeros((len(texts), len(scan.COUNTS)), np.int64)
    weighted = np.zeros(len(texts))
    if len(texts):
        name = model_name(language)
        lexicon = compile_lists(words, name)
        _measure_all(*_tables(texts, name), lexicon._replace(stamps=np.full_like(lexicon.stamps, -1)), counts, weighted)
    columns = _signals(dict(zip(scan.COUNTS, counts.T.astype(np.float64), strict=True)), weighted)
    if words.stop_words is None:
        columns["stop_words"] = columns["distinct_stop_words"] = np.full(len(texts), np.nan)
    if words.gopher_stop_words is None:
        columns["gopher_stop_words"] = np.full(len(texts), np.nan)
    if words.banned_words is None:
        columns["banned_words"] = np.full(len(texts), np.nan)
    return np.column_stack([columns[signal] for signal in TEXT_SIGNALS])


def _signals(counts: dict[str, np.ndarray], weighted: np.ndarray) -> dict[str, np.ndarray]:
    """Signals from counts, by name; what is over nothing is 0."""

    def over(name: str, total: str) -> np.ndarray:
        return counts[name] / np.maximum(counts[total], 1)

    # Counts that are signals themselves, then what is over something; words have a rule each, n-grams one together.
    columns = {name: counts[name] for name in TEXT_SIGNALS if name in counts}
    columns |= {
        "mean_word_length": over("word_characters", "words"),
        "mean_bare_word_length": over("bare_characters", "bare_words"),
        "long_words": over("long_words", "words"),
        "mean_line_length": over("line_characters", "lines"),
        "mean_line_words": over("bare_words", "lines"),
        "symbol_to_word": np.maximum(over("number_signs", "words"), over("ellipses", "words")),
        "hash_to_word": over("number_signs", "words"),
        "ellipsis_to_word": over("ellipses", "words"),
        "all_symbols_to_word": (counts["number_signs"] + counts["ellipses"]) / np.maximum(counts["pieces"], 1),
        # RedPajama's text has one space between words: so many characters less one are spaces.
        "lorem_ipsum": counts["lorem_ipsum"] / np.maximum(counts["bare_characters"] + counts["bare_words"] - 1, 1),
        "newlines_to_word": over("newlines", "words"),
        "dates": over("dates", "words"),
        "alphabetic_words": over("alphabetic_words", "words"),
        "no_latin_words": over("no_latin_pieces", "pieces"),
        "all_caps_words": over("capital_pieces", "pieces"),
        "unique_words": over("different_words", "bare_words"),
        "stop_words": over("stop_words", "bare_words"),
        "banned_words": over("banned_words", "bare_words"),
        "numerals": over("numerals", "line_characters"),
        "uppercase": over("capitals", "line_characters"),
    }
    bare_words = np.maximum(counts["bare_words"], 1)
    # H = log n - Σ c log c / n; rounding may take it below 0.
    columns["unigram_entropy"] = np.maximum(np.log(bare_words) - weighted / bare_words, 0)
    for name in TEXT_SIGNALS:
        if name.endswith("_lines"):
            columns[name] = over(name, "lines")
        elif name.endswith(("gram", "grams")):
            columns[name] = over(name, "word_characters")
        elif name in ("curly_brackets", "digits", "duplicate_line_characters", "duplicate_paragraph_characters"):
            columns[name] = over(name, "characters")
    columns["duplicate_paragraphs"] = over("duplicate_paragraphs", "paragraphs")
    return columns


@functools.lru_cache(maxsize=64)
def compile_lists(words: WordLists, model: str | None) -> Lexicon:
    """Make tables of lists of words, cut into bare words as texts of that BudouX model (None: by spaces) are."""
    singles = [
        (_cut([word], model)[0][0], flag)
        for word, flag in (("lorem", LOREM), ("ipsum", IPSUM), ("javascript", JAVASCRIPT))
    ]
    for entries, flag in ((words.stop_words, STOP), (words.gopher_stop_words, GOPHER)):
        singles += [(cut[0], flag) for cut in _cut(list(entries or ()), model) if len(cut) == 1]
    return make_lexicon(singles, _cut(list(words.banned_words or ()), model))


def _cut(entries: list[str], model: str | None) -> list[tuple[int, ...]]:
    """Hashes of the bare words of each entry."""
    texts = text_array([entry.encode() for entry in entries])
    bare = np.zeros(int(text_buffers(texts)[1][-1]) * 2 // 3 + 2 * len(entries), np.uint64)
    ends = np.zeros(len(entries) + 1, np.int64)
    _cut_all(*_tables(texts, model), make_lexicon([], []), bare, ends)
    return [tuple(bare[low:high].tolist()) for low, high in itertools.pairwise(ends)]


def _tables(texts: pa.Array, model: str | None) -> tuple:
    """What the kernels need to walk texts."""
    classes, lower = character_tables()
    loaded = _NO_MODEL if model is None else load(model)
    return (*text_buffers(texts), scan.kinds_table(), classes, lower, model is not None, loaded)


@kernel
def _longest(offsets):
    """Bytes of the longest text: offsets int64 [texts + 1]."""
    longest = 0
    for document in range(len(offsets) - 1):
        longest = max(longest, offsets[document + 1] - offsets[document])
    return longest


@kernel
def _walk(data, start, end, kinds, classes, lower, segmented, model, cuts, lexicon, document, words, counts):
    """Cut a text where its script needs it, and scan it (`scan.scan`): start, end, document int64; cuts uint8; counts int64."""
    if segmented:
        cuts[: end - start + 1] = 0
        find_cuts(data, start, end, classes, model, cuts)
    scan.scan(data, start, end, kinds, lower, segmented, cuts, lexicon, document, words, counts)


@kernel
def _measure_all(data, offsets, kinds, classes, lower, segmented, model, lexicon, counts, weighted):
    """Count what signals are made of; the plain twin of all signals is tests/helpers/plain_signals.py.

    data uint8 [bytes], offsets int64 [texts + 1], kinds uint16, classes uint8 and lower uint32 [code points], segmented
    bool; fills counts int64 [texts, COUNTS] and weighted float64 [texts].
    """
    longest = _longest(offsets)
    words = scan.make_words(longest)
    table = repetition.make_table(len(words.hashes))
    cuts = np.empty(longest + 1 if segmented else 1, np.uint8)
    for document in range(len(offsets) - 1):
        start, end, row = offsets[document], offsets[document + 1], counts[document]
        _walk(data, start, end, kinds, classes, lower, segmented, model, cuts, lexicon, document, words, row)
        if row[_BANNED_WORDS]:
            row[_BANNED_WORDS] = count_banned(lexicon, words.bare, row[scan.WORDS])
        repetition.count_lines(words, row[scan.LINES], table, row)
        left, weighted[document] = repetition.count_words(words.bare, row[scan.WORDS], table, row)
        repetition.count_grams(words.hashes, words.lengths, row[scan.WORDS], left, table, row)


@kernel
def _cut_all(data, offsets, kinds, classes, lower, segmented, model, lexicon, bare, ends):
    """The bare words of all entries of a list.

    data uint8 [bytes], offsets int64 [entries + 1]; fills bare uint64 and ends int64 [entries + 1].
    """
    longest = _longest(offsets)
    words = scan.make_words(longest)
    cuts = np.empty(longest + 1 if segmented else 1, np.uint8)
    counts = np.zeros(len(scan.COUNTS), np.int64)
    number = 0
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        counts[:] = 0
        _walk(data, start, end, kinds, classes, lower, segmented, model, cuts, lexicon, document, words, counts)
        for place in range(counts[scan.WORDS]):
            if words.bare[place] != 0:
                bare[number] = words.bare[place]
                number += 1
        ends[document + 1] = number
