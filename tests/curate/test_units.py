import gzip
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_files import (
    COMPRESS,
    DATA,
    RECORDS,
    broken,
    good,
    html_page,
    http_response,
    parquet_bytes,
    read,
    warc_record,
    zstd,
)
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from diglot.read import files as reading_module
from diglot.read.files import Broken, Reading, find_files, read_shards


def shards(path, wanted=lambda number: True, **options):
    return list(read_shards(find_files(str(path), "source 's'", "give another"), Reading(**options), wanted))


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(reading_module, "SHARD_RECORDS", 70)
    monkeypatch.setattr(reading_module, "SHARD_BYTES", 100_000)


@pytest.fixture
def mixed(tmp_path):
    """A folder with a file of each format, records broken in some."""
    (tmp_path / "a.jsonl.zst").write_bytes(zstd(DATA.replace(b"line 100 ", b"\xff", 1)))
    (tmp_path / "b.json").write_text(json.dumps([*RECORDS[:150], 7]))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(DATA)[:-50])
    (tmp_path / "d.txt").write_text("text")
    pq.write_table(pa.Table.from_pylist(RECORDS[:500]), tmp_path / "e.parquet", row_group_size=130)
    pages = [warc_record("response", http_response(html_page("A sentence in a page. " * 20)), n) for n in range(3)]
    (tmp_path / "f.warc.gz").write_bytes(b"".join(map(gzip.compress, pages)))
    (tmp_path / "g.html").write_bytes(html_page("Another sentence in a page. " * 20))
    return tmp_path


def test_shards_are_the_records_in_order(mixed, small_shards):
    """All of them, once, and in few enough pieces: a shard ends behind the record that fills it."""
    found = shards(mixed)
    assert [shard.number for shard in found] == list(range(len(found)))
    assert [record for shard in found for record in shard.records] == read(mixed)
    assert all(len(shard.records) <= 70 for shard in found)
    assert len(found) > 20


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_shards_are_the_same_whichever_are_wanted(mixed, small_shards, parts):
    whole = shards(mixed)
    together = {}
    for part in range(parts):
        asked = []

        def wanted(number, part=part, asked=asked):
            asked.append(number)
            return number % parts == part

        for shard in shards(mixed, wanted):
            assert (shard.records is not None) == (shard.number % parts == part)
            together.setdefault(shard.number, []).append(shard.records)
        assert asked == list(range(len(whole)))
    for shard in whole:
        assert [records for records in together[shard.number] if records is not None] == [shard.records]


@pytest.mark.parametrize("limit", [1, 70, 71, 3010, 3150, 10_000])
def test_a_limit_counts_records_of_all_files(mixed, small_shards, limit):
    records = [record for shard in shards(mixed, limit=limit) for record in shard.records]
    assert records == read(mixed)[:limit] == read(mixed, limit=limit)


def test_shards_have_about_32_megabytes(tmp_path):
    line = json.dumps({"text": "x" * 99_988}).encode() + b"\n"
    (tmp_path / "a.jsonl").write_bytes(line * 700)
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "y"}\n' * 20_100)
    assert [len(shard.records) for shard in shards(tmp_path)] == [320, 320, 20_000, 160]


def test_what_is_found_pickles_and_knows_its_size(mixed):
    files = find_files(str(mixed), "source 's'", "give another")
    assert pickle.loads(pickle.dumps(files)) == files
    assert [file.size for file in files] == [path.stat().st_size for path in sorted(mixed.iterdir())]


def test_row_groups_that_are_not_wanted_are_not_read(tmp_path, small_shards, monkeypatch):
    """Damage in one costs its rows and no others; whoever does not want them does not even see it."""
    file = tmp_path / "a.parquet"
    table = pa.Table.from_pylist([{"id": str(n), "text": f"text {n} " * 3} for n in range(350)])
    pq.write_table(table, file, row_group_size=70, compression="none", use_dictionary=False)
    metadata = pq.ParquetFile(file).metadata
    content = bytearray(file.read_bytes())
    place = metadata.row_group(2).column(1).data_page_offset
    content[place : place + 300] = b"\xff" * 300
    file.write_bytes(content)
    counts = [[isinstance(record, Broken) for record in shard.records] for shard in shards(file)]
    assert counts == [[False] * 70, [False] * 70, [True] * 70, [False] * 70, [False] * 70]
    assert {record.reason for record in broken(read(file))} == {"unreadable_rows"}
    opened = []
    iter_batches = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", lambda *a, **o: opened.append(o["row_groups"]) or iter_batches(*a, **o)
    )
    assert shards(file, lambda number: number == 3)[3].records[0].value["id"] == "210"
    assert opened == [[3]]


def test_of_parquet_only_the_fields_are_read_unless_the_text_is_missing(tmp_path):
    pq.write_table(pa.Table.from_pylist([{"id": "1", "text": "t", "url": "u", "big": "b"}]), tmp_path / "a.parquet")
    assert good(shards(tmp_path, fields=["text"])[0].records) == [{"id": "1", "text": "t", "url": "u"}]
    assert good(shards(tmp_path, fields=["content"])[0].records) == [{"id": "1", "text": "t", "url": "u", "big": "b"}]


def test_a_bad_text_in_parquet_costs_its_row(tmp_path):
    texts = pa.array([b"good", b"\xff\xfe", b"x" * 5000, b"good too"]).view(pa.string())
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    records = read(tmp_path, max_record_bytes=1000)
    assert [value["text"] for value in good(records)] == ["good", "good too"]
    assert [(record.line, record.reason) for record in broken(records)] == [
        (2, "invalid_utf8"),
        (3, "oversized_record"),
    ]


