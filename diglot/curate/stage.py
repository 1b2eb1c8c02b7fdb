"""The stage `curate`: read raw text, clean it, filter it, deduplicate it, and account for all of it.

    records ─prepare─► Documents ─clean─identify─► by language ─STEPS─► signed shards ─decide─► documents/, heldout/
                           │                            │                                  │
                           └ broken                     └ foreign, dropped                 └ duplicates ─► dropped/

The steps are PolyLM's (3.1); what each rule is and where it comes from stands in docs/corpus.md. A shard goes through
`FIRST_STEPS` whole and through `STEPS` a language at a time. To change what curation does, change these lists: a step
takes the batch of documents and the tools, and gives the batch back.

Around them, `run` finds the files and puts them into units of work (`units`), hashes all lines and paragraphs where
those that repeat are to be taken out (`dedup.repeated_lines`), compares all that passed, in each language, out of core
(`dedup.decide`): the first of duplicates stays, and a share of what each source has left is held out: after
deduplication, so that no near duplicate (as far as MinHash finds it) of a held-out document is trained on. Then it
writes the corpus, and the ledger, which must balance.

All of these are tasks of an executor: threads, or Ray. The corpus is the same whatever runs them, however many, and
whatever is killed meanwhile: a shard that is done is not done again. `language_confidence: 0` switches language
identification off. Memory: a shard of 32 MB a worker, with its working arrays about 0.5 GB each, and `decide` and
`duplicates` for the whole corpus; text is never held beyond a shard.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.executor import Executor, open_executor
from diglot.base.files import atomic, read_json
from diglot.base.ledger import lost
from diglot.base.summaries.corpus import CorpusSummary, EvaluationSets
from diglot.curate.account import (
    Accounts,
    account_of,
    check_something_left,
    check_source,
    collect,
    finalize,
    write_evidence,
)
from diglot.curate.dedup import repeated_lines
from diglot.curate.dedup.decide import decide
from diglot.curate.documents import Documents, by_reason, dropped_file, dropped_table, write_signed
from diglot.curate.prepare import languages_of, part_name, prepare
from diglot.curate.rules import load_rule_set
from diglot.curate.steps import (
    Job,
    Tools,
    by_language,
    clean,
    cut_offs,
    decontaminate,
    drop_bad_lines,
    drop_repeated_lines,
    identify,
    judge,
    measure,
    sign,
    tools_of,
)
from diglot.curate.units import Unit, accounts_of, bytes_read, shard_name, units_of, work
from diglot.curate.write import write_documents, write_dropped
from diglot.quality.models import load as load_models
from diglot.read import decontaminate as contamination
from diglot.read.files import RawShard
from diglot.recipe.curate import Curate
from diglot.recipe.signals import SIGNALS
from diglot.text.language_id import load_identifier
from diglot.text.minhash import band_keys

EARLY_BYTES = 64e6  # of all files: what is smaller is done soon, and then it is said
Step = Callable[[Documents, Tools], Documents]
FIRST_STEPS: tuple[Step, ...] = (clean, identify)
STEPS: tuple[Step, ...] = (drop_bad_lines, drop_repeated_lines, measure, judge, decontaminate, sign)


def run(settings: Curate, inputs: Inputs, output: Path, context: Context) -> CorpusSummary:
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
    progress = _Progress(context)
    # What tasks hand on lies in the scratch folder; here are only counts, and decisions.
    with open_executor(settings.executor, context.workers, progress.tick) as executor:
        units = units_of(settings, job.base, context.name, executor.workers)
        job, evaluation_sets = _with_tables(job, units, executor, context, progress)
        accounts = _curate_shards(job, units, executor, context, progress)
        seed = f"{context.seed}/{settings.seed}/held out"
        context.progress(len(accounts.shards), None, "shards", "looking for duplicates")
        decisions = decide(accounts.shards, settings, executor, context.scratch / "compared", seed)
        finalize(accounts, decisions)  # before anything is written: a ledger that does not balance is a fault
        check_something_left(accounts, settings, context.name)
        write_documents(decisions, settings, output, executor, context)
        write_dropped(accounts.dropped, decisions, output, executor)
    rule_set = load_rule_set(settings.rules, job.learnt, job.base)
    write_evidence(accounts, decisions, settings, rule_set, output)
    compared = EvaluationSets(**evaluation_sets._asdict()) if evaluation_sets else None
    return CorpusSummary.of_ledgers(accounts.ledgers, compared)


# --- a shard --------------------------------------------------------------------------------------------------


def curate_unit(task: tuple[Job, Unit]) -> int:
    """Curate the shards of a unit that are not done; returns the number of shards in the group."""
    job, unit = task
    return work(unit, job.folder, lambda raw: _curate_shard(job, unit, raw))


def _curate_shard(job: Job, unit: Unit, raw: RawShard) -> dict[str, Any]:
    """Walk a shard through the steps and write what passes; returns the account of the shard."""
    tools, wanted = tools_of(job), job.settings.deduplication
    documents, broken = _read(unit, raw, tools)
    foreign, batches = by_language(documents, tools)
    left_out = [broken] if foreign is None else [broken, foreign]
    accounts = [account_of(batch, tools, judged=False) for batch in left_out]
    batches = [_walk(batch, STEPS, tools) for batch in batches]
    name = shard_name(unit.group, raw.number)
    for batch in batches:
        path = job.folder / f"{name}-{batch.languages[0]}.arrow"
        bands = band_keys(batch.signatures[batch.passed], wanted.bands if wanted.minhash else 0, wanted.rows)
        passed = str(path), write_signed(path, batch, bands)
        accounts.append(account_of(batch, tools, judged=True) | {"passed": passed})
    _write_dropped(dropped_file(job.folder, unit.group, raw.number), [*left_out, *batches])
    return {
        "batches": accounts,
        "other_languages": _other_languages(documents, tools),
        "missing": _missing_text(broken),
        "repeated": [shown for batch in batches for shown in batch.repeated],
    }


def _read(unit: Unit, raw: RawShard, tools: Tools) -> tuple[Documents, Documents]:
    """The documents of a shard after the first steps, and the broken records."""
    number = (unit.group << 18 | raw.number) << 10  # 10 bits for the language
    documents, broken = prepare(raw, unit.source, tools.settings.sources[unit.source], number)
    return _walk(documents, FIRST_STEPS, tools), broken


def _walk(documents: Documents, steps: tuple[Step, ...], tools: Tools) -> Documents:
    for step in steps:
        documents = step(documents, tools)
    return documents


def _other_languages(documents: Documents, tools: Tools) -> Counter[str]:
    """The languages that documents were identified as where it is none of those expected, however unsure."""
    sides = list(zip(documents.identified, documents.expected, strict=True))
    differing = np.array([tools.identifier.differs(found, expected) for found, expected in sides])
    names = (
        " + ".join(
            tools.identifier.codes[found.language[row]]
            for (found, _), other in zip(sides, differing[:, row], strict=True)
            if other
        )
        for row in np.flatnonzero(differing.any(axis=0))
    )
    return Counter(names)


def _missing_text(broken: Documents) -> str | None:
    """What was wrong with the first record without text."""
    for reason, rows in by_reason(broken.reason, broken.reasons):
        if reason == "missing_text":
            return f"{broken.ids[rows[0]].as_py().removeprefix(f'{broken.source}/')}: {broken.details[rows[0]]}"
    return None


def _write_dropped(path: Path, batches: list[Documents]) -> None:
    """Write the ids of the dropped documents of a shard."""
    groups = [(batch, *group) for batch in batches for group in by_reason(batch.reason, batch.reasons)]
    tables = [
        dropped_table([batch.name] * len(rows), batch.ids.take(pa.array(rows)), [reason] * len(rows))
        for batch, reason, rows in groups
    ]
    table = pa.concat_tables([dropped_table([], [], []), *tables]).unify_dictionaries()
    with atomic(path) as partial:
        pq.write_table(table, partial, compression="zstd")


# --- before the shards ----------------------------------------------------------------------------------------


def _check_settings(job: Job) -> None:
    """Refuse names, languages and rules that cannot be."""
    settings, identifier = job.settings, load_identifier(job.settings.language_model)
    names = [
        part_name(name, source, language)
        for name, source in settings.sources.items()
        for language in languages_of(source)
    ]
    for name in names:  # `web` sorted into `web-ar` must not meet a source called `web-ar`
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
    # A rule on a signal that nobody measures would drop nothing, silently.
    rule_set = load_rule_set(settings.rules, job.learnt, job.base)
    measured = {signal.name for signal in SIGNALS if signal.needs != "quality"} | set(load_models(job.quality).signals)
    rules = (
        (name, rule)
        for name, source in settings.sources.items()
        for language in languages_of(source)
        for rule in rule_set.rules_for(language, source.target_language is not None)
    )
    for name, rule in rules:
        if rule.signal not in measured:
            raise UserError(
                f"rule {rule.name} (source {name!r}): {rule.signal} is measured by a quality model; give this stage "
                f"one (from: {{quality: STAGE}}), or switch the rule off (rules.limits.{rule.name}=null)"
            )


def _with_tables(
    job: Job, units: list[Unit], executor: Executor, context: Context, progress: _Progress
) -> tuple[Job, contamination.Built | None]:
    """Build what shards are compared with: the evaluation sets' n-grams, and repeated lines and paragraphs."""
    settings, scratch, evaluation_sets = job.settings, context.scratch, None
    if settings.decontamination:
        table = scratch / "contamination.npz"
        evaluation_sets = contamination.build(settings.decontamination, table, job.base, context.name)
        job = job._replace(contamination=table)
    if kinds := _kinds(settings):
        folder = scratch / "units"
        folder.mkdir(parents=True, exist_ok=True)
        counting = job._replace(folder=folder)
        progress.begin(folder, units, executor.workers, "looked through for repeated lines")
        for _ in executor.map(count_unit, [(counting, unit) for unit in units]):
            progress.unit_done()
        tables = []
        for kind, limit in kinds:
            table = scratch / f"repeated-{kind}.npy"
            files = sorted(folder.glob(f"*.{kind}.npy"))
            repeated_lines.build_table(files, limit, table, executor.map)
            tables.append((kind, table))
        job = job._replace(repeated=tuple(tables), key=f"{job.key}/repeated")
    return job, evaluation_sets


