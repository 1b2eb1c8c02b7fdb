"""Rotary positions (RoFormer; Su et al. 2021, 2104.09864), and how their frequencies were stretched for longer contexts.

    linear     all frequencies divided by the factor
    llama3     only the slow ones, with a smooth passage (Llama 3.1)
    yarn       likewise, by turns within the original context; queries and keys grow a little (Peng et al. 2023, 2309.00071)
    longrope   each frequency by a factor of its own; one list for documents within the original context, one for longer
               ones (Ding et al. 2024, 2402.13753; Phi-3, Phi-4-mini)
    dynamic    stretched only beyond max_positions, which no document is here: plain frequencies

All in transformers' order of operations, so that its bits come out.

Legend: B rows, T tokens of a row, H heads, S size of a head, R units of it that are rotated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["linear", "dynamic", "llama3", "yarn", "longrope"]


@dataclass(frozen=True)
class RotaryScaling:
    """How rotary frequencies were stretched for longer contexts.

    Attributes:
        kind: see the top of the file.
        factor: the stretch.
        low_frequency_factor: llama3: wavelengths above original_max_positions over this are stretched whole.
        high_frequency_factor: llama3: wavelengths below original_max_positions over this stay.
        original_max_positions: llama3, yarn, longrope: context before the stretch.
        attention_factor: yarn, longrope: what cosines and sines are multiplied by; None for the paper's (`magnitude`).
        fast_rotations: yarn: what turns more often than this within the original context stays.
        slow_rotations: yarn: what turns less often is stretched whole.
        truncate: yarn: the passage begins and ends at whole frequencies.
        short_factors, long_factors: longrope: one of each frequency, for short and for long documents.
    """

    kind: Kind
    factor: float
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    original_max_positions: int = 8192
    attention_factor: float | None = None
    fast_rotations: float = 32.0
    slow_rotations: float = 1.0
    truncate: bool = True
    short_factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = ()

    @property
    def magnitude(self) -> float:
        """What cosines and sines are multiplied by."""
        if self.attention_factor is not None:
            return self.attention_factor
        return usual_magnitude(self.kind, self.factor, self.original_max_positions)


def usual_magnitude(kind: str, factor: float, original_max_positions: int) -> float:
    """What cosines and sines are multiplied by where config.json does not say: YaRN's and LongRoPE's own formulas."""
    if kind not in ("yarn", "longrope") or factor <= 1:
        return 1.0
    if kind == "yarn":
        return 0.1 * math.log(factor) + 1.0
    return math.sqrt(1 + math.log(factor) / math.log(original_max_positions))


def rotary(
    positions_BT: Tensor, size: int, theta: float, scaling: RotaryScaling | None, long_BT: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions.

    Args:
        positions_BT: places in documents.
        size: units of a head that are rotated (R).
        theta: the base of the frequencies.
        scaling: how they were stretched.
        long_BT: longrope: which tokens lie in documents longer than the original context; None if none does.

    Returns:
        Float32, each BT1R with the two halves of R equal.
    """
    frequencies = rotary_frequencies(size, theta, scaling).to(positions_BT.device)
    if long_BT is not None:  # of each token its own, BTR
        stretched = rotary_frequencies(size, theta, scaling, long=True).to(positions_BT.device)
        frequencies = torch.where(long_BT.to(positions_BT.device)[..., None], stretched, frequencies)
    angles_BTR = positions_BT[..., None].float() * frequencies
    angles_BT1R = torch.cat([angles_BTR, angles_BTR], dim=-1)[:, :, None]
    cosines, sines = angles_BT1R.cos(), angles_BT1R.sin()
    if scaling is not None and scaling.magnitude != 1:
        cosines, sines = cosines * scaling.magnitude, sines * scaling.magnitude
    return cosines, sines


def rotary_frequencies(size: int, theta: float, scaling: RotaryScaling | None, *, long: bool = False) -> Tensor:
    """The R/2 frequencies in radians per position, float32; `long` ones are longrope's for long documents."""
    powers = torch.arange(0, size, 2, dtype=torch.int64).float() / size
    frequencies = 1.0 / (theta**powers)
    if scaling is None or scaling.kind == "dynamic":
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    if scaling.kind == "llama3":
        return _llama3(frequencies, scaling)
    if scaling.kind == "longrope":
        factors = torch.tensor(scaling.long_factors if long else scaling.short_factors, dtype=torch.float32)
        return 1.0 / (factors * theta**powers)
    kept = 1 - _passage(size, theta, scaling)
    return 1.0 / (scaling.factor * theta**powers) * (1 - kept) + frequencies * kept


def _llama3(frequencies: Tensor, scaling: RotaryScaling) -> Tensor:
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    wavelengths = 2 * math.pi / frequencies
    smooth = (scaling.original_max_positions / wavelengths - low) / (high - low)
    between = (1 - smooth) * frequencies / scaling.factor + smooth * frequencies
    slow = wavelengths > scaling.original_max_positions / low
    fast = wavelengths < scaling.original_max_positions / high
    return torch.where(slow, frequencies / scaling.factor, torch.where(fast, frequencies, between))


def _passage(size: int, theta: float, scaling: RotaryScaling) -> Tensor:
    """YaRN: how far each of the R/2 frequencies is stretched, from 0 (fast ones) to 1 (slow ones)."""

    def place(rotations: float) -> float:
        """Which frequency turns so often within the original context."""
        return (size * math.log(scaling.original_max_positions / (rotations * 2 * math.pi))) / (2 * math.log(theta))

    low, high = place(scaling.fast_rotations), place(scaling.slow_rotations)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    if low == high:
        high += 0.001  # as transformers, against a division by zero
    return ((torch.arange(size // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)


def rotate(x_BTHS: Tensor, cosines_BT1R: Tensor, sines_BT1R: Tensor) -> Tensor:
    """Turn pairs (i, i + R/2) of each head's first R units by their position's angles, in float32; the others stay."""
    size = cosines_BT1R.shape[-1]
    if size < x_BTHS.shape[-1]:
        turned = rotate(x_BTHS[..., :size], cosines_BT1R, sines_BT1R)
        return torch.cat([turned, x_BTHS[..., size:]], dim=-1)
    first, second = x_BTHS.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return (x_BTHS * cosines_BT1R + turned * sines_BT1R).to(x_BTHS.dtype)


def in_longer_documents(documents_BT: Tensor, limit: int) -> Tensor:
    """Which tokens lie in documents of more than `limit` tokens (bool, BT); documents are runs of equal numbers in a row."""
    B, T = documents_BT.shape
    run_BT = torch.zeros(B, T, dtype=torch.int64)
    run_BT[:, 1:] = (documents_BT[:, 1:] != documents_BT[:, :-1]).cumsum(dim=1)
    run_BT += T * torch.arange(B)[:, None]
    return run_BT.flatten().bincount()[run_BT] > limit
