"""Bytes a device while training, by category, at the moment when most are held.

Weights are kept in float32, with as many bytes of gradients and twice as many of AdamW's state: 16 bytes a parameter,
divided among all devices (FSDP2 over data-parallel ranks, each parameter cut along its first dimension; tensor
parallel within them). On top come what a forward pass keeps for the backward pass, weights gathered for use, and
the loss. These come and go, so they are summed for each of six moments, and the largest sum is the peak:

    loss                     all activations are kept; the loss holds its own gradient of the output weight
    backward, last layer     all activations are kept still; the layer's gradient is being reduced
    backward, first layer    one layer's activations are left; gradients of all layers are there
    embedding's gradient     tied: the input's and the output's gradient are added, into a third of their shape
    reducing the embedding   the gradients of embedding and output weight, whole, in two types
    optimizer step           weights, gradients, optimizer

What a layer keeps, in numbers a token (H heads, K key-value heads, S size of a head, D hidden, I intermediate; as in
Korthikanti et al. 2022, 2205.05198, without dropout and with attention that keeps no matrix of weights):

    inputs of both norms                     2 D    in the type of the residual stream
    inputs of query, key, value and of up    2 D
    query, key, value, attended values       (2 H + 2 K) S
    attended values, put back in order       H S    where rows hold several documents
    feed-forward                             2 I with GELU, 4 I with SwiGLU

With activation checkpointing a layer keeps its input alone (D) and everything else is there for one layer at a time.
Under tensor parallel with sequence parallel, all is divided but the inputs of query, key, value and up, which are
gathered. Norms behind the branches keep as many inputs (2 D). A window narrower than the rows costs each layer that has one
a mask (BAND queries by the keys that they see). Where c ranks share the tokens of a row (context parallel) each keeps what its own tokens need, and keys and
values that they see: of a document that fills the row, (c + 1/2) times as many as it has tokens. The loss walks over
chunks of tokens (diglot/model/loss.py): it holds a chunk's logits, the output weight's gradient in float32, and one
product of its shape.

How well this holds: against dry runs of the real model (dryrun.py) from 1% below to 12% above; torchtitan's published
reservations are 14 to 19% above the sum, which is where MARGIN comes from (tests/plan).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import torch

from diglot.model.attention import BAND
from diglot.model.decoder import Decoder, DecoderConfig
from diglot.model.loss import CHUNK_LOGITS, MIN_CHUNK

MASTER = 4  # bytes of a weight, a gradient, and of each of AdamW's two moments
# Fragmentation and what a formula leaves out: memory that torchtitan's table says was reserved for Llama-3.1 8B lies 19%,
# 14% and 19% above the sum (8 and 128 H100 with selective, 8 with full checkpointing); the total is then within 4%.
MARGIN = 0.15
# The same on a CPU, where glibc's heap keeps much of what was freed: resident memory of real steps lay 43% to 53% above
# the sum for models of 7 million parameters, and 17% to 24% where glibc was told to give back everything (tests/plan); of
# SmolLM2-135M 37% above it, Python and torch taken off.
HOST_MARGIN = 0.4
# Held outside of PyTorch's allocator: CUDA's context, cuBLAS, NCCL; on a CPU Python and torch themselves.
CONTEXT = 2**30
# Linear layers that tensor parallel cuts along their input (the second dimension of the weight).
ROW_PARALLEL = ("attention.output.weight", "feed_forward.down.weight")


@dataclass(frozen=True)
class Execution:
    """How a training stage runs on its devices.

    Attributes:
        data_parallel: ranks that read different sequences.
        tensor_parallel: ranks that each layer is cut into.
        context_parallel: ranks that share the tokens of every sequence.
        replicas: copies of every parameter; each is sharded over all other ranks of data and context parallel.
        micro_batch_size: sequences a rank holds at a time.
        sequence_length: tokens of a sequence.
        precision: type of products; weights stay in float32.
        activation_checkpointing: keep layer inputs and compute the rest again in the backward pass.
        float32_residual: residual stream and attention in float32 (PolyLM 3.3).
        accumulates: a step has several micro-batches, so gradients are there from the second on.
        reference: DPO's reference model is held too, sharded alike.
        packed: rows hold several documents, which attention groups by length and puts back (attention.py).
        sharded: FSDP2's types and gathering; without, one process under autocast (diglot/train/loop.py).
        optimizer: Muon has one moment of each layer's matrices instead of two.
        loss: `whole` is what others do: all logits at once.
        host: all is in a CPU's memory.
        copies: a checkpoint's copy lies in the same memory while it is written, and from the first one on.
    """

    data_parallel: int = 1
    tensor_parallel: int = 1
    context_parallel: int = 1
    replicas: int = 1
    micro_batch_size: int = 1
    sequence_length: int = 2048
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    activation_checkpointing: bool = False
    float32_residual: bool = False
    accumulates: bool = False
    reference: bool = False
    packed: bool = False
    sharded: bool = True
    optimizer: Literal["adamw", "muon"] = "adamw"
    loss: Literal["chunked", "whole"] = "chunked"
    host: bool = False
    copies: bool = False

    @property
    def compute_bytes(self) -> int:
        """Bytes of a number in products."""
        return 2 if self.precision == "bfloat16" else 4

    @property
    def residual_bytes(self) -> int:
        """Bytes of a number of the residual stream; autocast leaves it in float32."""
        return 4 if self.float32_residual or not self.sharded else self.compute_bytes

    @property
    def ranks(self) -> int:
        """Devices in all."""
        return self.data_parallel * self.context_parallel * self.tensor_parallel

    @property
    def shards(self) -> int:
        """Ranks that each parameter, or its tensor-parallel part, is sharded over."""
        return self.data_parallel * self.context_parallel // self.replicas

    @property
    def tokens(self) -> int:
        """Tokens in a rank's memory at a time."""
        return self.micro_batch_size * self.sequence_length // self.context_parallel


