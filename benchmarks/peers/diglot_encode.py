"""Our side of `encode.py`: what the stage does, with one thread.

diglot_encode.py TOKENIZER CORPUS OUTPUT LIMIT: `cpu_seconds` are those of reading, encoding and writing; before that the
compiled kernels are loaded. `stage_seconds` are those of the whole stage run again, with loading and check. `hash` is of
the tokens of the first documents that have LIMIT bytes.
"""

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.encode import stage as encode
from diglot.encode.unspelled import Unspelled
from diglot.recipe.encode import Encode
from diglot.tokenizer.folder import load_tokenizer


def main() -> None:
    tokenizer, corpus, output = map(Path, sys.argv[1:4])
    context = Context("encode", 0, output, workers=1)
    tokenizer_artifact, corpus_artifact = (
        Artifact(folder, "made", "made", "made", "", "", {}, {}, {}, {}) for folder in (tokenizer, corpus)
    )
    inputs = Inputs({"tokenizer": [tokenizer_artifact], "corpus": [corpus_artifact]})
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    started = time.process_time()
    encode.run(Encode.model_validate({"do": "encode"}), inputs, output, context)  # loads what is compiled, too
    stage_seconds = time.process_time() - started
    origins, index = encode.find_sources(inputs, None), json.loads((output / "tokens.json").read_text())
    encoder, loaded = encode.checked_encoder(tokenizer, []), load_tokenizer(tokenizer)
    special, dtype = index["special"], np.dtype(index["dtype"])
    loses = Unspelled(loaded)
    started = time.process_time()
    for origin in origins:
        writer = encode.ShardWriter(output, origin, "train", dtype, [])
        for texts in encode.encode_texts(origin, "train", [], encoder, loses, special, dtype, context):
            writer.append_texts(texts)
        entry = writer.close()
    cpu_seconds = time.process_time() - started
    name = origins[0].name
    sizes = np.load(output / f"{name}.train.bytes.npy")
    few = min(int(np.searchsorted(np.cumsum(sizes), int(sys.argv[4]))) + 1, len(sizes))
    tokens, offsets = (np.load(output / f"{name}.train.{part}.npy") for part in ("tokens", "offsets"))
    print(json.dumps({
        "cpu_seconds": cpu_seconds, "stage_seconds": stage_seconds, "bytes": entry["bytes"], "tokens": entry["tokens"],
        "engine": encoder.engine, "hash": hashlib.sha256(tokens[: offsets[few]].tobytes()).hexdigest(),
    }))  # fmt: skip


main()
