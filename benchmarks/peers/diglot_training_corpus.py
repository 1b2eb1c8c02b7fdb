"""The text that tokenizers are trained and compared on, from DATA/raw_text.

diglot_training_corpus.py DATA FOLDER BYTES ALPHA [SAMPLED_BYTES]: of all languages together BYTES (0: all there is),
alike where there is enough, becomes FOLDER/corpus, as `curate` would write it; every fiftieth document is held out, and
about 200 kB of these a language are heldout.jsonl, which tokens are counted on. text.txt has what a sample by
share^ALPHA of SAMPLED_BYTES reads from the corpus, for trainers that read plain text, and english.txt the English of it
followed by a tenth of the rest.
"""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from diglot.base.artifact import Artifact
from diglot.read.files import Record, read_records
from diglot.tokenizer.sample import Sample, unimax

HELD_OUT_BYTES = 200_000


def documents(data: Path, language: str) -> list[str]:
    texts = []
    for file in sorted((data / "raw_text" / language).glob("*.jsonl.zst")):
        for record in read_records(str(file), stage="benchmark", source=language):
            if isinstance(record, Record) and record.value["text"].strip():
                texts.append(record.value["text"])
    return texts


def cut(texts: list[str], size: float) -> list[str]:
    """About `size` bytes of the texts, taken from all over them."""
    total, taken, seen, kept = sum(len(text.encode()) for text in texts), 0, 0, []
    for text in texts:
        length = len(text.encode())
        seen += length
        if taken + length / 2 <= seen * size / total:
            kept.append(text)
            taken += length
    return kept


def write(folder: Path, language: str, texts: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        "id": [f"{language}/{number}" for number in range(len(texts))],
        "text": texts,
        "language": [language] * len(texts),
        "domain": ["web"] * len(texts),
    }
    pa.parquet.write_table(pa.table(columns), folder / f"{language}-00000.parquet", compression="zstd")


def main() -> None:
    data, folder, size, alpha = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    sampled = int(sys.argv[5]) if len(sys.argv) > 5 else 10**12
    languages = sorted(path.name for path in (data / "raw_text").iterdir())
    texts = {language: documents(data, language) for language in languages}
    sizes = {language: sum(len(text.encode()) for text in texts[language]) for language in languages}
    parts = unimax(sizes, size, 1) if size else sizes
    with (folder / "heldout.jsonl").open("w", encoding="utf-8") as out:
        for language in languages:
            kept = cut(texts[language], parts[language])
            held_out = cut(kept[::50], min(HELD_OUT_BYTES, sum(len(text.encode()) for text in kept[::50])))
            write(folder / "corpus" / "documents", language, [text for n, text in enumerate(kept) if n % 50])
            write(folder / "corpus" / "heldout", language, held_out)
            for text in held_out:
                out.write(json.dumps({"language": language, "text": text}, ensure_ascii=False) + "\n")
    del texts
    corpus = Artifact(folder / "corpus", "corpus", "corpus", "curate", "", "", {}, {}, {}, {})
    sample = Sample([corpus], None, sampled, alpha, "benchmark")
    with (
        (folder / "text.txt").open("w", encoding="utf-8") as out,
        (folder / "english.txt").open("w", encoding="utf-8") as english,
    ):
        for number, (language, text, times) in enumerate(sample):
            out.write((text + "\n") * times)
            if language == "en" or number % 10 == 0:
                english.write((text + "\n") * times)
    print(
        json.dumps({"bytes": (folder / "text.txt").stat().st_size, "languages": len(languages), "read": sample.bytes})
    )


if __name__ == "__main__":
    main()
