"""The stage `evaluate`: one model, everything that can be measured about it.

    scores.json          the summary: bits per byte by language, tasks, preferences; with standard errors
    items/<task>.jsonl   every item: its prompt; `input`, the whole text before the answer (shots and chat format
                         included), and `context`, its exact token ids; choices with log-likelihoods or generation
    tables.md            benchmarks by language: those that the model was trained in, all others, and their averages
    documents.jsonl      bits of every held-out document
    retrieval.json       translations found by hidden states, with a picture of the vectors
    pairs.jsonl          log-likelihoods of every held-out preference pair
    without.json         every score without each of its items in turn: the interval of a change between two models
                         on the same items comes from the differences of these

The model is loaded once, as any other program would load it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import write_json, write_lines
from diglot.base.intervals import jackknife_error
from diglot.base.summaries.scores import Metric, ScoresSummary, TaskScore
from diglot.evaluate.benchmarks import group_scores, read_benchmarks, write_tables
from diglot.evaluate.bits import bits_per_byte, cut, read_held_out
from diglot.evaluate.heldout import held_out_tasks
from diglot.evaluate.items import Item, build_contexts, read_items, read_shots
from diglot.evaluate.language_model import LanguageModel, Report, seen
from diglot.evaluate.metrics import (
    CORPUS_METRICS,
    SCORINGS,
    chance_of_texts,
    mean,
    mean_without_each,
    text_metric,
    text_score_without_each,
)
from diglot.evaluate.preferences import read_pairs, score_pairs, within
from diglot.evaluate.retrieval import find_translations, held_out_pairs
from diglot.evaluate.spread import Spread
from diglot.recipe.evaluate import MAX_BYTES, Evaluate, Task
from diglot.text.consistency import in_language

if TYPE_CHECKING:
    from diglot.evaluate.harness import ItemTask


def run(settings: Evaluate, inputs: Inputs, output: Path, context: Context) -> ScoresSummary:
    """Measure a model.

    Raises:
        UserError: nothing to measure, or an item, pair or model that cannot be used.
    """
    corpora, pair_sets = inputs.many("corpus"), inputs.many("preferences")
    if not (settings.tasks or settings.lm_eval_tasks or settings.benchmarks or corpora or pair_sets):
        raise UserError(
            "nothing to measure: give tasks, benchmarks, lm_eval_tasks, or a corpus or preferences in this stage's `from`"
        )
    seed, max_bytes = f"{context.seed}/{settings.seed}", settings.max_bytes or MAX_BYTES

    def report(unit: str) -> Report:
        return lambda done, total: context.progress(done, total, unit)

    context.progress(0, None, "", "reading what is to be measured")
    # All inputs are read before the model is: what is wrong with them shows within a second.
    documents = [d for corpus in corpora for d in read_held_out(corpus, settings.max_documents, seed)]
    pairs = within([pair for pair_set in pair_sets for pair in read_pairs(pair_set)], max_bytes)
    items = {name: read_items(name, task, inputs.maybe("items")) for name, task in settings.tasks.items()}
    made, made_items = held_out_tasks(documents, settings.continuations, settings.translations, seed)
    pools = {name: read_shots(task, inputs.maybe("items")) for name, task in settings.tasks.items()}
    taken, absent = read_benchmarks(settings.benchmarks) if settings.benchmarks else ([], [])
    tasks = {**made, **settings.tasks, **{each.name: each.task for each in taken}}
    items = {**made_items, **items, **{each.name: each.items for each in taken}}
    pools |= {each.name: each.pool for each in taken}
    context.progress(0, None, "", "loading the model")
    model = LanguageModel.load(inputs.one("model").path, settings.batch_size, settings.document_start)
    model.batch_tokens = settings.batch_tokens
    # Three kinds of measurement, each with its own file of rows; the summary grows as they come in.
    scores, spread = ScoresSummary(), Spread()
    if documents:
        by_language, rows = bits_per_byte(model, cut(documents, max_bytes, seed), report("windows of held-out text"))
        scores.bits_per_byte.update(by_language)
        spread.add_documents(rows)
        write_lines(output / "documents.jsonl", rows)
    (output / "items").mkdir()
    if tasks:
        scores.tasks.update(_run_tasks(tasks, items, pools, model, settings.limit, seed, output, report, spread))
    if settings.benchmarks:
        scores.tasks.update({e.name: replace(scores.tasks[e.name], origin=e.origin) for e in taken})
        scores.groups.update(group_scores(taken, scores.tasks, settings.benchmarks.trained))
        write_tables(output / "tables.md", taken, absent, scores.tasks, settings.benchmarks.trained)
    if settings.lm_eval_tasks:
        from diglot.evaluate.harness_tasks import run_harness_tasks  # extra: evaluate

        found, groups = run_harness_tasks(settings, model, output, report, spread)
        scores.tasks.update(found)
        scores.groups.update(groups)
    if pairs:
        by_source, rows = score_pairs(model, pairs, settings.limit, report("answers"))
        scores.preferences.update(by_source)
        spread.add_pairs(rows)
        write_lines(output / "pairs.jsonl", rows)
    if settings.retrieval:
        find_translations(model, held_out_pairs(documents, settings.retrieval), report("texts"), output)
    spread.write(output)
    # Rounded once, so that the summary and scores.json say the same on every machine.
    rounded = _rounded(scores.as_json())
    write_json(output / "scores.json", rounded)
    return ScoresSummary.from_json(rounded)


# --- our tasks ------------------------------------------------------------------------------------------------


def _run_tasks(
    settings: dict[str, Task],
    items: dict[str, list[Item]],
    pools: dict[str, list[Item] | None],
    model: LanguageModel,
    limit: int | None,
    seed: str,
    output: Path,
    report: Callable[[str], Report],
    spread: Spread,
) -> dict[str, TaskScore]:
    from lm_eval import evaluate  # extra: evaluate

    from diglot.evaluate.harness import Adapter, ItemTask

    tasks = {}
    for name, task in settings.items():
        count = min(len(items[name]), limit or len(items[name]))
        contexts = build_contexts(items[name], task, model, count, f"{seed}/{name}", pools.get(name))
        tasks[name] = ItemTask(name, task, items[name], contexts)
    results = evaluate(Adapter(model, report), {"tasks": tasks}, bootstrap_iters=0, log_samples=True)
    summaries = {}
    for name, task in tasks.items():
        samples = results["samples"][name]
        write_lines(output / "items" / f"{name}.jsonl", [_item_row(task.settings, sample) for sample in samples])
        without = _without_each(task, samples)
        summaries[name] = _task_score(task, results["results"][name], samples, without)
        spread.add("task", name, [sample["doc"] for sample in samples], without[summaries[name].metric])
    return summaries


def _without_each(task: ItemTask, samples: list[dict]) -> dict[str, list[float]]:
    """Every metric of a task without each of its items in turn."""
    found = {}
    for name in task.aggregation():
        values = [sample[name] for sample in samples]
        if name in CORPUS_METRICS:
            found[name] = text_score_without_each(text_metric(name, task.settings.language), *zip(*values))
        else:
            found[name] = mean_without_each(values)
    return found


def _task_score(task: ItemTask, results: dict, samples: list[dict], without: dict[str, list[float]]) -> TaskScore:
    """A task's scores; those of choices are sums by default, which do not depend on how a tokenizer cuts."""
    settings = task.settings
    headline = SCORINGS[settings.scoring] if settings.kind == "choice" else settings.metric
    metrics = {name: Metric(results[f"{name},none"], jackknife_error(each)) for name, each in without.items()}
    if settings.kind == "choice":
        chance = mean([1 / len(item["choices"]) for item in task.items])
    else:
        answers, references = zip(*(sample["chrf"] for sample in samples))
        # A reference is in the language that is asked for, and shows its script.
        told = [float(one) for one in in_language(answers, settings.language, references) if one is not None]
        if told:
            metrics["language_consistency"] = Metric(mean(told), jackknife_error(mean_without_each(told)))
        chance = chance_of_texts(settings.metric, settings.language, references)
    return TaskScore(
        language=settings.language,
        kind=settings.kind,
        metric=headline,
        metrics=metrics,
        chance=chance,
        items=len(samples),
        contexts_cut=sum(any(seen(response[0]).cut for response in s["resps"]) for s in samples),
        shots=settings.shots,
        chat=settings.chat,
    )


