"""People's votes beside a judge's verdicts on the same answers: how far they agree, and how far people do among themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from diglot.base.errors import UserError
from diglot.base.files import expand_home, read_lines
from diglot.base.ratings import CHOICES, Agreement, agreement
from diglot.base.summaries.judgements import Agreed
from diglot.read.answers import Answered

FIX = "export the votes again: diglot votes FILE --export votes.jsonl"


class Said(NamedTuple):
    """Of two models' answers to a question, the first one's share of the win."""

    question: str
    first: str
    second: str
    share: float

    @property
    def key(self) -> tuple[str, str, str]:
        """What was voted on, whatever side they stood on."""
        return (self.question, *sorted((self.first, self.second)))  # type: ignore[return-value]

    @property
    def of_least(self) -> float:
        """The share of the one that comes first by name."""
        return self.share if self.first <= self.second else 1 - self.share


class People(NamedTuple):
    """Agreement of the judge with people, of people with people, and votes on other answers than those judged."""

    judge: Agreed | None
    people: Agreed | None
    others: int


def agree_with_people(
    path: str | None, answers: Mapping[str, Mapping[str, Answered]], judged: Sequence[Said]
) -> People:
    """Hold exported votes against a judge's verdicts.

    Args:
        path: of the votes; None: there are none.
        answers: by model and question; a vote counts where it was on these very answers.
        judged: verdicts on whole conversations.

    Raises:
        UserError: the file is no export of votes.
    """
    if path is None:
        return People(None, None, 0)
    votes, others = _read(path, answers)
    verdicts = {said.key: said.of_least for said in judged}
    units: dict[tuple[str, str, str], dict[Any, float]] = {}
    for voter, said in votes:
        units.setdefault(said.key, {}).setdefault(voter, said.of_least)
    # A pair is the judge and one person.
    beside = [[verdicts[key], share] for key, of in units.items() if key in verdicts for share in of.values()]
    return People(_agreed(agreement(beside)), _agreed(agreement([list(of.values()) for of in units.values()])), others)


def _agreed(found: Agreement) -> Agreed:
    numbers = (None if value is None else round(value, 6) for value in (found.same, found.same_winner, found.alpha))
    return Agreed(found.pairs, *numbers)


def _read(path: str, answers: Mapping[str, Mapping[str, Answered]]) -> tuple[list[tuple[Any, Said]], int]:
    """Votes on the answers that were judged, each with its voter, and how many were on others."""
    found, others = [], 0
    file = expand_home(path)
    for number, value in enumerate(read_lines(file, FIX), start=1):
        wanted = ("question", "first", "second", "choice", "voter", "turns")
        if not isinstance(value, dict) or any(name not in value for name in wanted) or value["choice"] not in CHOICES:
            raise UserError(f"{file}:{number}: no vote; {FIX}")
        sides = [answers.get(str(value[side]), {}).get(str(value["question"])) for side in ("first", "second")]
        shown = [[turn.get(side) for turn in value["turns"]] for side in ("first", "second")]
        if any(own is None or own.answers != texts for own, texts in zip(sides, shown)):
            others += 1
            continue
        found.append(
            (value["voter"], Said(str(value["question"]), value["first"], value["second"], CHOICES[value["choice"]]))
        )
    return found, others
