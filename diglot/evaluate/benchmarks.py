"""Benchmarks of the papers on files of the user's: XNLI, XCOPA, MTG, WMT, Arabic exams and others (`benchmarks.yaml`).

A benchmark is a few templates in Jinja over the fields of a row, and its variants: languages, or directions of translation,
each with words of its own. It becomes one task of ours a variant. The harness's YAML says less than is needed here: it has
no scores per token, a data set and a file a language, and reads each by a library that copies it into a cache.

    xcopa:
      path: xcopa/{{language}}.test.jsonl                # in the folder that the recipe names; of several the first there is
      prompt: "{{premise[:-1]}} {{words[question]}}"
      choices: "[choice1, choice2]"                      # an expression
      answer: label
      variants: {it: {words: {cause: perché, effect: quindi}}}
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import Field, ValidationError

from diglot.base.errors import UserError
from diglot.base.plain_yaml import parse_yaml
from diglot.base.summaries.scores import GroupScore, Metric, TaskScore
from diglot.evaluate.items import COMPRESSIONS, Item, read_lines
from diglot.evaluate.metrics import mean
from diglot.recipe.common import Settings
from diglot.recipe.evaluate import Benchmarks, Task
from diglot.text.languages import language_name

OURS = Path(__file__).parent / "benchmarks.yaml"
JINJA = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
Variant = dict[str, Any]


class Benchmark(Settings):
    """One benchmark: where its rows lie, and how a row becomes an item; see `benchmarks.yaml`."""

    source: str
    origin: Literal["native", "translated"]
    path: list[str]
    shots_path: list[str] = Field([])
    shots: int = 0
    kind: Literal["choice", "generation"] = "choice"
    scoring: Literal["sum", "character", "byte", "token"] = "sum"
    metric: Literal["chrf", "bleu", "f1", "rouge", "exact_match"] = "chrf"
    max_new_tokens: int = 256
    where: str = "true"
    prompt: str
    choices: str = "[]"
    answer: str = "0"
    references: str = "[]"
    variants: dict[str, Variant] = Field(min_length=1)


@dataclass(frozen=True)
class Taken:
    """A variant of a benchmark, ready to be measured.

    Attributes:
        name: of the task, such as `xnli-ar`.
        benchmark: `xnli`.
        variant: `ar`, or `en-de`.
        pool: the items that examples are drawn from; None: its own.
        origin: native or translated.
    """

    name: str
    benchmark: str
    variant: str
    task: Task
    items: list[Item]
    pool: list[Item] | None
    origin: str


class NoDataError(UserError):
    """A variant whose file is not there, or a test set without its answers."""


def read_benchmarks(settings: Benchmarks) -> tuple[list[Taken], list[str]]:
    """The tasks of the benchmarks that are asked for.

    Returns:
        The tasks; and of whole benchmarks what there is no data for, with the reason.

    Raises:
        UserError: no such benchmark or variant, no data for it, or a row that does not fit the templates.
    """
    known = _load(OURS) | (_load(Path(settings.file)) if settings.file else {})
    names = {f"{name}-{variant}": (name, variant) for name, of in known.items() for variant in of.variants}
    taken: dict[str, Taken] = {}
    absent: dict[str, str] = {}
    for asked in settings.names:
        if asked in known:
            pairs = [(asked, variant) for variant in known[asked].variants]
        elif asked in names:
            pairs = [names[asked]]
        else:
            raise UserError(
                f"benchmarks.names: no {asked!r}; there are {', '.join(sorted(known))}, and {asked}-ar and such"
            )
        missing: list[NoDataError] = []
        for name, variant in pairs:
            try:
                taken[f"{name}-{variant}"] = _take(name, variant, known[name], settings)
            except NoDataError as error:
                missing.append(error)
        # Who names a language wants it; of a whole benchmark the languages are measured that there are.
        if len(missing) == len(pairs):
            raise missing[0]
        absent |= {str(error): "" for error in missing}
    return list(taken.values()), list(absent)


def _load(file: Path) -> dict[str, Benchmark]:
    try:
        content = parse_yaml(file.read_text(encoding="utf-8"), str(file))[0]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot read the benchmarks: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: benchmarks stand there by name; docs/evaluation.md shows one")
    known = {}
    for name, of in content.items():
        try:
            known[str(name)] = Benchmark.model_validate(of)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, (name, *first["loc"])))
            raise UserError(f"{file}: {where}: {first['msg']}; docs/evaluation.md shows a benchmark") from error
    return known


def _take(name: str, variant: str, benchmark: Benchmark, settings: Benchmarks) -> Taken:
    words = {"language": variant, **benchmark.variants[variant]}
    words |= {"language_name": language_name(words["language"]), "source_name": language_name(words.get("source", ""))}
    shots = benchmark.shots if settings.shots is None else settings.shots
    task = Task(
        path="",
        language=words["language"],
        kind=benchmark.kind,
        scoring=benchmark.scoring,
        metric=benchmark.metric,
        chat=settings.chat,
        shots=shots,
        max_new_tokens=settings.max_new_tokens or benchmark.max_new_tokens,
    )
    file, files = _first(benchmark.path, words, settings.path)
    if file is None:
        raise NoDataError(f"benchmarks: {name}-{variant}: no data: there is no {' and no '.join(map(str, files))}")
    items = _items(file, benchmark, words)
    if not items:
        raise NoDataError(f"benchmarks: {name}-{variant}: {file} holds no items of it")
    pool = None
    # Examples come from a train or dev split, where there is one; else from the test without the item.
    if shots and (other := _first(benchmark.shots_path, words, settings.path)[0]):
        pool = _items(other, benchmark, words) or None
    if shots >= len(items if pool is None else [*pool, None]):
        raise UserError(f"{file}: {shots} shots need more items than there are")
    origin = str(words.get("origin", benchmark.origin))
    return Taken(f"{name}-{variant}", name, variant, task, items, pool, origin)


def _first(patterns: list[str], words: Variant, folder: str) -> tuple[Path | None, list[Path]]:
    """The first of the files that there is, and all that were looked for."""
    files = [Path(folder) / JINJA.from_string(pattern).render(words) for pattern in patterns]
    stored = [file.with_name(file.name + suffix) for file in files for suffix in ("", *COMPRESSIONS)]
    return next((file for file in stored if file.is_file()), None), files


@functools.cache
def _expression(text: str) -> Any:
    return JINJA.compile_expression(text, undefined_to_none=False)


def _items(file: Path, benchmark: Benchmark, words: Variant) -> list[Item]:
    """A file's rows as items; those that `where` leaves out are none of this variant's."""
    prompt = JINJA.from_string(benchmark.prompt)
    items = []
    for place, row in read_lines(file):
        values = {**words, **row, "row": row, "language": words["language"]}
        try:
            if not _expression(benchmark.where)(values):
                continue
            item: Item = {
                "id": str(row.get("id", place.rsplit(":", 1)[1])),
                "prompt": prompt.render(values).rstrip(" "),
            }
            if benchmark.kind == "choice":
                item["choices"] = [str(choice) for choice in _expression(benchmark.choices)(values)]
                item["answer"] = int(_expression(benchmark.answer)(values))
                if not 0 <= item["answer"] < len(item["choices"]):
                    raise ValueError(f"answer {item['answer']} of {len(item['choices'])} choices")
            else:
                item["references"] = [
                    str(text) for text in _expression(benchmark.references)(values) if str(text).strip()
                ]
                # Blind test sets have questions and no answers: they measure nothing.
                item["reference"] = item["references"][0]
        except IndexError as error:
            raise NoDataError(f"{place}: no answer stands there; this file is a blind test set") from error
        except (jinja2.TemplateError, TypeError, ValueError, AttributeError, LookupError) as error:
            raise UserError(f"{place}: does not fit the benchmark: {error}") from error
        items.append(item)
    return items


# --- averages and tables ----------------------------------------------------------------------------------------


def _blocks(taken: Sequence[Taken], trained: Sequence[str]) -> dict[str, list[Taken]]:
    """The variants in trained languages and the others; of a direction of translation, both are trained in."""
    own = [each for each in taken if all(code in trained for code in each.variant.split("-"))]
    if not trained:
        return {"": list(taken)}
    return {"trained": own, "unseen": [each for each in taken if each not in own]}


def _average(scores: Sequence[TaskScore]) -> Metric:
    errors = [score.score.standard_error for score in scores]
    known = [error for error in errors if error is not None]
    error = math.sqrt(sum(e * e for e in known)) / len(scores) if len(known) == len(scores) else None
    return Metric(mean([score.score.value for score in scores]), error)


def group_scores(taken: Sequence[Taken], scores: dict[str, TaskScore], trained: Sequence[str]) -> dict[str, GroupScore]:
    """Averages of each benchmark over its variants, as the papers have them: each counts alike."""
    found = {}
    for benchmark in dict.fromkeys(each.benchmark for each in taken):
        own = [each for each in taken if each.benchmark == benchmark]
        for block, members in {"": own, **_blocks(own, trained)}.items():
            if members:
                names = [each.name for each in members]
                metric = scores[names[0]].metric
                average = _average([scores[name] for name in names])
                found[f"{benchmark}/{block}" if block else benchmark] = GroupScore(names, {metric: average})
    return found


def write_tables(
    file: Path, taken: Sequence[Taken], absent: Sequence[str], scores: dict[str, TaskScore], trained: Sequence[str]
) -> None:
    """The papers' tables in Markdown: a benchmark each, trained languages and others, each block with its average.

    Args:
        file: to be written.
        taken: what was measured.
        absent: what there was no data for.
        scores: by task.
        trained: languages of the first block.
    """
    parts = []
    for benchmark in dict.fromkeys(each.benchmark for each in taken):
        own = [each for each in taken if each.benchmark == benchmark]
        heads, values = [], []
        for block, members in _blocks(own, trained).items():
            heads += [each.variant for each in members] + (
                ["**average**" + (f" ({block})" if block else "")] if members else []
            )
            values += [_text(scores[each.name].score, scores[each.name]) for each in members]
            if members:
                of = [scores[each.name] for each in members]
                values.append("**" + _text(_average(of), of[0]) + "**")
        first = scores[own[0].name]
        origins = " and ".join(sorted({each.origin for each in own}))
        title = f"## {benchmark}\n\n{first.metric}, {first.shots} shots, {origins}\n\n"
        rows = [heads, ["---:"] * len(heads), values]
        parts.append(title + "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n")
    if absent:
        parts.append("## Not measured\n\n" + "".join(f"* {each}\n" for each in absent))
    file.write_text("\n".join(parts), encoding="utf-8")


def _text(metric: Metric, score: TaskScore) -> str:
    """As the papers print them, out of 100."""
    share = 1 if score.metric in ("chrf", "bleu", "rouge") else 100
    return f"{metric.value * share:.1f}"
