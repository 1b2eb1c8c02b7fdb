"""The stage `curate`: read raw text, clean it, filter it, deduplicate it, and account for all of it.

The steps are PolyLM's (3.1), on the thresholds of `Rules`:

1. read every source in order and cut it into shards (`read`)
2. for each shard, in a pool of threads: correct lines, identify the language, measure signals, apply the rules,
   and sign what passed (`shard`)
3. deduplicate all sources of a language together (`dedup`); the first document stays
4. hold out a share of what each source has left, chosen by a keyed hash of the id: after deduplication, so that no
   near duplicate (as far as MinHash finds it) of a held-out document is trained on
5. write `documents/` and `heldout/`, and the ledger, which must balance

The result does not depend on the number of threads. `language_confidence: 0` switches language identification off.
Parallel data are deduplicated as pairs, by their two languages. Memory: a few shards of 32 MB, and about 0.7 KB a
document that passed the rules.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diglot.artifact import Context, Inputs, UserError
from diglot.corpus import identify
from diglot.corpus.languages import is_unspaced
from diglot.corpus.ledger import SAMPLES, Counts, Sample, SourceLedger, excerpt
from diglot.corpus.lines import CORRECTIONS
from diglot.corpus.read import Broken, Record, read_records
from diglot.corpus.rules import SIGNALS, histogram_edges, rules_for, thresholds
from diglot.corpus.shard import SHARD_BYTES, SHARD_DOCUMENTS, Measured, Shard, keyed_hash, process
from diglot.corpus.survivors import (
    EXACT_DUPLICATE,
    HELD_OUT,
    KEPT,
    NEAR_DUPLICATE,
    Account,
    Survivors,
    deduplicate,
    duplicate_samples,
    gather,
    hold_out,
    largest_clusters,
    ranges,
)
from diglot.recipe import Curate

WRONG_SHARE = 0.95


def run(settings: Curate, inputs: Inputs, output: Path, context: Context) -> dict[str, Any]:
    """Make a corpus.

    Raises:
        UserError: a source cannot be read, is in another language altogether, or has nothing left in the end.
    """
    _check_settings(settings, context)
    text = inputs.maybe("text")
    scratch = context.scratch / "shards"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    seed = f"{context.seed}/{settings.seed}/held out"

    accounts = _measure_sources(settings, text.path if text else None, scratch, seed, context)
    survivors = gather(accounts)
    deduplicate(survivors, settings)
    hold_out(survivors, accounts, settings)
    _settle_accounts(survivors, accounts, context)
    _write_json(output / "duplicates.json", largest_clusters(survivors, accounts))
    _write_documents(survivors, accounts, output, context)

    ledger = {"sources": {name: account.ledger.as_json() for name, account in accounts.items()}}
    _write_json(output / "ledger.json", ledger)
    _write_json(output / "signals.json", {n: _signals(a, settings) for n, a in accounts.items()})
    shutil.rmtree(scratch, ignore_errors=True)
    return _summary(accounts)


def _check_settings(settings: Curate, context: Context) -> None:
    wanted = settings.deduplication
    if wanted.bands * wanted.rows > wanted.permutations:
        raise UserError(
            f"deduplication: bands × rows is {wanted.bands * wanted.rows}, more than the "
            f"{wanted.permutations} permutations; raise permutations or lower one of them"
        )
    for name, source in settings.sources.items():
        for language in filter(None, [source.language, source.target_language]):
            if settings.language_confidence > 0 and not identify.is_identifiable(language):
                raise UserError(
                    f"source {name!r}: language {language!r} is not among the "
                    f"{len(identify.load_model().codes)} that the built-in identifier knows; correct it, or set "
                    "language_confidence: 0 to take all texts as they are"
                )


# --- reading and measuring ------------------------------------------------------------------------------------


def _measure_sources(
    settings: Curate, base: Path | None, scratch: Path, seed: str, context: Context
) -> dict[str, Account]:
    accounts: dict[str, Account] = {}
    seen: set[int] = set()
    with ThreadPoolExecutor(context.workers) as pool:
        for name, source in settings.sources.items():
            domain = "parallel" if source.target_language else source.domain
            account = Account(source, SourceLedger(source.language, domain))
            accounts[name] = account
            running: deque[Future[Measured]] = deque()
            for shard in _shards(name, account, settings, base, seen, context):
                file = scratch / f"{name}-{shard.number:05}.parquet"
                running.append(pool.submit(process, shard, source, settings, seed, file))
                if len(running) > context.workers:
                    _account_for(running.popleft().result(), account, name, context)
            while running:
                _account_for(running.popleft().result(), account, name, context)
            if settings.language_confidence > 0:
                _check_language(name, account, context)
    return accounts


def _shards(
    name: str, account: Account, settings: Curate, base: Path | None, seen: set[int], context: Context
) -> Iterator[Shard]:
    """Read a source and cut it into shards; what could not be read goes straight into the ledger."""
    source = account.source
    fields = [source.text or ("src" if source.target_language else "text")]
    fields += [source.target_text] if source.target_language else []
    shard, size = Shard(0, [], [], []), 0
    records = read_records(
        source.path, stage=context.name, source=name, base=base, limit=source.limit,
        max_record_bytes=settings.max_record_bytes,
    )  # fmt: skip
    missing: Broken | None = None
    for record in records:
        texts = _texts_of(record, fields) if isinstance(record, Record) else record
        if isinstance(texts, Broken):
            missing = texts if texts.reason == "missing_text" and missing is None else missing
            _drop_broken(name, texts, account.ledger)
            continue
        shard.ids.append(_unique_id(name, record, seen))
        shard.texts.append(texts[0])
        shard.targets.extend(texts[1:])
        size += sum(map(len, texts))
        if size >= SHARD_BYTES or len(shard.ids) == SHARD_DOCUMENTS:
            yield shard
            shard, size = Shard(shard.number + 1, [], [], []), 0
    if shard.ids:
        yield shard
    elif shard.number == 0:
        detail = f"; {missing.file}, line {missing.line}: {missing.detail}" if missing else ""
        raise UserError(
            f"source {name!r}: no record has a usable text{detail}; say which field holds "
            f"it: {context.name}.sources.{name}.text=FIELD"
        )


def _texts_of(record: Record, fields: list[str]) -> list[bytes] | Broken:
    """The text, or both texts of a pair, as UTF-8."""
    texts = []
    for name in fields:
        value = record.value.get(name)
        if not isinstance(value, str):
            held = (
                f"field {name!r} holds {type(value).__name__}"
                if name in record.value
                else f"no field {name!r}"
            )
            detail = f"{held} (fields: {', '.join(sorted(map(str, record.value)))})"
            shown = json.dumps(record.value, ensure_ascii=True, default=str)
            return Broken(record.file, record.line, "missing_text", detail, excerpt(shown), len(shown))
        try:
            texts.append(value.encode())
        except UnicodeEncodeError as error:
            shown = value[:1000].encode(errors="replace").decode()
            detail = f"field {name!r}: {error.reason} at character {error.start}"
            return Broken(record.file, record.line, "invalid_utf8", detail, excerpt(shown), len(value))
    return texts


def _unique_id(name: str, record: Record | Broken, seen: set[int]) -> str:
    """The record's own id, or its place; a repeated one gets `#2`, `#3`, … in the order of reading."""
    own = record.value.get("id") if isinstance(record, Record) else None
    wanted = (
        own if isinstance(own, str) and own and own.isprintable() else f"{name}/{record.file}:{record.line}"
    )
    candidate, number = wanted, 1
    while (key := keyed_hash("id", candidate)) in seen:
        number += 1
        candidate = f"{wanted}#{number}"
    seen.add(key)
    return candidate


