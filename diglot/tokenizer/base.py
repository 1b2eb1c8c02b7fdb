"""The folder of a base tokenizer that is to be extended: what it must be, and what of it is kept.

Supported today: BPE with byte fallback (Llama-2, Mistral-7B, Gemma, PolyLM and our own). tokenizer.json is edited as
JSON, so that everything not named here stays as it is.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import tokenizers

from diglot.artifact import UserError
from diglot.tokenizer.byte_fallback import BYTES, write_json
from diglot.tokenizer.chat import BEGIN, CHAT_TEMPLATE, END, PADDING, ROLES
from diglot.tokenizer.measure import merge_pairs, read_json

KEPT_SETTINGS = (
    *(f"{role}_token" for role in ("bos", "eos", "unk", "pad")),
    *("additional_special_tokens", "extra_special_tokens", "add_bos_token", "add_eos_token"),
    *("model_max_length", "padding_side", "clean_up_tokenization_spaces", "chat_template"),
)


def read_specification(folder: Path) -> dict[str, Any]:
    """tokenizer.json of a base that can be extended, with merges as pairs and all added tokens in the vocabulary.

    Raises:
        UserError: another kind of tokenizer.
    """
    file = folder / "tokenizer.json"
    specification = read_json(file)
    model = specification.get("model", {})
    kind = model.get("type", "BPE" if "merges" in model else "unknown")
    supported = (
        "BPE with byte fallback (as Llama-2's, and those made by train-tokenizer) can be extended today"
    )
    if kind != "BPE":
        raise UserError(f"{file}: this tokenizer is of kind {kind}; only {supported}")
    if not model.get("byte_fallback") or not all(token in model["vocab"] for token in BYTES):
        raise UserError(
            f"{file}: this is BPE without byte tokens (byte-level, as GPT-2's?); only {supported}"
        )
    for setting in ("ignore_merges", "dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(setting):
            raise UserError(f"{file}: the model's {setting} is set; only {supported}")
    if BEGIN not in model["vocab"]:
        raise UserError(f"{file}: no token {BEGIN}, with which the chat format begins")
    model["merges"] = merge_pairs(model["merges"])
    for token in sorted(specification["added_tokens"], key=lambda token: token["id"]):
        if model["vocab"].setdefault(token["content"], token["id"]) != token["id"]:
            raise UserError(f"{file}: token {token['content']!r} has two ids")
    if sorted(model["vocab"].values()) != list(range(len(model["vocab"]))):
        raise UserError(f"{file}: ids have gaps or are given twice")
    return specification


def load_specification(specification: dict[str, Any]) -> tokenizers.Tokenizer:
    """The tokenizer that a specification describes."""
    return tokenizers.Tokenizer.from_str(json.dumps(specification, ensure_ascii=False))


def add_token(specification: dict[str, Any], token: str) -> None:
    """Give a token the next id."""
    vocabulary = specification["model"]["vocab"]
    assert token not in vocabulary, token
    vocabulary[token] = len(vocabulary)


def add_chat_tokens(specification: dict[str, Any]) -> list[str]:
    """Add the special tokens of the chat format, and padding, that the base lacks; returns them."""
    missing = [t for t in (PADDING, *ROLES.values(), END) if t not in specification["model"]["vocab"]]
    for token in missing:
        add_token(specification, token)
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        specification["added_tokens"].append(
            {"id": specification["model"]["vocab"][token], "content": token, **flags, "special": True}
        )
    return missing


def write_extended(base: Path, output: Path, specification: dict[str, Any], new_format: bool) -> None:
    """Write the extended tokenizer's folder.

    The class becomes the generic one, which takes tokenizer.json as it is: LlamaTokenizer of transformers 5 would
    rebuild normalizer and decoder by its own rules. A tokenizer.model (SentencePiece) is not carried over: it would
    not know the new tokens.

    Args:
        base: the base's folder.
        output: an empty folder.
        specification: the extended tokenizer.
        new_format: chat tokens were added, so the chat template becomes ours.
    """
    text = load_specification(specification).to_str(pretty=True)
    (output / "tokenizer.json").write_text(text, encoding="utf-8")
    config = read_json(base / "tokenizer_config.json")
    config = {key: config[key] for key in KEPT_SETTINGS if config.get(key) is not None}
    config.setdefault("pad_token", PADDING)
    template = base / "chat_template.jinja"
    if new_format or not (template.exists() or "chat_template" in config):
        config.pop("chat_template", None)
        (output / template.name).write_text(CHAT_TEMPLATE, encoding="utf-8")
    elif template.exists():
        shutil.copyfile(template, output / template.name)
    if new_format:
        extra = config.get("additional_special_tokens") or []
        config["additional_special_tokens"] = [*extra, *(t for t in (*ROLES.values(), END) if t not in extra)]
    write_json(output / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **config})
    special = (*KEPT_SETTINGS[:4], "additional_special_tokens", "extra_special_tokens")
    write_json(output / "special_tokens_map.json", {key: config[key] for key in special if key in config})
