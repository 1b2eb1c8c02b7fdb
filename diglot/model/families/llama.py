"""Llama 1 to 3, and Mistral without a window, which is the same model under another name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from diglot.model.decoder import DecoderConfig
from diglot.model.families.common import Family, read_sizes_and_rotary, refuse_window, require, write_sizes_and_rotary


class Llama(Family):
    """RMSNorm, rotary positions and SwiGLU, with biases or without; Qwen's models are variants of it."""

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
        require(file, "hidden_act", full.hidden_act, ("silu", "swish"))
        refuse_window(file, full)
        bias = bool(getattr(full, "attention_bias", False))
        return DecoderConfig(
            **read_sizes_and_rotary(file, full),
            norm_epsilon=full.rms_norm_eps,
            query_key_value_bias=bias,
            output_bias=bias,
            feed_forward_bias=bool(getattr(full, "mlp_bias", False)),
        )

    def fits(self, config: DecoderConfig) -> bool:
        alike = config.query_key_value_bias == config.output_bias
        return is_llama_like(config) and not config.query_key_norm and alike

    def write(self, config: DecoderConfig) -> dict[str, Any]:
        biases = {"attention_bias": config.query_key_value_bias, "mlp_bias": config.feed_forward_bias}
        return write_sizes_and_rotary(config) | {"rms_norm_eps": config.norm_epsilon} | biases


class Mistral(Llama):
    """Read only: what it describes is exported as Llama."""

    model_type = "mistral"
    model_class = "MistralForCausalLM"

    def fits(self, config: DecoderConfig) -> bool:
        """Never: see the class."""
        return False


def is_llama_like(config: DecoderConfig) -> bool:
    """Whether a shape is Llama's but for biases and norms of queries and keys."""
    return (config.normalization, config.positions, config.activation) == ("rms", "rotary", "swiglu")
