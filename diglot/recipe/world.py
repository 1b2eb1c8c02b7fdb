"""Settings of the invented world."""

from __future__ import annotations

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
