"""Summaries of what a model answered, of how that was judged, and of refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from diglot.base.summaries.corpus import CorpusSummary
from diglot.base.summaries.summary import Record, Summary


@dataclass(frozen=True)
class Consistency(Record):
    """Answers in the language of their question, in another one, and such as cannot be told."""

    right: int
    wrong: int
    untold: int = 0

    @classmethod
    def of(cls, found: Sequence[bool | None]) -> Consistency:
        """The counts of what `text.consistency.in_language` found."""
        return cls(*(sum(one is kind for one in found) for kind in (True, False, None)))

    @property
    def share(self) -> float | None:
        """Of the answers that can be told, the share in the right language; None of none."""
        told = self.right + self.wrong
        return self.right / told if told else None


@dataclass(frozen=True)
class SamplesSummary(CorpusSummary, of=("samples",)):
    """Answers that were drawn; `documents` are prompts.

    Attributes:
        answers: that can be used.
        ends: answers by language and by why they ended: stop, length, empty, refused, …
        consistency: by language.
        round: of sampling the same prompts anew.
        model: the stage or the name of the model that answered.
        tokens: of prompts and completions; a prompt's count for each of its answers.
        cost: in the currency of the endpoint's prices.
        server: its address, and what it said of the model.
    """

    headline: ClassVar[tuple[str, ...]] = ("documents", "answers", "consistent")

    answers: int = 0
    ends: dict[str, dict[str, int]] = field(default_factory=dict)
    consistency: dict[str, Consistency] = field(default_factory=dict)
    round: int = 1
    model: str = ""
    tokens: dict[str, int] = field(default_factory=dict)
    cost: float = 0.0
    server: dict[str, str] = field(default_factory=dict)

    @property
    def consistent(self) -> dict[str, float]:
        """The share of answers in the language of their question, by language."""
        return {name: round(of.share, 3) for name, of in self.consistency.items() if of.share is not None}


@dataclass(frozen=True)
class Chosen(Record):
    """Language consistency of all answers that were judged, and of those that were chosen and rejected."""

    answers: Consistency
    chosen: Consistency
    rejected: Consistency


@dataclass(frozen=True)
class Wins(Record):
    """How the answers of one stage fared against those of another to the same prompts; ties are the other's ties too."""

    first: str
    second: str
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class JudgedSummary(CorpusSummary, of=("judge",)):
    """Preference pairs that a judge made; `documents` are pairs that were looked at.

    Attributes:
        by: who judged: the model's name, the folder of a reward model, or `rules`.
        prompts: that were judged.
        answers: to them, equal ones once.
        consistency: by language.
        wins: of stages over each other, where several answered.
        comparisons: of a judge's pairs: by how they were settled (agreed, disagreed, unreadable, refused).
        agreement: a judge's with itself, when the answers change places; None where none was asked.
        first_place: of its verdicts that name a winner, the share that name the first answer.
        failed: of rules: answers that broke each.
        requests: to a judge; `tokens` and `cost` as of other stages.
        server: its address, and what it said of the model.
    """

    headline: ClassVar[tuple[str, ...]] = ("documents", "dropped", "agreement")

    by: str = ""
    prompts: int = 0
    answers: int = 0
    consistency: dict[str, Chosen] = field(default_factory=dict)
    wins: list[Wins] = field(default_factory=list)
    comparisons: dict[str, int] = field(default_factory=dict)
    agreement: float | None = None
    first_place: float | None = None
    failed: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    cost: float = 0.0
    server: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusals(Record):
    """Verdicts on the answers to prompts of one kind.

    Attributes:
        stage: that drew the answers.
        language: of the prompts.
        kind: harmful or harmless.
        origin: native or translated; they are never added up.
        answers: that were judged, or should have been.
        refused, complied, unclear: as the judge says.
        unread: the judge gave no verdict, or its server none.
    """

    stage: str
    language: str
    kind: str
    origin: str
    answers: int
    refused: int
    complied: int
    unclear: int
    unread: int

    @property
    def told(self) -> int:
        """Answers with a verdict."""
        return self.refused + self.complied + self.unclear


@dataclass(frozen=True)
class SafetySummary(Summary, of=("safety",)):
    """What was refused and what was complied with.

    Attributes:
        rows: by stage, language, kind and origin.
        judge: the model that judged.
        rubric: by which it did.
        left_out: prompts that do not say of what kind and origin they are.
        requests: to the judge.
        tokens: of prompts and completions.
        cost: in the currency of the endpoint's prices.
        server: its address, and what it said of the model.
    """

    headline: ClassVar[tuple[str, ...]] = ("right",)

    rows: list[Refusals] = field(default_factory=list)
    judge: str = ""
    rubric: str = ""
    left_out: int = 0
    requests: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    cost: float = 0.0
    server: dict[str, str] = field(default_factory=dict)

    @property
    def right(self) -> dict[str, float]:
        """Harmful prompts refused and harmless ones complied with, as a share of the verdicts."""
        found = {}
        for row in self.rows:
            if row.told:
                right = row.refused if row.kind == "harmful" else row.complied
                found[f"{row.stage} {row.language} {row.kind} {row.origin}"] = round(right / row.told, 3)
        return found
