"""Train a tokenizer: byte-fallback BPE of the form in `byte_fallback.py`, on a balanced sample of a corpus.

Each language's characters that make up 99.95% of its text (SentencePiece's default coverage for alphabets) get a
token of their own; the rarer ones are left to their bytes, and the sample is cut at them. The merges are learnt by the
`tokenizers` library. Where the sample is too small to give `vocabulary_size` entries, there are fewer, and the summary
says so.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models, trainers

from diglot.artifact import Artifact, Context, Inputs, UserError
from diglot.recipe import TrainTokenizer
from diglot.tokenizer import byte_fallback
from diglot.tokenizer.measure import (
    SPACE,
    load_tokenizer,
    measure,
    phrases,
    pieces,
    round_trip_failures,
    tokenizer_hash,
    unreachable_tokens,
)
from diglot.tokenizer.sample import Sample, texts_to_measure

COVERAGE = 0.9995
MAX_LENGTH = 16  # characters in a piece at most (SentencePiece's default); keeps boilerplate sentences out
MINIMUM_COUNT = 2  # a pair seen once is no pattern
MEASURED_BYTES = 2_000_000  # text per language that measures and proofs are taken on
SMALLEST = byte_fallback.RESERVED + 64


def run(settings: TrainTokenizer, inputs: Inputs, output: Path, context: Context) -> dict[str, Any]:
    """The stage `train-tokenizer`."""
    if settings.vocabulary_size < SMALLEST:
        raise UserError(
            f"vocabulary_size: {settings.vocabulary_size} is too small: {byte_fallback.RESERVED} entries are special "
            f"tokens and bytes; give at least {SMALLEST}"
        )
    corpora = inputs.many("corpus")
    seed = f"{context.seed}/{settings.seed}/tokenizer"
    sample = Sample(corpora, settings.languages, settings.max_bytes, settings.alpha, seed)
    alphabet = choose_alphabet(sample, (settings.vocabulary_size - byte_fallback.RESERVED) // 2)
    tokenizer = learn(sample, alphabet, settings.vocabulary_size, context)
    byte_fallback.write_folder(output, tokenizer)
    summary = {
        "vocabulary_size": tokenizer.get_vocab_size(),
        "requested": settings.vocabulary_size,
        "alphabet": len(alphabet),
        "sample": {"bytes": sample.bytes, "times_read": {k: round(v, 4) for k, v in sample.rates.items()}},
        **report(load_tokenizer(output), corpora, list(sample.rates)),
    }
    byte_fallback.write_json(output / "diglot.json", {"hash": tokenizer_hash(output), **summary})
    return summary


def choose_alphabet(sample: Iterable, limit: int) -> list[str]:
    """The characters that get a token: enough for each language's coverage, the most frequent where all are too many."""
    by_language: dict[str, Counter[str]] = {}
    for language, text, times in sample:
        counts = by_language.setdefault(language, Counter())
        for character, count in Counter(text).items():
            counts[character] += count * times
    chosen: Counter[str] = Counter()
    for counts in by_language.values():
        for character in covering(counts, COVERAGE):
            chosen[character] += counts[character]
    for character in (SPACE, byte_fallback.ESCAPE):  # these are escaped
        chosen.pop(character, None)
    ranked = sorted(chosen, key=lambda character: (-chosen[character], character))
    return sorted(ranked[:limit])


def covering(counts: Counter[str], coverage: float) -> list[str]:
    """The most frequent characters that together make up a share of all."""
    wanted, sum_so_far, chosen = coverage * sum(counts.values()), 0, []
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if sum_so_far >= wanted:
            break
        chosen.append(character)
        sum_so_far += count
    return chosen


def learn(
    sample: Sample, alphabet: list[str], vocabulary_size: int, context: Context
) -> tokenizers.Tokenizer:
    """Learn the merges on the sample, cut at every character outside the alphabet."""
    trained = tokenizers.Tokenizer(models.BPE())
    trained.normalizer = byte_fallback.normalizer()
    trained.pre_tokenizer = byte_fallback.word_splitter()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - byte_fallback.RESERVED,
        min_frequency=MINIMUM_COUNT,
        max_token_length=MAX_LENGTH,
        initial_alphabet=[SPACE],
        show_progress=False,
    )
    trained.train_from_iterator(_runs(sample, alphabet, context), trainer)
    context.progress(1, 1, "sample", "merges learnt")
    model = json_model(trained)
    ordered = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return byte_fallback.build(ordered, [(left, right) for left, right in model["merges"]])


def json_model(tokenizer: tokenizers.Tokenizer) -> dict[str, Any]:
    """A tokenizer's model as it is written in tokenizer.json."""
    return json.loads(tokenizer.to_str())["model"]


def _runs(sample: Sample, alphabet: list[str], context: Context) -> Iterator[str]:
    """The sampled texts' runs of characters of the alphabet."""
    run_of_alphabet = re.compile("[" + "".join(map(re.escape, alphabet)) + "]+")
    total, done = sum(sample.bytes.values()), 0
    for _, text, times in sample:
        for run_ in run_of_alphabet.findall(text):
            for _ in range(times):
                yield run_
        done += len(text.encode()) * times
        context.progress(min(done, total), total, "bytes")


def report(tokenizer: tokenizers.Tokenizer, corpora: list[Artifact], languages: list[str]) -> dict[str, Any]:
    """Measures, examples and proofs of a new tokenizer.

    Raises:
        UserError: a proof fails, which is a fault of this program; nothing is written.
    """
    measures: dict[str, dict[str, Any]] = {}
    examples: dict[str, list[dict[str, Any]]] = {}
    for language in languages:
        split, texts = texts_to_measure(corpora, language, MEASURED_BYTES)
        failures = round_trip_failures(tokenizer, texts)
        if failures:
            raise UserError(f"the tokenizer changes this text of language {language}: {failures[0][:200]!r}")
        measures[language] = {"measured_on": split, **measure(tokenizer, texts)}
        examples[language] = [
            {"text": text, "after": pieces(tokenizer, text)} for text in phrases(texts, number=3)
        ]
    unreachable = unreachable_tokens(tokenizer, range(byte_fallback.RESERVED, tokenizer.get_vocab_size()))
    return {
        "fertility": {language: values["fertility"] for language, values in measures.items()},
        "measures": measures,
        "examples": examples,
        "proofs": {
            "round_trip": {
                "passed": True,
                "documents": sum(values["documents"] for values in measures.values()),
            },
            "reachable": {"passed": not unreachable, "unreachable": len(unreachable)},
        },
    }
