"""A tokenizer's folder: load it, hash what determines its ids, its special tokens, and what its tokens stand for.

Every tokenizer is loaded here, by the `tokenizers` library and without transformers, whose import takes seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models

from diglot.base.errors import UserError
from diglot.tokenizer.byte_letters import bytes_of, missing_bytes
from diglot.tokenizer.description import (
    MODEL_FILES,
    TOKENIZER,
    declared_tokens,
    ids_in,
    named_ids,
    read_settings,
    read_specification,
)
from diglot.tokenizer.special import ENDS

SPACE = "▁"  # stands for a space in pieces, as in SentencePiece
BATCH = 256  # texts encoded at a time
# A broken normalizer or pre-tokenizer fails on one of them.
PROBES = ("", "a", "Hello, world! 12\n", "\u0645\u0631\u062d\u0628\u0627 \U0001f600\u200f\x00")
_BYTE = re.compile("<0x([0-9A-F]{2})>")
_QUIET = threading.Lock()  # standard error is the whole process's
_ESCAPED = re.compile("[\udc80-\udcff]")  # how Python keeps bytes that are no text


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the tokenizer of a Hugging Face folder: what tokenizer.json says, and nothing that a class would make of it.

    Special tokens that stand in a text are encoded as the plain text they are: `</s>` in a web page ends no document.

    Raises:
        UserError: there is neither tokenizer.json nor tokenizer.model, or the folder's files cannot be read.
    """
    file = folder / TOKENIZER
    declared = list(declared_tokens(folder))
    tokenizer = build_tokenizer(str(file), lambda: Tokenizer.from_file(str(file))) if file.is_file() else None
    if tokenizer is None or any(tokenizer.token_to_id(token["content"]) is None for token in declared):
        specification = read_specification(folder)
        tokenizer = build_tokenizer(
            str(file), lambda: Tokenizer.from_str(json.dumps(specification, ensure_ascii=False))
        )
        # The library counts added tokens through: behind a gap they would have other ids than the model knows.
        moved = [
            token for token in specification["added_tokens"] if tokenizer.id_to_token(token["id"]) != token["content"]
        ]
        if moved:
            raise UserError(
                f"{folder}: {moved[0]['content']!r} has the id {moved[0]['id']}, and ids before it have no token; "
                "name tokens for them in added_tokens.json, such as <unused1>"
            )
    return tokenizer


def build_tokenizer(file: str, build: Callable[[], Tokenizer]) -> Tokenizer:
    """A tokenizer of the `tokenizers` library that has been seen to work, and takes every text as plain text.

    Args:
        file: named in errors.
        build: makes it, of a file or a text.

    Raises:
        UserError: the library refuses it, or panics over it, now or at its first texts.
    """
    try:
        with _panics_kept_quiet():
            tokenizer = build()
            tokenizer.encode_special_tokens = True
            tokenizer.no_truncation()
            tokenizer.no_padding()
            for text in PROBES:
                tokenizer.decode(tokenizer.encode(text, add_special_tokens=True).ids)
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{file}: not a tokenizer that can be read ({error})") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # Rust's, which is no Exception and cannot be imported
            raise
        raise UserError(f"{file}: not a tokenizer that can be read (the tokenizers library fails: {error})") from error
    return tokenizer


@contextlib.contextmanager
def _panics_kept_quiet() -> Iterator[None]:
    """Rust writes a panic, with a trace, straight to the file of standard error; what else stands there comes after."""
    with _QUIET, tempfile.TemporaryFile() as kept:
        try:
            before = os.dup(2)
        except OSError:  # there is no standard error
            yield
            return
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
        kept.seek(0)
        os.write(2, kept.read())


def merge_pairs(merges: Iterable[str | Sequence[str]]) -> list[list[str]]:
    """A model's merges as pairs; older files write them as one string with a space."""
    return [merge.split(" ") if isinstance(merge, str) else list(merge) for merge in merges]


