"""The text that both sides of `curate.py` read: one `.jsonl.zst` file a source, and `sources.json`.

diglot_sample.py DATA FOLDER BYTES: DATA/raw_text/LANGUAGE becomes LANGUAGE.jsonl.zst, and DATA/raw_web's page texts
web.jsonl.zst; of every file of a source an equal share, BYTES of text a source in all (0: everything).
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa


def records(file: Path) -> Iterator[dict]:
    with pa.input_stream(str(file), compression="zstd") as stream:
        rest = b""
        while block := stream.read(1 << 20):
            *lines, rest = (rest + block).split(b"\n")
            yield from (json.loads(line) for line in lines if line)
        if rest:
            yield json.loads(rest)


def write(files: list[Path], target: Path, limit: int) -> dict[str, int]:
    documents = size = 0
    with pa.output_stream(str(target), compression="zstd") as out:
        for number, file in enumerate(files):
            for record in records(file):
                if limit and size >= limit * (number + 1) / len(files):
                    break
                out.write(json.dumps({"id": record["id"], "text": record["text"]}, ensure_ascii=False).encode() + b"\n")  # fmt: skip
                documents += 1
                size += len(record["text"].encode())
    return {"documents": documents, "bytes": size}


def main() -> None:
    data, folder, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    given = {path.name: sorted(path.glob("*.jsonl.zst")) for path in sorted((data / "raw_text").iterdir())}
    given["web"] = [data / "raw_web" / "wet_like.jsonl.zst"]
    folder.mkdir(parents=True, exist_ok=True)
    sources = {name: write(files, folder / f"{name}.jsonl.zst", limit) for name, files in given.items()}
    (folder / "sources.json").write_text(json.dumps(sources))
    total = {key: sum(source[key] for source in sources.values()) for key in ("documents", "bytes")}
    print(json.dumps({"sources": len(sources), **total}))


main()
