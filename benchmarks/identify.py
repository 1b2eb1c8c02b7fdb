"""Language identification, against py3langid itself: accuracy by language, false accepts, and speed on a corpus.

    python benchmarks/identify.py --quick

Accuracy: sentences of the 18 languages of PolyLM in NTREX, and of 75 languages in lingua's test data, of which both
sides see all. An answer counts where it is the very language that was wanted (Malay for Indonesian does not; `no` for
Norwegian Bokmål does, which py3langid has no other name for). False accepts: sentences of the other languages that are
given one of the 18 with a confidence of 0.6 or more. Speed: documents of `raw_text`; py3langid is given their first
1000 characters, which is about what we look at.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from common import BENCHMARKS, Row, arguments, finish, measure_in_turn, peer_python
from signals import sample, write

PY3LANGID = "py3langid==0.4.0"
PEER = "py3langid 0.4.0"
CUT = 0.6
LOOKED_AT = 1000
NTREX = {
    "eng": "en", "arb": "ar", "deu": "de", "spa": "es", "fra": "fr", "ita": "it", "por": "pt", "por-BR": "pt",
    "jpn": "ja", "vie": "vi", "ind": "id", "pol": "pl", "nld": "nl", "tur": "tr", "tha": "th", "heb": "he",
    "kor": "ko", "rus": "ru", "zho-CN": "zh",
}  # fmt: skip
POLYLM = sorted(set(NTREX.values()))
NAMES = {"nb": "no"}  # what the model calls them


def read(file: Path) -> list[dict]:
    import pyarrow as pa

    with pa.input_stream(str(file), compression="zstd") as stream:
        return [json.loads(line) for line in stream.read().split(b"\n") if line]


def sentences(data: Path) -> dict[str, list[dict]]:
    """Labelled sentences by set."""
    ntrex = [
        {"language": NTREX[key], "text": text}
        for row in read(data / "eval" / "ntrex" / "multiway18.jsonl.zst")
        for key, text in row.items()
        if key in NTREX
    ]
    lingua = [
        {"language": NAMES.get(row["lang"], row["lang"]), "text": row["text"]}
        for row in read(data / "eval" / "lid_lingua" / "sentences75.jsonl.zst")
    ]
    return {"NTREX": ntrex, "lingua": lingua}


def identified(records: list[dict], folder: Path, python: Path | None, repeats: int, characters: int = 0) -> dict:
    """Speeds (bytes/s) and answers of both sides."""
    file, peers = write(records, folder / "texts.jsonl"), BENCHMARKS / "peers"
    labels = {side: folder / f"{side}.jsonl" for side in ("ours", "peer")}
    commands = {"ours": [sys.executable, str(peers / "diglot_identify.py"), str(file), str(labels["ours"])]}
    if python:
        commands["peer"] = [
            str(python), str(peers / "py3langid_identify.py"), str(file), str(labels["peer"]), str(characters)
        ]  # fmt: skip
    return {
        side: (
            run.reported["bytes"] / run.seconds,
            [json.loads(line) for line in labels[side].read_text("utf-8").split("\n") if line],
        )
        for side, run in measure_in_turn(commands, repeats).items()
    }


def accuracies(records: list[dict], answers: list) -> dict[str, float]:
    """The share of right answers by language, and of all (`all`), in percent."""
    right = defaultdict(list)
    for record, (code, *_) in zip(records, answers, strict=True):
        for key in (record["language"], "all"):
            right[key].append(code == record["language"])
    return {key: 100 * sum(values) / len(values) for key, values in sorted(right.items())}


def accuracy_rows(name: str, records: list[dict], found: dict) -> tuple[list[Row], list[str]]:
    sides = {side: accuracies(records, answers) for side, (_, answers) in found.items()}
    ours, peer = sides["ours"], sides.get("peer", {})
    languages = ["all", *(language for language in POLYLM if language in ours)]
    rows = [Row(f"accuracy, {name}, {key}", "%", ours[key], peer.get(key), PEER) for key in languages]
    notes = []
    if peer:
        others = {key: (ours[key], peer[key]) for key in ours if abs(ours[key] - peer[key]) > 1e-9}
        notes.append(
            f"{name}, accuracy ours/{PEER} where it differs, of {len(ours) - 1} languages: "
            + (", ".join(f"{key} {a:.2f}/{b:.2f}" for key, (a, b) in others.items()) or "nowhere")
        )
    return rows, notes


def false_accepts(records: list[dict], answers: list) -> list[tuple[str, str] | None]:
    """Of each sentence in another language than the 18: what and which of them it was taken for, or None."""
    return [
        (record["language"], code) if code in POLYLM and confidence >= CUT else None
        for record, (code, _, confidence) in zip(records, answers, strict=True)
        if record["language"] not in POLYLM
    ]


def main() -> None:
    args = arguments("identify", "Language identification, against py3langid")
    python = peer_python("py3langid", [PY3LANGID])
    rows, notes = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, records in sentences(args.data).items():
            records = records[:: 4 if args.quick else 1]
            found = identified(records, folder, python, 1)
            more, said = accuracy_rows(title, records, found)
            rows, notes = [*rows, *more], [*notes, *said]
            if title == "lingua":
                wrong = {side: false_accepts(records, answers) for side, (_, answers) in found.items()}
                shares = {side: 100 * sum(map(bool, pairs)) / len(pairs) for side, pairs in wrong.items()}
                rows.append(
                    Row(
                        "false accepts at 0.6, lingua",
                        "%",
                        shares["ours"],
                        shares.get("peer"),
                        PEER,
                        less_is_better=True,
                    )
                )
                commonest = Counter(pair for pair in wrong["ours"] if pair).most_common(5)
                notes.append(
                    f"false accepts, of {len(wrong['ours'])} sentences in other languages: "
                    + ", ".join(f"{given} taken for {code} {count}" for (given, code), count in commonest)
                )
        documents = list(sample(args.data, 5_000_000 if args.full else 400_000))
        found = identified(documents, folder, python, args.repeats, LOOKED_AT)
        speeds = [found[side][0] / 1e6 if side in found else None for side in ("ours", "peer")]
        rows.append(Row("speed, documents of 18 languages", "MB/s/core", *speeds, PEER))
        answers = found["ours"][1]
        for language in POLYLM:
            own = [a for r, a in zip(documents, answers, strict=True) if r["language"] == language]
            accepted = 100 * sum(confidence >= CUT for _, confidence, _ in own) / len(own)
            rows.append(Row(f"accepted at 0.6, documents, {language}", "%", accepted))
    notes.append(
        f"speed: {len(documents)} documents; py3langid sees the first {LOOKED_AT} characters of each, we see 1200 bytes in "
        "three windows; MB are of the whole documents"
    )
    finish("identify", rows, args, notes=notes)


if __name__ == "__main__":
    main()
