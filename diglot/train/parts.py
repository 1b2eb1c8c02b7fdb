"""Tensors that are cut over processes: the part that lies here, and the whole.

A plain tensor is its own part, so what is written with these functions is the code of one process too.
"""

from __future__ import annotations

from torch import Tensor
from torch.distributed.tensor import DTensor, Placement


def axis_of(placement: Placement) -> int | None:
    """The axis that a placement cuts, if it cuts. (`is_shard` leaves out the strided cuts of FSDP2 over tensor parallel.)"""
    return getattr(placement, "dim", None)


def local(tensor: Tensor) -> Tensor:
    """The part of a sharded tensor that lies on this process; a plain tensor as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor, gathered on every process; a plain tensor as it is."""
    return tensor.full_tensor().detach() if isinstance(tensor, DTensor) else tensor.detach()


def part_of(tensor: Tensor, like: Tensor) -> Tensor:
    """The part of a whole tensor that this process holds of a parameter: cut by the last mesh dimension first.

    That is FSDP2's order: tensor parallel cuts a weight first, and its shards cut what is left.
    """
    if not isinstance(like, DTensor):
        return tensor
    coordinate = like.device_mesh.get_coordinate()
    assert coordinate is not None
    for dim in reversed(range(like.device_mesh.ndim)):
        axis = axis_of(like.placements[dim])
        if axis is not None:
            pieces = tensor.chunk(like.device_mesh.size(dim), axis)
            empty = tensor.narrow(axis, 0, 0)
            tensor = pieces[coordinate[dim]] if coordinate[dim] < len(pieces) else empty
    return tensor
