"""What a rank holds of every parameter: its weight, its gradient, its moments; exact, from the real decoder's shapes.

    what                              bytes a number                          allocated in
    weight                            4; `weights: bfloat16` 2                train/base.py
    weight of four bits               1/2 + 1/64 + 4/16,384, and 1,092        train/base.py, by bitsandbytes
    gradient of what a phase trains   as its weight
    AdamW's moments                   8, and 4 a parameter                    train/optimizer.py
    the same in 8 bits                2, and 8 a block of 256 of a row        train/low_memory.py; of matrices
    Muon's moment of a matrix         4                                       train/optimizer.py

An adapter (peft's, train/adapter.py) adds to a matrix of R × C its rank · (R + C) numbers, DoRA R more, in float32; all else
then has weights alone, but the tables with new rows. What a phase does not train has no gradient, and moments only where
a later phase goes on with them. Parameters are cut along their rows over the ranks.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch

from diglot.model.decoder import Decoder, DecoderConfig
from diglot.plan.execution import MASTER, Execution
from diglot.train.base import BLOCK as FOUR_BIT_BLOCK
from diglot.train.low_memory import BLOCK

# Linear layers that tensor parallel cuts along their input (the second dimension of the weight).
ROW_PARALLEL = ("attention.output.weight", "feed_forward.down.weight")
TABLES = ("embedding.weight", "head.weight")
# Four bits: blocks of weights have a scale of a byte each, 256 of these a float32; and two tables of codes (16 and 256
# float32) and an offset a matrix.
SCALES, CODES = 256, 4 * (16 + 256 + 1)
Shapes = dict[str, tuple[int, ...]]


# --- parameters -----------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def parameter_shapes(config: DecoderConfig) -> Shapes:
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


def has_four_bits(name: str, shape: tuple[int, ...], execution: Execution) -> bool:
    """Whether a weight has four bits: of the layers' matrices those whose rows are whole blocks."""
    return execution.weights == "nf4" and is_layers_matrix(name, shape) and shape[1] % FOUR_BIT_BLOCK == 0


def is_layers_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter is the matrix of one of the layers' linear maps: an adapter's targets, and what four bits hold."""
    return ".layers." in f".{name}" and len(shape) == 2 and ".lora_" not in name


@functools.lru_cache(maxsize=64)
def trainable_shapes(config: DecoderConfig, execution: Execution) -> Shapes:
    """The shapes of the model's own parameters, and of its adapter's, by peft's names."""
    found = dict(parameter_shapes(config))
    for name, shape in parameter_shapes(config).items():
        if is_layers_matrix(name, shape) and execution.targets(name):
            module, (rows, columns) = name.removesuffix("weight"), shape
            found[f"{module}lora_A.default.weight"] = (execution.adapter_rank, columns)
            found[f"{module}lora_B.default.weight"] = (rows, execution.adapter_rank)
            if execution.adapter_kind == "dora":
                found[f"{module}lora_magnitude_vector.default.weight"] = (rows,)
    return found


def local_rows(name: str, shape: tuple[int, ...], execution: Execution) -> tuple[int, int]:
    """Rows of a parameter that one rank keeps, and numbers of a row (the first rank: others may have a row less)."""
    rows, rest = shape[0], math.prod(shape[1:])
    if _is_cut(name, shape):
        if name.endswith(ROW_PARALLEL):
            rest = math.ceil(rest / execution.tensor_parallel)
        else:
            rows = math.ceil(rows / execution.tensor_parallel)
    return math.ceil(rows / execution.shards), rest


def local_size(name: str, shape: tuple[int, ...], execution: Execution) -> int:
    """Numbers of a parameter that one rank keeps."""
    return math.prod(local_rows(name, shape, execution))


def _is_cut(name: str, shape: tuple[int, ...]) -> bool:
    """Whether tensor parallel cuts a parameter: all but norms, and biases that are added after a sum over ranks."""
    biased = name.endswith((".query.bias", ".key.bias", ".value.bias", ".up.bias", ".gate.bias"))
    return len(shape) > 1 or biased


# --- bytes ----------------------------------------------------------------------------------------------------


