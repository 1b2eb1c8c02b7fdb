"""Qwen3: Llama with RMSNorm on each head's queries and keys; a window in some layers, if asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from diglot.model.decoder import DecoderConfig
from diglot.model.families.common import by_layer, read_windows, windows_fit, write_sizes_and_rotary
from diglot.model.families.llama import Llama, is_llama_like
from diglot.model.families.qwen2 import write_windows


class Qwen3(Llama):
    """The norms are in the class of transformers, not in config.json."""

    model_type = "qwen3"
    model_class = "Qwen3ForCausalLM"

    def read(self, file: Path, full: Any) -> DecoderConfig:
        windows = by_layer(read_windows(file, full))
        return replace(super().read(file, full), query_key_norm="head", layer_attention=windows)

    def fits(self, config: DecoderConfig) -> bool:
        alike = config.query_key_value_bias == config.output_bias and not config.feed_forward_bias
        return is_llama_like(config) and config.query_key_norm == "head" and alike and windows_fit(config)

    def write(self, config: DecoderConfig) -> dict[str, Any]:
        own = {"rms_norm_eps": config.norm_epsilon, "attention_bias": config.query_key_value_bias}
        return write_sizes_and_rotary(config) | own | write_windows(config)
