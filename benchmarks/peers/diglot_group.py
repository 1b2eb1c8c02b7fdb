"""Near duplicates of signed shards: buckets, verified edges, components and leaders.

diglot_group.py FOLDER MEMORY: the folder of `diglot_documents.py`, and the bytes that a task may use.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from diglot.corpus.duplicates import SignedShard, near_duplicates
from diglot.recipe.corpus import Deduplication


def main() -> None:
    folder, memory = Path(sys.argv[1]), int(sys.argv[2])
    shards = [
        SignedShard(Path(arrow), Path(signatures), Path(bands), first, rows, 0, False)
        for arrow, signatures, bands, first, rows in json.loads((folder / "shards.json").read_text())
    ]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        begin = time.process_time()
        documents, kept = near_duplicates(
            shards, Deduplication(), folder / "alive.npy", map, Path(scratch), memory
        )
        seconds = time.process_time() - begin
    print(json.dumps({"cpu_seconds": seconds, "dropped": len(documents), "leaders": len(set(kept.tolist()))}))


main()
