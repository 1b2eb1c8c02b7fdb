"""The whole pass, from `.jsonl.zst` to kept Parquet, against datatrove: all 18 languages of raw text, and web pages.

Ours: language identification, line corrections, signals, rules, MinHash signatures, exact and near duplicates. datatrove:
its Gopher repetition, C4 and Gopher quality filters, MinHash signatures, buckets, clusters. See
`peers/diglot_curate.py` and `peers/datatrove_curate.py` for what each does exactly, and what is left out in the
peer's favour. Both read the same sample, of equal bytes a source; with its own words datatrove takes minutes a
megabyte, so that there both read a smaller one. Ours has costs that do not grow with the text (a second or so): `--full`
shows ours on all data too, beside nobody. CPU seconds are those of the work: imports, and compiled kernels, are loaded
before, by a small warm-up.
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
SAMPLE_BYTES = {"quick": 150_000, "full": 4_000_000}  # of text, a source
OWN_WORDS_BYTES = 1_000_000
WARM_BYTES = 20_000
ALL = 0
CHEAP, OWN = "datatrove, cheap words", "datatrove, its own words"


def main() -> None:
    """Run the benchmark."""
    args = arguments("curate", "The whole pass from .jsonl.zst to kept Parquet, against datatrove")
    python = peer_python("datatrove-curate", REQUIREMENTS)
    with tempfile.TemporaryDirectory(prefix="diglot-benchmark-") as folder:
        work = Path(folder)
        make_sample(args.data, work / "warm", WARM_BYTES)
        sample = make_sample(args.data, work / "sample", SAMPLE_BYTES["full" if args.full else "quick"])
        commands = {"ours": ours(sample, work)}
        if python:
            commands[CHEAP] = datatrove(python, sample, work, "cheap")
        runs = measure_in_turn(commands, args.repeats)
        if args.full:
            small = make_sample(args.data, work / "small", OWN_WORDS_BYTES)
            everything = make_sample(args.data, work / "everything", ALL)
            commands = {"ours, smaller sample": ours(small, work), "ours, all data": ours(everything, work)}
            if python:
                commands[OWN] = datatrove(python, small, work, "own")
            runs |= measure_in_turn(commands, 1)
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
    """Speed, start-up and memory, on the same sample."""
    mine, cheap = runs["ours"], runs.get(CHEAP)
    found = [Row("whole pass", "MB/s/core", speed(mine), speed(cheap), CHEAP)]
    if "ours, all data" in runs:
        small, everything = runs["ours, smaller sample"], runs["ours, all data"]
        found.append(Row("whole pass, smaller sample", "MB/s/core", speed(small), speed(runs.get(OWN)), OWN))
        found.append(Row("whole pass, all data", "MB/s/core", speed(everything)))
    return [
        *found,
        Row("start-up", "CPU s", started(mine), started(cheap), PEER, less_is_better=True),
        Row("peak memory", "GB", peak(mine), peak(cheap), PEER, less_is_better=True),
    ]


def notes(runs: dict[str, Run]) -> list[str]:
    """What a reader of the numbers must know."""
    said = [
        f"{name}: {run.reported['bytes'] / 1e6:,.1f} MB of text, {run.reported['documents']:,} documents in, "
        f"{run.reported['kept']:,} kept, {run.seconds:,.2f} CPU s"
        for name, run in runs.items()
    ]
    if CHEAP in runs:
        said += [
            "datatrove identifies no languages here (its model has to be downloaded), corrects no lines beyond C4's, "
            "and stops at the first rule that a document breaks; ours measures all signals of all documents.",
            "Cheap words: str.split, two characters a word in Chinese, Japanese and Thai; datatrove as it comes "
            "uses a tokenizer for each language (its own words: measured once, with --full).",
        ]
    return said


if __name__ == "__main__":
    main()
