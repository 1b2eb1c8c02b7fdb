"""Killed at any moment and started again, a run ends as if it had not been: bit for bit, metrics included.

A run is started as a user starts it, killed (SIGKILL), started again, until it ends; then the next one is, until there
were so many kills. Moments are drawn with a fixed seed: somewhere while the process starts, while it trains, or right
after a checkpoint was begun.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from commands import fork
from kills_work import logged
from tiny_run import settings

from diglot.base.artifact import Inputs, content_hash
from diglot.train.metrics import read_metrics

HELPERS = Path(__file__).resolve().parents[1] / "helpers"
TIMES = {"seconds", "tokens_per_second", "mfu", "memory_mb"}
MOMENTS = {"starts": 0.1, "trains": 0.5, "saves": 0.4}  # and their shares
STARTS, TRAINS, SAVES = 1.0, 0.5, 0.04  # seconds within which the kill falls, from the moment's beginning


def arguments(inputs: Inputs, folder: Path) -> list[str]:
    given = settings(
        steps=60,
        batch_size=4,
        sequence_length=32,
        checkpoint_every=3,
        keep_checkpoint_every=15,
        evaluate_every=20,
        evaluate_tokens=100,
        exports=[25],
        export_optimizer=True,
    )
    folders = [str(inputs.one(role).path) for role in ("model", "tokens")]
    return [*folders, str(folder), given.model_dump_json(by_alias=True)]


def start(inputs: Inputs, folder: Path, world: int) -> list[ForkServerProcess]:
    """The processes of a run, with the variables that a launcher gives them."""
    places: list[dict[str, str]] = [{}]
    if world > 1:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(world)}
        places = [meeting | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world)]
    folder.mkdir(exist_ok=True)
    return [fork(logged, place, *arguments(inputs, folder)) for place in places]


def codes(processes: list[ForkServerProcess], seconds: float = 240) -> list[int | None]:
    """Exit codes, None where a process goes on."""
    for process in processes:
        process.join(seconds)
    return [process.exitcode for process in processes]


def until(happened: Callable[[], bool], alive: Callable[[], bool]) -> bool:
    """Wait for something to happen; whether it did before the run ended."""
    end = time.monotonic() + 240
    while alive():
        if happened():
            return True
        assert time.monotonic() < end
        time.sleep(0.002)
    return False


def inode(file: Path) -> int:
    return file.stat().st_ino if file.exists() else 0


@dataclass
class Kills:
    """What was killed so far."""

    inputs: Inputs
    folder: Path
    world: int
    choice: random.Random
    done: int = 0
    within_a_save: int = 0
    runs: int = 0
    by_moment: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MOMENTS, 0))

    def once(self) -> bool:
        """Start the run of the folder, and kill it at some moment; False if it ended before that."""
        moment = self.choice.choices(list(MOMENTS), list(MOMENTS.values()))[0]
        share = self.choice.random()
        victims = self.choice.choice([range(self.world), [0], [self.world - 1]])
        metrics, partial = (self.folder / "scratch" / name for name in ("metrics.jsonl", "checkpoints/partial"))
        before = inode(metrics)
        processes = start(self.inputs, self.folder, self.world)

        def alive() -> bool:
            return all(process.is_alive() for process in processes)

        try:
            if moment == "starts":
                time.sleep(share * STARTS)
            elif until(lambda: inode(metrics) != before, alive):  # written anew when the run goes on
                if moment == "trains":
                    time.sleep(share * TRAINS)
                elif until(partial.exists, alive):
                    time.sleep(share * SAVES)
            if not alive():
                assert codes(processes) == [0] * self.world, self.log()
                return False
            for number in victims:
                processes[number].kill()
            if moment != "starts":  # those that have met hear of it, and end by themselves
                assert None not in codes(processes, 60), self.log()
        finally:
            for process in processes:
                process.kill()
        self.done += 1
        self.by_moment[moment] += 1
        self.within_a_save += partial.exists()
        return True

    def finish(self, whole: Path) -> None:
        """Let the run end, and compare it."""
        assert codes(start(self.inputs, self.folder, self.world)) == [0] * self.world, self.log()
        assert_same(self.folder / "out", whole)
        assert "damaged" not in self.log()
        self.runs += 1
        shutil.rmtree(self.folder)

    def log(self) -> str:
        return (self.folder / "log").read_text()


def assert_same(output: Path, whole: Path) -> None:
    """Weights, moments, the model kept on the way, and metrics but for the times."""
    assert (output / "continue" / "optimizer.safetensors").is_file()
    assert (output / "steps" / "25" / "continue" / "optimizer.safetensors").is_file()
    assert content_hash(output) == content_hash(whole)
    found, expected = (
        [
            {key: value for key, value in line.items() if key not in TIMES}
            for line in read_metrics(folder / "logs" / "metrics.jsonl")
        ]
        for folder in (output, whole)
    )
    assert len(expected) == 60 + 4
    assert found == expected


def kill(inputs: Inputs, folder: Path, world: int, number: int) -> None:
    """Compare a run that is left alone with those that are killed `number` times."""
    assert codes(start(inputs, folder / "whole", world)) == [0] * world
    kills = Kills(inputs, folder / "killed", world, random.Random(1000 * world + number))
    while kills.done < number:
        if not kills.once():
            kills.finish(folder / "whole" / "out")
    kills.finish(folder / "whole" / "out")
    print(f"{kills.done} kills ({kills.by_moment}), {kills.within_a_save} within a save, {kills.runs} runs")
    assert kills.within_a_save or number < 50  # so many, and none of them then: the moments are wrong


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, pytest.param(2, marks=pytest.mark.full)])
def test_killed_some_times(inputs: Inputs, tmp_path: Path, world: int) -> None:
    kill(inputs, tmp_path, world, {1: 6, 2: 3}[world])


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("world", [1, 2])
def test_killed_fifty_times(inputs: Inputs, tmp_path: Path, world: int) -> None:
    kill(inputs, tmp_path, world, 50)


@pytest.mark.full
def test_torchrun_starts_killed_processes_again(inputs: Inputs, tmp_path: Path) -> None:
    """Elastic: one of two workers is killed twice, and torchrun's restarts end the run by themselves."""
    assert codes(start(inputs, tmp_path / "whole", 2)) == [0, 0]
    folder = tmp_path / "killed"
    folder.mkdir()
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "2"]
    # Else torch 2.13 gives a restarted worker the store of the try before, with the dead workers' addresses.
    anew = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    metrics = folder / "scratch" / "metrics.jsonl"
    with (folder / "log").open("wb") as log:
        torchrun = subprocess.Popen(
            [sys.executable, *launcher, str(HELPERS / "kills_work.py"), *arguments(inputs, folder)],
            cwd=HELPERS,
            stdout=log,
            stderr=log,
            env=os.environ | anew,
        )
    try:
        for rank in (1, 0):
            before = inode(metrics)
            begun = until(lambda known=before: inode(metrics) != known, lambda: torchrun.poll() is None)
            assert begun, (folder / "log").read_text()
            time.sleep(0.3)
            os.kill(int((folder / f"process-{rank}").read_text()), signal.SIGKILL)
        assert torchrun.wait(timeout=240) == 0, (folder / "log").read_text()
    finally:
        torchrun.terminate()
        torchrun.wait(timeout=60)
    assert_same(folder / "out", tmp_path / "whole" / "out")
