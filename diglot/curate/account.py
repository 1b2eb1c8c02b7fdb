"""What became of the documents: the account of a batch, the ledgers of the sources, and the evidence beside the corpus.

A document is counted under its reason, or it stays; so a ledger is a grouping of documents by their reasons, first by
those of the rules, a batch at a time, then by the decisions of deduplication (`finalize`). It balances, or the stage ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diglot.base.errors import UserError
from diglot.base.files import write_json
from diglot.base.format import excerpt
from diglot.base.ledger import UNKNOWN_LANGUAGE, Counts, Sample, SourceLedger, least
from diglot.curate.dedup import repeated_lines
from diglot.curate.dedup.decide import HELD_OUT, KEPT, REASONS, Decisions, largest_clusters, sampled
from diglot.curate.documents import SIZES, TAKEN, Documents, SignedShard, by_reason
from diglot.curate.prepare import domain_of, languages_of, part_name
from diglot.curate.rules import LANGUAGE_REASONS, Rule, RuleSet, histogram, histogram_edges, thresholds, unconditional
from diglot.curate.steps import Tools, cut_offs
from diglot.recipe.curate import Curate
from diglot.recipe.signals import NAMES
from diglot.text.hashing import draws

WRONG_SHARE = 0.95


# --- of a batch -----------------------------------------------------------------------------------------------


def account_of(documents: Documents, tools: Tools, judged: bool) -> dict[str, Any]:
    """The account of a batch, to be written as JSON: the ledger, and the histograms of the signals.

    Args:
        documents: with their reasons.
        tools: of the stage.
        judged: whether the rules were asked; not of what is broken, or in no language that is wanted.
    """
    rules = tools.rules_for(documents) if judged else []
    ledger = SourceLedger(documents.languages[0], domain_of(tools.settings.sources[documents.source]))
    sizes = documents.sizes()
    ledger.read.add(len(documents), sizes[:, 0].sum(), sizes[:, 1].sum())
    for reason, rows in by_reason(documents.reason, documents.reasons):
        ledger.drop(reason, len(rows), sizes[rows, 0].sum(), sizes[rows, 1].sum())
        ledger.samples[reason] = _samples(documents, tools, reason, rows, rules)
    if judged:
        ledger.unconditional = unconditional(rules, documents.signals, draws("rules", documents.id_hashes))
    histograms = _histograms(documents) if judged else {}
    return {"name": documents.name, "ledger": ledger.as_part(), "histograms": histograms, "passed": None}


def _samples(documents: Documents, tools: Tools, reason: str, rows: np.ndarray, rules: list[Rule]) -> list[Sample]:
    """Random documents of those dropped for a reason, with what was wrong with them."""
    rule = next((rule for rule in rules if rule.name == reason), None)
    samples = []
    for row in rows[np.argsort(documents.sample_keys[rows], kind="stable")[:8]].tolist():
        detail = documents.details[row]
        if rule is not None:
            detail = rule.describe(float(documents.signal(rule.signal)[row]))
        elif reason in LANGUAGE_REASONS:
            sides = zip(documents.identified, documents.expected, strict=True)
            detail = "; ".join(tools.identifier.describe(found, row, expected) for found, expected in sides)
        text = excerpt("\n".join(side[row].as_py()[:1000] for side in documents.read))
        samples.append(Sample(int(documents.sample_keys[row]), documents.ids[row].as_py(), text, detail))
    return least(samples)


def _histograms(documents: Documents) -> dict[str, list[list[int]]]:
    """Counts of each signal's values, of documents that passed and that did not."""
    stays = documents.reason < 0
    return {
        name: [histogram(name, documents.signals[chosen, place]).tolist() for chosen in (stays, ~stays)]
        for place, name in enumerate(NAMES)
        if not np.isnan(documents.signals[:, place]).all()
    }


# --- of the sources -------------------------------------------------------------------------------------------


