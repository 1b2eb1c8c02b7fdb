"""All signals of documents, against datatrove's Gopher and C4 filters, and against one pass over memory.

The same whitespace words on both sides; 18 languages of `raw_text`. Beside the speeds it compares values: on how many
documents ours are those of datatrove and of RedPajama-v2's definitions, and how far apart the others are (notes).
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from common import BENCHMARKS, Row, arguments, finish, measure, measure_in_turn, peer_python

DATATROVE = ["datatrove[io]==0.10.1", "regex==2026.11.15", "numpy==2.4.6"]
REDPAJAMA = ["nltk==3.9.2"]
PARTS = ("segmenting", "the walk", "lines and paragraphs", "counting words", "n-grams")
# Gopher's limits (Rae et al. 2021, table A1 and section A.1.1) and FineWeb's: where both sides must say the same.
MIN_LIMITS = {
    "words": 50,
    "mean_word_length": 3,
    "alphabetic_words": 0.8,
    "gopher_stop_words": 2,
    "punctuated_lines": 0.12,
}
MAX_LIMITS = {
    "hash_to_word": 0.1, "ellipsis_to_word": 0.1, "bullet_lines": 0.9, "ellipsis_lines": 0.3, "short_lines": 0.67,
    "newlines_to_word": 0.3, "duplicate_lines": 0.3, "duplicate_line_characters": 0.2, "duplicate_paragraphs": 0.3,
    "duplicate_paragraph_characters": 0.2, "top_2gram": 0.2, "top_3gram": 0.18, "top_4gram": 0.16,
    "duplicate_5grams": 0.15, "duplicate_6grams": 0.14, "duplicate_7grams": 0.13, "duplicate_8grams": 0.12,
    "duplicate_9grams": 0.11, "duplicate_10grams": 0.1,
}  # fmt: skip
LIMITS = {**MIN_LIMITS, **MAX_LIMITS}
SPACED = ("ar", "de", "en", "es", "fr", "he", "id", "it", "ko", "nl", "pl", "pt", "ru", "tr", "vi")


def sample(data: Path, bytes_a_language: int) -> Iterator[dict]:
    """Documents of every language, of every file an equal share of the bytes."""
    import pyarrow as pa

    for folder in sorted((data / "raw_text").iterdir()):
        files = sorted(folder.glob("*.jsonl.zst"))
        for file in files:
            taken = 0
            with pa.input_stream(str(file), compression="zstd") as stream:
                rest = b""
                while taken < bytes_a_language / len(files) and (block := stream.read(1 << 20)):
                    *lines, rest = (rest + block).split(b"\n")
                    for line in lines:
                        text = json.loads(line)["text"]
                        if text.strip() and taken < bytes_a_language / len(files):
                            taken += len(text.encode())
                            yield {"language": folder.name, "text": text}


def write(records: list[dict], file: Path) -> Path:
    file.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return file


def compare(ours: Path, theirs: Path, who: str) -> list[str]:
    """How often two files of values agree, a sentence for each signal of theirs; "SIGNAL|HOW" is compared with SIGNAL."""
    pairs = [[json.loads(line) for line in file.read_text("utf-8").rstrip("\n").split("\n")] for file in (ours, theirs)]
    notes = []
    for name in pairs[1][0]:
        signal = name.split("|")[0]
        values = [(left[signal], right[name]) for left, right in zip(*pairs, strict=True)]
        differences = sorted(abs(left - right) for left, right in values)
        same = sum(difference < 1e-6 for difference in differences) / len(values)
        verdicts = [broken(signal, left) == broken(signal, right) for left, right in values]
        at_limit = f", {sum(verdicts) / len(values):.2%} on the same side of its limit" if signal in LIMITS else ""
        notes.append(f"{name.replace('|', ', ')}: as {who} in {same:.1%} of {len(values)} documents{at_limit}; mean difference "
                     f"{statistics.fmean(differences):.2g}, 99% within {differences[int(0.99 * len(values))]:.2g}")  # fmt: skip
    return notes


def broken(name: str, value: float) -> bool:
    """Whether a value is outside the limit of its signal, if that has one."""
    return value < MIN_LIMITS.get(name, value) or value > MAX_LIMITS.get(name, value)


def agreement(records: list[dict], folder: Path, datatrove: Path | None, redpajama: Path | None) -> list[str]:
    """Compare values on documents of languages with spaces, without whitespace at the ends of lines.

    Curation takes that away before it measures; datatrove's line rules look at it.
    """
    import stopwordsiso

    some = [r for r in records if r["language"] in SPACED]
    some = [
        {**r, "text": "\n".join(line.rstrip() for line in r["text"].split("\n")).strip()}
        for r in some[:: max(1, len(some) // 1500)]
    ]
    file, peers = write(some, folder / "agreement.jsonl"), BENCHMARKS / "peers"
    ours = folder / "ours.jsonl"
    measure([sys.executable, str(peers / "diglot_signals.py"), str(file), "0", "whitespace", str(ours)])
    order = [r for language in dict.fromkeys(r["language"] for r in some) for r in some if r["language"] == language]
    write(order, file)  # ours come language by language
    notes = []
    if datatrove:
        theirs = folder / "datatrove.jsonl"
        measure([str(datatrove), str(peers / "datatrove_signals.py"), str(file), str(theirs)])
        notes += compare(ours, theirs, "datatrove")
    if redpajama:
        lists = folder / "stop_words.json"
        lists.write_text(json.dumps({language: sorted(stopwordsiso.stopwords(language)) for language in SPACED}))
        theirs = folder / "redpajama.jsonl"
        measure([str(redpajama), str(peers / "redpajama_signals.py"), str(file), str(theirs), str(lists)])
        notes += compare(ours, theirs, "RedPajama")
    return notes


def speed(run) -> float:
    return run.reported["bytes"] / 1e6 / run.seconds


def main() -> None:
    args = arguments("signals", "All signals, against datatrove's Gopher and C4 filters")
    datatrove, redpajama = peer_python("datatrove", DATATROVE), peer_python("redpajama", REDPAJAMA)
    peers = BENCHMARKS / "peers"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = list(sample(args.data, 5_000_000 if args.full else 200_000))
        file = write(records, folder / "all.jsonl")
        ours = measure([sys.executable, str(peers / "diglot_signals.py"), str(file), "1", "language"])
        few = [r for r in records if r["language"] in SPACED]
        few = few[:: 10 if args.full else 4]
        small = write(few, folder / "few.jsonl")
        commands = {"ours": [sys.executable, str(peers / "diglot_signals.py"), str(small), "0", "whitespace"]}
        if datatrove:
            commands["datatrove"] = [str(datatrove), str(peers / "datatrove_signals.py"), str(small)]
        runs = measure_in_turn(commands, args.repeats)
        notes = agreement(records, folder, datatrove, redpajama)
    languages = ours.reported["languages"]
    memory = ours.reported["sum_bytes_per_second"] / 1e6
    rows = [
        Row("all signals, 18 languages", "MB/s/core", speed(ours)),
        *(Row(f"all signals, {language}", "MB/s/core", run["bytes"] / 1e6 / run["cpu_seconds"]) for language, run in languages.items()),
        Row("all signals, whitespace words", "MB/s/core", speed(runs["ours"]), speed(runs["datatrove"]) if datatrove else None, "datatrove 0.10.1, Gopher + C4"),
        Row("all signals, 18 languages, against memory", "MB/s/core", speed(ours), memory, "a sum of the bytes"),
    ]  # fmt: skip
    spent = ours.reported["parts"]
    shares = [(after - before) / spent[-1] for before, after in zip([0.0, *spent], spent, strict=False)]
    notes = [
        f"datatrove's filters stop at the first limit a document breaks; {len(few)} documents, {runs['ours'].reported['bytes'] / 1e6:.1f} MB",
        "where the time goes: " + ", ".join(f"{part} {share:.0%}" for part, share in zip(PARTS, shares, strict=True)),
        *notes,
    ]
    finish("signals", rows, args, notes=notes)


if __name__ == "__main__":
    main()
