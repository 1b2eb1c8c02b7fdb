"""Texts that a piece of bytes can be part of: characters that complete it at both ends.

A token of a byte-level tokenizer may begin or end inside a character, and then no text is this token alone. Whether
some text gives it is found out by trying the characters that it can begin or end in:

    D8 A8 D9  "ب" and the first byte of ف, ق, ك …       ->  "بـ"-like texts: "بف" "بق" "بك" …
    A8 D9 83  the last byte of ب, ة, … and "ك"          ->  "بك" " بك" "ةك" …

A merge that comes before may take a byte away from the token in one text and not in another, so many are tried: those
in the order of code points first (a script's neighbours), then some spread over all of Unicode.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

from diglot.text.scripts import PAGE

FIRST, SPREAD = 64, 192  # characters tried at an end: so many in order, and so many of the others
LAST_CODE = 0x110000


def whole_text(data: bytes) -> str | None:
    """Bytes as text, None where they begin or end inside a character."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def completions(data: bytes) -> Iterator[str]:
    """Texts whose bytes hold a token's bytes that begin or end inside a character; none if no text does."""
    begin, middle, end = _parts(data)
    text = whole_text(middle)
    if text is None:
        return
    if not middle and not end:  # the bytes may end a character, or stand within one
        heads = [*_ending_with(begin), *_holding(begin)]
    else:
        heads = [*_ending_with(begin)] if begin else [""]
    tails = [*_starting_with(end)] if end else [""]
    for head, tail in _pairs(heads, tails):
        yield head + text + tail
        yield " " + head + text + tail


def beside_letters(text: str) -> Iterator[str]:
    """A text in front of letters and behind them: of those of its own characters' neighbours in Unicode."""
    pages = dict.fromkeys(ord(character) // PAGE * PAGE for character in text)
    for letter in (chr(code) for first in pages for code in range(first, first + PAGE) if chr(code).isalpha()):
        yield text + letter
        yield letter + text


def _pairs(heads: list[str], tails: list[str]) -> Iterator[tuple[str, str]]:
    """Both ends, so that both change soon: by the sum of their places."""
    if not heads or not tails:
        return
    limit = FIRST + SPREAD if 1 in (len(heads), len(tails)) else 40
    heads, tails = heads[:limit], tails[:limit]
    for total in range(len(heads) + len(tails) - 1):
        for place in range(max(0, total - len(tails) + 1), min(total + 1, len(heads))):
            yield heads[place], tails[total - place]


def _parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """The bytes that end a character, whole characters, the bytes that begin one."""
    low = 0
    while low < len(data) and _is_continuation(data[low]):
        low += 1
    high = len(data)
    while high > low and _is_continuation(data[high - 1]):
        high -= 1
    if high > low and data[high - 1] >= 0xC0 and len(data) - (high - 1) < _length(data[high - 1]):
        return data[:low], data[low : high - 1], data[high - 1 :]
    return data[:low], data[low:], b""


def _is_continuation(byte: int) -> bool:
    return byte & 0xC0 == 0x80


def _length(lead: int) -> int:
    """The bytes of the character that a byte begins."""
    return 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2


@cache
def _starting_with(begun: bytes) -> tuple[str, ...]:
    """Characters whose bytes begin so: neighbours in Unicode."""
    left = _length(begun[0]) - len(begun)
    code = begun[0] & (0x7F >> _length(begun[0]))
    for byte in begun[1:]:
        code = code << 6 | byte & 0x3F
    return _some(
        chr(number)
        for number in _codes(code << 6 * left, (code + 1) << 6 * left)
        if chr(number).encode().startswith(begun)
    )


@cache
def _ending_with(ending: bytes) -> tuple[str, ...]:
    """Characters whose bytes end so: one in 64, or fewer."""
    code = 0
    for byte in ending:
        code = code << 6 | byte & 0x3F
    step = 64 ** len(ending)
    return _some(chr(number) for number in _codes(code, LAST_CODE, step) if len(chr(number).encode()) > len(ending))


def _holding(inner: bytes) -> Iterator[str]:
    """Characters of three or four bytes that hold these in their midst."""
    if len(inner) < 3:
        for last in range(0x80, 0xC0):
            yield from _ending_with(inner + bytes([last]))[:4]


def _codes(low: int, high: int, step: int = 1) -> Iterator[int]:
    """Code points that UTF-8 can write."""
    return (code for code in range(low, min(high, LAST_CODE), step) if not 0xD800 <= code < 0xE000)


def _some(characters: Iterable[str]) -> tuple[str, ...]:
    """The first ones, and some spread over the rest; assigned characters before private and unassigned ones."""
    every = sorted(characters, key=lambda character: unicodedata.category(character) in ("Cn", "Co"))
    rest = every[FIRST:]
    return (*every[:FIRST], *rest[:: max(1, len(rest) // SPREAD)])
