"""GPT-2 and PolyLM (activation_function="gelu"): learned positions, LayerNorm, GELU, biases everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from diglot.model.decoder import DecoderConfig
from diglot.model.families.common import GELUS, Family, is_plain, join_name, split_name
from diglot.model.families.values import require

FUSED = ("attention.query", "attention.key", "attention.value")  # = attn.c_attn, in this order


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
        """Projections are transposed; queries', keys' and values' are joined, and all three must be there."""
        theirs = self.names["layers"]
        out = {}
        for name, tensor in state.items():
            layer, module, parameter = split_name(name, "layers")
            if module in FUSED[1:]:
                continue  # taken with the queries'
            if module == FUSED[0]:
                parts = [state[join_name("layers", layer, part, parameter)] for part in FUSED]
                module, tensor = "attn.c_attn", torch.cat(parts)
            else:
                module = self.names[module]
            out[join_name(theirs, layer, module, parameter)] = tensor.T if is_projection(module, parameter) else tensor
        return out

    def from_huggingface(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `to_huggingface`; tensors come out contiguous."""
        ours = {theirs: own for own, theirs in self.names.items()}
        out = {}
        for name, tensor in tensors.items():
            layer, module, parameter = split_name(name, self.names["layers"])
            tensor = tensor.T.contiguous() if is_projection(module, parameter) else tensor
            if module == "attn.c_attn":
                for part, piece in zip(FUSED, tensor.chunk(3)):
                    out[join_name("layers", layer, part, parameter)] = piece.contiguous()
            else:
                out[join_name("layers", layer, ours[module], parameter)] = tensor
        return out

    def exported_name(self, stored: str) -> str:
        """The first GPT-2 was stored without `transformer.`."""
        return stored if stored.startswith(("transformer.", "lm_head.")) else f"transformer.{stored}"


def is_projection(module: str, parameter: str) -> bool:
    """Whether a tensor of a layer is a projection's matrix, which GPT-2 stores transposed."""
    return parameter == "weight" and module.endswith((".c_attn", ".c_proj", ".c_fc"))
