"""The sections about text: what was read, kept and dropped and why, source by source, and the models that judged it.

A picture and a table of all sources come first; everything about one source is folded away below its own heading, so
that twenty sources with sixty signals each are still a page to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from diglot.base.artifact import Artifact
from diglot.base.format import digits, join, number, share, words
from diglot.base.ledger import UNKNOWN_LANGUAGE
from diglot.base.summaries.quality import ClassifierModel, ClassifierSummary, NgramModel, NgramSummary
from diglot.report import figures
from diglot.report.distributions import distributions, shown
from diglot.report.figures import Colours
from diglot.report.reading import Run, read_json
from diglot.report.results import shown_language
from diglot.report.section import Section, plot

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
        "sources": [_row(name, entry, place) for place, (name, entry) in enumerate(entries.items())],
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
    read = sum(entry["read"]["documents"] for entry in entries.values())
    kept = sum(entry["kept"]["documents"] for entry in entries.values())
    held_out = sum(entry.get("held_out", {}).get("documents", 0) for entry in entries.values())
    reasons: dict[str, int] = {}
    for entry in entries.values():
        for reason, count in (entry.get("dropped") or {}).items():
            reasons[reason] = reasons.get(reason, 0) + count["documents"]
    worst = sorted(reasons, key=lambda reason: (-reasons[reason], reason))[:3]
    named = join([f"{words(reason)} ({number(reasons[reason])})" for reason in worst])
    text = f"Of {number(read)} documents read, {number(kept)} ({share(kept, read)}) were kept for training and "
    text += f"{number(held_out)} held out"
    return text + (f"; the main reasons to drop were {named}." if worst else "; nothing was dropped.")


# --- tables over all sources ----------------------------------------------------------------------------------


def _row(name: str, entry: dict[str, Any], place: int) -> dict[str, Any]:
    """A source in numbers; the bar has shares kept, held out and dropped in percent."""
    read, kept = entry["read"]["documents"], entry["kept"]["documents"]
    held_out = entry.get("held_out", {}).get("documents", 0)
    dropped = {reason: count["documents"] for reason, count in (entry.get("dropped") or {}).items()}
    parts = (kept, held_out, sum(dropped.values()))
    return {
        "name": name,
        "place": place,
        "language": _language_of(entry),
        "domain": entry.get("domain", ""),
        "read": number(read),
        "kept": number(kept),
        "share": share(kept, read),
        "characters": number(entry["kept"].get("characters")),
        "held_out": number(held_out),
        "dropped": number(sum(dropped.values())),
        "bar": [f"{100 * part / read:.2f}" if read else "0" for part in parts],
        "reasons": [(words(reason), number(n)) for reason, n in _ranked(dropped)[:4]],
    }


def _language_of(entry: dict[str, Any]) -> str:
    """A source's language; what a source that was sorted by language has left over is in none of them."""
    return "other languages" if entry.get("language") == UNKNOWN_LANGUAGE else entry.get("language", "")


def _ranked(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _languages(entries: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What each language has in all, where languages have several sources."""
    totals: dict[str, dict[str, int]] = {}
    for entry in entries.values():
        of = totals.setdefault(_language_of(entry), {"sources": 0, "read": 0, "kept": 0, "characters": 0, "bytes": 0})  # fmt: skip
        of["sources"] += 1
        of["read"] += entry["read"]["documents"]
        of["kept"] += entry["kept"]["documents"]
        for key in ("characters", "bytes"):
            of[key] += entry["kept"].get(key) or 0
    if len(totals) in (1, len(entries)):
        return []
    return [
        {
            "language": language,
            "sources": of["sources"],
            "read": number(of["read"]),
            "kept": number(of["kept"]),
            "share": share(of["kept"], of["read"]),
            "characters": number(of["characters"]),
            "megabytes": f"{of['bytes'] / 1e6:,.1f}",
        }
        for language, of in totals.items()
    ]


# --- one source -----------------------------------------------------------------------------------------------


def _page(name: str, entry: dict[str, Any], place: int, signals: dict[str, Any]) -> dict[str, Any]:
    """Everything about one source: reasons, corrections, samples and signals."""
    read = entry["read"]["documents"]
    dropped = {reason: count["documents"] for reason, count in (entry.get("dropped") or {}).items()}
    unconditional = entry.get("unconditional") or {}
    most = max(dropped.values(), default=1)
    reasons = [
        {
            "reason": words(reason),
            "documents": number(documents),
            "share": share(documents, read),
            "width": f"{100 * documents / most:.1f}",
            "unconditional": number(unconditional[reason]) if reason in unconditional else "",
        }
        for reason, documents in _ranked(dropped)
    ]
    corrected = [
        {"kind": words(kind), "documents": number(counts["documents"]), "characters": number(counts["characters"])}
        for kind, counts in sorted((entry.get("corrected") or {}).items())
        if counts["documents"]
    ]  # fmt: skip
    samples = [
        {"reason": words(reason), "samples": (entry.get("samples") or {}).get(reason, [])[:MAX_SAMPLES]}
        for reason, _ in _ranked(dropped)
    ]  # fmt: skip
    return {
        **_row(name, entry, place),
        "dropped_by": reasons,
        "has_unconditional": bool(unconditional),
        "corrected": corrected,
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
            "more": number(left) if (left := cluster["size"] - 1 - min(MAX_IDS, len(cluster.get("dropped") or []))) > 0 else "",
            "excerpt": cluster.get("excerpt", ""),
        }
        for cluster in found
    ]  # fmt: skip


def _repeated_lines(run: Run) -> list[dict[str, Any]]:
    """The lines that were taken out of the most documents."""
    found = sorted(_all_of(run, "repeated.json"), key=lambda line: -line["documents"])[:MAX_LINES]
    return [{"line": line["line"], "documents": number(line["documents"])} for line in found]


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
        f"{item['name']} learnt {item['number']} limits for {len(item['languages'])} languages from reference text."
        for item in rules
    ]
    return Section("judges", "Quality models and learnt rules", " ".join(sentences), {"models": models, "rules": rules})  # fmt: skip


def _model(artifact: Artifact) -> dict[str, Any]:
    """A quality model's measurements: a row a language, a column for every number that some language has."""
    languages = {language: _measures(model) for language, model in _models(artifact).items()}
    columns = list(dict.fromkeys(key for measured in languages.values() for key in measured))
    rows = [
        {"language": language, "cells": [digits(measured.get(key), 4) for key in columns]}
        for language, measured in languages.items()
    ]
    named = join([shown_language(language) for language in languages])
    return {"name": artifact.stage, "do": artifact.do, "named": named, "columns": columns, "rows": rows}


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
    rows = [{"rule": words(rule), "cells": [_limit(rule, of.get(rule)) for of in limits.values()]} for rule in rules]
    total = sum(len(of) for of in limits.values())
    return {"name": artifact.stage, "languages": list(limits), "rows": rows, "number": number(total)}


def _limit(rule: str, found: dict[str, float] | None) -> dict[str, str] | None:
    """A learnt limit, and the set's own with the share of reference documents that it would cost."""
    if found is None:
        return None
    side, _, signal = rule.partition("_")
    given, learnt = (shown(signal, found[key]) for key in ("set", "learnt"))
    sign = "≤" if side == "max" else "≥"
    return {"learnt": f"{sign} {learnt}", "set": f"{sign} {given}, costs {share(found['dropped_by_set'], 1)}"}
