"""Train a tokenizer: BPE of one of our two kinds, on a balanced sample of a corpus.

    byte-fallback  characters, the rare ones as bytes (`byte_fallback.py`; PolyLM, Llama-2)
    byte-level     bytes alone (`byte_level.py`; Llama-3, Qwen)

The sample's words are counted by language (`words.py`), and merges are learnt on the counts (`merges.py`): both in
bounded memory, however large the corpus. With byte fallback, each language's characters that make up 99.95% of its text
(SentencePiece's default coverage for alphabets) get a token of their own; the rarer ones are left to their bytes.

With `parity`, each merge goes to the language that needs most tokens for the parallel text at that point (Parity-aware
BPE, Foroutan et al. 2025, 2508.04796), so that the same content costs about as much in every language.

Where the sample is too small to give `vocabulary_size` entries, there are fewer, and the summary says so.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from numpy.typing import NDArray

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import write_json
from diglot.base.summaries.tokenizer import (
    Proofs,
    Reachable,
    RoundTrip,
    TokenCosts,
    TokenizerExample,
    TokenizerMeasures,
    TokenizerSample,
    TrainedTokenizer,
)
from diglot.recipe.tokenizer import TrainTokenizer
from diglot.tokenizer import byte_fallback, byte_letters, byte_level
from diglot.tokenizer.chat import format_of
from diglot.tokenizer.folder import SPACE, encode, load_tokenizer, pieces, tokenizer_hash
from diglot.tokenizer.learn.merges import Learnt, Words, continue_merges
from diglot.tokenizer.measure import gini, measure, phrases
from diglot.tokenizer.proofs import round_trip_failures, unreachable_tokens
from diglot.tokenizer.sample import Sample, texts_to_measure
from diglot.tokenizer.special import SPECIAL_TOKENS
from diglot.tokenizer.texts import read_texts
from diglot.tokenizer.words import Rule, WordTable, count_by_rule

COVERAGE = 0.9995
MAX_LENGTH = 16  # characters in a piece at most (SentencePiece's default); keeps boilerplate sentences out
MEASURED_BYTES = 2_000_000  # text per language that measures and proofs are taken on
SMALLEST = byte_fallback.RESERVED + 64
CURVE_POINTS = 60
SAMPLE, PARALLEL = 0, 1  # columns of counts


def run(settings: TrainTokenizer, inputs: Inputs, output: Path, context: Context) -> TrainedTokenizer:
    """The stage `train-tokenizer`."""
    if settings.vocabulary_size < SMALLEST:
        raise UserError(
            f"vocabulary_size: {settings.vocabulary_size} is too small: {byte_fallback.RESERVED} entries are special "
            f"tokens and bytes; give at least {SMALLEST}"
        )
    # A language counts by its bytes to the power alpha, or by UniMax; parity also looks at the parallel text.
    corpora = inputs.many("corpus")
    seed = f"{context.seed}/{settings.seed}/tokenizer"
    max_repeats = settings.max_repeats if settings.balance == "unimax" else None
    sample = Sample(corpora, settings.languages, settings.max_bytes, settings.alpha, seed, max_repeats)
    parallel = read_parallel(settings.parity, list(sample.rates)) if settings.parity else {}
    tables = count(sample, parallel, settings.kind, context)
    tokenizer, alphabet, learnt = learn(tables, settings, context)
    byte_fallback.write_folder(output, tokenizer)
    context.progress(1, 1, "proofs", "measuring")
    # Measured and proved is what was written, as others will load it.
    tokenizer = load_tokenizer(output)
    reported = report(tokenizer, corpora, list(sample.rates))
    forgotten = {language: table.forgotten for language, table in tables.items() if table.forgotten}
    summary = TrainedTokenizer(
        kind=settings.kind,
        chat_format=format_of(output),
        vocabulary_size=tokenizer.get_vocab_size(),
        requested=settings.vocabulary_size,
        alphabet=len(alphabet),
        sample=TokenizerSample(
            balance=settings.balance,
            bytes=sample.bytes,
            times_read={language: round(rate, 4) for language, rate in sample.rates.items()},
            words={language: len(table) for language, table in tables.items()},
            forgotten=forgotten,
        ),
        curve=curve(learnt, list(tables), reported["fertility"]),
        parity=token_costs(tokenizer, parallel) if parallel else None,
        **reported,
    )
    write_json(output / "diglot.json", {"hash": tokenizer_hash(output), **summary.as_json()}, indent=2)
    return summary


# --- words ----------------------------------------------------------------------------------------------------


def read_parallel(files: Mapping[str, str], languages: list[str]) -> dict[str, list[str]]:
    """The parallel text of every language.

    Raises:
        UserError: a language has none, or is not trained on, or the texts are not equally many.
    """
    for language in languages:
        if language not in files:
            raise UserError(
                f"parity: no parallel text in {language}, which the tokenizer is trained on: add {language}: FILE, or "
                f"leave the language out (languages: [{', '.join(sorted(set(languages) & set(files)))}])"
            )
    for language in files:
        if language not in languages:
            raise UserError(
                f"parity: {language} is not trained on (languages: {', '.join(languages)}): leave its parallel text out"
            )
    texts = {language: read_texts(files[language]) for language in languages}
    numbers = {language: len(its_texts) for language, its_texts in texts.items()}
    if len(set(numbers.values())) > 1:
        raise UserError(f"parity: text 1 of each language must say the same, and so on, but there are {numbers} texts")
    return texts


def count(sample: Sample, parallel: Mapping[str, list[str]], rule: Rule, context: Context) -> dict[str, WordTable]:
    """The words of the sample and, in the second column, of the parallel text, by language in alphabetical order."""
    total, names = sum(sample.bytes.values()), f"words of {', '.join(sample.rates)}"
    tables = count_by_rule(sample, rule, lambda done: context.progress(min(done, total), total, "bytes", names))
    if not tables:
        raise UserError(f"max_bytes: a sample of {total:,} bytes has not one document; give more")
    for language, texts in parallel.items():
        for text in texts:
            tables.setdefault(language, WordTable(rule)).add(text, column=PARALLEL)
    return dict(sorted(tables.items()))


def choose_alphabet(tables: Mapping[str, WordTable], limit: int) -> list[str]:
    """The characters that get a token: enough for each language's coverage, the most frequent where all are too many."""
    chosen: Counter[str] = Counter()
    for table in tables.values():
        codes, offsets = code_points(table)
        weights = np.repeat(table.counts[:, SAMPLE], np.diff(offsets))
        sums = np.bincount(codes, weights, minlength=1)
        counts = Counter({chr(code): int(sums[code]) for code in np.flatnonzero(sums)})
        for character in covering(counts, COVERAGE):
            chosen[character] += counts[character]
    for character in (" ", SPACE, byte_fallback.ESCAPE):  # a space is always a token; the others are escaped
        chosen.pop(character, None)
    ranked = sorted(chosen, key=lambda character: (-chosen[character], character))
    return sorted([SPACE, *ranked[: limit - 1]])


