"""Files appear whole or not at all, follow no link, and say where they are broken."""

import json
import os
import stat
import tempfile
from pathlib import Path

import pytest

from diglot.base.errors import UserError
from diglot.base.files import (
    atomic,
    make_folder,
    open_plain,
    own_temporary_folder,
    read_json,
    read_lines,
    read_log,
    refuse_links,
    remove,
    write_json,
    write_lines,
    write_text,
)


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(RuntimeError), atomic(path, durable=durable) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before"
    with atomic(path, durable=durable) as temporary:
        temporary.write_text("whole")
        assert path.read_text() == "before"
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    other, path = tmp_path / "other", tmp_path / "file.json"
    other.write_text("mine")
    path.symlink_to(other)
    write_json(path, 1)
    assert other.read_text() == "mine"
    assert path.read_text() == "1\n"
    assert not path.is_symlink()


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_text(tmp_path / "file", "x")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_json_goes_there_and_back(tmp_path: Path) -> None:
    path, value = tmp_path / "file.json", {"b": "عربي", "a": [1, None, 1.5]}
    for settings in ({}, {"indent": None}, {"sort_keys": True}, {"durable": True}):
        write_json(path, value, **settings)
        assert read_json(path) == value
    write_lines(path, [value, 1, "x"])
    assert list(read_lines(path)) == [value, 1, "x"]
    assert "عربي" in path.read_text("utf-8")


def test_what_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    for read in (read_json, lambda path: list(read_lines(path))):
        with pytest.raises(UserError, match=r"file\.json is missing; run the stage"):
            read(path)
    for broken in (b'{"a": 1', b"\xff\xfe", b""):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"file\.json: not readable as JSON \(.*\); run the stage"):
            read_json(path)
    path.write_bytes(b'{"a": 1}\n\n{"a": 2\n')
    with pytest.raises(UserError, match=r"file\.json:3: not valid JSON"):
        list(read_lines(path))


def test_a_log_may_be_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert read_log(path) == ([], 0)
    path.write_bytes(json.dumps({"a": "é"}).encode() + b'\n\n{"a": "\xc3')
    assert read_log(path) == ([{"a": "é"}], 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 101 + b"]" * 101, "nested more than 100 deep"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "nested more than 100 deep"),
        (b"[" * 100_000, "nested more than 100 deep"),
        (b'{"a\\ud800": 1}', "half of a surrogate pair"),
        (b'["\\uDFFF"]', "half of a surrogate pair"),
        (b'["\xed\xa0\x80"]', "utf-8"),
        (b"[1" + b"0" * 5000 + b"]", "digits"),
    ],
)
def test_json_that_nobody_could_walk_or_write_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    for read in (read_json, lambda path: list(read_lines(path))):
        with pytest.raises(UserError, match=words):
            read(path)
    path.write_bytes(b"[" * 100 + b"]" * 100 + b"\n")
    assert list(read_lines(path)) == [read_json(path)]
    path.write_bytes(b'\xef\xbb\xbf["\\ud83d\\ude00"]')
    assert read_json(path) == ["😀"]


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(UserError, match=r"pipe\.json is no file"):
        read_json(tmp_path / "pipe.json")


def test_json_is_read_within_bounds(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"file\.json: has 100,000 bytes, where 99,999 are plenty; run it again"):
        read_json(path, "run it again", most=99_999)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(UserError, match=r"file\.json .*symbolic links"):
        read_json(path)
    path.unlink()
    (tmp_path / "other").write_text("1")
    path.symlink_to(tmp_path / "other")  # such as those of the cache of the Hugging Face hub
    assert read_json(path) == 1


def test_what_is_written_follows_no_link(tmp_path: Path) -> None:
    other, path = tmp_path / "other", tmp_path / "file"
    other.write_text("mine")
    path.symlink_to(other)
    with pytest.raises(UserError, match="something else lies where"):
        open_plain(path)
    path.unlink()
    with open_plain(path) as stream:
        stream.write(b"ours")
    with open_plain(path) as stream:
        assert stream.read() == b"ours"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="something else lies where"):
        open_plain(tmp_path / "pipe")
    assert other.read_text() == "mine"


def test_a_link_is_removed_and_what_it_points_to_stays(tmp_path: Path) -> None:
    mine, link = tmp_path / "mine", tmp_path / "link"
    mine.mkdir()
    (mine / "letter").touch()
    link.symlink_to(mine)
    remove(link)
    assert not link.is_symlink()
    link.symlink_to(mine)
    make_folder(link)
    assert link.is_dir()
    assert not link.is_symlink()
    (link / "inner").symlink_to(mine)
    with pytest.raises(UserError, match="link/inner: something else"):
        refuse_links(link)
    remove(link)
    remove(link)  # nothing is there
    assert list(mine.iterdir()) == [mine / "letter"]


@pytest.mark.parametrize("there", ["nothing", "ours", "open to others", "a link"])
def test_a_temporary_folder_is_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    usual = tmp_path / f"diglot-{os.getuid()}"
    if there == "a link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        usual.symlink_to(tmp_path / "theirs")
    elif there != "nothing":
        usual.mkdir(mode=0o700)
        usual.chmod(0o777 if there == "open to others" else 0o700)
    found = own_temporary_folder()
    assert (found == usual) == (there in ("nothing", "ours"))
    assert stat.S_IMODE(found.lstat().st_mode) == 0o700
