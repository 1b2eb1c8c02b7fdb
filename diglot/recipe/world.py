"""Settings of the invented world."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from diglot.recipe.common import Count, Seed, Share, Stage


class World(Stage):
    """Generate a small invented world, with known truth, in English, Arabic and Indonesian."""

    makes: ClassVar[str] = "text"
    function: ClassVar[str] = "diglot.world.generate:run"
    position: ClassVar[int] = 10

    do: Literal["world"] = "world"
    seed: Seed = 0
    languages: list[Literal["en", "ar", "id"]] = Field(["en", "ar"], description="The first is the base language.")
    people: Count = Field(400, description="Invented people; texts tell facts of them, and items ask for these.")
    documents: dict[str, Count] = Field({"en": 12000, "ar": 12000}, description="Documents by language.")
    pairs: int = Field(12000, ge=0, description="Parallel sentences by pair of languages (base language, other).")
    instructions: int = Field(4000, ge=0, description="Instructions by language.")
    preferences: int = Field(1500, ge=0, description="Preference pairs by language.")
    items: int = Field(200, ge=0, description="Test items by task and language.")
    faults: Share = Field(0.15, description="Share of documents with a labelled fault.")

    def impossible(self) -> Iterator[tuple[str, str]]:
        """Numbers of people that there are no names for, languages twice or without documents."""
        if not 30 <= self.people <= 2000:
            yield "people", f"is {self.people}; the world holds 30 to 2000 people"
        if not self.languages:
            yield "languages", "is empty; it may hold en, ar and id"
        if len(set(self.languages)) != len(self.languages):
            yield "languages", f"is {self.languages}; each may come once"
        if missing := [language for language in self.languages if language not in self.documents]:
            yield "documents", f"says no number for {', '.join(missing)}"
        if extra := [language for language in self.documents if language not in self.languages]:
            yield "documents", f"has {', '.join(extra)}, which languages has not"
        if self.faults > 0.9:
            yield "faults", f"is {self.faults}; it is a share from 0 to 0.9"
