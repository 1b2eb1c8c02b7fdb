"""Qwen2: Llama with biases on queries, keys and values alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from diglot.model.decoder import DecoderConfig
from diglot.model.families.common import write_sizes_and_rotary
from diglot.model.families.llama import Llama, is_llama_like


class Qwen2(Llama):
    """The biases are in the class of transformers, not in config.json."""

    model_type = "qwen2"
    model_class = "Qwen2ForCausalLM"

    def read(self, file: Path, full: Any) -> DecoderConfig:
        return replace(super().read(file, full), query_key_value_bias=True)

    def fits(self, config: DecoderConfig) -> bool:
        biases = (config.query_key_value_bias, config.output_bias, config.feed_forward_bias)
        return is_llama_like(config) and not config.query_key_norm and biases == (True, False, False)

    def write(self, config: DecoderConfig) -> dict[str, Any]:
        return write_sizes_and_rotary(config) | {"rms_norm_eps": config.norm_epsilon}
