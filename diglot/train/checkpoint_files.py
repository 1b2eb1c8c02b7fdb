"""The files of a checkpoint: torch's, but for the index, which torch would pickle.

Reading a pickle runs what its writer put there, and a run folder may come from somebody else. So the index is JSON, and
what torch pickles inside its files (tensors and small values) is read with `weights_only`.

    {"tensors": {"model.norm.weight": {"type": "float32", "size": [64], "parts": [[[0], [64], ["__0_0.distcp", 0, 1521]]]}},
     "values": {"optimizer.param_groups.…": ["__0_0.distcp", 1521, 1083]}}

A part is its offsets and sizes, and where it lies: file, offset and length in bytes.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter, _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)

from diglot.base.errors import UserError
from diglot.base.files import read_json, write_json

INDEX = "index.json"


class Writer(FileSystemWriter):
    """Writes and syncs files. On a GPU's machine too it touches no device: what it is given lies on the CPU."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, sync_files=True, per_thread_copy_ahead=0)

    def write_data(self, plan: Any, planner: Any) -> Any:
        """As torch's, but a full disk is an OSError, not "unexpected pos" of the zip format."""
        try:
            return super().write_data(plan, planner)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise

    def finish(self, metadata: Metadata, results: Any) -> None:
        """Write the index instead of torch's `.metadata`."""
        places = {each.index: each.storage_data for written in results for each in written}
        write_json(Path(self.path) / INDEX, _index_of(metadata, places), indent=None, durable=True)


class Reader(FileSystemReader):
    """Reads what `Writer` wrote.

    Raises:
        UserError: there is no index that can be read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        index = read_json(path / INDEX, "an older checkpoint is taken")
        try:
            self._metadata = _metadata_of(index)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path / INDEX}: not an index of a checkpoint ({error!r})") from error

    def read_metadata(self, *given: Any, **named: Any) -> Metadata:
        """What the index says."""
        return self._metadata


class Planner(DefaultLoadPlanner):
    """Reads values without running code."""

    def load_bytes(self, read_item: Any, value: io.BytesIO) -> None:
        """As torch's, which would unpickle anything: it is given what was read without, written anew."""
        ours = io.BytesIO()
        torch.save(torch.load(value, weights_only=True), ours)
        ours.seek(0)
        super().load_bytes(read_item, ours)


def _index_of(metadata: Metadata, places: dict[MetadataIndex, _StorageInfo]) -> dict[str, Any]:
    """Torch's description of a checkpoint as JSON."""

    def place(name: str, offsets: Any = None) -> list[Any]:
        found = places[MetadataIndex(name, offsets)]
        return [found.relative_path, found.offset, found.length]

    tensors, values = {}, {}
    for name, about in metadata.state_dict_metadata.items():
        if isinstance(about, TensorStorageMetadata):
            parts = [[list(part.offsets), list(part.sizes), place(name, part.offsets)] for part in about.chunks]
            kind = str(about.properties.dtype).removeprefix("torch.")
            tensors[name] = {"type": kind, "size": list(about.size), "parts": parts}
        else:
            values[name] = place(name)
    return {"tensors": tensors, "values": values}


def _metadata_of(index: dict[str, Any]) -> Metadata:
    """What `_index_of` was given.

    Raises:
        ValueError: it says something else.
    """
    described: dict[str, Any] = {name: BytesStorageMetadata() for name in index["values"]}
    places = {MetadataIndex(name): _place(*found) for name, found in index["values"].items()}
    for name, about in index["tensors"].items():
        if not isinstance(kind := getattr(torch, about["type"]), torch.dtype):
            raise ValueError(f"{about['type']} is no type of tensors")
        parts = [ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)) for offsets, sizes, _ in about["parts"]]
        described[name] = TensorStorageMetadata(TensorProperties(kind), torch.Size(about["size"]), parts)
        places |= {MetadataIndex(name, offsets): _place(*found) for offsets, _, found in about["parts"]}
    return Metadata(described, storage_data=places, storage_meta=StorageMeta())


def _place(file: str, offset: int, length: int) -> _StorageInfo:
    if Path(file).name != file:
        raise ValueError(f"{file!r} is no file of the checkpoint")
    return _StorageInfo(file, int(offset), int(length))
