"""The stage `train-ngram`: an n-gram language model for each language of reference text.

As in CCNet (Wenzek et al. 2020) and PolyLM (3.1, step 3) the perplexity of a document under a model of reference text
tells prose from keyword lists, menus and noise. Two signals come of it:

- `perplexity`, per token. It cannot be compared across languages or normalizations.
- `perplexity_rank`: the share of reference held-out documents that have a lower one, so 0 is better than all of them
  and 1 worse than all. A limit of 0.95 costs 5% of documents like the reference ones, in any language.

The models are those of `lmplz` (see `kneser_ney`), in a folder a language (see `trie`), with `heldout.npy` (the
sorted perplexities of held-out documents) and `model.arpa.gz` for KenLM and others beside the trie's files. Both
measures are of documents of the same kinds and lengths: with `negatives` the summary says how well they are told
apart.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import expand_home
from diglot.base.summaries.quality import NgramModel, NgramSummary
from diglot.quality.arpa import read_arpa, write_arpa
from diglot.quality.kneser_ney import train
from diglot.quality.normalization import normalization_for
from diglot.quality.reference_text import choose, column, hold_apart, languages_of, separation, training_texts
from diglot.quality.trie import Trie, open_trie, save_trie
from diglot.recipe.quality import TrainNgram

HELD_OUT_FILE = "heldout.npy"
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def run(settings: TrainNgram, inputs: Inputs, output: Path, context: Context) -> NgramSummary:
    """Train a model for each language and measure it.

    Raises:
        UserError: a language has no text, or too little to hold some back.
    """
    corpora = inputs.many("corpus")
    scratch = context.scratch / "ngram"
    models = {}
    for language in sorted({*languages_of(corpora, settings.languages), *settings.models}):
        folder = output / language
        folder.mkdir()
        scratch.mkdir(parents=True, exist_ok=True)
        models[language] = _train_language(settings, inputs, language, folder, scratch, context)
    return NgramSummary(settings.unit, settings.order, models)


def _train_language(
    settings: TrainNgram, inputs: Inputs, language: str, folder: Path, scratch: Path, context: Context
) -> NgramModel:
    corpora, key = inputs.many("corpus"), f"{context.seed}/ngram"
    held_out, apart = hold_apart(corpora, language, settings.held_out_texts, key)
    if not len(held_out):
        raise UserError(f"{language}: too few documents to hold any back and measure on; give it at least ten")
    if language in settings.models:
        trie = read_arpa(expand_home(settings.models[language]))
        save_trie(trie, folder)
        about: dict[str, Any] = {"taken_from": Path(settings.models[language]).name}
    else:
        normalization = normalization_for(language, settings.unit)
        texts = training_texts(corpora, language, apart)
        about = train(
            texts, folder, _emptied(scratch), order=settings.order, normalization=normalization, prune=settings.prune,
            memory=settings.memory,
            progress=lambda done, total, unit, note: context.progress(done, total, unit, f"{language}: {note}"),
        )  # fmt: skip
        trie = open_trie(folder)
    if settings.arpa:
        context.progress(settings.order, settings.order, "orders", f"{language}: writing")
        write_arpa(trie, folder / "model.arpa.gz")
    # The trie just made, or read, judges text that it was not trained on: ranks are taken from that.
    measured = measure_held_out(trie, column(held_out, "text"), folder)
    negatives = choose(inputs.many("negatives"), language, ["documents", "heldout"], settings.held_out_texts, key)
    good, bad = (trie.perplexity(column(table, "text")) for table in (held_out, negatives))
    told_apart = separation(-good, -bad)
    if told_apart:  # the threshold is of perplexity: higher ones are dropped
        told_apart = replace(told_apart, threshold=-told_apart.threshold)
    named = ("tokens", "sentences", "ngrams", "taken_from")
    counts: dict[str, Any] = {name: about[name] for name in named if name in about}
    return NgramModel(**measured, **counts, separation=told_apart)


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def measure_held_out(model: Trie, texts: pa.Array, folder: Path) -> dict[str, Any]:
    """Measure a model on held-out texts, and write their perplexities, which ranks are taken from."""
    totals, tokens = model.score(texts)
    perplexities = np.sort(model.perplexity(texts)[tokens > 0])
    np.save(folder / HELD_OUT_FILE, perplexities)
    unseen = tokens.sum() == 0
    return {
        "held_out": len(perplexities),
        "perplexity": None if unseen else round(float(10 ** (-totals.sum() / tokens.sum())), 3),
        "quantiles": {
            f"{share:.0%}": round(float(np.quantile(perplexities, share)), 3) for share in _QUANTILES if not unseen
        },
    }


def rank(perplexities: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """The share of held-out documents (sorted perplexities) with a lower perplexity; NaN stays NaN."""
    shares = np.searchsorted(held_out, perplexities, "left") / max(len(held_out), 1)
    return np.where(np.isnan(perplexities), np.nan, shares)
