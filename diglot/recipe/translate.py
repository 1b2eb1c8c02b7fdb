"""Settings of the stages that translate, and that make parallel documents."""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from diglot.recipe.common import Count, Language, Name, Role, Seed, Share, Stage
from diglot.recipe.endpoint import NEUTRAL, Endpoint
from diglot.recipe.source import Source, source_paths


class Translating(Stage):
    """What all stages that translate through an endpoint share.

    Attributes:
        in_prompt: the fields that a prompt may have beside {text}, which it must have.
    """

    not_in_fingerprint: ClassVar[frozenset[str]] = NEUTRAL - {"max_total_tokens"}
    told: ClassVar[tuple[str, ...]] = ("endpoint.url",)
    extra: ClassVar[str | None] = "translate"
    in_prompt: ClassVar[tuple[str, ...]] = ("source_language", "target_language")

    endpoint: Endpoint = Field(description="The server that translates.")
    target_language: Language = Field(description="Translate into this language.", examples=["ar"])
    prompt: str = Field(
        "Translate this text from {source_language} to {target_language}. Answer with the translation only.\n\n{text}",
        description="With {source_language}, {target_language} and {text}.",
    )
    max_tokens: Count = Field(2048, description="Tokens of an answer at most.")
    temperature: Annotated[float, Field(ge=0)] = Field(0.0, description="Of sampling; 0: the likeliest answer.")
    language_confidence: Share = Field(0.6, description="Answers identified as another language are dropped.")
    max_cost: Annotated[float, Field(ge=0)] | None = Field(None, description="Stop, with an error, beyond this.")

    def impossible(self) -> Iterator[tuple[str, str]]:
        """A prompt without the text, or with fields that nothing fills."""
        try:
            names = {name for _, name, _, _ in string.Formatter().parse(self.prompt) if name is not None}
        except ValueError as error:
            yield "prompt", f"{error}; write {{{{ and }}}} for braces that are meant"
            return
        if names - {*self.in_prompt, "text"} or "text" not in names:
            has = ", ".join(f"{{{name}}}" for name in sorted(names)) or "no fields"
            may = " and ".join(f"{{{name}}}" for name in self.in_prompt)
            yield (
                "prompt",
                f"has {has}; {{text}} must be in it, {may} may be, and no others ({{{{ and }}}} for braces that are meant)",
            )


class Translate(Translating):
    """Translate a corpus, paragraph by paragraph, through an endpoint (ALLaM: half of its Arabic is translated)."""

    makes: ClassVar[str] = "text"
    reads: ClassVar[dict[str, Role]] = {"corpus": Role(("corpus",))}
    function: ClassVar[str] = "diglot.translate.stage:run"
    position: ClassVar[int] = 30

    do: Literal["translate"] = "translate"
    sources: list[Name] | None = Field(
        None, description="Translate these sources of the corpus only.", examples=["[wiki, news]"]
    )
    documents: Count | None = Field(None, description="At most this many of each source.")
    max_characters: Count = Field(2000, description="Longer paragraphs are cut at the ends of sentences.")


class MakeParallel(Stage):
    """Build parallel documents from sentence pairs, to train on as text (PolyLM 3.1; ALLaM: parallel data)."""

    makes: ClassVar[str] = "text"
    reads: ClassVar[dict[str, Role]] = {"text": Role(("text",), required=False)}
    function: ClassVar[str] = "diglot.translate.pairs:run"
    position: ClassVar[int] = 31
    version: ClassVar[int] = 2

    do: Literal["make-parallel"] = "make-parallel"
    sources: dict[Name, Source] = Field(
        description="Pairs: `language`, `target_language`, and the two text fields.",
        examples=["{pairs: {path: my/pairs.jsonl, language: en, target_language: ar, text: src, target_text: tgt}}"],
    )
    group: str | None = Field("doc", description="The field by which pairs belong to a document; unknown ones: alone.")
    characters: Count = Field(2000, description="Pairs are joined up to about this length of a document.")
    form: Literal["lines", "blocks", "mixed"] = Field(
        "mixed", description="Sentence by sentence, or all of one language and then the other; mixed: half of each."
    )
    seed: Seed = 0

    def outside_paths(self) -> dict[tuple, str]:
        """The sources' paths."""
        return source_paths(self)
