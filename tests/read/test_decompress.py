"""Members and frames behind one another, padding, long windows: all of it is read, and nothing else is."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
from corpus_files import DATA, RECORDS, broken, good, read, zstd

if sys.version_info >= (3, 14):
    from compression import zstd as zstandard
else:
    from backports import zstd as zstandard

SKIPPED = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"
HALF = DATA.index(b"\n", len(DATA) // 2) + 1


def long_frame(window_log: int) -> bytes:
    """A frame whose window is declared larger than the library takes unasked; in a stream its size is not known."""
    parameter = zstandard.CompressionParameter
    compressor = zstandard.ZstdCompressor(options={parameter.window_log: window_log})
    return compressor.compress(DATA) + compressor.flush()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl.gz", gzip.compress(DATA) + b"\0" * 100_000),
        ("a.jsonl.gz", gzip.compress(DATA[:HALF]) + b"\0" * 512 + gzip.compress(DATA[HALF:])),
        ("a.jsonl.gz", gzip.compress(b"") + gzip.compress(DATA) + gzip.compress(b"")),
        ("a.jsonl.zst", SKIPPED + zstd(DATA[:HALF]) + SKIPPED + zstd(DATA[HALF:]) + SKIPPED),
        ("a.jsonl.zst", long_frame(28)),
        ("a.jsonl.zst", long_frame(31)),
    ],
)
def test_whole_files_are_read_whole(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    records = read(tmp_path / name)
    assert not broken(records)
    assert good(records) == RECORDS


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl.gz", gzip.compress(DATA) + b"garbage", "no gzip"),
        ("a.jsonl.gz", gzip.compress(DATA) + b"\0\0garbage", "no gzip"),
        ("a.jsonl.gz", gzip.compress(DATA)[:-4], "breaks off"),
        ("a.jsonl.zst", zstd(DATA) + b"garbage", "no zstd"),
    ],
)
def test_damage_costs_nothing_before_it(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    records = read(tmp_path / name)
    assert good(records) == RECORDS
    assert [record.reason for record in broken(records)] == ["truncated_archive"]
    assert words in broken(records)[0].detail


def test_a_window_that_does_not_fit_is_said_to_be_one(tmp_path):
    """No truncation: a header may ask for more than there is in the world."""
    head = b"\x28\xb5\x2f\xfd\x00" + bytes([31 - 10 + 5 << 3])  # a window of 2^36
    (tmp_path / "a.jsonl.zst").write_bytes(head + b"\1\0\0")
    (tmp_path / "b.jsonl").write_bytes(DATA)
    detail = broken(read(tmp_path))[0].detail
    assert "window is larger" in detail
    assert "zstd --long=27" in detail


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_the_memory_of_a_long_window_is_that_of_the_data(tmp_path):
    (tmp_path / "a.jsonl.zst").write_bytes(long_frame(31))
    program = (
        "import re, sys; from pathlib import Path; from diglot.read.files import read_records\n"
        "def peak(): return int(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1]) // 1000\n"
        "before = peak(); list(read_records(sys.argv[1], stage='s', source='s')); print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100  # the window is 2,147 MB
