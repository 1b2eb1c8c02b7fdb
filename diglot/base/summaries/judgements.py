"""Summaries of answers to questions of several turns, and of what a judge says of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from diglot.base.summaries.summary import Record, Summary


@dataclass(frozen=True)
class AnswersSummary(Summary, of=("answers",)):
    """Questions answered whole, by language; `failed`: those of which a turn was refused, and `cut_off` answers.

    Attributes:
        tokens: of prompts and answers.
        model, server: who answered.
    """

    headline = ("questions", "failed")

    questions: dict[str, int]
    failed: dict[str, int]
    cut_off: int
    tokens: dict[str, int]
    cost: float
    model: str
    server: dict[str, str] = field(default_factory=dict)

    def warnings(self) -> list[str]:
        """Questions that a comparison will lack."""
        return [f"{count} questions in {language} were not answered whole" for language, count in self.failed.items()]


@dataclass(frozen=True)
class Scored(Record):
    """A mean of scores from 1 to 10, its standard error over questions (None of a single one), and how many there are."""

    mean: float
    standard_error: float | None
    scores: int


@dataclass(frozen=True)
class JudgedPair(Record):
    """How a judge compares two models: pairs by who won and by how both orders were settled."""

    first: str
    second: str
    language: str
    wins: int
    losses: int
    ties: int


@dataclass(frozen=True)
class Agreed(Record):
    """How far two say the same of the same two answers; see `base/ratings.py`."""

    pairs: int
    same: float | None
    same_winner: float | None
    alpha: float | None


@dataclass(frozen=True)
class JudgementsSummary(Summary, of=("judgements",)):
    """MT-bench's numbers.

    Attributes:
        scores: by model, by language, by turn (`1`, `2`, … and `all`).
        categories: by model, by language, by category, over all turns.
        unreadable: by model, judgements without one score, which no mean holds.
        pairs: of models; ties of all kinds are in `settled`.
        settled: pairs by how both orders were settled: agreed, disagreed, unreadable, refused.
        itself: of pairs with a verdict in both orders, the share with the same one twice.
        first_place: of verdicts that name a winner, the share that name the first answer.
        people: the judge and people; `among_people`: people and people.
        votes_of_others: votes on answers that were not judged here.
        judge, server: who judged.
    """

    headline = ("means", "itself")

    scores: dict[str, dict[str, dict[str, Scored]]]
    categories: dict[str, dict[str, dict[str, Scored]]]
    unreadable: dict[str, int]
    pairs: list[JudgedPair]
    settled: dict[str, int]
    itself: float | None
    first_place: float | None
    people: Agreed | None
    among_people: Agreed | None
    votes_of_others: int
    tokens: dict[str, int]
    cost: float
    judge: str
    server: dict[str, str] = field(default_factory=dict)

    @property
    def means(self) -> dict[str, float]:
        """Of each model, the mean over languages of all turns."""
        return {
            model: round(sum(of["all"].mean for of in by_language.values()) / len(by_language), 2)
            for model, by_language in self.scores.items()
            if by_language
        }

    def warnings(self) -> list[str]:
        """Judgements that say nothing."""
        return [f"{count} judgements of {model} could not be read" for model, count in self.unreadable.items() if count]
