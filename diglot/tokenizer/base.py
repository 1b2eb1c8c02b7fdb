"""The folder of a base tokenizer that is to be extended: what it must be, and what of it is kept.

tokenizer.json is edited as JSON, so that everything that is not named here stays as it is; so are the special tokens
and the chat template. Where there is a tokenizer.model (SentencePiece), it gets the same new pieces. New tokens stand
behind all ids of the base, tokens of our chat format (where the base has none of its own) behind those. Ids that the
base leaves out (GPT-4o's) stay left out.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from diglot.base.errors import UserError
from diglot.base.files import write_json, write_text
from diglot.tokenizer.byte_fallback import BYTES
from diglot.tokenizer.description import GENERIC, MAPPED, SENTENCEPIECE, TOKENIZER, read_settings, read_specification
from diglot.tokenizer.export import padding_side, passed_on
from diglot.tokenizer.folder import is_byte_level, load_tokenizer, merge_pairs
from diglot.tokenizer.kinds import ByteFallback, ByteLevel, TokenizerKind, Unigram
from diglot.tokenizer.sentencepiece_model import CONTROL, Piece, read_model, with_pieces
from diglot.tokenizer.special import CHAT_TEMPLATE, END, PADDING, ROLES
from diglot.tokenizer.template import FILE

KEPT_SETTINGS = (
    *(f"{role}_token" for role in ("bos", "eos", "unk", "pad")),
    *("additional_special_tokens", "extra_special_tokens", "add_bos_token", "add_eos_token"),
    *("model_max_length", "padding_side", "model_input_names", "clean_up_tokenization_spaces", "chat_template"),
)
SUPPORTED = (
    "BPE with byte fallback (as Llama-2's, and ours), byte-level BPE (GPT-2, Llama-3, Qwen) and unigram (T5, XLM-R) "
    "can be extended; train this one as it is, without extend-tokenizer"
)


GAP = "<|no token {}|>"  # stands for an id that has no token, until the tokenizer is written
MOST_GAPS = 10_000  # GPT-4o has 19; ids that are far apart are a mistake


class Base(NamedTuple):
    """A tokenizer that is to be extended.

    Attributes:
        folder: where it is.
        kind: its kind, which holds its tokenizer.json.
        config: tokenizer_config.json, with the special tokens that other files name.
        size: ids, all of which keep their meaning.
        model: its tokenizer.model, where it has one.
        gaps: what stands in `kind` for ids without a token.
    """

    folder: Path
    kind: TokenizerKind
    config: dict[str, Any]
    size: int
    model: Path | None
    gaps: list[str]


def read_base(folder: Path) -> Base:
    """Read a tokenizer's folder.

    Raises:
        UserError: it is not there, not whole, or of a kind that cannot be extended.
    """
    file, model = folder / TOKENIZER, folder / SENTENCEPIECE
    tokenizer = load_tokenizer(folder)  # so that what follows is a tokenizer's, down to its parts
    kind = _kind_of(file, read_specification(folder))
    gaps = _place_added_tokens(file, kind)
    config = read_settings(folder, tokenizer)
    return Base(folder, kind, config, len(kind.ids), model if model.is_file() else None, gaps)


def _kind_of(file: Path, specification: dict[str, Any]) -> TokenizerKind:
    """What kind of tokenizer this is."""
    model = specification.get("model", {})
    algorithm = model.get("type", "BPE" if "merges" in model else "unknown")
    if algorithm == "Unigram":
        return Unigram(specification, every_split=True)
    if algorithm != "BPE":
        raise UserError(f"{file}: this tokenizer is of kind {algorithm}; only {SUPPORTED}")
    for setting in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(setting):
            raise UserError(f"{file}: the model's {setting} is set; only {SUPPORTED} without it")
    model["merges"] = merge_pairs(model["merges"])
    made = {left + right for left, right in model["merges"]}
    every_split = len(made) < len(model["merges"])
    if model.get("byte_fallback") and all(token in model["vocab"] for token in BYTES):
        return ByteFallback(specification, every_split)
    if is_byte_level(specification.get("decoder")):
        return ByteLevel(specification, every_split)
    raise UserError(f"{file}: this is BPE with neither byte tokens nor a byte-level alphabet; only {SUPPORTED}")


def _place_added_tokens(file: Path, kind: TokenizerKind) -> list[str]:
    """Give added tokens and gaps a place in the model's vocabulary, so that the ids behind them are free for new tokens.

    In a unigram model a piece can be found in plain text; a score that low never is the better way to cut.

    Returns:
        What stands for the gaps.

    Raises:
        UserError: ids are given twice, or have too many gaps.
    """
    ids = dict(kind.ids)
    for token in sorted(kind.specification["added_tokens"], key=lambda token: token["id"]):
        if ids.setdefault(token["content"], token["id"]) != token["id"]:
            raise UserError(f"{file}: token {token['content']!r} has two ids")
    owners = {number: token for token, number in ids.items()}
    if len(owners) < len(ids):
        token = next(token for token, number in ids.items() if owners[number] != token)
        raise UserError(f"{file}: {token!r} and {owners[ids[token]]!r} have one id, {ids[token]}; give each its own")
    if max(owners) - len(owners) >= MOST_GAPS:
        raise UserError(
            f"{file}: {owners[max(owners)]!r} has the id {max(owners)}, but there are only {len(owners)} tokens: every id "
            "costs a row of the model; number the tokens through"
        )
    gaps = {GAP.format(number): number for number in range(max(owners)) if number not in owners}
    ids |= gaps
    if isinstance(kind, Unigram):
        entries = kind.specification["model"]["vocab"]
        never = 100 * kind.least_score
        entries.extend([token, never] for token in sorted(ids, key=ids.__getitem__)[len(entries) :])
    else:
        kind.ids.update(ids)
    return list(gaps)


def add_chat_tokens(base: Base) -> list[str]:
    """Add the special tokens of our chat format, and padding, that the base lacks; returns them.

    Behind gaps they stand in the vocabulary too: the library would count added tokens on from the number of tokens.
    """
    specification, ids = base.kind.specification, base.kind.ids
    wanted = (*ROLES.values(), END) if base.config.get("pad_token") else (PADDING, *ROLES.values(), END)
    missing = [token for token in wanted if token not in ids]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    for number, token in enumerate(missing, start=len(ids)):
        specification["added_tokens"].append({"id": number, "content": token, **flags, "special": True})
        if base.gaps and not isinstance(base.kind, Unigram):
            ids[token] = number
    return missing


def keeps_its_chat(base: Base) -> bool:
    """Whether the base has a chat template of its own, be it known here or not."""
    return bool(base.config.get("chat_template")) or (base.folder / FILE).is_file()


def write_extended(base: Base, output: Path, chat_tokens: list[str], our_chat: bool) -> None:
    """Write the extended tokenizer's folder.

    The class becomes the generic one, which takes tokenizer.json as it is: the classes of transformers 5 for Llama, T5
    and others would rebuild normalizer and splitting by their own rules.

    Args:
        base: the base, with the new tokens added.
        output: an empty folder.
        chat_tokens: special tokens that were added last.
        our_chat: the chat template becomes ours.
    """
    if not isinstance(base.kind, Unigram):  # whose ids are places in a list
        for gap in base.gaps:
            del base.kind.ids[gap]
    tokenizer = base.kind.tokenizer()
    write_text(output / "tokenizer.json", tokenizer.to_str(pretty=True))
    kept = {key: base.config[key] for key in KEPT_SETTINGS if base.config.get(key) is not None}
    config, _ = passed_on(kept, tokenizer)
    if side := config.get("padding_side") or padding_side(base.folder):
        config["padding_side"] = side
    if PADDING in chat_tokens:
        config["pad_token"] = PADDING
    template = base.folder / FILE
    if our_chat:
        config.pop("chat_template", None)
        write_text(output / template.name, CHAT_TEMPLATE)
        extra = config.get("additional_special_tokens") or []
        config["additional_special_tokens"] = [*extra, *(t for t in (*ROLES.values(), END) if t not in extra)]
    elif template.is_file():
        shutil.copyfile(template, output / template.name)
    write_json(output / "tokenizer_config.json", {**GENERIC, **config}, indent=2)
    write_json(output / "special_tokens_map.json", {key: config[key] for key in MAPPED if key in config}, indent=2)
    if base.model:
        (output / SENTENCEPIECE).write_bytes(_extended_model(base, chat_tokens))


def _extended_model(base: Base, chat_tokens: list[str]) -> bytes:
    """tokenizer.model with what tokenizer.json has and it has not, in the order of ids."""
    assert base.model is not None
    model, kind = read_model(base.model), base.kind
    known = {piece.text for piece in model.pieces}
    special = {token["content"] for token in kind.specification["added_tokens"]}
    scores = dict(kind.specification["model"]["vocab"]) if isinstance(kind, Unigram) else {}
    least = min(piece.score for piece in model.pieces)
    added = []
    for token in [*sorted(kind.ids, key=kind.ids.__getitem__), *chat_tokens]:
        if token in known:
            continue
        if token in special:
            added.append(Piece(token, 0.0, CONTROL))
        else:
            least = below(least)  # in BPE the score is the rank
            added.append(Piece(token, scores.get(token, least)))
    return with_pieces(base.model, added)


def below(score: float) -> float:
    """A score that is less by 1 or more, as the file keeps it: Mistral's runs of spaces have -1e9, where floats are 64 apart."""
    return float(min(np.float32(score - 1), np.nextafter(np.float32(score), np.float32(-np.inf))))


def describe_tokens(tokenizer: Tokenizer) -> dict[str, Any]:
    """What of a tokenizer must not change: special tokens and what the processor puts around a text."""
    specification = json.loads(tokenizer.to_str())
    return {
        "added_tokens": {token["content"]: token for token in specification["added_tokens"]},
        "post_processor": specification.get("post_processor"),
        "normalizer": specification.get("normalizer"),
        "pre_tokenizer": specification.get("pre_tokenizer"),
        "decoder": specification.get("decoder"),
    }