def _item_row(task: Task, sample: dict[str, Any]) -> dict[str, Any]:
    """One line of items/<task>.jsonl."""
    item, responses = sample["doc"], [response[0] for response in sample["resps"]]
    row = {"id": item["id"], "prompt": item["prompt"], "input": str(sample["arguments"][0][0])}
    if task.kind == "choice":
        choices = [
            {
                "text": text,
                "log_likelihood": round(response.score.log_likelihood, 4),
                "tokens": response.score.num_tokens,
                "characters": len(text.strip()),
                "bytes": len(text.strip().encode()),
            }
            for text, response in zip(item["choices"], responses)
        ]
        metrics = {name: sample[name] for name in sample["metrics"]}
        return {**row, "context": responses[0].score.context, "choices": choices, "answer": item["answer"], **metrics}
    generation, reference = sample["chrf"]
    return {
        **row,
        "context": responses[0].generation.context,
        "generation": generation,
        "reference": reference,
        **{name: sample[name] for name in sample["metrics"] if name not in CORPUS_METRICS},
        "in_language": in_language([generation], task.language, [reference])[0],
        "chrf": round(text_metric("chrf", task.language).sentence_score(generation, [reference]).score, 2),
    }


# --- writing ----------------------------------------------------------------------------------------------------


def _rounded(value: Any) -> Any:
    """Six digits after the point: more would only show the order in which a machine adds up."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 6) if isinstance(value, float) else value