@dataclass(frozen=True)
class Memory:
    """Bytes a device.

    Attributes:
        moment: when most is held.
        categories: bytes then, by category: weights, gradients, optimizer, gathered, activations, loss, and
            reference and copy where there is one.
        moments: the sum at every moment.
        margin: for fragmentation, and what libraries hold.
    """

    moment: str
    categories: dict[str, float]
    moments: dict[str, float]
    margin: float

    @property
    def peak(self) -> float:
        """Bytes at the peak, without the margin."""
        return self.moments[self.moment]

    @property
    def total(self) -> float:
        """Bytes a device should have."""
        return self.peak + self.margin


# --- parameters -----------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def parameter_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of the real decoder, by name; nothing is allocated."""
    with torch.device("meta"):
        return {name: tuple(parameter.shape) for name, parameter in Decoder(config).named_parameters()}


def parameters(config: DecoderConfig) -> dict[str, int]:
    """Number of parameters: `embedding`, `positions`, `layers`, `norm`, `head` (0 if tied) and `total`."""
    counts = dict.fromkeys(("embedding", "positions", "layers", "norm", "head"), 0)
    for name, shape in parameter_shapes(config).items():
        first = name.partition(".")[0]
        counts["positions" if first == "position_embedding" else first] += math.prod(shape)
    return counts | {"total": sum(counts.values())}


def local_size(name: str, shape: tuple[int, ...], execution: Execution) -> int:
    """Numbers of a parameter that one rank keeps (the first rank: others may have a row less)."""
    rows, rest = shape[0], math.prod(shape[1:])
    if _is_cut(name, shape):
        if name.endswith(ROW_PARALLEL):
            rest = math.ceil(rest / execution.tensor_parallel)
        else:
            rows = math.ceil(rows / execution.tensor_parallel)
    return math.ceil(rows / execution.shards) * rest


def _is_cut(name: str, shape: tuple[int, ...]) -> bool:
    """Whether tensor parallel cuts a parameter: all but norms, and biases that are added after a sum over ranks."""
    biased = name.endswith((".query.bias", ".key.bias", ".value.bias", ".up.bias", ".gate.bias"))
    return len(shape) > 1 or biased


def _whole_sizes(config: DecoderConfig, tensor_parallel: int) -> tuple[int, int]:
    """Numbers of (everything beside the layers, the largest layer) that a rank uses when they are gathered."""
    gathered = Execution(tensor_parallel=tensor_parallel)
    root, layers = 0, [0] * config.num_layers
    for name, shape in parameter_shapes(config).items():
        size = local_size(name, shape, gathered)
        if name.startswith("layers."):
            layers[int(name.split(".")[1])] += size
        else:
            root += size
    return root, max(layers)


