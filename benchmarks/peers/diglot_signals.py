"""Ours: all signals of JSON lines {"text", "language"}; prints CPU seconds of the measuring alone, by language.

diglot_signals.py FILE PARTS WORDS: with PARTS 1 it also measures where the time goes; with WORDS `whitespace` a
word is what stands between whitespace in every language. MEASURED, if given, is where the signals go (JSON lines).
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import stopwordsiso

from diglot.curate.signals import measure, repetition, scan
from diglot.curate.signals.lexicon import GOPHER_STOP_WORDS, WordLists
from diglot.text.unicode import kernel, text_array


@kernel
def sum_bytes(data):
    """One pass over memory and nothing else."""
    total = 0
    for place in range(len(data)):
        total += data[place]
    return total


@kernel
def parts(data, offsets, kinds, classes, lower, segmented, model, lexicon, part):
    """The work up to a part: 0 segmenting, 1 the walk too, 2 lines too, 3 counting words too, 4 n-grams too."""
    longest = measure._longest(offsets)
    words = scan.make_words(longest)
    table = repetition.make_table(len(words.hashes))
    cuts = np.empty(longest + 1, np.uint8)
    row = np.zeros(len(scan.COUNTS), np.int64)
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        row[:] = 0
        if segmented:
            cuts[: end - start + 1] = 0
            measure.find_cuts(data, start, end, classes, model, cuts)
        if part >= 1:
            scan.scan(data, start, end, kinds, lower, segmented, cuts, lexicon, document, words, row)
        if part >= 2:
            repetition.count_lines(words, row[scan.LINES], table, row)
        if part >= 3:
            left, _ = repetition.count_words(words.bare, row[scan.WORDS], table, row)
            if part >= 4:
                repetition.count_grams(words.hashes, words.lengths, row[scan.WORDS], left, table, row)


def best_of(times: int, work) -> float:
    """CPU seconds of the quickest."""
    taken = []
    for _ in range(times):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return min(taken)


def part_seconds(texts, language: str | None, lists: WordLists) -> list[float]:
    name = measure.model_name(language)
    lexicon = measure.compile_lists(lists, name)
    tables = measure._tables(texts, name)
    parts(*measure._tables(texts[:1], name), lexicon, 4)
    return [best_of(4, lambda part=part: parts(*tables, lexicon, part)) for part in range(5)]


def main() -> None:
    file, with_parts, by_whitespace = sys.argv[1], sys.argv[2] == "1", sys.argv[3] == "whitespace"
    measured_file = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    by_language: dict[str, list[str]] = {}
    for line in Path(file).read_text("utf-8").rstrip("\n").split("\n"):
        record = json.loads(line)
        by_language.setdefault(record["language"], []).append(record["text"])
    report = {"bytes": 0, "cpu_seconds": 0.0, "languages": {}, "parts": [0.0] * 5}
    rows = []
    for language, texts in by_language.items():
        array = text_array([text.encode() for text in texts])
        stop_words = tuple(sorted(stopwordsiso.stopwords(language)))
        lists = WordLists(stop_words, ("foo", "foo bar"), GOPHER_STOP_WORDS)
        cut_as = None if by_whitespace else language
        measure.measure(array[:1], cut_as, lists)
        size = sum(len(text.encode()) for text in texts)
        seconds = best_of(2, lambda array=array, cut_as=cut_as, lists=lists: measure.measure(array, cut_as, lists))
        report["languages"][language] = {"bytes": size, "cpu_seconds": seconds}
        report["bytes"] += size
        report["cpu_seconds"] += seconds
        if with_parts:
            report["parts"] = np.add(report["parts"], part_seconds(array, cut_as, lists)).tolist()
        if measured_file:
            rows += [
                dict(zip(measure.TEXT_SIGNALS, row, strict=True))
                for row in measure.measure(array, cut_as, lists).tolist()
            ]
    if with_parts:
        memory = np.frombuffer(Path(file).read_bytes(), np.uint8)
        sum_bytes(memory[:10])
        report["sum_bytes_per_second"] = len(memory) / best_of(5, lambda: sum_bytes(memory))
    if measured_file:
        measured_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(json.dumps(report))


main()
