"""Our n-gram models for `ngram.py`.

diglot_ngram.py text DATA FOLDER BYTES   write FOLDER/train.txt and heldout.txt, normalized (BYTES 0: all)
diglot_ngram.py train TEXT MODEL [MEMORY]
diglot_ngram.py arpa MODEL FILE
diglot_ngram.py query MODEL TEXT
"""

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

import pyarrow as pa

from diglot.quality.arpa import write_arpa
from diglot.quality.kneser_ney import train
from diglot.quality.normalization import Normalization, normalize
from diglot.quality.trie import open_trie


def write_text(data: Path, folder: Path, limit: int) -> dict:
    texts, size = [], 0
    for file in sorted((data / "raw_text" / "ar").glob("*.jsonl.zst")):
        with pa.input_stream(str(file), compression="zstd") as stream:
            lines = stream.read().split(b"\n")
        for line in lines:
            if line and not (limit and size > limit):
                texts.append(json.loads(line)["text"])
                size += len(texts[-1].encode())
    normalized = normalize(pa.array(texts, pa.large_string()), Normalization()).to_pylist()
    (folder / "train.txt").write_text("".join(text for n, text in enumerate(normalized) if n % 50), newline="\n")
    (folder / "heldout.txt").write_text("".join(normalized[::50]), newline="\n")
    return {"bytes": size}


def batches(text: Path):
    with text.open("rb") as stream:
        while lines := stream.readlines(4_000_000):
            yield pa.array([b"".join(lines)], pa.large_binary()).view(pa.large_string())


def train_model(text: Path, folder: Path, memory: int) -> dict:
    for path in (folder, scratch := folder.with_name(f"{folder.name}-scratch")):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    about = train(batches(text), folder, scratch, order=5, normalization=Normalization(), memory=memory)
    spent = time.process_time()
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        digest.update(file.read_bytes())
    about = {"tokens": about["tokens"], "ngrams": about["ngrams"], "digest": digest.hexdigest()}
    return {"bytes": text.stat().st_size, "cpu_seconds": spent, **about}


def query(folder: Path, text: Path) -> dict:
    trie = open_trie(folder)
    lines = pa.array(text.read_bytes().split(b"\n")[:-1], pa.large_binary()).view(pa.large_string())
    trie.score(lines)  # compiles, and reads the arrays
    begin, passes = time.process_time(), 0
    while time.process_time() - begin < 2:
        totals, tokens = trie.score(lines)
        passes += 1
    spent = (time.process_time() - begin) / passes
    perplexity = 10 ** (-totals.sum() / tokens.sum())
    return {"bytes": text.stat().st_size, "cpu_seconds": spent, "perplexity": float(perplexity)}


def main() -> dict:
    what, first, second, *rest = sys.argv[1:]
    if what == "text":
        return write_text(Path(first), Path(second), int(rest[0]))
    if what == "train":
        return train_model(Path(first), Path(second), int(rest[0]) if rest else 2_000_000_000)
    if what == "arpa":
        write_arpa(open_trie(Path(first)), Path(second))
        return {}
    return query(Path(first), Path(second))


print(json.dumps(main()))
