"""The stage `sample`: several answers of a model to each prompt, of a model of this run or of one behind an endpoint.

    samples.jsonl   {"id", "source", "language", "epoch", "prompt": [messages], "answers": [{"text", "finish_reason"}, …]}
                    and the prompt's "kind" and "origin", where it has them
    ledger.json     prompts read = kept + dropped, by source

Prompts come first, in the order of the inputs; every epoch goes through all of them. An answer's random numbers hang on the
recipe's and the stage's seed, the round, the epoch, the prompt's words and the answer's number, and on nothing else. Every
answer is journalled as it comes; a run that was killed asks for what is missing, and ends with the same bytes.

Empty answers, and those that a server refuses, are counted and left out; a prompt without any other is dropped (`no_answer`).
Answers that were cut off are kept, and say so: judges look at that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diglot.align.gather import drop, encodable, refuse_empty, strings
from diglot.align.messages import Refused
from diglot.answers.draw import Sampler
from diglot.answers.prompts import Prompt, read_prompts
from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.base.files import write_json, write_lines
from diglot.base.ledger import SourceLedger
from diglot.base.randomness import key_hash
from diglot.base.summaries.answers import Consistency, SamplesSummary
from diglot.base.summaries.corpus import CorpusSummary
from diglot.endpoint.client import Client, Completion, Journal, Request
from diglot.evaluate.language_model import LanguageModel
from diglot.recipe.answers import Sample
from diglot.text.consistency import in_language
from diglot.tokenizer.thoughts import answer_of

SEEDS = 2**31  # servers take a seed of 31 bits


@dataclass(frozen=True)
class Wanted:
    """An answer that is to be drawn: which one of which prompt, and what its random numbers hang on."""

    prompt: Prompt
    epoch: int
    number: int
    key: str


@dataclass
class Counted:
    """What came of the answers.

    Attributes:
        ends: by language and by why they ended; `empty` and `refused` ones too.
        asked: by language, the questions and the answers to them.
        answered: keys of the prompts with an answer that can be used.
    """

    ends: dict[str, Counter[str]] = field(default_factory=dict)
    asked: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)

    def add(self, prompt: Prompt, answer: Completion | None) -> dict[str, str] | None:
        """Count an answer; what is written of it, if it can be used."""
        refused = answer is None or answer.finish_reason == "content_filter"
        # Half of a surrogate pair can be spelt in JSON, and not be written down.
        text = "" if answer is None or refused else encodable(answer.text).strip()
        why = "refused" if answer is None or refused else answer.finish_reason if text else "empty"
        self.ends.setdefault(prompt.language, Counter())[why] += 1
        if not text or answer is None:
            return None
        self.answered.add(prompt.key)
        questions, answers = self.asked.setdefault(prompt.language, ([], []))
        questions.append(prompt.messages[-1]["content"])
        answers.append(answer_of(text))
        return {"text": text, "finish_reason": answer.finish_reason}

    def consistency(self) -> dict[str, Consistency]:
        """How many answers are in the language of their question, by language."""
        found = {language: in_language(answers, language, asked) for language, (asked, answers) in self.asked.items()}
        return {language: Consistency.of(each) for language, each in sorted(found.items())}


def run(settings: Sample, inputs: Inputs, output: Path, context: Context) -> SamplesSummary:
    """Draw answers.

    Raises:
        UserError: there are no prompts, the model has no chat format, the endpoint cannot be used, or a limit is reached.
    """
    prompts, ledgers = read_prompts(settings, inputs, context)
    if not prompts:
        for name, ledger in ledgers.items():
            refuse_empty(name, ledger)
        raise UserError(f"{context.name}: there are no prompts in what it reads")
    with Journal(context.scratch / "answers.jsonl") as journal:
        if settings.endpoint is not None:
            keys, facts = _ask(settings, prompts, journal, context)
        else:
            keys, facts = _draw(settings, prompts, ledgers, inputs, journal, context)
        counted = Counted()
        rows = list(_rows(settings, prompts, keys, journal, counted))
    _count(prompts, counted.answered, ledgers)
    write_lines(output / "samples.jsonl", rows)
    write_json(output / "ledger.json", {"sources": {name: ledger.as_json() for name, ledger in ledgers.items()}})
    counts = CorpusSummary.of_ledgers(ledgers)
    return SamplesSummary(
        **{name: getattr(counts, name) for name in ("documents", "dropped", "languages", "sources")},
        answers=sum(len(row["answers"]) for row in rows),
        ends={language: dict(each.most_common()) for language, each in sorted(counted.ends.items())},
        consistency=counted.consistency(),
        round=settings.round,
        **facts,
    )


def _wanted(settings: Sample, prompts: list[Prompt], context: Context) -> Iterator[Wanted]:
    """All answers, in the order in which they are written."""
    start = f"{context.seed}/{settings.seed}/sample/{settings.round}"
    for epoch in range(1, settings.epochs + 1):
        for prompt in prompts:
            for number in range(1, settings.answers + 1):
                yield Wanted(prompt, epoch, number, f"{start}/{epoch}/{prompt.key}/{number}")


# --- who answers ----------------------------------------------------------------------------------------------


def _ask(
    settings: Sample, prompts: list[Prompt], journal: Journal, context: Context
) -> tuple[dict[tuple[str, int, int], str], dict[str, Any]]:
    """Let a server answer: the keys of all answers in the journal, and what the summary says of the server."""
    assert settings.endpoint is not None
    options = {"max_tokens": settings.max_new_tokens, "temperature": settings.temperature, "top_p": settings.top_p}
    with Client(settings.endpoint, settings.max_cost, settings.max_total_tokens) as client:
        keys, requests = {}, []
        for one in _wanted(settings, prompts, context):
            # Two answers of one prompt differ by their seeds; by their number too, should two seeds be equal.
            seeded = {**options, "seed": key_hash(one.key) % SEEDS}
            requests.append(Request(one.prompt.messages, seeded, attempt=one.number))
            keys[one.prompt.key, one.epoch, one.number] = client.key(requests[-1])
        missing = client.num_missing(requests, journal)
        for done, _ in enumerate(client.ask_all(requests, journal), 1):
            context.progress(done, missing, "answers", settings.endpoint.model)
        tokens = {"prompt": journal.prompt_tokens, "completion": journal.completion_tokens}
        facts = {
            "model": settings.endpoint.model,
            "tokens": tokens,
            "cost": round(client.cost(*tokens.values()), 6),
            "server": client.served(),
        }
    return keys, facts


def _draw(
    settings: Sample,
    prompts: list[Prompt],
    ledgers: dict[str, SourceLedger],
    inputs: Inputs,
    journal: Journal,
    context: Context,
) -> tuple[dict[tuple[str, int, int], str], dict[str, Any]]:
    """Answer in process: the same as `_ask`. Prompts that leave no room for an answer are dropped."""
    artifact = inputs.one("model")
    context.progress(0, None, "", "loading the model")
    model = LanguageModel.load(artifact.path)
    if not model.follows_masks:
        raise UserError(
            f"{artifact.stage}: its family cannot answer prompts of different lengths in one batch (recurrent states, or positions "
            "that lie in the mask); serve it with `diglot serve` and name it as `endpoint` instead of `model`"
        )
    sampler = Sampler(model, settings.temperature, settings.top_p, settings.max_new_tokens)
    if sampler.room < 1:
        raise UserError(
            f"max_new_tokens: {settings.max_new_tokens} leaves no room for a prompt: {artifact.stage} can attend to "
            f"{model.max_length} tokens; lower it"
        )
    contexts = {p.key: model.encode_chat(p.messages, add_generation_prompt=True)[0] for p in prompts}
    for prompt in [prompt for prompt in prompts if len(contexts[prompt.key]) > sampler.room]:
        detail = f"{len(contexts[prompt.key])} tokens, and max_new_tokens leaves {sampler.room}"
        drop(
            ledgers[prompt.source],
            Refused("too_long", detail),
            prompt.size,
            prompt.id,
            "\n".join(strings(prompt.messages)),
        )
        prompts.remove(prompt)
    wanted = list(_wanted(settings, prompts, context))
    keys = {(one.prompt.key, one.epoch, one.number): f"{key_hash(one.key):032x}" for one in wanted}
    # Neighbours in length share a batch. The order hangs on the prompts alone: after a kill the batches are the same.
    order = sorted(wanted, key=lambda one: (-len(contexts[one.prompt.key]), one.prompt.key, one.epoch, one.number))
    for start in range(0, len(order), settings.batch_size):
        batch = order[start : start + settings.batch_size]
        places = [keys[one.prompt.key, one.epoch, one.number] for one in batch]
        if any(place not in journal for place in places):
            distinct = list(dict.fromkeys(one.prompt.key for one in batch))
            owners = [distinct.index(one.prompt.key) for one in batch]
            drawn = sampler.draw([contexts[key] for key in distinct], owners, [one.key for one in batch])
            for one, place, answer in zip(batch, places, drawn, strict=True):
                if place not in journal:
                    length = len(contexts[one.prompt.key])
                    journal.add(place, Completion(answer.text, length, answer.tokens, answer.finish_reason))
        context.progress(start + len(batch), len(order), "answers")
    tokens = {"prompt": journal.prompt_tokens, "completion": journal.completion_tokens}
    return keys, {"model": artifact.stage, "tokens": tokens}


# --- writing --------------------------------------------------------------------------------------------------


def _rows(
    settings: Sample, prompts: list[Prompt], keys: dict[tuple[str, int, int], str], journal: Journal, counted: Counted
) -> Iterator[dict[str, Any]]:
    """The lines of samples.jsonl: of every prompt, in every epoch, that has an answer."""
    for epoch in range(1, settings.epochs + 1):
        for prompt in prompts:
            found = [journal.get(keys[prompt.key, epoch, number]) for number in range(1, settings.answers + 1)]
            answers = [written for answer in found if (written := counted.add(prompt, answer)) is not None]
            if not answers:
                continue
            id_ = prompt.id if epoch == 1 else f"{prompt.id}#{epoch}"
            header = {"id": id_, "source": prompt.source, "language": prompt.language, "epoch": epoch}
            yield {**header, **prompt.about, "prompt": prompt.messages, "answers": answers}


def _count(prompts: list[Prompt], answered: set[str], ledgers: dict[str, SourceLedger]) -> None:
    """Count prompts as kept or without an answer."""
    for prompt in prompts:
        if prompt.key in answered:
            ledgers[prompt.source].kept.add(*prompt.size)
        else:
            refused = Refused("no_answer", "all its answers are empty or refused")
            drop(ledgers[prompt.source], refused, prompt.size, prompt.id, "\n".join(strings(prompt.messages)))
    for name, ledger in ledgers.items():
        ledger.check(name)
