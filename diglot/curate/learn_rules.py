"""The stage `learn-rules`: limits for the rules of a set, from the signals of text that is good."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import write_json, write_text
from diglot.base.summaries.quality import LearntRules, RulesSummary
from diglot.curate.rules import Rule, load_rule_set
from diglot.read.corpus import read_documents, read_schema
from diglot.recipe.curate import LearnRules, Rules
from diglot.recipe.signals import SIGNALS


def learn(settings: LearnRules, inputs: Inputs, output: Path, context: Context) -> RulesSummary:
    """The stage `learn-rules`: give the rules of a set limits that reference text (nearly) all meets.

    For each language and rule the limit is a quantile of the signal over the reference documents, as FineWeb2 takes
    its thresholds from Wikipedia: of a `min_` rule the largest value that at most the share `quantile` of the
    documents lies below, of a `max_` rule the smallest that at most that share lies above. Limits are rounded
    outwards to four digits. Rules that look at a quality model, at the draw, or at the language are left as they are,
    as are languages with too few documents. Parallel text is left out.

    What the corpus was filtered by before cannot be unlearnt: curate reference text with wide limits, or with
    `rules: {set: none}`.

    Writes `rules.yaml`, a rule file whose `languages` hold the limits, and `learnt.json`: by language the number of
    documents and, by rule, the set's limit, the learnt one, and the share of documents that the former would cost.
    Memory: 4 bytes a document and rule.

    Raises:
        UserError: no language has enough documents.
    """
    rule_set = load_rule_set(Rules(set=settings.set), None, None)
    columns = _read_signals(inputs, context)
    report: dict[str, Any] = {}
    lines = [f"description: Limits of {json.dumps(settings.set)} learnt from reference text.", "languages:"]
    for language in sorted(columns):
        values = columns[language]
        documents = len(next(iter(values.values())))
        if documents < settings.min_documents:  # a quantile of a handful says nothing
            report[language] = {"documents": documents, "limits": {}}
            continue
        limits = {}
        for rule in rule_set.rules_to_learn(language):
            measured = values.get(rule.signal, np.empty(0))
            measured = measured[~np.isnan(measured)]  # no list of words for the language
            if len(measured) >= settings.min_documents:
                limits[rule.name] = _learn_limit(rule, measured, settings.quantile)
        report[language] = {"documents": documents, "limits": limits}
        lines.append(f"  {json.dumps(language)}:")
        lines.append(f'    source: "quantile {settings.quantile:g} of {documents} reference documents"')
        lines.extend(f"    {name}: {found['learnt']!r}" for name, found in limits.items())
    if not any(found["limits"] for found in report.values()):
        most = max((found["documents"] for found in report.values()), default=0)
        raise UserError(
            f"no language of the reference text has {settings.min_documents} documents (the most are {most}); give "
            f"more of it, or lower {context.name}.min_documents"
        )
    write_text(output / "rules.yaml", "\n".join(lines) + "\n")
    write_json(output / "learnt.json", report)
    learnt = {name: LearntRules(found["documents"], len(found["limits"])) for name, found in report.items()}
    return RulesSummary(settings.set, learnt)


def _learn_limit(rule: Rule, values: np.ndarray, quantile: float) -> dict[str, float]:
    """A rule's limit in the set, the one that reference text gives it, and the share that the former costs."""
    cost = int(quantile * len(values))
    place = cost if rule.low is not None else len(values) - 1 - cost
    learnt = float(np.partition(values, place)[place])
    given = rule.low if rule.low is not None else rule.high
    return {
        "set": float(given or 0),
        "learnt": _rounded(learnt, math.floor if rule.low is not None else math.ceil),
        "dropped_by_set": round(np.count_nonzero(rule.broken(values, values)) / len(values), 6),
    }


def _rounded(value: float, towards: Callable[[float], int]) -> float:
    """Four digits that count, rounded by `math.floor` or `math.ceil`."""
    if value == 0:
        return 0.0
    digits = 3 - math.floor(math.log10(abs(value)))
    return round(towards(value * 10.0**digits) * 10.0**-digits, max(digits, 0))


def _read_signals(inputs: Inputs, context: Context) -> dict[str, dict[str, np.ndarray]]:
    """The signals of text and lines of all documents but pairs: float32 [documents], by language and signal."""
    corpora = inputs.many("corpus")
    there = read_schema(corpora, "documents").names
    columns = [signal.name for signal in SIGNALS if signal.needs in ("text", "lines") and signal.name in there]
    parts: dict[str, list[pa.RecordBatch]] = {}
    done = 0
    for batch in read_documents(corpora, "documents", ["language", *columns], parallel=False):
        for language in batch["language"].unique().to_pylist():
            rows = batch.filter(pc.equal(batch["language"], language))
            parts.setdefault(language, []).append(rows.select(columns))
        done += len(batch)
        context.progress(done, None, "documents", "reading signals")
    tables = {language: pa.Table.from_batches(batches) for language, batches in parts.items()}
    return {language: {name: table[name].to_numpy() for name in columns} for language, table in tables.items()}
