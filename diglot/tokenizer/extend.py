"""Extend a tokenizer by new languages: continue its merges on their text, and prove what that does not change.

Appending pieces to a vocabulary (as most scripts do) changes how the base language is cut and leaves pieces that no
text can reach. Here the base's pieces stay, in their order; the new languages' frequent characters become tokens (in
byte-level BPE they follow from merges); and merges are learnt on words as the base cuts them, ranked after all of the
base's. So every text is first cut as the base cuts it, and only then do new merges join what is left:

    base       ▁ <0xD9><0x83> <0xD8><0xAA> <0xD8><0xA7> <0xD8><0xA8>        "the"  ▁the
    characters ▁ ك ت ا ب                                                  ▁the
    merges     ▁كتاب                                                      ▁the

`kinds.py` says what this means for each kind of tokenizer, `proofs.py` what is proved on held-out text, code and
arbitrary Unicode before anything is written. Where the new languages have a script of their own, every new piece holds
a character of it, so text without one is cut as before, and identity is required. Everything else is the base's,
whether its text has it or not: ASCII, punctuation, digits, controls. Where they share its script (Indonesian after
English), a piece of its letters is refused where these are frequent in the base's text (see `merges.py`), and how many
lines stay identical is measured.

How many tokens: as many as asked for (`new_tokens`), or until another 1,000 lower fertility by less than a share
(`minimum_gain`). The curve of both is in the summary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import write_json
from diglot.base.summaries.tokenizer import (
    ExtendedTokenizer,
    NewTokens,
    Proofs,
    TokenizerExample,
    TokenizerMeasures,
    TokenizerSample,
)
from diglot.recipe.tokenizer import ExtendTokenizer
from diglot.text.scripts import characters_of, is_letter, scripts_in
from diglot.tokenizer import base as base_folder
from diglot.tokenizer import byte_fallback, proofs
from diglot.tokenizer.base import Base
from diglot.tokenizer.chat import format_of
from diglot.tokenizer.folder import load_tokenizer, pieces, tokenizer_hash, tokenizer_size
from diglot.tokenizer.kinds import Joined, TokenizerKind
from diglot.tokenizer.learn.merges import Learnt, Words, continue_merges
from diglot.tokenizer.measure import measure, phrases
from diglot.tokenizer.sample import Sample, languages_of, texts_to_measure
from diglot.tokenizer.train import COVERAGE, MAX_LENGTH, MEASURED_BYTES, covering
from diglot.tokenizer.words import count_by_splitting

ALPHA = 0.3  # between several new languages, as in training
# See `merges.py`. 8,000 new tokens after a Llama-2-style English base of 32,000, all of the English text (36 MB) as base
# text, 13,160 held-out English lines. With no limit 74% of lines stayed identical (smaller data); with 20 MB of base text
# 99.44% (0.001), since what never occurs there is not refused.
#   tolerance                      0.001           0.0003   0.0001
#   identical lines (id | tr)      99.53 | 99.70   – | 99.77   99.58 | –
#   fertility (id 3.18, tr 4.82)   1.88 | 2.32     – | 2.36    1.96 | –
TOLERANCE = 0.0005
BASE_BYTES = 100_000_000  # base-language text that new merges are checked against
MEASURED_LINES = 20_000  # base-language lines on which identity is computed
MOST_TOKENS = 100_000  # where only `minimum_gain` says how many
STRETCH = 1000  # new tokens whose gain is looked at
CURVE_POINTS = 60
LATIN = frozenset({"LATIN"})  # the base's script, where there is no text of the base language
SURROGATES = slice(0xD800, 0xE000)  # no characters


class Extension(NamedTuple):
    """What is added to a base.

    Attributes:
        characters: new tokens of one character, or of one byte that the base lacks.
        joined: new tokens that merges make, in order.
        own: characters of the new languages that the base language is not written in.
        shared: the new languages that are mostly written in others.
        curve: for each language, tokens of its sample before and after each merge, [merges + 1].
    """

    characters: list[str]
    joined: list[Joined]
    own: frozenset[str]
    shared: list[str]
    curve: dict[str, np.ndarray]

    @property
    def tokens(self) -> list[str]:
        """All new tokens, in the order of their ids."""
        return [*self.characters, *(piece.text for piece in self.joined)]


def run(settings: ExtendTokenizer, inputs: Inputs, output: Path, context: Context) -> ExtendedTokenizer:
    """The stage `extend-tokenizer`.

    Raises:
        UserError: the base is of a kind that cannot be extended, a language has no text, or a proof fails.
    """
    corpora = inputs.many("corpus")
    base = base_folder.read_base(inputs.one("tokenizer").path)
    was = load_tokenizer(base.folder)  # `base.kind.add` changes the specification that `base.kind` holds
    sample, base_languages, new_words, base_words = count_words(base, corpora, settings, context)
    extension = find_new_tokens(base.kind, new_words, base_words, settings, context)
    base.kind.add(extension.characters, extension.joined)
    our_chat = settings.chat == "diglot" or not base_folder.keeps_its_chat(base)
    chat_tokens = base_folder.add_chat_tokens(base) if our_chat else []
    base_folder.write_extended(base, output, chat_tokens, our_chat)

    # What was written is read again: measures and proofs are of the files, not of what is in memory.
    now = load_tokenizer(output)
    texts = {
        language: texts_to_measure(corpora, language, MEASURED_BYTES) for language in [*base_languages, *sample.rates]
    }
    compared = compare(was, now, texts)
    summary = ExtendedTokenizer(
        kind=base.kind.name,
        chat_format=format_of(output),
        vocabulary_size=tokenizer_size(now),
        base_vocabulary_size=base.size,
        new_tokens=NewTokens(
            requested=settings.new_tokens,
            added=len(extension.tokens),
            characters=len(extension.characters) if base.kind.takes_characters else 0,
            of_base_characters=sum(piece.in_base_script for piece in extension.joined),
            bytes=0 if base.kind.takes_characters else len(extension.characters),
        ),
        chat_tokens_added=chat_tokens,
        base_hash=tokenizer_hash(base.folder),
        languages=settings.languages,
        languages_sharing_the_alphabet=extension.shared,
        base_languages=base_languages,
        sample=TokenizerSample(sample.bytes, {name: round(rate, 4) for name, rate in sample.rates.items()}),
        curve=curve(extension, compared["fertility"]),
        **compared,
        proofs=prove(base, output, extension, was, now, texts, base_languages, chat_tokens, our_chat, context),
    )
    write_json(output / "diglot.json", {"hash": tokenizer_hash(output), **summary.as_json()}, indent=2)
    return summary


class Counted(NamedTuple):
    """Words, as the base cuts them, of the new languages and of the base languages, and the sample of the former."""

    sample: Sample
    base_languages: list[str]
    new_words: dict[str, Counter[str]]
    base_words: dict[str, Counter[str]]


def count_words(base: Base, corpora: Sequence[Artifact], settings: ExtendTokenizer, context: Context) -> Counted:
    """Count the words to learn from, and those to check against; every language that is not new is the base's.

    Raises:
        UserError: a language has no text.
    """
    available = languages_of(corpora)
    base_languages = [
        language for language, sizes in available.items() if sizes[False] and language not in settings.languages
    ]
    seed = f"{context.seed}/{settings.seed}/tokenizer"
    # Words are cut as the base cuts them, so that new merges continue what it does.
    sample = Sample(corpora, settings.languages, settings.max_bytes, ALPHA, seed)
    split = base.kind.splitter()
    new_words = count_by_splitting(sample, split, _progress(sample, context))
    base_words: dict[str, Counter[str]] = {}
    if base_languages:
        base_sample = Sample(corpora, base_languages, BASE_BYTES, 1.0, seed)
        base_words = count_by_splitting(base_sample, split, _progress(base_sample, context))
    return Counted(sample, base_languages, new_words, base_words)


def _progress(sample: Sample, context: Context) -> Callable[[int], None]:
    total, names = sum(sample.bytes.values()), f"words of {', '.join(sample.rates)}"
    return lambda done: context.progress(min(done, total), total, "bytes", names)


# --- what to add ----------------------------------------------------------------------------------------------


def find_new_tokens(
    kind: TokenizerKind,
    new_words: dict[str, Counter[str]],
    base_words: dict[str, Counter[str]],
    settings: ExtendTokenizer,
    context: Context,
) -> Extension:
    """Choose the new characters and learn the new merges; the kind stays as it is."""
    most = settings.new_tokens or MOST_TOKENS
    texts, base_texts = (
        {language: count_characters(as_text(kind, words)) for language, words in counted.items()}
        for counted in (new_words, base_words)
    )
    own, shared = own_characters(texts, base_texts)
    if shared and not base_words:
        raise UserError(
            f"languages: {', '.join(shared)} shares the base language's alphabet, so what new tokens do to the base "
            "language must be measured: give a corpus with text in it as well"
        )
    characters = new_characters(kind, texts, own, most) if kind.takes_characters else kind.missing_bytes
    all_base_words = sum(base_words.values(), Counter())
    learnt, strings = learn(kind, characters, new_words, all_base_words, own, bool(shared), most, context)
    # Fewer than learnt where another STRETCH gains too little; `tokens` is [merges + 1, languages].
    number = enough(learnt.tokens, settings.minimum_gain) if settings.minimum_gain is not None else len(learnt.merges)
    totals = learnt.tokens.sum(axis=1)
    shares = (totals[:-1] - totals[1:]) / max(int(totals[-1]), 1)
    joined = [
        Joined(strings[left], strings[right], share, in_base_script(kind, strings[left] + strings[right], own))
        for (left, right), share in zip(learnt.merges[:number].tolist(), shares[:number].tolist(), strict=True)
    ]
    tokens = dict(zip(new_words, learnt.tokens[: number + 1].T, strict=True))
    return Extension(characters, joined, own, shared, tokens)


def as_text(kind: TokenizerKind, words: Counter[str]) -> Counter[str]:
    """Words of the model's alphabet as the text they stand for."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        counts[kind.bytes_of(word).decode(errors="ignore")] += count
    return counts