@dataclass
class Accounts:
    """What became of the shards, by source (with the language, where a source is sorted by language).

    Attributes:
        ledgers: by name.
        histograms: int64 [2, bins] by name and signal: of documents that passed and that did not.
        sources: the name in the recipe, by name.
        shards: what passed the rules, in order.
        dropped: the files of what did not, with their sources.
        repeated: the commonest of the lines and paragraphs that were taken out, and in how many documents they were.
        others: documents identified as each language that is not wanted, however unsure, by source of the recipe.
        missing: what was wrong with the first record without text, by source of the recipe.
    """

    ledgers: dict[str, SourceLedger]
    sources: dict[str, str]
    histograms: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    shards: list[SignedShard] = field(default_factory=list)
    dropped: list[tuple[str, Path]] = field(default_factory=list)
    repeated: list[tuple[str, int]] = field(default_factory=list)
    others: dict[str, Counter[str]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def of_source(self, source: str) -> list[SourceLedger]:
        """The ledgers of a source of the recipe."""
        return [ledger for name, ledger in self.ledgers.items() if self.sources[name] == source]


def collect(shards: Iterator[tuple[str, Path, dict[str, Any]]], settings: Curate) -> Accounts:
    """Add up the accounts of all shards: the source of each, the file of what was dropped, and its account."""
    accounts = _empty_accounts(settings)
    signed: dict[str, list[SignedShard]] = {name: [] for name in accounts.ledgers}
    for source, dropped, shard in shards:
        accounts.dropped.append((source, dropped))
        for batch in shard["batches"]:  # of what is broken, of what is foreign, and of each language
            name = batch["name"]
            ledger, histograms = accounts.ledgers[name], accounts.histograms.setdefault(name, {})
            ledger.add(batch["ledger"])
            for signal, counts in batch["histograms"].items():
                histograms[signal] = histograms.get(signal, 0) + np.array(counts)
            if batch["passed"] and batch["passed"][1]:
                path, rows = batch["passed"]
                target = settings.sources[source].target_language
                languages = (ledger.language, target) if target else (ledger.language,)
                signed[name].append(SignedShard(Path(path), rows, name, source, languages))
        accounts.others.setdefault(source, Counter()).update(shard["other_languages"])
        accounts.repeated += shard["repeated"]
        if shard["missing"]:
            accounts.missing.setdefault(source, shard["missing"])
    for name in [name for name, ledger in accounts.ledgers.items() if not ledger.read.documents]:
        if settings.sources[accounts.sources[name]].languages:  # a language that nothing was in
            del accounts.ledgers[name]
    first = 0  # documents are numbered by source and then by shard
    for shard_of_source in (shard for of_source in signed.values() for shard in of_source):
        accounts.shards.append(shard_of_source._replace(first=first))
        first += shard_of_source.rows
    return accounts


def _empty_accounts(settings: Curate) -> Accounts:
    """A ledger for each source, and for each of its languages where it is sorted by language."""
    accounts = Accounts({}, {})
    for source, given in settings.sources.items():
        languages = {part_name(source, given, language): language for language in languages_of(given)}
        for name, language in (({source: UNKNOWN_LANGUAGE} if given.languages else {}) | languages).items():
            accounts.ledgers[name], accounts.sources[name] = SourceLedger(language, domain_of(given)), source
    return accounts


def check_source(accounts: Accounts, source: str, files: list[str], settings: Curate, stage: str) -> None:
    """Refuse a source of which nothing could be read, or (nearly) all is in another language than it is said to be.

    Args:
        accounts: of all sources.
        source: its name in the recipe.
        files: that were read.
        settings: of the stage.
        stage: its name, for messages.
    """
    ledgers = accounts.of_source(source)
    unreadable = Counter[str]()  # what has no characters was never a text, unless it was an empty one
    for ledger in ledgers:
        for reason, counts in ledger.dropped.items():
            if not counts.characters and reason != "empty_text":
                unreadable[reason] += counts.documents
    with_text = sum(ledger.read.documents for ledger in ledgers) - unreadable.total()
    if not with_text:
        found = ", ".join(f"{count:,} × {reason}" for reason, count in unreadable.items()) or "no records"
        missing, key = accounts.missing.get(source), f"{stage}.sources.{source}"
        samples = (ledger.samples.get(reason, []) for reason, _ in unreadable.most_common() for ledger in ledgers)
        detail = next((sample.detail for shown in samples for sample in shown if sample.detail), "")
        where = missing or f"in {', '.join(files[:3])}{detail and ': '}{detail}"
        remedy = f"give a folder or file that can be read: diglot run RECIPE {key}.path=FOLDER"
        remedy = f"say which field holds the text: {key}.text=FIELD" if missing else remedy
        raise UserError(f"source {source!r}: no record has a usable text: {found} ({where}); {remedy}")
    # Identification is off, or too few documents are in another language to doubt the source.
    given, others = settings.sources[source], accounts.others.get(source, Counter())
    if max(cut_offs(settings, given, languages_of(given))) == 0 or others.total() < WRONG_SHARE * with_text:
        return
    languages = ", ".join(languages_of(given)) + (f" + {given.target_language}" if given.target_language else "")
    most = sorted(others.items(), key=lambda item: (-item[1], item[0]))[:3]
    found = ", ".join(f"{count / with_text:.0%} in {code}" for code, count in most)
    raise UserError(
        f"source {source!r} (language {languages}): {others.total() / with_text:.0%} of {with_text:,} documents are in "
        f"another language ({found}); correct the source's language, point it to other files, or set "
        "language_confidence: 0 to take all texts as they are"
    )


def finalize(accounts: Accounts, decisions: Decisions) -> None:
    """Enter the decisions about all documents that passed into the ledgers, and make sure that they balance."""
    for shard in accounts.shards:
        ledger, decided, sizes = accounts.ledgers[shard.name], decisions.of_shard(shard), shard.sizes()
        for decision, rows in ((decision, decided == decision) for decision in np.unique(decided)):
            chosen = sizes[rows]
            if decision in REASONS:  # counted as read; what stays, as it is left
                ledger.drop(REASONS[decision], len(chosen), chosen[:, 0].sum(), chosen[:, 1].sum())
            else:
                counts = ledger.held_out if decision == HELD_OUT else ledger.kept
                counts.add(len(chosen), chosen[:, 2].sum(), chosen[:, 3].sum())
        staying = sizes[decided <= HELD_OUT][:, len(SIZES) - len(TAKEN) :]
        for correction, taken in zip(TAKEN, staying.T, strict=True):
            ledger.corrected.setdefault(correction, Counts()).add((taken > 0).sum(), taken.sum(), 0)
    for name, samples in sampled(decisions).items():
        ledger = accounts.ledgers[name]
        ledger.kept_samples = samples.get(KEPT, [])
        for decision, reason in REASONS.items():
            if decision in samples:
                ledger.sample(reason, samples[decision])
    for name, ledger in accounts.ledgers.items():
        ledger.check(name)


def check_something_left(accounts: Accounts, settings: Curate, stage: str) -> None:
    """Refuse a source of which nothing is left to train on, or, where all is to be held out, to test with."""
    for source in dict.fromkeys(accounts.sources[name] for name in accounts.ledgers):
        ledgers = accounts.of_source(source)
        if any((ledger.held_out if settings.held_out == 1 else ledger.kept).documents for ledger in ledgers):
            continue
        reasons = Counter[str]()
        for ledger in ledgers:
            reasons.update({reason: counts.documents for reason, counts in ledger.dropped.items()})
        most = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:5]
        listed = ", ".join(f"{number:,} × {reason}" for reason, number in most)
        number = sum(ledger.held_out.documents for ledger in ledgers)
        held_out = f", {number:,} held out" if number else ""
        raise UserError(
            f"source {source!r}: of {sum(ledger.read.documents for ledger in ledgers):,} documents none is left to "
            f"train on ({listed}{held_out}); give it other text, or loosen the rules ({stage}.rules.limits.RULE=null)"
        )


