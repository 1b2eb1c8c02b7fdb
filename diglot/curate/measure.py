"""Measuring a shard: from records to what passed the rules, signed, and an account of the rest.

    records ──prepare──► texts by language ──repeated lines out──► signals ──rules──► contamination ──sign──► files

A job is what all shards of the stage are measured with; it pickles, and what it names is opened once a process.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diglot.base.ledger import Sample, SourceLedger, least
from diglot.curate import decontaminate
from diglot.curate.dedup import repeated_lines
from diglot.curate.dedup.minhash import band_keys, sign
from diglot.curate.prepare import Part, byte_lengths, domain_of, prepare, sample_text
from diglot.curate.rules import Rule, RuleSet, first_broken, histogram, load_rule_set, reasons_in_order, unconditional
from diglot.curate.scratch import SIZES, dropped_file, write_dropped, write_passed
from diglot.curate.signals.lexicon import word_lists
from diglot.curate.signals.measure import TEXT_SIGNALS, measure
from diglot.curate.units import Unit, shard_name, work
from diglot.quality.models import Models
from diglot.quality.models import load as load_models
from diglot.read.files import RawShard
from diglot.recipe.curate import Curate
from diglot.recipe.signals import NAMES
from diglot.text.hashing import draws, hash_names, keyed
from diglot.text.language_id import Identifier, load_identifier
from diglot.text.languages import is_unspaced, language_name

EMPTY, UNTRANSLATED, CONTAMINATED = "empty_text", "untranslated", "contaminated"


class Job(NamedTuple):
    """What the shards of the stage are measured with.

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

    identifier: Identifier
    rule_set: RuleSet
    models: Models
    contamination: decontaminate.Table | None
    repeated: tuple[repeated_lines.Table, ...]


_tools: dict[str, Tools] = {}
_opening = threading.Lock()


def tools_of(job: Job) -> Tools:
    """The tools of a job; opened once a process."""
    with _opening:
        if job.key not in _tools:
            _tools.clear()
            _tools[job.key] = Tools(
                identifier=load_identifier(job.settings.language_model),
                rule_set=load_rule_set(job.settings.rules, job.learnt, job.base),
                models=load_models(job.quality),
                contamination=decontaminate.load(job.contamination) if job.contamination else None,
                repeated=tuple(repeated_lines.load(path, kind) for kind, path in job.repeated),
            )
        return _tools[job.key]


# --- repeated lines, the pass before --------------------------------------------------------------------------


def count_units(task: tuple[Job, Unit]) -> int:
    """Hash the lines and paragraphs of a unit's shards, for `repeated.build_table`; returns the number of shards."""
    job, unit = task
    tools = tools_of(job)

    def handle(raw: RawShard) -> dict[str, Any]:
        prepared = prepare(raw, unit.source, job.settings, tools.identifier, tools.rule_set)
        for place, part in enumerate(prepared.parts):
            if len(part.sides) > 1:  # a pair without a line on one side is no translation
                continue
            for kind, _ in kinds(job.settings):
                path = job.folder / f"{shard_name(unit.group, raw.number)}-{place}.{kind}.npy"
                repeated_lines.write_units(path, part.sides[0].texts, kind, shard_number(unit.group, raw.number, place))
        return {}

    return work(unit, job.folder, handle)


def kinds(settings: Curate) -> list[tuple[str, int]]:
    """The kinds of unit to be deduplicated, and in how many documents they may be found."""
    wanted = settings.deduplication
    return [(kind, limit) for kind in ("paragraphs", "lines") if (limit := getattr(wanted, kind)) is not None]


def shard_number(group: int, shard: int, part: int) -> int:
    """One number (49 bits) for the documents of a shard and language, in the order of the corpus."""
    return (group << 18 | shard) << 10 | part


# --- measuring ------------------------------------------------------------------------------------------------


def measure_unit(task: tuple[Job, Unit]) -> int:
    """Measure the shards of a unit that are not done; returns the number of shards in the group."""
    job, unit = task
    return work(unit, job.folder, lambda raw: _measure_shard(job, unit, raw))


