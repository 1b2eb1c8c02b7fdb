"""Starcoder2: LayerNorm, GELU and rotary positions; PolyLM's rotary variant, which has no class of its own, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diglot.model.decoder import DecoderConfig
from diglot.model.families.common import (
    GELUS,
    Family,
    by_layer,
    in_all_layers,
    is_plain,
    read_sizes_and_rotary,
    read_windows,
    window_of,
    write_sizes_and_rotary,
)
from diglot.model.families.llama import Llama
from diglot.model.families.values import require


class Starcoder2(Family):
    """Biases everywhere or nowhere."""

    model_type = "starcoder2"
    model_class = "Starcoder2ForCausalLM"
    names = Llama.names | {"feed_forward.up": "mlp.c_fc", "feed_forward.down": "mlp.c_proj"}

    def read(self, file: Path, full: Any) -> DecoderConfig:
        require(file, "hidden_act", full.hidden_act, tuple(GELUS))
        return DecoderConfig(
            **read_sizes_and_rotary(file, full),
            layer_attention=by_layer(read_windows(file, full)),
            normalization="layer",
            norm_epsilon=full.norm_epsilon,
            activation=GELUS[full.hidden_act],  # type: ignore[arg-type]
            query_key_value_bias=full.use_bias,
            output_bias=full.use_bias,
            feed_forward_bias=full.use_bias,
        )

    def fits(self, config: DecoderConfig) -> bool:
        kind = (config.normalization, config.positions) == ("layer", "rotary") and config.activation != "swiglu"
        alike = config.query_key_value_bias == config.output_bias == config.feed_forward_bias
        return kind and alike and is_plain(config) and not config.query_key_norm and in_all_layers(config)

    def write(self, config: DecoderConfig) -> dict[str, Any]:
        return write_sizes_and_rotary(config) | {
            "attention_dropout": 0.0,
            "embedding_dropout": 0.0,
            "residual_dropout": 0.0,
            "norm_epsilon": config.norm_epsilon,
            "sliding_window": window_of(config),
            "use_bias": config.output_bias,
        }
