"""Phi-3 and Phi-4: Llama with query, key and value in one matrix, and gate and up; a window, LongRoPE, partial rotation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from diglot.model.decoder import DecoderConfig
from diglot.model.families.common import (
    by_layer,
    in_all_layers,
    read_sizes_and_rotary,
    read_windows,
    window_of,
    write_sizes_and_rotary,
)
from diglot.model.families.llama import NO_BIASES, Llama, biases_of
from diglot.model.families.values import require

FUSED = {
    "self_attn.qkv_proj": ("attention.query", "attention.key", "attention.value"),
    "mlp.gate_up_proj": ("feed_forward.gate", "feed_forward.up"),
}
PARTS = {part for parts in FUSED.values() for part in parts}


class Phi3(Llama):
    """Queries have as many rows as the model is wide, so that the parts of a matrix are known from its shape."""

    model_type = "phi3"
    model_class = "Phi3ForCausalLM"
    names: ClassVar[dict[str, str]] = {
        ours: theirs
        for ours, theirs in Llama.names.items()
        if ours not in PARTS and not ours.endswith(("query_norm", "key_norm"))
    }
    fused = FUSED

    def read(self, file: Path, full: Any) -> DecoderConfig:
        size = full.hidden_size // full.num_attention_heads
        require(file, "head_dim", getattr(full, "head_dim", None), (None, size))
        config = self._read(file, full, read_sizes_and_rotary(file, full, partial=True))
        return replace(config, fused_projections=True, layer_attention=by_layer(read_windows(file, full)))

    def fits(self, config: DecoderConfig) -> bool:
        kind = (config.normalization, config.positions, config.activation, config.norm_placement, config.query_key_norm)
        square = config.num_heads * config.head_size == config.hidden_size
        scaling = config.rotary_scaling is None or config.rotary_scaling.kind == "longrope"
        plain = kind == ("rms", "rotary", "swiglu", "before", None) and biases_of(config) == NO_BIASES
        return config.fused_projections and plain and square and scaling and in_all_layers(config)

    def write(self, config: DecoderConfig) -> dict[str, Any]:
        values = {"original_max_position_embeddings": config.max_positions} | write_sizes_and_rotary(config)
        del values["head_dim"]
        if scaling := values["rope_scaling"]:  # transformers 4 takes `type` and the two lists, and no other key
            kept = ("short_factor", "long_factor", "attention_factor")
            values["rope_scaling"] = {"type": "longrope"} | {key: scaling[key] for key in kept if key in scaling}
        if config.rotary_share != 1:
            values["partial_rotary_factor"] = config.rotary_share
        return values | {
            "attention_dropout": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "rms_norm_eps": config.norm_epsilon,
            "sliding_window": window_of(config),
        }

    def parts(self, module: str, tensor: Tensor) -> Sequence[Tensor]:
        """Gate and up are halves; queries are as many as columns, and keys and values halves of what is left."""
        rows, width = tensor.shape
        first = width if len(self.fused[module]) == 3 else rows // 2
        return [tensor[:first], *tensor[first:].chunk(len(self.fused[module]) - 1)]
