"""What an extension promises, and the proof of it. An extension that fails one is not written.

    round_trip      every text that the base gives back unchanged, the extended tokenizer gives back unchanged
    identity        lines of the base languages are cut as before: all of them where the new languages have letters of
                    their own, measured where they share them
    reachable       every new token is what some text is encoded to
    base_ids        every token of the base has the id it had
    special_tokens  special tokens, normalisation, splitting, what is put around a text, and the chat template (where the
                    base has one of its own) are the base's
    sentencepiece   tokenizer.json and tokenizer.model, where the base has one, cut every text alike

Texts are held-out documents of all languages, and for the promises about any text, arbitrary Unicode.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import tokenizers

from diglot.base.errors import UserError
from diglot.base.summaries.tokenizer import (
    BaseIds,
    Identity,
    Reachable,
    RoundTrip,
    SentencePieceProof,
    SpecialTokens,
    TokenizerExample,
)
from diglot.tokenizer.base import describe_tokens
from diglot.tokenizer.completions import completions, whole_text
from diglot.tokenizer.description import SENTENCEPIECE, read_settings, special_name
from diglot.tokenizer.folder import encode, load_tokenizer, pieces, reader_of_bytes
from diglot.tokenizer.template import read_template

IDENTICAL_GOAL = 0.995  # share of lines that should stay identical where the alphabet is shared
ARBITRARY_TEXTS = 2000
RANGES = ((0x20, 0x7F), (0xA0, 0x250), (0x370, 0x780), (0x900, 0xE80), (0x2000, 0x2100), (0x3040, 0x30FF),
          (0x4E00, 0x9FFF), (0xAC00, 0xD7A4), (0xE000, 0xE010), (0xFB50, 0xFEFD), (0x1F300, 0x1F650), (1, 0x10FFFF))  # fmt: skip
SPACES = (" ", "  ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u3000", "▁")
# Controls, separators and invisible characters: libraries disagree on which of them are white space (U+0085 is to
# Python and to `tokenizers`, and not to SentencePiece) and which are dropped.
AWKWARD = ("\0", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x1f", "\x7f", "\x85", "\xad", "\u180e", "\u200b", "\u200d",
           "\u200e", "\u2028", "\u2029", "\u202f", "\u205f", "\u2060", "\ufeff", "\ufffd")  # fmt: skip
CONTEXTS = (("", ""), ("\n", ""), ("1", ""), ("", "\u2603"), ("\u2603", ""), ("a", ""))  # around a token's own text
ROUNDS = (8, 64, 1000, 3200)  # completions tried of each token that is still missing


def arbitrary_texts(number: int = ARBITRARY_TEXTS) -> list[str]:
    """The same arbitrary texts each time: characters of some blocks, spaces and awkward characters between them."""
    choose = random.Random("arbitrary texts")
    texts = []
    for _ in range(number):
        parts = []
        for _ in range(choose.randrange(1, 8)):
            low, high = choose.choice(RANGES)
            codes = (choose.randrange(low, high) for _ in range(choose.randrange(1, 9)))
            parts += ["".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000), choose.choice(SPACES)]
            if choose.random() < 0.1:
                parts.append(choose.choice(AWKWARD))
        texts.append("".join(parts[: choose.randrange(1, len(parts) + 1)]))
    return texts


def prove_round_trip(base: tokenizers.Tokenizer, extended: tokenizers.Tokenizer, texts: Sequence[str]) -> RoundTrip:
    """Every text that the base gives back unchanged, the extended tokenizer must give back unchanged."""
    arbitrary = arbitrary_texts()
    changed = set(round_trip_failures(extended, [*texts, *arbitrary]))
    lost = changed - set(round_trip_failures(base, sorted(changed)))
    if lost:
        raise UserError(f"round trip: the extended tokenizer changes this text: {min(lost)[:200]!r}")
    exact = len(texts) + len(arbitrary) - len(changed)
    return RoundTrip(passed=True, documents=len(texts), arbitrary_texts=len(arbitrary), exact=exact)


def prove_identity(
    base: tokenizers.Tokenizer,
    extended: tokenizers.Tokenizer,
    lines: Sequence[str],
    languages: Sequence[str],
    new_characters: Iterable[str],
    shared: bool,
) -> Identity:
    """How many lines of the base languages are cut as before; without a shared alphabet it must be all.

    Returns:
        What `identity` counts; `passed` is None where there was no line to look at.
    """
    result = identity(base, extended, lines, set(new_characters))
    if not shared and result["changed"]:
        raise UserError(
            f"identity: {result['changed']} of {result['lines']} base-language lines are cut differently, such as "
            f"{result['examples'][0].text!r}"
        )
    share = result["share_without_new_characters"]
    goal = IDENTICAL_GOAL if shared else 1.0
    passed = None if share is None else share >= goal
    return Identity(passed=passed, required=not shared, languages=list(languages), **result)


def prove_reachable(extended: tokenizers.Tokenizer, new_tokens: Sequence[str], texts: Sequence[str]) -> Reachable:
    """Every new token must be what some text is encoded to."""
    vocabulary = extended.get_vocab()
    missing = unreachable_tokens(extended, [vocabulary[token] for token in new_tokens], texts)
    if missing:
        names = ", ".join(repr(extended.id_to_token(token_id)) for token_id in missing[:10])
        raise UserError(f"reachable: no text gives {len(missing)} of the new tokens, such as {names}")
    return Reachable(passed=True, unreachable=0, tokens=len(new_tokens))


def prove_base_ids(base: tokenizers.Tokenizer, extended: tokenizers.Tokenizer) -> BaseIds:
    """Every token of the base must have the id it had."""
    vocabulary = base.get_vocab()
    moved = [token for token, number in vocabulary.items() if extended.token_to_id(token) != number]
    if moved:
        raise UserError(f"base ids: {len(moved)} tokens of the base have another id, such as {min(moved)!r}")
    return BaseIds(passed=True, tokens=len(vocabulary))


def prove_special_tokens(base: Path, extended: Path, added: Sequence[str], our_chat: bool) -> SpecialTokens:
    """Special tokens and all that is done around the model must be the base's."""
    before, after = describe_tokens(base), describe_tokens(extended)
    for token in added:
        after["added_tokens"].pop(token)
    for part in before:
        if before[part] != after[part]:
            raise UserError(f"special tokens: the extended tokenizer's {part} is not the base's")
    old, new = (read_settings(folder, load_tokenizer(folder)) for folder in (base, extended))
    for role in ("bos_token", "eos_token", "unk_token"):
        if (was := special_name(old, role)) != (now := special_name(new, role)):
            raise UserError(f"special tokens: {role} was {was!r} and is {now!r}")
    if not our_chat and read_template(base, old) != read_template(extended, new):
        raise UserError("special tokens: the chat template is not the base's")
    return SpecialTokens(passed=True, added=list(added), chat_template="ours" if our_chat else "the base's")


