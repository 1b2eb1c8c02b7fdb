"""Texts from files of every kind, and what is said where they cannot be read."""

import gzip
import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diglot.base.errors import UserError
from diglot.tokenizer.texts import read_texts

LINES = ["سلام", "", "a\u2028b \x0b c", "x:y"]


def compress(data: bytes, kind: str) -> bytes:
    if kind == ".gz":
        return gzip.compress(data)
    return pa.Codec("zstd").compress(data, asbytes=True) if kind == ".zst" else data


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_plain_text_is_a_text_a_line(tmp_path, suffix):
    file = tmp_path / f"ar.txt{suffix}"
    file.write_bytes(compress("\n".join(LINES).encode(), suffix))
    assert read_texts(str(file)) == LINES
    file.write_bytes(compress(("\ufeff" + "\r\n".join(LINES) + "\r\n").encode(), suffix))
    assert read_texts(str(file)) == LINES


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_json_lines_have_fields(tmp_path, suffix):
    file = tmp_path / f"pairs.jsonl{suffix}"
    records = [{"text": line, "translation": {"ar": line + "!"}} for line in LINES]
    file.write_bytes(compress(("\n".join(map(json.dumps, records)) + "\n\n").encode(), suffix))
    assert read_texts(str(file)) == LINES
    assert read_texts(f"{file}:text") == LINES
    assert read_texts(f"{file}:translation.ar") == [line + "!" for line in LINES]


@given(lines=st.lists(st.text().filter(lambda line: not set(line) & {"\n", "\r", "\ufeff"}), min_size=1))
def test_any_text_comes_back(tmp_path_factory, lines):
    file = tmp_path_factory.mktemp("texts") / "any.txt"
    file.write_bytes("".join(line + "\n" for line in lines).encode())
    assert read_texts(str(file)) == lines


def test_a_file_with_a_colon_is_taken_as_it_is(tmp_path):
    file = tmp_path / "a:b"
    file.write_text("x\n")
    assert read_texts(str(file)) == ["x"]


@pytest.mark.parametrize(
    ("name", "content", "field", "says"),
    [
        ("a.txt", b"ok\n\xff\n", "", r"a\.txt:2: not UTF-8"),
        ("a.txt", "نص عربي قصير عن الخبز والماء\n".encode("cp1256") * 9, "", r"a\.txt:1: not UTF-8.* from cp1256 by"),
        ("a.jsonl", b'{"text": "x"}\n{', "", r"a\.jsonl:2: .*JSON object a line"),
        ("a.jsonl", b'{"en": "x"}\n', "", r"a\.jsonl:1: no field 'text'; .* en$"),
        ("a.jsonl", b'{"en": {"b": 1}}\n', ":en.b", r"a\.jsonl:1: no text but int in field 'en\.b'"),
        ("a.jsonl", b'{"text": "\\ud800"}', "", r"a\.jsonl:1: field 'text' holds half of a surrogate pair"),
        ("a.txt.gz", b"no gzip", "", r"a\.txt\.gz: cannot be decompressed"),
        ("a.txt", b"plain\n", ":field", r"a\.txt:1: .*without a field"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, field, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says):
        read_texts(f"{tmp_path / name}{field}")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.txt does not exist"):
        read_texts(str(tmp_path / "nothing.txt"))
    with pytest.raises(UserError, match="is a folder"):
        read_texts(str(tmp_path))