def _measure_shard(job: Job, unit: Unit, raw: RawShard) -> dict[str, Any]:
    tools = tools_of(job)
    prepared = prepare(raw, unit.source, job.settings, tools.identifier, tools.rule_set)
    accounts: dict[str, Any] = {}
    dropped = [(unit.source, reason, ids) for reason, ids in prepared.dropped.items()]
    shown: list[tuple[str, int]] = []
    for place, part in enumerate(prepared.parts):
        removed = np.zeros(len(part.rows), np.int64)
        for table in tools.repeated if len(part.sides) == 1 else ():
            number = shard_number(unit.group, raw.number, place)
            taken = repeated_lines.remove(part.sides[0].texts, number, table)
            part.sides[0] = part.sides[0]._replace(texts=taken.texts)
            removed += taken.characters
            shown += taken.shown
        path = job.folder / f"{shard_name(unit.group, raw.number)}-{part.languages[0]}.arrow"
        accounts[part.name], of_part = _measure_part(job, tools, part, removed, path)
        dropped += [(part.name, reason, ids) for reason, ids in of_part.items()]
    if unit.source in accounts:
        prepared.ledger.add(accounts[unit.source]["ledger"])
        accounts[unit.source]["ledger"] = prepared.ledger.as_part()
    else:
        accounts[unit.source] = {"ledger": prepared.ledger.as_part(), "passed": None, "histograms": {}}
    write_dropped(dropped_file(job.folder, unit.group, raw.number), dropped)
    return {
        "accounts": accounts,
        "other_languages": prepared.other_languages,
        "missing": prepared.missing,
        "repeated": shown,
    }


def _measure_part(
    job: Job, tools: Tools, part: Part, removed: np.ndarray, path: Path
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Measure the documents of one source and language, and write what passes.

    Returns:
        Their account, and the ids of those dropped, by reason.
    """
    whole = _joined([side.texts for side in part.sides])
    signals = _signals(job.settings, tools, part, whole)
    rules = tools.rule_set.rules_for(part.languages[0], len(part.languages) > 1)
    id_hashes = hash_names(part.texts.ids)
    drawn = draws("rules", id_hashes)
    names, reasons, details = _reasons(tools, part, whole, rules, signals, drawn)
    sizes = _sizes(part, removed)
    ledger = SourceLedger(part.languages[0], domain_of(job.settings.sources[part.source]))
    ledger.read.add(len(reasons), sizes[:, 0].sum(), sizes[:, 1].sum())
    dropped = {}
    for place in np.unique(reasons[reasons >= 0]):
        chosen = np.flatnonzero(reasons == place)
        dropped[names[place]] = part.texts.ids.take(pa.array(chosen)).to_pylist()
        ledger.drop(names[place], len(chosen), sizes[chosen, 0].sum(), sizes[chosen, 1].sum())
    ledger.samples = _samples(tools, part, names, reasons, details, rules, signals, id_hashes)
    ledger.unconditional = unconditional(rules, signals, drawn)
    passed = np.flatnonzero(reasons < 0)
    wanted = job.settings.deduplication
    by_characters = any(is_unspaced(language) for language in part.languages)
    permutations = wanted.permutations if wanted.minhash else 0
    signatures = sign(whole.take(pa.array(passed)), permutations, wanted.shingle, by_characters)
    columns = _columns(part, whole, passed, id_hashes, signatures.hashes)
    arrays = {"signatures": signatures.minhash}
    arrays["bands"] = band_keys(signatures.minhash, wanted.bands if wanted.minhash else 0, wanted.rows)
    result = write_passed(path, columns, sizes[passed], signals[passed], arrays)
    account = {"ledger": ledger.as_part(), "passed": result, "histograms": _histograms(signals, reasons < 0)}
    return account, dropped


def _signals(settings: Curate, tools: Tools, part: Part, whole: pa.Array) -> np.ndarray:
    """All signals (float64 [documents, len(NAMES)]); NaN where there is no model for one."""
    read_characters = np.maximum(sum(side.characters for side in part.sides), 1)
    known: dict[str, np.ndarray] = {
        "urls": sum(side.urls for side in part.sides) / read_characters,
        "invisible": sum(side.broken for side in part.sides) / read_characters,
        "language_confidence": part.confidence,
    }
    known |= tools.models.measure(whole, part.languages[0])
    signals = np.full((len(whole), len(NAMES)), np.nan)
    words = word_lists(part.languages[0], settings.banned_words)
    signals[:, : len(TEXT_SIGNALS)] = measure(whole, part.languages[0], words)
    for name, values in known.items():
        signals[:, NAMES.index(name)] = values
    return signals


def _reasons(
    tools: Tools, part: Part, whole: pa.Array, rules: list[Rule], signals: np.ndarray, drawn: np.ndarray
) -> tuple[list[str], np.ndarray, dict[int, str]]:
    """Names of reasons; each document's reason, or -1; and details where a rule does not know them."""
    names = [EMPTY, UNTRANSLATED, *reasons_in_order(rules), CONTAMINATED]
    reasons = first_broken(rules, signals, part.verdicts, drawn) + 2
    reasons[reasons == 1] = -1
    if len(part.sides) > 1:
        left, right = (side.texts.to_numpy(zero_copy_only=False) for side in part.sides)
        reasons[left == right] = names.index(UNTRANSLATED)
    for side in part.sides:
        reasons[byte_lengths(side.texts) == 0] = names.index(EMPTY)
    details: dict[int, str] = {}
    if tools.contamination is not None:
        passed = np.flatnonzero(reasons < 0)
        found, items = decontaminate.contaminated(whole.take(pa.array(passed)), part.languages[0], tools.contamination)
        reasons[passed[found]] = names.index(CONTAMINATED)
        details = {int(passed[place]): detail for place, detail in items.items()}
    return names, reasons, details


def _joined(texts: list[pa.Array]) -> pa.Array:
    """The texts to measure and to compare: of a pair, both sides, whatever the direction it is written in."""
    return texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, pa.scalar("\n", pa.large_string()))


