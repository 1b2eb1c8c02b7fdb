"""Tasks that come with lm-evaluation-harness, or stand in YAML of its form: found, put as asked, run, and summed up.

The harness's own index reads 14,000 files before the first task (nine seconds); a name that a folder of one's own has is
looked up there alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lm_eval import evaluate
from lm_eval.tasks import TaskManager

from diglot.base.errors import UserError
from diglot.base.files import write_lines
from diglot.base.summaries.scores import GroupScore, Metric, TaskScore
from diglot.evaluate.harness import Adapter
from diglot.evaluate.language_model import LanguageModel, Report, seen
from diglot.evaluate.metrics import mean, mean_without_each
from diglot.evaluate.spread import Spread
from diglot.recipe.evaluate import Evaluate, HarnessTask
from diglot.text.languages import NAMES, base_code

BOOTSTRAP = 1000
FEWSHOT_SEED = 1234  # the harness's own default: with it examples are those that everybody else gets
HEADLINES = ("acc_norm", "acc", "exact_match", "f1", "chrf", "bleu")  # the first that a task has


def run_harness_tasks(
    settings: Evaluate, model: LanguageModel, output: Path, report: Callable[[str], Report], spread: Spread
) -> tuple[dict[str, TaskScore], dict[str, GroupScore]]:
    """Run the stage's tasks of the harness.

    Returns:
        Scores by task, and the averages of groups as the harness forms them.

    Raises:
        UserError: an unknown task, one that cannot be run, or its data set cannot be loaded.
    """
    asked = [HarnessTask(task=task) if isinstance(task, str) else task for task in settings.lm_eval_tasks]
    loaded = _load([each.task for each in asked], settings.include_path)
    summaries: dict[str, TaskScore] = {}
    groups: dict[str, GroupScore] = {}
    for each, tasks in zip(asked, loaded):
        _prepare(each, tasks, FEWSHOT_SEED + settings.seed)
        results = evaluate(
            Adapter(model, report),
            tasks,
            limit=each.limit or settings.limit,
            bootstrap_iters=BOOTSTRAP,
            log_samples=True,
            system_instruction=each.system,
            apply_chat_template=each.chat,
            fewshot_as_multiturn=each.shots_as_turns,
        )
        for name, task in sorted(tasks["tasks"].items()):
            samples = results["samples"][name]
            write_lines(output / "items" / f"{name}.jsonl", [_row(sample) for sample in samples])
            summaries[name] = _score(task, each, results["results"][name], samples)
            _spread(spread, name, summaries[name], samples)
        for name, children in tasks.get("group_map", {}).items():
            metrics = _metrics(results["results"].get(name, {}))
            groups[name] = GroupScore(sorted(children), metrics or _averages(summaries, children))
    return summaries, groups


def _load(names: list[str], include_path: str | None) -> list[dict[str, Any]]:
    """The tasks of each name."""
    managers: list[TaskManager] = []
    if include_path:
        managers.append(TaskManager(include_path=include_path, include_defaults=False))
    loaded = []
    for name in names:
        try:
            own = managers and (name in managers[0].task_index or Path(name).is_file())
            if not own and (len(managers) < 1 + bool(include_path)):
                managers.append(TaskManager(include_path=include_path))
            loaded.append(managers[0 if own else -1].load([name]))
        except KeyError as error:
            raise UserError(f"lm_eval_tasks: {error.args[0]}; `lm-eval ls tasks` lists what there is") from error
        except Exception as error:  # the hub client raises many kinds: no network, no such data set, gated, …
            raise UserError(
                f"lm_eval_tasks: the data of {name} cannot be loaded "
                f"({type(error).__name__}: {str(error)[:200]}). They come from the Hugging Face hub: check the network, "
                "or unset HF_HUB_OFFLINE, or run once where there is a network and copy the cache (HF_HOME); "
                "or give your own items under `tasks:`"
            ) from error
    return loaded


def _prepare(asked: HarnessTask, tasks: dict[str, Any], seed: int) -> None:
    """Set examples and their seed, as the harness's own command does.

    Raises:
        UserError: a task runs code that the model wrote, or shows pictures.
    """
    for name, task in tasks["tasks"].items():
        if getattr(task, "UNSAFE_CODE", False):
            raise UserError(f"lm_eval_tasks: {name} runs code that the model wrote, which is never done here")
        if getattr(task, "MULTIMODAL", False):
            raise UserError(f"lm_eval_tasks: {name} needs pictures or sound, which a language model does not take")
        # Zero that a task states is part of what it is; all else may be changed.
        if asked.shots is not None and task.get_config("num_fewshot") != 0:
            task.set_config(key="num_fewshot", value=asked.shots)
        task.set_fewshot_seed(seed=seed)


def language_of(name: str, dataset_name: str | None) -> str:
    """The language of a task, from the end of the name of its data or of its own; none if that is no code."""
    for last in ((dataset_name or "").split("_")[0].split("-")[0], name.split("_")[-1]):
        code = (
            "ar" if last.lower() == "arb" else base_code(last.lower())
        )  # FLORES and Belebele write Standard Arabic so
        if code in NAMES:
            return code
    return "ar" if name.startswith(("arabic", "arab_")) else ""


# --- what came out ----------------------------------------------------------------------------------------------


def _metrics(results: dict[str, Any]) -> dict[str, Metric]:
    """The metrics of a task or group; where answers were read in several ways, each with the way's name."""
    found = {}
    for key, value in results.items():
        name, comma, way = key.partition(",")
        if not comma or name.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = results.get(f"{name}_stderr,{way}")  # "N/A" where the harness has none
        shown = name if way == "none" else key
        found[shown] = Metric(float(value), float(error) if isinstance(error, int | float) else None)
    return found


