"""Settings of the stages that gather instructions and preferences."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from diglot.recipe.common import Count, Language, Name, Role, Seed, Share, Stage
from diglot.recipe.source import RawFiles, source_paths


class ChatSource(RawFiles):
    """Conversations or preference pairs in any of the common forms (OpenAI messages, Alpaca, ShareGPT, …)."""

    path: str | list[str] = Field(
        description="JSONL, CSV or TSV (.gz, .zst), Parquet or Arrow: files, folders, globs or URLs; relative to the working folder, or "
        "to the artifact in `from` where the stage has one."
    )
    language: Language = Field(
        description="Records that say in a field `language` that they are in another one are left out, and counted."
    )
    domain: str = Field("chat", description="A name for its kind of text, in summaries and in the report.")
    limit: Count | None = Field(None, description="Read at most this many records.")
    held_out_path: str | list[str] | None = Field(None, description="Use this as the held-out part as it is.")


class GatherInstructions(Stage):
    """Read instruction data in the common forms, check it, and write it as OpenAI messages."""

    makes: ClassVar[str] = "instructions"
    reads: ClassVar[dict[str, Role]] = {"text": Role(("text",), required=False)}
    function: ClassVar[str] = "diglot.align.instructions:run"
    position: ClassVar[int] = 40
    version: ClassVar[int] = 3
    formerly: ClassVar[tuple[str, ...]] = ("gather-tasks",)

    do: Literal["gather-instructions"] = "gather-instructions"
    sources: dict[Name, ChatSource] = Field(
        description="What to read, by name.", examples=["{chat: {path: my/alpaca.jsonl, language: en}}"]
    )
    held_out: Share = Field(
        0.02, description="Share of the conversations kept out of training, all of a prompt together."
    )
    max_held_out: Count = Field(500, description="At most this many held-out records a source.")
    max_characters: Count = Field(8000, description="Longer conversations are dropped and counted.")
    seed: Seed = 0

    def num_sources(self) -> int:
        """As many as are listed."""
        return len(self.sources)

    def outside_paths(self) -> dict[tuple, str]:
        """The sources' paths."""
        return source_paths(self)


class GatherPreferences(Stage):
    """Read preference pairs in the common forms, check them, and write prompt, chosen and rejected messages."""

    makes: ClassVar[str] = "preferences"
    reads: ClassVar[dict[str, Role]] = {"text": Role(("text",), required=False)}
    function: ClassVar[str] = "diglot.align.preferences:run"
    position: ClassVar[int] = 41
    version: ClassVar[int] = 3

    do: Literal["gather-preferences"] = "gather-preferences"
    sources: dict[Name, ChatSource] = Field(
        description="What to read, by name.", examples=["{pairs: {path: my/preferences.jsonl, language: en}}"]
    )
    held_out: Share = Field(0.1, description="Share of the pairs kept out of training, all of a prompt together.")
    max_held_out: Count = Field(500, description="At most this many held-out records a source.")
    max_characters: Count = Field(8000, description="Pairs with a longer conversation are dropped and counted.")
    seed: Seed = 0

    def num_sources(self) -> int:
        """As many as are listed."""
        return len(self.sources)

    def outside_paths(self) -> dict[tuple, str]:
        """The sources' paths."""
        return source_paths(self)
