r"""Cutting texts into what is translated at a time, and putting the translations together.

A paragraph stands between blank lines. A long one is cut at the ends of its sentences, else of its lines, else of its
words. White space belongs to no piece and is kept, so that nothing is lost:

    pieces, end = split(text, 2000)
    "".join(piece.before + piece.text for piece in pieces) + end == text
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from diglot.text.languages import is_unspaced

FENCE = re.compile(r"^[^\S\n]*```[^`\n]*$.*?^[^\S\n]*```[^\S\n]*$", re.MULTILINE | re.DOTALL)
BLANK_LINES = re.compile(r"\n\s*\n")
URL = re.compile(r"(?:https?://|www\.)\S+")
# Where a long paragraph may be cut: after a sentence, else a line, else a word.
CUTS = [re.compile(r"[.!?…؟۔।]+[\"'”’»)\]]*(?=\s)|[。！？]+[”’」』）]*"), re.compile(r"(?=\n)"), re.compile(r"(?=\s)")]


class Piece(NamedTuple):
    """What is translated at a time: a paragraph, or a part of a long one.

    Attributes:
        before: the white space before it.
        text: itself, without white space around it.
        paragraph: the number of its paragraph, from 0.
        asks: whether there is something to translate in it.
    """

    before: str
    text: str
    paragraph: int
    asks: bool


def split(text: str, max_characters: int) -> tuple[list[Piece], str]:
    """Cut a text into what is translated at a time, and the white space at its end.

    Code between fences and paragraphs without letters outside URLs are pieces with nothing to ask.
    """
    pieces: list[Piece] = []
    end = 0
    for paragraph, (start, stop, is_code) in enumerate(_paragraphs(text)):
        for begin, to in [(start, stop)] if is_code else _cut(text, start, stop, max_characters):
            piece = text[begin:to]
            asks = not is_code and any(map(str.isalpha, URL.sub("", piece)))
            pieces.append(Piece(text[end:begin], piece, paragraph, asks))
            end = to
    return pieces, text[end:]


def _paragraphs(text: str) -> Iterator[tuple[int, int, bool]]:
    """Where paragraphs begin and end, without white space around them, and whether they are fenced code."""
    position = 0
    for fence in FENCE.finditer(text):
        yield from _blocks(text, position, fence.start())
        yield (*_trimmed(text, fence.start(), fence.end()), True)
        position = fence.end()
    yield from _blocks(text, position, len(text))


def _blocks(text: str, start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
    for blank in BLANK_LINES.finditer(text, start, stop):
        begin, end = _trimmed(text, start, blank.start())
        if begin < end:
            yield begin, end, False
        start = blank.end()
    begin, end = _trimmed(text, start, stop)
    if begin < end:
        yield begin, end, False


def _trimmed(text: str, start: int, stop: int) -> tuple[int, int]:
    piece = text[start:stop]
    return start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())


def _cut(text: str, start: int, stop: int, limit: int) -> Iterator[tuple[int, int]]:
    """Cut a paragraph into parts of at most `limit` characters, at the ends of sentences where there are any."""
    while stop - start > limit:
        window = start + limit
        ends = ([m.end() for m in cut.finditer(text, start + 1, window + 1) if m.end() <= window] for cut in CUTS)
        at = next((found[-1] for found in ends if found), window)
        begin, end = _trimmed(text, start, at)
        if begin < end:
            yield begin, end
        start = _trimmed(text, at, stop)[0]
    if start < stop:
        yield start, stop


def join(pieces: list[Piece], texts: list[str], end: str, language: str) -> str:
    """Put translated pieces together as their sources stood: between parts of a line as the language has it."""
    parts, before = [], -1
    gap = "" if is_unspaced(language) else " "
    for piece, text in zip(pieces, texts, strict=True):
        within = piece.paragraph == before and "\n" not in piece.before
        parts += [gap if within else piece.before, text]
        before = piece.paragraph
    return "".join([*parts, end])