def prove_sentencepiece(
    base: Path, extended: Path, texts: Sequence[str], was: tokenizers.Tokenizer, now: tokenizers.Tokenizer
) -> SentencePieceProof:
    """tokenizer.json and tokenizer.model must cut every text alike.

    Texts on which those of the base do not agree (there are such in files of others) are counted apart.

    Raises:
        UserError: they don't, or SentencePiece is not installed.
    """
    try:
        import sentencepiece  # extra: sentencepiece
    except ImportError as error:
        raise UserError(
            f"{base / SENTENCEPIECE}: to extend and prove it, SentencePiece is needed: pip install 'diglot[sentencepiece]', "
            "or take the file out of the folder: tokenizer.json is enough for everything here"
        ) from error
    compared = [line for text in texts for line in text.split("\n") if line] + arbitrary_texts()  # it reads lines
    differing = {}
    for folder, tokenizer in ((base, was), (extended, now)):
        library = sentencepiece.SentencePieceProcessor(model_file=str(folder / SENTENCEPIECE))
        unknown = library.id_to_piece(library.unk_id())
        cut = zip(compared, library.encode(compared, out_type=str), encode(tokenizer, compared), strict=True)
        differing[folder] = {
            text for text, pieces, ids in cut if not same_pieces(text, pieces, ids, tokenizer, unknown)
        }
    wrong = differing[extended] - differing[base]  # a fault of the base's own files is not the extension's
    if wrong:
        raise UserError(
            f"sentencepiece: tokenizer.json and tokenizer.model cut {len(wrong)} of {len(compared)} texts differently, "
            f"such as {min(wrong, key=len)[:200]!r}"
        )
    return SentencePieceProof(passed=True, texts=len(compared), base_differs=len(differing[base]))


