"""Compare tokenizers, language by language: what `diglot tokenizer measure` computes.

Texts are given by language. Where several languages have equally many lines they are taken as parallel, line for line
the same content (FLORES, NTREX), and then token counts themselves compare:

- tokens per sentence of each language;
- premium: tokens as a multiple of the cheapest language's (Petrov et al. 2023, "Language model tokenizers introduce
  unfairness between languages", section 3, who divide by English);
- Gini: how unequally a tokenizer charges the languages, from 0 (all alike) towards 1.

Compression is as in PolyLM's figure 1: tokens of the baseline / tokens, by language; above 1 is better than the
baseline, whose role XLM-R's tokenizer has there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers

from diglot.base.artifact import Artifact, Progress, read_artifact
from diglot.base.errors import UserError
from diglot.tokenizer.folder import load_tokenizer, pieces, tokenizer_size
from diglot.tokenizer.measure import gini, measure, phrases
from diglot.tokenizer.sample import languages_of, texts_to_measure
from diglot.tokenizer.texts import read_texts
from diglot.tokenizer.word_spans import what_words_are, word_spans

CORPUS_BYTES = 2_000_000  # of held-out text by language
EXAMPLE_WORDS = 6


class Texts(NamedTuple):
    """Texts of one language, and where they are from: a file's name, or `heldout` of a corpus."""

    texts: list[str]
    origin: str


def named_tokenizers(given: Sequence[str]) -> dict[str, Path]:
    """Tokenizer folders by name, from `FOLDER` (named as its folder) or `NAME=FOLDER`.

    Raises:
        UserError: a folder is missing, or two have one name.
    """
    found: dict[str, Path] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        if not equals or Path(text).is_dir():
            name, folder = Path(text).resolve().name, text
        if not Path(folder).is_dir():
            raise UserError(f"{folder}: there is no such folder; give the folder of a tokenizer, or NAME=FOLDER")
        if name in found:
            raise UserError(f"two tokenizers are called {name!r} ({found[name]} and {folder}); give NAME=FOLDER")
        found[name] = Path(folder)
    return found


def texts_of_files(given: Sequence[str]) -> dict[str, Texts]:
    """Texts by language, from `LANGUAGE=FILE` or `LANGUAGE=FILE:FIELD`.

    Raises:
        UserError: no language is named, one is named twice, or a file cannot be read.
    """
    found: dict[str, Texts] = {}
    for text in given:
        language, equals, source = text.partition("=")
        if not equals or not language or not source:
            raise UserError(f"--text {text}: write LANGUAGE=FILE or LANGUAGE=FILE:FIELD, such as ar=flores/ar.txt")
        if language in found:
            raise UserError(f"--text: {language} is given twice")
        texts = read_texts(source)
        if not any(texts):
            raise UserError(f"--text {text}: there is no text in it")
        found[language] = Texts(texts, Path(source).name)
    return found


def read_corpora(folders: Sequence[Path]) -> list[Artifact]:
    """The corpora in some folders.

    Raises:
        UserError: a folder is no corpus.
    """
    corpora: list[Artifact] = []
    for folder in folders:
        artifact = read_artifact(folder) if folder.is_dir() else None
        if artifact is None or artifact.kind != "corpus":
            raise UserError(f"--corpus {folder}: there is no corpus; give the folder of a curate stage")
        corpora.append(artifact)
    return corpora


def texts_of_corpora(corpora: Sequence[Artifact]) -> dict[str, Texts]:
    """Held-out documents of each language of some corpora (training documents where nothing is held out)."""
    found = {}
    for language in languages_of(corpora):
        split, texts = texts_to_measure(corpora, language, CORPUS_BYTES)
        if texts:
            found[language] = Texts(texts, split)
    return found


def texts_to_compare(files: Sequence[str], corpora: Sequence[Path]) -> tuple[dict[str, Texts], list[str]]:
    """Texts of files and corpora by language, and which of those of files are parallel.

    Raises:
        UserError: there are none, a language comes from both, or something cannot be read.
    """
    texts = texts_of_files(files)
    parallel = parallel_languages(texts)
    for language, found in texts_of_corpora(read_corpora(corpora)).items():
        if language in texts:
            raise UserError(f"--text {language}: the corpus has this language too; measure one after the other")
        texts[language] = found
    if not texts:
        raise UserError("there is nothing to measure on: give --text LANGUAGE=FILE or --corpus DIR")
    return texts, parallel


def parallel_languages(texts: Mapping[str, Texts]) -> list[str]:
    """The languages that have equally many texts from files: the most that agree on a number, at least two."""
    sizes = {language: len(of.texts) for language, of in texts.items()}
    most_common = Counter(sizes.values()).most_common(1)
    if not most_common or most_common[0][1] < 2:
        return []
    return [language for language, size in sizes.items() if size == most_common[0][0]]


