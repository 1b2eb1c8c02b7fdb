import gzip
import http.server
import io
import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_files import COMPRESS, DATA, RECORDS, broken, good, parquet_bytes, read, warc_record, zstd
from examples import examples
from hypothesis import example, given
from hypothesis import strategies as st

from diglot.base.errors import UserError
from diglot.read import records as records_module
from diglot.read.files import find_files, read_records


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


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'\xef\xbb\xbf{"text": "mark"}', {"text": "mark"}),
        (b'{"text": "a\\u0000b"}', {"text": "a\0b"}),
        (b'{"text": "a\0b"}', "invalid_json"),
        (b'{"text": "one", "text": "two"}', {"text": "two"}),
        ('{"text": "\u2028 \x85 \x0b"}'.encode(), "invalid_json"),
        ('{"text": "\u2028 \x85"}'.encode(), {"text": "\u2028 \x85"}),
        (b'{"id": 7, "score": NaN, "most": 1e999}', None),
        (b'{"text": "\\ud800"}', {"text": "\ud800"}),
        (b'{"text": "\xed\xa0\x80"}', "invalid_utf8"),
        (b'{"id": 123456789012345678901234567890}', {"id": 1.2345678901234568e29}),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "invalid_json"),
        (b'{"text": "x"} {"text": "y"}', "invalid_json"),
        (b'"text"', "invalid_json"),
    ],
)
def test_strange_lines(tmp_path, line, expected):
    (tmp_path / "a.jsonl").write_bytes(line + b'\n{"text": "good"}\n')
    first, second = read(tmp_path / "a.jsonl")
    assert second.value == {"text": "good"}
    if isinstance(expected, str):
        assert first.reason == expected
    else:
        assert repr(first.value) == repr(json.loads(line)) if expected is None else first.value == expected


ELEMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.lists(ELEMENTS, max_size=6), st.integers(1, 9), st.sampled_from([None, 1]))
@example([[], 0.0], 1, 1)
@example([1e-7, -25, True], 2, None)
@examples(150)
def test_the_elements_of_an_array_are_those_python_finds(tmp_path_factory, values, chunk, indent):
    """Whatever chunks the file is read in."""
    file = tmp_path_factory.mktemp("array") / "a.json"
    file.write_bytes(
        json.dumps([{"text": "good"}, *values], indent=indent, ensure_ascii=False).encode(errors="replace")
    )
    expected = json.loads(file.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records_module, "CHUNK_BYTES", chunk)
        records = read(file)
    assert [record.line for record in records] == list(range(1, len(expected) + 1))
    assert good(records) == [value for value in expected if isinstance(value, dict)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'[{"a": 1}, {"b": 2}', "invalid_json"),
        (b'[{"a": 1}, {"b": 2} 5]', "invalid_json"),
        (b'[{"a": 1}, {"b": 2}, {"c": "' + b"x" * 100_000 + b'"}]', "invalid_json"),
        (b'[{"a": 1}, {"b": 2}, {"c": "\xff"}]', "invalid_utf8"),
        (b'[{"a": 1}, {"b": 2}, ' + b"[" * 9999, "invalid_json"),
    ],
)
def test_what_comes_before_a_fault_in_an_array_is_read(tmp_path, content, reason, monkeypatch):
    monkeypatch.setattr(records_module, "CHUNK_BYTES", 8)
    (tmp_path / "a.json").write_bytes(content)
    *whole, last = read(tmp_path / "a.json", max_record_bytes=50_000)
    assert good(whole) == [{"a": 1}, {"b": 2}]
    assert last.reason == reason


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
@examples(100)
def test_every_line_that_is_not_blank_is_accounted_for(tmp_path_factory, lines):
    file = tmp_path_factory.mktemp("fuzz") / "a.jsonl"
    content = b"\n".join([b'{"text": "good"}', *lines])
    file.write_bytes(content)
    assert len(read(file)) == sum(1 for line in content.split(b"\n") if line.strip())


@given(st.binary(max_size=300), st.sampled_from(["gz", "zst", "plain"]))
@examples(100)
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


def test_an_empty_folder_is_said_to_be_one_and_hidden_files_are_not_read(tmp_path):
    with pytest.raises(UserError, match=r"there are no files in the folder"):
        read(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "a.jsonl").write_bytes(DATA)
    with pytest.raises(UserError, match=r"there are no files in the folder"):
        read(tmp_path)


