"""Llama 1 to 3, and Mistral, which is the same model under another name, with a window or without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from diglot.model.decoder import DecoderConfig
from diglot.model.families.common import (
    Family,
    by_layer,
    in_all_layers,
    is_plain,
    read_sizes_and_rotary,
    read_windows,
    window_of,
    write_sizes_and_rotary,
)
from diglot.model.families.values import require


class Llama(Family):
    """RMSNorm, rotary positions and SwiGLU, with biases or without; most other families are variants of it."""

    model_type = "llama"
    model_class = "LlamaForCausalLM"
    names: ClassVar[dict[str, str]] = {
        "embedding": "model.embed_tokens",
        "norm": "model.norm",
        "head": "lm_head",
        "layers": "model.layers",
        "attention_norm": "input_layernorm",
        "feed_forward_norm": "post_attention_layernorm",
        "attention.query": "self_attn.q_proj",
        "attention.key": "self_attn.k_proj",
        "attention.value": "self_attn.v_proj",
        "attention.output": "self_attn.o_proj",
        "attention.query_norm": "self_attn.q_norm",
        "attention.key_norm": "self_attn.k_norm",
        "feed_forward.gate": "mlp.gate_proj",
        "feed_forward.up": "mlp.up_proj",
        "feed_forward.down": "mlp.down_proj",
    }

    def read(self, file: Path, full: Any) -> DecoderConfig:
        return self._read(file, full, read_sizes_and_rotary(file, full))

    def _read(self, file: Path, full: Any, sizes: dict[str, Any]) -> DecoderConfig:
        require(file, "hidden_act", full.hidden_act, ("silu", "swish"))
        bias = bool(getattr(full, "attention_bias", False))
        return DecoderConfig(
            **sizes,
            norm_epsilon=full.rms_norm_eps,
            query_key_value_bias=bias,
            output_bias=bias,
            feed_forward_bias=bool(getattr(full, "mlp_bias", False)),
        )

    def fits(self, config: DecoderConfig) -> bool:
        alike = config.query_key_value_bias == config.output_bias
        return is_llama_like(config) and not config.query_key_norm and alike and not config.layer_attention

    def write(self, config: DecoderConfig) -> dict[str, Any]:
        biases = {"attention_bias": config.query_key_value_bias, "mlp_bias": config.feed_forward_bias}
        return write_sizes_and_rotary(config) | {"rms_norm_eps": config.norm_epsilon} | biases


class Mistral(Llama):
    """One window for all layers; what has none is exported as Llama."""

    model_type = "mistral"
    model_class = "MistralForCausalLM"

    def read(self, file: Path, full: Any) -> DecoderConfig:
        return replace(super().read(file, full), layer_attention=by_layer(read_windows(file, full)))

    def fits(self, config: DecoderConfig) -> bool:
        windowed = bool(config.layer_attention) and in_all_layers(config)
        return is_llama_like(config) and windowed and not config.query_key_norm and biases_of(config) == NO_BIASES

    def write(self, config: DecoderConfig) -> dict[str, Any]:
        own = {"rms_norm_eps": config.norm_epsilon, "sliding_window": window_of(config)}
        return write_sizes_and_rotary(config) | own


NO_BIASES = (False, False, False)


def biases_of(config: DecoderConfig) -> tuple[bool, bool, bool]:
    """Whether there are biases on queries, keys and values, on attention's output, and in the feed-forward layers."""
    return config.query_key_value_bias, config.output_bias, config.feed_forward_bias


def is_llama_like(config: DecoderConfig) -> bool:
    """Whether a shape is Llama's but for biases, norms of queries and keys, and how layers differ."""
    kind = (config.normalization, config.positions, config.activation)
    return kind == ("rms", "rotary", "swiglu") and is_plain(config)