def count_characters(words: Counter[str]) -> Counter[str]:
    """How often each character occurs in counted words."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    return counts


def in_base_script(kind: TokenizerKind, token: str, own: frozenset[str]) -> bool:
    """Whether the whole characters of a token are none of the new languages' own."""
    text = kind.bytes_of(token).decode(errors="ignore")
    return bool(text) and own.isdisjoint(text)


def own_characters(
    texts: dict[str, Counter[str]], base_texts: dict[str, Counter[str]]
) -> tuple[frozenset[str], list[str]]:
    """What tells text of the new languages from text of the base languages.

    That is all of the scripts that the base languages are not written in, and, of a language that shares theirs, the
    letters that these hardly have (ş, after English). So é in Arabic text is the base's, however rare it is there.

    Args:
        texts: characters of the new languages, counted.
        base_texts: those of the base languages; empty if there is no text.

    Returns:
        The characters, and the languages that are mostly written in others.
    """
    base_scripts = LATIN.union(*map(scripts_in, base_texts.values()))
    own = characters_of(frozenset().union(*map(scripts_in, texts.values())) - base_scripts, base_scripts)
    shared = [language for language, counts in texts.items() if is_shared(counts, own)]
    frequent: set[str] = set().union(*(covering(counts, COVERAGE) for counts in base_texts.values()))
    for language in shared:
        letters = filter(is_letter, covering(texts[language], COVERAGE))
        own |= {letter for letter in letters if letter not in frequent and not letter.isascii()}
    return own, shared


