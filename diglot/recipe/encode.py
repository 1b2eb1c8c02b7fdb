"""Settings of encoding."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from diglot.recipe.common import Column, Count, Name, Role, Stage


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
    foresees: ClassVar[str | None] = "diglot.tokenizer.foresee:encoding"
    position: ClassVar[int] = 60
    version: ClassVar[int] = 7

    renamed: ClassVar[dict[str, str]] = {"tasks": "instructions"}

    do: Literal["encode"] = "encode"
    sources: list[Name] | None = Field(None, description="Encode these sources only.", examples=["[english, arabic]"])
    document_start: str | None = Field(
        None,
        description="The token before every document of text; without it the tokenizer's beginning of text.",
        examples=["<|endoftext|>"],
    )
    document_end: str | None = Field(
        None,
        description="The token behind every document of text; without it the tokenizer's end of text.",
        examples=["<|endoftext|>"],
    )
    keep: list[Column] = Field(
        [],
        description="Columns of the corpus to keep beside the tokens of text, for `document_weights` of training.",
        examples=["[cluster_size]"],
    )
    conversation_tokens: Count | None = Field(
        None, description="Tokens of a conversation at most: the `sequence_length` of the training that reads them."
    )
    pair_tokens: Count | None = Field(
        None, description="Tokens of a preference pair at most, both conversations together: they share a row."
    )
    conversation_loss: Literal["all", "last", "marked"] = Field(
        "all",
        description="Which answers of a conversation are to be predicted. all: every one but those marked as not to be learnt "
        "(`train: false` or `weight: 0` on the message), as TRL's assistant_only_loss; last: the last one; marked: those marked as "
        "to be learnt (`train: true`, `weight: 1`).",
    )
    pair_loss: Literal["all", "last"] = Field(
        "all",
        description="Which assistant messages of a pair's two answers are to be predicted, where they have several. The "
        "prompt's never are.",
    )
    too_long: Literal["split", "cut", "refuse"] = Field(
        "split",
        description="Of conversations and pairs beyond that. split: by turns, each piece with the system message; of "
        "pairs the oldest turns go; cut: at the end; refuse: left out. What one turn makes too long is left out.",
    )

    @model_validator(mode="after")
    def _a_length_to_fit(self) -> Encode:
        if self.too_long != "split" and self.conversation_tokens is None and self.pair_tokens is None:
            raise ValueError("too_long would do nothing: set conversation_tokens or pair_tokens")
        return self
