"""Hashes of files are remembered as long as nothing about a file has changed, and name what is damaged."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from summaries import EMPTY_WORLD

from diglot.base.artifact import Artifact, content_of, hash_file, read_artifact, writing
from diglot.base.errors import UserError
from diglot.base.files import read_json, write_json
from diglot.base.hashes import MEMORY, FileHashes, check_whole, damage
from diglot.load import Where

FIELDS = {"stage": "s", "kind": "text", "do": "world", "fingerprint": "f", "settings": {}, "inputs": {}}
SETTLED = Path(json.__file__)  # a file that nobody has changed for long


def artifact(folder: Path) -> Artifact:
    with writing(folder / "a", **FIELDS) as unfinished:
        unfinished.summary = EMPTY_WORLD
        (unfinished.folder / "text").mkdir()
        (unfinished.folder / "text" / "en.jsonl").write_text("whole")
        (unfinished.folder / "model.bin").write_bytes(bytes(1000))
    return read_artifact(folder / "a")


def remembering(folder: Path) -> FileHashes:
    """A memory that says something false of a file that is as it was: so it shows when it is believed."""
    memory = folder / MEMORY
    hashes = FileHashes(memory)
    hashes.of(SETTLED)
    hashes.save()
    ((name, (stamp, hashed)),) = json.loads(memory.read_text()).items()
    assert hashed == hash_file(SETTLED)
    memory.write_text(json.dumps({name: [stamp, "remembered"]}))
    return FileHashes(memory)


def test_what_has_not_changed_is_not_hashed_again(tmp_path: Path) -> None:
    assert remembering(tmp_path).of(SETTLED) == "remembered"
    assert FileHashes(tmp_path / MEMORY, believe=False).of(SETTLED) == hash_file(SETTLED)


def test_what_is_forgotten_is_hashed_again(tmp_path: Path) -> None:
    hashes = remembering(tmp_path)
    hashes.forget(SETTLED.parent)
    assert hashes.of(SETTLED) == hash_file(SETTLED)


@pytest.mark.parametrize("number", [0, 1, 2, 3])  # size, time of writing, time of change, place on the disk
def test_any_change_of_what_is_known_of_a_file_has_it_hashed(tmp_path: Path, number: int) -> None:
    remembering(tmp_path)
    memory = tmp_path / MEMORY
    ((name, (stamp, hashed)),) = json.loads(memory.read_text()).items()
    stamp[number] -= 1
    memory.write_text(json.dumps({name: [stamp, hashed]}))
    assert FileHashes(memory).of(SETTLED) == hash_file(SETTLED)


def test_the_same_size_and_date_do_not_hide_other_bytes(tmp_path: Path) -> None:
    file, hashes = tmp_path / "x", FileHashes(tmp_path / MEMORY)
    file.write_text("one")
    status, before = file.stat(), hashes.of(file)
    file.write_text("two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file.stat().st_mtime_ns == status.st_mtime_ns
    assert hashes.of(file) != before


@pytest.mark.parametrize(
    "memory",
    ["", "[]", "{", '{"x": 1}', '{"x": [["a"], "b"]}', '{"x": null}', "null", "[" * 5000, '{"x": [[1e999], "b"]}'],
)
def test_a_memory_that_cannot_be_read_is_none(tmp_path: Path, memory: str) -> None:
    (tmp_path / MEMORY).write_text(memory)
    assert FileHashes(tmp_path / MEMORY).of(SETTLED) == hash_file(SETTLED)


def test_a_memory_that_is_a_pipe_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / MEMORY)
    assert FileHashes(tmp_path / MEMORY).of(SETTLED) == hash_file(SETTLED)


def test_names_that_are_not_utf_8_are_hashed_and_written(tmp_path: Path) -> None:
    names = [b"\xff.txt", b"\xfe.txt", "ع.txt".encode()]
    for name in names:
        (tmp_path / "texts" / os.fsdecode(name)).parent.mkdir(exist_ok=True)
        (tmp_path / "texts" / os.fsdecode(name)).write_bytes(name)
    hashes = FileHashes(tmp_path / MEMORY)
    found = hashes.of_paths({("path",): str(tmp_path / "texts")}, Where("recipe.yaml"))
    assert len(set(found.values())) == 3
    write_json(tmp_path / "found.json", found)
    assert read_json(tmp_path / "found.json") == found
    assert hashes.changed_since(found) == []
    (tmp_path / "texts" / os.fsdecode(names[0])).write_bytes(b"other")
    (tmp_path / "texts" / "ع.txt").unlink()
    assert sorted(hashes.changed_since(found)) == [f"{tmp_path}/texts/\\xff.txt", f"{tmp_path}/texts/ع.txt"]


def test_each_damage_is_named(tmp_path: Path) -> None:
    whole = artifact(tmp_path)
    hashes = FileHashes(tmp_path / MEMORY)
    assert damage(whole, hashes) == ""
    assert damage(replace(whole, files={}), hashes) == ""  # a model that no stage wrote
    flipped = bytearray(1000)
    flipped[500] ^= 1
    (whole.path / "model.bin").write_bytes(flipped)
    assert damage(whole, hashes) == "model.bin was changed"
    (whole.path / "model.bin").unlink()
    (whole.path / "model.bin.part").touch()
    assert damage(whole, hashes) == "model.bin is missing, model.bin.part was added"
    (whole.path / "model.bin.part").rename(whole.path / "model.bin")
    (whole.path / "model.bin").write_bytes(bytes(1000))
    assert damage(whole, hashes) == ""
    assert damage(replace(whole, content="0" * 32), hashes) == "artifact.json was changed"


def test_logs_are_not_part_of_it(tmp_path: Path) -> None:
    whole = artifact(tmp_path)
    (whole.path / "logs").mkdir()
    (whole.path / "logs" / "metrics.jsonl").touch()
    assert damage(whole, FileHashes(tmp_path / MEMORY)) == ""


def test_a_damaged_artifact_is_refused_with_the_command_that_makes_it(tmp_path: Path) -> None:
    run = tmp_path / "my run"
    run.mkdir()
    whole, hashes = artifact(run), FileHashes(run / MEMORY)
    check_whole(whole, hashes)
    (whole.path / "text" / "en.jsonl").write_text("wholf")
    with pytest.raises(
        UserError, match=r"text/en\.jsonl was changed.*rm -r '.*my run/a'; then the command that made it"
    ):
        check_whole(whole, hashes)
    (run / "recipe.json").touch()
    with pytest.raises(UserError) as error:
        check_whole(whole, hashes)
    assert str(error.value).endswith(f"rm -r '{run}/a' && diglot run '{run}/recipe.json' --run '{run}'")


def test_a_kept_model_is_checked_by_itself(tmp_path: Path) -> None:
    with writing(tmp_path / "trunk", **FIELDS) as unfinished:
        unfinished.summary = EMPTY_WORLD
        for step in ("200", "2000"):
            (unfinished.folder / "steps" / step).mkdir(parents=True)
            (unfinished.folder / "steps" / step / "config.json").write_text(step)
    kept = read_artifact(tmp_path / "trunk").at(200)
    assert list(kept.files) == ["config.json"]
    assert kept.content == content_of(kept.files)
    assert damage(kept, FileHashes(tmp_path / MEMORY)) == ""
    (kept.path / "config.json").write_text("{}")
    assert damage(kept, FileHashes(tmp_path / MEMORY)) == "config.json was changed"
