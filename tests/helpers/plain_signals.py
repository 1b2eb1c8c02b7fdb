"""All signals written down plainly, in Python's own string methods: what the kernels are held to."""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
import string
import unicodedata
from collections import Counter
from importlib import resources

import budoux

from diglot.curate.signals.lexicon import WordLists
from diglot.curate.signals.scan import SENTENCE_TERMINALS
from diglot.text.segment import model_name
from diglot.text.unicode import UNSPACED, character_tables

CLASSES, _ = character_tables()
ELLIPSES = ("...", "…")
SIGN_DATE = re.compile(r"\d{2,4}\s?[年년]\s?\d{1,2}\s?[月월]\s?\d{1,2}\s?[日일号]")
FIGURE_DATE = re.compile(r"(?:\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2(?:\d{4}|\d{2}))(?![-/.]?\d)")


@functools.cache
def parser(name: str) -> budoux.Parser:
    text = resources.files("budoux").joinpath("models", f"{name}.json").read_text("utf-8")
    return budoux.Parser(json.loads(text))


def is_mark(c: str) -> bool:
    return unicodedata.category(c)[0] == "M"


def is_unspaced(c: str) -> bool:
    return bool(CLASSES[ord(c)] & UNSPACED)


def joins_nothing(c: str) -> bool:
    """Whether BudouX may cut beside this character."""
    return is_unspaced(c) or is_mark(c)


def is_word_character(c: str) -> bool:
    return c.isalnum() or c == "_" or is_mark(c)


def is_punctuation(c: str) -> bool:
    return c in string.punctuation or unicodedata.category(c)[0] == "P"


def split_words(text: str, language: str | None) -> list[str]:
    """Words by whitespace; by BudouX where it has a model; else single letters of scripts without spaces."""
    name, words = model_name(language), []
    for chunk in text.split():
        if name:
            begins = itertools.accumulate(map(len, parser(name).parse(chunk)[:-1]), initial=0)
            begins = [i for i in begins if i == 0 or any(joins_nothing(c) for c in chunk[i - 1 : i + 1])]
            words += [chunk[i:j] for i, j in zip(begins, [*begins[1:], len(chunk)], strict=True)]
            continue
        word = ""
        for c in chunk:
            lone = bool(word) and is_unspaced(word[0])
            if word and (is_unspaced(c) or (lone and not is_mark(c))):
                words.append(word)
                word = ""
            word += c
        words.append(word)
    return words


def bare(word: str) -> str:
    small = (c.lower() if len(c.lower()) == 1 else c for c in word)
    return "".join(c for c in small if not is_punctuation(c))


def split_pieces(text: str) -> list[str]:
    pieces, inside = [], None
    for c in text:
        kind = None if c.isspace() else is_word_character(c)
        if kind is None:
            pass
        elif kind == inside:
            pieces[-1] += c
        else:
            pieces.append(c)
        inside = kind
    return pieces


def count_dates(text: str) -> int:
    dates = 0
    for at, c in enumerate(text):
        before = text[at - 1] if at else " "
        if not c.isdecimal() or before.isdecimal() or before in "-/._" or before in string.ascii_letters:
            continue
        figures = FIGURE_DATE.match(text, at)
        if figures:
            dates += not is_word_character(text[figures.end() : figures.end() + 1] or " ")
        else:
            dates += bool(SIGN_DATE.match(text, at))
    return dates


def count_sentences(text: str) -> int:
    count, fresh = 0, True
    for c in text:
        if fresh and is_word_character(c):
            count, fresh = count + 1, False
        fresh = fresh or ord(c) in SENTENCE_TERMINALS
    return count


def split_lines(text: str) -> tuple[list[str], list[str]]:
    """The lines that are not blank, and the paragraphs, as lines joined again."""
    lines, paragraphs, blank = [], [], True
    for line in text.split("\n"):
        if not line.strip():
            blank = True
            continue
        lines.append(line.strip())
        if blank:
            paragraphs.append([])
        paragraphs[-1].append(line.strip())
        blank = False
    return lines, paragraphs


def repeated(things: list, lengths: list[int]) -> tuple[int, int]:
    seen, number, characters = set(), 0, 0
    for thing, length in zip(things, lengths, strict=True):
        number, characters = number + (thing in seen), characters + length * (thing in seen)
        seen.add(thing)
    return number, characters


def count_banned(bares: list[str], entries: set[tuple[str, ...]]) -> int:
    return sum(tuple(bares[i : i + n]) in entries for n in set(map(len, entries)) for i in range(len(bares) - n + 1))


def grams(words: list[str]) -> dict[str, float]:
    signals, letters = {}, sum(map(len, words))
    for n in range(2, 11):
        found = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        counts = Counter(found)
        if n < 5:
            gram, times = counts.most_common(1)[0] if found else ((), 0)
            signals[f"top_{n}gram"] = times * sum(map(len, gram)) / letters if times > 1 else 0.0
        else:
            covered = {i + k for i, gram in enumerate(found) if counts[gram] > 1 for k in range(n)}
            signals[f"duplicate_{n}grams"] = sum(len(words[i]) for i in covered) / max(letters, 1)
    return signals


