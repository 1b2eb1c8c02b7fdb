"""CSV, TSV and pairs of files: a row a record, every row accounted for."""

import csv
import gzip
import io

import pytest
from corpus_files import broken, good, read
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from diglot.base.errors import UserError
from diglot.read.files import Broken, read_records
from diglot.recipe.source import RawFiles, Source

CELLS = st.text(st.sampled_from('a",;\t|\n b\u2028é'), max_size=8)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=8), st.sampled_from(",;\t|"), st.booleans())
@examples(150)
def test_what_the_csv_module_writes_is_read(tmp_path_factory, rows, delimiter, everything):
    file = tmp_path_factory.mktemp("csv") / "a.csv"
    out = io.StringIO()
    quoting = csv.QUOTE_ALL if everything else csv.QUOTE_MINIMAL
    table = csv.writer(out, delimiter=delimiter, lineterminator="\n", quoting=quoting)
    table.writerows([["id", "text"], *rows, ["last", "x"]])
    file.write_text(out.getvalue(), newline="")
    assert good(read(file)) == [{"id": left, "text": right} for left, right in [*rows, ["last", "x"]]]


@given(st.text(st.sampled_from('a,"\n'), max_size=40))
@examples(150)
def test_rows_are_cut_as_the_csv_module_cuts_them(tmp_path_factory, text):
    """Whatever stands in them, but for blank lines and a quotation mark without its end."""
    file = tmp_path_factory.mktemp("csv") / "a.csv"
    file.write_text("a,b\n1,2\n" + text, newline="")
    known = [row for row in csv.reader(io.StringIO("a,b\n1,2\n" + text, newline="")) if row][1:]
    found = read(file)
    if not any(record.reason == "invalid_csv" for record in broken(found)):
        assert len(found) == len(known)
        assert good(found) == [{"a": row[0], "b": row[1]} for row in known if len(row) == 2]


def test_cells_hold_line_ends_and_rows_keep_their_line(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(
        gzip.compress(b'\xef\xbb\xbfid,text\r\n1,"two\r\n\r\nlines"\r\n2,"say ""hi"""\r\n')
    )
    records = read(tmp_path)
    assert good(records) == [{"id": "1", "text": "two\r\n\r\nlines"}, {"id": "2", "text": 'say "hi"'}]
    assert [record.line for record in records] == [2, 5]


def test_tsv_has_no_quotes(tmp_path):
    (tmp_path / "a.tsv").write_text('id\ttext\n1\t"Hello," she said\n2\t"\n')
    assert good(read(tmp_path)) == [{"id": "1", "text": '"Hello," she said'}, {"id": "2", "text": '"'}]


def test_columns_are_named_by_the_setting_where_the_first_line_is_a_row(tmp_path):
    (tmp_path / "a.tsv").write_text("1\teng\tHello.\n2\tfra\tSalut.\n")
    how = RawFiles(columns=["id", "lang", "text"])
    assert [value["text"] for value in good(read(tmp_path, how=how))] == ["Hello.", "Salut."]


@pytest.mark.parametrize(
    ("content", "reasons"),
    [
        ("a,b\n1,2\n1\n1,2,3\n", ["wrong_columns"] * 2),
        ('a,b\n1,2\n1,"no end\n1,2\n', ["invalid_csv"]),
        ("a,b\n1,2\n\n  \n1,é\n", []),
        ("a,b\n1,2\n1," + "x" * 2000 + "\n", ["oversized_record"]),
        ('a,b\n1,2\n1,"' + "x\n" * 1000 + '"\n3,4\n', None),
    ],
)
def test_rows_that_are_none_are_counted(tmp_path, content, reasons):
    (tmp_path / "a.csv").write_text(content)
    records = read(tmp_path, max_record_bytes=1000)
    found = [record.reason for record in broken(records)]
    assert found == reasons if reasons is not None else found[0] == "oversized_record"
    assert good(records)[0] == {"a": "1", "b": "2"}


def test_bytes_that_are_no_text_cost_their_row(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,\xff\n1,2\n")
    assert [record.reason for record in broken(read(tmp_path))] == ["invalid_utf8"]


def test_a_column_named_twice_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,a\n1,2,3\n")
    with pytest.raises(UserError, match=r"a\.csv: the first line names the column 'a' twice.*columns: \["):
        read(tmp_path)


# --- pairs ----------------------------------------------------------------------------------------------------


def pairs(folder, source: str | list[str] = "train.en", target: str | list[str] = "train.ar"):
    how = Source(path=source, target_path=target, language="en", target_language="ar", target_text="translation")
    return list(read_records(source, stage="corpus", source="s", base=folder, how=how))


def test_two_files_side_by_side_are_pairs_of_their_lines(tmp_path):
    (tmp_path / "train.en").write_bytes(b"one\r\n\ntwo \xe2\x80\xa8 two\n\n")
    (tmp_path / "train.ar").write_bytes("واحد\n\nاثنان\n\n".encode())
    assert [(record.line, record.value) for record in pairs(tmp_path)] == [
        (1, {"src": "one", "translation": "واحد"}),
        (3, {"src": "two \u2028 two", "translation": "اثنان"}),
    ]
    (tmp_path / "train.en.gz").write_bytes(gzip.compress((tmp_path / "train.en").read_bytes()))
    assert good(pairs(tmp_path, ["train.en.gz", "train.en"], ["train.ar", "train.ar"])) == good(pairs(tmp_path)) * 2


def test_files_that_are_not_side_by_side_are_refused(tmp_path):
    (tmp_path / "train.en").write_text("one\ntwo\n")
    (tmp_path / "train.ar").write_text("one\n")
    with pytest.raises(UserError, match=r"train\.ar ends after 1 lines and .*train\.en goes on.*not side by side"):
        pairs(tmp_path)
    with pytest.raises(UserError, match=r"path has 2 files and target_path 1"):
        pairs(tmp_path, ["train.en", "train.ar"])
    with pytest.raises(UserError, match="no file or folder"):
        pairs(tmp_path, target="train.fr")


def test_a_line_that_is_broken_costs_its_pair(tmp_path):
    (tmp_path / "train.en").write_bytes(b"one\ntwo\nthree\n")
    (tmp_path / "train.ar").write_bytes(b"1\n\xff\n3\n")
    found = pairs(tmp_path)
    assert [record.reason if isinstance(record, Broken) else record.line for record in found] == [1, "invalid_utf8", 3]
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"1\n2\n3")[:-9])
    found = pairs(tmp_path, target="cut.gz")
    assert [record.reason for record in broken(found)] == ["truncated_archive"]
