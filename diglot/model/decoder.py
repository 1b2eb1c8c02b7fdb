"""One decoder for the models that Diglot trains: PolyLM's (GPT-2 with exact GELU) and the Llama family's.

                     PolyLM, GPT-2                 Llama, Mistral, Qwen2, Qwen3, SmolLM3, OLMo 2 and 3, Phi-3 and 4
    normalization    LayerNorm before each branch  RMSNorm before each branch; OLMo: behind it
    positions        learned                       rotary (rotary.py); SmolLM3: none in some layers; Phi-4-mini: in part of a head
    feed-forward     GELU                          SwiGLU
    attention        multi-head, biases            grouped heads; Qwen2: biases; Qwen3, OLMo: RMSNorm on queries and keys;
                                                   Mistral v0.1, OLMo 3, Phi-3: within a window, in all or in some layers

The decoder ends with the hidden states after the final norm. Logits are `hidden_BTD @ decoder.output_weight().T`;
training never makes them whole (see loss.py).

    decoder = Decoder(config)
    hidden_BTD = decoder(batch.tokens_BT, batch.positions_BT, batch.documents_BT)

Types where products run in bfloat16: what ended PolyLM's loss spikes (sections 3.2 and 3.3, and the flags
fp32-residual-connection and attention-softmax-in-fp32 of its scripts) is `keep_float32`.

                                         residual stream    a branch's input    attention and its softmax
    autocast, float32 weights            float32            float32, cast       bfloat16 (CPU: float32)
    bfloat16 weights (gathered, FSDP2)   bfloat16           bfloat16            bfloat16 (CPU: float32)
    autocast, keep_float32               float32            float32, cast       float32
    bfloat16 weights, keep_float32       float32            bfloat16            float32

Legend: B rows, T tokens of a row, D hidden size, V rows of the embedding, H heads, K key-value heads, S size of a
head, I intermediate size.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diglot.base.errors import UserError
from diglot.base.files import own_temporary_folder
from diglot.model.attention import DocumentLayout, attend
from diglot.model.causal import CausalModel, ModelConfig
from diglot.model.rotary import RotaryScaling, in_longer_documents, rotary, rotate

SIZES = (
    "vocabulary_size", "num_layers", "hidden_size", "intermediate_size", "num_heads", "num_key_value_heads", "head_size",
    "max_positions",
)  # fmt: skip
MAX_LAYERS = 1000  # Llama-3.1 405B has 126; a thousand of the smallest are made in seconds
MAX_SIZE = 2**31 - 1  # ids and positions are 32 bits
MAX_PARAMETERS = 10**13  # a hundred times the largest open model; 20 TB in bfloat16


@dataclass(frozen=True)
class LayerAttention:
    """What the attention of one layer does otherwise than that of others.

    Attributes:
        window: tokens that each token sees, itself included; None for all before it.
        rotary: whether queries and keys are rotated, and `plain`: whether by frequencies that were not stretched (OLMo 3).
    """

    window: int | None = None
    rotary: Literal["scaled", "plain", "none"] = "scaled"


@dataclass(frozen=True)
class DecoderConfig(ModelConfig):
    """The shape of a decoder; the sizes are those of `ModelConfig`.

    Attributes:
        norm_placement: norms before each branch, or of its result, before that is added (OLMo 2).
        rotary_share: the part of each head's units that is rotated (Phi-4-mini).
        layer_attention: of each layer; empty where all see everything before them and are rotated alike.
        query_key_norm: RMSNorm over each head's queries and keys (Qwen3), or over those of all heads at once (OLMo 2).
        fused_projections: how weights are stored, not what is computed: query, key and value in one matrix, and gate and
            up (Phi-3).
        query_key_value_bias, output_bias: biases of the attention's projections.
        feed_forward_bias: biases of the feed-forward projections.
    """

    tied_embeddings: bool = True
    normalization: Literal["rms", "layer"] = "rms"
    norm_epsilon: float = 1e-5
    norm_placement: Literal["before", "after"] = "before"
    activation: Literal["swiglu", "gelu", "gelu-tanh"] = "swiglu"
    positions: Literal["rotary", "learned"] = "rotary"
    rotary_theta: float = 10_000.0
    rotary_scaling: RotaryScaling | None = None
    rotary_share: float = 1.0
    layer_attention: tuple[LayerAttention, ...] = ()
    query_key_norm: Literal["head", "projection"] | None = None
    query_key_value_bias: bool = False
    output_bias: bool = False
    feed_forward_bias: bool = False
    fused_projections: bool = False

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be, before anything of them is made: a layer takes time even without memory.

        Raises:
            UserError: sizes that no model has, heads that don't divide, or an odd head under rotary positions.
        """
        for name in SIZES:
            most = MAX_LAYERS if name == "num_layers" else MAX_SIZE
            if not 1 <= getattr(self, name) <= most:
                raise UserError(f"{name} is {getattr(self, name):,}; a model has 1 to {most:,}")
        if (parameters := self.matrix_values()) > MAX_PARAMETERS:
            raise UserError(
                f"this shape has {parameters:.1e} parameters, more than the {MAX_PARAMETERS:.0e} of any model"
            )
        if self.num_heads % self.num_key_value_heads:
            raise UserError(
                f"num_heads ({self.num_heads}) must be a multiple of num_key_value_heads ({self.num_key_value_heads})"
            )
        if self.positions == "rotary" and (self.head_size % 2 or self.rotary_size % 2 or not self.rotary_size):
            part = "" if self.rotary_share == 1 else f", of which {self.rotary_size} units are rotated"
            raise UserError(f"rotary positions need an even head_size, not {self.head_size}{part}")
        if self.layer_attention and len(self.layer_attention) != self.num_layers:
            raise UserError(f"layer_attention is of {len(self.layer_attention)} layers, not of {self.num_layers}")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> DecoderConfig:
        """The inverse of `dataclasses.asdict`, also behind JSON, which knows no tuples."""
        values = dict(values)
        if scaling := values["rotary_scaling"]:
            lists = {key: tuple(scaling[key]) for key in ("short_factors", "long_factors")}
            values["rotary_scaling"] = RotaryScaling(**scaling | lists)
        values["layer_attention"] = tuple(LayerAttention(**each) for each in values["layer_attention"])
        return cls(**values)

    def with_layers(self, layers: Iterable[int]) -> DecoderConfig:
        """The shape of a model of these of its layers, by number; they may come several times."""
        layers = list(layers)
        attention = tuple(self.layer_attention[layer] for layer in layers) if self.layer_attention else ()
        return replace(self, num_layers=len(layers), layer_attention=attention)

    @property
    def rotary_size(self) -> int:
        """Units of a head that are rotated."""
        return int(self.head_size * self.rotary_share)

    @property
    def attention_by_layer(self) -> tuple[LayerAttention, ...]:
        """One for each layer, also where all are alike."""
        return self.layer_attention or (LayerAttention(),) * self.num_layers

    def matrix_values(self) -> int:
        """The number of parameters, but for biases and norms."""
        attention = 2 * self.hidden_size * self.head_size * (self.num_heads + self.num_key_value_heads)
        feed_forward = (3 if self.activation == "swiglu" else 2) * self.hidden_size * self.intermediate_size
        rows = self.vocabulary_size * (1 if self.tied_embeddings else 2)
        rows += self.max_positions if self.positions == "learned" else 0
        return self.num_layers * (attention + feed_forward) + rows * self.hidden_size