def _drop_broken(name: str, broken: Broken, ledger: SourceLedger) -> None:
    ledger.read.add(1, 0, broken.size)
    ledger.drop(broken.reason, 1, 0, broken.size)
    ledger.sample(
        broken.reason, [Sample(f"{name}/{broken.file}:{broken.line}", broken.excerpt, broken.detail)]
    )


def _account_for(measured: Measured, account: Account, name: str, context: Context) -> None:
    ledger = account.ledger
    account.shards.append(measured)
    ledger.read.add(measured.read.documents, measured.read.characters, measured.read.bytes)
    for reason, counts in measured.dropped.items():
        ledger.drop(reason, counts.documents, counts.characters, counts.bytes)
    for reason, samples in measured.samples.items():
        ledger.sample(reason, samples)
    context.progress(ledger.read.documents, None, "documents", f"{name}: measured")


def _check_language(name: str, account: Account, context: Context) -> None:
    """Refuse a source that is (nearly) all in another language than it is said to be."""
    read = sum(measured.read.documents for measured in account.shards)
    identified: Counter[str] = sum((measured.identified for measured in account.shards), Counter())
    if identified.total() < WRONG_SHARE * read:
        return
    source = account.source
    languages = source.language + (f" + {source.target_language}" if source.target_language else "")
    found = ", ".join(
        f"{number / read:.0%} in {code}"
        for code, number in sorted(identified.items(), key=lambda i: (-i[1], i[0]))[:3]
    )
    raise UserError(
        f"source {name!r} (language {languages}): {identified.total() / read:.0%} of "
        f"{read:,} documents are in another language ({found}); correct the source's language, point it to other "
        "files, or set language_confidence: 0 to take all texts as they are"
    )


# --- accounting -----------------------------------------------------------------------------------------------


