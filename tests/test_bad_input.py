"""Bad input at the command line: exit code 2, the place, the remedy, never a traceback, nothing half written."""

import gzip
import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from commands import diglot

ENGLISH = (
    "the old baker of a small town bakes warm bread every morning before the sun rises over that quiet river and "
    "people from many villages come to buy it because they know how good his work is while children play near an "
    "open door with their dogs until somebody calls them home for dinner where soup and fresh cheese wait on tables"
)
FRENCH = "Le vieux boulanger de la petite ville prépare du pain chaud chaque matin avant le lever du soleil {}. "


def write_lines(file: Path, texts: list[str]) -> None:
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def english(count: int) -> list[str]:
    """Texts of English words that are no duplicates of each other and do not repeat themselves."""
    words = random.Random(0)
    sentences = (" ".join(words.sample(ENGLISH.split(), 9)).capitalize() + "." for _ in itertools.count())
    return [" ".join(itertools.islice(sentences, 7)) for _ in range(count)]


def recipe(folder: Path, source: str, extra: str = "") -> Path:
    file = folder / "recipe.yaml"
    file.write_text(
        "name: bad\nstages:\n  corpus:\n    do: curate\n    sources:\n      english:\n"
        f"        path: {source}\n        language: en\n{extra}"
    )
    return file


def run(file: Path, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return diglot("run", file, "--run", folder or file.parent / "run", *arguments)


def refused(done: subprocess.CompletedProcess[str], *says: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    for part in says:
        assert part in done.stderr, done.stderr


def test_a_typo(tmp_path: Path) -> None:
    file = recipe(tmp_path, "x", "    corections: true\n")
    refused(run(file), f"{file}:9: stages.corpus.corections: unknown key; did you mean 'corrections'?")
    assert not (tmp_path / "run").exists()


def test_a_missing_path(tmp_path: Path) -> None:
    file = recipe(tmp_path, str(tmp_path / "none"))
    refused(
        run(file),
        f"{file}:7: stages.corpus.sources.english.path: no such file or folder",
        "corpus.sources.english.path=FOLDER",
    )


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_source(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    file = recipe(tmp_path, str(tmp_path / "a.jsonl"))
    refused(run(file), f"{file}:3", "english", "a.jsonl")
    assert not (tmp_path / "run" / "corpus").exists()


def test_a_source_of_another_language(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [FRENCH.format(number) * 5 for number in range(40)])
    refused(run(recipe(tmp_path, str(tmp_path / "a.jsonl"))), "english", "fr", "language")
    assert not (tmp_path / "run" / "corpus").exists()


@pytest.mark.parametrize("suffix", ["jsonl.zst", "jsonl.gz", "parquet"])
def test_a_corrupt_archive(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(b"this is no archive" * 100)
    refused(run(recipe(tmp_path, str(tmp_path / f"a.{suffix}"))), "english", f"a.{suffix}")


def test_a_truncated_archive_is_counted_and_the_rest_kept(tmp_path: Path) -> None:
    whole = gzip.compress("".join(json.dumps({"text": text}) + "\n" for text in english(400)).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    file = recipe(tmp_path, str(tmp_path / "a.jsonl.gz"))
    done = run(file)
    assert done.returncode == 0, done.stderr
    ledger = json.loads((tmp_path / "run" / "corpus" / "ledger.json").read_text())["sources"]["english"]
    assert ledger["dropped"]["truncated_archive"]["documents"] == 1
    assert ledger["kept"]["documents"] > 50


def test_a_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount a small disk here (needs root)")
    try:
        write_lines(tmp_path / "a.jsonl", english(4000))
        file = recipe(tmp_path, str(tmp_path / "a.jsonl"))
        refused(run(file, folder=disk / "run"), "no space left")
        assert not (disk / "run" / "corpus").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_second_run_on_the_same_folder(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", english(60))
    file = recipe(tmp_path, str(tmp_path / "a.jsonl"))
    (tmp_path / "run").mkdir()
    code = (
        "import sys, pathlib; from diglot.flow import locked\n"
        f"with locked(pathlib.Path({str(tmp_path / 'run')!r})): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    refused(run(file), f"pid {holder.pid}", "--run")
    holder.communicate("")
    assert run(file).returncode == 0


def test_stage_commands_refuse_as_recipes_do(tmp_path: Path) -> None:
    command = ["train-tokenizer", "--out", tmp_path / "out"]
    refused(diglot(*command, "--corpus", tmp_path), "no corpus there")
    refused(diglot(*command, "--corpus", tmp_path, "--alpha", "2"))
    refused(diglot(*command), "--corpus")


@pytest.mark.parametrize("words", [["show", "."], ["chat", ".", "--prompt", "x"], ["run", "none.yaml"]])
def test_show_chat_and_run_of_nothing(tmp_path: Path, words: list[str]) -> None:
    refused(diglot(words[0], tmp_path / words[1], *words[2:]), str(tmp_path))
