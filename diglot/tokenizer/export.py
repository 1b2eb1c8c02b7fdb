"""A tokenizer as transformers has it: the same ids as here, for everyone who loads the folder.

transformers 5 builds a tokenizer's normalizer and splitter anew by the rules of the class that tokenizer_config.json
names, whatever tokenizer.json says: a Llama-3-style tokenizer named GPT2Tokenizer is then cut as GPT-2's. So the class is
kept where what it builds is what tokenizer.json says, and is the generic one elsewhere, which takes the file as it is.
(For a few types of models, Qwen2 among them, AutoTokenizer takes its own class whatever is named. Where that one differs,
nothing that is written here helps, and it is said.)

Importing transformers takes seconds: it is done inside functions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from diglot.base.errors import UserError
from diglot.base.files import write_json
from diglot.tokenizer.description import (
    ADDED,
    GENERIC,
    MAP,
    MAPPED,
    ROLES,
    SETTINGS,
    TOKENIZER,
    missing_tokens,
    read_json,
    read_settings,
    read_specification,
    special_name,
)
from diglot.tokenizer.folder import load_tokenizer

# What of tokenizer_config.json is not passed on: what tokenizer.json has, what loading left there, and code.
LEFT_OUT = frozenset(
    ("added_tokens_decoder", "auto_map", "backend", "is_local", "local_files_only", "name_or_path", "tokenizer_file")
)
TRANSIENT = ("TokenizersBackend", "PythonBackend")  # names of the generic class that transformers 4 does not know
# Texts whose ids show what is put around a text; that they are cut alike follows from equal parts.
PROBES = ("", "Bread, 2026.", " two  spaces\n\n\t3½ – it's “so” ", "e\u0301 é الخبز 面包 ขนมปัง 🍞", "<s></s><|im_end|>")


class Written(NamedTuple):
    """What became of a tokenizer's folder.

    Attributes:
        named: the class that it named; None where it named none.
        written: the class that it names now.
        dropped: special tokens that it named, but that have no id.
        difference: what AutoTokenizer makes otherwise whatever class is named; None where it gives our ids.
    """

    named: str | None
    written: str
    dropped: list[str]
    difference: str | None


def as_transformers(folder: Path) -> Any:
    """The tokenizer of a folder, as transformers' generic class around tokenizer.json as it is.

    Raises:
        UserError: not a tokenizer's folder.
    """
    from transformers import PreTrainedTokenizerFast  # start-up: takes seconds

    tokenizer = load_tokenizer(folder)
    settings = read_settings(folder, tokenizer)
    names = {f"{role}_token": special_name(settings, f"{role}_token") for role in ROLES}
    # transformers would give an id to a name without one, which no row of the model has.
    known = {key: name for key, name in names.items() if name and tokenizer.token_to_id(name) is not None}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **known)


def write_for_transformers(source: Path, output: Path) -> Written:
    """Write a tokenizer's files so that AutoTokenizer gives the ids of `load_tokenizer`, and has what the base's had.

    Args:
        source: the tokenizer's folder.
        output: a folder with copies of its files, and with the config.json of the model that it is for.

    Raises:
        UserError: not a tokenizer's folder.
    """
    tokenizer = load_tokenizer(source)
    settings = read_settings(source, tokenizer)
    named = settings.pop("tokenizer_class", None)
    if named is not None and not isinstance(named, str):
        raise UserError(f"{source / SETTINGS}: tokenizer_class: a name is wanted, not {named!r}")
    config, dropped = passed_on(settings, tokenizer)
    if not (source / TOKENIZER).is_file() or missing_tokens(source, read_json(source / TOKENIZER)):
        write_json(output / TOKENIZER, read_specification(source), indent=2)
    (output / ADDED).unlink(missing_ok=True)
    write_json(output / MAP, {key: config[key] for key in MAPPED if key in config}, indent=2)
    generic = GENERIC["tokenizer_class"]
    for name in dict.fromkeys((named, generic)):
        own_class = {} if name is None else {"tokenizer_class": name}
        write_json(output / SETTINGS, {**own_class, **config}, indent=2)
        automatic = _automatic(output)
        if automatic is None:
            difference: str | None = f"does not load {name}"
            continue
        # The base's class may pad on the left by itself; the generic one pads where it is told to.
        config.setdefault("padding_side", automatic.padding_side)
        difference = _difference(tokenizer, automatic, strict=name != generic)
        # AutoTokenizer overrules some names, which another version may take at their word.
        taken = type(automatic).__name__.removesuffix("Fast") == str(name).removesuffix("Fast")
        if taken and name not in TRANSIENT and difference is None:
            break
    write_json(output / SETTINGS, {"tokenizer_class": name, **config}, indent=2)
    return Written(named, str(name), dropped, difference)


def passed_on(settings: dict[str, Any], tokenizer: Tokenizer) -> tuple[dict[str, Any], list[str]]:
    """The settings that go on with a tokenizer, and the special tokens among them that have no id."""
    config: dict[str, Any] = {"model_input_names": GENERIC["model_input_names"]}
    config |= {key: value for key, value in settings.items() if key not in LEFT_OUT}
    dropped: list[str] = []

    def known(value: Any) -> str | None:
        """A token's text, whose flags stand in tokenizer.json; None, and noted, where it has no id."""
        name = special_name({"": value}, "")
        if name is None or tokenizer.token_to_id(name) is not None:
            return name
        dropped.append(name)
        return None

    # transformers gives a name without an id the next one, which is no row of the model or another token's.
    for key in [key for key in config if key.endswith("_token") and isinstance(config[key], str | dict)]:
        config[key] = known(config[key])
    if names := config.get("additional_special_tokens"):
        config["additional_special_tokens"] = [name for value in names if (name := known(value)) is not None]
    return config, dropped