def _settle_accounts(survivors: Survivors, accounts: dict[str, Account], context: Context) -> None:
    """Enter the fates of all survivors into the ledgers, and make sure that they balance.

    Raises:
        UserError: a source has nothing left.
    """
    for (name, account), (begin, end) in zip(accounts.items(), ranges(survivors, accounts), strict=True):
        fates, sizes, ledger = survivors.fates[begin:end], survivors.sizes[begin:end], account.ledger
        for fate, counts in ((KEPT, ledger.kept), (HELD_OUT, ledger.held_out)):
            chosen = sizes[fates == fate]
            counts.add(len(chosen), chosen[:, 2].sum(), chosen[:, 3].sum())
        for fate, reason in ((EXACT_DUPLICATE, "exact_duplicate"), (NEAR_DUPLICATE, "near_duplicate")):
            chosen = np.flatnonzero(fates == fate)
            if len(chosen):
                ledger.drop(reason, len(chosen), sizes[chosen, 0].sum(), sizes[chosen, 1].sum())
                ledger.sample(reason, duplicate_samples(survivors, accounts, begin + chosen[:SAMPLES]))
        staying = sizes[fates <= HELD_OUT][:, 4:]
        for place, name_of_correction in enumerate(CORRECTIONS):
            taken = staying[:, place]
            ledger.corrected[name_of_correction] = Counts(int((taken > 0).sum()), int(taken.sum()))
        ledger.check(name)
        if not ledger.kept.documents:
            raise UserError(_nothing_left(name, ledger, context))


def _nothing_left(name: str, ledger: SourceLedger, context: Context) -> str:
    reasons = sorted(ledger.dropped.items(), key=lambda item: (-item[1].documents, item[0]))
    listed = ", ".join(f"{counts.documents:,} × {reason}" for reason, counts in reasons[:5])
    held_out = f", {ledger.held_out.documents:,} held out" if ledger.held_out.documents else ""
    return (
        f"source {name!r}: of {ledger.read.documents:,} documents none is left to train on "
        f"({listed}{held_out}); give it other text, or loosen the rules ({context.name}.rules.RULE=null)"
    )


# --- writing --------------------------------------------------------------------------------------------------


def _write_documents(
    survivors: Survivors, accounts: dict[str, Account], output: Path, context: Context
) -> None:
    """Write `documents/`, a file a shard, and `heldout/`, a file a source."""
    for folder in ("documents", "heldout"):
        (output / folder).mkdir()
    shard, done = 0, 0
    with ThreadPoolExecutor(context.workers) as pool:
        for name, account in accounts.items():
            tasks = []
            for number, measured in enumerate(account.shards):
                fates = survivors.fates[survivors.starts[shard] : survivors.starts[shard + 1]]
                file = output / "documents" / f"{name}-{number:05}.parquet"
                tasks.append(pool.submit(_write_shard, measured, fates, file, name, account))
                shard += 1
            held_out = []
            for task in tasks:
                held_out.append(task.result())
                done += 1
                context.progress(done, len(survivors.starts) - 1, "shards", f"{name}: written")
            _write_table(pa.concat_tables(held_out), output / "heldout" / f"{name}-00000.parquet")


def _write_shard(measured: Measured, fates: np.ndarray, file: Path, name: str, account: Account) -> pa.Table:
    """Write the documents of a shard that are kept; returns those that are held out."""
    source = account.source
    table = pq.read_table(measured.file)
    constants = {
        "language": source.language,
        "domain": source.domain,
        "source": name,
        "origin": source.origin,
    }
    if source.target_language:
        constants["domain"] = "parallel"
    for place, (column, value) in enumerate(constants.items(), 2):
        table = table.add_column(place, column, pa.array([value] * len(table), pa.string()))
    kept = table.filter(pa.array(fates == KEPT))
    if len(kept):
        _write_table(kept, file)
    measured.file.unlink()
    return table.filter(pa.array(fates == HELD_OUT))


def _write_table(table: pa.Table, file: Path) -> None:
    pq.write_table(table.combine_chunks(), file, compression="zstd", row_group_size=10_000)


def _write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8", newline="\n")


def _signals(account: Account, settings: Curate) -> dict[str, Any]:
    """Histograms of all signals, before deduplication, with the thresholds that applied."""
    source = account.source
    parallel = source.target_language is not None
    rules = rules_for(settings.rules, unspaced=is_unspaced(source.language), parallel=parallel)
    ranges = thresholds(rules, settings.language_confidence)
    result = {}
    for name in SIGNALS:
        kept, dropped = np.sum([measured.histograms[name] for measured in account.shards], axis=0)
        result[name] = {
            "edges": [round(float(edge), 6) for edge in histogram_edges(name)],
            "kept": kept.tolist(),
            "dropped": dropped.tolist(),
            "threshold": ranges[name],
        }
    return result


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
