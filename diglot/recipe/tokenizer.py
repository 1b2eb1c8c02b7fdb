"""Settings of the stages that train and extend tokenizers, and encode with them."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from diglot.recipe.common import Count, Language, Role, Seed, Share, Stage

ParallelText = dict[Language, str]


class TrainTokenizer(Stage):
    """Train a BPE tokenizer on a corpus (PolyLM 3.1: BPE, digits one by one, byte fallback)."""

    makes: ClassVar[str] = "tokenizer"
    reads: ClassVar[dict[str, Role]] = {"corpus": Role(("corpus",), many=True)}
    function: ClassVar[str] = "diglot.tokenizer.train:run"
    position: ClassVar[int] = 50
    version: ClassVar[int] = 4
    renamed: ClassVar[dict[str, str]] = {"form": "kind"}

    do: Literal["train-tokenizer"] = "train-tokenizer"
    kind: Literal["byte-fallback", "byte-level"] = Field(
        "byte-fallback",
        description="byte-fallback: characters, rare ones as bytes (PolyLM, Llama-2); byte-level: bytes alone (Llama-3, Qwen).",
    )
    vocabulary_size: Count = Field(256_000, description="All entries, specials and bytes included; PolyLM 3.1.")
    languages: list[Language] | None = Field(None, description="Train on these languages only.", examples=["[ar, id]"])
    balance: Literal["power", "unimax"] = Field(
        "power",
        description="power: languages by share^alpha; unimax: all alike, none read more than max_repeats times.",
    )
    alpha: Share = Field(0.3, description="With power: share^alpha (XLM-R; PolyLM 3.1).")
    max_repeats: Count = Field(4, description="With unimax: a language is read at most so often (UniMax 3).")
    parity: ParallelText | None = Field(
        None,
        description="Parallel text by language, FILE or FILE:FIELD; each merge then goes to the language that needs most tokens for it.",
        examples=["{en: flores/en.txt, ar: flores/ar.txt}"],
    )
    max_bytes: Count = Field(200_000_000, description="Size of the training sample.")
    seed: Seed = 0

    def outside_paths(self) -> dict[tuple, str]:
        """The parallel text."""
        return {("parity", key): path.rpartition(":")[0] or path for key, path in (self.parity or {}).items()}


class ExtendTokenizer(Stage):
    """Add languages to a tokenizer by continuing its merges, and prove that the base language is untouched."""

    makes: ClassVar[str] = "tokenizer"
    reads: ClassVar[dict[str, Role]] = {
        "tokenizer": Role(("tokenizer", "model")),
        "corpus": Role(("corpus",), many=True),
    }
    function: ClassVar[str] = "diglot.tokenizer.extend:run"
    foresees: ClassVar[str | None] = "diglot.tokenizer.foresee:extension"
    position: ClassVar[int] = 51
    version: ClassVar[int] = 5

    in_example: ClassVar[frozenset[str]] = frozenset({"new_tokens"})

    do: Literal["extend-tokenizer"] = "extend-tokenizer"
    languages: list[Language] = Field(description="The new languages.", examples=["[ar, th]"])
    new_tokens: Count | None = Field(
        None, description="How many; with minimum_gain, how many at most.", examples=["16000"]
    )
    minimum_gain: Share | None = Field(
        None, description="Stop where another 1,000 tokens lower fertility by less than this share, such as 0.01."
    )
    chat: Literal["keep", "diglot"] = Field(
        "keep", description="keep: the base's own chat format, ours where it has none; diglot: ours in any case."
    )
    max_bytes: Count = Field(200_000_000, description="Size of the sample of each side, new languages and base.")
    seed: Seed = 0

    @model_validator(mode="after")
    def _says_how_many(self) -> ExtendTokenizer:
        if self.new_tokens is None and self.minimum_gain is None:
            raise ValueError("say how many tokens to add: new_tokens, minimum_gain, or both")
        return self
