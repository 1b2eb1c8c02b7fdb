"""Invented documents for `dedup.py`'s grouping: texts of random words, signed, in shards, and a table of their keys.

diglot_documents.py FOLDER DOCUMENTS: one in ten has some words exchanged of an earlier document of its shard; how many
varies, so that the Jaccard similarity of their 5-word shingles does (0.2 to 0.97). FOLDER/shards.json lists
the shards; keys.parquet has the same band keys as a table, for databases: band, key, document.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diglot.text.minhash import band_keys, sign

SHARD, WORDS, LETTERS = 20_000, 60, 6
PERMUTATIONS, BANDS, ROWS = 128, 14, 9


def texts(random: np.random.Generator, number: int) -> pa.Array:
    words = random.integers(ord("a"), ord("z") + 1, (number, WORDS, LETTERS + 1), np.uint8)
    words[:, :, LETTERS] = ord(" ")
    copies = np.sort(random.choice(np.arange(number // 10, number), number // 10, replace=False))
    originals = random.integers(0, number // 10, len(copies))
    exchanged = random.random((len(copies), WORDS, 1)) < random.random((len(copies), 1, 1)) * 0.15
    words[copies] = np.where(exchanged, words[copies], words[originals])
    offsets = np.arange(number + 1) * (WORDS * (LETTERS + 1))
    return pa.Array.from_buffers(
        pa.large_string(), number, [None, pa.py_buffer(offsets), pa.py_buffer(words.tobytes())]
    )


def main() -> None:
    folder, documents = Path(sys.argv[1]), int(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    shards, size = [], 0
    schema = pa.schema({"band": pa.int8(), "key": pa.uint64(), "document": pa.int64()})
    with pq.ParquetWriter(folder / "keys.parquet", schema, compression="none", use_dictionary=False) as table:
        for first in range(0, documents, SHARD):
            batch = texts(random, min(SHARD, documents - first))
            hashes, signatures = sign(batch, PERMUTATIONS, 5, by_characters=False)
            keys = band_keys(signatures, BANDS, ROWS)
            name = folder / f"{first:09}"
            records = pa.record_batch({"text": batch, "hash": hashes})
            with pa.OSFile(f"{name}.arrow", "wb") as file, pa.ipc.new_file(file, records.schema) as out:
                out.write_batch(records)
            np.save(f"{name}.signatures.npy", signatures)
            np.save(f"{name}.bands.npy", keys)
            for band in range(BANDS):
                rows = {"band": np.full(len(batch), band, np.int8), "key": keys[band], "document": np.arange(first, first + len(batch))}  # fmt: skip
                table.write_table(pa.table(rows, schema))
            shards.append([f"{name}.arrow", len(batch), first])
            size += batch.nbytes
    np.save(folder / "alive.npy", np.ones(documents, bool))
    (folder / "shards.json").write_text(json.dumps(shards))
    print(json.dumps({"documents": documents, "bytes": size}))


main()
