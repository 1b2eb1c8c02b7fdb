"""The one door to a corpus's documents."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diglot.base.artifact import Artifact
from diglot.base.errors import UserError
from diglot.read.corpus import CorpusSource, document_files, read_documents, read_schema, read_sources


def write(corpus: Path, split: str, source: str, language: str, texts: list[str], domain: str = "web") -> None:
    file = corpus / split / f"{source}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    number = len(texts)
    columns = {
        "id": [f"{source}/{row}" for row in range(number)],
        "text": texts,
        "language": [language] * number,
        "domain": [domain] * number,
        "source": [source.rpartition("-")[0]] * number,
        "words": pa.array(range(number), pa.float32()),
    }
    pq.write_table(pa.table(columns), file)


@pytest.fixture
def corpus(tmp_path: Path) -> Artifact:
    write(tmp_path, "documents", "wiki-00000", "en", ["one", "two"])
    write(tmp_path, "documents", "wiki-00001", "en", ["three"])
    write(tmp_path, "documents", "wiki-2-00000", "en", ["other"])
    write(tmp_path, "documents", "news-00000", "ar", ["خبر"] * 2500)
    write(tmp_path, "documents", "pairs-00000", "ar", ["both"], domain="parallel")
    write(tmp_path, "heldout", "wiki-00000", "en", ["kept apart"])
    return Artifact(tmp_path, "corpus", "corpus", "curate", "", "", {}, {}, {}, {})


def texts(batches) -> list[str]:
    return [text for batch in batches for text in batch["text"].to_pylist()]


def test_documents_come_in_the_order_of_files_and_rows_and_in_batches(corpus):
    batches = list(read_documents([corpus], "documents", ["text", "words"]))
    assert [len(batch) for batch in batches] == [1000, 1000, 500, 1, 2, 1, 1]
    assert texts(batches)[2500:] == ["both", "one", "two", "three", "other"]
    assert batches[0].schema.names == ["text", "words"]
    assert batches[0].schema.field("text").type == pa.large_string()
    assert texts(read_documents([corpus, corpus], "heldout", ["text"])) == ["kept apart"] * 2


def test_documents_of_a_source_or_a_language(corpus):
    assert texts(read_documents([corpus], "documents", ["text"], source="wiki")) == ["one", "two", "three"]
    assert len(texts(read_documents([corpus], "documents", ["text"], language="ar"))) == 2501
    assert "both" not in texts(read_documents([corpus], "documents", ["text"], language="ar", parallel=False))
    assert texts(read_documents([corpus], "heldout", ["text"], language="ar")) == []
    [batch] = read_documents([corpus], "heldout", ["words"], language="en", parallel=False)
    assert batch.schema.names == ["words"]


def test_sources_and_columns(corpus):
    assert read_sources([corpus]) == {
        "news": CorpusSource("ar", "web"),
        "pairs": CorpusSource("ar", "parallel"),
        "wiki": CorpusSource("en", "web"),
        "wiki-2": CorpusSource("en", "web"),
    }
    assert "words" in read_schema([corpus], "documents", "wiki").names
    assert read_schema([corpus], "heldout", "news").names == []
    assert [file.name for file in document_files([corpus], "documents", "wiki-2")] == ["wiki-2-00000.parquet"]


def test_a_missing_column_is_named(corpus):
    with pytest.raises(UserError, match=r"news-00000.parquet: no column quality; this is not a corpus"):
        next(read_documents([corpus], "documents", ["text", "quality"]))
    pq.write_table(pa.table({"text": ["a"]}), corpus.path / "documents" / "a-00000.parquet")
    with pytest.raises(UserError, match=r"a-00000.parquet: no column domain, language, source; this is not a corpus"):
        read_sources([corpus])