def compare(
    folders: Mapping[str, Path],
    texts: Mapping[str, Texts],
    parallel: Sequence[str],
    baseline: str | None,
    progress: Progress = lambda done, total, unit, note="": None,
) -> dict[str, Any]:
    """Measure tokenizers on texts.

    Args:
        folders: of tokenizers, by name.
        texts: by language.
        parallel: the languages whose texts say the same, line by line.
        baseline: name of the tokenizer that compression is measured against; None: the first.
        progress: told how many pairs of tokenizer and language are done.

    Returns:
        `tokenizers` (vocabulary size), `languages` (number and origin of texts, what words are), `measures` by
        tokenizer and language, `baseline`, `compression`, `cost` (None without parallel text), and `examples`.

    Raises:
        UserError: a tokenizer cannot be read, or the baseline is none of them.
    """
    baseline = baseline or next(iter(folders))
    if baseline not in folders:
        raise UserError(f"--baseline {baseline}: no such tokenizer; there are: {', '.join(folders)}")
    loaded = {name: load_tokenizer(folder) for name, folder in folders.items()}
    measures: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in loaded}
    for number, (name, tokenizer) in enumerate(loaded.items()):
        for place, (language, of) in enumerate(texts.items()):
            progress(number * len(texts) + place, len(loaded) * len(texts), "tables", f"{name}, {language}")
            measures[name][language] = measure(tokenizer, of.texts, language)
    return {
        "tokenizers": {name: {"vocabulary_size": tokenizer_size(it)} for name, it in loaded.items()},
        "languages": {
            language: {"texts": len(of.texts), "origin": of.origin, "words_are": what_words_are(language)}
            for language, of in texts.items()
        },
        "measures": measures,
        "baseline": baseline,
        "compression": {name: _compression(measures[baseline], of) for name, of in measures.items()},
        "cost": _cost(measures, parallel, texts) if parallel else None,
        "examples": _examples(loaded, texts, parallel),
    }


def _compression(baseline: dict[str, dict[str, Any]], own: dict[str, dict[str, Any]]) -> dict[str, float]:
    return {
        language: round(baseline[language]["tokens"] / max(values["tokens"], 1), 4) for language, values in own.items()
    }


def _cost(
    measures: dict[str, dict[str, dict[str, Any]]], parallel: Sequence[str], texts: Mapping[str, Texts]
) -> dict[str, Any]:
    """What the same content costs: tokens per sentence, premium and Gini, by tokenizer."""
    sentences = len(texts[parallel[0]].texts)
    tokenizers_: dict[str, Any] = {}
    for name, of in measures.items():
        tokens = {language: of[language]["tokens"] for language in parallel}
        cheapest = min(tokens.values())
        tokenizers_[name] = {
            "gini": round(gini(list(tokens.values())), 4),
            "tokens_per_sentence": {code: round(count / sentences, 3) for code, count in tokens.items()},
            "premium": {code: round(count / max(cheapest, 1), 4) for code, count in tokens.items()},
        }
    return {"languages": list(parallel), "sentences": sentences, "tokenizers": tokenizers_}


def _examples(
    loaded: Mapping[str, tokenizers.Tokenizer], texts: Mapping[str, Texts], parallel: Sequence[str]
) -> list[dict[str, Any]]:
    """A text in each language as every tokenizer cuts it: the same sentence where the texts are parallel."""
    shortest = _short_sentence(texts, parallel) if parallel else None
    examples = []
    for language, of in texts.items():
        if shortest is not None and language in parallel:
            text = of.texts[shortest]
        else:
            text = next(iter(phrases(of.texts, 1, EXAMPLE_WORDS)), None) or _beginning(of.texts, language)
        cut = {name: pieces(tokenizer, text) for name, tokenizer in loaded.items()}
        examples.append({"language": language, "text": text, "pieces": cut})
    return examples


def _short_sentence(texts: Mapping[str, Texts], parallel: Sequence[str]) -> int:
    """The first line that is a short sentence in the first parallel language, or else the shortest."""
    lengths = [len(text.split()) if text.strip() else 10**9 for text in texts[parallel[0]].texts]
    return next((place for place, length in enumerate(lengths) if 5 <= length <= 9), lengths.index(min(lengths)))


def _beginning(texts: Sequence[str], language: str) -> str:
    """The first words of the first text, where no run of plain words is found."""
    text = next(text for text in texts if text.strip())
    ends = word_spans([text], language)[0].ends[:EXAMPLE_WORDS]
    return text[: ends[-1]] if len(ends) else text[:40]
