"""OLMo 2 and 3: Llama with norms behind the branches, and over all queries and all keys; OLMo 3 with windows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from diglot.model.decoder import DecoderConfig
from diglot.model.families.common import (
    FULL,
    SLIDING,
    by_layer,
    layer_types,
    read_sizes_and_rotary,
    read_windows,
    window_of,
    windows_fit,
    write_sizes_and_rotary,
)
from diglot.model.families.llama import Llama
from diglot.model.families.values import require


class Olmo2(Llama):
    """Norms stand behind the branches, before what these give is added."""

    model_type = "olmo2"
    model_class = "Olmo2ForCausalLM"
    names: ClassVar[dict[str, str]] = Llama.names | {
        "attention_norm": "post_attention_layernorm",
        "feed_forward_norm": "post_feedforward_layernorm",
    }

    def _read(self, file: Path, full: Any, sizes: dict[str, Any]) -> DecoderConfig:
        config = super()._read(file, full, sizes)
        return replace(config, norm_placement="after", query_key_norm="projection")

    def fits(self, config: DecoderConfig) -> bool:
        return is_olmo_like(config) and not config.layer_attention

    def write(self, config: DecoderConfig) -> dict[str, Any]:
        own = {"rms_norm_eps": config.norm_epsilon, "attention_bias": config.query_key_value_bias}
        return write_sizes_and_rotary(config) | own

    def writes_residual(self, name: str) -> bool:
        """The norms: behind projections of zeros they would multiply gradients by 1 / sqrt(epsilon)."""
        return name.endswith((self.names["attention_norm"] + ".weight", self.names["feed_forward_norm"] + ".weight"))


class Olmo3(Olmo2):
    """A window in some layers, three of four; only frequencies of the others are stretched. Without windows: OLMo 2."""

    model_type = "olmo3"
    model_class = "Olmo3ForCausalLM"

    def read(self, file: Path, full: Any) -> DecoderConfig:
        ropes = {kind: dict(full.rope_parameters[kind]) for kind in (FULL, SLIDING)}
        # Windowed layers turn by the same base, unstretched.
        require(file, f"rope_parameters.{SLIDING}.rope_type", ropes[SLIDING].get("rope_type"), ("default",))
        theta = ropes[FULL].get("rope_theta")
        require(file, f"rope_parameters.{SLIDING}.rope_theta", ropes[SLIDING].get("rope_theta"), (theta,))
        config = self._read(file, full, read_sizes_and_rotary(file, full, ropes[FULL]))
        stretched = config.rotary_scaling is not None
        windows = read_windows(file, full, wide=stretched)  # then such layers are others also where the window is none
        kinds = ["plain" if stretched and each == SLIDING else "scaled" for each in full.layer_types]
        return replace(config, layer_attention=by_layer(windows, kinds))

    def fits(self, config: DecoderConfig) -> bool:
        stretched = config.rotary_scaling is not None
        kinds = all(
            (each.rotary == "plain") == (stretched and each.window is not None) for each in config.layer_attention
        )
        own = bool(config.layer_attention) and kinds and windows_fit(config, ("scaled", "plain"))
        return is_olmo_like(config) and own

    def write(self, config: DecoderConfig) -> dict[str, Any]:
        # transformers 5 takes its own default for the windowed layers' rope_theta where only the older keys stand.
        theta = {"rope_type": "default", "rope_theta": config.rotary_theta}
        full = super().write(config)
        return full | {
            "layer_types": layer_types(config),
            "rope_parameters": {SLIDING: theta, FULL: theta | (full["rope_scaling"] or {})},
            "sliding_window": window_of(config),
        }


def is_olmo_like(config: DecoderConfig) -> bool:
    """Whether a shape is OLMo 2's but for windows."""
    kind = (config.normalization, config.positions, config.activation, config.norm_placement, config.query_key_norm)
    stored = (config.rotary_share, config.fused_projections, config.feed_forward_bias) == (1.0, False, False)
    alike = config.query_key_value_bias == config.output_bias
    return kind == ("rms", "rotary", "swiglu", "after", "projection") and stored and alike
