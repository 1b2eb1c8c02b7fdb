"""The sections about text: what was read, kept and dropped and why, source by source, and the models that judged it.

A picture and a table of all sources come first; everything about one source is folded away below its own heading, so
that twenty sources with sixty signals each are still a page to read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from diglot.base.artifact import Artifact
from diglot.base.format import digits, join, number, share, words
from diglot.base.summaries.quality import ClassifierModel, ClassifierSummary, NgramModel, NgramSummary
from diglot.base.table import Cell, Column, Table, left, right
from diglot.report import figures
from diglot.report.distributions import distributions, shown
from diglot.report.figures import Colours
from diglot.report.ledgers import dropped_by, language_of, parts_of, reasons_table, sources_table
from diglot.report.reading import Run, read_json
from diglot.report.section import Section, plot
from diglot.text.languages import shown_language

MAX_SAMPLES, MAX_CLUSTERS, MAX_LINES, MAX_IDS = 3, 20, 20, 5


def text(run: Run, colours: Colours) -> Section | None:
    """What was read, kept and dropped, from the ledgers of corpora, instructions and preferences."""
    ledgers = _ledgers(run)
    if not ledgers:
        return None
    entries = {name: entry for name, (_, _, entry) in ledgers.items()}
    caption = "Share of each source's documents that were kept, held out, or dropped, by reason."
    data = {
        "plots": [plot("ledger", figures.ledger_bars(entries), caption)],
        "sources": sources_table(entries),
        "languages": _languages(entries),
        "pages": [
            _page(name, entry, place, (read_json(artifact, "signals.json") or {}).get(own) or {})
            for place, (name, (artifact, own, entry)) in enumerate(ledgers.items())
        ],
        "clusters": _clusters(run),
        "lines": _repeated_lines(run),
    }
    return Section("text", "Text: kept and dropped", _finding(entries), data)


def _ledgers(run: Run) -> dict[str, tuple[Artifact, str, dict[str, Any]]]:
    """All sources by a name that is theirs alone: the artifact, the source's name in it, and its account."""
    found: dict[str, tuple[Artifact, str, dict[str, Any]]] = {}
    for artifact in run.artifacts:
        for name, entry in ((read_json(artifact, "ledger.json") or {}).get("sources") or {}).items():
            found[name if name not in found else f"{artifact.stage}/{name}"] = (artifact, name, entry)
    return found


def _finding(entries: dict[str, dict[str, Any]]) -> str:
    read, kept, held_out = map(sum, zip(*map(parts_of, entries.values()), strict=True))
    reasons = sum(map(Counter, map(dropped_by, entries.values())), Counter())
    worst = sorted(reasons, key=lambda reason: (-reasons[reason], reason))[:3]
    named = join([f"{words(reason)} ({number(reasons[reason])})" for reason in worst])
    text = f"Of {number(read)} documents read, {number(kept)} ({share(kept, read)}) were kept for training and "
    text += f"{number(held_out)} held out"
    return text + (f"; the main reasons to drop were {named}." if worst else "; nothing was dropped.")


def _languages(entries: dict[str, dict[str, Any]]) -> Table | None:
    """What each language has in all, where languages have several sources."""
    totals: dict[str, Counter[str]] = {}
    for entry in entries.values():
        kept = entry["kept"]
        counts = {"sources": 1, "read": entry["read"]["documents"], "kept": kept["documents"]}
        counts |= {key: kept.get(key) or 0 for key in ("characters", "bytes")}
        totals.setdefault(language_of(entry), Counter()).update(counts)
    if len(totals) in (1, len(entries)):
        return None
    columns = right("sources", "read", "kept", "share", "characters kept", "MB kept")
    table = Table([*left("language"), *columns], "By language")
    for language, of in totals.items():
        numbers = (number(of["read"]), number(of["kept"]), share(of["kept"], of["read"]), number(of["characters"]))
        table.add(shown_language(language), str(of["sources"]), *numbers, f"{of['bytes'] / 1e6:,.1f}")
    return table


# --- one source -----------------------------------------------------------------------------------------------


def _page(name: str, entry: dict[str, Any], place: int, signals: dict[str, Any]) -> dict[str, Any]:
    """Everything about one source: reasons, corrections, samples and signals; the bar is in percent."""
    read, kept, held_out = parts_of(entry)
    dropped = dropped_by(entry)
    # Kinds of corrections that changed nothing here would only be rows of noughts.
    corrected = [
        {"kind": words(kind), "documents": number(counts["documents"]), "characters": number(counts["characters"])}
        for kind, counts in sorted((entry.get("corrected") or {}).items())
        if counts["documents"]
    ]  # fmt: skip
    samples = [
        {"reason": words(reason), "samples": (entry.get("samples") or {}).get(reason, [])[:MAX_SAMPLES]}
        for reason in dropped
    ]  # fmt: skip
    return {
        "name": name,
        "place": place,
        "language": shown_language(language_of(entry)),
        "domain": entry.get("domain", ""),
        "read": number(read),
        "share": share(kept, read),
        "characters": number(entry["kept"].get("characters")),
        "bar": [f"{100 * part / read:.2f}" if read else "0" for part in (kept, held_out, sum(dropped.values()))],
        "reasons": reasons_table(entry) if dropped else None,
        "corrected": corrected,
        # Twice as many of what was kept: it is what training reads.
        "kept_samples": (entry.get("kept_samples") or [])[: 2 * MAX_SAMPLES],
        "samples": [group for group in samples if group["samples"]],
        "signals": distributions(signals, entry),
    }


