r"""A tokenizer as llama.cpp has it: tokens, merges, types, and the name of the pattern that cuts text into words.

llama.cpp cuts text by patterns of its own, each of which has a name (`tokenizer.ggml.pre`). A GGUF file cannot bring
another one, and a name that is nearly right gives other ids without a word. So a name is written only where its pattern
is known to be the tokenizer's, and where some texts are cut otherwise all the same, it is said which (`Difference`).

    kind of tokenizer                          model   pre
    byte-level BPE (GPT-2, Llama 3, Qwen)      gpt2    by the pattern, see BYTE_LEVEL
    byte fallback, a space put before text     llama   – (SentencePiece: merges by the piece that they make, no words)
    byte fallback, no space before             gpt2    sarvam-moe (merges over whole lines)

Unigram and WordPiece are refused. Compared with a real llama.cpp in tests/publish/test_llama_cpp.py.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from diglot.base.errors import UserError
from diglot.text.words import BYTE_FALLBACK_WORDS, BYTE_LEVEL_WORDS
from diglot.tokenizer.description import read_settings, read_specification
from diglot.tokenizer.folder import SPACE, generation_ids, load_tokenizer, merge_pairs, unknown_id
from diglot.tokenizer.template import read_template

_BYTE = re.compile("<0x[0-9A-F]{2}>")
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
# Line ends are words of their own there, whatever the tokenizer's pattern.
LINES = "sarvam-moe"


class TokenType(IntEnum):
    """llama.cpp's kinds of tokens."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Difference:
    """Texts that llama.cpp cuts otherwise: what they are, and whether a text may be one."""

    words: str
    concerns: Callable[[str], bool]


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says of a tokenizer.

    Attributes:
        model: of llama.cpp's: `gpt2` (BPE) or `llama` (SentencePiece).
        pre: the name of the pattern that cuts text into words.
        tokens: by id; ids without a token have a name of ours.
        types: of the tokens.
        merges: pairs with a space between them; none for `llama`.
        scores: of the tokens, for `llama` alone: what is merged first has the highest.
        space_before: whether a space is put before text.
        special: ids by role (bos, eos, eot, unk, pad), None where there is none.
        add_bos, add_eos: whether encoding puts them around a text.
        template: the chat template, or None.
        differences: texts that are cut otherwise.
    """

    model: str
    pre: str
    tokens: list[str]
    types: list[TokenType]
    merges: list[str]
    scores: list[float]
    space_before: bool
    special: dict[str, int | None]
    add_bos: bool
    add_eos: bool
    template: str | None
    differences: list[Difference] = field(default_factory=list)

    def remarks(self) -> list[str]:
        """What whoever uses the file should know, a sentence each."""
        said = [f"llama.cpp may cut otherwise than the tokenizer: {each.words}" for each in self.differences]
        if self.pre in CLEANED:
            said.append(
                "where llama.cpp writes out a whole text (llama_detokenize), it leaves out spaces before . , ! ? and '"
            )
        return said

    def difference(self, text: str) -> Difference | None:
        """Why a text may be cut otherwise, or None where it is cut alike."""
        return next((each for each in self.differences if each.concerns(text)), None)


def _having(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.search(pattern, text) is not None


NOT_COMPOSED = Difference(
    "text that is not in Unicode's composed form (NFC), which the tokenizer composes first",
    lambda text: not unicodedata.is_normalized("NFC", text),
)
JOINERS = Difference("text with joiners (U+200C and U+200D, as in Persian and in emoji)", _having("[\u200c\u200d]"))
BLANKS = Difference("text with several blanks in a row, or one at its beginning", _having(r"\s\s|^\s"))
ESCAPES = Difference("text with the characters ▁ (U+2581) or U+E000", _having(f"[{SPACE}\ue000]"))


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _key(steps: Iterable[dict[str, Any]], whole_words: bool) -> str:
    """A pre-tokenizer as text: equal where it cuts alike."""
    return json.dumps([list(steps), whole_words], sort_keys=True)


# By pre-tokenizer, and whether a word that is a token is taken whole whatever its merges (ignore_merges): llama.cpp's name.
# Of the names with one pattern those are taken whose detokenizer leaves spaces before punctuation: `gpt-2` does not, nor
# does any name of Llama-3's pattern (CLEANED).
BYTE_LEVEL: dict[str, tuple[str, list[Difference]]] = {
    _key([_GPT2], False): ("trillion", []),
    _key([{"type": "Digits", "individual_digits": True}, _GPT2], False): ("smollm", []),
    _key([_split(_WORDS % "{1,3}"), _BYTES], True): ("llama-bpe", []),
    _key([_split(_WORDS % "{1,3}"), _BYTES], False): ("dbrx", []),
    _key([_split(_WORDS % ""), _BYTES], False): ("qwen2", []),
    _key([_split(BYTE_LEVEL_WORDS), _BYTES], False): ("qwen35", [JOINERS]),
}


CLEANED = ("llama-bpe", "dbrx")


def read_vocabulary(folder: Path, num_rows: int) -> Vocabulary:
    """The tokenizer of a folder for llama.cpp.

    Args:
        folder: of a model.
        num_rows: of its embedding; rows beyond the last token get names that no text has.

    Raises:
        UserError: llama.cpp has no tokenizer that cuts like this one.
    """
    specification, tokenizer = read_specification(folder), load_tokenizer(folder)
    model = specification["model"]
    if model.get("type", "BPE") != "BPE":
        raise _refusal(folder, f"it is a {model['type']} tokenizer; BPE alone is written")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise _refusal(folder, f"model.{key} is {model[key]!r}, which llama.cpp does not have")
    tokens, types = _tokens(folder, specification, num_rows, unknown_id(tokenizer))
    merges = merge_pairs(model.get("merges") or [])
    if spaced := next((pair for pair in merges if " " in pair[0] + pair[1]), None):
        raise _refusal(folder, f"the merge {spaced} holds a space, with which llama.cpp parts the two")
    way, pre, scores, differences = _way(folder, specification, merges, tokens, types)
    # What stands around a text is found by encoding one: post-processors have many forms.
    plain, framed = (tokenizer.encode("a", add_special_tokens=each).ids for each in (False, True))
    named = generation_ids(folder, tokenizer)
    special: dict[str, int | None] = {role: named[f"{role}_token_id"] for role in ("bos", "eos", "pad")}
    special["unk"] = unknown_id(tokenizer)
    special["eot"] = next((stop for stop in named["stops"] if stop != special["eos"]), None)
    add_bos, add_eos = (special[role] is not None and special[role] in framed for role in ("bos", "eos"))
    expected = [special["bos"]] * add_bos + plain + [special["eos"]] * add_eos
    if framed != expected:
        raise _refusal(folder, f"it puts {framed} around {plain}; llama.cpp can only put BOS before and EOS behind")
    return Vocabulary(
        model=way,
        pre=pre,
        tokens=tokens,
        types=types,
        merges=[] if scores else [f"{left} {right}" for left, right in merges],
        scores=scores,
        space_before=bool(scores),
        special=special,
        add_bos=add_bos,
        add_eos=add_eos,
        template=read_template(folder, read_settings(folder, tokenizer)),
        differences=differences,
    )


def _refusal(folder: Path, why: str) -> UserError:
    return UserError(f"{folder}: llama.cpp would cut text otherwise than this tokenizer, so no GGUF is written: {why}")


def _tokens(
    folder: Path, specification: dict[str, Any], num_rows: int, unknown: int | None
) -> tuple[list[str], list[TokenType]]:
    """Token and type of each row."""
    tokens: list[str | None] = [None] * num_rows
    types = [TokenType.UNUSED] * num_rows
    is_byte = bool(specification["model"].get("byte_fallback"))
    for piece, number in specification["model"]["vocab"].items():
        if not 0 <= number < num_rows:
            raise UserError(f"{folder}: {piece!r} has the id {number}; the model's embedding has {num_rows} rows")
        tokens[number] = piece
        types[number] = TokenType.BYTE if is_byte and _BYTE.fullmatch(piece) else TokenType.NORMAL
    # Added tokens stand there as they are, not in letters of bytes, and may be of the vocabulary too.
    for token in specification["added_tokens"]:
        if token["id"] >= num_rows:
            raise UserError(f"{folder}: {token['content']!r} has the id {token['id']}; the model has {num_rows} rows")
        tokens[token["id"]] = token["content"]
        types[token["id"]] = TokenType.CONTROL if token.get("special") else TokenType.USER_DEFINED
    if unknown is not None:
        types[unknown] = TokenType.UNKNOWN
    named = [f"[UNUSED_{number}]" if token is None else token for number, token in enumerate(tokens)]
    twice = next((token for token, count in Counter(named).items() if count > 1 or not token), None)
    if twice is not None:
        raise UserError(f"{folder}: the token {twice!r} is empty or that of two ids, which llama.cpp does not load")
    return named, types


def _way(
    folder: Path, specification: dict[str, Any], merges: list[list[str]], tokens: list[str], types: list[TokenType]
) -> tuple[str, str, list[float], list[Difference]]:
    """llama.cpp's kind of tokenizer, its pattern, scores where it has them, and the texts that it cuts otherwise."""
    normalizers = _steps(specification.get("normalizer"), "normalizers")
    splitters = _steps(specification.get("pre_tokenizer"), "pretokenizers")
    if not specification["model"].get("byte_fallback"):
        whole_words = bool(specification["model"].get("ignore_merges"))
        name, differences = BYTE_LEVEL.get(_key(splitters, whole_words), (None, []))
        if name is None:
            raise _refusal(folder, f"no pattern of its is this pre-tokenizer: {json.dumps(splitters)[:300]}")
        if normalizers not in ([], [{"type": "NFC"}]):
            raise _refusal(folder, f"it has no normalizer such as {json.dumps(normalizers)[:200]}")
        return "gpt2", name, [], [*differences, *([NOT_COMPOSED] if normalizers else [])]
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    if normalizers == [{"type": "Prepend", "prepend": SPACE}, spaces] and not splitters:
        return "llama", "default", *_by_score(folder, merges, tokens, types)
    # Without a space before the text its BPE does; pieces within a line, as it cuts at line ends.
    if crossing := next((piece for piece in tokens if "\n" in piece and piece.strip("\n")), None):
        raise _refusal(folder, f"the token {crossing!r} goes over the end of a line")
    if normalizers == [spaces] and not splitters:
        return "gpt2", LINES, [], []
    ours = [*_escapes(), spaces]
    if normalizers == ours and splitters == [_split(BYTE_FALLBACK_WORDS)]:
        return "gpt2", LINES, [], [BLANKS, ESCAPES]
    raise _refusal(folder, f"unknown normalizer or pre-tokenizer: {json.dumps([normalizers, splitters])[:300]}")


