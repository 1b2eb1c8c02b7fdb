"""The stage `curate`: read raw text, clean it, filter it, deduplicate it, and account for all of it.

The steps are PolyLM's (3.1); what each rule is and where it comes from stands in docs/corpus.md:

1. find the files of all sources and put them into units of work (`units`)
2. where wanted: hash all lines and paragraphs, and find those that repeat over the corpus (`repeated`)
3. cut each unit into shards; for each shard: correct lines, identify the language, measure signals, apply the rules,
   look for evaluation items, and sign what passed (`measure`)
4. compare all that passed, in each language, out of core; the first of duplicates stays; hold out a share of what
   each source has left: after deduplication, so that no near duplicate (as far as MinHash finds it) of a held-out
   document is trained on (`fates`)
5. write `documents/`, `heldout/` and `dropped/`, and the ledger, which must balance

Steps 2 to 5 are tasks of an executor: threads, or Ray. The corpus is the same whatever runs them, however many, and
whatever is killed meanwhile: a shard of step 3 that is done is not done again. `language_confidence: 0` switches
language identification off. Memory: a shard of 32 MB a worker, with its working arrays about 0.5 GB each, and
`fates` and `duplicates` for the whole corpus; text is never held beyond a shard.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diglot.base.artifact import Context, Inputs, UserError
from diglot.base.executor import Executor, open_executor
from diglot.base.files import write_json
from diglot.base.format import excerpt
from diglot.base.ledger import UNKNOWN_LANGUAGE, Counts, SourceLedger
from diglot.curate import decontaminate
from diglot.curate.dedup import repeated_lines
from diglot.curate.dedup.decide import HELD_OUT, KEPT, REASONS, Fates, Located, decide, largest_clusters, sampled
from diglot.curate.measure import Job, count_units, kinds, measure_unit
from diglot.curate.prepare import cut_offs, domain_of, languages_of, part_name
from diglot.curate.rules import RuleSet, histogram_edges, load_rule_set, thresholds
from diglot.curate.scratch import SIZES, TAKEN, Passed, dropped_file
from diglot.curate.units import Unit, accounts_of, units_of
from diglot.curate.write import write_documents, write_dropped
from diglot.quality.models import load as load_models
from diglot.recipe.curate import Curate
from diglot.recipe.signals import NAMES, SIGNALS
from diglot.text.language_id import load_identifier

WRONG_SHARE = 0.95


@dataclass
class Account:
    """A source, or a source in one language, on its way through the stage.

    Attributes:
        source: its name in the recipe.
        ledger: its account.
        histograms: int64 [2, bins] by signal: of documents that passed and that did not.
    """

    source: str
    ledger: SourceLedger
    histograms: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Measured:
    """What became of the shards.

    Attributes:
        accounts: by source.
        shards: what passed the rules, in order.
        dropped: the files of what did not, with their sources.
        repeated: the commonest of the lines and paragraphs that were taken out, and in how many documents they were.
    """

    accounts: dict[str, Account]
    shards: list[Located]
    dropped: list[tuple[str, Path]]
    repeated: list[tuple[str, int]]


def run(settings: Curate, inputs: Inputs, output: Path, context: Context) -> dict[str, Any]:
    """Make a corpus.

    Raises:
        UserError: a source cannot be read, is in another language altogether, or has nothing left in the end.
    """
    text, learnt = inputs.maybe("text"), inputs.maybe("rules")
    job = Job(
        settings=settings,
        key=f"{context.fingerprint}/{context.scratch}",
        folder=context.scratch / "measured",
        base=text.path if text else None,
        learnt=learnt.file("rules.yaml") if learnt else None,
        quality=tuple(artifact.path for artifact in inputs.many("quality")),
    )
    _check_settings(job)
    progress = _Progress(context, job.folder)
    with open_executor(settings.executor, context.workers, progress.tick) as executor:
        units = units_of(settings, job.base, context.name, executor.workers)
        job, evaluation_sets = _with_tables(job, units, executor, context)
        measured = _measure(job, units, executor, context, progress)
        accounts = measured.accounts
        fates = decide(measured.shards, settings, executor, context.scratch / "compared", _seed(settings, context))
        _settle(accounts, fates)
        _check_something_left(accounts, context)
        write_documents(fates, settings, output, executor, context)
        write_dropped(measured.dropped, fates, output, executor)
    _write_evidence(measured, fates, job, output)
    summary = _summary(accounts)
    return {**summary, "evaluation_sets": evaluation_sets._asdict()} if evaluation_sets else summary


def _seed(settings: Curate, context: Context) -> str:
    return f"{context.seed}/{settings.seed}/held out"


def _check_settings(job: Job) -> None:
    settings = job.settings
    identifier = load_identifier(settings.language_model)
    names = [part_name(name, source, language) for name, source in settings.sources.items()
             for language in languages_of(source)]  # fmt: skip
    for name in names:
        if names.count(name) > 1 or (name in settings.sources and settings.sources[name].languages):
            raise UserError(f"two sources would be called {name!r}; give one of them another name")
    for name, source in settings.sources.items():
        for language in filter(None, [*languages_of(source), source.target_language]):
            if max(cut_offs(settings, source, [language])) > 0 and not identifier.knows(language):
                raise UserError(
                    f"source {name!r}: language {language!r} is not among the {len(identifier.codes)} that the "
                    "identifier knows; correct it, set language_model to a fastText model that knows it, or set "
                    "language_confidence: 0 to take all texts as they are"
                )
    rule_set = load_rule_set(settings.rules, job.learnt, job.base)
    measured = {signal.name for signal in SIGNALS if signal.needs != "quality"}
    measured |= set(load_models(job.quality).signals)
    for name, source in settings.sources.items():
        for language in languages_of(source):
            for rule in rule_set.rules_for(language, source.target_language is not None):
                if rule.signal not in measured:
                    raise UserError(
                        f"rule {rule.name} (source {name!r}): {rule.signal} is measured by a quality model; give "
                        "this stage one (from: {quality: STAGE}), or switch the rule off (rules.limits."
                        f"{rule.name}=null)"
                    )


class _Progress:
    """Counts the shards that are done, whoever does them."""

    def __init__(self, context: Context, folder: Path):
        self.context, self.folder = context, folder
        self.megabytes, self.total = 0.0, 0.0
        self.shards, self.next_look = 0, 0.0

    def tick(self) -> None:
        began = time.monotonic()
        if began >= self.next_look:  # of a large corpus the folder has hundreds of thousands of files
            self.shards = sum(1 for _ in self.folder.glob("*.json")) if self.folder.exists() else 0
            self.next_look = began + 50 * (time.monotonic() - began)
        self.context.progress(self.megabytes, self.total or None, "MB", f"{self.shards} shards measured")

    def unit_done(self, unit: Unit) -> None:
        self.megabytes += sum(file.size or 0 for file in unit.files) / 1e6 / unit.parts
        self.tick()


# --- measuring ------------------------------------------------------------------------------------------------


def _with_tables(
    job: Job, units: list[Unit], executor: Executor, context: Context
) -> tuple[Job, decontaminate.Built | None]:
    """Build what shards are compared with: the evaluation sets' n-grams, and repeated lines and paragraphs."""
    settings, scratch, evaluation_sets = job.settings, context.scratch, None
    if settings.decontamination:
        table = scratch / "contamination.npz"
        evaluation_sets = decontaminate.build(settings.decontamination, table, job.base, context.name)
        job = job._replace(contamination=table)
    if kinds(settings):
        folder = scratch / "units"
        folder.mkdir(parents=True, exist_ok=True)
        counting = job._replace(folder=folder)
        for _ in executor.map(count_units, [(counting, unit) for unit in units]):
            pass
        tables = []
        for kind, limit in kinds(settings):
            table = scratch / f"repeated-{kind}.npy"
            files = sorted(folder.glob(f"*.{kind}.npy"))
            repeated_lines.build_table(files, limit, table, executor.map)
            tables.append((kind, table))
        job = job._replace(repeated=tuple(tables), key=f"{job.key}/repeated")
    return job, evaluation_sets


