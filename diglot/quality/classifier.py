"""The stage `train-classifier`: fastText's classifier of good text against bad, for each language.

PolyLM (3.1, step 3) trains one on 2-grams of words. Positives are the documents of `corpus`, negatives those of
`negatives`; the signal `quality` is the probability of good. The text is prepared as for the n-gram models
(`normalization`), with a character a token in languages without spaces. Training has one thread and a fixed seed: fastText
with several is not reproducible.

fastText's own prediction holds Python's lock and runs at 6 to 13 MB/s. So the stage also writes the vectors out, and
`Classifier` does the same arithmetic (the mean of the vectors of words and hashed 2-grams, then a softmax) in a
kernel without the lock; curation then needs no fastText. The files of a language:

    classifier.bin    fastText's own format, for other programs
    vectors.npy       float32 [words + buckets, dimension]
    output.npy        float32 [2, dimension]: bad, good
    vocabulary.txt    a word a line
    classifier.json   word_ngrams, buckets, how text is prepared
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import read_json, write_json
from diglot.base.summaries.quality import ClassifierModel, ClassifierSummary
from diglot.quality.normalization import Normalization, normalization_for, normalize
from diglot.quality.reference_text import choose, column, hold_apart, languages_of, separation
from diglot.quality.trie import hash_vocabulary, read_vocabulary
from diglot.recipe.quality import TrainClassifier
from diglot.text.hash_table import slot_of
from diglot.text.hashing import hash_bytes
from diglot.text.unicode import kernel, text_buffers

ABOUT_FILE = "classifier.json"
_LABELS = {"bad": "__label__bad", "good": "__label__good"}
_FNV_OFFSET, _FNV_PRIME = np.uint32(2166136261), np.uint32(16777619)
_NGRAM_PRIME = np.uint64(116049371)
_MAX_NGRAM = 8


def run(settings: TrainClassifier, inputs: Inputs, output: Path, context: Context) -> ClassifierSummary:
    """Train a classifier for each language that both sides have, and measure it.

    Raises:
        UserError: no language, or a wanted one not, is on both sides; or one has too little text.
    """
    good, bad = inputs.many("corpus"), inputs.many("negatives")
    both = set(languages_of(good, settings.languages)) & set(languages_of(bad, settings.languages))
    if not both:
        raise UserError("corpus and negatives have no language in common; negatives must be in the same languages")
    if settings.word_ngrams > _MAX_NGRAM:
        raise UserError(f"word_ngrams is {settings.word_ngrams}; more than {_MAX_NGRAM} are of no use")
    models = {}
    for number, language in enumerate(sorted(both)):
        context.progress(number, len(both), "languages", language)
        folder = output / language
        folder.mkdir()
        models[language] = _train_language(settings, inputs, language, folder, context)
    return ClassifierSummary(settings.word_ngrams, models)


def _train_language(
    settings: TrainClassifier, inputs: Inputs, language: str, folder: Path, context: Context
) -> ClassifierModel:
    normalization = normalization_for(language)
    key = f"{context.seed}/classifier"
    lines: list[bytes] = []
    measured_on, used = {}, {}
    for label, corpora in (("good", inputs.many("corpus")), ("bad", inputs.many("negatives"))):
        apart, _ = hold_apart(corpora, language, settings.held_out_texts, key)
        chosen = choose(corpora, language, ["documents"], settings.documents + len(apart), key)
        ids = set(apart["id"].to_pylist())
        chosen = chosen.filter(pa.array([name not in ids for name in chosen["id"].to_pylist()], pa.bool_()))
        chosen = chosen.slice(0, settings.documents)
        if not len(apart) or not len(chosen):
            raise UserError(f"{language}: too few {label} documents to train on and measure on; give it at least ten")
        measured_on[label], used[label] = column(apart, "text"), len(chosen)
        normalized = normalize(column(chosen, "text"), normalization).cast(pa.large_binary()).to_pylist()
        lines += [_LABELS[label].encode() + b" " + text.replace(b"\n", b" ") for text in normalized]
    _train(settings, _mixed(lines, settings.seed), normalization, folder, context.scratch / "classifier.txt")
    classifier = open_classifier(folder)
    scores = {label: classifier.score(texts) for label, texts in measured_on.items()}
    return ClassifierModel(used, separation(scores["good"], scores["bad"]))


def _mixed(lines: list[bytes], seed: int) -> list[bytes]:
    """In a random order: fastText learns line by line."""
    return [lines[place] for place in np.random.default_rng(seed).permutation(len(lines))]


def _train(
    settings: TrainClassifier, lines: Iterable[bytes], normalization: Normalization, folder: Path, text: Path
) -> None:
    import fasttext  # extra: quality

    text.write_bytes(b"\n".join(lines) + b"\n")
    model = fasttext.train_supervised(
        str(text), wordNgrams=settings.word_ngrams, dim=settings.dimension, bucket=settings.buckets,
        epoch=settings.epochs, lr=settings.learning_rate, minCount=1, thread=1, seed=settings.seed, verbose=0,
    )  # fmt: skip
    text.unlink()
    model.save_model(str(folder / "classifier.bin"))
    export(model, normalization, folder)


def export(model: Any, normalization: Normalization, folder: Path) -> None:
    """Write a fastText model with the labels good and bad as the arrays that `Classifier` reads.

    Raises:
        UserError: it has other labels, is quantised, or has subwords.
    """
    arguments = model.f.getArgs()
    if sorted(model.labels) != sorted(_LABELS.values()) or model.is_quantized() or arguments.maxn > 0:
        raise UserError("the fastText model must have the labels good and bad, no subwords, and not be quantised")
    rows = [model.labels.index(label) for label in _LABELS.values()]
    np.save(folder / "vectors.npy", model.get_input_matrix().astype(np.float32))
    np.save(folder / "output.npy", model.get_output_matrix().astype(np.float32)[rows])
    (folder / "vocabulary.txt").write_bytes(b"".join(word.encode() + b"\n" for word in model.words))
    about = {"word_ngrams": arguments.wordNgrams, "buckets": arguments.bucket, "normalization": asdict(normalization)}
    write_json(folder / ABOUT_FILE, about)


@dataclass(frozen=True)
class Classifier:
    """A classifier, ready to score.

    Attributes:
        normalization: how texts become tokens.
        word_ngrams: the longest n-grams of words.
        vectors: float32 [words + buckets, dimension].
        output: float32 [2, dimension], bad and good.
        keys, numbers: a hash table of the vocabulary.
        words: how many words have a vector.
    """

    normalization: Normalization
    word_ngrams: int
    vectors: np.ndarray
    output: np.ndarray
    keys: np.ndarray
    numbers: np.ndarray
    words: int

    def score(self, texts: pa.Array) -> np.ndarray:
        """The probability of good (float64 [documents]) of texts (`large_string`); NaN for empty ones."""
        normalized = normalize(texts, self.normalization)
        data, offsets = text_buffers(normalized)
        scores = np.empty(len(texts))
        difference = (self.output[1] - self.output[0]).astype(np.float32)
        _score(data, offsets, self.keys, self.numbers, self.words, self.vectors, difference, self.word_ngrams, scores)
        return scores


def open_classifier(folder: Path) -> Classifier:
    """Open a classifier that lies in a folder."""
    about = read_json(folder / ABOUT_FILE)
    vocabulary = read_vocabulary(folder / "vocabulary.txt")
    keys, numbers = hash_vocabulary(vocabulary)
    return Classifier(
        Normalization(**about["normalization"]), about["word_ngrams"], np.load(folder / "vectors.npy", mmap_mode="r"),
        np.load(folder / "output.npy"), keys, numbers, len(vocabulary),
    )  # fmt: skip


@kernel
def _fnv(data, begin, end):
    """Hash a word as fastText does: FNV-1a over signed bytes, as a signed number of 32 bits. data uint8."""
    state = _FNV_OFFSET
    for at in range(begin, end):
        state = (state ^ np.uint32(np.int8(data[at]))) * _FNV_PRIME
    return np.uint64(np.int64(np.int32(state)))


@kernel
def _add(sums, vectors, row):
    """Add a row to sums: sums float32 [dimension], vectors float32 [rows, dimension]."""
    for place in range(len(sums)):
        sums[place] += vectors[row, place]


@kernel
def _score(data, offsets, keys, numbers, words, vectors, difference, ngrams, scores):
    """Dictionary::getLine, Dictionary::addWordNgrams and Model::predict of fastText, for two labels.

    data uint8, offsets int64 [documents + 1]; the rest as in `Classifier`; scores float64 [documents], written. The plain twin
    is fastText's own prediction (tests/quality/test_classifier.py).
    """
    sums = np.empty(vectors.shape[1], np.float32)
    recent = np.zeros(8, np.uint64)
    end_of_line = np.array([60, 47, 115, 62], np.uint8)  # "</s>", which fastText reads at the end of a line
    buckets = np.uint64(max(len(vectors) - words, 1))
    for document in range(len(scores)):
        sums[:] = 0
        taken, read = 0, 0
        begin, last = offsets[document], offsets[document + 1]
        if begin == last:
            scores[document] = np.nan
            continue
        at = begin
        while at <= last:
            if at < last and data[at] != 0x20 and data[at] != 0x0A:
                at += 1
                continue
            if at < last:
                hashed, key = _fnv(data, begin, at), hash_bytes(data, begin, at)
            else:
                hashed, key = _fnv(end_of_line, 0, 4), hash_bytes(end_of_line, 0, 4)
            slot = slot_of(keys, key)
            if keys[slot] == key:
                _add(sums, vectors, numbers[slot])
                taken += 1
            for before in range(min(read, ngrams - 1), 0, -1):  # the n-grams that end here, the longest first
                state = recent[(read - before) % 8]
                for place in range(read - before + 1, read):
                    state = state * _NGRAM_PRIME + recent[place % 8]
                state = state * _NGRAM_PRIME + hashed
                _add(sums, vectors, np.int64(words) + np.int64(state % buckets))
                taken += 1
            recent[read % 8] = hashed
            read += 1
            at += 1
            begin = at
        score = np.float32(0)
        for place in range(len(sums)):
            score += sums[place] * difference[place]
        scores[document] = 1.0 / (1.0 + np.exp(-score / max(taken, 1)))
