"""What a run learnt, kept and lost, in words: first on the page, and below the table at the end of `diglot run`.

A language was learnt where a task is better than before by more than noise, and beyond chance (for written answers:
beyond a floor too). Bits per byte alone say that text became likelier, not that anything can be done in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from diglot.base.format import join
from diglot.report.comparisons import Comparison
from diglot.text.languages import shown_language

MOST = 4  # named one by one; the table has the others


def finding_of(rows: list[Comparison], new: list[str], lost: Sequence[Comparison]) -> str:
    """A line a language, new ones first; empty where nothing was measured.

    Args:
        rows: what `headline_comparisons` says of two evaluate stages.
        new: the languages that the run adds.
        lost: what the last model does worse than the best one (`losses`).
    """
    lines = []
    no_tasks = not any(_is_task(row) for row in rows)
    for language in dict.fromkeys([*new, *(row.either.language for row in rows)]):
        own = [row for row in rows if row.either.language == language]
        if not own:
            continue
        name = shown_language(language) or "What names no language"
        if not any(row.before for row in own):
            sentences = [f"{name} was measured once: {_listed(own, str_of=_score)}."]
        else:
            sentences = _of_new(name, own) if language in new else _of_old(name, own, no_tasks)
        since = [row for row in lost if row.either.language == language]
        for stage in dict.fromkeys(row.since for row in since):
            there = [replace(row, since="") for row in since if row.since == stage]
            sentences.append(f"{name} was better at {stage}: {_listed(there)}.")
        lines.append(" ".join(sentences))
    return "\n".join(filter(None, lines))


def _of_new(name: str, rows: list[Comparison]) -> list[str]:
    """What was learnt of a new language; then what was not, what fell and what could not be judged."""
    tasks = [row for row in rows if _is_task(row)]
    learnt = sorted((row for row in tasks if row.is_learnt), key=lambda row: -_gain(row))
    likelier = [row for row in rows if row.either.kind in ("bits", "preference") and row.verdict == "better"]
    changes = f": {_listed([*learnt[:2], *likelier[:2]])}" if learnt or likelier else ""
    if not tasks:
        found = [f"No task measured whether {name} was learnt{changes}."]
    elif not learnt:
        found = [f"{name} was not learnt: no task is both better than before and beyond chance."]
        found += [f"Its text became likelier{changes}."] if likelier else []
    elif len(learnt) < len(tasks):
        found = [f"{name} was learnt in part, on {len(learnt)} of {len(tasks)} tasks{changes}."]
    else:
        found = [f"{name} was learnt{changes}."]
    judged = [row for row in tasks if not row.is_learnt and row.verdict in ("better", "same")]
    unmoved = [row for row in rows if not _is_task(row) and row.verdict == "same"]
    fell = [row for row in rows if row.verdict == "worse"]
    unjudged = [row for row in tasks if row.verdict == "unknown"]
    for words, some in (("Not learnt", judged), ("Not moved", unmoved), ("Worse", fell), ("Not judged", unjudged)):
        found += [f"{words}: {_listed(some)}."] if some else []
    return found


def _of_old(name: str, rows: list[Comparison], no_tasks: bool) -> list[str]:
    """What was kept of a language that was there before: only what was known can be kept."""
    judged = [row for row in rows if row.either.kind in ("task", "bits") and row.verdict != "unknown"]
    gained = [row for row in judged if row.is_learnt and not (row.before and row.before.is_known)]
    known = [row for row in judged if row.verdict == "worse" or (row.before and row.before.is_known)]
    unknown = [row for row in judged if _is_task(row) and row not in known and row not in gained]
    worse = [row for row in known if row.verdict == "worse"]
    found = []
    if worse:
        found.append(f"{name} lost on {len(worse)} of {len(known)} measures: {_listed(worse, str_of=_with_interval)}.")
    elif any(_is_task(row) for row in known):
        shown = known if len(known) <= 3 else [*known[:2], known[-1]]
        found.append(f"{name} was kept: {_listed(shown, str_of=_with_interval)}.")
    elif known and no_tasks:
        found.append(f"{name} text: {_listed(known, str_of=_with_interval)}.")
    if gained:
        found.append(f"{name} gained: {_listed(gained)}.")
    if unknown:
        found.append(f"Neither known before nor gained: {_listed(unknown)}.")
    return found


def _is_task(row: Comparison) -> bool:
    """Whether it says what a model can do: a score of a task, not how likely it finds a text."""
    return row.either.kind == "task" and not row.either.lower_is_better


def _gain(row: Comparison) -> float:
    return row.after.points - row.before.points if row.before and row.after else 0.0


def _change(row: Comparison) -> str:
    """Such as `cloze 26% → 84% (chance 25%)`."""
    texts = [result.text if result else "–" for result in (row.before, row.after)]
    since = f" (from {row.since})" if row.since else ""
    return f"{row.name} {' → '.join(texts)}{_needed(row)}{since}"


def _with_interval(row: Comparison) -> str:
    """Such as `cloze 86% → 84% (−2 points ±5)`."""
    return f"{_change(row).removesuffix(_needed(row))} ({row.change_text} {row.half_text})"


def _score(row: Comparison) -> str:
    """Such as `cloze 84% ±6 (chance 25%)`."""
    return f"{row.name} {row.either.text} {row.either.error_text}".rstrip() + _needed(row)


def _needed(row: Comparison) -> str:
    """What a score must exceed to say anything, where there is such a thing."""
    result = row.either
    if not result.needed or result.lower_is_better:
        return ""
    return f" ({'chance' if result.needed == result.chance else 'floor'} {result.format(result.needed)})"


def _listed(rows: Sequence[Comparison], str_of: Callable[[Comparison], str] = _change) -> str:
    """Rows in words, the first few by name."""
    parts = [str_of(row) for row in rows[:MOST]]
    return join([*parts, f"{len(rows) - MOST} more"] if len(rows) > MOST else parts)