# --- duplicates -----------------------------------------------------------------------------------------------


def _clusters(run: Run) -> list[dict[str, Any]]:
    """The largest groups of duplicates of all corpora."""
    found = sorted(_all_of(run, "duplicates.json"), key=lambda cluster: -cluster.get("size", 0))[:MAX_CLUSTERS]
    return [
        {
            "size": number(cluster["size"]),
            "reason": words(cluster.get("reason", "")),
            "kept": cluster.get("kept", ""),
            "dropped": (cluster.get("dropped") or [])[:MAX_IDS],
            "more": number(rest) if (rest := cluster["size"] - 1 - min(MAX_IDS, len(cluster.get("dropped") or []))) > 0 else "",
            "excerpt": cluster.get("excerpt", ""),
        }
        for cluster in found
    ]  # fmt: skip


def _repeated_lines(run: Run) -> Table | None:
    """The lines that were taken out of the most documents."""
    found = sorted(_all_of(run, "repeated.json"), key=lambda line: -line["documents"])[:MAX_LINES]
    table = Table([*right(""), Column("", align="auto")])
    for line in found:
        table.add(number(line["documents"]), line["line"])
    return table if found else None


def _all_of(run: Run, file: str) -> Iterator[dict[str, Any]]:
    for artifact in run.of_kind("corpus"):
        yield from read_json(artifact, file) or []


# --- what judged it -------------------------------------------------------------------------------------------


def judges(run: Run, colours: Colours) -> Section | None:
    """Quality models with what they were measured at, and limits that were learnt."""
    models = [_model(artifact) for artifact in run.of_kind("quality")]
    rules = [_learnt(artifact) for artifact in run.of_kind("rules")]
    if not models and not rules:
        return None
    sentences = [f"{model['name']} judges {model['named']}." for model in models]
    sentences += [
        f"{item['name']} learnt {item['number']} limits for {item['num_languages']} languages from reference text."
        for item in rules
    ]
    return Section("judges", "Quality models and learnt rules", " ".join(sentences), {"models": models, "rules": rules})  # fmt: skip


def _model(artifact: Artifact) -> dict[str, Any]:
    """A quality model's measurements: a row a language, a column for every number that some language has."""
    languages = {language: _measures(model) for language, model in _models(artifact).items()}
    columns = list(dict.fromkeys(key for measured in languages.values() for key in measured))
    table = Table([*left("language"), *right(*columns)])
    for language, measured in languages.items():
        table.add(shown_language(language), *(digits(measured.get(key), 4) for key in columns))
    named = join([shown_language(language) for language in languages])
    return {"name": artifact.stage, "do": artifact.do, "named": named, "table": table if languages else None}


def _models(artifact: Artifact) -> Mapping[str, NgramModel | ClassifierModel]:
    assert isinstance(artifact.summary, NgramSummary | ClassifierSummary), f"{artifact.stage} has no quality models"
    return artifact.summary.languages


def _measures(model: NgramModel | ClassifierModel) -> dict[str, float]:
    """The numbers of a model that say how good it is, in the order of the columns."""
    found: dict[str, float] = {}
    if isinstance(model, NgramModel):
        found = {"held out": model.held_out}
        if model.perplexity is not None:
            found["perplexity"] = model.perplexity
        found |= {f"perplexity, {share} of documents": value for share, value in model.quantiles.items()}
    else:
        found = {f"{label} documents": number for label, number in model.documents.items()}
    if told := model.separation:
        found |= {"AUC": told.auc, "threshold": told.threshold, "precision": told.precision, "recall": told.recall}
    return found


def _learnt(artifact: Artifact) -> dict[str, Any]:
    """Learnt limits beside those of the rule set: a row a rule, a column a language."""
    report: dict[str, dict[str, Any]] = read_json(artifact, "learnt.json") or {}
    limits = {language: found["limits"] for language, found in report.items() if found.get("limits")}
    rules = list(dict.fromkeys(rule for of in limits.values() for rule in of))
    table = Table([*left("rule"), *right(*map(shown_language, limits))])
    for rule in rules:
        table.add(words(rule), *(_limit(rule, of.get(rule)) for of in limits.values()))
    total = sum(len(of) for of in limits.values())
    return {"name": artifact.stage, "num_languages": len(limits), "table": table, "number": number(total)}


def _limit(rule: str, found: dict[str, float] | None) -> Cell:
    """A learnt limit, and the set's own with the share of reference documents that it would cost."""
    if found is None:
        return Cell("–")
    side, _, signal = rule.partition("_")
    given, learnt = (shown(signal, found[key]) for key in ("set", "learnt"))
    sign = "≤" if side == "max" else "≥"
    return Cell(f"{sign} {learnt}", f"{sign} {given}, costs {share(found['dropped_by_set'], 1)}")
