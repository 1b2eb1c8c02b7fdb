"""Encoding documents in Parquet into token shards, against a plain loop with tokenizers' `encode_batch_fast`.

Both sides read the same files and write the same arrays (tokens between BOS and EOS, and offsets), with one thread; the
hash of what they write for the same first documents is compared. Three tokenizers are trained on the 18 languages: our
byte-fallback kind, our byte-level kind and Llama-3's; real ones lie in $DIGLOT_MODELS (see tests/helpers/real_models.py) and encode
the 18 languages. Times are those of reading, encoding and writing; the last rows have the whole stage, loading and check
included. The peer reads a part of each group, which its speed is extrapolated by.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from common import Row, Run, arguments, finish, measure, measure_in_turn, peer_python

PEER = "tokenizers 0.23.3"
REQUIREMENTS = ["tokenizers==0.23.3", "pyarrow==26.0.1", "numpy==2.4.6"]
GROUPS = {"en": "English", "ar": "Arabic", "th": "Thai", "zh": "Chinese", "all": "18 languages"}
REAL = ("llama2", "llama3", "qwen3", "gptoss", "gemma3", "smollm2-135m", "xlmr")
KINDS = ("byte-fallback", "byte-level", "llama-3")
OUR_BYTES = {"quick": 2_000_000, "full": 0}  # of text, a language; 0: everything
PEER_BYTES = {"quick": 500_000, "full": 7_000_000}  # of text, a group
ENTRIES = {"quick": 8_000, "full": 32_000}


def main() -> None:
    """Run the benchmark."""
    args = arguments("encode", "Documents in Parquet to token shards, against tokenizers' encode_batch_fast")
    python = peer_python("tokenizers", REQUIREMENTS)
    size = "full" if args.full else "quick"
    limit = str(PEER_BYTES[size])
    runs: dict[str, Run] = {}
    with tempfile.TemporaryDirectory(prefix="diglot-benchmark-") as folder:
        work = Path(folder)
        prepare = ["peers/diglot_encode_prepare.py", str(args.data), folder, str(OUR_BYTES[size]), str(ENTRIES[size])]
        real = real_tokenizers()
        frames = measure([sys.executable, *prepare, *map(str, real.values())]).reported["frames"]
        cases = [(kind, work / kind, group) for kind in (KINDS if args.full else KINDS[:1]) for group in GROUPS]
        cases += [(name, tokenizer, "all") for name, tokenizer in real.items()]
        for kind, tokenizer, group in cases:
            given = [str(tokenizer), str(work / group), str(work / "out"), limit]
            commands = {f"ours, {kind}, {group}": [sys.executable, "peers/diglot_encode.py", *given]}
            if python:
                peer = [str(python), "peers/tokenizers_encode.py", *given, *frames[str(tokenizer)]]
                commands[f"peer, {kind}, {group}"] = peer
            runs |= measure_in_turn(commands, args.repeats)
    finish("encode", rows(runs), args, notes=notes(runs))


def real_tokenizers() -> dict[str, Path]:
    """The folders of real tokenizers that are there."""
    models = os.environ.get("DIGLOT_MODELS")
    folders = {name: Path(models or "", "" if name.startswith("smollm2") else "tokenizers", name) for name in REAL}
    return {name: folder for name, folder in folders.items() if models and folder.is_dir()}


def pairs(runs: dict[str, Run]) -> list[tuple[str, str, Run, Run | None]]:
    """Kind, group, our run and the peer's."""
    names = [name.split(", ")[1:] for name in runs if name.startswith("ours")]
    return [(kind, group, runs[f"ours, {kind}, {group}"], runs.get(f"peer, {kind}, {group}")) for kind, group in names]


def rows(runs: dict[str, Run]) -> list[Row]:
    """The table."""
    found = []
    for kind, group, ours, peer in pairs(runs):
        speed = [run and run.reported["bytes"] / 1e6 / run.seconds for run in (ours, peer)]
        found.append(Row(f"{kind}, {GROUPS[group]}", "MB/s/core", *speed, peer_name=PEER))
    for kind, group, ours, peer in pairs(runs):
        if group == "all":
            whole = ours.reported["bytes"] / 1e6 / ours.reported["stage_seconds"]
            theirs = peer and peer.reported["bytes"] / 1e6 / peer.seconds
            found.append(Row(f"{kind}, {GROUPS[group]}, whole stage with check", "MB/s/core", whole, theirs, PEER))
    return found


def notes(runs: dict[str, Run]) -> list[str]:
    """What is to be known beside the speeds: whether the ids are the same, and which engine gave them."""
    found = []
    for kind, group, ours, peer in pairs(runs):
        same = ""
        if peer:
            equal = ours.reported["hash"] == peer.reported["hash"]
            same = f"; ids {'identical' if equal else 'DIFFERENT'} on {peer.reported['documents']:,} documents"
        found.append(
            f"{kind}, {GROUPS[group]}: {ours.reported['bytes'] / 1e6:.1f} MB by {ours.reported['engine']}, "
            f"{ours.reported['tokens'] / ours.reported['bytes']:.3f} tokens a byte, peak memory "
            f"{ours.peak_bytes / 1e6:.0f} MB{same}"
        )
    return found


if __name__ == "__main__":
    main()
