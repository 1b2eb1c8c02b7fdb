"""The stage `judge`: answers to the same prompts are ranked, and become preference pairs.

    train.jsonl, heldout.jsonl   {"id", "source", "language", "prompt": […], "chosen": […], "rejected": […]}
    ledger.json                  pairs looked at = kept + held out + dropped, by source
    verdicts.jsonl               every prompt with its answers, their scores, the rules they break, a judge's verdicts

The form is that of gather-preferences. A source is called STAGE-SOURCE, so that the pairs of two rounds may be mixed. A pair
is dropped as

    one_answer      nothing to compare it with
    no_difference   all answers are equal, word for word
    all_bad         rules: even the best answer breaks one, and is nothing to be learnt
    tie             neither is better; of a judge also: not twice the same verdict
    unreadable      a judge's server refused, or said nothing that is a verdict, of all pairs of the prompt

and for what gather-preferences drops (too_long, …). The held-out prompts are drawn by what they say: the same in every round.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from diglot.align.gather import drop, line_of, size_of
from diglot.align.messages import Message, Refused, check_conversation
from diglot.answers.candidates import Candidates, read_candidates
from diglot.answers.reward import judge_by_reward
from diglot.answers.rules import judge_by_rules
from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import expand_home, write_json, write_lines
from diglot.base.ledger import SourceLedger
from diglot.base.randomness import key_hash, uniform
from diglot.base.summaries.answers import Chosen, Consistency, JudgedSummary, Wins
from diglot.base.summaries.corpus import CorpusSummary
from diglot.endpoint.client import Client, Journal
from diglot.endpoint.judging import OPTIONS, Outcome, agreement, compare, settle
from diglot.recipe.answers import Judge
from diglot.text.consistency import in_language
from diglot.tokenizer.thoughts import answer_of


class Pair(NamedTuple):
    """Two answers of one prompt, by their places: the better one, and the other; or why there is no pair."""

    candidates: Candidates
    chosen: int
    rejected: int
    reason: str = ""


def run(settings: Judge, inputs: Inputs, output: Path, context: Context) -> JudgedSummary:
    """Rank answers, and write pairs.

    Raises:
        UserError: the judge cannot be used, a limit is reached, or there is no pair.
    """
    candidates = read_candidates(inputs.many("samples"))
    facts = _judge(settings, candidates, context)
    pairs = [pair for one in candidates for pair in choose_pairs(settings, one)]
    ledgers = _write(settings, pairs, output, context)
    write_lines(output / "verdicts.jsonl", map(_verdict, candidates))
    counts = CorpusSummary.of_ledgers(ledgers)
    outcomes = [outcome for one in candidates for outcome in one.outcomes.values()]
    found = agreement(outcomes)
    return JudgedSummary(
        **{name: getattr(counts, name) for name in ("documents", "dropped", "languages", "sources")},
        prompts=len({one.key for one in candidates}),
        answers=sum(len(one.answers) for one in candidates),
        consistency=_consistency(candidates, pairs),
        wins=_wins(candidates, [artifact.stage for artifact in inputs.many("samples")]),
        comparisons=found.pairs,
        agreement=None if found.agreed is None else round(found.agreed, 6),
        first_place=None if found.first_place is None else round(found.first_place, 6),
        failed=dict(Counter(rule for one in candidates for failed in one.failed for rule in failed).most_common()),
        **facts,
    )


# --- who judges -----------------------------------------------------------------------------------------------


def _judge(settings: Judge, candidates: list[Candidates], context: Context) -> dict[str, Any]:
    """Give all answers their scores; what the summary says of the judge."""
    if settings.rules is not None:
        judge_by_rules(settings.rules, candidates)
        return {"by": "rules"}
    if settings.reward_model is not None:
        folder = expand_home(settings.reward_model)
        context.progress(0, None, "", "loading the reward model")
        judge_by_reward(
            folder, settings.batch_size, candidates, lambda done, total: context.progress(done, total, "answers")
        )
        return {"by": folder.name}
    return _ask(settings, candidates, context)


def _ask(settings: Judge, candidates: list[Candidates], context: Context) -> dict[str, Any]:
    """Let a model compare every two answers to a prompt, in both orders."""
    assert settings.endpoint is not None
    options = {**OPTIONS, "max_tokens": settings.max_tokens}
    asked = {
        (number, first, second): compare(
            one.prompt, one.answers[first].text, one.answers[second].text, rubric=settings.rubric, options=options
        )
        for number, one in enumerate(candidates)
        for first, second in itertools.combinations(range(len(one.answers)), 2)
    }
    with (
        Journal(context.scratch / "verdicts.jsonl") as journal,
        Client(settings.endpoint, settings.max_cost, settings.max_total_tokens) as client,
    ):
        requests = [request for both in asked.values() for request in both]
        missing = client.num_missing(requests, journal)
        for done, _ in enumerate(client.ask_all(requests, journal), 1):
            context.progress(done, missing, "verdicts", settings.endpoint.model)
        for (number, first, second), both in asked.items():
            outcome = settle(*(journal.get(client.key(request)) for request in both))
            candidates[number].outcomes[first, second] = outcome
        tokens = {"prompt": journal.prompt_tokens, "completion": journal.completion_tokens}
        facts = {"requests": len(journal), "tokens": tokens, "cost": round(client.cost(*tokens.values()), 6)}
        server = client.served()
    for one in candidates:
        one.scores = _points(one)
    return {"by": settings.endpoint.model, "server": server, **facts}


def _points(one: Candidates) -> list[float]:
    """A point for every answer that an answer beats, half a point for a tie."""
    points = [0.0] * len(one.answers)
    for (first, second), outcome in one.outcomes.items():
        points[first] += {"first": 1.0, "second": 0.0, "tie": 0.5}[outcome.winner]
        points[second] += {"first": 0.0, "second": 1.0, "tie": 0.5}[outcome.winner]
    return points


# --- pairs ----------------------------------------------------------------------------------------------------


def choose_pairs(settings: Judge, one: Candidates) -> Iterator[Pair]:
    """The pairs of a prompt, or the one reason why it has none."""
    if len(one.answers) < 2:
        yield Pair(one, 0, 0, "no_difference" if one.given > 1 else "one_answer")
        return
    if one.outcomes and all(outcome.how in ("refused", "unreadable") for outcome in one.outcomes.values()):
        yield Pair(one, 0, 0, "unreadable")
        return
    if settings.rules is not None and all(one.failed):
        yield Pair(one, 0, 0, "all_bad")
        return
    places = range(len(one.answers))
    if settings.pairs == "all":
        both = list(itertools.combinations(places, 2))
    else:  # of equals the first: which one that is says nothing, as answers come in no order of merit
        best = max(places, key=lambda place: (one.scores[place], -place))
        both = [(best, min(places, key=lambda place: (one.scores[place], place)))]
    for first, second in both:
        sign = one.better(first, second)
        if abs(one.scores[first] - one.scores[second]) <= settings.min_margin and settings.reward_model:
            sign = 0
        chosen, rejected = (first, second) if sign >= 0 else (second, first)
        reason = "tie" if sign == 0 else ""
        if settings.rules is not None and sign and one.failed[chosen]:
            reason = "all_bad"
        yield Pair(one, chosen, rejected, reason)


def _write(settings: Judge, pairs: list[Pair], output: Path, context: Context) -> dict[str, SourceLedger]:
    """Write the pairs, some prompts' held out, and count them.

    Raises:
        UserError: there is none to train on.
    """
    ledgers: dict[str, SourceLedger] = {}
    chosen_out = _held_out(settings, pairs, f"{context.seed}/{settings.seed}")
    numbers: Counter[tuple[str, str]] = Counter()
    with (
        (output / "train.jsonl").open("w", encoding="utf-8", newline="\n") as train,
        (output / "heldout.jsonl").open("w", encoding="utf-8", newline="\n") as heldout,
    ):
        for pair in pairs:
            one, source = pair.candidates, f"{context.name}-{pair.candidates.source}"
            ledger = ledgers.setdefault(source, SourceLedger(one.language, "chat", origin="made"))
            fields = {
                "prompt": one.prompt,
                "chosen": _answer(pair, pair.chosen),
                "rejected": _answer(pair, pair.rejected),
            }
            size = size_of(fields)
            ledger.read.add(*size)
            numbers[source, one.id] += 1
            number = numbers[source, one.id]
            id_ = f"{one.id}#{number}" if number > 1 else one.id
            try:
                _check(pair, fields, settings.max_characters)
            except Refused as refused:
                drop(ledger, refused, size, id_, "\n".join(message["content"] for message in fields["chosen"]))
                continue
            line = line_of({"id": id_, "source": source, "language": one.language, **fields}) + "\n"
            is_held_out = one.key in chosen_out
            (ledger.held_out if is_held_out else ledger.kept).add(*size)
            (heldout if is_held_out else train).write(line)
    for name, ledger in ledgers.items():
        ledger.check(name)
    if not any(ledger.kept.documents for ledger in ledgers.values()):
        reasons = Counter({why: n.documents for each in ledgers.values() for why, n in each.dropped.items()})
        told = ", ".join(f"{count:,} {why}" for why, count in reasons.most_common(3)) or "all are held out"
        raise UserError(
            f"{context.name}: no pair to train on among {len(pairs):,}: {told}; draw more answers, at a higher temperature, or "
            "judge by something else"
        )
    write_json(output / "ledger.json", {"sources": {name: ledger.as_json() for name, ledger in ledgers.items()}})
    return ledgers


def _answer(pair: Pair, place: int) -> list[Message]:
    return [{"role": "assistant", "content": pair.candidates.answers[place].text}]


def _check(pair: Pair, fields: dict[str, list[Message]], max_characters: int) -> None:
    """Refuse what is no pair, or cannot be trained on.

    Raises:
        Refused: with the reason for the ledger.
    """
    if pair.reason:
        scores = ", ".join(f"{score:g}" for score in pair.candidates.scores)
        raise Refused(pair.reason, f"scores {scores}" if scores else "")
    for key in ("chosen", "rejected"):
        check_conversation(fields["prompt"] + fields[key], max_characters)


def _held_out(settings: Judge, pairs: list[Pair], seed: str) -> set[str]:
    """The prompts that are held out: those whose hash says so, and of each source no more pairs than are allowed.

    Not the first of a ranking, which would change with the pairs that a round happens to have.
    """
    prompts: dict[str, Counter[str]] = {}
    for pair in pairs:
        key = pair.candidates.key
        if not pair.reason and uniform(f"{seed}/held-out/{key}") < settings.held_out:
            prompts.setdefault(pair.candidates.source, Counter())[key] += 1
    found: set[str] = set()
    for each in prompts.values():
        room = settings.max_held_out
        for key in sorted(each, key=lambda key: key_hash(f"{seed}/held-out/rank/{key}")):
            if each[key] <= room:
                found.add(key)
                room -= each[key]
    return found


# --- what is said of it ---------------------------------------------------------------------------------------


def _verdict(one: Candidates) -> dict[str, Any]:
    """A line of verdicts.jsonl."""
    answers = []
    for place, answer in enumerate(one.answers):
        row: dict[str, Any] = {"text": answer.text, "stages": list(answer.stages)}
        if one.scores:
            row["score"] = round(one.scores[place], 6)
        if one.failed:
            row["failed"] = one.failed[place]
        answers.append(row)
    header = {"id": one.id, "source": one.source, "language": one.language, "prompt": one.prompt, "answers": answers}
    return {**header, "pairs": [_compared(places, outcome) for places, outcome in one.outcomes.items()]}


def _compared(places: tuple[int, int], outcome: Outcome) -> dict[str, Any]:
    return {"answers": list(places), **outcome._asdict()}


def _consistency(candidates: list[Candidates], pairs: list[Pair]) -> dict[str, Chosen]:
    """Language consistency by language: of all answers, of the chosen and of the rejected ones."""
    found: dict[str, tuple[list[Any], list[Any], list[Any]]] = {}
    for one in candidates:
        rows = found.setdefault(one.language, ([], [], []))
        rows[0].extend((one, place) for place in range(len(one.answers)))
    for pair in pairs:
        if not pair.reason:
            rows = found[pair.candidates.language]
            rows[1].append((pair.candidates, pair.chosen))
            rows[2].append((pair.candidates, pair.rejected))

    def counts(language: str, places: list[Any]) -> Consistency:
        answers = [answer_of(one.answers[place].text) for one, place in places]
        return Consistency.of(in_language(answers, language, [one.prompt[-1]["content"] for one, _ in places]))

    return {name: Chosen(*(counts(name, places) for places in rows)) for name, rows in sorted(found.items())}


def _wins(candidates: list[Candidates], stages: list[str]) -> list[Wins]:
    """How the answers of every two stages fared against each other; an answer that both gave is a tie."""
    found = []
    for first, second in itertools.combinations(stages, 2):
        signs: Counter[int] = Counter()
        for one in candidates:
            for mine, theirs in itertools.product(range(len(one.answers)), repeat=2):
                if first in one.answers[mine].stages and second in one.answers[theirs].stages:
                    signs[0 if mine == theirs else one.better(mine, theirs)] += 1
        found.append(Wins(first, second, signs[1], signs[0], signs[-1]))
    return found
