"""Bytes a device while training, by category, at the moment when most are held.

Weights, gradients and moments (states.py: 16 bytes a parameter in float32) are divided among all devices (FSDP2 over
data-parallel ranks, each parameter cut along its first dimension; tensor parallel within them). On top come what a
forward pass keeps for the backward pass, weights gathered for use, and the loss. These come and go, so they are summed
for each of six moments, in each phase, and the largest sum is the peak:

    loss                     all activations are kept; the loss holds its own gradient of the output weight
    backward, last layer     all activations are kept still; the layer's gradient is being reduced
    backward, first layer    one layer's activations are left; gradients of all layers are there
    embedding's gradient     tied: the input's and the output's gradient are added, into a third of their shape
    reducing the embedding   the gradients of embedding and output weight, whole, in two types
    optimizer step           weights, gradients, optimizer

What a layer keeps, in numbers a token (H heads, K key-value heads, S size of a head, D hidden, I intermediate; as in
Korthikanti et al. 2022, 2205.05198, without dropout and with attention that keeps no matrix of weights):

    inputs of both norms                     2 D    in the type of the residual stream
    inputs of query, key, value and of up    2 D    5 D where autocast casts each (GELU 4 D)
    query, key, value, attended values       (2 H + 2 K) S
    attended values, put back in order       H S    where rows hold several documents
    feed-forward                             2 I with GELU, 4 I with SwiGLU

Inputs of linear maps are kept where their weights or an adapter are trained, which adds its rank a token for each matrix
that it goes to (DoRA: the matrix's results twice). With activation checkpointing a layer keeps its input alone (D) and
everything else is there for one layer at a time.
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

import math
from dataclasses import dataclass

from diglot.model.attention import BAND
from diglot.model.decoder import DecoderConfig
from diglot.model.loss import CACHED_LOGITS, CHUNK_LOGITS, MIN_CHUNK
from diglot.plan.execution import MASTER, Execution
from diglot.plan.states import States, has_four_bits, local_size, states, trainable_shapes
from diglot.train.low_memory import GPU_CHUNK

# Fragmentation and what a formula leaves out: memory that torchtitan's table says was reserved for Llama-3.1 8B lies 19%,
# 14% and 19% above the sum (8 and 128 H100 with selective, 8 with full checkpointing); the total is then within 4%.
MARGIN = 0.15
# The same on a CPU, where glibc's heap keeps much of what was freed: resident memory of real steps lay 43% to 53% above
# the sum for models of 7 million parameters, and 17% to 24% where glibc was told to give back everything (tests/plan); of
# SmolLM2-135M 37% above it, Python and torch taken off.
HOST_MARGIN = 0.4
# Held outside of PyTorch's allocator: CUDA's context, cuBLAS, NCCL; on a CPU Python and torch themselves.
CONTEXT = 2**30
# Bytes that AdamW holds for each number of a chunk where weights or moments have fewer bits (train/low_memory.py): gradient,
# moments, codes, random numbers.
LEAN_BYTES = 40


@dataclass(frozen=True)
class Memory:
    """Bytes a device.

    Attributes:
        moment: when most is held.
        categories: bytes then, by category: weights, gradients, optimizer, gathered, activations, loss, and
            copy where there is one.
        moments: the sum at every moment.
        margin: for fragmentation, and what libraries hold.
        offloaded: that lie in the CPU's memory instead, of one rank.
    """

    moment: str
    categories: dict[str, float]
    moments: dict[str, float]
    margin: float
    offloaded: float = 0.0

    @property
    def peak(self) -> float:
        """Bytes at the peak, without the margin."""
        return self.moments[self.moment]

    @property
    def total(self) -> float:
        """Bytes a device should have."""
        return self.peak + self.margin


# --- activations ----------------------------------------------------------------------------------------------


def layer_activations(config: DecoderConfig, execution: Execution) -> int:
    """Bytes that one layer keeps for its backward pass, without checkpointing."""
    compute, residual = execution.compute_bytes, execution.residual_bytes
    attention = 4 if execution.float32_residual else compute
    heads, all_heads = config.num_heads, config.num_heads + config.num_key_value_heads
    hidden, inner = config.hidden_size, config.intermediate_size
    statistics = 4 * (2 if config.normalization == "layer" else 1)  # of a norm, a token
    in_attention, in_feed_forward = (_keeps_inputs(execution, part) for part in ("attention", "feed_forward"))

    split: float = 2 * (hidden * residual + statistics)
    if execution.host and config.normalization == "rms":
        split += 2 * hidden * residual  # a CPU's RMSNorm keeps its steps
    split += 2 * heads * config.head_size * attention + 4 * heads
    seen = execution.context_parallel + 0.5 if execution.context_parallel > 1 else 1
    split += 2 * seen * config.num_key_value_heads * config.head_size * attention
    # The output projection's input: put back in order, or cast.
    if in_attention and (execution.packed or attention != compute):
        split += heads * config.head_size * compute
    if config.query_key_norm:  # the norms' inputs
        norms = all_heads if config.query_key_norm == "head" else 2
        split += all_heads * config.head_size * compute + norms * statistics
    split += ((3 if config.activation == "swiglu" else 1) + in_feed_forward) * inner * compute
    # Autocast casts the float32 that a norm gives anew for each map that reads it.
    casts = not execution.sharded and execution.weights == "float32" and compute != MASTER
    readers = (3, 2 if config.activation == "swiglu" else 1) if casts else (1, 1)
    gathered = (in_attention * readers[0] + in_feed_forward * readers[1]) * hidden * compute
    gathered += _adapter_activations(config, execution)
    of_tokens = execution.tokens * (math.ceil(split / execution.tensor_parallel) + gathered)
    return of_tokens + _window_mask(config, execution)


def _window_mask(config: DecoderConfig, execution: Execution) -> int:
    """Bytes of the mask of a layer with a window; all layers are taken for such where one is."""
    window = max((layer.window or 0 for layer in config.layer_attention), default=0)
    if not 0 < window < execution.sequence_length:
        return 0
    on_cpu = execution.host or execution.float32_residual
    return min(BAND, execution.sequence_length) * (window + BAND) * (4 if on_cpu else execution.compute_bytes)


def _keeps_inputs(execution: Execution, part: str) -> bool:
    """Whether the linear maps of a part of the layers keep their inputs: for their own gradient, or an adapter's."""
    if execution.adapter_rank:
        return execution.targets(part)
    return any(phase[0] in ("all", "new-layers", "new-rows-and-layers") for phase in execution.phases)


