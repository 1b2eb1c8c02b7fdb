r"""N-gram models from and for elsewhere: ARPA files, read and written.

    \data\
    ngram 1=5
    ngram 2=3

    \1-grams:
    -1.2552725 \t the \t -0.30103        log10 probability, words, log10 back-off weight (if not 0)

An ARPA file becomes a `trie.Trie`. How its text was prepared is not written in it; `guess_normalization` infers it from the
vocabulary: a model without a capital letter was trained on lower-case text, one whose only digit is 0 on text with
zeros, and so on. A file that breaks the format is refused with its line.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from diglot.base.errors import UserError
from diglot.quality.normalization import Normalization
from diglot.quality.trie import NONE, SPECIAL, UNKNOWN, Trie, child_of, hash_vocabulary
from diglot.text.hash_table import slot_of
from diglot.text.hashing import hash_bytes
from diglot.text.unicode import array_of, kernel, text_buffers

_ABSENT = -100.0  # KenLM's log10 probability of <unk> in models that lack it
_DECIMALS = 7
_BUFFER = 1 << 22
_GUESS_FROM = 100_000  # words of the vocabulary
_TOLERANCE = 0.002
_NEWLINE, _BLANK, _TAB, _RETURN, _BACKSLASH, _MINUS, _POINT, _ZERO = b"\n \t\r\\-.0"


# --- writing --------------------------------------------------------------------------------------------------


def write_arpa(trie: Trie, file: Path) -> None:
    """Write a model as an ARPA file, compressed if its name ends in `.gz`; the same bytes for the same model."""
    with file.open("wb") as raw:
        if file.suffix == ".gz":
            with gzip.GzipFile("", "wb", 1, raw, mtime=0) as out:
                _write(trie, out)
        else:
            _write(trie, raw)


def _write(trie: Trie, out: Any) -> None:
    counts = "".join(f"ngram {length}={number}\n" for length, number in enumerate(trie.counts, 1))
    out.write(f"\\data\\\n{counts}".encode())
    data, offsets = text_buffers(trie.vocabulary)
    longest = int(np.diff(offsets).max())
    buffer = np.empty(_BUFFER + trie.order * (longest + 1) + 64, np.uint8)
    start = 0
    for length, number in enumerate(trie.counts, 1):
        out.write(f"\n\\{length}-grams:\n".encode())
        path = np.zeros(length, np.int64)
        ends = np.cumsum(trie.counts)
        path[:] = [0, *ends][:length]
        node = start
        while node < start + number:
            node, size = _lines(
                node, start + number, path, trie.words, trie.probabilities, trie.backoffs, trie.beginnings, data,
                offsets, buffer, _BUFFER,
            )  # fmt: skip
            out.write(buffer[:size].data)
        start += number
    out.write(b"\n\\end\\\n")


@kernel
def _lines(node, end, path, words, probabilities, backoffs, beginnings, data, offsets, out, room):
    """Write n-grams from a node on until the buffer is full; `path` holds the nodes of its beginnings.

    The trie's arrays as in `Trie`; path int64 [length]; data uint8 and offsets int64 of the vocabulary; out uint8.
    """
    size, length = 0, len(path)
    while node < end and size < room:
        path[length - 1] = node
        # Nodes come in the order of their parents: each level's node only ever moves on.
        for level in range(length - 2, -1, -1):
            while beginnings[path[level] + 1] <= path[level + 1]:
                path[level] += 1
        size = _write_number(probabilities[node], out, size)
        for level in range(length):
            out[size] = _BLANK if level else _TAB
            size += 1
            word = words[path[level]]
            for at in range(offsets[word], offsets[word + 1]):
                out[size] = data[at]
                size += 1
        if node < len(backoffs):  # the highest order is nobody's context
            out[size] = _TAB
            size = _write_number(backoffs[node], out, size + 1)
        out[size] = _NEWLINE
        size += 1
        node += 1
    return node, size


@kernel
def _write_number(value, out, size):
    """Write a number with a fixed point; value float32, out uint8. Returns the new size."""
    scaled = np.int64(np.rint(abs(np.float64(value)) * 10.0**_DECIMALS))
    if scaled == 0:
        out[size] = _ZERO
        return size + 1
    if value < 0:
        out[size] = _MINUS
        size += 1
    digits = _DECIMALS + 1
    while scaled >= 10**digits:
        digits += 1
    for place in range(digits - 1, -1, -1):
        out[size] = _ZERO + (scaled // 10**place) % 10
        size += 1
        if place == _DECIMALS:
            out[size] = _POINT
            size += 1
    return size


# --- reading --------------------------------------------------------------------------------------------------


def read_arpa(file: Path) -> Trie:
    """Read an ARPA file, plain or `.gz`, into memory; how its text was normalized is guessed from the words.

    Raises:
        UserError: the file does not keep to the format; the message names the line.
    """
    data = _content(file)
    counts, at = _header(data, file)
    vocabulary, arrays, at = _read_unigrams(data, at, counts, file)
    keys, numbers = hash_vocabulary(vocabulary)
    capitals = hash_bytes(np.frombuffer(b"<UNK>", np.uint8), 0, 5)  # KenLM takes it for <unk> too
    slot = slot_of(keys, capitals)
    keys[slot], numbers[slot] = capitals, UNKNOWN
    sizes = [len(vocabulary)]
    for length in range(2, len(counts) + 1):
        at = _read_order(data, at, length, counts[length - 1], keys, numbers, arrays, sizes, file)
    if not bytes(data[at : at + 5]) == b"\\end\\":
        raise _error(data, at, file, "expected \\end\\; the file may be cut off")
    inner = sum(sizes[:-1])
    return Trie(
        counts=sizes, normalization=guess_normalization(vocabulary, file), words=arrays["words"],
        probabilities=arrays["probabilities"], suffixes=arrays["suffixes"], backoffs=arrays["backoffs"][:inner],
        beginnings=arrays["beginnings"], vocabulary=vocabulary, keys=keys, numbers=numbers,
    )  # fmt: skip


def _content(file: Path) -> np.ndarray:
    try:
        if file.suffix != ".gz":
            return np.memmap(file, np.uint8, "r")
        with gzip.open(file) as stream:
            return np.frombuffer(stream.read(), np.uint8)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from error


def _error(data: np.ndarray, at: int, file: Path, what: str) -> UserError:
    line = int(np.count_nonzero(data[:at] == _NEWLINE)) + 1
    shown = bytes(data[at : at + 200]).split(b"\n")[0][:80].decode(errors="replace")
    return UserError(f"{file}, line {line}: {what}: {shown!r}")


def _header(data: np.ndarray, file: Path) -> tuple[list[int], int]:
    head = bytes(data[:100_000])
    found = re.match(rb"(?:.*\n)*?\\data\\\s*\n((?:ngram +\d+ *= *\d+\s*\n)+)\s*", head)
    if not found:
        raise UserError(f"{file}: not an ARPA file: it has no \\data\\ section with lines such as ngram 1=5000")
    numbers = [(int(n), int(c)) for n, c in re.findall(rb"ngram +(\d+) *= *(\d+)", found[1])]
    if [length for length, _ in numbers] != list(range(1, len(numbers) + 1)) or len(numbers) < 2:
        raise UserError(f"{file}: the orders in its \\data\\ section must be 1, 2, and so on, at least up to 2")
    return [count for _, count in numbers], found.end()


def _section(data: np.ndarray, at: int, length: int, file: Path) -> int:
    title = rf"\{length}-grams:".encode()
    if bytes(data[at : at + len(title)]) != title:
        raise _error(data, at, file, f"expected {title.decode()}")
    return int(_skip_line(data, at))


def _parse(data: np.ndarray, at: int, length: int, count: int, file: Path) -> tuple[Any, ...]:
    """The rows of a section: values (float32 [rows, 2]), where words begin and end (int64 [rows, length, 2])."""
    at = _section(data, at, length, file)
    values = np.zeros((count, 2), np.float32)
    spans = np.zeros((count, length, 2), np.int64)
    rows, at, broken = _rows(data, at, values, spans)
    if broken:
        raise _error(data, at, file, f"not a probability, {length} words and perhaps a back-off weight")
    if rows != count:
        raise _error(data, at, file, f"{rows:,} {length}-grams where the header says {count:,}")
    return values, spans, int(_skip_blank(data, at))


@kernel
def _skip_line(data, at):
    """Where the next line begins; data uint8."""
    while at < len(data) and data[at] != _NEWLINE:
        at += 1
    return at + 1


@kernel
def _skip_blank(data, at):
    """Where something stands again; data uint8."""
    while at < len(data) and (data[at] == _NEWLINE or data[at] == _RETURN or data[at] == _BLANK):
        at += 1
    return at


@kernel
def _is_blank(byte):
    """Whether a byte (uint8) is whitespace within a line."""
    return byte in (_BLANK, _TAB, _RETURN)


@kernel
def _rows(data, at, values, spans):
    """Parse lines until an empty one; returns the rows, the position, and whether a line was broken.

    data uint8; values float32 [rows, 2] and spans int64 [rows, words, 2], written.
    """
    row, length, end = 0, spans.shape[1], len(data)
    while at < end and data[at] != _NEWLINE and data[at] != _RETURN and data[at] != _BACKSLASH:
        if row == len(values):  # more rows than the header says: the caller reports their number
            return row + 1, at, False
        line = at
        at, values[row, 0], fine = _read_number(data, at)
        for word in range(length):
            while at < end and _is_blank(data[at]):
                at += 1
            spans[row, word, 0] = at
            while at < end and not _is_blank(data[at]) and data[at] != _NEWLINE:
                at += 1
            spans[row, word, 1] = at
            fine &= spans[row, word, 0] < at
        while at < end and _is_blank(data[at]):
            at += 1
        # The back-off weight may be missing: it is then 0.
        if at < end and data[at] != _NEWLINE:
            at, values[row, 1], number = _read_number(data, at)
            fine &= number
        while at < end and _is_blank(data[at]):
            at += 1
        if not fine or at >= end or data[at] != _NEWLINE:
            return row, line, True
        at += 1
        row += 1
    return row, at, False


@kernel
def _read_number(data, at):
    """A decimal number such as -1.25 or 3e-05: where it ends, its value, whether there is one. data uint8."""
    negative = at < len(data) and data[at] == _MINUS
    at += negative
    value, digits, places, after = 0.0, 0, 0, False
    while at < len(data):
        byte = data[at]
        if byte == _POINT and not after:
            after = True
        elif 48 <= byte <= 57:
            value = value * 10 + (byte - 48)
            digits += 1
            places += after
        else:
            break
        at += 1
    if digits and at < len(data) and (data[at] == 101 or data[at] == 69):  # e, E
        at += 1
        down = at < len(data) and data[at] == _MINUS
        at += at < len(data) and (data[at] == _MINUS or data[at] == 43)
        exponent = 0
        while at < len(data) and 48 <= data[at] <= 57:
            exponent = min(exponent * 10 + (data[at] - 48), 400)
            at += 1
        places += exponent if down else -exponent
    value = value / 10.0**places  # one division: the digits are exact up to 2^53
    ended = at >= len(data) or _is_blank(data[at]) or data[at] == _NEWLINE
    return at, -value if negative else value, digits > 0 and ended


def _read_unigrams(data: np.ndarray, at: int, counts: list[int], file: Path) -> tuple[pa.Array, dict, int]:
    values, spans, at = _parse(data, at, 1, counts[0], file)
    spellings = [bytes(data[begin:end]) for begin, end in spans[:, 0].tolist()]
    places = {name.encode(): place for place, name in enumerate(SPECIAL)} | {b"<UNK>": UNKNOWN}
    ordinary = [row for row, word in enumerate(spellings) if word not in places]
    probabilities = np.full(len(SPECIAL) + len(ordinary), _ABSENT, np.float32)
    backoffs = np.zeros(len(probabilities), np.float32)
    for row, word in enumerate(spellings):
        if word in places:
            probabilities[places[word]], backoffs[places[word]] = values[row]
    probabilities[len(SPECIAL) :], backoffs[len(SPECIAL) :] = values[ordinary].T
    words = [name.encode() for name in SPECIAL] + [spellings[row] for row in ordinary]
    if len(set(words)) != len(words):
        raise UserError(f"{file}: a word stands twice among the 1-grams")
    ends = np.cumsum([0, *map(len, words)], dtype=np.int64)
    try:
        b"".join(words).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: its words are not UTF-8 ({error.reason})") from error
    vocabulary = array_of(np.frombuffer(b"".join(words), np.uint8), ends)
    arrays = {
        "words": np.arange(len(words), dtype=np.uint32), "probabilities": probabilities, "backoffs": backoffs,
        "suffixes": np.full(len(words), NONE, np.uint32), "beginnings": np.full(1, len(words), np.int64),
    }  # fmt: skip
    return vocabulary, arrays, at


def _read_order(
    data: np.ndarray, at: int, length: int, count: int, keys: np.ndarray, numbers: np.ndarray, arrays: dict,
    sizes: list[int], file: Path,
) -> int:  # fmt: skip
    """Append an order's n-grams to the arrays; returns where the next section begins."""
    values, spans, at = _parse(data, at, length, count, file)
    prefixes, last = np.empty(count, np.int64), np.empty(count, np.uint32)
    broken = _locate(data, spans, keys, numbers, arrays["words"], arrays["beginnings"], prefixes, last)
    if broken >= 0:
        begin = int(spans[broken, 0, 0])
        raise _error(data, begin, file, "its words without the last are no n-gram of the order below")
    # The trie wants an order sorted by parent and word; SRILM and others write it otherwise.
    order = np.argsort((prefixes << 32) | last, kind="stable")
    prefixes, last, values = prefixes[order], last[order], values[order]
    if np.any((prefixes[1:] == prefixes[:-1]) & (last[1:] == last[:-1])):
        raise UserError(f"{file}: a {length}-gram stands there twice")
    start, total = sum(sizes[:-1]), sum(sizes)
    # Beginnings are a running sum of how many children each node of the order below has.
    children = np.bincount(prefixes - start, minlength=sizes[-1])
    arrays["beginnings"] = np.append(arrays["beginnings"], arrays["beginnings"][-1] + np.cumsum(children))
    arrays["words"] = np.append(arrays["words"], last)
    arrays["probabilities"] = np.append(arrays["probabilities"], values[:, 0])
    arrays["backoffs"] = np.append(arrays["backoffs"], values[:, 1])
    suffixes = np.empty(count, np.uint32)
    _find_suffixes(prefixes, last, arrays["suffixes"], arrays["words"], arrays["beginnings"], suffixes)
    arrays["suffixes"] = np.append(arrays["suffixes"], suffixes)
    assert len(arrays["beginnings"]) == total + 1
    sizes.append(count)
    return at