# --- evidence -------------------------------------------------------------------------------------------------


def write_evidence(accounts: Accounts, decisions: Decisions, settings: Curate, rule_set: RuleSet, output: Path) -> None:
    """Write what the report shows: `ledger.json`, `signals.json`, `duplicates.json` and `repeated.json`."""
    ledgers = {name: ledger.as_json() for name, ledger in accounts.ledgers.items()}
    write_json(output / "ledger.json", {"sources": ledgers}, indent=None)
    signals = {name: _signals(accounts, name, settings, rule_set) for name in ledgers if accounts.histograms.get(name)}
    write_json(output / "signals.json", signals, indent=None)
    write_json(output / "duplicates.json", largest_clusters(decisions), indent=None)
    commonest = sorted(accounts.repeated, key=lambda unit: (-unit[1], unit[0]))[: repeated_lines.SHOWN]
    shown = [{"line": excerpt(text), "documents": documents} for text, documents in commonest]
    write_json(output / "repeated.json", shown, indent=None)


def _signals(accounts: Accounts, name: str, settings: Curate, rule_set: RuleSet) -> dict[str, dict[str, Any]]:
    """Histograms of all signals and the limits of their rules, for the report."""
    language, source = accounts.ledgers[name].language, settings.sources[accounts.sources[name]]
    limits = thresholds(rule_set.rules_for(language, source.target_language is not None))
    limits["language_confidence"] = (cut_offs(settings, source, [language])[0], None)
    histograms = accounts.histograms[name]
    return {
        signal: {
            "edges": histogram_edges(signal).tolist(),
            "kept": histograms[signal][0].tolist(),
            "dropped": histograms[signal][1].tolist(),
            "low": limits.get(signal, (None, None))[0],
            "high": limits.get(signal, (None, None))[1],
        }
        for signal in NAMES
        if signal in histograms
    }
