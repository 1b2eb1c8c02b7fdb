"""Who is compared in the arena: files of answers made before, or models that answer while people ask.

    ours=ours.jsonl theirs=theirs.jsonl                     files: every question that two have answered
    models/arabic peer=http://127.0.0.1:8000/v1#qwen        folders and servers: asked live

Files are as answer-questions writes them (read/answers.py). The same id in two files is the same question.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from diglot.base.errors import UserError
from diglot.base.format import excerpt
from diglot.read.answers import Answered, read_answers
from diglot.recipe.endpoint import Endpoint

if TYPE_CHECKING:
    from diglot.endpoint.client import Client

FIX = "correct the file"
Message = dict[str, str]


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
            for asked, first, second in zip(one.turns, one.answers, other.answers)
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
        answered = {name: {each.id: each for each in read_answers(Path(where))} for name, where in named}
        _check_same(answered)
        return Entrants(answered, {})
    return Entrants({}, {name: _live(where, key_variable, max_new_tokens, system) for name, where in named})


def split_name(text: str) -> tuple[str, str]:
    """`[NAME=]WHERE` apart; without a name it is that of the file, the folder or the server's model."""
    name, equals, where = text.partition("=")
    if equals and "/" not in name and ":" not in name:
        return name, where
    return Path(text.partition("#")[2] or text).name.removesuffix(".jsonl"), text


def _check_same(answered: dict[str, dict[str, Answered]]) -> None:
    """Whoever answers a question was asked the same.

    Raises:
        UserError: an id is another question in another file, or there is none that two have answered.
    """
    first: dict[str, tuple[str, Answered]] = {}
    for name, of in answered.items():
        for id_, own in of.items():
            other, asked = first.setdefault(id_, (name, own))
            if (own.turns, own.language) != (asked.turns, asked.language):
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