@kernel
def _locate(data, spans, keys, numbers, words, beginnings, prefixes, last):
    """Find the prefix node and the last word of n-grams; returns a row that has none, or -1.

    data uint8, spans int64 [rows, words, 2]; the trie's arrays; prefixes int64 and last uint32 [rows], written.
    """
    for row in range(len(spans)):
        node = np.int64(-1)
        for place in range(spans.shape[1]):
            key = hash_bytes(data, spans[row, place, 0], spans[row, place, 1])
            slot = slot_of(keys, key)
            if keys[slot] != key:
                return row
            word = numbers[slot]
            if place == spans.shape[1] - 1:
                prefixes[row], last[row] = node, word
            elif place == 0:
                node = np.int64(word)
            else:
                node = child_of(node, word, words, beginnings)
            if node < 0:
                return row
    return -1


@kernel
def _find_suffixes(prefixes, last, suffixes_below, words, beginnings, suffixes):
    """The longest known n-gram without the first word: a child of the prefix's suffix, or of that one's, and so on.

    prefixes int64, last uint32 [rows]; the trie's arrays; suffixes uint32 [rows], written.
    """
    for row in range(len(prefixes)):
        node, found = suffixes_below[prefixes[row]], np.int64(-1)
        while node != NONE and found < 0:
            found = child_of(np.int64(node), last[row], words, beginnings)
            node = suffixes_below[node]
        suffixes[row] = found if found >= 0 else last[row]


def guess_normalization(vocabulary: pa.Array, file: Path) -> Normalization:
    """How the text of a model was prepared, from its words.

    Raises:
        UserError: the words are pieces of SentencePiece.
    """
    words = vocabulary.slice(len(SPECIAL), _GUESS_FROM).to_pylist()
    number = max(len(words), 1)

    def seldom(pattern: str) -> bool:
        return sum(1 for word in words if re.search(pattern, word)) <= _TOLERANCE * number

    characters = sum(len(word) == 1 for word in words) >= 0.95 * number
    if not characters and sum(word.startswith("▁") for word in words) > 0.2 * number:
        raise UserError(f"{file}: its words are pieces of a SentencePiece model; only models of words can be used")
    cased = sum(word != word.lower() for word in words)
    return Normalization(
        lower=cased <= _TOLERANCE * number,
        zeros=seldom(r"[1-9]"),
        split=seldom(r"\w[^\w\s]|[^\w\s]\w"),
        strip=seldom(r"[\u064b-\u0652\u0670\u0640]"),
        characters=characters,
    )