# --- activations ----------------------------------------------------------------------------------------------


def layer_activations(config: DecoderConfig, execution: Execution) -> int:
    """Bytes that one layer keeps for its backward pass, without checkpointing."""
    compute, residual = execution.compute_bytes, execution.residual_bytes
    attention = 4 if execution.float32_residual else compute
    heads, all_heads = config.num_heads, config.num_heads + config.num_key_value_heads
    hidden, inner = config.hidden_size, config.intermediate_size
    statistics = 4 * (2 if config.normalization == "layer" else 1)  # of a norm, a token

    split: float = 2 * (hidden * residual + statistics)
    split += 2 * heads * config.head_size * attention + 4 * heads
    seen = execution.context_parallel + 0.5 if execution.context_parallel > 1 else 1
    split += 2 * seen * config.num_key_value_heads * config.head_size * attention
    if execution.packed or attention != compute:  # the output projection's input: put back in order, or cast
        split += heads * config.head_size * compute
    if config.query_key_norm:  # the norms' inputs
        norms = all_heads if config.query_key_norm == "head" else 2
        split += all_heads * config.head_size * compute + norms * statistics
    split += (4 if config.activation == "swiglu" else 2) * inner * compute
    gathered = 2 * hidden * compute
    return execution.tokens * (math.ceil(split / execution.tensor_parallel) + gathered) + _window_mask(
        config, execution
    )


def _window_mask(config: DecoderConfig, execution: Execution) -> int:
    """Bytes of the mask of a layer with a window; all layers are taken for such where one is."""
    window = max((layer.window or 0 for layer in config.layer_attention), default=0)
    if not 0 < window < execution.sequence_length:
        return 0
    on_cpu = execution.host or execution.float32_residual
    return min(BAND, execution.sequence_length) * (window + BAND) * (4 if on_cpu else execution.compute_bytes)


def kept_activations(config: DecoderConfig, execution: Execution) -> int:
    """Bytes of activations kept at the end of the forward pass."""
    hidden = execution.tokens * config.hidden_size / execution.tensor_parallel
    layer = (
        hidden * execution.residual_bytes
        if execution.activation_checkpointing
        else layer_activations(config, execution)
    )
    kinds = {layer.rotary for layer in config.attention_by_layer} - {"none"} if config.positions == "rotary" else ()
    rotations = 2 * 4 * execution.tokens * config.rotary_size * len(kinds)
    return math.ceil(config.num_layers * layer + hidden * execution.residual_bytes + rotations)


