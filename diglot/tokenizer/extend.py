"""Extend a tokenizer by new languages: continue its merges on their text, and prove what that does not change.

Appending pieces to a vocabulary (as most scripts do) changes how the base language is cut and leaves pieces that no
text can reach. Here the base's merges stay, in their order; the new languages' frequent characters become tokens; and
merges are learnt on words as the base cuts them, ranked after all of the base's. So every text is first cut as the
base cuts it, and only then do new merges join what is left:

    base       ▁ <0xD9><0x83> <0xD8><0xAA> <0xD8><0xA7> <0xD8><0xA8>        "the"  ▁the
    characters ▁ ك ت ا ب                                                  ▁the
    merges     ▁كتاب                                                      ▁the

From this follow the proofs, which are computed on held-out text all the same, and without which nothing is written:

- identity: a line without new characters is cut as before. A merge that consists of the base language's own characters
  could break this; where the new languages have an alphabet of their own, all such merges are refused and identity is
  required. Where they share it (Indonesian after English), those frequent in the base's text are refused (see
  `merges.py`), and how many lines stay identical is measured.
- reachable: every new token is what its own text is encoded to.
- round trip: every text that the base gives back unchanged, the extended tokenizer gives back unchanged.
- base ids, special tokens and chat template are those of the base. Tokens of the chat format that the base lacks are
  added, and then the chat template is ours.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import pre_tokenizers

from diglot.artifact import Artifact, Context, Inputs, UserError
from diglot.recipe import ExtendTokenizer
from diglot.tokenizer import base as base_folder
from diglot.tokenizer import byte_fallback
from diglot.tokenizer.measure import (
    identity,
    load_tokenizer,
    measure,
    phrases,
    pieces,
    round_trip_failures,
    tokenizer_hash,
    unreachable_tokens,
)
from diglot.tokenizer.merges import Word, continue_merges
from diglot.tokenizer.sample import Sample, languages_of, texts_to_measure
from diglot.tokenizer.train import COVERAGE, MAX_LENGTH, MEASURED_BYTES, covering

ALPHA = 0.3  # between several new languages, as in training
# See `merges.py`. Indonesian (5 MB, 8,000 new tokens) after English (8,000 entries), held-out real text:
#   tolerance             no limit   0.01    0.001   0.0001   0
#   identical lines (en)  74.2%      97.8%   99.3%   99.4%    99.4%
#   fertility (id)        1.75       1.86    2.07    2.27     2.34    (before 3.58)
TOLERANCE = 0.001
BASE_BYTES = 20_000_000  # base-language text that new merges are checked against
MEASURED_LINES = 20_000  # base-language lines on which identity is computed
IDENTICAL_GOAL = 0.995  # share of lines that should stay identical where the alphabet is shared
CHUNK = re.compile(" ?[^ \n]+")  # what lies between spaces and line ends, with its space
JOINERS = "\u200c\u200d"


def run(settings: ExtendTokenizer, inputs: Inputs, output: Path, context: Context) -> dict[str, Any]:
    """The stage `extend-tokenizer`."""
    folder, corpora = inputs.one("tokenizer").path, inputs.many("corpus")
    base, specification = load_tokenizer(folder), base_folder.read_specification(folder)
    base_languages = [
        language
        for language, sizes in languages_of(corpora).items()
        if sizes[False] and language not in settings.languages
    ]
    seed = f"{context.seed}/{settings.seed}/tokenizer"
    sample = Sample(corpora, settings.languages, settings.max_bytes, ALPHA, seed)
    new_words = count_words(base, sample, context)
    base_words: Counter[str] = Counter()
    if base_languages:
        base_sample = Sample(corpora, base_languages, BASE_BYTES, 1.0, seed)
        base_words = sum(count_words(base, base_sample, context).values(), Counter())

    extension = find_new_tokens(base, specification, new_words, base_words, settings.new_tokens, context)
    base_folder.write_extended(folder, output, specification, bool(extension.chat_tokens))
    context.progress(1, 1, "proofs", "measuring")
    extended = load_tokenizer(output)
    summary = {
        "vocabulary_size": extended.get_vocab_size(),
        "base_vocabulary_size": base.get_vocab_size(),
        "new_tokens": {
            "requested": settings.new_tokens,
            "added": len(extension.tokens),
            "characters": len(extension.characters),
            "of_base_characters": sum(map(extension.familiar.issuperset, extension.tokens)),
        },
        "chat_tokens_added": extension.chat_tokens,
        "base_hash": tokenizer_hash(folder),
        "languages": settings.languages,
        "languages_sharing_the_alphabet": extension.shared,
        "base_languages": base_languages,
        "sample": {"bytes": sample.bytes, "times_read": {k: round(v, 4) for k, v in sample.rates.items()}},
        **compare(base, extended, corpora, [*base_languages, *sample.rates]),
    }
    summary["proofs"] |= {
        "identity": prove_identity(base, extended, corpora, base_languages, extension),
        "reachable": prove_reachable(extended, extension.tokens),
        "base_ids": prove_base_ids(base, extended),
    }
    byte_fallback.write_json(output / "diglot.json", {"hash": tokenizer_hash(output), **summary})
    return summary


class Extension(NamedTuple):
    """What is added to a base.

    Attributes:
        characters: new tokens of one character.
        tokens: all new tokens, in the order of their ids.
        familiar: the base language's own characters.
        shared: the new languages that are mostly written in them.
        chat_tokens: special tokens of the chat format that the base lacked.
    """

    characters: list[str]
    tokens: list[str]
    familiar: frozenset[str]
    shared: list[str]
    chat_tokens: list[str]


def find_new_tokens(
    base: tokenizers.Tokenizer,
    specification: dict[str, Any],
    new_words: dict[str, Counter[str]],
    base_words: Counter[str],
    new_tokens: int,
    context: Context,
) -> Extension:
    """Choose the new characters, learn the new merges, and put both into the specification."""
    familiar = familiar_characters(base, base_words)
    shared = [language for language, words in new_words.items() if shares_alphabet(words, familiar)]
    chat_tokens = base_folder.add_chat_tokens(specification)
    characters = new_characters(base, new_words, familiar, new_tokens)
    for character in characters:
        base_folder.add_token(specification, character)
    counts = sum(new_words.values(), Counter())
    wanted = new_tokens - len(characters)
    merges = learn(specification, counts, base_words, familiar, bool(shared), wanted, context)
    for left, right in merges:
        base_folder.add_token(specification, left + right)
        specification["model"]["merges"].append([left, right])
    tokens = [*characters, *(left + right for left, right in merges)]
    return Extension(characters, tokens, familiar, shared, chat_tokens)


# --- words and characters -------------------------------------------------------------------------------------


def count_words(base: tokenizers.Tokenizer, sample: Sample, context: Context) -> dict[str, Counter[str]]:
    """The words of a sample as the base sees them (normalised, with ▁ for their space), counted, by language."""
    chunks: dict[str, Counter[str]] = {language: Counter() for language in sample.rates}
    done, total = 0, sum(sample.bytes.values())
    for language, text, times in sample:
        done += len(text.encode()) * times
        context.progress(min(done, total), total, "bytes", f"words of {', '.join(chunks)}")
        counts = Counter(CHUNK.findall(text))
        for chunk, count in counts.items():
            chunks[language][chunk] += count * times
    split = word_splitter(base)
    words: dict[str, Counter[str]] = {}
    for language, counts in chunks.items():
        words[language] = Counter()
        for chunk, count in counts.items():
            for word in split(chunk):
                words[language][word] += count
    return words


def word_splitter(base: tokenizers.Tokenizer) -> Callable[[str], list[str]]:
    """A function that cuts a chunk of text into words as the base does, and where we do.

    Some bases put a space in front of every text (Llama-2 does). Each chunk is therefore given a line of its own, and
    what stands before the chunk is dropped.
    """
    normalise = base.normalizer.normalize_str if base.normalizer else str
    ours = byte_fallback.word_splitter()
    splitter = pre_tokenizers.Sequence([base.pre_tokenizer, ours]) if base.pre_tokenizer else ours

    def split(chunk: str) -> list[str]:
        words = [word for word, _ in splitter.pre_tokenize_str(normalise("\n" + chunk))]
        line_end = next((number for number, word in enumerate(words) if "\n" in word), -1)
        return words[line_end + 1 :]

    return split


def count_characters(words: Counter[str]) -> Counter[str]:
    """How often each character occurs in counted words."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    return counts