def weight_bytes(name: str, shape: tuple[int, ...], execution: Execution) -> int:
    """Bytes of a weight as it lies on a rank."""
    size = local_size(name, shape, execution)
    if ".lora_" in name:
        return MASTER * size
    if has_four_bits(name, shape, execution):
        blocks = math.ceil(size / FOUR_BIT_BLOCK)
        return math.ceil(size / 2) + blocks + 4 * math.ceil(blocks / SCALES) + CODES
    if name in TABLES:
        return execution.table_bytes * size
    return (MASTER if execution.weights == "float32" else 2) * size


def moment_bytes(name: str, shape: tuple[int, ...], execution: Execution) -> int:
    """Bytes of a parameter's state in the optimizer."""
    rows, width = local_rows(name, shape, execution)
    if execution.optimizer == "muon" and is_layers_matrix(name, shape):
        return MASTER * rows * width
    count = 4  # of the parameter's steps
    if execution.moments == "8-bit" and len(shape) > 1:
        return 2 * rows * (width + 4 * math.ceil(width / BLOCK)) + count
    return 2 * MASTER * rows * width + count


# --- what a phase trains --------------------------------------------------------------------------------------


def group_of(name: str, shape: tuple[int, ...]) -> str:
    """The optimizer's group (train/optimizer.py)."""
    if name in ("embedding.weight", "position_embedding.weight"):
        return "embeddings"
    return "output" if name == "head.weight" else "matrices" if len(shape) > 1 else "vectors"


def trained(config: DecoderConfig, execution: Execution, phase: tuple[str, ...]) -> dict[str, bool]:
    """The parameters that a phase trains, and whether some of their rows only; as `select` of train/freezing.py."""
    shapes, (trains, *frozen) = trainable_shapes(config, execution), phase
    adapter = execution.adapter_rank > 0
    names: dict[str, bool] = {}
    if trains == "all":
        names = {name: False for name in shapes if not adapter or ".lora_" in name}
    if trains == "embeddings":
        names = {name: False for name, shape in shapes.items() if group_of(name, shape) in ("embeddings", "output")}
    if trains in ("new-rows", "new-rows-and-layers") or (trains == "all" and adapter and execution.new_rows):
        names |= {name: True for name in TABLES if name in shapes}
    if trains in ("new-layers", "new-rows-and-layers"):
        # Layers are alike, so it matters how many of them are new, and not which.
        new = range(config.num_layers - execution.new_layers, config.num_layers)
        names |= {name: False for index in new for name in shapes if name.startswith(f"layers.{index}.")}
    return {name: by_rows for name, by_rows in names.items() if group_of(name, shapes[name]) not in frozen}


def with_moments(selections: list[dict[str, bool]], index: int) -> set[str]:
    """The parameters that have moments in a phase: what it trains, and what a later phase goes on with."""
    held = set(selections[index])
    for name in set().union(*selections[:index]) - held:
        later = next((selection for selection in selections[index + 1 :] if name in selection), None)
        before = next(selection for selection in reversed(selections[:index]) if name in selection)
        # Trained whole after some rows, its moments begin afresh.
        if later is not None and not (before[name] and not later[name]):
            held.add(name)
    return held


@dataclass(frozen=True)
class States:
    """What a rank holds of all parameters in a phase.

    Attributes:
        weights: bytes, of the model with its adapter.
        gradients: bytes, of what the phase trains.
        optimizer: bytes of moments.
        moved: bytes of the weights that some phase trains, which a checkpoint holds.
        trained: names of what the phase trains.
    """

    weights: float
    gradients: float
    optimizer: float
    moved: float
    trained: frozenset[str]


@functools.lru_cache(maxsize=256)
def states(config: DecoderConfig, execution: Execution) -> tuple[States, ...]:
    """What a rank holds, by phase."""
    shapes = trainable_shapes(config, execution)
    weights = {name: weight_bytes(name, shape, execution) for name, shape in shapes.items()}
    moments = {name: moment_bytes(name, shape, execution) for name, shape in shapes.items()}
    selections = [trained(config, execution, phase) for phase in execution.phases]
    moved = set().union(*selections)
    found = []
    for index, selection in enumerate(selections):
        held = moved if execution.keeps_moments else with_moments(selections, index)
        found.append(
            States(
                weights=sum(weights.values()),
                gradients=sum(weights[name] for name in selection),
                optimizer=sum(moments[name] for name in held),
                moved=sum(weights[name] for name in moved),
                trained=frozenset(selection),
            )
        )
    return tuple(found)
