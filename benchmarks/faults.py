"""Which of the invented world's labelled faults curation finds: recall by fault, precision, near duplicates by similarity.

    python benchmarks/faults.py --quick

The world writes documents with a known fault each (`diglot world`); `diglot curate` reads them as any other text, with
the settings of recipes/quickstart.yaml. Of each fault, and of clean documents: how many were dropped, and for what
reasons. Of near duplicates: the share found at each similarity s, beside 1 - (1 - s^9)^14, and the bounds within which
95% of so many draws fall.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from common import Row, arguments, finish

BANDS, ROWS = 14, 9
EDGES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.96)
LANGUAGES = ("en", "ar", "id")
DUPLICATES = ("exact_duplicate", "near_duplicate")


def main() -> None:
    args = arguments("faults", __doc__.split("\n")[0], needs_data=False)
    documents = 6000 if args.quick else 40_000
    with tempfile.TemporaryDirectory() as folder:
        records, fates = curated(Path(folder), documents)
    rows = [*by_fault(records, fates), *by_similarity(records, fates)]
    finish("faults", rows, args)


def curated(folder: Path, documents: int) -> tuple[list[dict], dict[str, str]]:
    """Make a world and a corpus of it; returns the records, and what became of each id: kept, or a reason."""
    limits = "{min_words: 20, min_characters: 80, max_top_2gram: 0.3, max_top_3gram: 0.25, max_duplicate_5grams: 0.25}"
    sources = ", ".join(f"{code}: {{path: text/{code}.jsonl, language: {code}}}" for code in LANGUAGES)
    recipe = folder / "recipe.yaml"
    recipe.write_text(f"""
name: faults
stages:
  world:
    do: world
    languages: [{", ".join(LANGUAGES)}]
    documents: {{{", ".join(f"{code}: {documents}" for code in LANGUAGES)}}}
    pairs: 0
    instructions: 0
    preferences: 0
    items: 0
    faults: 0.4
  corpus:
    do: curate
    from: {{text: world}}
    sources: {{{sources}}}
    rules: {{limits: {limits}}}
    deduplication: {{lines: 60}}
    held_out: 0
""")
    command = [sys.executable, "-m", "diglot.cli", "run", str(recipe), "--run", str(folder / "run")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return read(folder / "run")


def read(run: Path) -> tuple[list[dict], dict[str, str]]:
    import pyarrow.parquet as pq

    records = [
        json.loads(line)
        for code in LANGUAGES
        for line in (run / "world" / "text" / f"{code}.jsonl").read_text().split("\n")
        if line
    ]
    fates = {record["id"]: "kept" for record in records}
    for file in (run / "corpus" / "dropped").glob("*.parquet"):
        fates |= {row["id"]: row["reason"] for row in pq.read_table(file).to_pylist()}
    return records, fates


def by_fault(records: list[dict], fates: dict[str, str]) -> list[Row]:
    """Recall by fault. Of copies, whichever comes first stays: the other one is found, be it the original."""
    copied = {record["of"] for record in records if "of" in record}
    reasons: dict[str, Counter] = defaultdict(Counter)
    for record in records:
        reason = fates[record["id"]]
        if "of" in record and reason == "kept" and fates[record["of"]] in DUPLICATES:
            reason = fates[record["of"]]
        if record["fault"] is None and record["id"] in copied and reason in DUPLICATES:
            reason = "kept"  # counted with its copy
        reasons[record["fault"] or "clean"][reason] += 1
    rows = []
    for fault, counts in sorted(reasons.items()):
        lost = counts.total() - counts["kept"]
        most = ", ".join(
            f"{reason} {n / counts.total():.0%}" for reason, n in counts.most_common(4) if reason != "kept"
        )
        what = "clean documents dropped" if fault == "clean" else f"recall: {fault}"
        rows.append(Row(f"{what} ({counts.total():,}: {most})", "share", lost / counts.total()))
    lost = sum(counts.total() - counts["kept"] for counts in reasons.values())
    clean = reasons["clean"].total() - reasons["clean"]["kept"]
    return [*rows, Row("precision: dropped documents that have a fault", "share", 1 - clean / lost)]


def by_similarity(records: list[dict], fates: dict[str, str]) -> list[Row]:
    """Near duplicates found by similarity, where both documents passed the rules and the original has no other copy.

    Either of them may stay.
    """
    copies = Counter(record["of"] for record in records if "of" in record)
    found: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for record in records:
        if record["fault"] == "near_duplicate" and copies[record["of"]] == 1:
            pair = {fates[record["id"]], fates[record["of"]]}
            if pair <= {"kept", *DUPLICATES}:
                place = sum(edge <= record["similarity"] for edge in EDGES) - 1
                found[place].append((record["similarity"], pair != {"kept"}))
    rows = []
    for place, values in sorted(found.items()):
        if not 0 <= place < len(EDGES) - 1:
            continue
        expected = sum(1 - (1 - s**ROWS) ** BANDS for s, _ in values) / len(values)
        share = sum(hit for _, hit in values) / len(values)
        bound = 1.96 * math.sqrt(expected * (1 - expected) / len(values))
        name = f"near duplicates found, similarity {EDGES[place]:g} to {EDGES[place + 1]:g} ({len(values):,} pairs)"
        rows.append(Row(name, "share", share, expected, f"1-(1-s^9)^14 ± {bound:.3f}"))
    return rows


if __name__ == "__main__":
    main()
