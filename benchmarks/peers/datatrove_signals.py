"""datatrove's side of `signals.py`: its Gopher repetition, Gopher quality and C4 filters on words of `str.split`.

datatrove_signals.py FILE [VALUES]: runs the three filters over JSON lines {"text"}, as they come: each stops at the
first limit that a document breaks, in datatrove's favour. Sentences, which C4 counts, are cut at . ! ? (its own
splitter is much slower). VALUES is where the numbers that the filters compare with their limits go (JSON lines),
for as many of the signals as have one, computed with the filters' functions. A name with a stroke, "SIGNAL|HOW", is
the same with its known difference from ours taken away, which shows that there is no other.
"""

import json
import re
import sys
import time
import unicodedata
from collections import Counter
from pathlib import Path

import regex
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

SCRIPTS = "".join(
    rf"\p{{{name}}}" for name in ("Thai", "Lao", "Tibetan", "Myanmar", "Khmer", "Hiragana", "Katakana", "Han")
)
WORD = regex.compile(rf"[\p{{L}}&&[{SCRIPTS}々〆ー]]\p{{M}}*|[^\s[\p{{L}}&&[{SCRIPTS}々〆ー]]]+", regex.VERSION1)


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
    return found | reconciled(text, words)


def reconciled(text: str, words: list[str]) -> dict[str, float]:
    """The signals that differ, each with its known difference taken away."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    paragraphs = [
        [line.strip() for line in paragraph.split("\n") if line.strip()]
        for paragraph in re.split(r"\n(?:[^\S\n]*\n)+", text)
        if paragraph.strip()
    ]
    bare = {"".join(c for c in word if not is_punctuation(c)).lower() for word in words}
    letters = sum(map(len, words))
    line_number, line_characters = duplicates([[line] for line in lines])
    paragraph_number, paragraph_characters = duplicates(paragraphs)
    found = {
        "words|letters of Thai, Han and other scripts without spaces each a word": len(WORD.findall(text)),
        "mean_word_length|of words of punctuation too": letters / len(words),
        "bullet_lines|with our bullets, blank lines left out": sum(line[0] in "•‣▪●◦*-" for line in lines) / len(lines),
        "ellipsis_lines|blank lines left out": sum(line.endswith(("...", "…")) for line in lines) / len(lines),
        "gopher_stop_words|in bare words": len(set(gopher_quality_filter.STOP_WORDS) & bare),
        "duplicate_lines|whitespace and blank lines left out": line_number / len(lines),
        "duplicate_line_characters|whitespace left out": line_characters / len(text),
        "duplicate_paragraphs|whitespace left out": paragraph_number / len(paragraphs),
        "duplicate_paragraph_characters|whitespace left out": paragraph_characters / len(text),
        "punctuated_lines|whitespace left out": sum(line.endswith(tuple(TERMINAL_PUNCTUATION)) for line in lines)
        / len(lines),
        "short_lines|whitespace left out": sum(len(line) <= 30 for line in lines) / len(lines),
    }
    for n in range(2, 11):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        times = Counter(grams)
        if n < 5:
            gram, most = times.most_common(1)[0] if grams else ((), 0)
            value = sum(map(len, gram)) * most if most > 1 else 0
            found[f"top_{n}gram|over characters of words, spaces left out, 0 if once"] = value / letters
        else:
            covered = {i + k for i, gram in enumerate(grams) if times[gram] > 1 for k in range(n)}
            value = sum(len(words[i]) for i in covered)
            found[f"duplicate_{n}grams|over characters of words, with the first occurrence"] = value / letters
    return found


def duplicates(parts: list[list[str]]) -> tuple[int, int]:
    """How many parts (of lines) have the same words as one before, and their characters."""
    seen, number, characters = set(), 0, 0
    for lines in parts:
        key = "\n".join(" ".join(line.split()) for line in lines)
        number += key in seen
        characters += sum(map(len, lines)) * (key in seen)
        seen.add(key)
    return number, characters


def is_punctuation(character: str) -> bool:
    """Whether a bare word goes without it."""
    return unicodedata.category(character)[0] == "P" or character in "$+<=>^`|~"


def main() -> None:
    lines = Path(sys.argv[1]).read_text("utf-8").rstrip("\n").split("\n")
    texts = [json.loads(line)["text"] for line in lines]
    filters = [GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter()]
    size = sum(len(text.encode()) for text in texts)
    begin = time.process_time()
    passed = 0
    for text in texts:
        for one in filters:  # each filter on every document, whatever the last said
            passed += one.filter(Document(text=text, id="")) is True
    seconds = time.process_time() - begin
    if len(sys.argv) > 2:
        rows = [json.dumps(values(text)) + "\n" for text in texts]
        Path(sys.argv[2]).write_text("".join(rows))
    print(json.dumps({"bytes": size, "cpu_seconds": seconds, "passed": passed}))


main()