def _adapter_activations(config: DecoderConfig, execution: Execution) -> int:
    """Bytes that an adapter adds to a layer's, a token: what lies between its matrices; DoRA's results, which it scales."""
    numbers = 0
    for name, shape in trainable_shapes(config, execution).items():
        if name.startswith("layers.0.") and ".lora_A." in name:
            numbers += shape[0]
        elif name.startswith("layers.0.") and ".lora_magnitude_vector." in name:
            numbers += 2 * shape[0]
    return numbers * execution.compute_bytes


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


def loss_bytes(config: DecoderConfig, execution: Execution, trains_output: bool = True) -> int:
    """Bytes that the loss holds while it is computed, the gradients that it takes included.

    Args:
        config: the model's shape.
        execution: how it is trained.
        trains_output: whether the output weight has a gradient.
    """
    compute, weight = execution.compute_bytes, _output_weight(config, execution)
    rows = weight // config.hidden_size
    hidden = 2 * compute * execution.tokens * config.hidden_size
    cast = 0 if execution.sharded or compute == execution.table_bytes else compute * weight
    if execution.loss == "whole":
        # log-softmax, its gradient and that of the logits in float32: the backward pass holds three at once.
        return 12 * execution.tokens * rows + compute * weight + hidden + cast
    chunk = max(MIN_CHUNK, CHUNK_LOGITS // config.vocabulary_size) * (MASTER // compute)
    logits = min(execution.tokens, chunk) * rows
    # A few tokens' logits and softmax in float32, as on a CPU, where dry runs compute (a GPU's 100 MB are within CONTEXT); after
    # them, but in float32, which is added in place, a chunk's part of the weight's gradient.
    softmax = 3 * MASTER * min(logits, CACHED_LOGITS[True])
    part = compute * weight if trains_output and compute != MASTER else 0
    return compute * logits + MASTER * weight * trains_output + max(softmax, part) + hidden + cast


# --- the peak -------------------------------------------------------------------------------------------------


def memory(config: DecoderConfig, execution: Execution, *, margin: bool = True) -> Memory:
    """Bytes a device at the peak, in the phase that holds most.

    Args:
        config: the model's shape.
        execution: how it is trained.
        margin: whether to add MARGIN (or HOST_MARGIN) and CONTEXT.
    """
    phases = [_phase(config, execution, held, margin) for held in states(config, execution)]
    return max(phases, key=lambda found: found.peak)


def _phase(config: DecoderConfig, execution: Execution, held: States, margin: bool) -> Memory:
    kept: dict[str, float] = {"weights": held.weights, "gradients": held.gradients, "optimizer": held.optimizer}
    if execution.copies:
        kept["copy"] = held.moved + held.optimizer
    offloaded = sum(kept.values()) if execution.away else 0.0
    kept = dict.fromkeys(kept, 0.0) if execution.away else kept
    working = _moments(config, execution, held, kept["gradients"])
    moments = {name: kept | added for name, added in working.items()}
    sums = {name: sum(categories.values()) for name, categories in moments.items()}
    moment = max(sums, key=sums.__getitem__)
    share = HOST_MARGIN if execution.host else MARGIN
    spare = share * sums[moment] + CONTEXT if margin else 0.0
    return Memory(moment, moments[moment], sums, spare, offloaded)


def _moments(
    config: DecoderConfig, execution: Execution, held: States, gradients: float
) -> dict[str, dict[str, float]]:
    """What is held beside weights and optimizer at every moment; `gradients` are those that stay on the device."""
    tables = {"output": "embedding.weight" if config.tied_embeddings else "head.weight", "input": "embedding.weight"}
    trains = {name: table in held.trained for name, table in tables.items()}
    moments = (_moments_of_many if execution.sharded else _moments_of_one)(config, execution, held, gradients, trains)
    if not (config.tied_embeddings and trains["input"]):
        moments.pop("embedding's gradient", None)
    lean = execution.moments == "8-bit" or (execution.weights == "bfloat16" and not execution.adapter_rank)
    if lean and not execution.away:
        largest = max(math.prod(shape) for shape in trainable_shapes(config, execution).values())
        moments["optimizer step"]["gathered"] += LEAN_BYTES * min(GPU_CHUNK, largest)
    return moments


def _moments_of_many(
    config: DecoderConfig, execution: Execution, held: States, gradients: float, trains: dict[str, bool]
) -> dict[str, dict[str, float]]:
    compute = execution.compute_bytes
    root, layer = _whole_sizes(config, execution)
    moved_root, moved_layer = _whole_sizes(config, execution, held.trained)
    kept, one = kept_activations(config, execution), layer_activations(config, execution)
    again = one if execution.activation_checkpointing else 0
    before = gradients if execution.accumulates else 0.0
    flowing, output = _flowing(config, execution), _output_weight(config, execution)
    # FSDP2 gathers the embedding once, and beside a layer in use the next one, through a buffer; a layer's gradient is
    # reduced in float32 from a copy.
    whole, reducing = compute * root, (compute + MASTER) * moved_layer
    of_output = compute * output if trains["output"] else 0
    return {
        "loss": _held(before, whole + compute * layer, kept, loss_bytes(config, execution, trains["output"])),
        "backward, last layer": _held(
            before + reducing, whole + 3 * compute * layer, kept + again + flowing, of_output
        ),
        "backward, first layer": _held(gradients + reducing, whole + 2 * compute * layer, one + flowing, of_output),
        "reducing the embedding": _held(gradients + (compute + MASTER) * moved_root),
        "optimizer step": _held(gradients),
        "embedding's gradient": _held(gradients + 3 * compute * output, whole),
    }


def _moments_of_one(
    config: DecoderConfig, execution: Execution, held: States, gradients: float, trains: dict[str, bool]
) -> dict[str, dict[str, float]]:
    """The moments of a process that shards nothing: autocast keeps a copy of each float32 matrix in its type instead."""
    kept, one = kept_activations(config, execution), layer_activations(config, execution)
    again = one if execution.activation_checkpointing else 0
    before = gradients if execution.accumulates else 0.0
    flowing = _flowing(config, execution)
    output = execution.table_bytes * _output_weight(config, execution) if trains["output"] else 0
    forward, layer = _copies(config, execution, held)
    return {
        "loss": _held(before, forward, kept, loss_bytes(config, execution, trains["output"])),
        "backward, last layer": _held(before, layer if again else forward, kept + again + flowing, output),
        "backward, first layer": _held(gradients, layer, one + flowing),
        "optimizer step": _held(gradients),
        "embedding's gradient": _held(gradients + output),
    }


def _copies(config: DecoderConfig, execution: Execution, held: States) -> tuple[float, float]:
    """Bytes of matrices in the type of products: after the forward pass, and while one layer is computed."""
    compute = execution.compute_bytes
    if compute == MASTER:
        return 0.0, 0.0
    found = {"cached": 0.0, "used": 0.0}
    coarse = 0.0  # a matrix of four bits is laid out for its product, and let go
    for name, shape in trainable_shapes(config, execution).items():
        if not name.startswith("layers.0."):
            continue
        size = compute * math.prod(shape)
        if ".lora_" in name or execution.weights == "float32":
            # What is frozen is cast anew at each use; without checkpointing the backward pass keeps that.
            stays = name in held.trained or not execution.activation_checkpointing
            found["cached" if stays else "used"] += size
        elif has_four_bits(name, shape, execution):
            coarse = max(coarse, size)
    layer = found["cached"] + found["used"] + coarse
    return config.num_layers * found["cached"] + found["used"] + coarse, layer


def _whole_sizes(config: DecoderConfig, execution: Execution, names: frozenset[str] | None = None) -> tuple[int, int]:
    """Numbers of (everything beside the layers, the largest layer) that a rank uses when they are gathered.

    Args:
        config: the model's shape.
        execution: how it is trained.
        names: parameters that count; all where it is None.
    """
    gathered = Execution(tensor_parallel=execution.tensor_parallel)
    root, layers = 0, [0] * config.num_layers
    for name, shape in trainable_shapes(config, execution).items():
        if names is not None and name not in names:
            continue
        size = local_size(name, shape, gathered)
        if name.startswith("layers."):
            layers[int(name.split(".")[1])] += size
        else:
            root += size
    return root, max(layers)


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