class Norm(nn.Module):
    """RMSNorm or LayerNorm; the weight follows the type of its input."""

    def __init__(self, size: int, config: DecoderConfig) -> None:
        super().__init__()
        self.epsilon = config.norm_epsilon
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size)) if config.normalization == "layer" else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        weight = self.weight.to(x.dtype)
        if self.bias is None:
            return F.rms_norm(x, weight.shape, weight, self.epsilon)
        return F.layer_norm(x, weight.shape, weight, self.bias.to(x.dtype), self.epsilon)


class Attention(nn.Module):
    """Multi-head or grouped-query attention within documents."""

    def __init__(self, config: DecoderConfig, window: int | None) -> None:
        super().__init__()
        size, bias = config.head_size, config.query_key_value_bias
        self.head_size, self.window = size, window
        self.query = nn.Linear(config.hidden_size, config.num_heads * size, bias)
        self.key = nn.Linear(config.hidden_size, config.num_key_value_heads * size, bias)
        self.value = nn.Linear(config.hidden_size, config.num_key_value_heads * size, bias)
        self.output = nn.Linear(config.num_heads * size, config.hidden_size, config.output_bias)
        self.norm_of_all_heads = config.query_key_norm == "projection"
        num_heads, num_key_heads = (config.num_heads, config.num_key_value_heads) if self.norm_of_all_heads else (1, 1)
        self.query_norm = Norm(num_heads * size, config) if config.query_key_norm else None
        self.key_norm = Norm(num_key_heads * size, config) if config.query_key_norm else None
        self.float32 = False  # see Decoder.keep_float32
        self.attend = attend

    def forward(self, x_BTD: Tensor, rotation: tuple[Tensor, Tensor] | None, layout: DocumentLayout | None) -> Tensor:
        """Attend; `rotation` holds the cosines and sines (each ?T1R) of rotary positions."""
        query, key, value = self.query(x_BTD), self.key(x_BTD), self.value(x_BTD)
        if self.float32:
            query, key, value = query.float(), key.float(), value.float()
        # Norms of queries and keys: over all heads at once, or over each.
        if self.query_norm is not None and self.key_norm is not None and self.norm_of_all_heads:
            query, key = self.query_norm(query), self.key_norm(key)
        query_BTHS, key_BTKS, value_BTKS = (x.unflatten(-1, (-1, self.head_size)) for x in (query, key, value))
        if self.query_norm is not None and self.key_norm is not None and not self.norm_of_all_heads:
            query_BTHS, key_BTKS = self.query_norm(query_BTHS), self.key_norm(key_BTKS)
        if rotation is not None:
            query_BTHS, key_BTKS = rotate(query_BTHS, *rotation), rotate(key_BTKS, *rotation)
        out_BTHS = self.attend(query_BTHS, key_BTKS, value_BTKS, layout, window=self.window)
        return self.output(out_BTHS.flatten(2).to(x_BTD.dtype))


