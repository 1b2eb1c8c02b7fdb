"""Model weights on disk: safetensors, in one file or in shards with an index.

Reading and writing go one tensor at a time, so that a model of any size passes through the memory of its largest
tensor. (`safetensors.torch.save_file` takes all tensors of a file at once; the format is a header and the tensors'
bytes in a row, which `write_file` writes as they come.) Nothing else is read: pickled weights can run code.

    weights = StoredWeights(folder)
    write_weights(other_folder, weights.shapes(), lambda name: weights.tensor(name) * 2)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diglot.base.errors import UserError
from diglot.base.files import read_json, write_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
EXPANSION = "diglot-expansion.json"  # beside the weights: what an expansion added, for training that starts with it
MAX_SHARD_BYTES = 5 * 10**9  # the hub's own default
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class StoredWeights:
    """The tensors of a model folder, by name, read when asked for.

    Attributes:
        file_of: the file that holds each tensor.
        passed_over: a second set of the weights in the folder, of which nothing is read; None where there is none.
    """

    def __init__(self, folder: Path, single: str = SINGLE) -> None:
        """Find the tensors.

        Args:
            folder: holds an index and shards, or one file.
            single: the name of that file.

        Raises:
            UserError: there are no safetensors, or a file is missing, torn or not what the index says.
        """
        self.folder = folder
        self.file_of: dict[str, Path] = {}
        index = folder / INDEX
        # Where there are both, as a download of several layouts leaves them, transformers takes the one file.
        self.passed_over = INDEX if (folder / single).is_file() and index.is_file() else None
        if (folder / single).is_file():
            files = [folder / single]
        elif index.is_file():
            files = self._read_index(index)
        else:
            pickled = sorted(file.name for file in folder.glob("*.bin"))
            reason = f"only {pickled[0]}, a pickle, which could run code" if pickled else f"no {single}"
            raise UserError(
                f"{folder}: {reason}. Load the model with transformers where you trust it and "
                "save it again: model.save_pretrained(folder) writes safetensors."
            )
        self._shapes: dict[str, Tensor] = {}
        for file in files:
            self._read_header(file)
        if missing := sorted(set(self.file_of) - set(self._shapes)):
            raise UserError(f"{self.file_of[missing[0]]}: has no tensor {missing[0]!r}, though {INDEX} says so")

    def _read_index(self, index: Path) -> list[Path]:
        content = read_json(index, "save the model again")
        weight_map = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(weight_map, dict) or not weight_map:
            raise UserError(f"{index}: not an index of safetensors: no weight_map of tensors' names and files")
        for name, file_name in weight_map.items():
            if not isinstance(file_name, str) or "\0" in file_name or Path(file_name).name != file_name:
                raise UserError(f"{index}: {name}: {file_name!r} is not a plain file name")
            self.file_of[name] = self.folder / file_name
        return sorted(set(self.file_of.values()))

    def _read_header(self, file: Path) -> None:
        if not file.is_file():  # a pipe would be waited for
            raise UserError(f"{file}: is missing, or no file")
        indexed = bool(self.file_of)
        try:
            with safe_open(file, "pt") as stream:
                for name in stream.keys():  # noqa: SIM118  (not a dictionary)
                    if indexed and self.file_of.get(name) != file:
                        continue
                    part = stream.get_slice(name)
                    dtype = DTYPES.get(part.get_dtype())
                    if dtype is None:
                        raise UserError(
                            f"{file}: {name}: type {part.get_dtype()} is not one of {', '.join(DTYPES)}; "
                            "quantised weights must be converted first"
                        )
                    self.file_of[name] = file
                    self._shapes[name] = torch.empty(part.get_shape(), dtype=dtype, device="meta")
        except (SafetensorError, OSError, RuntimeError, OverflowError) as error:  # the last two: sizes beyond 64 bits
            raise UserError(f"{file}: cannot be read as safetensors: {error}") from error

    def shapes(self) -> dict[str, Tensor]:
        """All tensors on the meta device: shapes and types without data."""
        return dict(self._shapes)

    def tensor(self, name: str) -> Tensor:
        """One tensor's data."""
        with safe_open(self.file_of[name], "pt") as stream:
            return stream.get_tensor(name)


def write_weights(
    folder: Path, shapes: Mapping[str, Tensor], tensor: Callable[[str], Tensor], max_shard_bytes: int | None = None
) -> None:
    """Write safetensors: one file, or shards and their index above 5 GB.

    Args:
        folder: an existing folder.
        shapes: every tensor's name, with its shape and type (on the meta device, or the tensor itself).
        tensor: gives the data of a name, in that shape and type; asked once each, and let go before the next.
        max_shard_bytes: size of a file at most (MAX_SHARD_BYTES if absent); a larger tensor gets one of its own.
    """
    meta = {name: torch.empty_like(shapes[name], device="meta") for name in sorted(shapes)}
    plan = split_torch_state_dict_into_shards(meta, max_shard_size=max_shard_bytes or MAX_SHARD_BYTES)
    for file_name, names in plan.filename_to_tensors.items():
        write_file(folder / file_name, names, meta, tensor)
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        write_json(folder / INDEX, index, indent=2, sort_keys=True)


def write_file(file: Path, names: Sequence[str], shapes: Mapping[str, Tensor], tensor: Callable[[str], Tensor]) -> None:
    """Write one file of safetensors: the header's length (64 bits), the header in JSON, the tensors' bytes."""
    codes = {dtype: code for code, dtype in DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        begin, end = end, end + shapes[name].nbytes
        shape = list(shapes[name].shape)
        header[name] = {"dtype": codes[shapes[name].dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begin at a multiple of 8 bytes
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little"))
        stream.write(text)
        for name in names:
            stream.write(_bytes(tensor(name), shapes[name], name))


def _bytes(tensor: Tensor, wanted: Tensor, name: str) -> memoryview:
    """A tensor's bytes. (Kept in a variable of the loop, it would be held while the next one is made.)"""
    data = tensor.detach().cpu().contiguous()
    assert (data.shape, data.dtype) == (wanted.shape, wanted.dtype), name
    return data.reshape(-1).view(torch.uint8).numpy().data
