"""Settings of the stages that make and import models."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from diglot.recipe.common import Count, Role, Settings, Stage


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
    position: ClassVar[int] = 70

    do: Literal["new-model"] = "new-model"
    preset: str
    shape: Shape = Shape()
    pad_vocabulary_to: Count = Field(1, description="Rows of the embedding are a multiple of this.")
    seed: int = 0


class ImportModel(Stage):
    """Take in a Hugging Face model folder or hub name (Llama, Mistral, Qwen3, GPT-2/PolyLM; safetensors only)."""

    makes: ClassVar[str] = "model"
    function: ClassVar[str] = "diglot.model.huggingface:run"
    position: ClassVar[int] = 71

    do: Literal["import-model"] = "import-model"
    path: str

    def outside_paths(self) -> dict[tuple, str]:
        """The model's folder; a hub name stands for itself."""
        return {("path",): self.path} if Path(self.path).expanduser().exists() else {}
