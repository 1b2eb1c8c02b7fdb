"""The stage `judge-answers`: a judge scores every answer from 1 to 10, and compares models two by two in both orders.

    scores.jsonl   {"model", "id", "language", "category", "turn", "score", "verdict"}: what the judge wrote, and the score in it
    pairs.jsonl    {"first", "second", "id", "language", "category", "turn", "winner", "how", "forward", "backward"}

A turn is scored in the conversation that it ends (FastChat's llm_judge: single-v1 and single-v1-multi-turn); with the
reference answer where the category has one that is due. Of a pair the judge sees both conversations up to the turn. What it does
not say in both orders is a tie. Judgements without one score are in no mean, and counted.

With people's votes on the same answers, the stage says how far judge and people agree beside how far people do. A vote is on whole
conversations, so it is held against the verdict of the last turn.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import expand_home, write_lines
from diglot.base.intervals import jackknife_error
from diglot.base.summaries.judgements import JudgedPair, JudgementsSummary, Scored
from diglot.endpoint.client import Client, Journal, Request
from diglot.endpoint.judging import (
    OPTIONS,
    SCORES,
    Outcome,
    agreement,
    classify,
    compare,
    read_verdict,
    rubric_text,
    settle,
)
from diglot.questions.people import Said, agree_with_people
from diglot.read.answers import Answered, read_answers
from diglot.recipe.questions import JudgeAnswers

ALL = "all"  # turns together
LATER = (
    " Both answers go on with later messages of the same user; judge the last answer of each, in what came before it."
)
SHARES = {"first": 1.0, "second": 0.0, "tie": 0.5}
Answers = dict[str, dict[str, Answered]]  # by model and question


class ScoreAsked(NamedTuple):
    """A turn of a model's that is to be scored."""

    model: str
    answered: Answered
    turn: int
    request: Request


class PairAsked(NamedTuple):
    """A turn of two models that is to be compared, in both orders."""

    first: str
    second: str
    answered: Answered
    turn: int
    requests: tuple[Request, Request]


def run(settings: JudgeAnswers, inputs: Inputs, output: Path, context: Context) -> JudgementsSummary:
    """Let the judge score and compare, and write what it said.

    Raises:
        UserError: there are no answers, files are malformed, the endpoint cannot be used, or a limit is reached.
    """
    answers = _read(settings, inputs)
    singles = list(_singles(settings, answers))
    pairs = list(_pairs(settings, answers))
    requests = [single.request for single in singles] + [request for pair in pairs for request in pair.requests]
    with (
        Journal(context.scratch / "judgements.jsonl") as journal,
        Client(settings.endpoint, settings.max_cost, settings.max_total_tokens) as client,
    ):
        for done, _ in enumerate(client.ask_all(requests, journal), start=1):
            context.progress(done, len(requests), "judgements")
        said = {id(request): journal.get(client.key(request)) for request in requests}
        tokens = {"prompt": journal.prompt_tokens, "completion": journal.completion_tokens}
        cost, server = round(client.cost(*tokens.values()), 6), client.served()
    scored = [(single, read_verdict(said[id(single.request)], SCORES), said[id(single.request)]) for single in singles]
    outcomes = [(pair, settle(*(said[id(request)] for request in pair.requests))) for pair in pairs]
    write_lines(output / "scores.jsonl", (_score_row(*each) for each in scored))
    write_lines(output / "pairs.jsonl", (_pair_row(*each) for each in outcomes))
    rows = [(single, float(score)) for single, score, _ in scored if score is not None]
    itself = agreement(outcome for _, outcome in outcomes)
    people = agree_with_people(settings.votes, answers, list(_last_turns(outcomes)))
    return JudgementsSummary(
        scores={model: _by_language(rows, model) for model in answers},
        categories={model: _by_category(rows, model) for model in answers},
        unreadable=dict(Counter(single.model for single, score, _ in scored if score is None)),
        pairs=_counted(outcomes),
        settled=itself.pairs,
        itself=itself.agreed,
        first_place=itself.first_place,
        people=people.judge,
        among_people=people.people,
        votes_of_others=people.others,
        tokens=tokens,
        cost=cost,
        judge=settings.endpoint.model,
        server=server,
    )


def _read(settings: JudgeAnswers, inputs: Inputs) -> Answers:
    """The answers of all models, those of this run first."""
    files = {artifact.stage: artifact.file("answers.jsonl") for artifact in inputs.many("answers")}
    if both := sorted(files.keys() & settings.files):
        raise UserError(f"files: {both[0]!r} is a stage of `from` too; call the file's model something else")
    files |= {name: expand_home(path) for name, path in settings.files.items()}
    if not files:
        raise UserError("nothing to judge: give stages of answer-questions in `from`, or files")
    found = {name: {answered.id: answered for answered in read_answers(file)} for name, file in files.items()}
    # The same id must be the same question, or models would be compared on different ones.
    asked: dict[str, tuple[str, Answered]] = {}
    for name, of in found.items():
        for id_, answered in of.items():
            other, first = asked.setdefault(id_, (name, answered))
            if answered.turns != first.turns:
                raise UserError(f"{name} and {other} were asked something else under the id {id_!r}")
    return found


# --- what is asked ----------------------------------------------------------------------------------------------