def _steps(part: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    """A normalizer or pre-tokenizer as a flat list, without what only moves places of tokens in the text."""
    if part is None:
        return []
    if part["type"] == "Sequence":
        return [step for each in part[inner] for step in _steps(each, inner)]
    return [{key: value for key, value in part.items() if key != "trim_offsets"}]


def _escapes() -> list[dict[str, Any]]:
    """What our own tokenizers do before spaces become ▁."""
    pairs = (("\ue000", "\ue0000"), (SPACE, "\ue0001"))
    return [{"type": "Replace", "pattern": {"String": old}, "content": new} for old, new in pairs]


def _by_score(
    folder: Path, merges: list[list[str]], tokens: list[str], types: list[TokenType]
) -> tuple[list[float], list[Difference]]:
    """Scores that give the order of the merges, and the texts that are cut otherwise all the same.

    llama.cpp's SentencePiece joins a piece of any two pieces that spell it, in the order of the pieces' scores, so a
    piece must have all its merges, and the merges must stand in the order of their pieces.

    Raises:
        UserError: that is not so.
    """
    known = set(tokens)
    pairs = {(left, right) for left, right in merges}
    first: dict[str, int] = {}
    latest, differences = -1, []  # the first merge of the piece whose merges are being read
    for rank, (left, right) in enumerate(merges):
        begins = first.setdefault(left + right, rank)
        if begins < latest and (left + right).strip(SPACE):
            raise _refusal(folder, f"the merges of {left + right!r} do not stand together")
        if begins < latest:  # Llama's runs of spaces have one score, and their merges stand by their left parts
            differences = [BLANKS]
        latest = max(begins, latest)
    for token, kind in zip(tokens, types):
        split = [(token[:at], token[at:]) for at in range(1, len(token))]
        more = [pair for pair in split if pair[0] in known and pair[1] in known and pair not in pairs]
        if more and kind == TokenType.NORMAL:
            raise _refusal(folder, f"it would join {more[0][0]!r} and {more[0][1]!r}, which are no merge here")
        if more and kind != TokenType.UNUSED:
            differences.append(Difference(f"text with {token!r} written out", _having(re.escape(token))))
    # A piece that no merge makes is never tried: a score below all others.
    return [-float(first.get(token, len(merges))) for token in tokens], differences
