"""Grouping of signed shards: buckets alone, or near duplicates in whole (verified edges, components, representatives).

diglot_group.py FOLDER MEMORY buckets|whole: the folder of `diglot_documents.py`, and the bytes that a task may use. A
warm-up on one shard reads compiled kernels and Unicode tables before: `start_seconds`.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from diglot.curate.dedup.duplicates import _against_first, _groups, _partitions, _shared_keys, near_duplicates
from diglot.curate.documents import SignedShard
from diglot.recipe.curate import Deduplication

SETTINGS = Deduplication()


def buckets(shards: list[SignedShard], alive: Path, memory: int) -> dict[str, int]:
    """The edges from the first of each bucket to the others, of all bands."""
    [group] = _groups(shards)
    edges = []
    for band in range(SETTINGS.bands):
        for task in _partitions(group, band, alive, memory):
            representatives, others, _ = _against_first(*_shared_keys(task))
            edges.append(representatives << 32 | others)
    return {"edges": len(np.unique(np.concatenate(edges)))}


def whole(shards: list[SignedShard], alive: Path, memory: int) -> dict[str, int]:
    """What is dropped."""
    with tempfile.TemporaryDirectory(dir=alive.parent) as scratch:
        dropped, kept = near_duplicates(shards, SETTINGS, alive, map, Path(scratch), memory)
    return {"dropped": len(dropped), "representatives": len(np.unique(kept))}


def main() -> None:
    folder, memory, work = (Path(sys.argv[1]), int(sys.argv[2]), {"buckets": buckets, "whole": whole}[sys.argv[3]])
    listed = json.loads((folder / "shards.json").read_text())
    shards = [SignedShard(Path(path), rows, "made", "made", ("en",), first) for path, rows, first in listed]
    work(shards[:1], folder / "alive.npy", memory)
    started = time.process_time()
    found = work(shards, folder / "alive.npy", memory)
    seconds = time.process_time() - started
    print(json.dumps({"cpu_seconds": seconds, "start_seconds": started, **found}))


main()