def test_a_name_that_is_not_utf_8_is_shown_as_far_as_it_is(tmp_path):
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl"))).write_bytes(DATA)
    assert read(tmp_path)[0].file == "?.jsonl"


@pytest.mark.parametrize("path", ["nowhere", "nowhere/*.jsonl", "zzz://a/b.jsonl", "hf://datasets/no/such/*.jsonl"])
def test_what_is_not_there_is_refused(tmp_path, path):
    with pytest.raises(UserError, match=r"corpus.sources.s.path=FOLDER"):
        list(read_records(path, stage="corpus", source="s", base=tmp_path))


# --- over the network -----------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    """A web server for a folder, in a process of its own: it knows no ranges, as many don't."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", tmp_path],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        port = process.stdout.readline().split(" port ")[1].split()[0]
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def test_files_are_read_over_http(tmp_path, server):
    pytest.importorskip("aiohttp")
    (tmp_path / "a.jsonl.zst").write_bytes(zstd(DATA))
    (tmp_path / "big.jsonl").write_bytes(DATA * 20)  # more than fsspec asks for at a time
    pq.write_table(pa.Table.from_pylist(RECORDS), tmp_path / "b.parquet")
    assert good(read(f"{server}/a.jsonl.zst")) == RECORDS
    assert good(read(f"{server}/a.jsonl.zst?download=1")) == RECORDS
    assert good(read(f"{server}/b.parquet")) == RECORDS
    assert good(read(f"{server}/big.jsonl")) == RECORDS * 20
    assert {file.name for file in find_files(f"{server}/", "s", "r")} == {"a.jsonl.zst", "b.parquet", "big.jsonl"}
    found = pickle.loads(pickle.dumps(find_files(f"{server}/a.jsonl.zst", "s", "r")))
    assert found[0].size == (tmp_path / "a.jsonl.zst").stat().st_size
    with pytest.raises(UserError, match=r"nowhere\.jsonl"):
        read(f"{server}/nowhere.jsonl")


class _BreakingOff(http.server.BaseHTTPRequestHandler):
    """Sends half of what it promises, and hangs up."""

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(self.server.content[: len(self.server.content) // 2])

    def log_message(self, *args):
        pass


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_a_connection_that_breaks_off_is_no_end_of_a_file(name):
    pytest.importorskip("aiohttp")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _BreakingOff) as server:
        server.content = parquet_bytes() if name == "a.parquet" else COMPRESS[name.removeprefix("a.jsonl")](DATA)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with pytest.raises(UserError, match=f"cannot read .*{name}.*try again"):
                read(f"http://127.0.0.1:{server.server_port}/{name}")
        finally:
            server.shutdown()
            thread.join()


def test_object_stores_are_read():
    memory = fsspec.filesystem("memory")
    memory.pipe({"/box/b.jsonl.gz": gzip.compress(DATA), "/box/a.jsonl": DATA, "/box/c.parquet": parquet_bytes()})
    memory.pipe({"/box/README.md": b"#", "/box/d.warc": warc_record("conversion", "один".encode())})
    assert good(read("memory://box/*.jsonl*")) == RECORDS * 2
    assert good(read("memory://box/a.jsonl")) == RECORDS
    everything = good(read("memory://box"))
    assert everything[:-1] == RECORDS * 2 + RECORDS[:200]
    assert everything[-1]["text"] == "один"
    assert [file.size for file in find_files("memory://box/a.jsonl", "s", "r")] == [len(DATA)]


def test_a_failing_store_is_no_broken_file(monkeypatch):
    memory = fsspec.filesystem("memory")
    memory.pipe({"/box/b.jsonl.gz": gzip.compress(DATA), "/box/c.parquet": parquet_bytes()})

    class Failing(io.BytesIO):
        def read(self, size=-1):
            raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(type(memory), "open", lambda *args, **options: Failing())
    for name in ("b.jsonl.gz", "c.parquet"):
        with pytest.raises(UserError, match=f"{name}.*reset by peer"):
            read(f"memory://box/{name}")


def test_the_hub_out_of_reach_is_said():
    with pytest.raises(UserError, match=r"offline|reach") as error:
        find_files("hf://datasets/some/name", "source 's'", "give another")
    assert "give another" in str(error.value)
