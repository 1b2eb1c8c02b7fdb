"""Settings of the stages that make, import, expand and merge models, and of training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from diglot.recipe.common import Count, Momentum, Name, Role, Settings, Share, Stage


class Shape(Settings):
    """Changes to a preset's shape."""

    num_layers: Count | None = None
    hidden_size: Count | None = None
    intermediate_size: Count | None = None
    num_heads: Count | None = None
    num_key_value_heads: Count | None = None
    max_positions: Count | None = None
    tied_embeddings: bool | None = None


class NewModel(Stage):
    """A model with random weights, in the shape of a preset, for a tokenizer."""

    makes: ClassVar[str] = "model"
    reads: ClassVar[dict[str, Role]] = {"tokenizer": Role(("tokenizer",))}
    function: ClassVar[str] = "diglot.model.presets:run"

    do: Literal["new-model"] = "new-model"
    preset: str
    shape: Shape = Shape()
    pad_vocabulary_to: Count = Field(1, description="Rows of the embedding are a multiple of this.")
    seed: int = 0


class ImportModel(Stage):
    """Take in a Hugging Face model folder or hub name (Llama, Mistral, Qwen3, GPT-2/PolyLM; safetensors only)."""

    makes: ClassVar[str] = "model"
    function: ClassVar[str] = "diglot.model.huggingface:run"

    do: Literal["import-model"] = "import-model"
    path: str

    def outside_paths(self) -> dict[tuple, str]:
        """The model's folder; a hub name stands for itself."""
        return {("path",): self.path} if Path(self.path).expanduser().exists() else {}


class Distillation(Settings):
    """Token Distillation (Dobler et al. 2025, 2505.20133): new rows learn to act as the old tokens they replace."""

    snippets: Count = Field(
        100, description="Snippets of text a new token is learnt from, at most; 2505.20133."
    )
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
    function: ClassVar[str] = "diglot.model.surgery:run"
    version: ClassVar[int] = 2

    do: Literal["expand"] = "expand"
    initialization: Literal["mean", "weighted-mean", "focus", "distillation", "random"] = Field(
        "mean",
        description="New rows: mean of sub-tokens (ALLaM); weighted by length; focus: similar old tokens; "
        "distillation: trained from the mean. focus and distillation read the corpus.",
    )
    distillation: Distillation = Distillation()
    new_layers: Annotated[int, Field(ge=0)] = Field(
        0, description="Layers to add, spread over the depth; they start as the identity."
    )
    pad_vocabulary_to: Count = Field(1, description="Rows of the embedding are a multiple of this.")
    seed: int = 0

    @model_validator(mode="after")
    def _corpus_where_needed(self) -> Expand:
        if self.initialization in ("focus", "distillation") and "corpus" not in self.reads_from():
            raise ValueError(
                f"initialization {self.initialization} learns from text: give a corpus in `from`"
            )
        return self


class Merge(Stage):
    """Average the weights of models that share a vocabulary, row by row in the order of token strings."""

    makes: ClassVar[str] = "model"
    reads: ClassVar[dict[str, Role]] = {"models": Role(("model",), many=True)}
    function: ClassVar[str] = "diglot.model.merge:run"

    do: Literal["merge"] = "merge"
    method: Literal["linear"] = "linear"
    weights: list[float] | None = Field(
        None, description="One a model, in the order of `from`; equal if absent."
    )


class Phase(Settings):
    """A stretch of training with one mixture and one learning-rate shape."""

    name: Name
    share: Share = Field(1.0, description="Share of the stage's steps; the shares of all phases add up to 1.")
    mixture: dict[Name, Annotated[float, Field(gt=0)]] | None = Field(
        None, description="Share of training tokens by source; by size if absent."
    )
    learning_rate: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Peak; the stage's if absent."
    )
    warmup: Share = Field(0.0, description="Share of the phase's steps spent warming up from `warmup_from`.")
    shape: Literal["constant", "cosine", "linear", "one-minus-sqrt"] = "constant"
    final: Share = Field(0.1, description="Learning rate at the end over the peak; PolyLM 3.2: 10%.")


class Train(Stage):
    """Train a model: one loop for language modelling, supervised fine-tuning and preferences (DPO)."""

    makes: ClassVar[str] = "model"
    reads: ClassVar[dict[str, Role]] = {"model": Role(("model",)), "tokens": Role(("tokens",), many=True)}
    function: ClassVar[str] = "diglot.train.loop:run"
    neutral: ClassVar[frozenset[str]] = frozenset({"checkpoint_every", "keep_checkpoints"})

    do: Literal["train"] = "train"
    objective: Literal["lm", "sft", "dpo"] = "lm"
    steps: Count
    phases: list[Phase] = Field([Phase(name="all")])
    batch_size: Count = Field(512, description="Sequences a step; PolyLM 3.2 (1.7B).")
    micro_batch_size: Count | None = Field(
        None, description="Sequences in memory at a time; the batch if absent."
    )
    sequence_length: Count = Field(2048, description="Tokens a sequence; PolyLM 3.2.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(3e-5, description="ALLaM, learning-rate slides.")
    warmup_from: Annotated[float, Field(ge=0)] = Field(1e-7, description="PolyLM 3.2.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.1, description="PolyLM 3.2.")
    betas: tuple[Momentum, Momentum] = Field((0.9, 0.95), description="PolyLM 3.2.", strict=False)
    epsilon: Annotated[float, Field(gt=0)] = Field(1e-8, description="PolyLM's released scripts.")
    gradient_clip: Annotated[float, Field(gt=0)] = Field(1.0, description="PolyLM 3.2.")
    beta: Annotated[float, Field(gt=0)] = Field(0.1, description="DPO: weight of the KL penalty.")
    precision: Literal["float32", "bfloat16"] = "float32"
    evaluate_every: Count = Field(100, description="Steps between evaluations on held-out text.")
    evaluate_tokens: Count = Field(50_000, description="Held-out tokens a source in each evaluation.")
    checkpoint_every: Count = 100
    keep_checkpoints: Count = Field(2, description="Older checkpoints are removed.")
    seed: int = 0

    @model_validator(mode="after")
    def _phases_fill_the_steps(self) -> Train:
        total = sum(phase.share for phase in self.phases)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of the phases add up to {total:g}, not to 1")
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise ValueError("two phases have the same name")
        if self.batch_size % (self.micro_batch_size or self.batch_size):
            raise ValueError("batch_size must be a multiple of micro_batch_size")
        return self