def _measure(job: Job, units: list[Unit], executor: Executor, context: Context, progress: _Progress) -> Measured:
    """Measure all units."""
    job.folder.mkdir(parents=True, exist_ok=True)
    progress.total = sum(file.size or 0 for unit in units for file in unit.files if unit.part == 0) / 1e6
    groups = {}
    for unit, shards in zip(units, executor.map(measure_unit, [(job, unit) for unit in units]), strict=True):
        groups[unit.group] = shards
        progress.unit_done(unit)
    accounts = _accounts(job.settings)
    located: dict[str, list[Located]] = {name: [] for name in accounts}
    source_of = {unit.group: unit.source for unit in units}
    others: dict[str, dict[str, int]] = {}
    missing: dict[str, str] = {}
    dropped, repeats = [], []
    for group, number, shard in accounts_of(job.folder, groups):
        source = source_of[group]
        dropped.append((source, dropped_file(job.folder, group, number)))
        for name, account in shard["accounts"].items():
            accounts[name].ledger.add(account["ledger"])
            _add_histograms(accounts[name], account["histograms"])
            if account["passed"] and account["passed"][1]:
                languages = (accounts[name].ledger.language, job.settings.sources[source].target_language)
                located[name].append(Located(name, source, languages, Passed(*account["passed"])))
        for language, count in shard["other_languages"].items():
            others.setdefault(source, {})[language] = others.get(source, {}).get(language, 0) + count
        repeats += shard["repeated"]
        if shard["missing"]:
            missing.setdefault(source, shard["missing"])
    for name in [name for name, account in accounts.items() if not account.ledger.read.documents]:
        if job.settings.sources[accounts[name].source].languages:  # a language that nothing was in
            del accounts[name]
    for name in job.settings.sources:
        files = [file.label for unit in units if unit.source == name for file in unit.files]
        wrong = missing.get(name) or f"in {', '.join(files[:3])}"
        _check_source(name, accounts, others.get(name, {}), wrong, name in missing, job.settings, context)
    return Measured(accounts, [shard for shards in located.values() for shard in shards], dropped, repeats)


