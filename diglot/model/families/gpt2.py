"""GPT-2 and PolyLM (activation_function="gelu"): learned positions, LayerNorm, GELU, biases everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from diglot.model.decoder import DecoderConfig
from diglot.model.families.common import GELUS, Family, is_plain
from diglot.model.families.values import require

TRANSPOSED = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")


class GPT2(Family):
    """Projections are stored transposed, and those of query, key and value as one."""

    model_type = "gpt2"
    model_class = "GPT2LMHeadModel"
    names: ClassVar[dict[str, str]] = {
        "embedding": "transformer.wte",
        "position_embedding": "transformer.wpe",
        "norm": "transformer.ln_f",
        "head": "lm_head",
        "layers": "transformer.h",
        "attention_norm": "ln_1",
        "feed_forward_norm": "ln_2",
        "attention.output": "attn.c_proj",
        "feed_forward.up": "mlp.c_fc",
        "feed_forward.down": "mlp.c_proj",
    }
    fused: ClassVar[dict[str, tuple[str, ...]]] = {
        "attn.c_attn": ("attention.query", "attention.key", "attention.value")
    }
    derived = (".attn.bias", ".attn.masked_bias")  # the causal mask

    def read(self, file: Path, full: Any) -> DecoderConfig:
        require(file, "activation_function", full.activation_function, tuple(GELUS))
        require(file, "scale_attn_weights", full.scale_attn_weights, (True,))
        require(file, "scale_attn_by_inverse_layer_idx", full.scale_attn_by_inverse_layer_idx, (False,))
        require(file, "add_cross_attention", full.add_cross_attention, (False,))
        return DecoderConfig(
            vocabulary_size=full.vocab_size,
            num_layers=full.n_layer,
            hidden_size=full.n_embd,
            intermediate_size=full.n_inner or 4 * full.n_embd,
            num_heads=full.n_head,
            num_key_value_heads=full.n_head,
            head_size=full.n_embd // full.n_head,
            max_positions=full.n_positions,
            normalization="layer",
            norm_epsilon=full.layer_norm_epsilon,
            activation=GELUS[full.activation_function],  # type: ignore[arg-type]
            positions="learned",
            query_key_value_bias=True,
            output_bias=True,
            feed_forward_bias=True,
            tied_embeddings=full.tie_word_embeddings,
        )

    def fits(self, config: DecoderConfig) -> bool:
        kind = (config.normalization, config.positions) == ("layer", "learned") and config.activation != "swiglu"
        biases = config.query_key_value_bias and config.output_bias and config.feed_forward_bias
        square = config.num_heads * config.head_size == config.hidden_size
        plain = is_plain(config) and not config.query_key_norm and not config.layer_attention
        return kind and biases and square and plain and config.num_heads == config.num_key_value_heads

    def write(self, config: DecoderConfig) -> dict[str, Any]:
        return {
            "activation_function": "gelu" if config.activation == "gelu" else "gelu_new",
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "layer_norm_epsilon": config.norm_epsilon,
            "n_embd": config.hidden_size,
            "n_head": config.num_heads,
            "n_inner": config.intermediate_size,
            "n_layer": config.num_layers,
            "n_positions": config.max_positions,
        }

    def to_huggingface(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Projections are transposed."""
        out = super().to_huggingface(state)
        return {name: tensor.T if name.endswith(TRANSPOSED) else tensor for name, tensor in out.items()}

    def from_huggingface(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `to_huggingface`; tensors come out contiguous."""
        turned = {name: x.T.contiguous() if name.endswith(TRANSPOSED) else x for name, x in tensors.items()}
        return super().from_huggingface(turned)

    def exported_name(self, stored: str) -> str:
        """The first GPT-2 was stored without `transformer.`."""
        return stored if stored.startswith(("transformer.", "lm_head.")) else f"transformer.{stored}"
