# ruff: noqa: SIM905 (word lists read better as text)
"""Small corpora of made-up sentences, as artifacts on disk, for the tests of the quality models."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from summaries import EMPTY_CORPUS

from diglot.base.artifact import Artifact, read_artifact, writing

WORDS = {
    "en": "the a old young king queen farmer river house sees finds loves sells in near big small".split(),
    "ar": "الملك القديم النهر البيت يرى يجد يحب في قرب كبير صغير الملكة الفلاح".split(),
}


def sentence(language: str, random_: random.Random) -> str:
    """A sentence with some grammar: determiner adjective noun verb determiner noun."""
    if language == "en":
        noun = lambda: random_.choice(["king", "queen", "farmer", "river", "house"])  # noqa: E731
        size = random_.choice(["big ", "small ", "old ", "young ", ""])
        verb = random_.choice(["sees", "finds", "loves", "sells"])
        place = random_.choice(["", f" near the {noun()}", f" in a {noun()}"])
        return f"The {size}{noun()} {verb} a {noun()}{place}."
    return " ".join(random_.choice(WORDS[language]) for _ in range(6)) + "."


def document(language: str, random_: random.Random, sentences: int = 12) -> str:
    """Lines of a few sentences each."""
    return "\n".join(" ".join(sentence(language, random_) for _ in range(3)) for _ in range(sentences // 3))


def shuffled(text: str, random_: random.Random) -> str:
    """The same words in a random order."""
    words = text.split()
    random_.shuffle(words)
    return " ".join(words)


def corpus(path: Path, documents: list[tuple[str, str]], held_out: list[tuple[str, str]] = ()) -> Artifact:
    """A corpus artifact of (language, text)."""
    with writing(
        path, stage=path.name, kind="corpus", do="curate", fingerprint="f", settings={}, inputs={}
    ) as unfinished:
        folder, unfinished.summary = unfinished.folder, EMPTY_CORPUS
        for name, rows in (("documents", documents), ("heldout", held_out)):
            (folder / name).mkdir()
            if rows:
                columns = {
                    "id": [f"{name}/{place}" for place in range(len(rows))],
                    "text": [text for _, text in rows],
                    "language": [language for language, _ in rows],
                    "domain": ["web"] * len(rows),
                }
                pq.write_table(pa.table(columns), folder / name / "made-00000.parquet")
    artifact = read_artifact(path)
    assert artifact
    return artifact