def count_unit(task: tuple[Job, Unit]) -> int:
    """Hash the lines and paragraphs of a unit's shards, for `repeated_lines.build_table`; returns how many shards."""
    job, unit = task
    tools = tools_of(job)

    def handle(raw: RawShard) -> dict[str, Any]:
        _, batches = by_language(_read(unit, raw, tools)[0], tools)
        for batch in batches:
            texts = drop_bad_lines(batch, tools).texts[0]
            for kind, _ in () if batch.is_parallel else _kinds(job.settings):
                path = job.folder / f"{shard_name(unit.group, raw.number)}-{batch.languages[0]}.{kind}.npy"
                repeated_lines.write_units(path, texts, kind, batch.number)
        return {}

    return work(unit, job.folder, handle)


def _kinds(settings: Curate) -> list[tuple[str, int]]:
    """The kinds of unit to be deduplicated, and in how many documents they may be found."""
    wanted = settings.deduplication
    return [(kind, limit) for kind in ("paragraphs", "lines") if (limit := getattr(wanted, kind)) is not None]


# --- all shards -----------------------------------------------------------------------------------------------


class _Progress:
    """How far the reading of all units is, whoever does them: those that are done, and the places of those in hand."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.begin(Path(), [], 0, "")

    def begin(self, folder: Path, units: list[Unit], workers: int, doing: str) -> None:
        """All units are to be read, in order, by so many workers."""
        self.folder, self.waiting, self.in_hand, self.doing = folder, deque(units), 2 * workers + 1, doing
        self.first = {unit.source: folder / f"{shard_name(unit.group, 0)}.json" for unit in reversed(units)}
        self.size = sum(file.size or 0 for unit in units for file in unit.files if unit.part == 0)
        limited = any(unit.reading.limit is not None for unit in units)
        self.total = 0 if limited else self.size  # nobody knows how many bytes so many records have
        self.done, self.shards, self.next_look = 0.0, 0, 0.0

    def tick(self) -> None:
        """Report while results are awaited; later steps await some too, when all units are done."""
        if self.waiting:
            self._report()

    def _report(self) -> None:
        began = time.monotonic()
        if began >= self.next_look:  # of a large corpus the folder has hundreds of thousands of files
            self.shards = sum(1 for _ in self.folder.glob("*.json")) if self.folder.exists() else 0
            self.next_look = began + 50 * (time.monotonic() - began)
            self._say_losses()
        here = sum(bytes_read(self.folder, unit) for unit in itertools.islice(self.waiting, self.in_hand))
        read = min(self.done + here, self.total) if self.total else self.done + here
        total = round(self.total / 1e6, 1) or None
        self.context.progress(round(read / 1e6, 1), total, "MB", f"{self.shards} shards {self.doing}")

    def unit_done(self) -> None:
        """The next unit, in order, is done."""
        unit = self.waiting.popleft()
        self.done += sum(file.size or 0 for file in unit.files) / unit.parts
        self._report()

    def _say_losses(self) -> None:
        """Say of a source that loses most of its first shard, before hours are spent on the rest."""
        if self.size < EARLY_BYTES:
            return
        for source, file in [item for item in self.first.items() if item[1].exists()]:
            del self.first[source]
            read, dropped = 0, Counter[str]()
            for batch in read_json(file).get("batches", []):  # none of the pass that only counts lines
                read += batch["ledger"]["read"]["documents"]
                dropped.update({reason: each["documents"] for reason, each in batch["ledger"]["dropped"].items()})
            if said := lost(source, read, dropped):
                self.context.say(f"{said}, in its first shard")


def _curate_shards(job: Job, units: list[Unit], executor: Executor, context: Context, progress: _Progress) -> Accounts:
    """Curate all units, and add up the accounts of their shards."""
    job.folder.mkdir(parents=True, exist_ok=True)
    progress.begin(job.folder, units, executor.workers, "measured")
    groups = {}
    for unit, shards in zip(units, executor.map(curate_unit, [(job, unit) for unit in units]), strict=True):
        groups[unit.group] = shards
        progress.unit_done()
    source_of = {unit.group: unit.source for unit in units}
    accounts = collect(
        (
            (source_of[group], dropped_file(job.folder, group, shard), account)
            for group, shard, account in accounts_of(job.folder, groups)
        ),
        job.settings,
    )
    for name in job.settings.sources:
        files = [file.label for unit in units if unit.source == name for file in unit.files]
        check_source(accounts, name, files, job.settings, context.name)
    return accounts
