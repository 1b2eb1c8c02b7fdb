"""Muon: momentum made orthogonal, for the matrices of a model's layers (Jordan et al. 2024, kellerjordan.github.io).

    momentum ← 0.95 · momentum + 0.05 · gradient
    update   = orthogonal(0.95 · momentum + 0.05 · gradient)                              (Nesterov)
    weight   ← weight − learning_rate · (weight_decay · weight + 0.2 · √max(rows, columns) · update)

An orthogonal update moves all directions of a matrix alike, where AdamW's moves few. Five Newton–Schulz steps find it
without a singular value decomposition; most singular values end between 0.7 and 1.2, which is near enough. The factor
0.2 · √max(rows, columns) gives an update the size of AdamW's, so rate and weight decay are AdamW's (Moonlight 2502.16982,
2.2). Half the state: one moment instead of two. Query, key and value are a matrix each.

A matrix that is cut over processes is gathered, one at a time, made orthogonal on every process, and each takes its
part; so every process does the whole work of the five steps, and the result is that of one process.

Legend: R rows, C columns of a matrix.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from diglot.train.parts import local, part_of

MOMENTUM = 0.95  # Jordan et al. 2024; Moonlight 2502.16982
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024: the steepest that still converge
ITERATIONS = 5
SIZE = 0.2  # root mean square of AdamW's update; Moonlight 2502.16982


def orthogonal(matrix_RC: Tensor, dtype: torch.dtype) -> Tensor:
    """The nearest matrix with singular values of about 1, by Newton–Schulz in a data type."""
    a, b, c = COEFFICIENTS
    wide = matrix_RC.to(dtype)
    if tall := matrix_RC.shape[0] > matrix_RC.shape[1]:
        wide = wide.T
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if tall else wide


def step_matrix(
    parameter: Tensor, gradient: Tensor, momentum: Tensor, *, learning_rate: float, weight_decay: float, skip: Tensor
) -> None:
    """One step of a matrix, in place.

    Args:
        parameter: the matrix, plain or cut over processes, (R, C).
        gradient: its gradient, cut likewise.
        momentum: its momentum, cut likewise.
        learning_rate: of the step.
        weight_decay: share of the weight that a step at learning rate 1 would take away.
        skip: 0-dim; 1 leaves weight and momentum bit for bit as they are, whatever the gradient is.
    """
    skipped = skip > 0
    ahead = local(momentum).lerp(local(gradient), 1 - MOMENTUM)
    update = _orthogonal_part(local(gradient).lerp(ahead, MOMENTUM), parameter)
    size = SIZE * math.sqrt(max(parameter.shape))
    moved = (local(parameter) * (1 - learning_rate * weight_decay)).add_(update, alpha=-learning_rate * size)
    local(parameter).copy_(torch.where(skipped, local(parameter), moved))
    local(momentum).copy_(torch.where(skipped, local(momentum), ahead))


def _orthogonal_part(update: Tensor, parameter: Tensor) -> Tensor:
    """The orthogonal matrix of an update of which this process holds the part that it holds of the parameter."""
    dtype = torch.float32 if update.device.type == "cpu" else torch.bfloat16
    if isinstance(parameter, DTensor):
        cut = DTensor.from_local(
            update, parameter.device_mesh, parameter.placements, shape=parameter.shape, stride=parameter.stride()
        )
        update = part_of(orthogonal(cut.full_tensor(), dtype), parameter)
    else:
        update = orthogonal(update, dtype)
    return update.to(parameter.dtype)
