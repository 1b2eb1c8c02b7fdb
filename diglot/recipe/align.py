"""Settings of the stages that gather instructions and preferences."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from diglot.recipe.common import Count, Language, Name, Role, Settings, Share, Stage
from diglot.recipe.source import source_paths


class ChatSource(Settings):
    """Conversations or preference pairs in any of the common forms (OpenAI messages, Alpaca, ShareGPT, …)."""

    path: str | list[str] = Field(
        description="JSONL (.gz, .zst) or Parquet: files, folders, globs or URLs; relative to the working folder, or "
        "to the artifact in `from` where the stage has one."
    )
    language: Language = Field(
        description="Records that say in a field `language` that they are in another one are left out, and counted."
    )
    domain: str = "chat"
    limit: Count | None = None
    held_out_path: str | list[str] | None = Field(None, description="Use this as the held-out part as it is.")


class GatherInstructions(Stage):
    """Read instruction data in the common forms, check it, and write it as OpenAI messages."""

    makes: ClassVar[str] = "instructions"
    reads: ClassVar[dict[str, Role]] = {"text": Role(("text",), required=False)}
    function: ClassVar[str] = "diglot.align.instructions:run"
    position: ClassVar[int] = 40
    formerly: ClassVar[tuple[str, ...]] = ("gather-tasks",)

    do: Literal["gather-instructions"] = "gather-instructions"
    sources: dict[Name, ChatSource]
    held_out: Share = 0.02
    max_held_out: Count = 500
    max_characters: Count = Field(8000, description="Longer conversations are dropped and counted.")
    seed: int = 0

    def outside_paths(self) -> dict[tuple, str]:
        """The sources' paths."""
        return source_paths(self)


class GatherPreferences(Stage):
    """Read preference pairs in the common forms, check them, and write prompt, chosen and rejected messages."""

    makes: ClassVar[str] = "preferences"
    reads: ClassVar[dict[str, Role]] = {"text": Role(("text",), required=False)}
    function: ClassVar[str] = "diglot.align.preferences:run"
    position: ClassVar[int] = 41

    do: Literal["gather-preferences"] = "gather-preferences"
    sources: dict[Name, ChatSource]
    held_out: Share = 0.1
    max_held_out: Count = 500
    max_characters: Count = 8000
    seed: int = 0

    def outside_paths(self) -> dict[tuple, str]:
        """The sources' paths."""
        return source_paths(self)