def same_pieces(text: str, pieces: list[str], ids: list[int], tokenizer: tokenizers.Tokenizer, unknown: str) -> bool:
    """Whether ids stand for SentencePiece's pieces of a text.

    Equal ids are not enough: an unknown token stands for one character or for many. SentencePiece shows an unknown
    piece as the normalised text it stands for, so with one among them the texts are compared as well.
    """
    tokens = [tokenizer.id_to_token(number) for number in ids]
    if len(tokens) != len(pieces):
        return False
    if unknown in tokens:
        normalised = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        if tokenizer.pre_tokenizer:
            normalised = "".join(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalised))
        if normalised != "".join(pieces):
            return False
    return all(token in (piece, unknown) for token, piece in zip(tokens, pieces, strict=True))


def round_trip_failures(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> list[str]:
    """The texts that do not come back from encode and decode as they were."""
    decoded = tokenizer.decode_batch(list(encode(tokenizer, texts)), skip_special_tokens=False)
    return [text for text, back in zip(texts, decoded, strict=True) if text != back]


def unreachable_tokens(tokenizer: tokenizers.Tokenizer, ids: Iterable[int], texts: Iterable[str] = ()) -> list[int]:
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

    # What is a text by itself is tried alone and behind others, all tokens together.
    whole = {token_id: text for token_id, data in missing.items() if (text := whole_text(data)) is not None}
    for before, after in CONTEXTS:
        drop_reached([before + text + after for token_id, text in whole.items() if token_id in missing])
    drop_reached(texts if missing else ())
    # What ends inside a character needs one that completes it: few tries for all, then more for those still missing.
    searches = {token_id: completions(data) for token_id, data in missing.items() if token_id not in whole}
    for number in ROUNDS:
        drop_reached(
            [text for token_id in [*missing] if token_id in searches for text in islice(searches[token_id], number)]
        )
    return list(missing)


def identity(
    base: tokenizers.Tokenizer, extended: tokenizers.Tokenizer, lines: Sequence[str], new_characters: Collection[str]
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
    examples: list[TokenizerExample] = []
    for line, before, after in zip(lines, encode(base, lines), encode(extended, lines), strict=True):
        tokens_before, tokens_after = tokens_before + len(before), tokens_after + len(after)
        if before == after:
            counts["identical"] += 1
        # A word of the new language, quoted in a line of the base: it may be cut better.
        elif not added.isdisjoint(line):
            counts["with_new_characters"] += 1
        else:
            counts["changed"] += 1
            if len(examples) < 5:
                examples.append(
                    TokenizerExample(line[:200], after=pieces(extended, line[:200]), before=pieces(base, line[:200]))
                )
    # The share that is judged leaves out the quoting lines, whose cut may change.
    comparable = counts["identical"] + counts["changed"]
    return {
        **counts,
        "share": counts["identical"] / len(lines) if lines else None,
        "share_without_new_characters": counts["identical"] / comparable if comparable else None,
        "tokens_before": tokens_before,
        "tokens_after": tokens_after,
        "examples": examples,
    }
