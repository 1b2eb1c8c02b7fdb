import gzip
import json
import subprocess

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diglot.artifact import UserError
from diglot.corpus.read import Broken, Record, read_records

RECORDS = [{"id": str(number), "text": f"line {number} of \u2028 text\x85" * 40} for number in range(3000)]
LINES = [json.dumps(record, ensure_ascii=False).encode() for record in RECORDS]
DATA = b"".join(line + b"\n" for line in LINES)


def read(path, **options):
    return list(read_records(str(path), stage="corpus", source="s", **options))


def good(records):
    return [record.value for record in records if isinstance(record, Record)]


def broken(records):
    return [record for record in records if isinstance(record, Broken)]


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", DATA),
        ("a.jsonl", DATA[:-1]),
        ("a.jsonl", DATA.replace(b"\n", b"\r\n\n")),
        ("a.jsonl.gz", gzip.compress(DATA)),
        ("a.jsonl.gz", gzip.compress(DATA[:5000]) + gzip.compress(DATA[5000:])),
        ("a.jsonl.zst", zstd(DATA)),
        ("a.jsonl.zst", zstd(DATA[:5000]) + zstd(DATA[5000:])),
        ("a.json", DATA),
        ("a.json", json.dumps(RECORDS, indent=1).encode()),
    ],
)
def test_every_container_gives_the_same_records(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert good(read(tmp_path / name)) == RECORDS
    assert read(tmp_path / name) == read(tmp_path) == read(tmp_path / "a*")


def test_parquet_and_text(tmp_path):
    pq.write_table(pa.Table.from_pylist(RECORDS), tmp_path / "a.parquet", row_group_size=700)
    (tmp_path / "b.txt").write_text("one\ndocument")
    (tmp_path / "ignored.md").write_text("no")
    assert good(read(tmp_path)) == [*RECORDS, {"text": "one\ndocument"}]
    assert len(read(tmp_path, limit=10)) == 10


def test_paths_are_relative_to_the_base_and_keep_their_order(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"text": "{name}"}}\n')
    read_ = good(list(read_records(["b.jsonl", "a.jsonl"], stage="c", source="s", base=tmp_path)))
    assert [value["text"] for value in read_] == ["b", "a"]


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_what_comes_before_a_break_is_read(tmp_path, compress, share):
    """All lines that can be decompressed are read: the standard tools get no further."""
    name, tool = ("a.jsonl.gz", "gzip") if compress is gzip.compress else ("a.jsonl.zst", "zstd")
    content = compress(DATA)
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    records = read(tmp_path / name)
    assert good(records) == RECORDS[: len(records) - 1]
    assert [record.reason for record in broken(records)] == ["truncated_archive"]
    known = subprocess.run([tool, "-dc", tmp_path / name], capture_output=True).stdout.count(b"\n")
    assert len(records) - 1 >= known


def test_broken_records_are_counted_with_their_reason(tmp_path):
    lines = [
        b'{"text": "good"}', b'{"text": "\xff"}', b'{"text": ', b"[1]", b"[" * 100_000, b"x" * 2_000_000, b"", b" ",
        b'{"text": "good too"}',
    ]  # fmt: skip
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    records = read(tmp_path / "a.jsonl", max_record_bytes=1_500_000)
    assert [value["text"] for value in good(records)] == ["good", "good too"]
    reasons = [(record.line, record.reason) for record in broken(records)]
    assert reasons == [
        (2, "invalid_utf8"), (3, "invalid_json"), (4, "invalid_json"), (5, "invalid_json"), (6, "oversized_record"),
    ]  # fmt: skip
    assert [record.line for record in records] == [1, 2, 3, 4, 5, 6, 9]


@given(st.lists(st.binary(max_size=50), max_size=20))
@settings(max_examples=100, deadline=None)
def test_every_line_that_is_not_blank_is_accounted_for(tmp_path_factory, lines):
    file = tmp_path_factory.mktemp("fuzz") / "a.jsonl"
    content = b"\n".join([b'{"text": "good"}', *lines])
    file.write_bytes(content)
    assert len(read(file)) == sum(1 for line in content.split(b"\n") if line.strip())


@given(st.binary(max_size=300), st.sampled_from(["gz", "zst", "plain"]))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_never_a_traceback(tmp_path_factory, content, kind):
    name = "a.json" if kind == "plain" else f"a.jsonl.{kind}"
    file = tmp_path_factory.mktemp("fuzz") / name
    file.write_bytes(content)
    try:
        read(file)
    except UserError as error:
        assert "nothing could be read" in str(error)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl.gz", b"garbage" * 99, ["truncated_archive", "a.jsonl.gz"]),
        ("a.parquet", b"garbage" * 99, ["unreadable_file", "a.parquet"]),
        ("a.jsonl", b"", ["no records", "a.jsonl"]),
        ("a.md", b"text", ["no known kind", ".jsonl"]),
    ],
)
def test_a_source_with_nothing_to_read_is_refused(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        read(tmp_path / name)
    for word in [*words, "'s'", "corpus.sources.s.path=FOLDER"]:
        assert word in str(error.value)


@pytest.mark.parametrize(
    "path", ["nowhere", "nowhere/*.jsonl", "zzz://a/b.jsonl", "hf://datasets/no/such/*.jsonl"]
)
def test_what_is_not_there_is_refused(tmp_path, path):
    with pytest.raises(UserError, match=r"corpus.sources.s.path=FOLDER"):
        list(read_records(path, stage="corpus", source="s", base=tmp_path))


def test_urls_are_read_and_failures_on_the_way_are_the_networks(monkeypatch):
    memory = fsspec.filesystem("memory")
    memory.pipe({"/box/b.jsonl.gz": gzip.compress(DATA), "/box/a.jsonl": DATA})
    assert good(read("memory://box/*")) == RECORDS * 2
    assert good(read("memory://box/a.jsonl")) == RECORDS

    class Failing:
        closed = False

        def read(self, size=-1):
            raise ConnectionResetError("reset by peer")

        def close(self):
            pass

    monkeypatch.setattr(type(memory), "open", lambda *args, **options: Failing())
    with pytest.raises(UserError, match="reset by peer"):
        read("memory://box/b.jsonl.gz")
