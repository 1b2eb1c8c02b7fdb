"""What a tokenizer's folder says, in whichever of its files it says it.

tokenizer.json is the truth about ids. What it lacks stands elsewhere in older folders and in those of fine-tunes:

    added tokens      added_tokens_decoder of tokenizer_config.json, added_tokens.json
    special tokens    tokenizer_config.json, special_tokens_map.json, ids in config.json and generation_config.json
    all of it         tokenizer.model, where there is no tokenizer.json

Where several files speak of one thing, the one named first counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, processors

from diglot.base import files
from diglot.base.errors import UserError
from diglot.tokenizer.sentencepiece_model import to_specification

TOKENIZER, SENTENCEPIECE, SETTINGS = "tokenizer.json", "tokenizer.model", "tokenizer_config.json"
TEKKEN = "tekken.json"
MAP, ADDED = "special_tokens_map.json", "added_tokens.json"
MODEL_FILES = ("config.json", "generation_config.json")  # of the model that the tokenizer is with
ROLES = ("bos", "eos", "unk", "pad")
LISTS = ("additional_special_tokens", "extra_special_tokens")  # names without a role
MAPPED = (*(f"{role}_token" for role in ROLES), LISTS[0])  # what special_tokens_map.json may hold before transformers 5
# The class of transformers that takes tokenizer.json as it is. Its own list of inputs has token_type_ids before
# transformers 5, and `generate` fails on them.
GENERIC = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"]}
LARGEST_ID = 2**31  # what `tokenizers` can count to
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")  # of added tokens


def read_json(file: Path, *, optional: bool = False) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        file: of a tokenizer's folder.
        optional: a file that is not there is an empty object.

    Raises:
        UserError: the file is not JSON, or not an object, or is not there.
    """
    if optional and not file.is_file():
        return {}
    value = files.read_json(file, "give a whole Hugging Face tokenizer folder")
    if not isinstance(value, dict):
        raise UserError(f"{file}: a JSON object is wanted, not {type(value).__name__}")
    return value