def covering(counts: Counter[str], coverage: float) -> list[str]:
    """The most frequent characters that together make up a share of all."""
    wanted, sum_so_far, chosen = coverage * sum(counts.values()), 0, []
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if sum_so_far >= wanted:
            break
        chosen.append(character)
        sum_so_far += count
    return chosen


def code_points(table: WordTable) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The words of a table as code points, one word after another, and their offsets [W + 1]."""
    data = table.data
    before = np.concatenate([[0], np.cumsum((data & 0xC0) != 0x80)])
    codes = np.frombuffer(codecs.encode(data.tobytes().decode(), "utf-32-le"), np.uint32)
    return codes, before[table.offsets]


# --- merges ---------------------------------------------------------------------------------------------------


class Start(NamedTuple):
    """What learning starts from.

    Attributes:
        symbols: by language, the ids of all words, and their offsets [W + 1].
        pieces: what text each id stands for.
        fixed: ids that never merge.
    """

    symbols: list[tuple[NDArray[np.int32], NDArray[np.int64]]]
    pieces: list[bytes]
    fixed: range


def learn(
    tables: Mapping[str, WordTable], settings: TrainTokenizer, context: Context
) -> tuple[tokenizers.Tokenizer, list[str], Learnt]:
    """Learn the merges; returns the tokenizer, the characters that have a token of their own, and what was learnt."""
    size = settings.vocabulary_size
    is_byte_level = settings.kind == "byte-level"
    alphabet = [] if is_byte_level else choose_alphabet(tables, (size - byte_fallback.RESERVED) // 2)
    start = byte_symbols(tables) if is_byte_level else character_symbols(tables, alphabet)
    name: Callable[[bytes], str] = byte_letters.letters_of if is_byte_level else _spelled
    wanted = size - len(start.pieces)
    context.progress(0, wanted, "merges")  # the first are told after a thousand
    learnt = continue_merges(
        _as_words(tables, start),
        list(start.pieces),
        number=wanted,
        max_characters=MAX_LENGTH,
        fixed=start.fixed,
        base_script=None,
        tolerance=None,
        every_split=False,
        parity=settings.parity is not None,
        progress=lambda done: context.progress(done, wanted, "merges"),
    )
    new = [name(piece) for piece in learnt.pieces]
    names = [*(name(piece) for piece in start.pieces), *new]
    merges = [(names[left], names[right]) for left, right in learnt.merges.tolist()]
    kind = byte_level if is_byte_level else byte_fallback
    return kind.build([*alphabet, *new], merges), alphabet, learnt


def _spelled(piece: bytes) -> str:
    """A piece as byte fallback writes it; a byte that is no text is never part of a merge."""
    return piece.decode(errors="replace").replace(" ", SPACE)


def byte_symbols(tables: Mapping[str, WordTable]) -> Start:
    """Every byte of a word is a symbol."""
    first = len(SPECIAL_TOKENS)
    symbols = [(table.data.astype(np.int32) + first, table.offsets.copy()) for table in tables.values()]
    pieces_ = [*(token.encode() for token in SPECIAL_TOKENS), *(bytes([value]) for value in range(256))]
    return Start(symbols, pieces_, range(first))


def character_symbols(tables: Mapping[str, WordTable], alphabet: list[str]) -> Start:
    """Every character of the alphabet is a symbol; of other characters, every byte."""
    start = byte_symbols({})
    ids = np.full(0x110000, -1, np.int32)
    for number, character in enumerate(alphabet, byte_fallback.RESERVED):
        ids[ord(" " if character == SPACE else character)] = number
    symbols = []
    for table in tables.values():
        codes, offsets = code_points(table)
        known = ids[codes]
        lengths = np.where(known >= 0, 1, 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000))
        places = np.concatenate([[0], np.cumsum(lengths)])
        # Characters of the alphabet take their place; what is left over is filled with the others' bytes, in order.
        flat = np.full(places[-1], -1, np.int32)
        flat[places[:-1][known >= 0]] = known[known >= 0]
        others = codecs.decode(codes[known < 0].tobytes(), "utf-32-le").encode()
        flat[flat < 0] = np.frombuffer(others, np.uint8).astype(np.int32) + len(SPECIAL_TOKENS)
        symbols.append((flat, places[offsets]))
    spelled = [(" " if character == SPACE else character).encode() for character in alphabet]
    return Start(symbols, [*start.pieces, *spelled], range(byte_fallback.RESERVED))


def _as_words(tables: Mapping[str, WordTable], start: Start) -> Words:
    """The words of all languages, one language after another."""
    symbols = np.concatenate([flat for flat, _ in start.symbols])
    lengths = np.concatenate([np.diff(offsets) for _, offsets in start.symbols])
    counts = np.concatenate([table.counts for table in tables.values()])
    return Words(
        symbols,
        np.concatenate([[0], np.cumsum(lengths)]),
        np.ascontiguousarray(counts[:, SAMPLE]),
        np.ascontiguousarray(counts[:, PARALLEL]),
        np.repeat(np.arange(len(tables), dtype=np.int32), [len(table) for table in tables.values()]),
    )


# --- measures and proofs --------------------------------------------------------------------------------------


def curve(learnt: Learnt, languages: list[str], fertility: Mapping[str, float]) -> dict[str, list[tuple[int, float]]]:
    """Tokens per word of each language against the number of merges.

    The learner counts tokens on the sample; they are scaled to end in the fertility of held-out text.
    """
    places = np.unique(np.linspace(0, len(learnt.tokens) - 1, CURVE_POINTS).astype(int))
    curves = {}
    for group, language in enumerate(languages):
        tokens = learnt.tokens[:, group]
        scale = fertility[language] / max(tokens[-1], 1)
        curves[language] = [(int(place), round(float(tokens[place] * scale), 4)) for place in places]
    return curves


def token_costs(tokenizer: tokenizers.Tokenizer, parallel: Mapping[str, list[str]]) -> TokenCosts:
    """What the parallel text costs in each language, and how unequally (Gini: 0 where it costs the same in all)."""
    tokens = {language: sum(len(ids) for ids in encode(tokenizer, texts)) for language, texts in parallel.items()}
    return TokenCosts(len(next(iter(parallel.values()))), tokens, round(gini(list(tokens.values())), 4))


def among_white_space(tokenizer: tokenizers.Tokenizer, ids: Iterable[int]) -> list[str]:
    r"""The pieces of white space, each with other white space around it.

    White space of several kinds is one word: "\t\n  " with byte fallback, "\r\n  \n" in byte-level. So "\n  " or "\r\n  "
    may be a piece which its own text does not give.
    """
    texts = [text for text in tokenizer.decode_batch([[number] for number in ids]) if text.isspace()]
    around = [(before, "") for before in ("\t", "\v", "\u3000")]
    around += [("", after) for after in ("\n", "\r", "\n\n", "\r\r", "\n\r")]
    return [before + text + after for text in texts for before, after in around]


def report(tokenizer: tokenizers.Tokenizer, corpora: list[Artifact], languages: list[str]) -> dict[str, Any]:
    """Measures, examples and proofs of a new tokenizer.

    Raises:
        UserError: a proof fails, which is a fault of this program; nothing is written.
    """
    measures: dict[str, TokenizerMeasures] = {}
    examples: dict[str, list[TokenizerExample]] = {}
    some_texts: list[str] = []
    for language in languages:
        split, texts = texts_to_measure(corpora, language, MEASURED_BYTES)
        # Ours loses nothing, so one text that comes back otherwise is a fault of this program.
        failures = round_trip_failures(tokenizer, texts)
        if failures:
            raise UserError(f"the tokenizer changes this text of language {language}: {failures[0][:200]!r}")
        measures[language] = TokenizerMeasures(measured_on=split, **measure(tokenizer, texts, language))
        examples[language] = [TokenizerExample(text, pieces(tokenizer, text)) for text in phrases(texts, number=3)]
        some_texts += texts[:100]
    # Special tokens and bytes are there by construction; what was learnt must be reached by some text.
    learnt = range(byte_fallback.RESERVED, tokenizer.get_vocab_size())
    unreachable = unreachable_tokens(tokenizer, learnt, [*some_texts, *among_white_space(tokenizer, learnt)])
    round_trip = RoundTrip(passed=True, documents=sum(values.documents for values in measures.values()))
    reachable = Reachable(
        passed=not unreachable,
        unreachable=len(unreachable),
        examples=[str(tokenizer.id_to_token(number)) for number in unreachable[:10]],
    )
    return {
        "fertility": {language: values.fertility for language, values in measures.items()},
        "measures": measures,
        "examples": examples,
        "proofs": Proofs(round_trip=round_trip, reachable=reachable),
    }
