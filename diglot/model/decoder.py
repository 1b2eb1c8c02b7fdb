"""One decoder for the models that Diglot trains: PolyLM's (GPT-2 with exact GELU) and the Llama family's.

                     PolyLM, GPT-2                 Llama, Mistral, Qwen2, Qwen3
    normalization    LayerNorm before each branch  RMSNorm before each branch
    positions        learned                       rotary, with linear and Llama-3 scaling
    feed-forward     GELU                          SwiGLU
    attention        multi-head, biases            grouped heads; Qwen2: biases; Qwen3: RMSNorm on queries and keys

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

import math
import os
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diglot.base.errors import UserError
from diglot.base.files import own_temporary_folder
from diglot.model.attention import DocumentLayout, attend
from diglot.model.causal import CausalModel, ModelConfig

SIZES = (
    "vocabulary_size", "num_layers", "hidden_size", "intermediate_size", "num_heads", "num_key_value_heads", "head_size",
    "max_positions",
)  # fmt: skip
MAX_LAYERS = 1000  # Llama-3.1 405B has 126; a thousand of the smallest are made in seconds
MAX_SIZE = 2**31 - 1  # ids and positions are 32 bits
MAX_PARAMETERS = 10**13  # a hundred times the largest open model; 20 TB in bfloat16


@dataclass(frozen=True)
class RotaryScaling:
    """How rotary frequencies were stretched for longer contexts.

    Attributes:
        kind: `linear` divides all frequencies by `factor`; `llama3` (Llama 3.1) only the slow ones.
        factor: the stretch.
        low_frequency_factor: llama3: wavelengths above original_max_positions over this are stretched whole.
        high_frequency_factor: llama3: wavelengths below original_max_positions over this stay.
        original_max_positions: llama3: context before the stretch.
    """

    kind: Literal["linear", "llama3"]
    factor: float
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    original_max_positions: int = 8192


@dataclass(frozen=True)
class DecoderConfig(ModelConfig):
    """The shape of a decoder; the sizes are those of `ModelConfig`.

    Attributes:
        query_key_norm: RMSNorm over each head's queries and keys (Qwen3).
        query_key_value_bias, output_bias: biases of the attention's projections.
        feed_forward_bias: biases of the feed-forward projections.
    """

    tied_embeddings: bool = True
    normalization: Literal["rms", "layer"] = "rms"
    norm_epsilon: float = 1e-5
    activation: Literal["swiglu", "gelu", "gelu-tanh"] = "swiglu"
    positions: Literal["rotary", "learned"] = "rotary"
    rotary_theta: float = 10_000.0
    rotary_scaling: RotaryScaling | None = None
    query_key_norm: bool = False
    query_key_value_bias: bool = False
    output_bias: bool = False
    feed_forward_bias: bool = False

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
        if self.positions == "rotary" and self.head_size % 2:
            raise UserError(f"rotary positions need an even head_size, not {self.head_size}")

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

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        size, bias = config.head_size, config.query_key_value_bias
        self.head_size = size
        self.query = nn.Linear(config.hidden_size, config.num_heads * size, bias)
        self.key = nn.Linear(config.hidden_size, config.num_key_value_heads * size, bias)
        self.value = nn.Linear(config.hidden_size, config.num_key_value_heads * size, bias)
        self.output = nn.Linear(config.num_heads * size, config.hidden_size, config.output_bias)
        self.query_norm = Norm(size, config) if config.query_key_norm else None
        self.key_norm = Norm(size, config) if config.query_key_norm else None
        self.float32 = False  # see Decoder.keep_float32
        self.attend = attend

    def forward(self, x_BTD: Tensor, rotation: tuple[Tensor, Tensor] | None, layout: DocumentLayout | None) -> Tensor:
        """Attend; `rotation` holds the cosines and sines (each ?T1S) of rotary positions."""
        query_BTHS = self.query(x_BTD).unflatten(-1, (-1, self.head_size))
        key_BTKS = self.key(x_BTD).unflatten(-1, (-1, self.head_size))
        value_BTKS = self.value(x_BTD).unflatten(-1, (-1, self.head_size))
        if self.float32:
            query_BTHS, key_BTKS, value_BTKS = query_BTHS.float(), key_BTKS.float(), value_BTKS.float()
        if self.query_norm is not None and self.key_norm is not None:
            query_BTHS, key_BTKS = self.query_norm(query_BTHS), self.key_norm(key_BTKS)
        if rotation is not None:
            query_BTHS, key_BTKS = rotate(query_BTHS, *rotation), rotate(key_BTKS, *rotation)
        out_BTHS = self.attend(query_BTHS, key_BTKS, value_BTKS, layout)
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
    """A pre-norm layer: x + attention(norm(x)), then x + feed_forward(norm(x)).

    The branches compute in the type of their weights, whatever that of the residual stream.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.attention_norm = Norm(config.hidden_size, config)
        self.attention = Attention(config)
        self.feed_forward_norm = Norm(config.hidden_size, config)
        self.feed_forward = FeedForward(config)

    def forward(self, x_BTD: Tensor, rotation: tuple[Tensor, Tensor] | None, layout: DocumentLayout | None) -> Tensor:
        """Add both branches to the residual stream."""
        dtype = self.attention_norm.weight.dtype
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD).to(dtype), rotation, layout)
        return x_BTD + self.feed_forward(self.feed_forward_norm(x_BTD).to(dtype))


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
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
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
        layout = None  # every row is one document
        if documents_BT is not None:
            layout = DocumentLayout.of(documents_BT, self.row_cut, tokens_BT.device)
        longest = tokens_BT.shape[1] if layout is None else layout.longest
        if longest > self.config.max_positions:
            raise UserError(
                f"a document of {longest} tokens is longer than the model's max_positions "
                f"({self.config.max_positions}); lower sequence_length"
            )
        if positions_BT is None:
            places_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
            positions_BT = places_T[None] if layout is None else layout.positions_BT
        # Positions count within documents: learned ones are added once, rotary ones turn queries and keys in each layer.
        x_BTD, rotation = self.embedding(tokens_BT), None
        if self.position_embedding is not None:
            x_BTD = x_BTD + self.position_embedding(positions_BT)
        else:
            rotation = rotary(positions_BT, self.config)
        if self.float32_residual:
            x_BTD = x_BTD.float()
        for layer in self.layers:
            x_BTD = layer(x_BTD, rotation, layout)
        return self.norm(x_BTD).to(self.norm.weight.dtype)

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


