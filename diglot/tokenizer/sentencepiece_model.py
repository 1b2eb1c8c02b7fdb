"""SentencePiece's tokenizer.model: read, appended to, and turned into tokenizer.json.

The file is a protocol buffer (sentencepiece_model.proto). Two messages that stand one after another are one message
whose repeated fields are those of both: so pieces are added by writing them behind the file, and everything that was
there stays as it is, byte for byte.

    message ModelProto    { repeated SentencePiece pieces = 1; TrainerSpec trainer_spec = 2; NormalizerSpec normalizer_spec = 3; }
    message SentencePiece { string piece = 1; float score = 2; Type type = 3; }
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from diglot.base.errors import UserError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
VARINT, FIXED_64, LENGTH, FIXED_32 = 0, 1, 2, 5
UNIGRAM, BPE = 1, 2


class Piece(NamedTuple):
    """An entry of the vocabulary; its id is its place in the file."""

    text: str
    score: float
    type: int = NORMAL


@dataclass
class SentencePieceModel:
    """What a tokenizer.model says.

    Attributes:
        pieces: the vocabulary, by id.
        kind: UNIGRAM or BPE.
        byte_fallback: characters outside the vocabulary become their bytes.
        charsmap: SentencePiece's compiled normalisation rules; empty for none.
        add_dummy_prefix: a space is put in front of every text.
        remove_extra_whitespaces: spaces at both ends and runs of them are dropped.
    """

    pieces: list[Piece] = field(default_factory=list)
    kind: int = UNIGRAM
    byte_fallback: bool = False
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True


def read_model(file: Path) -> SentencePieceModel:
    """Read a tokenizer.model.

    Raises:
        UserError: the file is not one.
    """
    model = SentencePieceModel()
    try:
        for number, value in _fields(file.read_bytes()):
            if number == 1:
                model.pieces.append(_piece(value))
            elif number == 2:
                trainer = dict(_fields(value))
                model.kind = trainer.get(3, UNIGRAM)
                model.byte_fallback = bool(trainer.get(35, 0))
            elif number == 3:
                rules = dict(_fields(value))
                model.charsmap = _content(rules.get(2, b""))
                model.add_dummy_prefix = bool(rules.get(3, 1))
                model.remove_extra_whitespaces = bool(rules.get(4, 1))
    except (IndexError, ValueError, TypeError, struct.error) as error:
        raise UserError(f"{file}: not a SentencePiece model ({error})") from error
    if not model.pieces:
        raise UserError(f"{file}: not a SentencePiece model (it has no pieces)")
    return model


def with_pieces(file: Path, pieces: Iterable[Piece]) -> bytes:
    """The content of a tokenizer.model with pieces added behind its own."""
    return file.read_bytes() + b"".join(_message(1, _encode_piece(piece)) for piece in pieces)


# --- tokenizer.json -------------------------------------------------------------------------------------------


def to_specification(file: Path) -> dict[str, Any]:
    """tokenizer.json for a folder that has only a tokenizer.model, with the same pieces for every text.

    Raises:
        UserError: a kind of model other than BPE and unigram.
    """
    model = read_model(file)
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    rules: list[dict[str, Any]] = []
    if model.charsmap:
        rules.append({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(model.charsmap).decode()})
    if model.remove_extra_whitespaces:
        # Spaces alone: the library's Strip takes other white space too, such as U+0085, which SentencePiece keeps.
        rules.append({"type": "Replace", "pattern": {"Regex": r"\A +| +\z"}, "content": ""})
        rules.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    if model.add_dummy_prefix:
        rules.append({"type": "Prepend", "prepend": "▁"})
    rules.append(space)
    unknown = next((n for n, piece in enumerate(model.pieces) if piece.type == UNKNOWN), None)
    if model.kind == BPE:
        vocabulary = {piece.text: number for number, piece in enumerate(model.pieces)}
        inner: dict[str, Any] = {
            "type": "BPE",
            "unk_token": model.pieces[unknown].text if unknown is not None else None,
            "fuse_unk": True,
            "byte_fallback": model.byte_fallback,
            "vocab": vocabulary,
            "merges": [merge for piece in by_rank(model.pieces) for merge in splits(piece.text, vocabulary)],
        }
    elif model.kind == UNIGRAM:
        scores = [[piece.text, piece.score] for piece in model.pieces]
        inner = {"type": "Unigram", "unk_id": unknown, "vocab": scores, "byte_fallback": model.byte_fallback}
    else:
        raise UserError(f"{file}: SentencePiece models of words or characters are not supported; BPE and unigram are")
    # These are cut out before the model sees the text, as SentencePiece does with user-defined symbols.
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    special = [
        {"id": number, "content": piece.text, **flags, "special": piece.type != USER_DEFINED}
        for number, piece in enumerate(model.pieces)
        if piece.type in (UNKNOWN, CONTROL, USER_DEFINED)
    ]
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    decoders = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": rules},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": decoders + [strip] * model.add_dummy_prefix},
        "model": inner,
    }


def by_rank(pieces: list[Piece]) -> list[Piece]:
    """The pieces that merges make, the first to merge first; equal scores by id, as SentencePiece does."""
    return sorted((piece for piece in pieces if piece.type == NORMAL), key=lambda piece: -piece.score)


def splits(piece: str, vocabulary: dict[str, int]) -> list[list[str]]:
    """All ways to make a piece of two others, by the ids of both (the order that transformers writes)."""
    halves = ((piece[:end], piece[end:]) for end in range(1, len(piece)))
    known = [[left, right] for left, right in halves if left in vocabulary and right in vocabulary]
    return sorted(known, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))


# --- protocol buffers -----------------------------------------------------------------------------------------


def _fields(data: bytes | memoryview) -> Iterator[tuple[int, Any]]:
    """The fields of a message: numbers as integers, everything else as bytes."""
    view, place = memoryview(data), 0
    while place < len(view):
        key, place = _varint(view, place)
        wire = key & 7
        value: Any
        if wire == VARINT:
            value, place = _varint(view, place)
        elif wire == LENGTH:
            size, place = _varint(view, place)
            value, place = view[place : place + size], place + size
        elif wire in (FIXED_32, FIXED_64):
            size = 4 if wire == FIXED_32 else 8
            value, place = view[place : place + size], place + size
        else:
            raise ValueError(f"field {key >> 3} has wire type {wire}")
        if place > len(view):
            raise ValueError("the file is cut off")
        yield key >> 3, value


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[place]
        value, shift, place = value | (byte & 0x7F) << shift, shift + 7, place + 1
        if byte < 0x80:
            return value, place
        if shift > 63:
            raise ValueError("a number has no end")


def _piece(message: memoryview) -> Piece:
    values = dict(_fields(message))
    score = struct.unpack("<f", values[2])[0] if 2 in values else 0.0
    return Piece(_content(values.get(1, b"")).decode(), score, values.get(3, NORMAL))


def _content(value: Any) -> bytes:
    """A field's bytes; `bytes` of a number would be as many zeros."""
    if isinstance(value, int):
        raise TypeError("a number in place of a text")
    return bytes(value)


def _encode_piece(piece: Piece) -> bytes:
    return (
        _message(1, piece.text.encode())
        + _number(2 << 3 | FIXED_32)
        + struct.pack("<f", piece.score)
        + _number(3 << 3 | VARINT)
        + _number(piece.type)
    )


def _message(number: int, content: bytes) -> bytes:
    return _number(number << 3 | LENGTH) + _number(len(content)) + content


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