def padding_side(folder: Path) -> str | None:
    """The side on which AutoTokenizer pads, which many classes set by themselves; None where it cannot load the folder."""
    automatic = _automatic(folder)
    return automatic.padding_side if automatic is not None else None


def _automatic(folder: Path) -> Any:
    """The tokenizer that AutoTokenizer loads; None where it cannot."""
    from transformers import AutoTokenizer  # start-up: takes seconds
    from transformers.utils import logging  # start-up: likewise

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception:  # a class that it lacks, or that cannot be built of this file
        return None
    finally:
        logging.set_verbosity(verbosity)


def _difference(tokenizer: Tokenizer, automatic: Any, *, strict: bool) -> str | None:
    """How AutoTokenizer's tokenizer differs from ours; None where it gives the same ids for every text."""
    ours, theirs = (_parts(json.loads(each.to_str()), strict) for each in (tokenizer, automatic.backend_tokenizer))
    for part, value in ours.items():
        if theirs[part] != value:
            return f"has another {part}"
    for text in PROBES:
        if automatic(text, split_special_tokens=True)["input_ids"] != tokenizer.encode(text).ids:
            return f"gives other ids for {text!r}"
    return None


def _parts(specification: dict[str, Any], strict: bool) -> dict[str, Any]:
    """What determines ids and texts, in one form: equal parts do the same.

    Args:
        specification: tokenizer.json.
        strict: also how added tokens are found in a text, which the generic class decides by its own rules.
    """
    model = {key: value for key, value in specification["model"].items() if value}
    decoder = specification["decoder"]
    flags = ("id", "lstrip", "rstrip", "single_word") if strict else ("id",)
    return {
        "model": model,
        "normalizer": specification["normalizer"],
        "pre_tokenizer": _without_offsets(specification["pre_tokenizer"]),
        # Of a byte-level decoder nothing but its name counts.
        "decoder": decoder["type"] if decoder and decoder["type"] == "ByteLevel" else decoder,
        "added_tokens": {token["content"]: [token[flag] for flag in flags] for token in specification["added_tokens"]},
    }


def _without_offsets(value: Any) -> Any:
    """A part of tokenizer.json without what only moves the places of tokens in the text."""
    if isinstance(value, dict):
        return {key: _without_offsets(item) for key, item in value.items() if key != "trim_offsets"}
    return [_without_offsets(item) for item in value] if isinstance(value, list) else value
