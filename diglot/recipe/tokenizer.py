"""Settings of the stages that train and extend tokenizers, and encode with them."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from diglot.recipe.common import Count, Language, Name, Role, Share, Stage


class TrainTokenizer(Stage):
    """Train a byte-fallback BPE tokenizer on a corpus (PolyLM 3.1: BPE, digits one by one, byte fallback)."""

    makes: ClassVar[str] = "tokenizer"
    reads: ClassVar[dict[str, Role]] = {"corpus": Role(("corpus",), many=True)}
    function: ClassVar[str] = "diglot.tokenizer.train:run"

    do: Literal["train-tokenizer"] = "train-tokenizer"
    vocabulary_size: Count = Field(
        256_000, description="All entries, specials and bytes included; PolyLM 3.1."
    )
    languages: list[Language] | None = Field(None, description="Train on these languages only.")
    alpha: Share = Field(0.3, description="Languages are sampled by share^alpha (XLM-R; PolyLM 3.1).")
    max_bytes: Count = Field(200_000_000, description="Size of the training sample.")
    seed: int = 0


class ExtendTokenizer(Stage):
    """Add a language to a tokenizer by continuing its merges, and prove that the base language is untouched."""

    makes: ClassVar[str] = "tokenizer"
    reads: ClassVar[dict[str, Role]] = {
        "tokenizer": Role(("tokenizer", "model")),
        "corpus": Role(("corpus",), many=True),
    }
    function: ClassVar[str] = "diglot.tokenizer.extend:run"

    do: Literal["extend-tokenizer"] = "extend-tokenizer"
    languages: list[Language] = Field(description="The new languages.")
    new_tokens: Count
    max_bytes: Count = 200_000_000
    seed: int = 0


class Encode(Stage):
    """Encode text, tasks and preferences into memory-mapped token shards."""

    makes: ClassVar[str] = "tokens"
    reads: ClassVar[dict[str, Role]] = {
        "tokenizer": Role(("tokenizer", "model")),
        "corpus": Role(("corpus",), required=False, many=True),
        "tasks": Role(("tasks",), required=False, many=True),
        "preferences": Role(("preferences",), required=False, many=True),
    }
    function: ClassVar[str] = "diglot.tokens.encode:run"

    do: Literal["encode"] = "encode"
    sources: list[Name] | None = Field(None, description="Encode these sources only.")