def loss_bytes(config: DecoderConfig, execution: Execution) -> int:
    """Bytes that the loss holds while it is computed, the gradients that it takes included."""
    compute, weight = execution.compute_bytes, _output_weight(config, execution)
    rows = weight // config.hidden_size
    hidden = 2 * compute * execution.tokens * config.hidden_size
    cast = 0 if execution.sharded or compute == MASTER else compute * weight
    if execution.loss == "whole":
        # log-softmax, its gradient and that of the logits in float32: the backward pass holds three at once.
        return 12 * execution.tokens * rows + compute * weight + hidden + cast
    chunk = min(execution.tokens, max(MIN_CHUNK, CHUNK_LOGITS // config.vocabulary_size))
    in_type = 0 if compute == MASTER else compute  # float32 needs no copy, and adds products in place
    return chunk * rows * (MASTER + in_type) + (MASTER + in_type) * weight + hidden + cast


# --- the peak -------------------------------------------------------------------------------------------------


def memory(config: DecoderConfig, execution: Execution, *, margin: bool = True) -> Memory:
    """Bytes a device at the peak.

    Args:
        config: the model's shape.
        execution: how it is trained.
        margin: whether to add MARGIN (or HOST_MARGIN) and CONTEXT.
    """
    states = _states(config, execution)
    moments = {name: states | working for name, working in _moments(config, execution, states["gradients"]).items()}
    sums = {name: sum(categories.values()) for name, categories in moments.items()}
    moment = max(sums, key=sums.__getitem__)
    share = HOST_MARGIN if execution.host else MARGIN
    spare = share * sums[moment] + CONTEXT if margin else 0.0
    return Memory(moment, moments[moment], sums, spare)


def _states(config: DecoderConfig, execution: Execution) -> dict[str, float]:
    """Bytes of weights, gradients and optimizer that one rank keeps."""
    shapes = parameter_shapes(config)
    sizes = {name: MASTER * local_size(name, shape, execution) for name, shape in shapes.items()}
    size = sum(sizes.values())
    by_muon = [
        name
        for name, shape in shapes.items()
        if execution.optimizer == "muon" and name.startswith("layers.") and len(shape) > 1
    ]
    states: dict[str, float] = {
        "weights": size,
        "gradients": size,
        # and AdamW's counter of steps a parameter
        "optimizer": 2 * size - sum(sizes[name] for name in by_muon) + 4 * (len(shapes) - len(by_muon)),
    }
    if execution.copies:
        states["copy"] = states["weights"] + states["optimizer"]
    return states | ({"reference": size} if execution.reference else {})


def _moments(config: DecoderConfig, execution: Execution, gradients: float) -> dict[str, dict[str, float]]:
    """What is held beside weights and optimizer at every moment; `gradients` are those of all parameters."""
    if not execution.sharded:
        return _moments_of_one(config, execution, gradients)
    compute = execution.compute_bytes
    root, layer = _whole_sizes(config, execution.tensor_parallel)
    kept, one = kept_activations(config, execution), layer_activations(config, execution)
    again = one if execution.activation_checkpointing else 0
    before = gradients if execution.accumulates else 0.0
    flowing, output = _flowing(config, execution), _output_weight(config, execution)
    # FSDP2 gathers the embedding once, and beside a layer in use the next one, through a buffer; a layer's gradient is
    # reduced in float32 from a copy.
    whole, reducing = compute * root, (compute + MASTER) * layer
    moments = {
        "loss": _held(before, whole + compute * layer, kept, loss_bytes(config, execution)),
        "backward, last layer": _held(
            before + reducing, whole + 3 * compute * layer, kept + again + flowing, compute * output
        ),
        "backward, first layer": _held(
            gradients + reducing, whole + 2 * compute * layer, one + flowing, compute * output
        ),
        "reducing the embedding": _held(gradients + (compute + MASTER) * root),
        "optimizer step": _held(gradients),
    }
    if config.tied_embeddings:
        moments["embedding's gradient"] = _held(gradients + 3 * compute * output, whole)
    return moments


def _moments_of_one(config: DecoderConfig, execution: Execution, gradients: float) -> dict[str, dict[str, float]]:
    """The moments of a process that shards nothing: autocast keeps a copy of each matrix in its type instead."""
    compute = execution.compute_bytes
    _, layer = _whole_sizes(config, execution.tensor_parallel)
    kept, one = kept_activations(config, execution), layer_activations(config, execution)
    again = one if execution.activation_checkpointing else 0
    before = gradients if execution.accumulates else 0.0
    flowing, output = _flowing(config, execution), MASTER * _output_weight(config, execution)
    copy = 0 if compute == MASTER else compute * layer
    copies = config.num_layers * copy
    moments = {
        "loss": _held(before, copies, kept, loss_bytes(config, execution)),
        "backward, last layer": _held(before, copy if again else copies, kept + again + flowing, output),
        "backward, first layer": _held(gradients, copy, one + flowing),
        "optimizer step": _held(gradients),
    }
    if config.tied_embeddings:
        moments["embedding's gradient"] = _held(gradients + output)
    return moments


def _held(gradients: float, gathered: float = 0, activations: float = 0, loss: float = 0) -> dict[str, float]:
    return {"gradients": gradients, "gathered": gathered, "activations": activations, "loss": loss}


def _output_weight(config: DecoderConfig, execution: Execution) -> int:
    """Numbers of the output weight that a rank uses."""
    return math.ceil(config.vocabulary_size / execution.tensor_parallel) * config.hidden_size


def _flowing(config: DecoderConfig, execution: Execution) -> int:
    """Bytes of gradients of activations in flight: of the feed-forward's inner values, and of two hidden states."""
    inner = (3 if config.activation == "swiglu" else 2) * config.intermediate_size
    return (
        math.ceil(execution.compute_bytes * execution.tokens * inner / execution.tensor_parallel)
        + 2 * execution.residual_bytes * execution.tokens * config.hidden_size
    )