def _columns(
    part: Part, whole: pa.Array, passed: np.ndarray, id_hashes: np.ndarray, hashes: np.ndarray
) -> dict[str, pa.Array]:
    chosen = pa.array(passed)
    columns = {"id": part.texts.ids.take(chosen)}
    if len(part.sides) == 1:
        columns["text"] = whole.take(chosen)
    else:
        columns["text"] = _rendered(part, id_hashes).take(chosen)
        columns["compared"] = whole.take(chosen)
    columns["url"] = part.texts.urls.take(chosen)
    columns["hash"] = pa.array(hashes)
    columns["id_hash"] = pa.array(id_hashes[passed])
    columns["url_hash"] = pa.array(hash_names(columns["url"]))
    return columns


def _rendered(part: Part, id_hashes: np.ndarray) -> pa.Array:
    """Pairs as bilingual documents, `Arabic: …` above `English: …`, or below, by the hash of the id."""
    labels = [f"{language_name(language)}: " for language in part.languages]
    first, second = (
        pc.binary_join_element_wise(pa.scalar(label, pa.large_string()), side.texts, pa.scalar("", pa.large_string()))
        for label, side in zip(labels, part.sides, strict=True)
    )
    newline = pa.scalar("\n", pa.large_string())
    odd = pa.array((keyed("direction", id_hashes) & np.uint64(1)).astype(bool))
    there = pc.binary_join_element_wise(first, second, newline)
    return pc.if_else(odd, pc.binary_join_element_wise(second, first, newline), there)


def _sizes(part: Part, removed: np.ndarray) -> np.ndarray:
    """Characters and bytes of each document as read and as corrected, and what each correction took (`SIZES`)."""
    columns = np.zeros((len(removed), len(SIZES)), np.int64)
    for side, texts in zip(part.sides, part.texts.sides, strict=True):
        columns[:, 0] += side.characters
        columns[:, 1] += byte_lengths(texts)
        columns[:, 2] += side.characters - side.removed.sum(axis=1)
        columns[:, 3] += byte_lengths(side.texts)
        columns[:, 4:-1] += side.removed
    columns[:, 2] -= removed
    columns[:, -1] = removed
    return columns


def _samples(
    tools: Tools, part: Part, names: list[str], reasons: np.ndarray, details: dict[int, str], rules: list[Rule],
    signals: np.ndarray, id_hashes: np.ndarray,
) -> dict[str, list[Sample]]:  # fmt: skip
    """Random dropped documents of each reason, with what was wrong with them."""
    by_name = {rule.name: rule for rule in rules}
    keys = keyed("sample", id_hashes)
    samples: dict[str, list[Sample]] = {}
    for place in np.unique(reasons[reasons >= 0]):
        name = names[place]
        rows = np.flatnonzero(reasons == place)
        shown = []
        for row in rows[np.argsort(keys[rows], kind="stable")[:8]].tolist():
            detail = details.get(row, "")
            if name in by_name:
                detail = by_name[name].describe(float(signals[row, NAMES.index(by_name[name].signal)]))
            elif name in ("wrong_language", "low_confidence"):
                described = (
                    tools.identifier.describe(found, int(part.rows[row]), [language])
                    for found, language in zip(part.identified, part.languages, strict=True)
                )
                detail = "; ".join(described)
            shown.append(Sample(int(keys[row]), part.texts.ids[row].as_py(), sample_text(part.texts, row), detail))
        samples[name] = least(shown)
    return samples


def _histograms(signals: np.ndarray, passed: np.ndarray) -> dict[str, list[list[int]]]:
    """Counts of each signal's values, of documents that passed and that did not."""
    return {
        name: [histogram(name, signals[passed, place]).tolist(), histogram(name, signals[~passed, place]).tolist()]
        for place, name in enumerate(NAMES)
        if not np.isnan(signals[:, place]).all()
    }