def _averages(summaries: dict[str, TaskScore], children: list[str]) -> dict[str, Metric]:
    """Means over the tasks of a group for which the harness defines none, of the metrics that all have."""
    scores = [summaries[name].metrics for name in children if name in summaries]
    common = [name for name in scores[0] if all(name in of for of in scores)] if scores else []
    return {name: Metric(mean([of[name].value for of in scores])) for name in common}


def _score(task: Any, asked: HarnessTask, results: dict[str, Any], samples: list[dict]) -> TaskScore:
    metrics = _metrics(results)
    first = samples[0]["filter"]
    headline = next((name for best in HEADLINES for name in metrics if name.split(",")[0] == best), next(iter(metrics)))
    choice = task.OUTPUT_TYPE == "multiple_choice"
    counts = [len(task.doc_to_choice(sample["doc"])) for sample in samples] if choice else []
    config = task.config
    return TaskScore(
        language=asked.language or language_of(config.task or "", config.dataset_name),
        kind="choice" if choice else "generation",
        metric=headline,
        metrics=metrics,
        chance=mean([1 / count for count in counts]) if counts else 0.0,
        items=sum(sample["filter"] == first for sample in samples),
        shots=config.num_fewshot or 0,
        chat=asked.chat,
    )


def _spread(spread: Spread, name: str, score: TaskScore, samples: list[dict]) -> None:
    """The score without each of its items, where it is a mean of them; the harness aggregates as a task says."""
    metric, _, way = score.metric.partition(",")
    own = [sample for sample in samples if sample["filter"] == (way or "none")]
    values = [sample.get(metric) for sample in own]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if own and len(numbers) == len(values) and math.isclose(mean(numbers), score.score.value, rel_tol=1e-9):
        spread.add("task", name, [sample["doc"] for sample in own], mean_without_each(numbers))


def _row(sample: dict[str, Any]) -> dict[str, Any]:
    """One line of items/<task>.jsonl."""
    responses = [response[0] for response in sample["resps"]]
    context = seen(responses[0])
    row = {
        "id": str(sample["doc_id"]),
        "prompt": str(sample["arguments"][0][0]),
        "context": context.context if context else None,
        "arguments": [[str(part) for part in arguments] for arguments in sample["arguments"]],
        "responses": [list(r) if isinstance(r, tuple) else r for r in responses],
        "tokens": [score.num_tokens for r in responses if (score := getattr(r, "score", None))],
        "target": str(sample["target"]),
        "metrics": {name: repr(sample[name]) for name in sample["metrics"]},
    }
    return row if sample["filter"] == "none" else row | {"filter": sample["filter"]}
