"""The formulas of merging, for one tensor of every model at a time.

    linear            Σ wᵢ θᵢ                                    Model soups, 2203.05482; checkpoint averages
    slerp             from θ₁ to θ₂ along the sphere             of two models; the weights say how far
    task-arithmetic   θ₀ + λ Σ wᵢ τᵢ,  τᵢ = θᵢ - θ₀              Ilharco et al. 2023, 2212.04089, 2
    ties              the same, with τᵢ trimmed to its largest values, and of these only those whose sign is that of
                      Σ wᵢ τᵢ, averaged over the models left     Yadav et al. 2023, 2306.01708, 3
    dare              the same as task-arithmetic, with random values of τᵢ dropped and the others divided by the
                      share kept                                 Yu et al. 2024, 2311.03099, 3
    dare-ties         ties, with dare's choice instead of the largest values

θ₀ is the base, wᵢ the weights, λ the scale. All is computed in float32, in an order that no number of threads changes.

    merged = merger("ties", [0.5, 0.5], density=0.2)("model.norm.weight", tensors, base)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from diglot.base.randomness import key_hash

Merger = Callable[[str, Iterable[Tensor], Tensor | None], Tensor]

DENSITY = {"ties": 0.2, "dare": 0.1, "dare-ties": 0.1}  # 2306.01708, 4: top 20%; 2311.03099, 4: 90% dropped
NEARLY_PARALLEL = 0.9995  # cosine above which the sphere is taken as flat: its sine loses all digits
CHUNK = 1 << 20  # values summed at a time, in float64


def merger(
    method: str, weights: Sequence[float], *, density: float | None = None, scale: float = 1.0, seed: str = ""
) -> Merger:
    """What merges the tensors of one name: called with that name, the models' tensors in order, and the base's.

    Args:
        method: one of the methods above.
        weights: one a model.
        density: share of a difference from the base that is kept (ties, dare); the papers' if absent.
        scale: of the merged difference from the base.
        seed: of dare's choice; name and number of a tensor's model make it differ.
    """
    if method == "linear":
        return lambda name, tensors, base: linear(tensors, weights)
    if method == "slerp":
        share = weights[1] / (weights[0] + weights[1])

        def between(name: str, tensors: Iterable[Tensor], base: Tensor | None) -> Tensor:
            first, second = tensors
            return slerp(first, second, share)

        return between
    # All others merge differences from the base: trimmed, combined, scaled, and added to it.
    kept = DENSITY.get(method, 1.0) if density is None else density
    combine = disjoint_mean if method.endswith("ties") else linear

    def trimmed(task: Tensor, key: str) -> Tensor:
        if method == "task-arithmetic":
            return task
        return largest(task, kept) if method == "ties" else drop_and_rescale(task, kept, key)

    def merged(name: str, tensors: Iterable[Tensor], base: Tensor | None) -> Tensor:
        assert base is not None, "only linear and slerp have no base"
        base = base.float()
        # dare's choice depends on the tensor's name and the model's number, not on what was merged before.
        tasks = [trimmed(tensor.float() - base, f"{seed}/{name}/{number}") for number, tensor in enumerate(tensors)]
        return combine(tasks, weights).mul_(scale).add_(base)

    return merged


def linear(tensors: Iterable[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted sum, in float32; one tensor and the sum are in memory."""
    total: Tensor | None = None
    for tensor, weight in zip(tensors, weights, strict=True):
        total = torch.zeros(tensor.shape) if total is None else total
        total.add_(tensor.float(), alpha=weight)
    assert total is not None
    return total


def slerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """The point at a share of the way from the first tensor to the second, along the great circle between them.

    Lengths are interpolated with the same coefficients (as mergekit does); nearly parallel tensors on a straight line.
    """
    first, second = first.float(), second.float()
    lengths = math.sqrt(_dot(first, first)), math.sqrt(_dot(second, second))
    cosine = _dot(first, second) / (lengths[0] * lengths[1]) if all(lengths) else 1.0
    if abs(cosine) > NEARLY_PARALLEL:
        return torch.lerp(first, second, share)
    angle = math.acos(cosine)
    coefficients = math.sin((1 - share) * angle) / math.sin(angle), math.sin(share * angle) / math.sin(angle)
    return coefficients[0] * first + coefficients[1] * second


def _dot(first: Tensor, second: Tensor) -> float:
    """Inner product in float64 by numpy's pairwise sum, which is the same for any number of threads."""
    pairs = zip(first.reshape(-1).split(CHUNK), second.reshape(-1).split(CHUNK))
    return math.fsum(float(np.sum(one.numpy().astype(np.float64) * other.numpy())) for one, other in pairs)


def largest(task: Tensor, density: float) -> Tensor:
    """A task vector with all but its largest values set to zero; values as large as the smallest kept are kept."""
    kept = max(1, int(density * task.numel()))
    if kept >= task.numel():
        return task
    sizes = task.abs().reshape(-1).numpy()
    sizes.partition(task.numel() - kept)  # in place; torch's kthvalue takes three times the memory
    smallest_kept = float(sizes[task.numel() - kept])
    return task.masked_fill((task < smallest_kept) & (task > -smallest_kept), 0.0)


def drop_and_rescale(task: Tensor, density: float, key: str) -> Tensor:
    """A task vector with random values set to zero and the others divided by the share kept: the same on average."""
    chance = torch.rand(task.shape, generator=torch.Generator().manual_seed(key_hash(key)))
    return (task / density).masked_fill_(chance >= density, 0.0)


def disjoint_mean(tasks: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted mean of the values whose sign is the elected one, that of the weighted sum of all."""
    elected = linear(tasks, weights) >= 0
    total, weight_left = torch.zeros(tasks[0].shape), torch.zeros(tasks[0].shape)
    for task, weight in zip(tasks, weights, strict=True):
        agreeing = task * weight
        agreeing.masked_fill_((agreeing >= 0) != elected, 0.0)
        total += agreeing
        weight_left.add_(agreeing.ne_(0), alpha=weight)
    return total.div_(weight_left.masked_fill_(weight_left == 0, 1.0))
