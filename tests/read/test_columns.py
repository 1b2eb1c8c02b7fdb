"""Parquet and Arrow: what nobody asked for costs nothing, and what cannot be held is counted."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_files import RECORDS, broken, good, read
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from diglot.base.errors import UserError
from diglot.read.files import Broken, Reading, find_files, read_shards

TABLE = pa.Table.from_pylist(RECORDS[:700])
# Year 10000, a zone there is none of, and a duration beyond Python's.
STRANGE = {
    "day": pa.array([2_932_897] * 3, pa.int32()).cast(pa.date32()),
    "seen": pa.array([0] * 3, pa.timestamp("us", "Mars/Olympus")),
    "far": pa.array([2**62] * 3, pa.int64()).cast(pa.timestamp("us")),
    "long": pa.array([2**62] * 3, pa.int64()).cast(pa.duration("s")),
    "deep": pa.array([[{"at": None}]] * 3, pa.list_(pa.struct([("at", pa.timestamp("s", "x/y"))]))),
}


def write(file, table: pa.Table, form: str) -> None:
    if form == "parquet":
        pq.write_table(table, file)
        return
    new = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    with pa.OSFile(str(file), "wb") as out, new(out, table.schema) as stream:
        stream.write_table(table, max_chunksize=300)


@pytest.mark.parametrize(("name", "form"), [("a.arrow", "stream"), ("a.arrow", "file"), ("a.feather", "file")])
def test_arrow_files_are_read_by_the_row(tmp_path, name, form):
    write(tmp_path / name, TABLE, form)
    records = read(tmp_path)
    assert good(records) == RECORDS[:700]
    assert [record.line for record in records] == list(range(1, 701))


def test_a_data_set_saved_by_datasets_is_read_and_its_notes_are_not(tmp_path):
    """Both a data set and a dictionary of them, as the library writes them."""
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_list(RECORDS[:700])
    one.save_to_disk(tmp_path / "one")
    assert good(read(tmp_path / "one")) == RECORDS[:700]
    datasets.DatasetDict({"test": one.select(range(10)), "train": one}).save_to_disk(tmp_path / "all")
    assert good(read(tmp_path / "all")) == RECORDS[:10] + RECORDS[:700]
    assert good(read(tmp_path / "all" / "train")) == RECORDS[:700]


@pytest.mark.parametrize("form", ["parquet", "stream"])
@pytest.mark.parametrize("column", STRANGE)
def test_a_column_that_python_cannot_hold_costs_nothing_unless_it_is_the_text(tmp_path, form, column):
    file = tmp_path / ("a.parquet" if form == "parquet" else "a.arrow")
    write(file, pa.table({"text": ["a", "b", "c"], column: STRANGE[column]}), form)
    assert [value["text"] for value in good(read(file))] == ["a", "b", "c"]
    [shard] = read_shards(find_files(str(file), "s", "r"), Reading(fields=["text"]))
    assert [record.value for record in shard.records] == [{"text": "a"}, {"text": "b"}, {"text": "c"}]
    [shard] = read_shards(find_files(str(file), "s", "r"), Reading(fields=[column]))
    held = [None if isinstance(record, Broken) else record.value[column] for record in shard.records]
    assert held == [None] * 3 or column == "deep"


def test_a_field_within_a_column_is_read_without_the_other_columns(tmp_path):
    table = pa.table({"translation": [{"en": "a", "ar": "b"}], "other": ["x"]})
    pq.write_table(table, tmp_path / "a.parquet")
    [shard] = read_shards(find_files(str(tmp_path), "s", "r"), Reading(fields=["translation.en", "translation.ar"]))
    assert shard.records[0].value == {"translation": {"en": "a", "ar": "b"}}


def test_batches_that_point_anywhere_are_broken(tmp_path):
    """Their offsets are checked before they are followed, which would end the process; their sizes are not."""
    write(tmp_path / "a.arrow", pa.table({"text": ["a", "b"], "in": [["x"], ["y"] * 5]}), "stream")
    offsets = [b"".join(number.to_bytes(4, "little") for number in (0, 1, end)) for end in (6, 2**30)]
    content = (tmp_path / "a.arrow").read_bytes()
    assert content.count(offsets[0]) == 1
    (tmp_path / "a.arrow").write_bytes(content.replace(*offsets))
    write(tmp_path / "b.arrow", TABLE, "stream")
    records = read(tmp_path)
    assert [(record.line, record.reason) for record in broken(records)] == [(2, "unreadable_rows")]
    assert [value["text"] for value in good(records)[:1]] == ["a"]


@given(st.integers(0, 10**9), st.sampled_from(["stream", "file", "parquet"]))
@examples(60)
def test_damaged_files_are_never_a_traceback(tmp_path_factory, seed, form):
    file = tmp_path_factory.mktemp("fuzz") / ("a.parquet" if form == "parquet" else "a.arrow")
    write(file, TABLE.slice(0, 40), form)
    content, rng = bytearray(file.read_bytes()), random.Random(seed)
    for _ in range(rng.randint(1, 8)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    file.write_bytes(content[: rng.choice([len(content), rng.randrange(len(content))])])
    try:
        read(file)
    except UserError as error:
        assert "nothing could be read" in str(error)


def test_json_deeper_than_anybody_walks_is_broken(tmp_path):
    deep = '{"a":' * 900 + "1" + "}" * 900
    (tmp_path / "a.jsonl").write_text(deep + '\n{"text": "x"}\n')
    (tmp_path / "b.json").write_text(f'[{{"text": "x"}}, {deep}]')
    assert [(record.reason, record.detail) for record in broken(read(tmp_path))] == [
        ("invalid_json", "nested more than 100 deep")
    ] * 2
    assert len(good(read(tmp_path))) == 2


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_field_s_name_that_nobody_could_write_is_broken(tmp_path, name):
    lines = ['{"text": "x"}', '{"\\ud800": 1}', '{"b": [{"\\udfff": 1}]}', '{"text": "\\ud800"}']
    (tmp_path / name).write_text(f"[{','.join(lines)}]" if name == "a.json" else "\n".join(lines))
    assert [record.reason for record in broken(read(tmp_path))] == ["invalid_utf8"] * 2
    assert json.dumps(good(read(tmp_path))) == '[{"text": "x"}, {"text": "\\ud800"}]'
