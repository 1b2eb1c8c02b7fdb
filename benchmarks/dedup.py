"""Deduplication: signatures against datatrove, rensa and datasketch; grouping by bands against polars and duckdb.

Signatures: the same texts of `raw_text` on both sides, without reading or writing anything; by 5 words (15 languages),
by 13 characters (Chinese, Japanese, Thai). Grouping: 3 million invented documents (--quick: 300,000), their signatures,
band keys and texts on disk; the peers read the same keys from Parquet. The peers stop at edges between a bucket's first
document and the others, as `buckets` does; `whole` goes on to verify edges, exactly where estimates are unclear, to
components and to what is dropped.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from common import Row, Run, arguments, finish, measure, measure_in_turn, peer_python

DATATROVE = [
    "datatrove[io]==0.10.1",
    "numpy==2.4.6",
    "nltk==3.10.4",
    "regex==2026.11.15",
    "tokenizers==0.23.3",
    "xxhash==3.6.0",  # 4.1.0 no longer hashes strings, which datatrove gives it
]
SKETCHES = ["datasketch==2.0.0", "rensa==0.5.0", "xxhash==3.6.0", "numpy==2.4.6"]
TABLES = ["polars==2.1.0", "duckdb==2.0.0"]
SIGNERS = {"datatrove": "datatrove 0.10.1, cheap words", "rensa": "rensa 0.5.0", "datasketch": "datasketch 2.0.0"}
GROUPERS = {
    "polars, band by band": "polars 2.1.0, band by band",
    "polars, at once": "polars 2.1.0, one query",
    "duckdb, band by band": "duckdb 2.0.0, band by band",
    "duckdb, at once, 1 GB": "duckdb 2.0.0, one query, limit 1 GB",
}
BYTES_A_LANGUAGE = {"quick": 150_000, "full": 2_000_000}
DOCUMENTS = {"quick": 300_000, "full": 3_000_000}
KINDS = {"words": "signatures, 5 words", "characters": "signatures, 13 characters"}
MEMORY = 100_000_000


def main() -> None:
    """Run the benchmark."""
    args = arguments("dedup", "Signatures and near duplicates, against datatrove, rensa, datasketch, polars, duckdb")
    size = "full" if args.full else "quick"
    with tempfile.TemporaryDirectory(prefix="diglot-benchmark-") as folder:
        signed = sign(Path(folder), args.data, BYTES_A_LANGUAGE[size], args.repeats)
        grouped = group(Path(folder) / "documents", DOCUMENTS[size], args.repeats)
    rows = [*sign_rows(signed), *group_rows(grouped, DOCUMENTS[size])]
    finish("dedup", rows, args, notes=notes(signed, grouped, DOCUMENTS[size]))


# --- signatures -----------------------------------------------------------------------------------------------


def sign(folder: Path, data: Path, size: int, repeats: int) -> dict[str, dict[str, Run]]:
    """Sign by words and by characters."""
    measure([sys.executable, "peers/diglot_texts.py", str(data), str(folder), str(size)])
    datatrove, sketches = peer_python("datatrove-minhash", DATATROVE), peer_python("sketches", SKETCHES)
    runs = {}
    for kind in KINDS:
        what = [str(folder / f"{kind}.jsonl"), kind]
        commands = {"ours": [sys.executable, "peers/diglot_sign.py", *what]}
        if datatrove:
            commands["datatrove"] = [str(datatrove), "peers/datatrove_sign.py", *what]
        if sketches:
            for library in ("rensa", "datasketch"):
                commands[library] = [str(sketches), "peers/sketches_sign.py", *what, library]
        runs[kind] = measure_in_turn(commands, repeats)
    return runs


def speed(run: Run | None) -> float | None:
    """MB of text a CPU second."""
    return run.reported["bytes"] / 1e6 / run.seconds if run else None


def sign_rows(runs: dict[str, dict[str, Run]]) -> list[Row]:
    """Speeds, one row a peer."""
    return [
        Row(what, "MB/s/core", speed(runs[kind]["ours"]), speed(runs[kind].get(peer)), name)
        for kind, what in KINDS.items()
        for peer, name in SIGNERS.items()
    ]


# --- grouping -------------------------------------------------------------------------------------------------


def group(folder: Path, documents: int, repeats: int) -> dict[str, Run]:
    """Make the documents, then group them."""
    measure([sys.executable, "peers/diglot_documents.py", str(folder), str(documents)])
    ours = [sys.executable, "peers/diglot_group.py", str(folder)]
    commands = {name: [*ours, str(MEMORY), name] for name in ("buckets", "whole")}
    commands["whole, a tenth of the memory"] = [*ours, str(documents * 32 // 10), "whole"]
    if python := peer_python("tables", TABLES):
        keys = str(folder / "keys.parquet")
        polars = [str(python), "peers/polars_group.py", keys]
        duckdb = [str(python), "peers/duckdb_group.py", keys]
        commands |= {
            "polars, band by band": [*polars, "bands"],
            "polars, at once": [*polars, "at-once"],
            "duckdb, band by band": [*duckdb, "bands", "8GB"],
            "duckdb, at once, 1 GB": [*duckdb, "at-once", "1GB"],
        }
    return measure_in_turn(commands, repeats)


def group_rows(runs: dict[str, Run], documents: int) -> list[Row]:
    """CPU seconds and memory, buckets alone and in whole."""
    rows, million = [], f"{documents / 1e6:g} M documents"
    for what, label in (("buckets", "14 bands, buckets"), ("whole", "near duplicates in whole")):
        for peer, name in GROUPERS.items():
            mine, theirs = runs[what], runs.get(peer)
            if what == "whole":
                if "at once" in peer:
                    continue
                name += ", which stops at buckets"
            rows += [
                Row(f"{label}, {million}", "CPU s", mine.seconds, theirs and theirs.seconds, name, less_is_better=True),
                Row(f"{label}, peak memory", "GB", mine.peak_bytes / 1e9, theirs and theirs.peak_bytes / 1e9, name, less_is_better=True),
            ]  # fmt: skip
    return rows


# --- what a reader must know ----------------------------------------------------------------------------------


def notes(signed: dict[str, dict[str, Run]], grouped: dict[str, Run], documents: int) -> list[str]:
    """Sizes, costs a document, and what was left out in whose favour."""
    said = []
    for kind, runs in signed.items():
        found = runs["ours"].reported
        said.append(
            f"By {kind}: {found['bytes'] / 1e6:.1f} MB, {found['documents']:,} documents; ours with band keys, which are "
            f"{1e6 * found['band_seconds'] / found['documents']:.2f} µs a document of "
            f"{1e6 * found['cpu_seconds'] / found['documents']:.1f}."
        )
        if "rensa" in runs:
            alone = runs["rensa"].reported
            said.append(
                f"By {kind}: rensa without the shingles, which Python makes: "
                f"{alone['bytes'] / 1e6 / (alone['cpu_seconds'] - alone['shingle_seconds']):.0f} MB/s."
            )
    whole, less, buckets = (grouped[name] for name in ("whole", "whole, a tenth of the memory", "buckets"))
    edges = {name: run.reported["edges"] for name, run in grouped.items() if "edges" in run.reported}
    said += [
        f"Edges found, the same by all: {len(set(edges.values())) == 1} ({buckets.reported['edges']:,}); in whole "
        f"{whole.reported['dropped']:,} documents dropped for {whole.reported['representatives']:,}.",
        f"A document: 512 bytes of signature and 112 of band keys on disk; in whole "
        f"{1e6 * whole.seconds / documents:.2f} µs, of which buckets {1e6 * buckets.seconds / documents:.2f}.",
        f"Tasks of a tenth of the memory ({documents * 32 // 10:,} bytes): {less.seconds:.1f} CPU s, "
        f"{less.peak_bytes / 1e9:.2f} GB, same result: "
        f"{[less.reported[key] for key in ('dropped', 'representatives')] == [whole.reported[key] for key in ('dropped', 'representatives')]}.",
        f"Start-up, not counted: ours {whole.reported['start_seconds']:.1f} CPU s (compiled kernels, Unicode tables).",
        "datatrove's words are those of str.split, in its favour; it writes nothing here. rensa and datasketch get texts "
        "lower-cased, with punctuation; ours and datatrove's are without.",
    ]
    return said


if __name__ == "__main__":
    main()
