"""Tolerances of equalities in floating point: they follow the size of the numbers and the precision of their type."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike


def rounding(value: torch.Tensor | ArrayLike | Sequence[float], operations: int, dtype: str = "float32") -> float:
    """How far two computations of the same numbers may lie apart, absolutely.

    Processors sum in another order, and some round a product and a sum at once: so two ways of computing a number agree
    to a few roundings of the largest number on the way, on one processor to fewer than on the next.

    Args:
        value: what was computed, or the numbers that were summed on the way; the largest absolute one counts.
        operations: roundings on the way that may all fall to one side; a few dozen for a small model's forward pass.
        dtype: in what was computed.

    Returns:
        operations · machine epsilon · max |value|.
    """
    array = value.detach().double().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value, float)
    return operations * torch.finfo(getattr(torch, dtype)).eps * float(np.abs(array).max(initial=0.0))