class FeedForward(nn.Module):
    """SwiGLU, or two projections around GELU."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        outer, inner, bias = config.hidden_size, config.intermediate_size, config.feed_forward_bias
        self.gate = nn.Linear(outer, inner, bias) if config.activation == "swiglu" else None
        self.up = nn.Linear(outer, inner, bias)
        self.down = nn.Linear(inner, outer, bias)
        self.approximate = "tanh" if config.activation == "gelu-tanh" else "none"

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Apply to each token."""
        if self.gate is not None:
            return self.down(F.silu(self.gate(x_BTD)) * self.up(x_BTD))
        return self.down(F.gelu(self.up(x_BTD), approximate=self.approximate))


class Layer(nn.Module):
    """A layer with its norms before the branches: x + attention(norm(x)), then x + feed_forward(norm(x)).

    Or behind them: x + norm(attention(x)), then x + norm(feed_forward(x)). The branches compute in the type of their
    weights, whatever that of the residual stream.
    """

    def __init__(self, config: DecoderConfig, kind: LayerAttention) -> None:
        super().__init__()
        self.norms_before = config.norm_placement == "before"
        self.attention_norm = Norm(config.hidden_size, config)
        self.attention = Attention(config, kind.window)
        self.feed_forward_norm = Norm(config.hidden_size, config)
        self.feed_forward = FeedForward(config)

    def forward(self, x_BTD: Tensor, rotation: tuple[Tensor, Tensor] | None, layout: DocumentLayout | None) -> Tensor:
        """Add both branches to the residual stream."""
        dtype = self.attention_norm.weight.dtype
        if self.norms_before:
            x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD).to(dtype), rotation, layout)
            return x_BTD + self.feed_forward(self.feed_forward_norm(x_BTD).to(dtype))
        # A branch's result is normalised in the type of the residual stream, as the stream is above.
        attended_BTD = self.attention(x_BTD.to(dtype), rotation, layout).to(x_BTD.dtype)
        x_BTD = x_BTD + self.attention_norm(attended_BTD)
        return x_BTD + self.feed_forward_norm(self.feed_forward(x_BTD.to(dtype)).to(x_BTD.dtype))


