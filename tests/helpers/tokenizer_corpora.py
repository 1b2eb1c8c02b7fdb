"""Corpus artifacts for the tokenizer's tests, as the curate stage writes them: from sentences, and from real text."""

import json
import random
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from diglot.base.artifact import Artifact

Document = tuple[str, str]  # language, text


def artifact(path: Path, kind: str) -> Artifact:
    """An artifact of which only the folder matters."""
    return Artifact(path, path.name, kind, kind, "", "", {}, {}, {}, {})


def write_corpus(
    path: Path, kept: Iterable[Document], held_out: Iterable[Document] = (), domain: str = "web"
) -> Artifact:
    """A corpus artifact with one file for each language and split."""
    for split, documents in (("documents", kept), ("heldout", held_out)):
        by_language: dict[str, list[str]] = {}
        for language, text in documents:
            by_language.setdefault(language, []).append(text)
        for language, texts in by_language.items():
            columns = {
                "id": [f"{split}/{language}/{number}" for number in range(len(texts))],
                "text": texts,
                "language": [language] * len(texts),
                "domain": [domain] * len(texts),
            }
            (path / split).mkdir(parents=True, exist_ok=True)
            table = pa.table(columns)
            pa.parquet.write_table(table, path / split / f"{language}-00000.parquet", compression="zstd")
    return artifact(path, "corpus")


def real_documents(data: Path, language: str, max_bytes: int) -> list[Document]:
    """Real documents of one language, as many of every file as fit."""
    files = sorted((data / "raw_text" / language).glob("*.jsonl.zst"))
    documents = []
    for file in files:
        with pa.input_stream(str(file), compression="zstd") as stream:
            lines = stream.read().split(b"\n")
        size = 0
        for line in filter(None, lines):
            size += len(line)
            if size > max_bytes / len(files):
                break
            documents.append((language, json.loads(line)["text"]))
    random.Random(0).shuffle(documents)
    return documents


ENGLISH = (
    "The baker bakes bread in the old bakery near the river. She doesn't sell it on Sundays, and nobody minds.",
    'A sailor mends 3 sails (or 14) before the storm; the harbour is quiet.\n\nThen the wind comes, "at last".',
    "def bake(flour):\n    return flour * 2\n\n\tTables and trees cost $20 – and a half.",
    "The teachers teach the children, the children teach the cats, and the cats teach nobody at all!",
)
ARABIC = (
    "يخبز الخباز الخبز في المخبز القديم قرب النهر، ولا يبيعه يوم الجمعة.",
    "يصلح البحار 3 أشرعة (أو 14) قبل العاصفة؛ والميناء هادئ.\n\nثم تأتي الريح، هل تسمعها؟",
    "تعلم المعلمة الأطفال، ويعلم الأطفال القطط، ولا تعلم القطط أحدا.",
)
INDONESIAN = (
    "Tukang roti memanggang roti di toko roti lama dekat sungai, dan tidak menjualnya pada hari Minggu.",
    "Pelaut memperbaiki 3 layar (atau 14) sebelum badai; pelabuhan itu tenang.\n\nLalu angin datang.",
    "Para guru mengajar anak-anak, anak-anak mengajar kucing, dan kucing tidak mengajar siapa pun.",
)


def varied(language: str, sentences: tuple[str, ...], number: int, seed: int = 0) -> list[Document]:
    """Documents of the sentences' words in other orders."""
    choose = random.Random(f"{language}/{seed}")
    words = " ".join(sentences).split(" ")
    return [(language, " ".join([*choose.sample(words, 12), choose.choice(sentences)])) for _ in range(number)]