# --- whatever comes -------------------------------------------------------------------------------------------


SEEDS = {
    ".jsonl": DATA[:60_000],
    ".json": json.dumps(RECORDS[:60]).encode(),
    ".txt": b"some text\n" * 50,
    ".html": html_page("A sentence in a page. " * 20),
    ".warc": b"".join(
        warc_record(kind, http_response(html_page("A sentence in a page. " * 20)), number)
        for number, kind in enumerate(["warcinfo", "request", "response", "conversion", "resource", "response"])
    ),
}
FILES = {name + end: compress(data) for name, data in SEEDS.items() for end, compress in COMPRESS.items()}
FILES |= {".parquet": parquet_bytes(), ".wet": SEEDS[".warc"]}
FILES[".PARQUET"] = parquet_bytes(compression="none", use_dictionary=False)


@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 60), st.binary(max_size=60)), max_size=5),
    st.floats(0.01, 1.5),
)
@examples(250, suppress_health_check=list(HealthCheck))
def test_damaged_files_never_give_a_traceback(tmp_path_factory, suffix, damages, share):
    """Stretches replaced and the end cut off; and who wants every second shard gets just these."""
    content = bytearray(FILES[suffix])
    for place, size, replacement in damages:
        start = int(place * len(content))
        content[start : start + size] = replacement
    file = tmp_path_factory.mktemp("fuzz") / f"a{suffix}"
    file.write_bytes(content[: int(share * len(content))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading_module, "SHARD_RECORDS", 20)
        whole = shards(file, max_record_bytes=30_000)
        odd = shards(file, lambda number: number % 2 == 1, max_record_bytes=30_000)
    assert [shard.number for shard in odd] == [shard.number for shard in whole]
    for shard, same in zip(whole, odd, strict=True):
        assert same.records is None if shard.number % 2 == 0 else same == shard


@given(st.binary(max_size=400), st.sampled_from(sorted(FILES)))
@examples(200, suppress_health_check=list(HealthCheck))
def test_random_bytes_under_any_suffix(tmp_path_factory, content, suffix):
    file = tmp_path_factory.mktemp("fuzz") / f"a{suffix}"
    file.write_bytes(content)
    shards(file, html=True, fields=["text"])


# --- real text, and much of it --------------------------------------------------------------------------------


def test_all_of_the_real_text_is_accounted_for(data):
    for folder in ("ar", "th", "zh"):
        for file in sorted((data / "raw_text" / folder).glob("*.jsonl.zst")):
            lines = subprocess.run(["zstd", "-dc", file], capture_output=True, check=True).stdout.split(b"\n")
            records = [record for shard in shards(file) for record in shard.records]
            assert [record.value for record in records] == [json.loads(line) for line in lines if line.strip()]


MEASURE = """
import json, re, sys
from pathlib import Path
from diglot.read.files import Broken, Reading, find_files, read_shards
def peak():  # of this process; ru_maxrss has its parent's in it
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000
before, records, broken = peak(), 0, 0
for shard in read_shards(find_files(sys.argv[1], "s", "r"), Reading()):
    records += len(shard.records)
    broken += sum(isinstance(record, Broken) for record in shard.records)
print(json.dumps([records, broken, peak() - before]))
"""


def measure(file):
    """Records, broken ones, and by how many megabytes a process grows that reads a file."""
    result = subprocess.run([sys.executable, "-c", MEASURE, file], capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    ("text", "megabytes"),
    [
        pytest.param("word " * 200, 110, id="a byte a character"),
        pytest.param("word " * 200 + "😀", 330, id="four bytes a character", marks=pytest.mark.full),
    ],
)
def test_memory_is_bounded_by_two_shards(tmp_path, text, megabytes):
    """A gigabyte of lines in about twice 32 MB, or twice 128 MB where Python takes four bytes a character."""
    lines = [json.dumps({"id": str(n), "text": text}, ensure_ascii=False).encode() + b"\n" for n in range(10_000)]
    with pa.CompressedOutputStream(str(tmp_path / "a.jsonl.zst"), "zstd") as stream:
        for _ in range(100):
            stream.write(b"".join(lines))
    records, broken_, grown = measure(tmp_path / "a.jsonl.zst")
    assert (records, broken_) == (1_000_000, 0)
    assert 30 < grown < megabytes


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_is_bounded_by_a_record(tmp_path):
    """A line of 300 MB between others; a Parquet file of 500 MB in one row group."""
    with pa.CompressedOutputStream(str(tmp_path / "a.jsonl.zst"), "zstd") as stream:
        stream.write(b'{"text": "before"}\n{"text": "')
        for _ in range(300):
            stream.write(b"x" * 1_000_000)
        stream.write(b'"}\n{"text": "after"}\n')
    records, broken_, grown = measure(tmp_path / "a.jsonl.zst")
    assert (records, broken_) == (3, 1)
    assert grown < 70
    texts = pa.array([f"{number} " + "word " * 800 for number in range(125_000)])
    pq.write_table(pa.table({"text": texts}), tmp_path / "b.parquet", row_group_size=125_000)
    records, broken_, grown = measure(tmp_path / "b.parquet")
    assert (records, broken_) == (125_000, 0)
    assert grown < 150
