"""AdamW in little memory: moments of 8 bits, and bfloat16 weights that are rounded at random.

**Moments of 8 bits** (Dettmers et al. 2021, 2110.02861): a matrix's moments are codes of values between −1 and 1, 256 of
them, dense near zero, and every 256 numbers of a row share a scale, their largest. Blocks end with their row, so rows
can be cut over processes or stepped by themselves. A step takes some rows at a time, in float32. Vectors are few and keep
float32. torchao has the same (`AdamW8bit`), as tensors of a kind of its own; here they are plain ones, which checkpoints,
rows and shards know.

**Rounding at random**: added to a bfloat16 weight of 1, an update below 0.004 is lost by the nearest rounding. Rounded up or
down by how near it is, it counts in the mean (2010.06192), without a copy in float32. The random numbers are a hash of the
run's seed, the parameter's name, how often it was stepped, and the number's place in the whole parameter: a resume, and
any number of processes, round alike.

Legend: R rows, C columns of a matrix, B blocks of a row, N numbers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.tensor import DTensor

from diglot.train.parts import local, part_of

BLOCK = 256  # numbers that share a scale; torchao's, and bitsandbytes' from 2023 on
BIN = 15  # bits of a float32 behind its sign, exponent and first 8 bits
# Numbers of a parameter that are in float32 at a time, weights, gradients and moments of each. A step of 4 million on one
# CPU core: 2^15 0.117 s, 2^18 0.095, 2^20 0.106, 2^22 0.184. A GPU wants few calls, and 16 MB are little there.
CHUNK, GPU_CHUNK = 2**18, 2**22
SMALLEST_SCALE = 1e-12  # as torchao has it: what is divided by a scale stays finite
MOMENTS = {"exp_avg": True, "exp_avg_sq": False}  # and whether they can be negative
GOLDEN, FIRST, SECOND = -1640531535, -2048144789, -1028477387  # 2³²/φ, and murmur3's multipliers, as signed 32 bits


# --- 8 bits ---------------------------------------------------------------------------------------------------


@functools.cache
def code_values(signed: bool, device: torch.device) -> Tensor:
    """What the 256 codes stand for, ascending: seven decades, each with twice as many values as the one below.

    Bitsandbytes' dynamic map: the means of neighbours on a grid from 0.1 to 1, of 1 (unsigned: 2), 2, 4 … 64 intervals
    for the decades from 10⁻⁶ up to 1; and 0 and 1 themselves.
    """
    values = [0.0, 1.0]
    for decade in range(7):
        grid = torch.linspace(0.1, 1, 2 ** (decade + (0 if signed else 1)) + 1)
        means = 10.0 ** (decade - 6) * (grid[:-1] + grid[1:]) / 2
        values += [*means.tolist(), *((-means).tolist() if signed else [])]
    return torch.tensor(sorted(values), device=device)


@functools.cache
def borders(signed: bool, device: torch.device) -> Tensor:
    """Half way between neighbouring codes."""
    values = code_values(signed, device)
    return (values[1:] + values[:-1]) / 2


@functools.cache
def first_codes(signed: bool, device: torch.device) -> Tensor:
    """The code of the least number of each bin: of all floats with the same sign, exponent and first 8 bits after it.

    Bins are narrower than codes, so that the code of any number is that of its bin or the next. Finding it so takes a fifth
    of the time of a search among the borders (torch.bucketize), on a CPU.
    """
    bins = torch.arange(2**17, dtype=torch.int32, device=device) << BIN
    least = torch.where(bins < 0, bins | (2**BIN - 1), bins).view(
        torch.float32
    )  # a negative one is least at its far end
    return torch.bucketize(least, borders(signed, device), out_int32=True, right=True)


def nearest_codes(values: Tensor, signed: bool) -> Tensor:
    """The code nearest to each number between −1 and 1; uint8."""
    bins_N = (values.flatten().view(torch.int32) >> BIN).bitwise_and_(2**17 - 1)
    codes_N = first_codes(signed, values.device).index_select(0, bins_N)
    above_N = borders(signed, values.device).index_select(0, codes_N.clamp(max=254))
    codes_N += values.flatten() >= above_N
    return codes_N.clamp_(max=255).to(torch.uint8).view(values.shape)


def in_blocks(rows_RC: Tensor) -> Tensor:
    """Rows cut into blocks (RBX), the last one filled up with zeros."""
    return F.pad(rows_RC, (0, -rows_RC.shape[1] % BLOCK)).unflatten(1, (-1, BLOCK))


def encode(values_RC: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Codes (RC, uint8) and scales (RB, float32) of rows of numbers."""
    blocks_RBX = in_blocks(values_RC)
    scales_RB = blocks_RBX.abs().amax(dim=2).clamp(min=SMALLEST_SCALE)
    codes_RBX = nearest_codes(blocks_RBX / scales_RB[..., None], signed)
    return codes_RBX.flatten(1)[:, : values_RC.shape[1]], scales_RB


