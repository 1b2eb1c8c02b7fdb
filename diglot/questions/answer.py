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
from diglot.read.answers import Answered, Question, read_questions
from diglot.recipe.questions import AnswerQuestions

Message = dict[str, str]


def run(settings: AnswerQuestions, inputs: Inputs, output: Path, context: Context) -> AnswersSummary:
    """Put the questions to the model and write its answers.

    Raises:
        UserError: a file of questions is malformed, the endpoint cannot be used, a limit is reached, or nothing was answered.
    """
    questions = [
        question
        for language, path in settings.questions.items()
        for question in read_questions(language, path, settings.limit)
    ]
    given: dict[str, list[Completion]] = {question.id: [] for question in questions}
    with (
        Journal(context.scratch / "answers.jsonl") as journal,
        Client(settings.endpoint, settings.max_cost, settings.max_total_tokens) as client,
    ):
        for turn in range(max(len(question.turns) for question in questions)):
            # Who gave no answer to a turn is not asked the next one, which may be about it.
            asked = [q for q in questions if len(q.turns) > turn == len(given[q.id])]
            requests = {q.id: _request(settings, q, given[q.id]) for q in asked}
            for done, _ in enumerate(client.ask_all(requests.values(), journal), start=1):
                context.progress(done, len(requests), "answers", f"turn {turn + 1}")
            for id_, request in requests.items():
                answer = journal.get(client.key(request))
                if answer is not None and answer.finish_reason != "content_filter" and answer.text.strip():
                    given[id_].append(answer)
        tokens = {"prompt": journal.prompt_tokens, "completion": journal.completion_tokens}
        cost, server = round(client.cost(*tokens.values()), 6), client.served()
    whole = [question for question in questions if len(given[question.id]) == len(question.turns)]
    if not whole:
        raise UserError(
            f"{settings.endpoint.model} answered no question whole; look at the server, or at the questions"
        )
    write_lines(output / "answers.jsonl", (_answered(q, given[q.id]).as_json() for q in whole))
    read, answered = (Counter(question.language for question in some) for some in (questions, whole))
    return AnswersSummary(
        questions=dict(answered),
        failed={language: count - answered[language] for language, count in read.items() if count > answered[language]},
        cut_off=sum(answer.finish_reason == "length" for question in whole for answer in given[question.id]),
        tokens=tokens,
        cost=cost,
        model=settings.endpoint.model,
        server=server,
    )


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
