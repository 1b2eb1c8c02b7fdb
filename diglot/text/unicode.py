"""Unicode for the kernels: one table of character classes, decoding, hashing, and Arrow's buffers.

The kernels (numba, no GIL) walk the UTF-8 bytes of Arrow `large_string` arrays once and look every code point up in
a table built from Python's own Unicode data, so that they agree with `str.isspace`, `str.isalpha` and the rest.
Compiled kernels are cached in the user's cache folder, else in one among the system's temporary ones that is closed to
others: what numba reads from it is code. Its name says what stands in this package's files and in `*_kernels.py` of the
others, for numba itself does not notice that a kernel calls one of another file that has changed.
`NUMBA_CACHE_DIR` puts them elsewhere.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import unicodedata
from pathlib import Path
from typing import Any

from diglot.base.files import own_temporary_folder


def _set_cache_folder() -> None:
    """Choose numba's cache folder: one for each state of the package's files that have kernels.

    Numba looks only at the file of the kernel itself, and kernels are compiled into those that call them.
    """
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):  # some 240 files: 12 ms
        if b"kernel" in (text := file.read_bytes()):
            digest.update(text)
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "diglot"
    nearest = next(folder for folder in [home, *home.parents] if folder.exists())
    if not os.access(nearest, os.W_OK):
        home = own_temporary_folder()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(home / f"kernels-{digest.hexdigest()[:12]}"))


_set_cache_folder()

import numba  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402

numba.config.reload_config()  # it may have been imported before the folder was set
kernel = numba.njit(nogil=True, cache=True, error_model="numpy")

SPACE, LETTER, DIGIT, MARK, UNSPACED, PUNCTUATION, INVISIBLE, BROKEN = (1 << bit for bit in range(8))

# Scripts written without spaces between words: Thai, Lao, Tibetan, Myanmar, Khmer, kana, Han.
_UNSPACED_RANGES = [
    (0x0E00, 0x0EFF), (0x0F00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF),
    (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF),
]  # fmt: skip
# Ideographs and Hangul syllables, without gaps or case: not looked up one by one (half of the time).
_LETTERS_ONLY = [(0x3400, 0x4DBF), (0x4E00, 0x9FFC), (0xAC00, 0xD7A3), (0x20000, 0x2A6DD)]
# Beside controls. Some scripts need some of these: `_goes` in curate/clean/lines.py says where they stay.
_INVISIBLE = {0x00AD, 0x180E, 0x200B, 0x2060, 0x2061, 0x2062, 0x2063, 0x2064, 0xFEFF}
_WHITESPACE_CONTROLS = set(
    "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85"
)  # U+001C to U+001F separate; taken away they would join words
_LAST_ASCII = 0x7F  # controls behind it are letters and marks of Windows-1252 that were read as Latin-1
_LAST_SCRIPT = 0x33480  # nothing but tags, variation selectors and private use above

HASH_SEED = np.uint64(0x243F6A8885A308D3)
HASH_PRIME = np.uint64(0x9E3779B97F4A7C15)
_MIX_PRIME = np.uint64(0xBF58476D1CE4E5B9)


def _classify(code: int) -> int:
    character, flags = chr(code), 0
    category = unicodedata.category(character)
    if character.isspace():
        flags |= SPACE
    if character.isalpha():
        flags |= LETTER
    if category == "Nd":
        flags |= DIGIT
    if category[0] == "M":
        flags |= MARK
    if category[0] in "PS" or category in ("Cc", "Cf"):
        flags |= PUNCTUATION
    is_control = category == "Cc" and character not in _WHITESPACE_CONTROLS
    if code in _INVISIBLE or (is_control and code <= _LAST_ASCII):
        flags |= INVISIBLE
    elif is_control:
        flags |= BROKEN
    return flags


@functools.cache
def character_tables() -> tuple[np.ndarray, np.ndarray]:
    """Class flags (uint8) and lower-case mapping (uint32, one code point to one) of every code point."""
    classes = np.zeros(0x110000, np.uint8)
    lower = np.arange(0x110000, dtype=np.uint32)
    for low, high in _LETTERS_ONLY:
        classes[low : high + 1] = LETTER
    begins = [0, *(high + 1 for _, high in _LETTERS_ONLY)]
    ends = [*(low for low, _ in _LETTERS_ONLY), _LAST_SCRIPT]
    for code in itertools.chain.from_iterable(map(range, begins, ends)):
        if 0xD800 <= code < 0xE000:
            continue
        classes[code] = _classify(code)
        lowered = chr(code).lower()
        if len(lowered) == 1:
            lower[code] = ord(lowered)
    for low, high in [(0xE000, 0xF8FF), (0xF0000, 0x10FFFF), (0xFDD0, 0xFDEF), (0xFFFD, 0xFFFF)]:
        classes[low : high + 1] |= BROKEN
    for low, high in _UNSPACED_RANGES:
        letters = classes[low : high + 1] & LETTER != 0
        classes[low : high + 1][letters] |= UNSPACED
    for plane in range(0x10000, 0x110000, 0x10000):
        classes[plane + 0xFFFE : plane + 0x10000] |= BROKEN
    return classes, lower


def text_buffers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The bytes (uint8) and offsets (int64 [documents + 1]) of a `large_string` array, without copying."""
    _, offsets, data = texts.buffers()
    starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    content = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(1, np.uint8)
    return content, starts


def text_array(texts: list[bytes]) -> pa.Array:
    """A `large_string` array of texts that are valid UTF-8."""
    return pa.array(texts, pa.large_binary()).view(pa.large_string())


def array_of(data: np.ndarray, offsets: np.ndarray) -> pa.Array:
    """A `large_string` array over bytes (uint8) and offsets (int64) that a kernel wrote."""
    buffers: list[Any] = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)


@kernel
def decode(data, position):
    """The code point at a byte position of valid UTF-8, and its length in bytes; data uint8."""
    at = np.uint64(position)
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    second = np.int64(data[at + np.uint64(1)]) & 0x3F
    if first < 0xE0:
        return ((first & 0x1F) << 6) | second, 2
    third = np.int64(data[at + np.uint64(2)]) & 0x3F
    if first < 0xF0:
        return ((first & 0x0F) << 12) | (second << 6) | third, 3
    fourth = np.int64(data[at + np.uint64(3)]) & 0x3F
    return ((first & 0x07) << 18) | (second << 12) | (third << 6) | fourth, 4


@kernel
def absorb(state, value):
    """Take one more value into a 64-bit hash; state uint64, value any whole number."""
    state = (state ^ np.uint64(value)) * HASH_PRIME
    return state ^ (state >> np.uint64(32))


@kernel
def finish(state):
    """Spread a 64-bit hash over all its bits; state uint64."""
    state = (state ^ (state >> np.uint64(31))) * _MIX_PRIME
    return state ^ (state >> np.uint64(29))
