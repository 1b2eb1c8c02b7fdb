"""A tokenizer folder: load it, hash what determines its ids, its special tokens, and what its tokens stand for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Tokenizer

from diglot.base import files
from diglot.base.artifact import UserError
from diglot.tokenizer.byte_letters import bytes_of
from diglot.tokenizer.special import END, ENDS, ROLES

SPACE = "▁"  # stands for a space in pieces, as in SentencePiece


BATCH = 256  # texts encoded at a time


_BYTE = re.compile("<0x([0-9A-F]{2})>")


_ESCAPED = re.compile("[\udc80-\udcff]")  # how Python keeps bytes that are no text


def load_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """Load the fast tokenizer of a Hugging Face folder, without importing transformers.

    Special tokens that stand in a text are encoded as the plain text they are: `</s>` in a web page ends no document.

    Raises:
        UserError: there is no tokenizer.json, or it cannot be read.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise UserError(f"{folder} has no tokenizer.json: give a Hugging Face folder with a fast tokenizer")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{file}: not a tokenizer that can be read ({error})") from error
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def tokenizer_hash(folder: Path) -> str:
    """SHA-256 (32 hex digits) over what determines ids: model, normalizer, pre-tokenizer and added tokens.

    The file's layout does not count, nor does the form of its merges (`"a b"` or `["a", "b"]`).
    """
    specification = read_json(folder / "tokenizer.json")
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


def special_ids(folder: Path) -> dict[str, int]:
    """Ids of the special tokens, by role: bos, eos, pad, unk, system, user, assistant, end.

    Only bos and eos are always there: a base model's tokenizer may lack the others. Where it has no bos it is the
    eos, as Qwen's makers separate documents.

    Raises:
        UserError: eos is not defined, or bos is and is not in the vocabulary.
    """
    tokenizer = load_tokenizer(folder)
    config = read_json(folder / "tokenizer_config.json")
    names = {role: special_name(config, f"{role}_token") for role in ("bos", "eos", "pad", "unk")}
    names["bos"] = names["bos"] or names["eos"]
    names |= {**ROLES, "end": END}
    ids = {role: tokenizer.token_to_id(name) for role, name in names.items() if name is not None}
    for role in ("bos", "eos"):
        if ids.get(role) is None:
            raise UserError(f"{folder / 'tokenizer_config.json'}: {role}_token is not defined or not in the vocabulary")
    return {role: token_id for role, token_id in ids.items() if token_id is not None}


def special_name(config: dict[str, Any], key: str) -> str | None:
    """A special token's text in tokenizer_config.json, where it is a string or an object with `content`."""
    value = config.get(key)
    return value["content"] if isinstance(value, dict) else value


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: the file is not there or not JSON.
    """
    return files.read_json(file, "give a whole Hugging Face tokenizer folder")


def merge_pairs(merges: Iterable[str | Sequence[str]]) -> list[list[str]]:
    """A model's merges as pairs; older files write them as one string with a space."""
    return [merge.split(" ") if isinstance(merge, str) else list(merge) for merge in merges]


def encode(tokenizer: tokenizers.Tokenizer, texts: Iterable[str]) -> Iterator[list[int]]:
    """The ids of each text, in batches, without BOS."""
    texts = iter(texts)
    while batch := list(islice(texts, BATCH)):
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield encoding.ids


def is_byte_level(tokenizer: tokenizers.Tokenizer) -> bool:
    """Whether tokens are bytes written in GPT-2's letters, which the decoder tells."""
    if tokenizer.decoder is None:
        return False
    decoder = json.loads(tokenizer.decoder.__getstate__())
    return "ByteLevel" in [part["type"] for part in (decoder, *decoder.get("decoders", []))]


def reader_of_bytes(tokenizer: tokenizers.Tokenizer) -> Callable[[int], bytes]:
    """A function that gives the bytes of text that a token stands for; of special tokens those of their name."""
    added = {number: token.content for number, token in tokenizer.get_added_tokens_decoder().items()}
    byte_level = is_byte_level(tokenizer)

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


def pieces(tokenizer: tokenizers.Tokenizer, text: str) -> list[str]:
    """The pieces a text is cut into, as a reader wants to see them in any form of tokenizer (see `shown`)."""
    read = reader_of_bytes(tokenizer)
    return [shown(read(token_id)) for token_id in tokenizer.encode(text, add_special_tokens=False).ids]


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in a folder.

    Raises:
        UserError: tokenizer.json is missing or broken.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise UserError(
            f"{folder}: no tokenizer.json. Where there is a tokenizer.model, load the folder once with "
            "transformers.AutoTokenizer and save it: save_pretrained writes tokenizer.json."
        )
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{file}: not a tokenizer: {error}") from error


def tokenizer_size(tokenizer: Tokenizer) -> int:
    """Rows that a tokenizer needs: its highest id and one, added tokens included."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def special_tokens(folder: Path) -> dict[str, Any]:
    """The special ids of a tokenizer's or model's folder.

    Returns:
        `{"bos_token_id", "eos_token_id", "pad_token_id"}` (None where the tokenizer has none) and "stops": all ids
        that end a generation: end of sequence, the chat format's end of a turn, and those that the folder's own
        generation_config.json names.
    """
    tokenizer = read_tokenizer(folder)
    configured = _read_if_there(folder / "tokenizer_config.json")
    ids: dict[str, Any] = {}
    for name in ("bos", "eos", "pad"):
        token = configured.get(f"{name}_token")
        token = token.get("content") if isinstance(token, dict) else token
        ids[f"{name}_token_id"] = tokenizer.token_to_id(token) if token else None
    before = _read_if_there(folder / "generation_config.json").get("eos_token_id")
    stops = [ids["eos_token_id"], *(tokenizer.token_to_id(token) for token in ENDS)]
    stops += before if isinstance(before, list) else [before]
    ids["stops"] = sorted({stop for stop in stops if stop is not None})
    return ids


def _read_if_there(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}
