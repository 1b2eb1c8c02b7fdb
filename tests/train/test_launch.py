"""Runs under a launcher: the same artifact as one process makes, and a clean end when a process dies or is stopped."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from commands import Command, diglot
from rounding import drift, rounding

from diglot.base.artifact import read_artifact
from diglot.model.huggingface import load_decoder
from diglot.train import launch
from diglot.train.metrics import read_metrics

RECIPE = """
name: small
seed: 3
stages:
  world: {do: world, languages: [en, ar], people: 40, documents: {en: 300, ar: 200}, pairs: 5, instructions: 5,
    preferences: 5, items: 4}
  corpus:
    do: curate
    from: {text: world}
    sources: {english: {path: text/en.jsonl, language: en}, arabic: {path: text/ar.jsonl, language: ar}}
    rules: {limits: {min_words: 20, min_characters: 80}}
  tokenizer: {do: train-tokenizer, from: corpus, vocabulary_size: 500}
  tokens: {do: encode, from: {tokenizer: tokenizer, corpus: corpus}}
  model: {do: new-model, from: tokenizer, preset: tiny}
  first: {do: train, from: {model: model, tokens: tokens}, steps: 6, batch_size: 4, sequence_length: 64,
    learning_rate: 1.0e-3, evaluate_tokens: 500}
  second: {do: train, from: {model: first, tokens: tokens}, steps: 6, batch_size: 4, sequence_length: 64,
    learning_rate: 1.0e-3, evaluate_tokens: 500}
"""
LONG = ["second.steps=100000", "second.checkpoint_every=100000", "second.evaluate_every=100000"]


def arguments(folder: Path, *more: str) -> list[str]:
    return ["run", str(folder / "small.yaml"), "--run", str(folder / "run"), *more]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole recipe, by one process."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "small.yaml").write_text(RECIPE)
    done = diglot(*arguments(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def untrained(trained: Path, tmp_path: Path) -> Path:
    """The same run, before its second train stage."""
    shutil.copytree(trained, tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "run" / "second")
    return tmp_path / "again"


def start(folder: Path, world: int, *more: str) -> list[Command]:
    """The processes of a run, with the variables that a launcher gives them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(world)}
    places = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world)]
    return [Command(*arguments(folder, *more), **meeting, **place) for place in places]


def ends(processes: list[Command]) -> list[tuple[int, str]]:
    """Exit codes and last words."""
    try:
        done = [process.end(120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(each.returncode, each.stderr) for each in done]


def wait_for_steps(folder: Path, processes: list[Command]) -> None:
    """Until some steps of the second train stage are done."""
    end = time.monotonic() + 120
    while time.monotonic() < end and all(process.running() for process in processes):
        for file in (folder / "run" / ".scratch").glob("second-*/metrics.jsonl"):
            if len(read_metrics(file)) > 4:
                return
        time.sleep(0.1)
    raise AssertionError(ends(processes))


def assert_same_models(one: Path, other: Path) -> None:
    weights, expected = (load_decoder(folder).state_dict() for folder in (one, other))
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, atol=drift(1e-3, 6), rtol=0)


@pytest.mark.slow
def test_torchrun_makes_the_artifacts_of_one_process(trained: Path, tmp_path: Path) -> None:
    """The whole recipe: all other stages are one process's work, both train stages are shared."""
    shutil.copy(trained / "small.yaml", tmp_path)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "--", "diglot", *arguments(tmp_path, "second.parallel.tensor=2")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for stage in ("corpus", "tokenizer", "tokens", "model"):
        one, other = read_artifact(trained / "run" / stage), read_artifact(tmp_path / "run" / stage)
        assert one is not None
        assert other is not None
        assert one.content == other.content
    for stage in ("first", "second"):
        assert_same_models(tmp_path / "run" / stage, trained / "run" / stage)
        one, other = read_artifact(trained / "run" / stage), read_artifact(tmp_path / "run" / stage)
        assert one is not None
        assert other is not None
        assert other.summary.bits_per_byte == pytest.approx(one.summary.bits_per_byte, abs=1e-4)
    assert not (tmp_path / "run" / ".scratch" / "second").exists()


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, pytest.param(1, marks=pytest.mark.full)])
def test_a_killed_process_ends_the_others(untrained: Path, killed: int) -> None:
    processes = start(untrained, 2, *LONG)
    wait_for_steps(untrained, processes)
    processes[killed].kill()
    code, words = ends(processes)[1 - killed]
    assert code not in (0, -signal.SIGKILL)
    assert "process" in words
    assert "Traceback" not in words
    assert "newest checkpoint" in words or "the first process ended" in words


@pytest.mark.slow
def test_a_signal_to_any_process_saves_and_stops_all(untrained: Path, trained: Path) -> None:
    """Then one process goes on with what two have saved."""
    steps = "second.steps=60"
    processes = start(untrained, 2, steps)
    wait_for_steps(untrained, processes)
    os.kill(processes[1].pid, signal.SIGTERM)
    assert [code for code, _ in ends(processes)] == [130, 130]
    scratch = next((untrained / "run" / ".scratch").glob("second-*"))
    assert list((scratch / "checkpoints").glob("step-*"))
    shutil.copytree(trained, untrained / "alone")
    shutil.rmtree(untrained / "alone" / "run" / "second")
    for folder in (untrained, untrained / "alone"):
        done = diglot(*arguments(folder, steps))
        assert done.returncode == 0, done.stderr
    found, alone = (
        read_metrics(folder / "run" / "second" / "logs" / "metrics.jsonl")
        for folder in (untrained, untrained / "alone")
    )
    assert [line["step"] for line in found] == [line["step"] for line in alone]
    for line, other in zip(found[:25], alone[:25]):  # later, what is rounded differently has grown
        loss = other.get("loss", 0.0)
        assert line.get("loss", 0.0) == pytest.approx(loss, abs=rounding(loss, operations=16))


@pytest.mark.slow
def test_what_cannot_be_shared_is_refused_once(untrained: Path) -> None:
    (first_code, first), (other_code, other) = ends(start(untrained, 2, "second.batch_size=3"))
    assert (first_code, other_code) == (2, 2)
    assert "batch_size (3) is not a multiple of the 2 processes" in first
    assert "error" not in other
    (first_code, first), _ = ends(start(untrained, 2, "second.parallel.tensor=3"))
    assert first_code == 2
    assert "does not divide the 2 processes" in first


def test_who_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of torchrun and of srun; a batch script alone is one process."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert launch.launched() is None
    for name, value in {"SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "77"}.items():
        monkeypatch.setenv(name, value)
    assert launch.launched() is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node7")
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # so that what is set now is taken back after the test
        monkeypatch.delenv(name)
    assert launch.launched() == (2, 4)
    assert (os.environ["LOCAL_RANK"], os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("1", "node7", "20077")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("RANK", "5")
    assert launch.launched() == (5, 8)
