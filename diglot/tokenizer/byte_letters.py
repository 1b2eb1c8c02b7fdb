"""GPT-2's letters: how byte-level tokenizers write bytes as text."""

from __future__ import annotations

from collections.abc import Container


def _byte_letters() -> str:
    """GPT-2's letter of every byte: itself where Latin-1 has a visible character there, else one from U+0100 on."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in visible else next(others)) for byte in range(256))


BYTE_LETTERS = _byte_letters()  # by value of the byte
_UNUSED = frozenset({0xC0, 0xC1, *range(0xF5, 0x100)})  # bytes that no text has
_TO_LETTERS = dict(enumerate(BYTE_LETTERS))
_TO_BYTES = {ord(letter): byte for byte, letter in enumerate(BYTE_LETTERS)}


def missing_bytes(vocabulary: Container[str]) -> list[int]:
    """The bytes of UTF-8 whose letter a vocabulary does not hold."""
    return [byte for byte, letter in enumerate(BYTE_LETTERS) if byte not in _UNUSED and letter not in vocabulary]


def letters_of(data: bytes) -> str:
    """Bytes as byte-level tokenizers write them: those of " ك" are "ĠÙĥ"."""
    return data.decode("latin-1").translate(_TO_LETTERS)


def bytes_of(token: str) -> bytes:
    """The bytes that a byte-level token stands for.

    Raises:
        UnicodeEncodeError: (a ValueError) a character of it is none of GPT-2's letters, as in some special tokens.
    """
    return token.translate(_TO_BYTES).encode("latin-1")
