"""The steps of curation: each takes a batch of documents and gives it back with more in its columns.

`stage` lists them in order. What they work with (`Tools`) is opened once a process, from a `Job`, which pickles.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diglot.base.ledger import UNKNOWN_LANGUAGE
from diglot.curate.clean.line_rules import LINE_RULES, remove_lines
from diglot.curate.clean.lines import CORRECTIONS, FIRST_LINE_COLUMN, correct
from diglot.curate.dedup import repeated_lines
from diglot.curate.documents import Documents, byte_lengths
from diglot.curate.prepare import part_name
from diglot.curate.rules import LANGUAGE_REASONS, Rule, RuleSet, first_broken, load_rule_set, reasons_in_order
from diglot.curate.signals.lexicon import word_lists
from diglot.curate.signals.measure import TEXT_SIGNALS
from diglot.curate.signals.measure import measure as measure_texts
from diglot.quality.models import Models
from diglot.quality.models import load as load_models
from diglot.read import decontaminate as contamination
from diglot.recipe.curate import Curate
from diglot.recipe.source import Source
from diglot.text import minhash
from diglot.text.hashing import draws
from diglot.text.language_id import RIGHT, Identifier, load_identifier
from diglot.text.languages import is_unspaced

EMPTY, UNTRANSLATED, CONTAMINATED = "empty_text", "untranslated", "contaminated"


class Job(NamedTuple):
    """What the shards of the stage are curated with.

    Attributes:
        settings: of the stage.
        key: of this stage and state of the corpus; one set of tools a process and key.
        folder: for what passed, and the accounts.
        base: what relative paths are relative to.
        learnt: a file of learnt limits.
        quality: folders of quality models.
        contamination: the table of the evaluation sets' n-grams.
        repeated: tables of repeated lines and paragraphs, by kind.
    """

    settings: Curate
    key: str
    folder: Path
    base: Path | None = None
    learnt: Path | None = None
    quality: tuple[Path, ...] = ()
    contamination: Path | None = None
    repeated: tuple[tuple[str, Path], ...] = ()


class Tools(NamedTuple):
    """What a job names, opened."""

    settings: Curate
    identifier: Identifier
    rule_set: RuleSet
    models: Models
    contamination: contamination.Table | None
    repeated: tuple[repeated_lines.Table, ...]

    def rules_for(self, documents: Documents) -> list[Rule]:
        """The rules that apply to documents of one language, in the order in which they are asked."""
        return self.rule_set.rules_for(documents.languages[0], documents.is_parallel)


_tools: dict[str, Tools] = {}
_opening = threading.Lock()


def tools_of(job: Job) -> Tools:
    """The tools of a job; opened once a process."""
    with _opening:
        if job.key not in _tools:
            _tools.clear()
            _tools[job.key] = Tools(
                settings=job.settings,
                identifier=load_identifier(job.settings.language_model),
                rule_set=load_rule_set(job.settings.rules, job.learnt, job.base),
                models=load_models(job.quality),
                contamination=contamination.load(job.contamination) if job.contamination else None,
                repeated=tuple(repeated_lines.load(path, kind) for kind, path in job.repeated),
            )
        return _tools[job.key]


# --- of a whole shard -----------------------------------------------------------------------------------------


def clean(documents: Documents, tools: Tools) -> Documents:
    """Correct the texts line by line, and count what is in them (`clean.lines`)."""
    sides = [correct(side, tools.settings.corrections) for side in documents.read]
    documents.texts = [side.texts for side in sides]
    documents.characters = np.sum([side.characters for side in sides], axis=0)
    documents.taken[:, : len(CORRECTIONS)] = np.sum([side.removed for side in sides], axis=0)
    characters = np.maximum(documents.characters, 1)
    documents.signal("urls")[:] = np.sum([side.urls for side in sides], axis=0) / characters
    documents.signal("invisible")[:] = np.sum([side.broken for side in sides], axis=0) / characters
    return documents


def identify(documents: Documents, tools: Tools) -> Documents:
    """Identify the language of each side (`text.language_id`); of a pair the worst verdict counts.

    Where the source is sorted by language, documents in none of its languages get their reason here; elsewhere the
    verdict is one of the rules that `judge` asks.
    """
    source = tools.settings.sources[documents.source]
    confidence, places = np.ones(len(documents)), np.arange(len(documents))
    for texts, expected in zip(documents.texts, documents.expected, strict=True):
        found = tools.identifier.identify(texts, expected)
        cuts = cut_offs(tools.settings, source, expected)
        verdicts, documents.language = tools.identifier.verdicts(texts, found, expected, cuts)
        documents.identified.append(found)
        documents.verdicts = np.where(documents.verdicts == RIGHT, verdicts, documents.verdicts)
        confidence = np.minimum(confidence, found.accepted[places, documents.language])
    documents.signal("language_confidence")[:] = confidence
    if source.languages:
        documents.reasons = list(LANGUAGE_REASONS)
        documents.reason = documents.verdicts - 1  # RIGHT is 0, and then come the reasons
    return documents


def by_language(documents: Documents, tools: Tools) -> tuple[Documents | None, list[Documents]]:
    """What is in no language that is wanted, and the other documents, a batch a language."""
    source = tools.settings.sources[documents.source]
    if not source.languages:
        return None, [documents]
    foreign = replace(documents.take(np.flatnonzero(documents.verdicts != RIGHT)), languages=(UNKNOWN_LANGUAGE,))
    batches = []
    for place, language in enumerate(source.languages):
        batch = documents.take(np.flatnonzero((documents.verdicts == RIGHT) & (documents.language == place)))
        batch.name, batch.languages = part_name(documents.source, source, language), (language,)
        batch.number += place
        batches.append(batch)
    return foreign, batches


def cut_offs(settings: Curate, source: Source, languages: list[str]) -> list[float]:
    """The confidence each language must be identified with."""
    if source.language_confidence is not None:
        return [source.language_confidence] * len(languages)
    return [settings.language_confidence_of.get(language, settings.language_confidence) for language in languages]


# --- of one language ------------------------------------------------------------------------------------------


def drop_bad_lines(documents: Documents, tools: Tools) -> Documents:
    """Take out the lines that break one of the rule set's line rules (`clean.line_rules`); pairs stay as they are."""
    rules = tools.rule_set.line_rules(documents.languages[0])
    if rules and not documents.is_parallel:
        removed = np.zeros((len(documents), len(LINE_RULES)), np.int64)
        documents.texts = [remove_lines(documents.texts[0], rules, removed)]
        documents.taken[:, FIRST_LINE_COLUMN : FIRST_LINE_COLUMN + len(LINE_RULES)] += removed
    return documents


