"""Qwen2: Llama with biases on queries, keys and values alone; a window in some layers, if asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from diglot.model.decoder import DecoderConfig
from diglot.model.families.common import (
    SLIDING,
    by_layer,
    layer_types,
    read_windows,
    window_of,
    windows_fit,
    write_sizes_and_rotary,
)
from diglot.model.families.llama import Llama, biases_of, is_llama_like


class Qwen2(Llama):
    """The biases are in the class of transformers, not in config.json."""

    model_type = "qwen2"
    model_class = "Qwen2ForCausalLM"

    def read(self, file: Path, full: Any) -> DecoderConfig:
        windows = by_layer(read_windows(file, full))
        return replace(super().read(file, full), query_key_value_bias=True, layer_attention=windows)

    def fits(self, config: DecoderConfig) -> bool:
        biases = biases_of(config) == (True, False, False)
        return is_llama_like(config) and not config.query_key_norm and biases and windows_fit(config)

    def write(self, config: DecoderConfig) -> dict[str, Any]:
        return write_sizes_and_rotary(config) | {"rms_norm_eps": config.norm_epsilon} | write_windows(config)


def write_windows(config: DecoderConfig) -> dict[str, Any]:
    """Qwen's keys of a window; none where no layer has one."""
    if not config.layer_attention:
        return {}
    types = layer_types(config)
    return {
        "layer_types": types,
        "max_window_layers": types.index(SLIDING),  # in spite of its name the first layer with a window
        "sliding_window": window_of(config),
        "use_sliding_window": True,
    }