class Decoder(CausalModel):
    """A causal language model without its logits."""

    config: DecoderConfig

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.float32_residual = False  # see keep_float32
        self.embedding = nn.Embedding(config.vocabulary_size, config.hidden_size)
        learned = config.positions == "learned"
        self.position_embedding = nn.Embedding(config.max_positions, config.hidden_size) if learned else None
        self.layers = nn.ModuleList(Layer(config, kind) for kind in config.attention_by_layer)
        self.norm = Norm(config.hidden_size, config)
        self.head = (
            None if config.tied_embeddings else nn.Linear(config.hidden_size, config.vocabulary_size, bias=False)
        )

    def forward(
        self, tokens_BT: Tensor, positions_BT: Tensor | None = None, documents_BT: Tensor | None = None
    ) -> Tensor:
        """Run the model.

        Args:
            tokens_BT: token ids.
            positions_BT: place of each token in its document; counted from `documents_BT` if absent.
            documents_BT: the document of each token, one run of tokens each, -1 for padding; None if every
                row is one document. Of whole rows, also where the tokens are cut over processes (`row_cut`).

        Returns:
            hidden_BTD after the final norm. Rows at padding are finite and mean nothing.

        Raises:
            UserError: a document is longer than the model's max_positions.
        """
        assert documents_BT is not None or self.row_cut is None, "rows that are cut need their documents"
        layout, longest = self.find_documents(tokens_BT, documents_BT)
        if positions_BT is None:
            places_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
            positions_BT = places_T[None] if layout is None else layout.positions_BT
        # Positions count within documents: learned ones are added once, rotary ones turn queries and keys in each layer.
        x_BTD, rotations = self.embedding(tokens_BT), {}
        if self.position_embedding is not None:
            x_BTD = x_BTD + self.position_embedding(positions_BT)
        else:
            rotations = self._rotations(positions_BT, documents_BT, longest)
        if self.float32_residual:
            x_BTD = x_BTD.float()
        for layer, kind in zip(self.layers, self.config.attention_by_layer):
            x_BTD = layer(x_BTD, rotations.get(kind.rotary), layout)
        return self.norm(x_BTD).to(self.norm.weight.dtype)

    def _rotations(
        self, positions_BT: Tensor, documents_BT: Tensor | None, longest: int
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Cosines and sines by the kind of rotation, for those that some layer has."""
        config, scaling, long_BT = self.config, self.config.rotary_scaling, None
        if scaling is not None and scaling.kind == "longrope" and longest > scaling.original_max_positions:
            # By document, as if each were alone; transformers asks for the longest of a batch.
            if documents_BT is None:
                documents_BT = torch.zeros(1, longest, dtype=torch.int64)
            long_BT = in_longer_documents(documents_BT.cpu(), scaling.original_max_positions)
            if self.row_cut is not None:
                long_BT = long_BT[:, self.row_cut.columns(long_BT.shape[1])]
        kinds = {kind.rotary for kind in config.attention_by_layer}
        size, theta = config.rotary_size, config.rotary_theta
        rotations = {"scaled": rotary(positions_BT, size, theta, scaling, long_BT)} if "scaled" in kinds else {}
        if "plain" in kinds:
            rotations["plain"] = rotary(positions_BT, size, theta, None)
        return rotations

    def keep_float32(self) -> None:
        """Keep the residual stream, queries, keys, values and attention's softmax in float32 from now on.

        Under FSDP2 the policy must not cast the layers' inputs (`cast_forward_inputs=False`): it would cast the stream.
        """
        self.float32_residual = True
        for layer in self.layers:
            assert isinstance(layer, Layer)
            layer.attention.float32 = True

    def compile_layers(self) -> None:
        """Compile the layers (torch.compile) but for attention, whose calls differ from batch to batch.

        Sizes are dynamic from the first batch on, and those that happen to be equal are not taken for one: so neither
        what is compiled nor its rounding depends on the batches before. All layers share what is compiled: four pieces
        (the first norm; queries, keys and values; attention's output; the rest), each with and without gradients, for one
        row and for more.
        """
        # Torch would take what it compiled before from a folder with a name that anybody can guess, and run it.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(own_temporary_folder() / "torch"))
        torch.fx.experimental._config.use_duck_shape = False
        torch._dynamo.config.recompile_limit = 32  # each phase that freezes other parts compiles anew
        eager = torch.compiler.disable(attend)
        for layer in self.layers:
            assert isinstance(layer, Layer)
            layer.attention.attend = eager
            layer.forward = torch.compile(layer.forward, dynamic=True)  # type: ignore[method-assign]