def _singles(settings: JudgeAnswers, answers: Answers) -> Iterator[ScoreAsked]:
    for model, of in answers.items():
        for answered in of.values():
            for turn, answer in enumerate(answered.answers):
                request = classify(
                    _conversation(answered, turn),
                    answer,
                    SCORES,
                    rubric=settings.score_rubric,
                    reference=_reference(settings, answered, turn),
                    options={**OPTIONS, "max_tokens": settings.max_tokens},
                )
                yield ScoreAsked(model, answered, turn, request)


def _pairs(settings: JudgeAnswers, answers: Answers) -> Iterator[PairAsked]:
    names = list(answers)
    couples = {"none": [], "first": [(names[0], other) for other in names[1:]], "all": list(combinations(names, 2))}
    for first, second in couples[settings.pairs]:
        for id_ in answers[first]:
            if id_ not in answers[second]:
                continue
            one, other = answers[first][id_], answers[second][id_]
            for turn in range(len(one.turns)):
                requests = compare(
                    [{"role": "user", "content": one.turns[0]}],
                    _so_far(one, turn),
                    _so_far(other, turn),
                    rubric=rubric_text(settings.pair_rubric) + (LATER if turn else ""),
                    reference=_reference(settings, one, turn),
                    options={**OPTIONS, "max_tokens": settings.max_tokens},
                )
                yield PairAsked(first, second, one, turn, requests)


def _conversation(answered: Answered, turn: int) -> list[dict[str, str]]:
    """What was said before the answer of a turn."""
    messages = []
    for question, answer in zip(answered.turns[:turn], answered.answers):
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return [*messages, {"role": "user", "content": answered.turns[turn]}]


def _so_far(answered: Answered, turn: int) -> str:
    """One side of a pair: the first answer, and what followed it up to the turn."""
    parts = [answered.answers[0]]
    for question, answer in zip(answered.turns[1 : turn + 1], answered.answers[1:]):
        parts.append(f"[user]\n{question}\n\n[assistant]\n{answer}")
    return "\n\n".join(parts)


def _reference(settings: JudgeAnswers, answered: Answered, turn: int) -> str | None:
    due = answered.category in settings.reference_categories and answered.references
    return answered.references[turn] if due else None


# --- what came of it --------------------------------------------------------------------------------------------


def _score_row(single: ScoreAsked, score: str | None, said: Any) -> dict[str, Any]:
    of = single.answered
    about = {
        "model": single.model,
        "id": of.id,
        "language": of.language,
        "category": of.category,
        "turn": single.turn + 1,
    }
    return {**about, "score": int(score) if score else None, "verdict": said.text if said else None}


def _pair_row(pair: PairAsked, outcome: Outcome) -> dict[str, Any]:
    of = pair.answered
    about = {"first": pair.first, "second": pair.second, "id": of.id, "language": of.language, "category": of.category}
    return {**about, "turn": pair.turn + 1, **outcome._asdict()}


def _mean(scores: Sequence[tuple[str, float]]) -> Scored:
    """The mean of scores with the question of each: turns of one question depend on each other, and fall out together."""
    whole, count = math.fsum(score for _, score in scores), len(scores)
    by_question: dict[str, list[float]] = {}
    for id_, score in scores:
        by_question.setdefault(id_, []).append(score)
    without = [(whole - math.fsum(own)) / (count - len(own)) for own in by_question.values() if count > len(own)]
    error = jackknife_error(without)
    return Scored(round(whole / count, 6), None if error is None else round(error, 6), count)


def _by_language(rows: Sequence[tuple[ScoreAsked, float]], model: str) -> dict[str, dict[str, Scored]]:
    """A model's means by language and turn, and of all turns."""
    found: dict[str, dict[str, list[tuple[str, float]]]] = {}
    for single, score in rows:
        if single.model == model:
            of = found.setdefault(single.answered.language, {})
            for turn in (str(single.turn + 1), ALL):
                of.setdefault(turn, []).append((single.answered.id, score))
    return {language: {turn: _mean(scores) for turn, scores in sorted(of.items())} for language, of in found.items()}


def _by_category(rows: Sequence[tuple[ScoreAsked, float]], model: str) -> dict[str, dict[str, Scored]]:
    found: dict[str, dict[str, list[tuple[str, float]]]] = {}
    for single, score in rows:
        if single.model == model:
            of = found.setdefault(single.answered.language, {})
            of.setdefault(single.answered.category, []).append((single.answered.id, score))
    return {language: {category: _mean(scores) for category, scores in of.items()} for language, of in found.items()}


def _counted(outcomes: Sequence[tuple[PairAsked, Outcome]]) -> list[JudgedPair]:
    """Wins, losses and ties of each two models, by language."""
    found: dict[tuple[str, str, str], Counter[str]] = {}
    for pair, outcome in outcomes:
        found.setdefault((pair.first, pair.second, pair.answered.language), Counter())[outcome.winner] += 1
    return [JudgedPair(*key, counts["first"], counts["second"], counts["tie"]) for key, counts in found.items()]


def _last_turns(outcomes: Sequence[tuple[PairAsked, Outcome]]) -> Iterator[Said]:
    """What the judge says of whole conversations, where it could be read in both orders."""
    for pair, outcome in outcomes:
        if pair.turn == len(pair.answered.turns) - 1 and outcome.how in ("agreed", "disagreed"):
            yield Said(pair.answered.id, pair.first, pair.second, SHARES[outcome.winner])
