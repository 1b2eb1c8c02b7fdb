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

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
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
from diglot.tokenizer.completions import beside_letters, completions, whole_text
from diglot.tokenizer.description import SENTENCEPIECE, read_settings, special_name
from diglot.tokenizer.folder import encode, pieces, reader_of_bytes
from diglot.tokenizer.plain_texts import arbitrary_texts, plain_texts
from diglot.tokenizer.template import read_template

IDENTICAL_GOAL = 0.995  # share of lines that should stay identical where the alphabet is shared
# Of the texts of a proof, how many may be left out of it: what is proved on the rest is said of all.
MOST_SET_ASIDE = 0.05
CONTEXTS = (("", ""), ("\n", ""), ("1", ""), ("", "\u2603"), ("\u2603", ""), ("a", ""))  # around a token's own text
ROUNDS = (8, 64, 1000, 3200)  # completions tried of each token that is still missing


def prove_round_trip(
    base: tokenizers.Tokenizer, extended: tokenizers.Tokenizer, texts: Sequence[str], base_lines: Sequence[str]
) -> RoundTrip:
    """Every text that the base gives back unchanged, the extended tokenizer must give back unchanged.

    Args:
        base: the tokenizer before.
        extended: the tokenizer after.
        texts: of all languages.
        base_lines: lines of the base languages, most of which the base must give back unchanged.

    Raises:
        UserError: the extended tokenizer changes a text, or the base so many that nothing is proved.
    """
    unproved = round_trip_failures(base, base_lines)
    if 2 * len(unproved) > len(base_lines):
        raise UserError(
            f"round trip: the base itself changes {len(unproved):,} of {len(base_lines):,} lines of its own languages, "
            f"such as {unproved[0][:200]!r}, so next to nothing can be proved; give a tokenizer that keeps text"
        )
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
    own: frozenset[str],
    shared: bool,
) -> Identity:
    """How many lines of the base languages are cut as before; without a shared alphabet it must be all.

    So must code, markup and arbitrary Unicode without characters of the new languages, on which a shared alphabet is
    measured too.

    Args:
        base: the tokenizer before.
        extended: the tokenizer after.
        lines: of the base languages.
        languages: these.
        own: characters of the new languages alone.
        shared: whether a new language is mostly written in others.

    Returns:
        What `identity` counts; `passed` is None where there was no line to look at.

    Raises:
        UserError: a line or text is cut differently that must not be, or too many lines are set aside.
    """
    result = identity(base, extended, lines, own)
    texts = [text for text in (*plain_texts(), *arbitrary_texts()) if own.isdisjoint(_compatible(text))]
    others = identity(base, extended, texts, own)
    for found, what in ((result, "base-language lines"), (others, "lines of code and other text")):
        if not shared and found["changed"]:
            raise UserError(
                f"identity: {found['changed']} of {found['lines']} {what} are cut differently, such as "
                f"{found['examples'][0].text!r}"
            )
    _refuse_too_many(result)
    share = result["share_without_new_characters"]
    goal = IDENTICAL_GOAL if shared else 1.0
    return Identity(
        passed=None if share is None else share >= goal,
        required=not shared,
        languages=list(languages),
        **result,
        other_texts=others["lines"],
        other_texts_changed=others["changed"],
    )


def _refuse_too_many(result: dict[str, Any]) -> None:
    """Refuse a proof of identity that leaves too much out; see MOST_SET_ASIDE."""
    aside, lines = result["with_new_characters"], result["lines"]
    if aside > MOST_SET_ASIDE * lines:
        why = ", ".join(f"{character!r} in {count:,}" for character, count in result["set_aside_for"].items())
        raise UserError(
            f"identity: {aside:,} of {lines:,} base-language lines hold characters of the new languages and are cut "
            f"differently ({why}): the proof may leave out {MOST_SET_ASIDE:.0%}. Give text in several languages the "
            "language that it is mostly in, or leave it out of the corpus of the base languages"
        )


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