def rotary(positions_BT: Tensor, config: DecoderConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions (RoFormer), float32, each BT1S with the two halves of S equal."""
    frequencies_S = rotary_frequencies(config).to(positions_BT.device)
    angles_BTS = positions_BT[..., None].float() * frequencies_S
    angles_BT1S = torch.cat([angles_BTS, angles_BTS], dim=-1)[:, :, None]
    return angles_BT1S.cos(), angles_BT1S.sin()


def rotary_frequencies(config: DecoderConfig) -> Tensor:
    """The S/2 frequencies in radians per position, float32, in the same order of operations as transformers'."""
    powers = torch.arange(0, config.head_size, 2, dtype=torch.int64).float() / config.head_size
    frequencies = 1.0 / (config.rotary_theta**powers)
    scaling = config.rotary_scaling
    if scaling is None:
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    wavelengths = 2 * math.pi / frequencies
    smooth = (scaling.original_max_positions / wavelengths - low) / (high - low)
    between = (1 - smooth) * frequencies / scaling.factor + smooth * frequencies
    slow = wavelengths > scaling.original_max_positions / low
    fast = wavelengths < scaling.original_max_positions / high
    return torch.where(slow, frequencies / scaling.factor, torch.where(fast, frequencies, between))


def rotate(x_BTHS: Tensor, cosines_BT1S: Tensor, sines_BT1S: Tensor) -> Tensor:
    """Turn each head's pairs (i, i + S/2) by their position's angles, in float32."""
    first, second = x_BTHS.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return (x_BTHS * cosines_BT1S + turned * sines_BT1S).to(x_BTHS.dtype)