def is_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer that is read here."""
    return any((folder / name).is_file() for name in (TOKENIZER, SENTENCEPIECE))


def read_specification(folder: Path) -> dict[str, Any]:
    """tokenizer.json, with the added tokens that only other files name; made of tokenizer.model where there is none.

    Raises:
        UserError: there is neither, one cannot be read, or two tokens claim one id.
    """
    if (folder / TOKENIZER).is_file():
        specification = _checked(folder / TOKENIZER, read_json(folder / TOKENIZER))
    elif (folder / SENTENCEPIECE).is_file():
        specification = to_specification(folder / SENTENCEPIECE)
        specification["post_processor"] = _framed(folder, specification)
    else:
        raise UserError(f"{folder}: no {TOKENIZER} and no {SENTENCEPIECE}; {_instead(folder)}")
    added = [*specification.get("added_tokens", []), *missing_tokens(folder, specification)]
    return {**specification, "added_tokens": added}


def missing_tokens(folder: Path, specification: dict[str, Any]) -> list[dict[str, Any]]:
    """The added tokens that only files beside tokenizer.json name, in the order of their ids.

    Args:
        folder: of the tokenizer.
        specification: its tokenizer.json.

    Raises:
        UserError: one has the id of another token.
    """
    declared = list(declared_tokens(folder))
    if not declared:
        return []
    vocabulary = specification["model"]["vocab"]
    ids = dict(vocabulary) if isinstance(vocabulary, dict) else {piece: n for n, (piece, _) in enumerate(vocabulary)}
    ids |= {token["content"]: token["id"] for token in specification.get("added_tokens", [])}
    owners = {number: token for token, number in ids.items()}
    missing = [token for token in declared if token["content"] not in ids]
    for token in missing:
        # An id that is taken twice would make one of the two unreachable, whichever the model was trained with.
        if token["id"] in owners:
            raise UserError(
                f"{folder}: {token['content']!r} has the id {token['id']} in {SETTINGS} or {ADDED}, but that is "
                f"{owners[token['id']]!r} in {TOKENIZER}; save the tokenizer again where it was trained"
            )
        owners[token["id"]] = token["content"]
    return sorted(missing, key=lambda token: token["id"])


def _checked(file: Path, specification: dict[str, Any]) -> dict[str, Any]:
    """tokenizer.json with what is read of it here; the rest is checked by the library, which is more lenient in this."""
    model, added = specification.get("model"), specification.get("added_tokens") or []
    if not isinstance(model, dict) or not _is_vocabulary(model.get("vocab")):
        raise UserError(f"{file}: not a tokenizer: it has no model with a vocabulary (vocab)")
    merges = model.get("merges") or []
    if not isinstance(merges, list) or not all(isinstance(merge, str | list) for merge in merges):
        raise UserError(f"{file}: model.merges: a list of pairs is wanted")
    if not isinstance(added, list) or not all(map(_is_token, added)):
        raise UserError(f"{file}: added_tokens: a list is wanted, of objects with an id and a content")
    return {**specification, "added_tokens": added}


def _is_vocabulary(vocabulary: Any) -> bool:
    """Ids by piece, or, in unigram models, pieces with their scores."""
    if isinstance(vocabulary, dict):
        return all(isinstance(number, int) for number in vocabulary.values())
    pairs = vocabulary if isinstance(vocabulary, list) else [None]
    return all(isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs)


def _is_token(token: Any) -> bool:
    given = token if isinstance(token, dict) else {}
    number = given.get("id")
    return isinstance(given.get("content"), str) and isinstance(number, int) and not isinstance(number, bool)


def _instead(folder: Path) -> str:
    """What to do with a folder that has neither; Mistral's own releases have their tokenizer under other names."""
    model = next((file.name for file in sorted(folder.glob("*.model*"))), None)
    if (folder / TEKKEN).is_file():
        return (
            f"{TEKKEN} is in Mistral's own form, which is not read here: take {TOKENIZER} and {SETTINGS} from the model's "
            "release for transformers (on the hub, beside the consolidated files)"
        )
    if model is not None:
        return f"if {model} is its SentencePiece model, copy it to {SENTENCEPIECE}"
    return "give a whole Hugging Face tokenizer folder"


def declared_tokens(folder: Path) -> Iterator[dict[str, Any]]:
    """The added tokens that files beside tokenizer.json name, as tokenizer.json would write them.

    Raises:
        UserError: such a file is not what transformers writes.
    """
    settings, added = read_json(folder / SETTINGS, optional=True), read_json(folder / ADDED, optional=True)
    decoder = settings.get("added_tokens_decoder") or {}
    special = {name for names in (settings, read_json(folder / MAP, optional=True)) for name in _names(names)}
    seen = set()
    for number, token in decoder.items() if isinstance(decoder, dict) else [("", decoder)]:
        if not (number.isdecimal() and isinstance(token, dict) and isinstance(token.get("content"), str)):
            raise UserError(
                f"{folder / SETTINGS}: added_tokens_decoder: an id and a token each, not {number}: {token!r}"
            )
        seen.add(token["content"])
        flags = {flag: bool(token.get(flag)) for flag in (*FLAGS, "special")}
        yield {"id": int(number), "content": token["content"], **flags}
    for content, number in added.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise UserError(f"{folder / ADDED}: {content!r}: an id is a number from 0 on, not {number!r}")
        if content not in seen:
            yield {"id": number, "content": content, **dict.fromkeys(FLAGS, False), "special": content in special}


def _names(settings: Mapping[str, Any]) -> Iterator[str]:
    """The special tokens that an object names, by role or in a list."""
    for role in ROLES:
        if (name := special_name(settings, f"{role}_token")) is not None:
            yield name
    for key in LISTS:
        listed = settings.get(key) or []
        if not isinstance(listed, dict | list):
            raise UserError(f"{SETTINGS} or {MAP}: {key}: a list of tokens is wanted, not {listed!r}")
        for value in listed.values() if isinstance(listed, dict) else listed:
            yield special_name({key: value}, key) or ""