def is_shared(counts: Counter[str], own: frozenset[str]) -> bool:
    """Whether most letters of a language are also the base language's."""
    letters = {character: count for character, count in counts.items() if character.isalpha()}
    return 2 * sum(count for letter, count in letters.items() if letter not in own) > sum(letters.values())


def new_characters(
    kind: TokenizerKind, texts: dict[str, Counter[str]], own: frozenset[str], new_tokens: int
) -> list[str]:
    """The frequent characters of the new languages alone that have no token.

    White space and what cannot be seen stay as they are. At most half of the new tokens are characters.
    """
    known = kind.ids
    chosen: Counter[str] = Counter()
    for counts in texts.values():
        for character in covering(counts, COVERAGE):
            if character in own and character not in known and character.isprintable():
                chosen[character] += counts[character]
    chosen.pop(byte_fallback.ESCAPE, None)
    ranked = sorted(chosen, key=lambda character: (-chosen[character], character))
    return sorted(ranked[: new_tokens // 2])


def learn(
    kind: TokenizerKind,
    characters: list[str],
    new_words: dict[str, Counter[str]],
    base_words: Counter[str],
    own: frozenset[str],
    shared: bool,
    most: int,
    context: Context,
) -> tuple[Learnt, list[str]]:
    """Learn merges on the words, as the base with the new characters in its vocabulary cuts them.

    Returns:
        What was learnt, and the token of every id in it.
    """
    with_characters = copied(kind)
    with_characters.add(characters, [])
    ids = with_characters.ids
    strings = sorted(ids, key=ids.__getitem__)
    wanted = most - len(characters)
    base_script = np.ones(0x110000, bool)
    base_script[SURROGATES] = False
    base_script[[ord(character) for character in own]] = False
    context.progress(0, wanted, "merges")  # the first are told after a thousand
    learnt = continue_merges(
        _as_symbols(with_characters, new_words, base_words if shared else Counter()),
        [kind.bytes_of(token) for token in strings],
        number=wanted,
        max_characters=MAX_LENGTH,
        fixed=with_characters.fixed,
        base_script=base_script,
        tolerance=TOLERANCE if shared else None,
        every_split=kind.every_split,
        parity=False,
        progress=lambda done: context.progress(done, wanted, "merges"),
    )
    return learnt, [*strings, *map(kind.piece_of, learnt.pieces)]


def copied(kind: TokenizerKind) -> TokenizerKind:
    """A tokenizer that can be added to while the other stays as it is."""
    model = kind.specification["model"]
    parts = {key: model[key].copy() for key in ("vocab", "merges") if key in model}
    return type(kind)({**kind.specification, "model": {**model, **parts}}, kind.every_split)


def _as_symbols(kind: TokenizerKind, new_words: dict[str, Counter[str]], base_words: Counter[str]) -> Words:
    """The words as the ids that the tokenizer cuts them into, for the learner."""
    model = kind.tokenizer().model
    symbols: list[int] = []
    offsets, counts, seconds, groups = [0], [], [], []
    for group, words in enumerate([*new_words.values(), base_words]):
        of_base = group == len(new_words)
        for word in sorted(words):
            symbols += [token.id for token in model.tokenize(word)]
            offsets.append(len(symbols))
            counts.append(0 if of_base else words[word])
            seconds.append(words[word] if of_base else 0)
            groups.append(0 if of_base else group)
    return Words(
        np.array(symbols, np.int32),
        np.array(offsets, np.int64),
        np.array(counts, np.int64),
        np.array(seconds, np.int64),
        np.array(groups, np.int32),
    )


def enough(tokens: np.ndarray, minimum_gain: float) -> int:
    """The number of merges beyond which another STRETCH lowers fertility by less than a share, on average of languages.

    Args:
        tokens: [merges + 1, languages].
        minimum_gain: the share.
    """
    for start in range(0, len(tokens) - 1, STRETCH):
        end = min(start + STRETCH, len(tokens) - 1)
        gain = float((1 - tokens[end] / tokens[start]).mean()) * STRETCH / (end - start)
        if gain < minimum_gain:
            return start
    return len(tokens) - 1


def curve(extension: Extension, fertility: dict[str, float]) -> dict[str, list[tuple[int, float]]]:
    """Tokens per word of each new language against the number of new tokens.

    The learner counts tokens on the sample; they are scaled to end in the fertility of held-out text.
    """
    curves = {}
    for language, tokens in extension.curve.items():
        places = np.unique(np.linspace(0, len(tokens) - 1, CURVE_POINTS).astype(int))
        scale = fertility[language] / tokens[-1]
        first = len(extension.characters)
        curves[language] = [(int(first + place), round(float(tokens[place] * scale), 4)) for place in places]
    return curves


# --- measures and proofs --------------------------------------------------------------------------------------


def compare(
    base: tokenizers.Tokenizer, extended: tokenizers.Tokenizer, texts: dict[str, tuple[str, list[str]]]
) -> dict[str, Any]:
    """Measures and examples before and after."""
    before: dict[str, TokenizerMeasures] = {}
    after: dict[str, TokenizerMeasures] = {}
    examples: dict[str, list[TokenizerExample]] = {}
    for language, (split, found) in texts.items():
        before[language] = TokenizerMeasures(measured_on=split, **measure(base, found, language))
        after[language] = TokenizerMeasures(measured_on=split, **measure(extended, found, language))
        examples[language] = [
            TokenizerExample(text, after=pieces(extended, text), before=pieces(base, text))
            for text in phrases(found, number=3)
        ]
    return {
        "fertility": {language: values.fertility for language, values in after.items()},
        "fertility_before": {language: values.fertility for language, values in before.items()},
        "measures": after,
        "measures_before": before,
        "examples": examples,
    }


def prove(
    base: Base,
    output: Path,
    extension: Extension,
    was: tokenizers.Tokenizer,
    now: tokenizers.Tokenizer,
    texts: dict[str, tuple[str, list[str]]],
    base_languages: list[str],
    chat_tokens: list[str],
    our_chat: bool,
    context: Context,
) -> Proofs:
    """All proofs of `proofs.py`.

    Raises:
        UserError: one fails.
    """
    context.progress(0, 1, "proofs")
    all_texts = [text for _, found in texts.values() for text in found]
    lines: list[str] = []
    for language in base_languages:
        found = [line for text in texts[language][1] for line in text.split("\n") if line]
        lines += found[: MEASURED_LINES // len(base_languages)]
    proved = Proofs(
        round_trip=proofs.prove_round_trip(was, now, all_texts, lines),
        identity=proofs.prove_identity(was, now, lines, base_languages, extension.own, bool(extension.shared)),
        reachable=proofs.prove_reachable(now, extension.tokens, all_texts),
        base_ids=proofs.prove_base_ids(was, now),
        special_tokens=proofs.prove_special_tokens(base.folder, output, was, now, chat_tokens, our_chat),
        sentencepiece=proofs.prove_sentencepiece(base.folder, output, all_texts, was, now) if base.model else None,
    )
    context.progress(1, 1, "proofs")
    return proved
