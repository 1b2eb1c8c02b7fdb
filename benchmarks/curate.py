"""The whole pass, from `.jsonl.zst` to kept Parquet, against datatrove: all 18 languages of raw text, and web pages.

Ours: language identification, line corrections, signals, rules, MinHash signatures, exact and near duplicates. datatrove:
its Gopher repetition, C4 and Gopher quality filters, MinHash signatures, buckets, clusters. See
`peers/diglot_curate.py` and `peers/datatrove_curate.py` for what each does exactly, and what is left out in the
peer's favour. datatrove sees a sample of equal bytes a source, ours a larger one (`--full`: everything, and the peer's
sample too): ours has costs that do not grow with the text (a second or so), datatrove's grow with the bytes, which is what
its speed is extrapolated by. CPU seconds are those of the work: imports, and compiled kernels, are loaded before, by a
small warm-up.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from common import Row, Run, arguments, finish, measure, measure_in_turn, peer_python

PEER = "datatrove 0.10.1"
REQUIREMENTS = [
    "datatrove[io]==0.10.1",
    "numpy==2.4.6",
    "tokenizers==0.23.3",
    "nltk==3.10.4",
    "regex==2026.11.15",
    "xxhash==3.6.0",  # 4.1.0 no longer hashes strings, which datatrove gives it
    "spacy==3.8.18",  # and below: the word tokenizers that datatrove has for the 18 languages
    "pyvi==0.1.1",
    "jieba==0.42.1",
    "sudachipy==0.7.0",
    "sudachidict_core==20261015",
    "pythainlp==5.4.0",
    "kiwipiepy==0.20.4",  # later ones lack the model that datatrove asks for
]
PEER_BYTES = {"quick": 150_000, "full": 1_000_000}  # of text, a source
OUR_BYTES = {"quick": 2_000_000, "full": 0}  # 0: everything
WARM_BYTES = 20_000


def main() -> None:
    """Run the benchmark."""
    args = arguments("curate", "The whole pass from .jsonl.zst to kept Parquet, against datatrove")
    python = peer_python("datatrove-curate", REQUIREMENTS)
    with tempfile.TemporaryDirectory(prefix="diglot-benchmark-") as folder:
        work = Path(folder)
        size = "full" if args.full else "quick"
        make_sample(args.data, work / "warm", WARM_BYTES)
        larger = make_sample(args.data, work / "larger", OUR_BYTES[size])
        sample = make_sample(args.data, work / "sample", PEER_BYTES[size])
        commands = {"ours": ours(larger, work)}
        if python:
            commands["datatrove, cheap words"] = datatrove(python, sample, work, "cheap")
        if args.full:
            commands["ours, the peer's sample"] = ours(sample, work)
        runs = measure_in_turn(commands, args.repeats)
        if python and args.full:
            runs |= measure_in_turn({"datatrove, own words": datatrove(python, sample, work, "own")}, 1)
    finish("curate", rows(runs), args, notes=notes(runs))


def make_sample(data: Path, folder: Path, size: int) -> Path:
    """Write the files that both sides read."""
    measure([sys.executable, "peers/diglot_sample.py", str(data), str(folder), str(size)])
    return folder


def ours(sample: Path, work: Path) -> list[str]:
    """Our command."""
    return [sys.executable, "peers/diglot_curate.py", str(sample), str(work / "warm"), str(work / "ours")]


def datatrove(python: Path, sample: Path, work: Path, words: str) -> list[str]:
    """The peer's command, with its own words or cheap ones."""
    return [str(python), "peers/datatrove_curate.py", str(sample), str(work / f"datatrove-{words}"), words]


def speed(run: Run | None) -> float | None:
    """MB of text read by a CPU second of the work."""
    return run.reported["bytes"] / 1e6 / run.seconds if run else None


def started(run: Run | None) -> float | None:
    """CPU seconds before the work: imports, and a warm-up that loads what is compiled."""
    return run.reported["start_seconds"] if run else None


def peak(run: Run | None) -> float | None:
    """Peak resident memory in GB."""
    return run.peak_bytes / 1e9 if run else None


def rows(runs: dict[str, Run]) -> list[Row]:
    """Speed, start-up and memory."""
    mine, cheap, own, same = (
        runs.get(name) for name in ("ours", "datatrove, cheap words", "datatrove, own words", "ours, the peer's sample")
    )
    found = [Row("whole pass", "MB/s/core", speed(mine), speed(cheap), f"{PEER}, cheap words")]
    if own:
        found.append(Row("whole pass", "MB/s/core", speed(mine), speed(own), f"{PEER}, its own words"))
    if same:
        found.append(Row("the peer's sample", "MB/s/core", speed(same), speed(cheap), f"{PEER}, cheap words"))
    return [
        *found,
        Row("start-up", "CPU s", started(mine), started(cheap), PEER, less_is_better=True),
        Row("peak memory", "GB", peak(mine), peak(cheap), f"{PEER}, on its sample", less_is_better=True),
    ]


def notes(runs: dict[str, Run]) -> list[str]:
    """What a reader of the numbers must know."""
    said = [
        f"{name}: {run.reported['bytes'] / 1e6:,.1f} MB of text, {run.reported['documents']:,} documents in, "
        f"{run.reported['kept']:,} kept, {run.seconds:,.2f} CPU s"
        for name, run in runs.items()
    ]
    if "datatrove, cheap words" in runs:
        said += [
            "datatrove's speed is that on its sample, extrapolated by bytes.",
            "datatrove identifies no languages here (its model has to be downloaded), corrects no lines beyond C4's, "
            "and stops at the first rule that a document breaks; ours measures all signals of all documents.",
            "Cheap words: str.split, two characters a word in Chinese, Japanese and Thai; datatrove as it comes "
            "uses a tokenizer for each language (`its own words`, measured once, with --full).",
        ]
    return said


if __name__ == "__main__":
    main()