def plain_signals(text: str, language: str | None, lists: WordLists) -> dict[str, float]:
    """Every signal that is measured on text, by name."""
    words = split_words(text, language)
    bares = [b for b in map(bare, words) if b]
    pieces, (lines, paragraphs) = split_pieces(text), split_lines(text)
    line_words = [tuple(split_words(line, language)) for line in lines]
    paragraph_words = [tuple(tuple(split_words(line, language)) for line in lines) for lines in paragraphs]
    in_lines = "".join(lines)

    def cut(entries: tuple[str, ...] | None) -> list[tuple[str, ...]]:
        return [tuple(b for b in map(bare, split_words(entry, language)) if b) for entry in entries or ()]

    def share(part: float, whole: float) -> float:
        return part / max(whole, 1)

    def of_lines(test) -> float:
        return share(sum(bool(test(line)) for line in lines), len(lines))

    stops = {entry[0] for entry in cut(lists.stop_words) if len(entry) == 1}
    ellipses = text.count("...") + text.count("…")
    duplicate_lines = repeated(line_words, list(map(len, lines)))
    duplicate_paragraphs = repeated(paragraph_words, [sum(map(len, lines)) for lines in paragraphs])
    frequencies = [times / len(bares) for times in Counter(bares).values()]
    return {
        "characters": len(text),
        "words": len(words),
        "bare_words": len(bares),
        "lines": len(lines),
        "paragraphs": len(paragraphs),
        "sentences": count_sentences(text),
        "mean_word_length": share(sum(map(len, words)), len(words)),
        "mean_bare_word_length": share(sum(map(len, bares)), len(bares)),
        "longest_word": max(map(len, words), default=0),
        "long_words": share(sum(len(word) > 30 for word in words), len(words)),
        "mean_line_length": share(len(in_lines), len(lines)),
        "mean_line_words": share(len(bares), len(lines)),
        "symbol_to_word": share(max(text.count("#"), ellipses), len(words)),
        "hash_to_word": share(text.count("#"), len(words)),
        "ellipsis_to_word": share(ellipses, len(words)),
        "all_symbols_to_word": share(text.count("#") + ellipses, len(pieces)),
        "curly_brackets": share(text.count("{") + text.count("}"), len(text)),
        "lorem_ipsum": share(
            sum(pair == ("lorem", "ipsum") for pair in itertools.pairwise(bares)), len(" ".join(bares))
        ),
        "digits": share(sum(c.isdecimal() for c in text), len(text)),
        "numerals": share(sum(c.isnumeric() for c in text), len(in_lines)),
        "uppercase": share(sum(c.isupper() for c in text), len(in_lines)),
        "dates": share(count_dates(text), len(words)),
        "bullet_lines": of_lines(lambda line: line[0] in "•‣▪●◦*-"),
        "symbol_bullet_lines": of_lines(lambda line: line[0] in "•‣▶◀◦■□▪▫–"),
        "ellipsis_lines": of_lines(lambda line: line.endswith(ELLIPSES)),
        "punctuated_lines": of_lines(lambda line: ord(line[-1]) in SENTENCE_TERMINALS),
        "terminal_lines": of_lines(lambda line: line[-1] in ".!?”"),
        "short_lines": of_lines(lambda line: len(line) <= 30),
        "javascript_lines": of_lines(lambda line: "javascript" in map(bare, split_words(line, language))),
        "newlines_to_word": share(text.count("\n"), len(words)),
        "alphabetic_words": share(sum(any(map(str.isalpha, word)) for word in words), len(words)),
        "no_latin_words": share(sum(not re.search("[a-zA-Z]", piece) for piece in pieces), len(pieces)),
        "all_caps_words": share(sum(piece.isupper() for piece in pieces), len(pieces)),
        "unique_words": share(len(set(bares)), len(bares)),
        "unigram_entropy": -sum(p * math.log(p) for p in frequencies),
        "stop_words": share(sum(b in stops for b in bares), len(bares)),
        "distinct_stop_words": len(stops & set(bares)),
        "gopher_stop_words": len(set(lists.gopher_stop_words or ()) & set(bares)),
        "banned_words": share(count_banned(bares, set(cut(lists.banned_words)) - {()}), len(bares)),
        "duplicate_lines": share(duplicate_lines[0], len(lines)),
        "duplicate_line_characters": share(duplicate_lines[1], len(text)),
        "duplicate_paragraphs": share(duplicate_paragraphs[0], len(paragraphs)),
        "duplicate_paragraph_characters": share(duplicate_paragraphs[1], len(text)),
        **grams(words),
    }
