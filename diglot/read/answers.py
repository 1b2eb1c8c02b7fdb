"""Questions of several turns in MT-bench's form, and models' answers to them, as they are judged and shown in the arena.

{"question_id": 101, "category": "math", "turns": ["…", "…"], "reference": ["…", "…"]}            a question
{"id": "ar/101", "language": "ar", "category": "math", "turns": […], "answers": […], "references": […]}   its answers
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diglot.base.errors import UserError
from diglot.base.files import expand_home, read_lines
from diglot.base.format import excerpt

FIX = "correct the file"
NO_CATEGORY = "other"
LANGUAGE = re.compile("[a-z]{2,3}(-[A-Za-z]+)?")


@dataclass(frozen=True)
class Question:
    """A question; its id has the language before it, since translations share ids. References: none, or one a turn."""

    id: str
    language: str
    category: str
    turns: list[str]
    references: list[str]


@dataclass(frozen=True)
class Answered(Question):
    """A question with a model's answers, one a turn."""

    answers: list[str]

    def as_json(self) -> dict[str, Any]:
        """A line of answers.jsonl."""
        return asdict(self)


def read_questions(language: str, path: str, limit: int | None) -> list[Question]:
    """The questions of a file.

    Raises:
        UserError: with file and line, for a missing file, a malformed line, or an id that comes twice.
    """
    found: dict[str, Question] = {}
    for place, value in _objects(expand_home(path)):
        id_ = f"{language}/{value.get('question_id', value.get('id', place.rsplit(':', 1)[1]))}"
        turns = _texts(value.get("turns"), f"{place}: turns")
        references = _texts(value.get("reference") or [], f"{place}: reference")
        if len(references) not in (0, len(turns)):
            raise UserError(f"{place}: {len(turns)} turns and {len(references)} reference answers; {FIX}")
        if id_ in found:
            raise UserError(f"{place}: the question_id {id_.partition('/')[2]!r} comes twice; {FIX}")
        found[id_] = Question(id_, language, str(value.get("category") or NO_CATEGORY), turns, references)
    if not found:
        raise UserError(f"{path}: holds no questions")
    return list(found.values())[:limit]


def read_answers(file: Path) -> list[Answered]:
    """The answers in a file, as `as_json` gives them; `prompt` and `answer` may stand for one turn.

    Raises:
        UserError: with file and line, for a missing file or a malformed line.
    """
    found = []
    for place, value in _objects(file):
        turns = _texts(value.get("turns", value.get("prompt")), f"{place}: turns")
        answers = _texts(value.get("answers", value.get("answer")), f"{place}: answers")
        references = _texts(value.get("references") or [], f"{place}: references")
        language = value.get("language")
        if not isinstance(language, str) or not LANGUAGE.fullmatch(language):
            raise UserError(f"{place}: language: an ISO 639 code such as ar, not {excerpt(repr(language), 40)}; {FIX}")
        if len(answers) != len(turns) or len(references) not in (0, len(turns)):
            raise UserError(
                f"{place}: {len(turns)} turns, {len(answers)} answers and {len(references)} references; {FIX}"
            )
        id_ = str(value.get("id", place.rsplit(":", 1)[1]))
        category = str(value.get("category") or NO_CATEGORY)
        found.append(Answered(id_, language, category, turns, references, answers))
    if not found:
        raise UserError(f"{file}: holds no answers")
    if len({answered.id for answered in found}) < len(found):
        raise UserError(f"{file}: an id comes twice; {FIX}")
    return found


def _objects(file: Path) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for number, value in enumerate(read_lines(file, FIX), start=1):
        if not isinstance(value, dict):
            raise UserError(f"{file}:{number}: a line is a JSON object, not {excerpt(repr(value), 40)}; {FIX}")
        found.append((f"{file}:{number}", value))
    return found


def _texts(value: Any, place: str) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{place}: a list of texts, not {excerpt(repr(value), 60)}; {FIX}")
    if not texts and not place.endswith(("reference", "references")):
        raise UserError(f"{place}: at least one text; {FIX}")
    return texts
