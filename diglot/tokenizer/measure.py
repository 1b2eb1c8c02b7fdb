"""Load a tokenizer folder, measure what the tokenizer does to text, and prove what an extension promises.

Measures are taken on whole documents:

    fertility             tokens per whitespace-separated word (Thai, Chinese and Japanese write no spaces: there, read
                          characters per token)
    characters_per_token  code points per token
    bytes_per_token       UTF-8 bytes per token

Proofs return what fails, so that an empty answer is the proof.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import tokenizers

from diglot.artifact import UserError
from diglot.tokenizer.chat import END, ROLES

SPACE = "▁"  # stands for a space in pieces, as in SentencePiece
BATCH = 256  # texts encoded at a time


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

    Only bos and eos are always there: a base model's tokenizer may lack the others.

    Raises:
        UserError: bos or eos is not defined.
    """
    tokenizer = load_tokenizer(folder)
    config = read_json(folder / "tokenizer_config.json")
    names = {role: special_name(config, f"{role}_token") for role in ("bos", "eos", "pad", "unk")}
    names |= {**ROLES, "end": END}
    ids = {role: tokenizer.token_to_id(name) for role, name in names.items() if name is not None}
    for role in ("bos", "eos"):
        if ids.get(role) is None:
            raise UserError(
                f"{folder / 'tokenizer_config.json'}: {role}_token is not defined or not in the vocabulary"
            )
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
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{file} is missing: give a whole Hugging Face tokenizer folder") from error
    except ValueError as error:
        raise UserError(f"{file}: not readable JSON ({error})") from error


def merge_pairs(merges: Iterable[str | Sequence[str]]) -> list[list[str]]:
    """A model's merges as pairs; older files write them as one string with a space."""
    return [merge.split(" ") if isinstance(merge, str) else list(merge) for merge in merges]


def encode(tokenizer: tokenizers.Tokenizer, texts: Iterable[str]) -> Iterator[list[int]]:
    """The ids of each text, in batches, without BOS."""
    texts = iter(texts)
    while batch := list(islice(texts, BATCH)):
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield encoding.ids


# --- measures -------------------------------------------------------------------------------------------------


def measure(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> dict[str, Any]:
    """Fertility and its relatives on some texts (see the top of this file)."""
    tokens = sum(map(len, encode(tokenizer, texts)))
    words = sum(len(text.split()) for text in texts)
    characters = sum(map(len, texts))
    size = sum(len(text.encode()) for text in texts)
    return {
        "documents": len(texts),
        "words": words,
        "tokens": tokens,
        "fertility": round(tokens / max(words, 1), 4),
        "characters_per_token": round(characters / max(tokens, 1), 4),
        "bytes_per_token": round(size / max(tokens, 1), 4),
    }


def pieces(tokenizer: tokenizers.Tokenizer, text: str) -> list[str]:
    """The pieces a text is cut into, as a reader wants to see them: spaces as ▁, bytes as <0xNN>."""
    return tokenizer.encode(text, add_special_tokens=False).tokens


def phrases(texts: Iterable[str], number: int, words: int = 3) -> list[str]:
    """A few short phrases of letters only, one from a text, for showing how they are cut."""
    found = []
    for text in texts:
        run: list[str] = []
        for word in text.split():
            run = [*run, word] if word.isalpha() and len(word) > 2 else []
            if len(run) == words:
                found.append(" ".join(run))
                break
        if len(found) == number:
            break
    return found


# --- proofs ---------------------------------------------------------------------------------------------------


def round_trip_failures(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> list[str]:
    """The texts that do not come back from encode and decode as they were."""
    decoded = tokenizer.decode_batch(list(encode(tokenizer, texts)), skip_special_tokens=False)
    return [text for text, back in zip(texts, decoded, strict=True) if text != back]


def unreachable_tokens(tokenizer: tokenizers.Tokenizer, ids: Iterable[int]) -> list[int]:
    """The tokens that their own text does not produce.

    A token is reached when its text, at the start of a line or inside one, is encoded as this token alone.
    """
    missing = list(ids)
    for context in ("", "\n", "1"):
        before = tokenizer.encode(context, add_special_tokens=False).ids
        texts = [context + text_of(tokenizer, token_id) for token_id in missing]
        found = encode(tokenizer, texts)
        missing = [
            token_id for token_id, got in zip(missing, found, strict=True) if got != [*before, token_id]
        ]
    return missing


def text_of(tokenizer: tokenizers.Tokenizer, token_id: int) -> str:
    """The text that a piece stands for inside a line (a decoder may strip a line's first space)."""
    return (tokenizer.id_to_token(token_id) or "").replace(SPACE, " ")


def identity(
    base: tokenizers.Tokenizer,
    extended: tokenizers.Tokenizer,
    lines: Sequence[str],
    new_characters: Collection[str],
) -> dict[str, Any]:
    """How many lines both tokenizers cut in the same way.

    Lines that hold characters of the new tokens (a word of the new language, quoted) and are cut differently are
    counted apart: to cut those better is what the extension is for.

    Returns:
        Counts of lines: `lines` = `identical` + `with_new_characters` + `changed`; `share` of all lines that are
        identical, and `share_without_new_characters`: identical / (identical + changed), None where there are none;
        `tokens_before` and `tokens_after` on all lines; and `examples` of changed lines with their pieces.
    """
    added = set(new_characters)
    counts = {"lines": len(lines), "identical": 0, "with_new_characters": 0, "changed": 0}
    tokens_before = tokens_after = 0
    examples: list[dict[str, Any]] = []
    for line, before, after in zip(lines, encode(base, lines), encode(extended, lines), strict=True):
        tokens_before, tokens_after = tokens_before + len(before), tokens_after + len(after)
        if before == after:
            counts["identical"] += 1
        elif not added.isdisjoint(line):
            counts["with_new_characters"] += 1
        else:
            counts["changed"] += 1
            if len(examples) < 5:
                examples.append(
                    {
                        "text": line[:200],
                        "before": pieces(base, line[:200]),
                        "after": pieces(extended, line[:200]),
                    }
                )
    comparable = counts["identical"] + counts["changed"]
    return {
        **counts,
        "share": counts["identical"] / len(lines) if lines else None,
        "share_without_new_characters": counts["identical"] / comparable if comparable else None,
        "tokens_before": tokens_before,
        "tokens_after": tokens_after,
        "examples": examples,
    }
