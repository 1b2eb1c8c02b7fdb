"""Who is compared in the arena: files of answers made before, or models that answer while people ask.

    ours=ours.jsonl theirs=theirs.jsonl                     files: every question that two have answered
    models/arabic peer=http://127.0.0.1:8000/v1#qwen        folders and servers: asked live

A file has a JSON object a line: `{"id", "language", "turns": [questions], "answers": [answers]}`, as many of one as of the
other; `prompt` and `answer` may stand for one turn. The same id in two files is the same question.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from diglot.base.errors import UserError
from diglot.base.files import read_lines
from diglot.base.format import excerpt
from diglot.recipe.endpoint import Endpoint

if TYPE_CHECKING:
    from diglot.endpoint.client import Client

FIX = "correct the file"
LANGUAGE = re.compile("[a-z]{2,3}(-[A-Za-z]+)?")
Message = dict[str, str]


@dataclass(frozen=True)
class Answered:
    """A question with an entrant's answers: turns of one conversation."""

    id: str
    language: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]


class Live(Protocol):
    """A model that answers while people ask."""

    def answer(self, messages: list[Message]) -> str:
        """The answer to a conversation whose last message is the user's."""


@dataclass(frozen=True)
class Entrants:
    """All of one arena, by name: files of answers, or models; one of the two is empty."""

    answered: dict[str, dict[str, Answered]]
    live: dict[str, Live]

    @property
    def names(self) -> list[str]:
        """In the order given."""
        return [*self.answered, *self.live]

    def languages(self) -> list[str]:
        """Of the questions that at least two have answered."""
        counts: dict[str, int] = {}
        language = {}
        for of in self.answered.values():
            for id_, answered in of.items():
                counts[id_], language[id_] = counts.get(id_, 0) + 1, answered.language
        return sorted({language[id_] for id_, count in counts.items() if count > 1})

    def pairs(self, language: str) -> list[tuple[str, tuple[str, str]]]:
        """Every question in a language, and pair of entrants who have answered it."""
        names = list(self.answered)
        return [
            (id_, (one, other))
            for place, one in enumerate(names)
            for other in names[place + 1 :]
            for id_, answered in self.answered[one].items()
            if answered.language == language and id_ in self.answered[other]
        ]

    def turns(self, question: str, sides: tuple[str, str]) -> list[dict[str, str]]:
        """What is shown of a question: both conversations turn by turn."""
        one, other = (self.answered[name][question] for name in sides)
        return [
            {"question": asked, "first": first, "second": second}
            for asked, first, second in zip(one.questions, one.answers, other.answers)
        ]


# --- reading them -----------------------------------------------------------------------------------------------


def read_entrants(
    named: Sequence[tuple[str, str]], key_variable: str, max_new_tokens: int, system: str | None
) -> Entrants:
    """Entrants from names and what they are: a file of answers (.jsonl), a model's folder, or a server as URL#MODEL.

    Args:
        named: as `split_name` gives them, with folders of models in place of runs.
        key_variable: of the environment, which holds the servers' key.
        max_new_tokens: of an answer given live.
        system: a system message for them.

    Raises:
        UserError: fewer than two, two of one name, files and models mixed, or one that cannot be used.
    """
    names = [name for name, _ in named]
    if len(named) < 2:
        raise UserError("an arena needs two or more to compare: files of answers, models, or addresses of servers")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"two are called {twice[0]!r}; name them: diglot arena one={named[0][1]} …")
    files = [where.endswith(".jsonl") for _, where in named]
    if any(files) and not all(files):
        raise UserError("files of answers and models that answer live cannot be mixed: make the models' answers first")
    if all(files):
        answered = {name: read_answers(Path(where)) for name, where in named}
        _check_same(answered)
        return Entrants(answered, {})
    return Entrants({}, {name: _live(where, key_variable, max_new_tokens, system) for name, where in named})


def split_name(text: str) -> tuple[str, str]:
    """`[NAME=]WHERE` apart; without a name it is that of the file, the folder or the server's model."""
    name, equals, where = text.partition("=")
    if equals and "/" not in name and ":" not in name:
        return name, where
    return Path(text.partition("#")[2] or text).name.removesuffix(".jsonl"), text


