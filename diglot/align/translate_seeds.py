"""The stage `translate-seed-tasks`: seed tasks in another language, through an OpenAI-compatible endpoint.

Instruction, input and output of a task are translated each by itself. Kept parts (`keep`) and texts without letters are
passed through, tasks that make sense in some languages only (`only`) are left out, and equal texts share one request. An
answer that does not pass (`endpoint.translation`) is asked for again, a little hotter; a task with a part that failed
twice is dropped. A text to be translated is data: the prompt says so, and an answer that carries a task out mostly differs
too much in length or language to pass. A model's translation is worth a reading all the same.

The artifact: `seed_tasks.jsonl`, as `seeds` reads it, and `dropped.jsonl`: `id`, `part`, `reason`, `detail` of every task
that is not in it. The journal in the scratch folder gets every answer, so a killed run goes on where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from diglot.align.seeds import SeedTask, read_seed_tasks, seed_tasks
from diglot.base.artifact import Context, Inputs, Progress
from diglot.base.errors import UserError
from diglot.base.files import expand_home, write_lines
from diglot.base.summaries.text import SeedTasksSummary
from diglot.endpoint.client import Client, Journal, Request
from diglot.endpoint.translation import RETRY_TEMPERATURE, Failure, check_language, check_settings, judge
from diglot.recipe.align import TranslateSeedTasks
from diglot.text.languages import language_name

PARTS = ("instruction", "input", "output")
ONLY_SOME = "only_some_languages"


class Dropped(NamedTuple):
    """Why a task is not among the translated ones; `part`: of which text it was said."""

    id: str
    part: str
    reason: str
    detail: str


def run(settings: TranslateSeedTasks, inputs: Inputs, output: Path, context: Context) -> SeedTasksSummary:
    """Translate seed tasks.

    Raises:
        UserError: the tasks cannot be read, the endpoint cannot be used, max_cost is spent, or not one task could be
            translated.
    """
    check_settings(settings)
    tasks = read_seed_tasks(expand_home(settings.path)) if settings.path else seed_tasks(settings.source_language)
    with Journal(context.scratch / "answers.jsonl") as journal, Client(settings.endpoint, settings.max_cost) as client:
        translated, dropped = translate_tasks(tasks, settings, client, journal, context.progress)
        tokens = {"prompt": journal.prompt_tokens, "completion": journal.completion_tokens}
        cost, requests = round(client.cost(*tokens.values()), 6), len(journal)
        # An artifact without a task would only fail later, in the stage that reads it.
        if not translated:
            first = dropped[0]
            raise UserError(
                f"not one of {len(tasks):,} tasks could be translated (such as {first.id}, {first.part}: {first.reason}; "
                f"{first.detail}); see what the model answers, and change the endpoint or the prompt"
            )
        server = client.served()
    write_lines(output / "seed_tasks.jsonl", (task.as_json() for task in translated))
    write_lines(output / "dropped.jsonl", (one._asdict() for one in dropped))
    return SeedTasksSummary(
        tasks=len(translated),
        read=len(tasks),
        dropped=dict(Counter(one.reason for one in dropped)),
        requests=requests,
        tokens=tokens,
        cost=cost,
        model=settings.endpoint.model,
        server=server,
    )


def translate_tasks(
    tasks: Sequence[SeedTask], settings: TranslateSeedTasks, client: Client, journal: Journal, progress: Progress
) -> tuple[list[SeedTask], list[Dropped]]:
    """Tasks in the target language, in their order, and those that are not among them.

    Args:
        tasks: in the source language.
        settings: the stage's.
        client: of the server that translates.
        journal: gets every answer; what is in it is not asked for again.
        progress: is told how many texts are answered.

    Raises:
        UserError: the endpoint cannot be used, or max_cost is spent.
    """
    wanted = [task for task in tasks if not task.only]
    texts = {(task.id, part): getattr(task, part) for task in wanted for part in PARTS if _asks(task, part)}
    found: dict[tuple[str, str], str | Failure] = {}
    for attempt in (1, 2):
        missing = [key for key in texts if not isinstance(found.get(key), str)]
        requests = {key: _request(settings, key[1], texts[key], attempt) for key in missing}
        num_missing = client.num_missing(requests.values(), journal)
        for done, _ in enumerate(client.ask_all(requests.values(), journal), 1):
            progress(done, num_missing, ("texts", "second tries")[attempt - 1], "")
        answers = [judge(texts[key], journal.get(client.key(requests[key]))) for key in missing]
        found.update(zip(missing, _in_language(answers, settings), strict=True))
    translated: list[SeedTask] = []
    dropped = [Dropped(task.id, "", ONLY_SOME, task.reason) for task in tasks if task.only]
    for task in wanted:
        parts = {part: found[task.id, part] for part in PARTS if (task.id, part) in texts}
        failures = [Dropped(task.id, part, *why) for part, why in parts.items() if isinstance(why, Failure)]
        if failures:  # a task is whole or not there
            dropped.append(failures[0])
        else:
            translated.append(task.model_copy(update=parts))
    return translated, dropped


def _asks(task: SeedTask, part: str) -> bool:
    """Whether there is something to translate in a part."""
    return part not in task.keep and any(map(str.isalpha, getattr(task, part)))


def _request(settings: TranslateSeedTasks, part: str, text: str, attempt: int) -> Request:
    names = {"source_language": settings.source_language, "target_language": settings.target_language}
    prompt = settings.prompt.format(part=part, text=text, **{key: language_name(code) for key, code in names.items()})
    # The same request at temperature 0 has the same answer.
    temperature = settings.temperature if attempt == 1 else max(settings.temperature, RETRY_TEMPERATURE)
    options = {"max_tokens": settings.max_tokens, "temperature": temperature}
    return Request([{"role": "user", "content": prompt}], options, attempt)


def _in_language(answers: list[str | Failure], settings: TranslateSeedTasks) -> list[str | Failure]:
    """The answers, with a failure in place of those in another language."""
    texts = [answer if isinstance(answer, str) else "" for answer in answers]
    failures = check_language(texts, settings.source_language, settings.target_language, settings.language_confidence)
    return [
        failure if failure and isinstance(answer, str) else answer
        for answer, failure in zip(answers, failures, strict=True)
    ]
