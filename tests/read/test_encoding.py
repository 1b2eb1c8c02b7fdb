"""Text in other encodings: read as it is said to be, or as it proves to be; else counted, with a remedy."""

import codecs
import gzip
import json

import pytest
from corpus_files import ARABIC, ENGLISH, broken, good, read, sentences
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from diglot.base.errors import UserError
from diglot.read import records as records_module
from diglot.read.files import read_records
from diglot.recipe.source import RawFiles, Source

TEXT = sentences(ARABIC, 1, 60)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json", "a.csv"])
def test_what_the_first_bytes_prove_needs_no_setting(tmp_path, name, encoding):
    content = {
        "a.txt": TEXT, "a.jsonl": json.dumps({"text": TEXT}, ensure_ascii=False) + "\n",
        "a.json": json.dumps([{"text": TEXT}], ensure_ascii=False, indent=1), "a.csv": f'text\n"{TEXT}"\n',
    }[name]  # fmt: skip
    (tmp_path / name).write_bytes(content.encode(encoding))
    assert good(read(tmp_path)) == [{"text": TEXT}]


@pytest.mark.parametrize("encoding", ["cp1256", "iso8859_6", "utf-16-le", "utf-16-be"])
def test_the_setting_is_followed(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes(TEXT.encode(encoding))
    (tmp_path / "b.jsonl.gz").write_bytes(
        gzip.compress(json.dumps({"text": TEXT}, ensure_ascii=False).encode(encoding))
    )
    assert good(read(tmp_path, how=RawFiles(encoding=encoding))) == [{"text": TEXT}] * 2


def test_utf_16_without_its_mark_is_that_of_most_machines(tmp_path):
    (tmp_path / "a.txt").write_bytes(("漢字" * 50).encode("utf-16-le"))
    assert good(read(tmp_path, how=RawFiles(encoding="utf-16"))) == [{"text": "漢字" * 50}]


@pytest.mark.parametrize("encoding", ["utf-32", "utf-7", "iso2022_jp", "idna", "punycode"])
def test_codecs_that_fail_in_their_own_ways_cost_what_they_cannot_read(tmp_path, encoding):
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe\x00 \xe9\n" * 20)
    with pytest.raises(UserError, match="nothing could be read"):
        read(tmp_path, how=RawFiles(encoding=encoding))


def test_another_encoding_is_named_with_the_remedy(tmp_path):
    lines = [TEXT.replace("\n", " ").encode("cp1256")] * 3
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(b'{"text": "' + line + b'"}' for line in lines))
    with pytest.raises(UserError, match=r"3 × invalid_utf8 .*looks like cp1256: if it is, set encoding: cp1256"):
        read(tmp_path)


def test_a_broken_line_of_a_file_in_utf_8_gets_no_guess(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(json.dumps({"text": "x" * 2_000_000}).encode() + b'\n{"text": "\xff"}\n')
    assert "looks like" not in broken(read(tmp_path))[0].detail


def test_bytes_that_the_encoding_does_not_have_are_counted(tmp_path):
    (tmp_path / "a.txt").write_bytes("eins\nzwei\ndrei\n".encode("utf-16") + b"\x00\xdc" + "\nvier".encode("utf-16-le"))
    found = read(tmp_path, how=Source(path="x", language="de", each_line=True))
    assert [value["text"] for value in good(found)] == ["eins", "zwei", "drei", "vier"]
    assert [record.reason for record in broken(found)] == ["invalid_utf8"]


@pytest.mark.parametrize("name", ["none", "rot13", "zlib", ""])
def test_what_is_no_encoding_is_refused(name):
    with pytest.raises(ValidationError, match=r"no encoding|encoding of bytes"):
        RawFiles(encoding=name)


@given(st.lists(st.text(st.characters(exclude_characters="\n\r\ufeff", exclude_categories=["Cs"]), min_size=1), min_size=1),
       st.sampled_from(["utf-16", "utf-32", "utf-16-be", "gb18030"]), st.integers(1, 9))  # fmt: skip
@examples(100)
def test_lines_come_through_whatever_the_chunks(tmp_path_factory, lines, encoding, chunk):
    file = tmp_path_factory.mktemp("encoded") / "a.jsonl"
    file.write_bytes("\n".join(json.dumps({"text": line}, ensure_ascii=False) for line in lines).encode(encoding))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records_module, "CHUNK_BYTES", chunk)
        found = read(file, how=RawFiles(encoding=codecs.lookup(encoding).name))
    assert good(found) == [{"text": line} for line in lines]


def test_a_document_a_line_and_the_hint_to_it(tmp_path):
    """A large file of lines is no document; it says so."""
    lines = [sentences(ENGLISH, number).replace("\n", " ") for number in range(50)]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n\n")
    how = Source(path="x", language="en", each_line=True)
    found = list(read_records(str(tmp_path), stage="corpus", source="s", how=how))
    assert [(record.line, record.value["text"]) for record in found] == list(enumerate(lines, 1))
    with pytest.raises(UserError, match=r"1 × oversized_record .*if each line is a document, set each_line: true"):
        read(tmp_path, max_record_bytes=1000)


def test_the_lines_of_a_file_in_another_encoding_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(records_module, "CHUNK_BYTES", 5000)
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x"}\n' * 2000)
    (tmp_path / "b.jsonl").write_text('{"text": "x"}\n', "utf-32")
    found = read(tmp_path, how=RawFiles(encoding="utf-32"))
    assert len(good(found)) == 1
    assert len(broken(found)) > 1000  # all but those of the first chunk, in which there are no lines of UTF-32