def _accounts(settings: Curate) -> dict[str, Account]:
    """An account for each source, and for each of its languages where it is sorted by language."""
    accounts = {}
    for name, source in settings.sources.items():
        if source.languages:
            accounts[name] = Account(name, SourceLedger(UNKNOWN_LANGUAGE, domain_of(source)))
        for language in languages_of(source):
            accounts[part_name(name, source, language)] = Account(name, SourceLedger(language, domain_of(source)))
    return accounts


def _add_histograms(account: Account, histograms: dict[str, list[list[int]]]) -> None:
    for signal, counts in histograms.items():
        account.histograms[signal] = account.histograms.get(signal, 0) + np.array(counts)


def _check_source(
    name: str, accounts: dict[str, Account], others: dict[str, int], wrong: str, is_field: bool,
    settings: Curate, context: Context,
) -> None:  # fmt: skip
    """Refuse a source of which nothing could be read, or (nearly) all is in another language than it is said to be."""
    ledgers = [account.ledger for account in accounts.values() if account.source == name]
    unreadable: dict[str, int] = {}
    for ledger in ledgers:
        for reason, counts in ledger.dropped.items():
            if not counts.characters and reason != "empty_text":
                unreadable[reason] = unreadable.get(reason, 0) + counts.documents
    with_text = sum(ledger.read.documents for ledger in ledgers) - sum(unreadable.values())
    if not with_text:
        found = ", ".join(f"{count:,} × {reason}" for reason, count in unreadable.items()) or "no records"
        stage = f"{context.name}.sources.{name}"
        remedy = (
            f"say which field holds the text: {stage}.text=FIELD"
            if is_field
            else f"give a folder or file that can be read: diglot run RECIPE {stage}.path=FOLDER"
        )
        raise UserError(f"source {name!r}: no record has a usable text: {found} ({wrong}); {remedy}")
    source, number = settings.sources[name], sum(others.values())
    if max(cut_offs(settings, source, languages_of(source))) == 0 or number < WRONG_SHARE * with_text:
        return
    languages = ", ".join(languages_of(source)) + (f" + {source.target_language}" if source.target_language else "")
    most = sorted(others.items(), key=lambda item: (-item[1], item[0]))[:3]
    found = ", ".join(f"{count / with_text:.0%} in {code}" for code, count in most)
    raise UserError(
        f"source {name!r} (language {languages}): {number / with_text:.0%} of {with_text:,} documents are in another "
        f"language ({found}); correct the source's language, point it to other files, or set language_confidence: 0 "
        "to take all texts as they are"
    )


# --- accounting -----------------------------------------------------------------------------------------------


def _settle(accounts: dict[str, Account], fates: Fates) -> None:
    """Enter the fates of all documents into the ledgers, and make sure that they balance."""
    for place, shard in enumerate(fates.shards):
        ledger, of_shard, sizes = accounts[shard.source].ledger, fates.of_shard(place), shard.passed.sizes()
        for fate, counts in ((KEPT, ledger.kept), (HELD_OUT, ledger.held_out)):
            chosen = sizes[of_shard == fate]
            counts.add(len(chosen), chosen[:, 2].sum(), chosen[:, 3].sum())
        for fate, reason in REASONS.items():
            chosen = sizes[of_shard == fate]
            if len(chosen):
                ledger.drop(reason, len(chosen), chosen[:, 0].sum(), chosen[:, 1].sum())
        staying = sizes[of_shard <= HELD_OUT][:, len(SIZES) - len(TAKEN) :]
        for column, correction in enumerate(TAKEN):
            taken = staying[:, column]
            corrected = ledger.corrected.setdefault(correction, Counts())
            corrected.add(int((taken > 0).sum()), int(taken.sum()), 0)
    for source, samples in sampled(fates).items():
        ledger = accounts[source].ledger
        ledger.kept_samples = samples.get(KEPT, [])
        for fate, reason in REASONS.items():
            if fate in samples:
                ledger.sample(reason, samples[fate])
    for name, account in accounts.items():
        account.ledger.check(name)


