"""Settings of vocabulary expansion."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from diglot.recipe.common import Count, Role, Seed, Settings, Stage


class Distillation(Settings):
    """Token Distillation (Dobler et al. 2025, 2505.20133): new rows learn to act as the old tokens they replace."""

    snippets: Count = Field(100, description="Snippets of text a new token is learnt from, at most; 2505.20133.")
    tokens: Count = Field(50, description="Length of a snippet in old tokens; 2505.20133.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-4, description="2505.20133.")
    batch_size: Count = Field(16, description="Snippets a step; 2505.20133.")
    max_steps: Count = Field(10_000, description="At most so many steps.")


class Expand(Stage):
    """Give a model the rows of an extended tokenizer; old rows stay bit for bit (ALLaM: mean of sub-tokens)."""

    makes: ClassVar[str] = "model"
    reads: ClassVar[dict[str, Role]] = {
        "model": Role(("model",)),
        "tokenizer": Role(("tokenizer",)),
        "corpus": Role(("corpus",), required=False, many=True),
    }
    function: ClassVar[str] = "diglot.expand.stage:run"
    position: ClassVar[int] = 80
    version: ClassVar[int] = 3

    do: Literal["expand"] = "expand"
    initialization: Literal["mean", "weighted-mean", "focus", "distillation", "random"] = Field(
        "mean",
        description="New rows: mean of sub-tokens (ALLaM); weighted by length; focus: similar old tokens; "
        "distillation: trained from the mean. focus and distillation read the corpus.",
    )
    distillation: Distillation = Field(Distillation(), description="With initialization: distillation.")
    new_layers: Annotated[int, Field(ge=0)] = Field(
        0, description="Layers to add, spread over the depth; they start as the identity."
    )
    pad_vocabulary_to: Count = Field(1, description="Rows of the embedding are a multiple of this.")
    seed: Seed = 0

    @model_validator(mode="after")
    def _corpus_where_needed(self) -> Expand:
        if self.initialization in ("focus", "distillation") and "corpus" not in self.reads_from():
            raise ValueError(f"initialization {self.initialization} learns from text: give a corpus in `from`")
        return self