def decode(codes_RC: Tensor, scales_RB: Tensor, signed: bool) -> Tensor:
    """The inverse of `encode`, to the nearest code."""
    codes_RBX = in_blocks(codes_RC)
    values_N = code_values(signed, codes_RC.device).index_select(0, codes_RBX.flatten().int())
    return (values_N.view(codes_RBX.shape) * scales_RB[..., None]).flatten(1)[:, : codes_RC.shape[1]]


def fresh_moments(parameter: Tensor, in_8_bits: bool) -> dict[str, Tensor]:
    """Moments of zero, cut over processes as the parameter is: float32, or in 8 bits where it is a matrix."""
    if not in_8_bits or parameter.ndim < 2:
        return {name: torch.zeros_like(parameter, dtype=torch.float32, requires_grad=False) for name in MOMENTS}
    found = {}
    for name in MOMENTS:
        found[name] = torch.zeros_like(parameter, dtype=torch.uint8, requires_grad=False)
        blocks = math.ceil(parameter.shape[1] / BLOCK)
        scales = torch.zeros(len(local(parameter)), blocks, device=local(parameter).device)
        if isinstance(parameter, DTensor):
            shape, stride = torch.Size([parameter.shape[0], blocks]), (blocks, 1)
            scales = DTensor.from_local(
                scales, parameter.device_mesh, parameter.placements, run_check=False, shape=shape, stride=stride
            )
        found[f"{name}_scale"] = scales  # of zero: whatever the codes are, they stand for zero
    return found


# --- rounding at random ---------------------------------------------------------------------------------------


def mixed(bits_N: Tensor) -> Tensor:
    """Murmur3's last steps: 32 bits of which each depends on all. In place; int32 wraps around."""
    bits_N ^= (bits_N >> 16) & 0xFFFF
    bits_N *= FIRST
    bits_N ^= (bits_N >> 13) & 0x7FFFF
    bits_N *= SECOND
    bits_N ^= (bits_N >> 16) & 0xFFFF
    return bits_N


def rounded_at_random(values: Tensor, key: Tensor, first: int) -> Tensor:
    """Numbers rounded to bfloat16, up or down by how near it is.

    Args:
        values: float32.
        key: 0-dim, int32: of the parameter at this step.
        first: place of the first of them in the whole parameter.
    """
    places_N = torch.arange(values.numel(), dtype=torch.int32, device=values.device)
    places_N += (first + 2**31) % 2**32 - 2**31  # as int32 wraps
    random_N = mixed(places_N * GOLDEN + key)
    # The lower 16 bits are what bfloat16 lacks. A random number below 2¹⁶ added to them carries as often as they are large.
    bits_N = values.flatten().view(torch.int32) + (random_N & 0xFFFF)
    return (bits_N & -0x10000).view(torch.float32).to(torch.bfloat16).view(values.shape)