def _check_something_left(accounts: dict[str, Account], context: Context) -> None:
    """Refuse a source of which nothing is left to train on."""
    for name in {account.source: None for account in accounts.values()}:
        ledgers = [account.ledger for account in accounts.values() if account.source == name]
        if any(ledger.kept.documents for ledger in ledgers):
            continue
        reasons: dict[str, int] = {}
        for ledger in ledgers:
            for reason, counts in ledger.dropped.items():
                reasons[reason] = reasons.get(reason, 0) + counts.documents
        most = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:5]
        listed = ", ".join(f"{number:,} × {reason}" for reason, number in most)
        number = sum(ledger.held_out.documents for ledger in ledgers)
        held_out = f", {number:,} held out" if number else ""
        raise UserError(
            f"source {name!r}: of {sum(ledger.read.documents for ledger in ledgers):,} documents none is left to "
            f"train on ({listed}{held_out}); give it other text, or loosen the rules "
            f"({context.name}.rules.limits.RULE=null)"
        )


# --- evidence -------------------------------------------------------------------------------------------------


def _write_evidence(measured: Measured, fates: Fates, job: Job, output: Path) -> None:
    accounts = measured.accounts
    ledgers = {name: account.ledger.as_json() for name, account in accounts.items()}
    write_json(output / "ledger.json", {"sources": ledgers}, indent=None)
    rule_set = load_rule_set(job.settings.rules, job.learnt, job.base)
    signals = {name: _signals(a, job.settings, rule_set) for name, a in accounts.items() if a.histograms}
    write_json(output / "signals.json", signals, indent=None)
    write_json(output / "duplicates.json", largest_clusters(fates), indent=None)
    commonest = sorted(measured.repeated, key=lambda unit: (-unit[1], unit[0]))[: repeated_lines.SHOWN]
    shown = [{"line": excerpt(text), "documents": documents} for text, documents in commonest]
    write_json(output / "repeated.json", shown, indent=None)


def _signals(account: Account, settings: Curate, rule_set: RuleSet) -> dict[str, dict[str, Any]]:
    """Histograms of all signals and the limits of their rules, for the report."""
    language, source = account.ledger.language, settings.sources[account.source]
    limits = thresholds(rule_set.rules_for(language, source.target_language is not None))
    limits["language_confidence"] = (cut_offs(settings, source, [language])[0], None)
    return {
        name: {
            "edges": histogram_edges(name).tolist(),
            "kept": account.histograms[name][0].tolist(),
            "dropped": account.histograms[name][1].tolist(),
            "low": limits.get(name, (None, None))[0],
            "high": limits.get(name, (None, None))[1],
        }
        for name in NAMES
        if name in account.histograms
    }


def _summary(accounts: dict[str, Account]) -> dict[str, Any]:
    documents, dropped = Counter[str](), Counter[str]()
    languages: dict[str, Counts] = {}
    sources = {}
    for name, account in accounts.items():
        ledger = account.ledger
        counts = {key: getattr(ledger, key).documents for key in ("read", "kept", "held_out")}
        counts["dropped"] = sum(c.documents for c in ledger.dropped.values())
        documents.update(counts)
        reasons = {reason: c.documents for reason, c in ledger.dropped.items()}
        dropped.update(reasons)
        kept = ledger.kept
        if kept.documents:
            languages.setdefault(ledger.language, Counts()).add(kept.documents, kept.characters, kept.bytes)
        sources[name] = {
            "language": ledger.language, "domain": ledger.domain, **counts, "characters": kept.characters,
            "bytes": kept.bytes, "reasons": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        }  # fmt: skip
    return {
        "documents": dict(documents),
        "dropped": dict(sorted(dropped.items(), key=lambda item: (-item[1], item[0]))),
        "languages": {language: vars(counts) for language, counts in languages.items()},
        "sources": sources,
    }
