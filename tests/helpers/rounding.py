"""Tolerances of equalities in floating point: they follow the size of the numbers and the precision of their type."""

import numpy as np
import torch
from numpy.typing import ArrayLike


def rounding(*values: torch.Tensor | ArrayLike, operations: int, dtype: torch.dtype = torch.float32) -> float:
    """How far two computations of the same numbers may lie apart, absolutely.

    Processors sum in another order, and some round a product and a sum at once: so two ways of computing a number agree
    to a few roundings of the largest number on the way, on one processor to fewer than on the next.

    Args:
        values: what was computed, and what else was summed on the way; the largest absolute number counts.
        operations: roundings on the way that may all fall to one side: a few dozen for a small model.
        dtype: in what was computed.

    Returns:
        operations · machine epsilon · the largest |value|.
    """
    arrays = [
        x.detach().double().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x, float) for x in values
    ]
    return operations * torch.finfo(dtype).eps * max(float(np.abs(array).max(initial=0.0)) for array in arrays)


def drift(learning_rate: float, steps: int) -> float:
    """How far weights may lie apart after a short run that was computed in another order.

    AdamW moves a weight by about the learning rate a step, however small its gradient is; where that is all but zero,
    rounding decides part of the move. A fiftieth of the whole way is far above what was seen (a two-hundredth), and far
    below what one row read wrongly makes.
    """
    return learning_rate * steps / 50