def drop_repeated_lines(documents: Documents, tools: Tools) -> Documents:
    """Take out lines and paragraphs found too often in the corpus (`dedup.repeated_lines`).

    A pair without a line on one side is no translation, so pairs stay as they are.
    """
    for table in () if documents.is_parallel else tools.repeated:
        texts, characters, shown = repeated_lines.remove(documents.texts[0], documents.number, table)
        documents.texts = [texts]
        documents.taken[:, -1] += characters
        documents.repeated = [*documents.repeated, *shown]
    return documents


def measure(documents: Documents, tools: Tools) -> Documents:
    """Measure the signals (`signals.measure`, `quality.models`): of a pair on both sides together."""
    language, newline = documents.languages[0], pa.scalar("\n", pa.large_string())
    documents.compared = documents.texts[0]
    if documents.is_parallel:  # in one order, whatever the direction they are written in
        documents.compared = pc.binary_join_element_wise(*documents.texts, newline)
    words = word_lists(language, tools.settings.banned_words)
    documents.signals[:, : len(TEXT_SIGNALS)] = measure_texts(documents.compared, language, words)
    for name, values in tools.models.measure(documents.compared, language).items():
        documents.signal(name)[:] = values
    return documents


def judge(documents: Documents, tools: Tools) -> Documents:
    """Give each document the first reason to drop it, if there is one (`rules`)."""
    rules = tools.rules_for(documents)
    documents.reasons = [EMPTY, UNTRANSLATED, *reasons_in_order(rules), CONTAMINATED]
    first = first_broken(rules, documents.signals, documents.verdicts, draws("rules", documents.id_hashes))
    documents.reason = np.where(first < 0, first, first + 2)  # behind the two that no rule asks
    if documents.is_parallel:
        left, right = (side.to_numpy(zero_copy_only=False) for side in documents.texts)
        documents.drop(left == right, UNTRANSLATED)
    for side in documents.texts:
        documents.drop(byte_lengths(side) == 0, EMPTY)
    return documents


def decontaminate(documents: Documents, tools: Tools) -> Documents:
    """Drop what shares a run of words with an evaluation item (`decontaminate`)."""
    if tools.contamination is not None:
        passed = documents.passed
        texts = documents.compared.take(pa.array(passed))
        found, items = contamination.contaminated(texts, is_unspaced(documents.languages[0]), tools.contamination)
        documents.drop(passed[found], CONTAMINATED)
        documents.details[passed[found]] = items
    return documents


def sign(documents: Documents, tools: Tools) -> Documents:
    """Hash what passed, for exact and near deduplication (`text.minhash`)."""
    wanted, passed = tools.settings.deduplication, documents.passed
    by_characters = any(is_unspaced(language) for language in documents.languages)
    permutations = wanted.permutations if wanted.minhash else 0
    texts = documents.compared.take(pa.array(passed))
    documents.signatures = np.zeros((len(documents), permutations), np.uint32)
    documents.hashes[passed], documents.signatures[passed] = minhash.sign(
        texts, permutations, wanted.shingle, by_characters
    )
    return documents
