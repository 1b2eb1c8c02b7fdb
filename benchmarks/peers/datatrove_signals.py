"""datatrove's side of `signals.py`: its Gopher repetition, Gopher quality and C4 filters on words of `str.split`.

datatrove_signals.py FILE [VALUES]: runs the three filters over JSON lines {"text"}, as they come: each stops at the
first limit that a document breaks, in datatrove's favour. Sentences, which C4 counts, are cut at . ! ? (its own
splitter is much slower). VALUES is where the numbers that the filters compare with their limits go (JSON lines),
for as many of the signals as have one: the filters are asked for them with all limits but one switched off.
"""

import json
import re
import sys
import time
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    c4_filters,
    gopher_quality_filter,
    gopher_repetition_filter,
)
from datatrove.pipeline.filters.gopher_repetition_filter import (
    find_all_duplicate,
    find_duplicates,
    find_top_duplicate,
    get_n_grams,
)
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION


def split_words(text: str, language: str | None = None) -> list[str]:
    return text.split()


def split_sentences(text: str, language: str | None = None) -> list[str]:
    return re.split(r"(?<=[.!?])\s+", text)


gopher_quality_filter.split_into_words = split_words
gopher_repetition_filter.split_into_words = split_words
c4_filters.split_into_sentences = split_sentences


def values(text: str) -> dict[str, float]:
    """What the filters compare, by the name of our signal, in the filters' own words and with their functions."""
    words, lines = text.split(), text.splitlines()
    gopher_lines = re.compile("\n+").split(text)
    paragraphs = re.compile(r"\n{2,}").split(text.strip())
    content = [word for word in words if any(c not in PUNCTUATION_SET for c in word)]
    fineweb_lines = [line for line in text.split("\n") if line.strip()]
    line_number, line_characters = find_duplicates(gopher_lines)
    paragraph_number, paragraph_characters = find_duplicates(paragraphs)
    found = {
        "words": len(words),
        "bare_words": len(content),
        "mean_word_length": sum(map(len, content)) / max(len(content), 1),
        "hash_to_word": text.count("#") / len(words),
        "ellipsis_to_word": (text.count("...") + text.count("…")) / len(words),
        "bullet_lines": sum(line.lstrip().startswith(("•", "-")) for line in lines) / len(lines),
        "ellipsis_lines": sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines),
        "alphabetic_words": sum(any(c.isalpha() for c in word) for word in words) / len(words),
        "gopher_stop_words": len(set(gopher_quality_filter.STOP_WORDS) & set(words)),
        "duplicate_lines": line_number / len(gopher_lines),
        "duplicate_line_characters": line_characters / len(text),
        "duplicate_paragraphs": paragraph_number / len(paragraphs),
        "duplicate_paragraph_characters": paragraph_characters / len(text),
        "punctuated_lines": sum(line.endswith(tuple(TERMINAL_PUNCTUATION)) for line in fineweb_lines)
        / len(fineweb_lines),
        "short_lines": sum(len(line) <= 30 for line in fineweb_lines) / len(fineweb_lines),
        "newlines_to_word": text.count("\n") / len(words),
    }
    for n in (2, 3, 4):
        grams = get_n_grams(words, n)
        found[f"top_{n}gram"] = find_top_duplicate(grams) / len(text) if grams else 0.0
    for n in range(5, 11):
        found[f"duplicate_{n}grams"] = find_all_duplicate(words, n) / len(text)
    return found


def main() -> None:
    lines = Path(sys.argv[1]).read_text("utf-8").rstrip("\n").split("\n")
    texts = [json.loads(line)["text"] for line in lines]
    filters = [GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter()]
    size = sum(len(text.encode()) for text in texts)
    begin = time.process_time()
    kept = 0
    for text in texts:
        for one in filters:  # one after the other whatever the last said: all the filters' work
            verdict = one.filter(Document(text=text, id=""))
            kept += verdict is True
    seconds = time.process_time() - begin
    if len(sys.argv) > 2:
        rows = [json.dumps(values(text)) + "\n" for text in texts]
        Path(sys.argv[2]).write_text("".join(rows))
    print(json.dumps({"bytes": size, "cpu_seconds": seconds, "passed": kept}))


main()