def tokenizer_hash(folder: Path) -> str:
    """SHA-256 (32 hex digits) over what determines ids: model, normalizer, pre-tokenizer and added tokens.

    The file's layout does not count, nor does how its merges are written (`"a b"` or `["a", "b"]`).
    """
    specification = read_specification(folder)
    model = {key: value for key, value in specification["model"].items() if value is not None}
    if "merges" in model:
        model["merges"] = merge_pairs(model["merges"])
    parts = {
        "model": model,
        "normalizer": specification.get("normalizer"),
        "pre_tokenizer": specification.get("pre_tokenizer"),
        "added_tokens": sorted(specification.get("added_tokens", []), key=lambda token: token["id"]),
    }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def tokenizer_size(tokenizer: Tokenizer) -> int:
    """Rows that a tokenizer needs: its highest id and one, added tokens included."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


# --- special tokens -------------------------------------------------------------------------------------------


def generation_ids(folder: Path, tokenizer: Tokenizer) -> dict[str, Any]:
    """What config.json and generation_config.json say of special tokens.

    Args:
        folder: of the tokenizer.
        tokenizer: as `load_tokenizer` gives it.

    Returns:
        `bos_token_id`, `eos_token_id` and `pad_token_id` (None where the tokenizer has none), and `stops`: all ids that
        end a generation: end of sequence, the chat format's end of a turn, and those that the folder's own config.json
        and generation_config.json name.
    """
    ids = named_ids(read_settings(folder, tokenizer), tokenizer)
    stops = [ids["eos"], *(tokenizer.token_to_id(token) for token in ENDS)]
    stops += [stop for file in MODEL_FILES for stop in ids_in(folder / file, "eos_token_id")]
    found: dict[str, Any] = {f"{role}_token_id": ids[role] for role in ("bos", "eos", "pad")}
    return found | {"stops": sorted({stop for stop in stops if stop is not None})}


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """The id of what a tokenizer cannot spell, or None where it spells everything."""
    if isinstance(tokenizer.model, models.Unigram):
        return json.loads(tokenizer.model.__getstate__())["unk_id"]
    name = getattr(tokenizer.model, "unk_token", None)
    return tokenizer.token_to_id(name) if name else None


def bytes_without_token(tokenizer: Tokenizer) -> list[int]:
    """The bytes of UTF-8 that a byte-level tokenizer drops from text; SmolLM2's drops eight."""
    decoder = json.loads(tokenizer.decoder.__getstate__()) if tokenizer.decoder else None
    return missing_bytes(tokenizer.get_vocab(with_added_tokens=False)) if is_byte_level(decoder) else []


# --- texts and pieces -----------------------------------------------------------------------------------------


def encode(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[list[int]]:
    """The ids of each text, in batches, without BOS."""
    texts = iter(texts)
    while batch := list(islice(texts, BATCH)):
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield encoding.ids


def is_byte_level(decoder: dict[str, Any] | None) -> bool:
    """Whether tokens are bytes written in GPT-2's letters, which tokenizer.json's decoder tells."""
    parts = (decoder, *decoder.get("decoders", [])) if decoder else ()
    return any(part["type"] == "ByteLevel" for part in parts)


def reader_of_bytes(tokenizer: Tokenizer) -> Callable[[int], bytes]:
    """A function that gives the bytes of text that a token stands for; of special tokens those of their name."""
    added = {number: token.content for number, token in tokenizer.get_added_tokens_decoder().items()}
    byte_level = is_byte_level(json.loads(tokenizer.decoder.__getstate__()) if tokenizer.decoder else None)

    def read(token_id: int) -> bytes:
        token = tokenizer.id_to_token(token_id) or ""
        if token_id in added:
            return added[token_id].encode()
        if byte_level:
            try:
                return bytes_of(token)
            except ValueError:  # a name among the letters, as some vocabularies have
                return token.encode()
        byte = _BYTE.fullmatch(token)
        return bytes([int(byte[1], 16)]) if byte else token.replace(SPACE, " ").encode()

    return read


def shown(data: bytes) -> str:
    """Bytes of text as a reader wants to see them: a space as ▁, a byte that is part of a character as <0xNN>."""
    text = data.decode("utf-8", "surrogateescape").replace(" ", SPACE)
    return _ESCAPED.sub(lambda found: f"<0x{ord(found[0]) - 0xDC00:02X}>", text)


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    """The pieces a text is cut into, as a reader wants to see them with any kind of tokenizer (see `shown`)."""
    read = reader_of_bytes(tokenizer)
    return [shown(read(token_id)) for token_id in tokenizer.encode(text, add_special_tokens=False).ids]
