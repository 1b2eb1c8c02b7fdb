"""The peer of `encode.py`: a plain loop with the `tokenizers` library, with one thread.

tokenizers_encode.py TOKENIZER CORPUS OUTPUT LIMIT BEGIN END DTYPE: encodes the first documents that have LIMIT bytes, each
between the tokens BEGIN and END; `cpu_seconds` are those of reading, encoding and writing.
"""

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
from tokenizers import Tokenizer

BATCH = 1000


def main() -> None:
    folder, corpus, output = map(Path, sys.argv[1:4])
    limit, begin, end = map(int, sys.argv[4:7])
    dtype = np.dtype(sys.argv[7])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    started = time.process_time()
    offsets, size = [0], 0
    with (output / "tokens.bin").open("wb") as tokens:
        for file in sorted((corpus / "documents").glob("*.parquet")):
            for batch in parquet.ParquetFile(file).iter_batches(BATCH, columns=["id", "text"], use_threads=False):
                texts = []
                for text in batch.column("text").to_pylist():
                    if size < limit:
                        texts.append(text)
                        size += len(text.encode())
                for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
                    ids = [begin, *encoding.ids, end]
                    tokens.write(np.array(ids, dtype).tobytes())
                    offsets.append(offsets[-1] + len(ids))
                if size >= limit:
                    break
    np.save(output / "offsets.npy", np.array(offsets))
    cpu_seconds = time.process_time() - started
    digest = hashlib.sha256((output / "tokens.bin").read_bytes()).hexdigest()
    print(json.dumps({"cpu_seconds": cpu_seconds, "bytes": size, "documents": len(offsets) - 1, "hash": digest}))


main()