def read_answers(file: Path) -> dict[str, Answered]:
    """A file of answers, by the questions' ids.

    Raises:
        UserError: with file and line, for a missing file, a malformed line, or an id that comes twice.
    """
    found: dict[str, Answered] = {}
    for number, value in enumerate(read_lines(file, FIX), start=1):
        place = f"{file}:{number}"
        if not isinstance(value, dict):
            raise UserError(f"{place}: a line is an object with id, language, turns and answers; {FIX}")
        id_, language = str(value.get("id", number)), value.get("language")
        questions = _texts(value.get("turns", value.get("prompt")), f"{place}: turns")
        answers = _texts(value.get("answers", value.get("answer")), f"{place}: answers")
        if not isinstance(language, str) or not LANGUAGE.fullmatch(language):
            raise UserError(f"{place}: language: an ISO 639 code such as ar, not {language!r}; {FIX}")
        if len(questions) != len(answers):
            raise UserError(f"{place}: {len(questions)} turns and {len(answers)} answers; {FIX}")
        if id_ in found:
            raise UserError(f"{place}: the id {excerpt(id_, 40)!r} comes twice; {FIX}")
        found[id_] = Answered(id_, language, questions, answers)
    if not found:
        raise UserError(f"{file}: holds no answers; {FIX}")
    return found


def _texts(value: Any, place: str) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{place}: one or more texts, not {excerpt(repr(value), 60)}; {FIX}")
    return tuple(texts)


def _check_same(answered: dict[str, dict[str, Answered]]) -> None:
    """Whoever answers a question was asked the same.

    Raises:
        UserError: an id is another question in another file, or there is none that two have answered.
    """
    first: dict[str, tuple[str, Answered]] = {}
    for name, of in answered.items():
        for id_, own in of.items():
            other, asked = first.setdefault(id_, (name, own))
            if (own.questions, own.language) != (asked.questions, asked.language):
                raise UserError(
                    f"{name} and {other} were asked something else under the id {excerpt(id_, 40)!r}; {FIX}"
                )
    if not Entrants(answered, {}).languages():
        raise UserError("no question was answered by two of them: ids must be the same in the files")


# --- models that answer live ------------------------------------------------------------------------------------


def _live(where: str, key_variable: str, max_new_tokens: int, system: str | None) -> Live:
    if where.startswith(("http://", "https://")):
        url, _, model = where.partition("#")
        if not model:
            raise UserError(f"{where}: which of its models? name it behind #, such as http://127.0.0.1:8000/v1#qwen")
        return Server(Endpoint(url=url, model=model, key_variable=key_variable, retries=1), max_new_tokens, system)
    return Local(Path(where), max_new_tokens, system)


def _with_system(messages: list[Message], system: str | None) -> list[Message]:
    return [{"role": "system", "content": system}, *messages] if system else messages


class Server:
    """A model on an OpenAI-compatible server."""

    def __init__(self, endpoint: Endpoint, max_new_tokens: int, system: str | None) -> None:
        from diglot.endpoint.client import Client  # extra: translate

        self._client: Client = Client(endpoint)
        self._options, self._system = {"max_tokens": max_new_tokens}, system

    def answer(self, messages: list[Message]) -> str:
        """Ask the server; what it refuses is shown as an answer would be, without whose it is."""
        from diglot.endpoint.client import Refused  # extra: translate

        try:
            return self._client.complete(_with_system(messages, self._system), **self._options).text
        except Refused:
            return ""


class Local:
    """A model in a folder; answers one person after the other, with the likeliest tokens."""

    def __init__(self, folder: Path, max_new_tokens: int, system: str | None) -> None:
        # start-up: torch and transformers, for models of this machine alone
        from diglot.evaluate.language_model import LanguageModel

        self._model = LanguageModel.load(folder)
        _ = self._model.chat  # says so where there is no chat template
        self._tokens, self._system, self._lock = max_new_tokens, system, threading.Lock()

    def answer(self, messages: list[Message]) -> str:
        """Generate an answer."""
        ids, _ = self._model.encode_chat(_with_system(messages, self._system), add_generation_prompt=True)
        with self._lock:
            [generation] = self._model.generate([ids], self._tokens)
        return generation.text.strip()
