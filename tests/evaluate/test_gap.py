"""Where a model is behind another: the same bits as evaluation finds, differences that cancel, and texts shown as texts."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_model
from click.testing import CliRunner

from diglot.base.artifact import Artifact
from diglot.base.errors import UserError
from diglot.cli import cli
from diglot.evaluate.bits import bits_per_byte
from diglot.evaluate.gap import documents_of, measure
from diglot.evaluate.language_model import LanguageModel
from diglot.report.gap import gap_of, tables, write_gap


@pytest.fixture
def corpus(tmp_path) -> Artifact:
    folder = tmp_path / "corpus"
    (folder / "heldout").mkdir(parents=True)
    english = [("en" + str(n), " ".join([text] * 4), "en", "web", "pages") for n, text in enumerate(tiny_model.ENGLISH)]
    arabic = [("ar" + str(n), " ".join([text] * 4), "ar", "news", "papers") for n, text in enumerate(tiny_model.ARABIC)]
    both = [("p1", f"English: {tiny_model.ENGLISH[0]}\nArabic: {tiny_model.ARABIC[0]}", "en", "parallel", "pairs")]
    columns = ("id", "text", "language", "domain", "source")
    for name, rows in (("pages", english), ("papers", arabic), ("pairs", both)):
        table = pa.table({column: [row[place] for row in rows] for place, column in enumerate(columns)})
        pq.write_table(table, folder / "heldout" / f"{name}-00000.parquet")
    return Artifact(folder, "corpus", "corpus", "curate", "", "", {}, {}, {}, {})


def test_what_a_model_is_behind_by(learnt_folder, random_folder, corpus, tmp_path):
    documents = documents_of([corpus], 100, 2**17, "1")
    rows = measure({"ours": random_folder, "theirs": learnt_folder}, documents, 8)
    gap = gap_of(rows, "ours", "theirs")
    # The same numbers as an evaluation's.
    for name, folder in (("ours", random_folder), ("theirs", learnt_folder)):
        expected, _ = bits_per_byte(LanguageModel.load(folder, 3), documents, lambda done, total: None)
        found = {group.language: getattr(group, name) for group in gap.groups if group.kind == "all"}
        assert found == {language: pytest.approx(expected[language].value, abs=1e-4) for language in ("en", "ar")}
    kinds = [(group.language, group.kind, group.verdict) for group in gap.groups]
    assert kinds == [
        ("ar", "all", "behind"),
        ("ar", "news · papers", "behind"),
        ("en", "all", "behind"),
        ("en", "web · pages", "behind"),
        ("", "parallel · pairs", "unknown"),  # of a single document nothing can be said
    ]
    assert gap.finding().startswith("ours is behind theirs in 2 of 3 kinds of text, most in ")
    # Turned round, every difference is the other's.
    turned = gap_of(rows, "theirs", "ours")
    for one, other in zip(gap.groups, turned.groups):
        assert one.difference == pytest.approx(-other.difference)
        assert one.p == pytest.approx(other.p)
    assert [group.verdict for group in turned.groups] == ["ahead", "ahead", "ahead", "ahead", "unknown"]
    assert turned.examples == {}
    # Examples are the widest differences.
    differences = [
        (row["bits"]["ours"] - row["bits"]["theirs"]) / row["bytes"] for row in rows if row["language"] == "ar"
    ]
    assert [row["difference"] for row in gap.examples["ar"]] == sorted(differences, reverse=True)[:3]
    page = write_gap(gap, tmp_path / "out").read_text()
    assert 'dir="auto"' in page
    assert tiny_model.ARABIC[0].split()[0] in page
    saved = json.loads((tmp_path / "out" / "gap.json").read_text())
    assert [group["verdict"] for group in saved["groups"]] == [verdict for _, _, verdict in kinds]


def test_a_models_gap_to_itself_is_none():
    rows = [
        {"id": str(n), "text": "<b>x</b>" * 20, "language": "en", "domain": "web", "source": "s", "bytes": 160,
         "bits": {"a": 10.0 + n, "b": 10.0 + n}}
        for n in range(5)
    ]  # fmt: skip
    gap = gap_of(rows, "a", "b")
    assert [(group.difference, group.verdict) for group in gap.groups] == [(0.0, "level"), (0.0, "level")]
    assert gap.examples == {}
    assert len(tables(gap)) == 1
    # An error that is known: differences 0 to 4 bits in 160 bytes each have that of their mean.
    for n, row in enumerate(rows):
        row["bits"]["a"] += n
    group = gap_of(rows, "a", "b").groups[0]
    assert group.difference == pytest.approx(2 / 160)
    error = math.sqrt(2.5 / 5) / 160
    assert group.half == pytest.approx(2.776 * error, rel=0.01)  # Student's with four degrees of freedom


def test_the_command(learnt_folder, random_folder, corpus, tmp_path):
    given = ["gap", str(random_folder), str(learnt_folder), "--corpus"]
    bad = CliRunner().invoke(cli, [*given, str(tmp_path / "none")])
    assert isinstance(bad.exception, UserError)
    assert "neither a corpus" in str(bad.exception)
    twice = CliRunner().invoke(cli, ["gap", str(random_folder), str(random_folder), "--corpus", str(corpus.path)])
    assert "given twice" in str(twice.exception)
