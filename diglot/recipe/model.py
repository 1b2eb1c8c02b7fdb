"""Settings of the stages that make and import models."""

from __future__ import annotations

import contextlib
from typing import ClassVar, Literal

from pydantic import Field

from diglot.base.files import expand_home
from diglot.recipe.common import Count, Role, Seed, Settings, Stage

Preset = Literal[
    "tiny", "mini", "small", "polylm-1.7b", "polylm-13b", "polylm-1.7b-rope", "polylm-13b-rope", "allam-7b", "allam-34b",
    "llama-2-7b", "llama-2-13b", "llama-2-70b", "llama-3-8b", "llama-3.1-8b", "qwen3-0.6b", "qwen3-1.7b", "qwen3-4b",
]  # fmt: skip


class Shape(Settings):
    """Changes to a preset's shape."""

    num_layers: Count | None = Field(None, description="Blocks.")
    hidden_size: Count | None = Field(None, description="Width of the residual stream.")
    intermediate_size: Count | None = Field(None, description="Width inside the feed-forward layers.")
    num_heads: Count | None = Field(None, description="Query heads of attention.")
    num_key_value_heads: Count | None = Field(None, description="Key and value heads, which query heads share.")
    max_positions: Count | None = Field(None, description="The longest sequence, in tokens.")
    tied_embeddings: bool | None = Field(None, description="One matrix for the embedding and the output.")


class NewModel(Stage):
    """A model with random weights, in the shape of a preset, for a tokenizer."""

    makes: ClassVar[str] = "model"
    reads: ClassVar[dict[str, Role]] = {"tokenizer": Role(("tokenizer",))}
    function: ClassVar[str] = "diglot.model.presets:run"
    position: ClassVar[int] = 70

    do: Literal["new-model"] = "new-model"
    preset: Preset = Field(description="Its shape and first weights (diglot/model/presets.py).", examples=["tiny"])
    shape: Shape = Field(Shape(), description="What of the preset's shape is changed.")
    pad_vocabulary_to: Count = Field(1, description="Rows of the embedding are a multiple of this.")
    seed: Seed = 0


class ImportModel(Stage):
    """Take in a Hugging Face model folder or hub name (any causal language model of transformers'; safetensors only)."""

    makes: ClassVar[str] = "model"
    function: ClassVar[str] = "diglot.model.imported:run"
    position: ClassVar[int] = 71
    version: ClassVar[int] = 3

    do: Literal["import-model"] = "import-model"
    path: str = Field(
        description="A folder in Hugging Face's form, or a name on its hub.", examples=["meta-llama/Llama-3.2-1B"]
    )

    def outside_paths(self) -> dict[tuple, str]:
        """The model's folder; a hub name stands for itself."""
        with contextlib.suppress(OSError):  # a name that is too long for a file
            if expand_home(self.path).exists():
                return {("path",): self.path}
        return {}

    def brings(self) -> str | None:
        """The model's folder."""
        return self.path if expand_home(self.path).is_dir() else None
