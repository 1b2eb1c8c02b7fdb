"""The words in which people ask for what `make-instructions` makes (requests.yaml), in several languages."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import yaml

from diglot.align.material import Material
from diglot.align.messages import Refused
from diglot.base.errors import UserError
from diglot.base.randomness import key_hash
from diglot.recipe.align import MadeSource
from diglot.text.languages import NAMES, base_code

FILE = Path(__file__).with_name("requests.yaml")


class Request(NamedTuple):
    """The words of a request, the language that they are in, and its name for the answer's language."""

    words: str
    language: str
    target: str


class Requests:
    """All words.

    Attributes:
        words: by kind and language.
    """

    def __init__(self, words: dict[str, dict[str, list[str]]], names: dict[str, dict[str, str]]):
        self.words, self._names = words, names

    def check(self, name: str, source: MadeSource) -> None:
        """Refuse a source that nobody here can ask for.

        Raises:
            UserError: there are no words in a language.
        """
        known = self.words[source.kind]
        if source.asked_in is None and source.kind == "translation":
            return  # the other side's language may have words
        for language in source.asked_in or [source.language]:
            if base_code(language) not in known:
                raise UserError(
                    f"source {name!r}: no requests of kind {source.kind} in {language}; set asked_in to some of "
                    f"{', '.join(known)}"
                )

    def draw(self, source: MadeSource, material: Material, key: str) -> Request:
        """The words for one text.

        Raises:
            Refused: no_request, where no language of a pair has words, or a name for the other.
        """
        sides = [material.language, source.language] if source.kind == "translation" else [source.language]
        known = self.words[source.kind]
        languages = [base_code(language) for language in source.asked_in or sides]
        usable = [one for one in dict.fromkeys(languages) if one in known and self._name(one, source.language)]
        if not usable:
            raise Refused("no_request", f"none in {', '.join(languages)} that asks for {source.language}")
        language = usable[key_hash(f"{key}/language") % len(usable)]
        words = known[language][key_hash(f"{key}/words") % len(known[language])]
        return Request(words, language, self._name(language, source.language))

    def _name(self, language: str, target: str) -> str:
        """What a language calls another; empty where that is not known."""
        code = base_code(target)
        return (NAMES if language == "en" else self._names[language]).get(code, "")


def load_requests() -> Requests:
    """The words that come with the package."""
    content = yaml.safe_load(FILE.read_text("utf-8"))
    return Requests(content["requests"], content["languages"])
