"""SmolLM3: Llama whose queries and keys are not rotated in some layers, every fourth (NoPE)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from diglot.base.errors import UserError
from diglot.model.decoder import DecoderConfig
from diglot.model.families.common import SLIDING, by_layer, layer_types, read_windows, window_of, windows_fit
from diglot.model.families.llama import Llama, Mistral, is_llama_like
from diglot.model.families.values import require


class SmolLM3(Llama):
    """What rotates in all layers is exported as Llama, and with a window in all of them as Mistral."""

    model_type = "smollm3"
    model_class = "SmolLM3ForCausalLM"

    def read(self, file: Path, full: Any) -> DecoderConfig:
        rotated = full.no_rope_layers  # 1 where a layer is rotated
        if len(rotated) != full.num_hidden_layers:
            raise UserError(f"{file}: no_rope_layers: one number a layer is wanted, not {len(rotated)}")
        for each in rotated:
            require(file, "no_rope_layers", each, (0, 1))
        if SLIDING in full.layer_types:  # else transformers' masks have a window, and its attention none
            require(file, "use_sliding_window", full.use_sliding_window, (True,))
        layers = by_layer(read_windows(file, full), ["scaled" if each else "none" for each in rotated])
        return replace(super().read(file, full), layer_attention=layers)

    def fits(self, config: DecoderConfig) -> bool:
        alike = config.query_key_value_bias == config.output_bias and not config.query_key_norm
        own = bool(config.layer_attention) and windows_fit(config, ("scaled", "none"))
        return is_llama_like(config) and alike and own and not Mistral().fits(config)

    def write(self, config: DecoderConfig) -> dict[str, Any]:
        return super().write(config) | {
            "layer_types": layer_types(config),
            "no_rope_layers": [int(layer.rotary != "none") for layer in config.attention_by_layer],
            "sliding_window": window_of(config),
            "use_sliding_window": window_of(config) is not None,
        }