def familiar_characters(base: tokenizers.Tokenizer, base_words: Counter[str]) -> frozenset[str]:
    """The base language's own characters: those of its text; without text, those in the base's vocabulary."""
    if base_words:
        return frozenset(covering(count_characters(base_words), COVERAGE))
    return frozenset(token for token in base.get_vocab() if len(token) == 1)


def shares_alphabet(words: Counter[str], familiar: frozenset[str]) -> bool:
    """Whether most letters of a language are the base language's own."""
    counts = count_characters(words)
    letters = sum(count for character, count in counts.items() if character.isalpha())
    own = sum(count for character, count in counts.items() if character.isalpha() and character in familiar)
    return own > letters / 2


def new_characters(
    base: tokenizers.Tokenizer, new_words: dict[str, Counter[str]], familiar: frozenset[str], new_tokens: int
) -> list[str]:
    """The frequent characters of the new languages that the base only spells in bytes.

    White space and control characters stay as they are. At most half of the new tokens are characters.
    """
    known = base.get_vocab()
    chosen: Counter[str] = Counter()
    for words in new_words.values():
        counts = count_characters(words)
        for character in covering(counts, COVERAGE):
            visible = unicodedata.category(character)[0] not in "CZ" or character in JOINERS
            if visible and character not in known and character not in familiar:
                chosen[character] += counts[character]
    chosen.pop(byte_fallback.ESCAPE, None)
    ranked = sorted(chosen, key=lambda character: (-chosen[character], character))
    return sorted(ranked[: new_tokens // 2])


# --- merges ---------------------------------------------------------------------------------------------------


def learn(
    specification: dict[str, Any],
    new_words: Counter[str],
    base_words: Counter[str],
    familiar: frozenset[str],
    shared: bool,
    wanted: int,
    context: Context,
) -> list[tuple[str, str]]:
    """Learn merges on the words, as the base with the new characters in its vocabulary cuts them."""
    vocabulary = specification["model"]["vocab"]
    strings = sorted(vocabulary, key=vocabulary.__getitem__)
    model = base_folder.load_specification(specification).model
    words = [
        Word([token.id for token in model.tokenize(word)], new_words[word], base_words[word])
        for word in sorted(new_words.keys() | (base_words.keys() if shared else set()))
    ]
    added = {token["content"] for token in specification["added_tokens"]}
    fixed = frozenset(
        number for number, token in enumerate(strings) if token in added or token in byte_fallback.BYTES
    )
    merges = continue_merges(
        words,
        strings,
        fixed,
        number=wanted,
        max_length=MAX_LENGTH,
        familiar=familiar,
        tolerance=TOLERANCE if shared else None,
        progress=lambda done: context.progress(done, wanted, "merges"),
    )
    return [(strings[merge.left], strings[merge.right]) for merge in merges]


# --- measures and proofs --------------------------------------------------------------------------------------


def compare(
    base: tokenizers.Tokenizer,
    extended: tokenizers.Tokenizer,
    corpora: list[Artifact],
    languages: list[str],
) -> dict[str, Any]:
    """Measures and examples before and after, and the proof that no text is lost.

    Raises:
        UserError: a text that the base gives back unchanged comes back changed.
    """
    before: dict[str, dict[str, Any]] = {}
    after: dict[str, dict[str, Any]] = {}
    examples: dict[str, list[dict[str, Any]]] = {}
    documents = 0
    for language in languages:
        split, texts = texts_to_measure(corpora, language, MEASURED_BYTES)
        lost = set(round_trip_failures(extended, texts)) - set(round_trip_failures(base, texts))
        if lost:
            raise UserError(
                f"round trip: the extended tokenizer changes this text of language {language}: {min(lost)[:200]!r}"
            )
        documents += len(texts)
        before[language] = {"measured_on": split, **measure(base, texts)}
        after[language] = {"measured_on": split, **measure(extended, texts)}
        examples[language] = [
            {"text": text, "before": pieces(base, text), "after": pieces(extended, text)}
            for text in phrases(texts, number=3)
        ]
    return {
        "fertility": {language: values["fertility"] for language, values in after.items()},
        "fertility_before": {language: values["fertility"] for language, values in before.items()},
        "measures": after,
        "measures_before": before,
        "examples": examples,
        "proofs": {"round_trip": {"passed": True, "documents": documents}},
    }


def prove_identity(
    base: tokenizers.Tokenizer,
    extended: tokenizers.Tokenizer,
    corpora: list[Artifact],
    base_languages: list[str],
    extension: Extension,
) -> dict[str, Any]:
    """How many lines of the base languages are cut as before; without a shared alphabet it must be all.

    Returns:
        What `measure.identity` counts; `required`, and `passed`, which is None where there was no line to look at.
    """
    lines: list[str] = []
    for language in base_languages:
        _, texts = texts_to_measure(corpora, language, MEASURED_BYTES)
        found = [line for text in texts for line in text.split("\n") if line]
        lines += found[: MEASURED_LINES // len(base_languages)]
    shared = bool(extension.shared)
    result = identity(base, extended, lines, set("".join(extension.tokens)) - extension.familiar)
    if not shared and result["changed"]:
        raise UserError(
            f"identity: {result['changed']} of {result['lines']} base-language lines are cut differently, such as "
            f"{result['examples'][0]['text']!r}"
        )
    goal = IDENTICAL_GOAL if shared else 1.0
    share = result["share_without_new_characters"]
    passed = None if share is None else share >= goal
    return {"passed": passed, "required": not shared, "languages": base_languages, **result}


def prove_reachable(extended: tokenizers.Tokenizer, new_tokens: list[str]) -> dict[str, Any]:
    """Every new token must be what its own text is encoded to."""
    vocabulary = extended.get_vocab()
    missing = unreachable_tokens(extended, [vocabulary[token] for token in new_tokens])
    if missing:
        names = ", ".join(repr(extended.id_to_token(token_id)) for token_id in missing[:10])
        raise UserError(f"reachable: no text gives {len(missing)} of the new tokens, such as {names}")
    return {"passed": True, "tokens": len(new_tokens), "unreachable": 0}


def prove_base_ids(base: tokenizers.Tokenizer, extended: tokenizers.Tokenizer) -> dict[str, Any]:
    """Every token of the base must have the id it had."""
    vocabulary = base.get_vocab()
    moved = [token for token, number in vocabulary.items() if extended.token_to_id(token) != number]
    if moved:
        raise UserError(f"base ids: {len(moved)} tokens of the base have another id, such as {min(moved)!r}")
    return {"passed": True, "tokens": len(vocabulary)}
