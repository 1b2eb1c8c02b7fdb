"""The stage `self-instruct`: a model writes instructions in other languages, shown some that are there (PolyLM 4).

Each language goes by itself, in rounds. A round:

1. write its prompts: two seed tasks and one of the pool, drawn by keyed hashes; the pool is what earlier rounds left
2. ask for what is not in the journal (`endpoint.Journal`, in the scratch folder)
3. read the answers into tasks, in the order of the prompts (tasks.py), and drop, counted by the reason, in this order:
       format · cut_off · link · too_long · input_repeated · wrong_language · contaminated (if there are evaluation sets) ·
       similar (to the pool or an earlier one)
4. what is left joins the pool

An answer may come at any time; what is made of it depends on the prompts' order alone. So a killed run goes through its
journal, asks for what is missing, and makes the same bytes as one that was not killed.

    train.jsonl, heldout.jsonl   {"id", "source", "language", "origin": "made", "kind": "self-instruct", "messages"}
    tasks/LANGUAGE.jsonl         the same tasks as MultiAlpaca has them: {"id", "instruction", "input", "output", "round"}
    ledger.json                  tasks read = kept + held out + dropped, by language

An id is LANGUAGE/ROUND/PROMPT/PLACE. A source is called self-instruct-LANGUAGE: mixtures go by these names.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from diglot.align.gather import line_of, refuse, refuse_empty, size_of
from diglot.align.messages import Refused, read_conversation
from diglot.align.rouge import Pool, cut_words
from diglot.align.screen import Decontaminator
from diglot.align.seeds import read_seed_tasks, seed_tasks
from diglot.align.statistics import measure
from diglot.align.tasks import Rejected, Task, check_task, read_tasks, write_prompt
from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import expand_home, write_json
from diglot.base.ledger import SourceLedger
from diglot.base.randomness import key_hash
from diglot.base.summaries.corpus import CorpusSummary, Round, SelfInstructSummary
from diglot.endpoint.client import Client, Journal, Request
from diglot.endpoint.translation import check_known, check_language
from diglot.recipe.self_instruct import SelfInstruct

PROMPT_LANGUAGE = "en"  # what a model that goes astray writes
NAME = "self-instruct"


class Made(NamedTuple):
    """A task that was taken."""

    id: str
    task: Task
    round: int


@dataclass
class Language:
    """What is made in one language.

    Attributes:
        code: of the language.
        seeds: tasks to begin with.
        pool: the instructions of seeds and tasks.
        made: tasks, in the order in which they were taken.
        rounds: what came of each.
        ledger: of all tasks that the model wrote.
    """

    code: str
    seeds: list[Task]
    pool: Pool = field(default_factory=Pool)
    made: list[Made] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    ledger: SourceLedger = field(init=False)

    def __post_init__(self) -> None:
        """Put the seeds into the pool."""
        self.ledger = SourceLedger(self.code, "chat", origin="made")
        for words in cut_words([seed.instruction for seed in self.seeds], self.code):
            self.pool.add(words)


def run(settings: SelfInstruct, inputs: Inputs, output: Path, context: Context) -> SelfInstructSummary:
    """Let the model write tasks, check them, and write what is left as conversations.

    Raises:
        UserError: there are no seed tasks in a language, the endpoint cannot be used, a limit is reached, or nothing is left
            of a language.
    """
    _check(settings)
    decontaminator = Decontaminator(settings.decontamination, None, context)
    languages = [Language(code, _seeds(settings, inputs, code)) for code in settings.languages]
    with Journal(context.scratch / "answers.jsonl") as journal:
        with Client(settings.endpoint, settings.max_cost, settings.max_total_tokens) as client:
            for language in languages:
                for number in range(1, settings.rounds + 1):
                    _walk_round(settings, decontaminator, language, number, client, journal, context)
            tokens = {"prompt": journal.prompt_tokens, "completion": journal.completion_tokens}
            cost, server = round(client.cost(*tokens.values()), 6), client.served()
        requests = len(journal)
    ledgers = _write(settings, languages, output, f"{context.seed}/{settings.seed}")
    counts = CorpusSummary.of_ledgers(ledgers, decontaminator.evaluation_sets, measure(output))
    return SelfInstructSummary(
        **{
            name: getattr(counts, name)
            for name in ("documents", "dropped", "languages", "sources", "evaluation_sets", "statistics")
        },
        rounds={language.code: language.rounds for language in languages},
        requests=requests,
        tokens=tokens,
        cost=cost,
        model=settings.endpoint.model,
        server=server,
    )


def _seeds(settings: SelfInstruct, inputs: Inputs, language: str) -> list[Task]:
    """The seed tasks in a language: the user's, translated ones, or ours.

    Raises:
        UserError: there are none, or too few for a prompt.
    """
    translated = {artifact.settings.get("target_language"): artifact.path for artifact in inputs.many("seeds")}
    if language in settings.seed_tasks:
        found = read_seed_tasks(expand_home(settings.seed_tasks[language]))
    elif language in translated:
        found = read_seed_tasks(translated[language] / "seed_tasks.jsonl")
    else:
        found = seed_tasks(language)
    seeds = [Task(one.instruction, one.input, one.output) for one in found if not one.only or language in one.only]
    if len(seeds) <= settings.seeds_a_prompt:
        raise UserError(
            f"seed_tasks: there are {len(seeds)} in {language!r}, and the first prompts show {settings.seeds_a_prompt + 1}"
        )
    return seeds


def _check(settings: SelfInstruct) -> None:
    if settings.tasks_a_prompt <= settings.seeds_a_prompt + 1:
        raise UserError("tasks_a_prompt: nothing would be asked for beside the tasks that are shown; raise it")
    for language in settings.languages:
        if settings.languages.count(language) > 1:
            raise UserError(f"languages: {language!r} is there more than once; leave the others out")
        check_known("languages", language, settings.language_confidence)


# --- a round --------------------------------------------------------------------------------------------------


def _walk_round(
    settings: SelfInstruct,
    decontaminator: Decontaminator,
    language: Language,
    number: int,
    client: Client,
    journal: Journal,
    context: Context,
) -> None:
    """Ask for tasks, and take what is new and in order; rounds count from 1."""
    requests = _requests(settings, language, number, f"{context.seed}/{settings.seed}/{NAME}/{language.code}/{number}")
    missing = client.num_missing(requests, journal)
    for done, _ in enumerate(client.ask_all(requests, journal), 1):
        context.progress(done, missing, "prompts", f"{language.code} round {number}, {len(language.made):,} tasks")
    found: list[tuple[str, Task | Rejected]] = []
    refused = 0
    for prompt, request in enumerate(requests, 1):
        answer = journal.get(client.key(request))
        if answer is None or answer.finish_reason == "content_filter":
            refused += 1
            continue
        tasks = read_tasks(answer.text, answer.finish_reason == "length")
        found += [(f"{language.code}/{number}/{prompt}/{place}", task) for place, task in enumerate(tasks, 1)]
    language.rounds.append(
        _take(settings, decontaminator, language, number, found, prompts=len(requests), refused=refused)
    )


def _requests(settings: SelfInstruct, language: Language, number: int, seed: str) -> list[Request]:
    """The prompts of a round; no two are equal, not even those with the same tasks in them."""
    options = {"max_tokens": settings.max_tokens, "temperature": settings.temperature, "top_p": settings.top_p}
    requests = []
    for prompt in range(settings.first_prompts if number == 1 else settings.prompts):
        random = Random(f"{seed}/{prompt}")
        # In the first round there is no pool: one more seed stands in for its task.
        from_pool = [random.choice(language.made).task] if language.made else []
        shown = random.sample(language.seeds, settings.seeds_a_prompt + 1 - len(from_pool)) + from_pool
        text = write_prompt(language.code, shown, settings.tasks_a_prompt)
        requests.append(Request([{"role": "user", "content": text}], options, attempt=number * 10**6 + prompt))
    return requests


def _take(
    settings: SelfInstruct,
    decontaminator: Decontaminator,
    language: Language,
    number: int,
    found: list[tuple[str, Task | Rejected]],
    prompts: int,
    refused: int,
) -> Round:
    """Check tasks, and let what is new join the pool."""
    rejected: Counter[str] = Counter()
    revised = 0

    def reject(id_: str, why: Rejected) -> None:
        rejected[why.reason] += 1
        refuse(language.ledger, Refused(why.reason, why.detail), size_of(why.text), id_, why.text)

    good: list[tuple[str, Task]] = []
    for id_, task in found:
        if isinstance(task, Task):
            limit = settings.input_limit(language.code)
            checked = check_task(task, language.code, limit, settings.max_characters)
        else:
            checked = task
        if isinstance(checked, Rejected):
            reject(id_, checked)
        else:
            good.append((id_, checked[0]))
            revised += checked[1]
    right: list[tuple[str, Task]] = []
    instructions = [task.instruction for _, task in good]
    wrong = check_language(instructions, PROMPT_LANGUAGE, language.code, settings.language_confidence)
    for (id_, task), failure in zip(good, wrong, strict=True):
        try:
            if failure is not None:
                raise Refused("wrong_language", failure.detail)
            decontaminator.check(task)
            right.append((id_, task))
        except Refused as why:
            reject(id_, Rejected(why.reason, "\n".join(task), why.detail))
    # A task is compared with those before it too: the order is the prompts', not that of the answers' coming.
    words = cut_words([task.instruction for _, task in right], language.code)
    kept = 0
    for (id_, task), score in zip(right, language.pool.take_new(words, settings.similarity)):
        if score >= settings.similarity:
            reject(id_, Rejected("similar", "\n".join(task), f"ROUGE-L {score:.2f} to another instruction"))
            continue
        language.made.append(Made(id_, task, number))
        kept += 1
    return Round(prompts, refused, len(found), dict(rejected), revised, kept)


# --- writing --------------------------------------------------------------------------------------------------


def _write(settings: SelfInstruct, languages: list[Language], output: Path, seed: str) -> dict[str, SourceLedger]:
    """Write all tasks as conversations, some of them held out; returns the ledgers by source."""
    ledgers = {f"{NAME}-{language.code}": language.ledger for language in languages}
    (output / "tasks").mkdir()
    with (
        (output / "train.jsonl").open("w", encoding="utf-8", newline="\n") as train,
        (output / "heldout.jsonl").open("w", encoding="utf-8", newline="\n") as heldout,
    ):
        for name, language in zip(ledgers, languages):
            held_out = _held_out(settings, language, seed)
            with (output / "tasks" / f"{language.code}.jsonl").open("w", encoding="utf-8", newline="\n") as tasks:
                for made in language.made:
                    size = size_of("\n".join(made.task))
                    language.ledger.read.add(*size)
                    is_held_out = made.id in held_out
                    (language.ledger.held_out if is_held_out else language.ledger.kept).add(*size)
                    record = _record(name, language.code, made, settings.max_characters)
                    (heldout if is_held_out else train).write(line_of(record) + "\n")
                    line = {"id": made.id, **made.task._asdict(), "round": made.round}
                    tasks.write(json.dumps(line, ensure_ascii=False) + "\n")
    for name, ledger in ledgers.items():
        ledger.check(name)
        refuse_empty(name, ledger)
    write_json(output / "ledger.json", {"sources": {name: ledger.as_json() for name, ledger in ledgers.items()}})
    return ledgers


def _held_out(settings: SelfInstruct, language: Language, seed: str) -> set[str]:
    number = min(settings.max_held_out, int(settings.held_out * len(language.made)))
    ids = sorted((made.id for made in language.made), key=lambda id_: key_hash(f"{seed}/held-out/{id_}"))
    return set(ids[:number])


def _record(source: str, language: str, made: Made, max_characters: int) -> dict[str, object]:
    """A conversation, as `gather-instructions` reads the task."""
    header = {"id": made.id, "source": source, "language": language, "origin": "made", "kind": NAME}
    return {**header, "messages": read_conversation(made.task._asdict(), max_characters)}
