"""What curation says while it works: megabytes before a big file ends, and a source that loses most of its documents."""

import gzip
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from curate_run import run

from diglot.base.artifact import Context
from diglot.curate import stage, units
from diglot.read import files as reading
from diglot.recipe.curate import Curate

RANDOM = random.Random(1)  # so that gzip cannot make nothing of them
RECORDS = [{"id": str(n), "text": " ".join(f"{RANDOM.getrandbits(40):x}" for _ in range(90))} for n in range(3000)]


@pytest.fixture
def often(monkeypatch):
    """Shards of a hundred records, and a place written after each chunk."""
    monkeypatch.setattr(reading, "SHARD_RECORDS", 100)
    monkeypatch.setattr(units, "TICK_SECONDS", 0)


def lines() -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS)


def write(file) -> None:
    table = pa.Table.from_pylist(RECORDS)
    if file.suffix == ".parquet":
        pq.write_table(table, file, row_group_size=500)
    elif file.suffix in (".arrow", ".feather"):
        new = pa.ipc.new_stream if file.suffix == ".arrow" else pa.ipc.new_file
        with new(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=500)
    else:
        file.write_bytes(gzip.compress(lines()) if file.suffix == ".gz" else lines())


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet", "a.arrow", "a.feather", "a.pairs"])
def test_a_big_file_shows_more_than_nothing_before_its_end(tmp_path, often, name):
    file = tmp_path / name
    write(file)
    source = {"path": str(file), "language": "en"}
    if name.endswith("pairs"):  # the same lines beside themselves, in another file
        write(tmp_path / "b.pairs")
        source |= {"target_path": str(tmp_path / "b.pairs"), "target_language": "ar"}
    [unit] = units.units_of(Curate(sources={"web": source}), None, "corpus", 1)
    size, heard = sum(each.stat().st_size for each in tmp_path.iterdir()), []
    context = Context("corpus", 0, tmp_path, progress=lambda *report: heard.append(report))
    progress = stage._Progress(context)
    (tmp_path / "measured").mkdir()
    progress.begin(tmp_path / "measured", [unit], 1, "measured")

    def handle(raw):
        progress.tick()
        return {}

    units.work(unit, tmp_path / "measured", handle)
    progress.unit_done()
    shown = [done for done, _, _, _ in heard]
    assert shown == sorted(shown)
    assert any(0 < done < round(size / 1e6, 1) for done in shown)
    assert heard[-2][:3] == (pytest.approx(size / 1e6, rel=0.2), round(size / 1e6, 1), "MB")


def test_tasks_that_share_a_file_count_it_once(tmp_path, often):
    (tmp_path / "a.jsonl").write_bytes(lines())
    settings = Curate(sources={"web": {"path": str(tmp_path / "a.jsonl"), "language": "en"}})
    [unit] = units.units_of(settings, None, "corpus", 1)
    both = [unit._replace(part=part, parts=2) for part in (0, 1)]
    for each in both:
        units.work(each, tmp_path, lambda raw: {})
    assert sum(units.bytes_read(tmp_path, each) for each in both) == (tmp_path / "a.jsonl").stat().st_size


def test_a_source_that_loses_most_is_said_at_its_first_shard_and_in_the_end(tmp_path, often, monkeypatch):
    monkeypatch.setattr(stage, "EARLY_BYTES", 0)
    good = RECORDS[:5]
    bad = [{"id": f"b{n}", "wrong": "field"} for n in range(295)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in [*good, *bad]))
    said = []
    monkeypatch.setattr("curate_run.Context", lambda **given: Context(**given, say=said.append))
    sources = {"web": {"path": str(tmp_path / "a.jsonl"), "language": "en"}}
    _, summary, _ = run(tmp_path, sources, language_confidence=0, rules={"set": "none"})
    assert said == ["web: 95 of 100 documents are dropped (95.0%), 95 of them as missing text, in its first shard"]
    assert summary.warnings() == ["web: 295 of 300 documents are dropped (98.3%), 295 of them as missing text"]


def test_with_a_limit_nobody_knows_the_end(tmp_path, often):
    """400 records of a file of 12 MB were shown as a hundredth of it, up to the end."""
    (tmp_path / "a.jsonl").write_bytes(lines())
    settings = Curate(sources={"web": {"path": str(tmp_path / "a.jsonl"), "language": "en", "limit": 50}})
    heard = []
    progress = stage._Progress(Context("corpus", 0, tmp_path, progress=lambda *report: heard.append(report)))
    progress.begin(tmp_path, units.units_of(settings, None, "corpus", 1), 1, "measured")
    progress.tick()
    assert heard[0][:3] == (0.0, None, "MB")
