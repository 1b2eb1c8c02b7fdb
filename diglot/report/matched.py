"""Two evaluations item by item: the same items found by their ids, and whether what changed is more than chance.

    change = contrast(before, after, result_before, result_after)
    change.comparison.change_text, change.paired, change.p      ->  ("+8 points", 150, 0.0023)

The items come from what evaluation logged: `items/TASK.jsonl`, `documents.jsonl`, `pairs.jsonl`. An item is the same where
its id and its words are, so that two files that both number their items from 1 are not taken for one. Where the two
have only a part of their items in common, the change is of that part.

The p of right or wrong answers is McNemar's exact one; of other numbers Student's, of the differences (jackknife). What is
no mean of items (chrF, BLEU) is paired through `without.json` if all items are the same, else not at all, and says so.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from diglot.base.artifact import Artifact, fingerprint
from diglot.base.intervals import jackknife_error
from diglot.base.significance import sign_p, student_p
from diglot.report.comparisons import UNJUDGED, Comparison, compare
from diglot.report.reading import read_lines
from diglot.report.results import COUNTED, Result

SAME = 1e-5  # relative, of a score and the mean of its items: scores.json has six digits
FEWEST = 2  # items in common


@dataclass(frozen=True)
class Contrast:
    """A number of two models, its change, and how sure that is.

    Attributes:
        comparison: the two results, of the items in common where those are not all.
        p: that items as these differ so much by chance; None where it is not known, or not judged.
        paired: items that were compared one by one; None where the two numbers only stand side by side.
    """

    comparison: Comparison
    p: float | None
    paired: int | None


@dataclass(frozen=True)
class Measured:
    """What an item adds to a score that is a ratio of sums: acc is rights over ones, bits per byte bits over bytes."""

    value: float
    weight: float = 1.0


Items = dict[tuple[str, str], Measured]  # by id and a hash of the words


def contrast(first: Artifact, last: Artifact, before: Result, after: Result) -> Contrast:
    """Compare one number of two evaluate stages; `before` and `after` are the same kind, name and language."""
    mine, yours = measured_items(first, before), measured_items(last, after)
    common = [key for key in mine if key in yours and mine[key].weight == yours[key].weight]
    if len(common) >= FEWEST:
        pairs = [(mine[key], yours[key]) for key in common]
        whole = len(common) == len(mine) == len(yours)
        return _paired(before, after, pairs, whole)
    found = next(item for item in compare(first, last) if item.key == Comparison(before, after).key)
    if found.either.kind in UNJUDGED or found.error is None or found.change is None:
        return Contrast(found, None, None)
    counts = [result.items for result in (before, after) if result.items]
    degrees = max(min(counts, default=FEWEST) - 1, 1)
    p = student_p(_standard(found.change, found.error), degrees)
    return Contrast(found, p, after.items if found.paired else None)


def _paired(before: Result, after: Result, pairs: list[tuple[Measured, Measured]], whole: bool) -> Contrast:
    """The change over items that both have, and its p."""
    weight = math.fsum(one.weight for one, _ in pairs)
    moved = [two.value - one.value for one, two in pairs]
    change = math.fsum(moved) / weight
    without = [(math.fsum(moved) - d) / (weight - one.weight) for d, (one, _) in zip(moved, pairs)]
    error = jackknife_error(without)
    if not whole:
        first, last = (math.fsum(values) / weight for values in zip(*((one.value, two.value) for one, two in pairs)))
        before, after = (replace(result, value=v, items=len(pairs)) for result, v in ((before, first), (after, last)))
    comparison = Comparison(before, after, error, paired=True)
    if comparison.either.kind in UNJUDGED or error is None:
        return Contrast(comparison, None, len(pairs))
    # Right and wrong answers, ties among them: only the items that changed sides count.
    if before.metric in COUNTED or error == 0:
        p = sign_p(sum(d > 0 for d in moved), sum(d < 0 for d in moved))
    else:
        p = student_p(_standard(change, error), len(pairs) - 1)
    return Contrast(comparison, p, len(pairs))


def _standard(change: float, error: float) -> float:
    """The change in standard errors; a change without any spread is beyond all of them."""
    return change / error if error else math.copysign(math.inf, change) if change else 0.0


# --- what was logged --------------------------------------------------------------------------------------------


def measured_items(artifact: Artifact, result: Result) -> Items:
    """The items of a result, with what each adds; none where they were not logged, or their mean is not the score."""
    found = dict(_rows(artifact, result))
    weight = math.fsum(item.weight for item in found.values())
    mean = math.fsum(item.value for item in found.values()) / weight if weight else math.nan
    return found if math.isclose(mean, result.value, rel_tol=SAME, abs_tol=SAME) else {}


def _rows(artifact: Artifact, result: Result) -> Iterator[tuple[tuple[str, str], Measured]]:
    if result.kind == "task":
        for row in _lines(artifact, "items", f"{result.name}.jsonl"):
            value = _number(row, result.metric)
            if value is not None:
                yield (str(row.get("id")), _words(row)), Measured(value)
    elif result.kind == "bits":
        for row in _lines(artifact, "documents.jsonl"):
            bits, size = row.get("bits"), row.get("bytes")
            if row.get("group") == result.language and isinstance(bits, int | float) and isinstance(size, int):
                yield (f"{row.get('source')}:{row.get('id')}", ""), Measured(bits, size)
    else:
        for row in _lines(artifact, "pairs.jsonl"):
            likely = [_likelihood(row.get(side)) for side in ("chosen", "rejected")]
            if row.get("source") == result.name and None not in likely:
                margin = (likely[0] or 0.0) - (likely[1] or 0.0)
                value = margin if result.kind == "margin" else (margin > 0) + 0.5 * (margin == 0)
                yield (str(row.get("id")), fingerprint(row.get("prompt"))), Measured(value)


def _likelihood(side: Any) -> float | None:
    found = side.get("log_likelihood") if isinstance(side, dict) else None
    return float(found) if isinstance(found, int | float) else None


def _number(row: dict[str, Any], metric: str) -> float | None:
    """A row's own score: of our tasks a number, of the harness's as Python writes it."""
    value = row.get(metric)
    if value is None and isinstance(row.get("metrics"), dict):
        value = row["metrics"].get(metric)
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _words(row: dict[str, Any]) -> str:
    """A hash of what an item asks and takes for right, the same whatever chat format a model has."""
    choices = row.get("choices")
    texts = [choice.get("text") for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    # The harness's rows have the whole rendered prompt, which differs by model; their target does not.
    asked = row.get("prompt") if "metrics" not in row else None
    return fingerprint([asked, texts, row.get("answer"), row.get("reference"), row.get("target")])


def _lines(artifact: Artifact, *name: str) -> list[dict[str, Any]]:
    return read_lines(artifact, *name)[0]