# --- a step ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AdamW:
    """The numbers of a parameter group's step."""

    learning_rate: float
    betas: tuple[float, float]
    epsilon: float
    weight_decay: float


def is_lean(parameter: Tensor, state: Mapping[str, Tensor]) -> bool:
    """Whether a parameter is stepped here: torch's fused AdamW knows neither 8 bits nor rounding at random."""
    return parameter.dtype == torch.bfloat16 or "exp_avg_scale" in state


def step_lean(
    parameter: Tensor,
    gradient: Tensor,
    state: Mapping[str, Tensor],
    rows: Sequence[slice] | None,
    numbers: AdamW,
    skip: Tensor,
    seed: int,
) -> None:
    """One step of AdamW of a parameter, in place.

    Args:
        parameter: float32 or bfloat16; plain, or cut over processes by rows.
        gradient: its gradient, cut likewise.
        state: its moments and count of steps.
        rows: those that move, of the part that lies here; all where it is None.
        numbers: of the step.
        skip: 0-dim; 1 leaves weights, moments and count bit for bit as they are, whatever the gradient is.
        seed: of the parameter's random numbers, 31 bits.
    """
    weight, grad = local(parameter), local(gradient)
    # All that depends on the count stays on the device: nothing waits for it.
    skipped, count = skip > 0, state["step"] + 1
    corrections = [1 - beta**count for beta in numbers.betas]
    key = mixed(count.to(torch.int32) * GOLDEN + seed)
    begins, width = first_row(parameter), math.prod(weight.shape[1:])
    size = max(1, (CHUNK if weight.device.type == "cpu" else GPU_CHUNK) // width)
    for part in in_chunks([slice(0, len(weight))] if rows is None else rows, size):
        moments = _next_moments(state, grad[part].float(), part, numbers.betas, skipped)
        # Bias correction; then as torch's AdamW: decay first, epsilon beside the root.
        mean, square = (moment / correction for moment, correction in zip(moments, corrections))
        moved = weight[part].float() * (1 - numbers.learning_rate * numbers.weight_decay)
        moved -= numbers.learning_rate * mean / square.sqrt_().add_(numbers.epsilon)
        if weight.dtype == torch.bfloat16:
            moved = rounded_at_random(moved, key, (begins + part.start) * width)
        weight[part] = torch.where(skipped, weight[part], moved)
    state["step"].add_(1 - skip)


def _next_moments(
    state: Mapping[str, Tensor], grad: Tensor, part: slice, betas: tuple[float, float], skipped: Tensor
) -> list[Tensor]:
    """The moments of some rows after a gradient, float32; they are stored too, unless the step is skipped."""
    found = []
    for (name, signed), beta, value in zip(MOMENTS.items(), betas, (grad, grad.square())):
        stored, scales = local(state[name])[part], None
        if f"{name}_scale" in state:
            scales = local(state[f"{name}_scale"])[part]
        moment = (stored if scales is None else decode(stored, scales, signed)).lerp(value, 1 - beta)
        # The update is of the moment before it is made coarser, as torchao's.
        found.append(moment)
        for target, new in zip((stored, scales), (moment,) if scales is None else encode(moment, signed)):
            assert target is not None
            target.copy_(torch.where(skipped, target, new))
    return found


def in_chunks(rows: Sequence[slice], size: int) -> Iterator[slice]:
    """Runs of rows, cut into pieces of so many at most."""
    for run in rows:
        for start in range(run.start, run.stop, size):
            yield slice(start, min(start + size, run.stop))


def first_row(parameter: Tensor) -> int:
    """Which row of the whole parameter the part on this process begins with."""
    if not isinstance(parameter, DTensor):
        return 0
    numbers_R = torch.arange(parameter.shape[0]).view(-1, *[1] * (parameter.ndim - 1)).expand(parameter.shape)
    mine = part_of(numbers_R, parameter)
    return int(mine.flatten()[0]) if mine.numel() else 0