def prove_special_tokens(
    base: Path,
    extended: Path,
    was: tokenizers.Tokenizer,
    now: tokenizers.Tokenizer,
    added: Sequence[str],
    our_chat: bool,
) -> SpecialTokens:
    """Special tokens and all that is done around the model must be the base's.

    Args:
        base: the folder before.
        extended: the folder after.
        was: the tokenizer before.
        now: the tokenizer after.
        added: special tokens of our chat format that the base lacks.
        our_chat: the chat template has become ours.
    """
    before, after = describe_tokens(was), describe_tokens(now)
    for token in added:
        after["added_tokens"].pop(token)
    for part in before:
        if before[part] != after[part]:
            raise UserError(f"special tokens: the extended tokenizer's {part} is not the base's")
    old, new = read_settings(base, was), read_settings(extended, now)
    for role in ("bos_token", "eos_token", "unk_token"):
        if (first := special_name(old, role)) != (second := special_name(new, role)):
            raise UserError(f"special tokens: {role} was {first!r} and is {second!r}")
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
    if len(differing[base]) > MOST_SET_ASIDE * len(compared):
        raise UserError(
            f"sentencepiece: the base's own tokenizer.json and {SENTENCEPIECE} cut {len(differing[base]):,} of "
            f"{len(compared):,} texts differently, such as {min(differing[base], key=len)[:200]!r}, so next to nothing "
            f"can be proved of both (at most {MOST_SET_ASIDE:.0%} may differ): take {base / SENTENCEPIECE} out of the "
            "folder if tokenizer.json is the model's, or tokenizer.json if the other is"
        )
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
    behind others (`CONTEXTS`); the texts handed in; beside other letters, since GPT-4o's pattern ends no word before a
    small letter; and, where it is only part of a character, the characters that it can be part of (`completions`).
    Special tokens are given by name and not by text: they are not asked of.
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
    for token_id, text in whole.items():
        drop_reached(beside_letters(text) if token_id in missing else ())
    # What ends inside a character needs one that completes it: few tries for all, then more for those still missing.
    searches = {token_id: completions(data) for token_id, data in missing.items() if token_id not in whole}
    for number in ROUNDS:
        drop_reached(
            [text for token_id in [*missing] if token_id in searches for text in islice(searches[token_id], number)]
        )
    return list(missing)


def identity(
    base: tokenizers.Tokenizer, extended: tokenizers.Tokenizer, lines: Sequence[str], own: frozenset[str]
) -> dict[str, Any]:
    """How many lines both tokenizers cut in the same way.

    Lines that hold characters of the new languages (a word, quoted), or such as the base has no token for, and are cut
    differently are counted apart: to cut those better is what the extension is for. What is left of them without these
    must be cut as before.

    Returns:
        Counts of lines: `lines` = `identical` + `with_new_characters` + `changed`; `set_aside_for`: which characters
        the second of these hold, the most frequent ones; `share` of all lines that are identical, and
        `share_without_new_characters`: identical / (identical + changed), None where there are none; `tokens_before`
        and `tokens_after` on all lines; and `examples` of changed lines with their pieces.
    """
    differing, tokens_before, tokens_after = [], 0, 0
    for line, before, after in zip(lines, encode(base, lines), encode(extended, lines), strict=True):
        tokens_before, tokens_after = tokens_before + len(before), tokens_after + len(after)
        if before != after:
            differing.append(line)
    # A character that the base cannot write is the new language's gain, whatever script it is of.
    own |= lost_characters(base, extended, differing)
    foreign = [own.intersection(_compatible(line)) for line in differing]
    rests = ["".join(character for character in line if own.isdisjoint(_compatible(character))) for line in differing]
    same = [one == other for one, other in zip(encode(base, rests), encode(extended, rests), strict=True)]
    changed = [line for line, held, is_same in zip(differing, foreign, same, strict=True) if not (held and is_same)]
    aside = Counter(
        character for held, is_same in zip(foreign, same, strict=True) if is_same for character in sorted(held)
    )
    # The share that is judged leaves out the quoting lines, whose cut may change.
    identical = len(lines) - len(differing)
    comparable = identical + len(changed)
    return {
        "lines": len(lines),
        "identical": identical,
        "with_new_characters": len(differing) - len(changed),
        "changed": len(changed),
        "set_aside_for": dict(aside.most_common(5)),
        "share": identical / len(lines) if lines else None,
        "share_without_new_characters": identical / comparable if comparable else None,
        "tokens_before": tokens_before,
        "tokens_after": tokens_after,
        "examples": [
            TokenizerExample(line[:200], after=pieces(extended, line[:200]), before=pieces(base, line[:200]))
            for line in changed[:5]
        ],
    }


def lost_characters(base: tokenizers.Tokenizer, extended: tokenizers.Tokenizer, texts: Sequence[str]) -> frozenset[str]:
    """The characters of some texts that the base drops, having no token for a byte of theirs, and the extension keeps."""
    characters = sorted({character for text in texts for character in text})
    lost = round_trip_failures(base, characters)
    return frozenset(lost).difference(round_trip_failures(extended, lost))


def _compatible(text: str) -> str:
    """A text with what a tokenizer's normalizer may make of it: of ⼀, the radical, 一."""
    return text + unicodedata.normalize("NFKC", text)