def _framed(folder: Path, specification: dict[str, Any]) -> dict[str, Any] | None:
    """What adds BOS and EOS to a text, where the settings beside a tokenizer.model ask for it."""
    settings = read_json(folder / SETTINGS, optional=True)
    tokens = specification["added_tokens"] + list(declared_tokens(folder))
    ids = {token["content"]: token["id"] for token in tokens}
    wanted = [(special_name(settings, f"{role}_token") or "", settings.get(f"add_{role}_token")) for role in ROLES[:2]]
    bos, eos = ([name] if asked and name in ids else [] for name, asked in wanted)
    if not bos + eos:
        return None
    first, second = [*bos, "$A", *eos], [part + ":1" for part in (*bos, "$B", *eos)]
    special = [(name, ids[name]) for name in {*bos, *eos}]
    processor = processors.TemplateProcessing(single=first, pair=first + second, special_tokens=special)
    framing: dict[str, Any] = json.loads(processor.__getstate__())
    return framing


# --- settings and special tokens ------------------------------------------------------------------------------


def special_name(settings: Mapping[str, Any], key: str) -> str | None:
    """A special token's text, where it is a string or an object with `content`.

    Raises:
        UserError: it is neither.
    """
    value = settings.get(key)
    if isinstance(value, dict):
        value = value.get("content")
    if value is not None and not isinstance(value, str):
        raise UserError(f"{SETTINGS} or {MAP}: {key}: a special token is a text, not {value!r}")
    return value


def read_settings(folder: Path, tokenizer: Tokenizer) -> dict[str, Any]:
    """tokenizer_config.json, with the special tokens that only other files name.

    A token that tokenizer_config.json says is not there (`null`) is not there, whatever the other files say.

    Args:
        folder: of the tokenizer.
        tokenizer: gives the texts of tokens that config.json names by their ids.

    Raises:
        UserError: a file is not JSON, or a special token is not a text.
    """
    named = read_json(folder / MAP, optional=True)
    special = (*(f"{role}_token" for role in ROLES), *LISTS)
    settings = {key: named[key] for key in special if key in named} | read_json(folder / SETTINGS, optional=True)
    for role in ROLES:
        numbers = [number for file in MODEL_FILES for number in ids_in(folder / file, f"{role}_token_id")]
        names = [tokenizer.id_to_token(number) for number in numbers]
        if f"{role}_token" not in settings and any(names):
            settings[f"{role}_token"] = next(filter(None, names))
    list(_names(settings))  # refuses what is not a text
    # A list by this name is new in transformers 5, and an error before.
    if isinstance(listed := settings.get("extra_special_tokens"), list):
        del settings["extra_special_tokens"]
        settings["additional_special_tokens"] = [*(settings.get("additional_special_tokens") or []), *listed]
    return settings


def ids_in(file: Path, key: str) -> list[int]:
    """The ids that config.json or generation_config.json gives for a kind of token; -1 is none, as in old Llama folders.

    Raises:
        UserError: it is not a number or a list of numbers.
    """
    value = read_json(file, optional=True).get(key)
    numbers = value if isinstance(value, list) else [] if value is None else [value]
    if wrong := [number for number in numbers if not isinstance(number, int) or isinstance(number, bool)]:
        raise UserError(f"{file}: {key}: an id or a list of ids, not {wrong[0]!r}")
    return [number for number in numbers if 0 <= number < LARGEST_ID]


def named_ids(settings: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, int | None]:
    """The ids of bos, eos, unk and pad as a folder names them; None for what it does not."""
    names = {role: special_name(settings, f"{role}_token") for role in ROLES}
    return {role: tokenizer.token_to_id(name) if name else None for role, name in names.items()}
