"""What is judged: answers to one prompt, of one stage or of several, and what a judge says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from diglot.align.gather import digest
from diglot.align.messages import Message
from diglot.base.artifact import Artifact
from diglot.base.files import read_lines
from diglot.endpoint.judging import Outcome


class Answer(NamedTuple):
    """An answer: its text, why it ended, and the stages that gave it."""

    text: str
    finish_reason: str
    stages: tuple[str, ...]


@dataclass
class Candidates:
    """The answers to one prompt in one epoch, equal ones once.

    Attributes:
        key: a hash of the prompt's messages.
        id, source, language: of the first stage that has it.
        prompt: in OpenAI's form.
        answers: in the order of the stages.
        given: how many there were, equal ones too.
        scores: what the judge gives each, the higher the better; empty until then.
        failed: the rules that each answer breaks, where rules judge.
        outcomes: by the places of two answers, the first being the lower one, where a model judges.
    """

    key: str
    id: str
    source: str
    language: str
    prompt: list[Message]
    answers: list[Answer]
    given: int = 0
    scores: list[float] = field(default_factory=list)
    failed: list[list[str]] = field(default_factory=list)
    outcomes: dict[tuple[int, int], Outcome] = field(default_factory=dict)

    def add(self, text: str, finish_reason: str, stage: str) -> None:
        """Add an answer of a stage; one that is there already is that of both."""
        self.given += 1
        for place, answer in enumerate(self.answers):
            if answer.text == text:
                if stage not in answer.stages:
                    self.answers[place] = answer._replace(stages=(*answer.stages, stage))
                return
        self.answers.append(Answer(text, finish_reason, (stage,)))

    def better(self, first: int, second: int) -> int:
        """1 where the first of two answers is better, -1 where the second is, 0 for a tie: as said of these two."""
        low, high = min(first, second), max(first, second)
        if (low, high) in self.outcomes:
            sign = {"first": 1, "second": -1, "tie": 0}[self.outcomes[low, high].winner]
            return sign if first == low else -sign
        return (self.scores[first] > self.scores[second]) - (self.scores[first] < self.scores[second])


def read_candidates(samples: Sequence[Artifact]) -> list[Candidates]:
    """The answers of all artifacts by prompt and epoch, in the order in which prompts first come."""
    found: dict[tuple[str, int], Candidates] = {}
    for artifact in samples:
        for row in read_lines(artifact.file("samples.jsonl")):
            key = digest(row["prompt"]).hex()
            one = found.setdefault(
                (key, row["epoch"]), Candidates(key, row["id"], row["source"], row["language"], row["prompt"], [])
            )
            for answer in row["answers"]:
                one.add(answer["text"], answer["finish_reason"], artifact.stage)
    return list(found.values())
