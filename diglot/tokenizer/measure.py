"""Load a tokenizer folder, measure what the tokenizer does to text, and prove what an extension promises.

Measures:

    fertility             tokens per word; a word stands between spaces, and in languages written without them it is a
                          segment (see `word_spans.py`), so that languages compare
    characters_per_token  code points per token
    bytes_per_token       UTF-8 bytes per token: what a token carries, but scripts differ in bytes per character
    continued_words       share of words whose letters are cut into more than one token (Rust et al. 2021, 3.2)
    unknown_tokens        share of tokens that say only that something was there (a tokenizer without bytes)
    gini                  how unequally languages pay for the same content

Proofs return what fails, so that an empty answer is the proof. All of it works for every form of tokenizer:

    byte-fallback   ▁ك  <0xD9>        Llama-2, ours
    byte-level      ĠÙĥ  Ù            GPT-2, Llama-3, Qwen; a token may end inside a character
    unigram         ▁ك  <unk>         T5, XLM-R
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import models

from diglot.artifact import UserError
from diglot.tokenizer.chat import END, ROLES
from diglot.tokenizer.completions import completions, whole_text
from diglot.tokenizer.word_spans import what_words_are, word_spans

SPACE = "▁"  # stands for a space in pieces, as in SentencePiece
BATCH = 256  # texts encoded at a time
CONTEXTS = (
    ("", ""),
    ("\n", ""),
    ("1", ""),
    ("", "\u2603"),
    ("\u2603", ""),
    ("a", ""),
)  # around a token's own text
ROUNDS = (8, 64, 1000, 3200)  # completions tried of each token that is still missing
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


def measure(
    tokenizer: tokenizers.Tokenizer, texts: Sequence[str], language: str | None = None
) -> dict[str, Any]:
    """Fertility and its relatives on some texts (see the top of this file).

    Args:
        tokenizer: as `load_tokenizer` loads it.
        texts: in one language.
        language: its code, which says what a word is; None: what stands between spaces.

    Returns:
        Counts of `documents`, `words` and `tokens`; `words_are` (`spaces`, `segments` or `characters`); and the
        measures, to 4 digits.
    """
    spans = word_spans(texts, language)
    unknown, spaces = _unknown_id(tokenizer), tokenizer.token_to_id(SPACE)
    tokens = unknowns = cores = continued = 0
    for first in range(0, len(texts), BATCH):
        encoded = tokenizer.encode_batch(texts[first : first + BATCH], add_special_tokens=False)
        for encoding, words in zip(encoded, spans[first : first + BATCH], strict=True):
            ids = np.array(encoding.ids, np.int64)
            tokens, unknowns = tokens + len(ids), unknowns + int(np.count_nonzero(ids == unknown))
            # The lone space of a word may be given the place of its first letter.
            places = np.array(encoding.offsets, np.int64).reshape(-1, 2)[
                ids != (-1 if spaces is None else spaces)
            ]
            begun = np.searchsorted(places[:, 0], words.core_ends, "left")
            ended = np.searchsorted(places[:, 1], words.core_starts, "right")
            cores, continued = cores + len(begun), continued + int(np.count_nonzero(begun - ended > 1))
    words_in_all = sum(len(words.starts) for words in spans)
    characters, size = sum(map(len, texts)), sum(len(text.encode()) for text in texts)
    return {
        "documents": len(texts),
        "words": words_in_all,
        "words_are": what_words_are(language),
        "tokens": tokens,
        "fertility": round(tokens / max(words_in_all, 1), 4),
        "characters_per_token": round(characters / max(tokens, 1), 4),
        "bytes_per_token": round(size / max(tokens, 1), 4),
        "continued_words": round(continued / max(cores, 1), 4),
        "unknown_tokens": round(unknowns / max(tokens, 1), 4),
    }


def _unknown_id(tokenizer: tokenizers.Tokenizer) -> int:
    """The id of the unknown token, -1 where there is none."""
    model = (
        json.loads(tokenizer.model.__getstate__()) if isinstance(tokenizer.model, models.Unigram) else None
    )
    name = getattr(tokenizer.model, "unk_token", None)
    found = model["unk_id"] if model else tokenizer.token_to_id(name) if name else None
    return -1 if found is None else found


def gini(values: Sequence[float]) -> float:
    """The Gini coefficient of values that are not negative: 0 where all are equal, towards 1 where one has all.

    The mean difference between two values, divided by twice the mean.
    """
    total, count = sum(values), len(values)
    if not total:
        return 0.0
    ranked = sum(rank * value for rank, value in enumerate(sorted(values), 1))
    return 2 * ranked / (count * total) - (count + 1) / count


# --- pieces ---------------------------------------------------------------------------------------------------


def is_byte_level(tokenizer: tokenizers.Tokenizer) -> bool:
    """Whether tokens are bytes written in GPT-2's letters, which the decoder tells."""
    if tokenizer.decoder is None:
        return False
    decoder = json.loads(tokenizer.decoder.__getstate__())
    return "ByteLevel" in [part["type"] for part in (decoder, *decoder.get("decoders", []))]


def reader_of_bytes(tokenizer: tokenizers.Tokenizer) -> Callable[[int], bytes]:
    """A function that gives the bytes of text that a token stands for; of special tokens those of their name."""
    from diglot.tokenizer.byte_level import bytes_of  # which is built on this file

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


def unreachable_tokens(
    tokenizer: tokenizers.Tokenizer, ids: Iterable[int], texts: Iterable[str] = ()
) -> list[int]:
    """The tokens that no text gives, as far as was searched.

    A token is reached when it is among the ids of some text. Tried are, until it is found: its own text, alone and
    behind others (`CONTEXTS`); the texts handed in; and, where it is only part of a character, the characters that it
    can be part of (`completions`). Special tokens are given by name and not by text: they are not asked of.
    """
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    read = reader_of_bytes(tokenizer)
    missing = {token_id: read(token_id) for token_id in ids if token_id not in special}

    def drop_reached(candidates: Iterable[str]) -> None:
        for found in encode(tokenizer, candidates):
            for token_id in missing.keys() & set(found):
                del missing[token_id]
            if not missing:
                return

    whole = {token_id: text for token_id, data in missing.items() if (text := whole_text(data)) is not None}
    for before, after in CONTEXTS:
        drop_reached([before + text + after for token_id, text in whole.items() if token_id in missing])
    drop_reached(texts if missing else ())
    searches = {token_id: completions(data) for token_id, data in missing.items() if token_id not in whole}
    for number in ROUNDS:
        drop_reached(
            [
                text
                for token_id in [*missing]
                if token_id in searches
                for text in islice(searches[token_id], number)
            ]
        )
    return list(missing)


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
