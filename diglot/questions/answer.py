"""The stage `answer-questions`: a model answers questions turn by turn, each after its own earlier answers.

    answers.jsonl   {"id", "language", "category", "turns", "references", "answers"}: questions that were answered whole

All first turns are asked, then all second ones. Every answer is journalled as it comes: a run that was killed asks for what is
missing. A question of which a turn was refused or has an empty answer is left out, counted, and said.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import write_lines
from diglot.base.summaries.judgements import AnswersSummary
from diglot.endpoint.client import Client, Completion, Journal, Request
from diglot.questions.local import LocalModel
from diglot.read.answers import Answered, Question, read_questions
from diglot.recipe.questions import AnswerQuestions

Message = dict[str, str]


def run(settings: AnswerQuestions, inputs: Inputs, output: Path, context: Context) -> AnswersSummary:
    """Put the questions to the model and write its answers.

    Raises:
        UserError: a file of questions is malformed, the model or the endpoint cannot be used, a limit is reached, or nothing was answered.
    """
    questions = [
        question
        for language, path in settings.questions.items()
        for question in read_questions(language, path, settings.limit)
    ]
    with Journal(context.scratch / "answers.jsonl") as journal:
        if settings.endpoint is None:
            artifact = inputs.one("model")
            local = LocalModel(artifact, settings.max_tokens, f"{context.seed}/{settings.seed}")
            given, name, server = _ask(settings, questions, local, journal, context), artifact.stage, {}
            cost = 0.0
        else:
            with Client(settings.endpoint, settings.max_cost, settings.max_total_tokens) as client:
                given = _ask(settings, questions, client, journal, context)
                cost = round(client.cost(journal.prompt_tokens, journal.completion_tokens), 6)
                name, server = settings.endpoint.model, client.served()
        tokens = {"prompt": journal.prompt_tokens, "completion": journal.completion_tokens}
    whole = [question for question in questions if len(given[question.id]) == len(question.turns)]
    if not whole:
        raise UserError(f"{name} answered no question whole; look at the model, or at the questions")
    write_lines(output / "answers.jsonl", (_answered(q, given[q.id]).as_json() for q in whole))
    read, answered = (Counter(question.language for question in some) for some in (questions, whole))
    return AnswersSummary(
        questions=dict(answered),
        failed={language: count - answered[language] for language, count in read.items() if count > answered[language]},
        cut_off=sum(answer.finish_reason == "length" for question in whole for answer in given[question.id]),
        tokens=tokens,
        cost=cost,
        model=name,
        server=server,
    )


def _ask(
    settings: AnswerQuestions, questions: list[Question], who: Client | LocalModel, journal: Journal, context: Context
) -> dict[str, list[Completion]]:
    """The answers to each question, up to the first turn that has none."""
    given: dict[str, list[Completion]] = {question.id: [] for question in questions}
    for turn in range(max(len(question.turns) for question in questions)):
        # Who gave no answer to a turn is not asked the next one, which may be about it.
        asked = [q for q in questions if len(q.turns) > turn == len(given[q.id])]
        requests = {q.id: _request(settings, q, given[q.id]) for q in asked}
        for done, _ in enumerate(who.ask_all(requests.values(), journal), start=1):
            context.progress(done, len(requests), "answers", f"turn {turn + 1}")
        for id_, request in requests.items():
            answer = journal.get(who.key(request))
            if answer is not None and answer.finish_reason != "content_filter" and answer.text.strip():
                given[id_].append(answer)
    return given


def _request(settings: AnswerQuestions, question: Question, given: list[Completion]) -> Request:
    """The next turn of a question, after the earlier ones and the model's own answers to them."""
    messages: list[Message] = [{"role": "system", "content": settings.system}] if settings.system else []
    for turn, answer in zip(question.turns, given):
        messages += [{"role": "user", "content": turn}, {"role": "assistant", "content": answer.text}]
    messages.append({"role": "user", "content": question.turns[len(given)]})
    options = {"temperature": settings.temperature(question.category), "max_tokens": settings.max_tokens}
    return Request(messages, options)


def _answered(question: Question, given: list[Completion]) -> Answered:
    return Answered(**vars(question), answers=[answer.text.strip() for answer in given])
