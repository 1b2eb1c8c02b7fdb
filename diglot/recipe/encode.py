"""Settings of encoding."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from diglot.recipe.common import Name, Role, Stage


class Encode(Stage):
    """Encode text, instructions and preferences into memory-mapped token shards."""

    makes: ClassVar[str] = "tokens"
    reads: ClassVar[dict[str, Role]] = {
        "tokenizer": Role(("tokenizer", "model")),
        "corpus": Role(("corpus",), required=False, many=True),
        "instructions": Role(("instructions",), required=False, many=True),
        "preferences": Role(("preferences",), required=False, many=True),
    }
    function: ClassVar[str] = "diglot.encode.stage:run"
    position: ClassVar[int] = 60
    version: ClassVar[int] = 2

    renamed: ClassVar[dict[str, str]] = {"tasks": "instructions"}

    do: Literal["encode"] = "encode"
    sources: list[Name] | None = Field(None, description="Encode these sources only.")
    keep: list[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]] = Field(
        [],
        description="Columns of the corpus to keep beside the tokens of text, for `document_weights` of training.",
        examples=["[cluster_size]"],
    )
