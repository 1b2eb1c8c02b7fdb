"""Checkpoints: what is saved is what is loaded, on any mesh; damage is found; a full disk costs nothing but the newest."""

import json
import os
import pickle
import random
import resource
import shutil
import signal
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from tiny_run import artifact, settings, train

from diglot.base.artifact import Inputs, fingerprint, hash_file
from diglot.base.errors import UserError
from diglot.model.decoder import Decoder
from diglot.recipe.train import Parallel
from diglot.train.branches import optimizer_state
from diglot.train.checkpoint import FACTS, Checkpoints
from diglot.train.checkpoint_files import INDEX, Planner, Reader, Writer
from diglot.train.mesh import Mesh
from diglot.train.metrics import read_metrics
from diglot.train.optimizer import build_optimizer
from diglot.train.parts import local, part_of, whole

FACTS_OF_RUN = {"plan": "p", "tokenizer": "t"}


class Run:
    """A tiny model with its optimizer and a guard's memory, filled by a seed."""

    def __init__(self, folder: Path, model_folder: Path, parallel: Parallel | None = None, **changes) -> None:
        given = settings(**changes)
        self.mesh = Mesh(parallel or Parallel())
        self.model: Decoder = self.mesh.load(model_folder, given)
        self.optimizer = build_optimizer(self.model, given)
        self.guard = {"values": torch.zeros(2, 8, dtype=torch.float64), "count": torch.zeros((), dtype=torch.int64)}
        self.checkpoints = Checkpoints(folder, given, self.mesh)

    def tensors(self) -> dict[str, torch.Tensor]:
        found = {f"model {name}": parameter for name, parameter in self.model.named_parameters()}
        for name, state in optimizer_state(self.model, self.optimizer):
            found |= {f"optimizer {name} {key}": tensor for key, tensor in state.items()}
        return found | {f"guard {name}": tensor for name, tensor in self.guard.items()}

    def fill(self, seed: int) -> None:
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                local(tensor).copy_(part_of(values(name, tensor, seed), tensor))

    def holds(self, seed: int) -> None:
        for name, tensor in self.tensors().items():
            assert torch.equal(whole(tensor), values(name, tensor, seed)), name

    def save(self, step: int, **facts) -> None:
        """A checkpoint of a state whose seed is the step."""
        self.fill(step)
        self.checkpoints.save(step, self.model, self.optimizer, self.guard, FACTS_OF_RUN | facts)

    def load(self, path: Path) -> dict:
        return self.checkpoints.load(path, self.model, self.optimizer, self.guard, FACTS_OF_RUN)


def values(name: str, tensor: torch.Tensor, seed: int) -> torch.Tensor:
    """What a seed fills a whole tensor with."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + seed)
    return torch.randint(-(2**20), 2**20, tensor.shape, generator=generator).to(tensor.dtype)


@pytest.fixture
def run(inputs: Inputs, tmp_path: Path) -> Run:
    return Run(tmp_path / "checkpoints", inputs.one("model").path, keep_checkpoints=3)


# --- what is saved is what is loaded --------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [True, False])
def test_training_goes_on_and_the_checkpoint_holds_what_was(inputs: Inputs, tmp_path: Path, asynchronous: bool) -> None:
    given = {"asynchronous_checkpoints": asynchronous}
    run = Run(tmp_path / "checkpoints", inputs.one("model").path, **given)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    for step in (1, 2):  # the second one is staged in the buffers of the first
        run.save(step, position=step * 10)
        run.fill(99)
        torch.rand(3)
    run.checkpoints.wait()
    assert run.checkpoints.steps() == [1, 2]
    other = Run(tmp_path / "checkpoints", inputs.one("model").path, **given)
    for step in (1, 2):
        stored = other.load(tmp_path / "checkpoints" / f"step-{step:08d}")
        assert stored == {"step": step, **FACTS_OF_RUN, "position": step * 10}
        other.holds(step)
        if step == 1:
            assert torch.equal(torch.get_rng_state(), state)


def test_leaving_waits_for_what_is_in_flight(run: Run) -> None:
    with run.checkpoints:
        run.save(1)
    assert [path.name for path in run.checkpoints.folder.iterdir()] == ["step-00000001"]
    with pytest.raises(ValueError, match="of the loop"), run.checkpoints:
        run.save(2)
        raise ValueError("of the loop")
    assert run.checkpoints.newest() == run.checkpoints.folder / "step-00000002"


def test_another_run_or_another_model_is_refused(run: Run, inputs: Inputs, tmp_path: Path) -> None:
    run.save(1)
    path = run.checkpoints.newest()
    with pytest.raises(UserError, match="tokenizer is t, but this run's is u"):
        run.checkpoints.load(path, run.model, run.optimizer, run.guard, {"tokenizer": "u"})
    run.guard["more"] = torch.zeros(3)
    with pytest.raises(UserError, match=r"does not fit .*guard\.more"):
        run.load(path)


class Trap:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_values_that_run_code_are_not_read(tmp_path: Path) -> None:
    dcp.save({"group": Trap(tmp_path / "sprung")}, storage_writer=Writer(tmp_path / "x"), no_dist=True)
    with pytest.raises(dcp.api.CheckpointException, match=r"[Ww]eights"):
        dcp.load({"group": 1}, storage_reader=Reader(tmp_path / "x"), planner=Planner(), no_dist=True)
    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_of_somebody_else_runs_no_code(run: Run, tmp_path: Path) -> None:
    """Whoever makes a run folder can make its hashes too: a pickle wherever one could be read, and all hashes right."""
    run.save(1)
    path = run.checkpoints.newest()
    for name in (".metadata", "__0_0.distcp", INDEX):
        trapped = tmp_path / "trapped" / "step-00000001"
        shutil.copytree(path, trapped)
        (trapped / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
        stored = json.loads((trapped / FACTS).read_text())
        del stored["check"]
        stored["files"] = {file.name: [file.stat().st_size, hash_file(file)] for file in trapped.iterdir()}
        del stored["files"][FACTS]
        (trapped / FACTS).write_text(json.dumps({**stored, "check": fingerprint(stored)}))
        checkpoints = Checkpoints(trapped.parent, run.checkpoints.settings, run.mesh)
        assert checkpoints.newest() == trapped
        if name == ".metadata":  # nothing reads it
            checkpoints.load(trapped, run.model, run.optimizer, run.guard, FACTS_OF_RUN)
        else:
            with pytest.raises(UserError, match=r"does not fit|not readable as JSON"):
                checkpoints.load(trapped, run.model, run.optimizer, run.guard, FACTS_OF_RUN)
        shutil.rmtree(trapped)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index["values"].update(x=["/etc/passwd", 0, 10]),
        lambda index: index["values"].update(x=["../x", 0, 10]),
        lambda index: index["tensors"]["guard.count"].update(type="load"),
        lambda index: index["tensors"]["guard.count"].update(type=None),
        lambda index: index["tensors"]["guard.count"].pop("parts"),
        lambda index: index["tensors"].update(x=None),
        lambda index: index.pop("values"),
    ],
)
def test_a_strange_index_is_refused(run: Run, change: Callable[[dict], object]) -> None:
    run.save(1)
    file = run.checkpoints.newest() / INDEX
    index = json.loads(file.read_text())
    change(index)
    file.write_text(json.dumps(index))
    with pytest.raises(UserError, match="not an index of a checkpoint"):
        Reader(file.parent)


def test_checkpoints_of_before_are_named(run: Run) -> None:
    run.save(1)
    file = run.checkpoints.newest() / FACTS
    stored = json.loads(file.read_text())
    del stored["check"], stored["files"][INDEX]
    file.write_text(json.dumps({**stored, "check": fingerprint(stored)}))
    with pytest.raises(UserError, match="was written by an older version of Diglot"):
        run.checkpoints.newest()


# --- what is kept ---------------------------------------------------------------------------------------------


def test_the_newest_are_kept_and_some_for_good(inputs: Inputs, tmp_path: Path) -> None:
    run = Run(tmp_path, inputs.one("model").path, keep_checkpoints=2, keep_checkpoint_every=4)
    for step in range(1, 11):
        run.save(step)
    assert run.checkpoints.steps() == [4, 8, 9, 10]
    run.checkpoints.drop_after(8)
    assert run.checkpoints.steps() == [4, 8]
    run.save(8)  # once more
    run.load(run.checkpoints.newest())
    run.holds(8)


def test_what_a_kill_left_is_cleared(run: Run, inputs: Inputs) -> None:
    run.save(1)
    run.checkpoints.wait()
    for name in ("partial", "removed"):
        (run.checkpoints.folder / name).mkdir()
        (run.checkpoints.folder / name / "__0_0.distcp").write_bytes(b"half")
    again = Run(run.checkpoints.folder, inputs.one("model").path)
    assert [path.name for path in run.checkpoints.folder.iterdir()] == ["step-00000001"]
    assert again.checkpoints.newest()


def test_the_newest_that_is_usable(run: Run) -> None:
    for step in (1, 2, 3):
        run.save(step, position=step)
    folder = run.checkpoints.folder
    assert run.checkpoints.newest(lambda stored: stored["position"] < 3) == folder / "step-00000002"
    assert run.checkpoints.newest(lambda stored: False) is None
    assert run.checkpoints.steps() == [1, 2, 3]
    assert Checkpoints(folder / "none", settings(), run.mesh).newest() is None


# --- damage ---------------------------------------------------------------------------------------------------


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


DAMAGE = {
    "truncated": ("__0_0.distcp", lambda file: file.write_bytes(file.read_bytes()[:-1]), "bytes, not"),
    "flipped": ("__0_0.distcp", lambda file: flip(file, file.stat().st_size // 2), "hash differs"),
    "index flipped": (INDEX, lambda file: flip(file, 100), "hash differs"),
    "missing": (INDEX, Path.unlink, "is missing"),
    "facts torn": (FACTS, lambda file: file.write_text(file.read_text()[:50]), "not readable as JSON"),
    "facts flipped": (FACTS, lambda file: file.write_text(file.read_text().replace('"p"', '"q"')), "not as it was"),
    "facts missing": (FACTS, Path.unlink, "is missing"),
}


@pytest.mark.parametrize("kind", list(DAMAGE))
def test_damage_is_named_and_the_next_older_is_taken(run: Run, kind: str) -> None:
    name, spoil, words = DAMAGE[kind]
    for step in (1, 2):
        run.save(step)
    run.checkpoints.wait()
    spoil(run.checkpoints.folder / "step-00000002" / name)
    said: list[str] = []
    path = run.checkpoints.newest(report=said.append)
    assert path == run.checkpoints.folder / "step-00000001"
    assert len(said) == 1
    assert "step-00000002" in said[0]
    assert name in said[0]
    assert words in said[0]
    assert run.checkpoints.steps() == [1]
    run.load(path)
    run.holds(1)


def test_any_flipped_bit_is_found_and_nothing_is_removed(run: Run) -> None:
    run.save(1)
    run.checkpoints.wait()
    folder = run.checkpoints.folder / "step-00000001"
    choice = random.Random(4)
    for file in sorted(folder.iterdir()):
        whole_file = file.read_bytes()
        for _ in range(10):
            place = choice.randrange(len(whole_file))
            if whole_file[place : place + 1].isspace():
                continue  # of the layout of checkpoint.json, which says nothing
            flip(file, place)
            with pytest.raises(UserError, match=r"no whole checkpoint is left.*delete"):
                run.checkpoints.newest()
            file.write_bytes(whole_file)
    assert run.checkpoints.newest() == folder


def test_a_run_says_what_was_damaged_and_ends_the_same(
    inputs: Inputs, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = train(inputs, tmp_path, settings(steps=6, checkpoint_every=2))
    weights = (output / "model.safetensors").read_bytes()
    for file in sorted(output.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    flip(tmp_path / "scratch" / "checkpoints" / "step-00000006" / "__0_0.distcp", 5000)
    train(inputs, tmp_path, settings(steps=6, checkpoint_every=2))
    assert (output / "model.safetensors").read_bytes() == weights
    assert "step-00000006: __0_0.distcp is not as it was written" in capsys.readouterr().err
    lines = [each for each in read_metrics(output / "logs" / "metrics.jsonl") if each["type"] == "damaged-checkpoint"]
    assert [(line["step"], "step-00000006" in line["text"]) for line in lines] == [(4, True)]


# --- a full disk ----------------------------------------------------------------------------------------------


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk, writing fails with an OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_explained_and_costs_the_newest_only(run: Run) -> None:
    run.save(1)
    run.checkpoints.wait()
    with files_of_at_most(200_000):
        run.save(2)
        while not run.checkpoints.failed:
            time.sleep(0.01)
    with pytest.raises(UserError, match=r"checkpoints: the checkpoint of step 2 .*File too large.*Make room") as found:
        run.save(3)
    assert "step-00000001, the newest whole one, is intact" in str(found.value)
    assert [path.name for path in run.checkpoints.folder.iterdir()] == ["step-00000001"]
    run.save(4)
    assert run.checkpoints.steps() == [1, 4]


def test_a_run_stops_soon_when_the_disk_is_full(inputs: Inputs, tmp_path: Path) -> None:
    with files_of_at_most(200_000), pytest.raises(UserError, match="Make room"):
        train(inputs, tmp_path, settings(steps=100, checkpoint_every=20, evaluate_every=100))
    steps = [line["step"] for line in read_metrics(tmp_path / "scratch" / "metrics.jsonl") if line["type"] == "step"]
    assert 20 <= steps[-1] <= 40


# --- signals --------------------------------------------------------------------------------------------------


def train_with_a_slow_disk(folder: str, model_folder: str, tokens_folder: str) -> None:
    """The first checkpoint takes a second, all others for ever."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray, in a test before in this process, leaves a handler of its own
    write = Checkpoints._write

    def slowly(self, state, step: int, facts: dict) -> None:
        (Path(folder) / f"begun-{step}").touch()
        time.sleep(1 if step == 10 else 1000)
        write(self, state, step, facts)

    Checkpoints._write = slowly
    given = {"model": [artifact(Path(model_folder), "model")], "tokens": [artifact(Path(tokens_folder), "tokens")]}
    train(Inputs(given), Path(folder), settings(steps=100_000, checkpoint_every=10, evaluate_every=100_000))


@pytest.mark.slow
def test_a_second_signal_does_not_wait_for_the_disk(inputs: Inputs, tmp_path: Path) -> None:
    """The first one waits for the checkpoint in flight and begins one more; that one is lost, no other."""
    folders = [str(inputs.one(role).path) for role in ("model", "tokens")]
    process = mp.get_context("fork").Process(target=train_with_a_slow_disk, args=(str(tmp_path), *folders))
    process.start()
    wait_for((tmp_path / "begun-10").exists)
    os.kill(process.pid, signal.SIGTERM)
    wait_for(lambda: len(list(tmp_path.glob("begun-*"))) == 2)
    assert process.is_alive()
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == -signal.SIGTERM
    found = [path.name for path in (tmp_path / "scratch" / "checkpoints").iterdir()]
    assert found == ["step-00000010"]


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- many processes -------------------------------------------------------------------------------------------

MESHES = {
    "one": (1, {}),
    "two": (2, {}),
    "eight": (8, {}),
    "two-by-two": (4, {"tensor": 2}),
    "copies": (4, {"replicas": 2}),
}


def on_processes(world: int, work, *given) -> None:
    """Forked, not spawned: importing torch anew takes longer than the tests."""
    mp.start_processes(_meet, (world, work, given), nprocs=world, start_method="fork")


def _meet(rank: int, world: int, work, given: tuple) -> None:
    torch.set_num_threads(1)
    if world > 1:
        meeting = f"file://{given[0]}/meeting-{os.getppid()}-{work.__name__}-{given[-1]}"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    work(*given)
    if world > 1:
        dist.destroy_process_group()


def save_busily(folder: str, model_folder: str, name: str) -> None:
    """Three checkpoints, while the training's own collectives go on."""
    world, parallel = (4, {}) if name == "four" else MESHES[name]
    run = Run(Path(folder) / name, Path(model_folder), Parallel(**parallel), checkpoint_every=1)
    with run.checkpoints:
        for step in (1, 2, 3):
            run.save(step)
            for number in range(200):
                total = torch.tensor(float(dist.get_rank() + number))
                dist.all_reduce(total)
                assert total == world * (world - 1) / 2 + world * number


def load_and_compare(folder: str, model_folder: str, name: str) -> None:
    """From a checkpoint of four processes, the newest of which is damaged."""
    run = Run(Path(folder) / "four", Path(model_folder), Parallel(**MESHES[name][1]), keep_checkpoints=5)
    path = run.checkpoints.newest()
    assert path is not None
    assert path.name == "step-00000002"
    assert run.load(path)["step"] == 2
    run.holds(2)
    run.save(7)  # and it goes on from here
    run.fill(0)
    run.load(run.checkpoints.newest())
    run.holds(7)
    run.checkpoints.drop_after(2)


@pytest.mark.slow
def test_saved_on_four_processes_and_loaded_on_others(inputs: Inputs, tmp_path: Path) -> None:
    """Bit for bit, on 1, 2 and 8 processes, on 2 × 2 of tensor parallel and on 2 × 2 of replicas."""
    model_folder = str(inputs.one("model").path)
    on_processes(4, save_busily, str(tmp_path), model_folder, "four")
    newest = tmp_path / "four" / "step-00000003"
    stored = json.loads((newest / FACTS).read_text())
    assert set(stored["files"]) == {INDEX, *(f"__{rank}_0.distcp" for rank in range(4))}
    flip(newest / "__2_0.distcp", 3000)
    for name, (world, _) in MESHES.items():
        on_processes(world, load_and_compare, str(tmp_path), model_folder, name)


@pytest.mark.slow
def test_saved_on_a_mesh_and_loaded_on_another(inputs: Inputs, tmp_path: Path) -> None:
    """From tensor parallel to one process, to shards, and to replicas."""
    model_folder = str(inputs.one("model").path)
    on_processes(4, save_busily, str(tmp_path), model_folder, "two-by-two")
    (tmp_path / "two-by-two").rename(tmp_path / "four")
    flip(tmp_path / "four" / "step-00000003" / INDEX, 300)
    for name in ("one", "two", "copies"):
        on_processes(MESHES[name][0], load_and_compare, str(tmp_path), model_folder, name)


def fill_the_disk_of_one(folder: str, model_folder: str, name: str) -> None:
    """All processes hear of it; none of them hangs."""
    run = Run(Path(folder) / name, Path(model_folder))
    run.save(1)
    run.checkpoints.wait()
    with files_of_at_most(50_000 if run.mesh.rank == 1 else 10**9):
        run.save(2)
        with pytest.raises(UserError, match=r"step 2 .*File too large.*step-00000001, the newest whole one"):
            run.checkpoints.wait()
    run.save(3)
    assert run.checkpoints.steps() == [1, 3]


@pytest.mark.slow
def test_a_full_disk_on_one_of_two_processes(inputs: Inputs, tmp_path: Path) -> None:
    on_processes(2, fill_the_disk_of_one, str(tmp_path), str(inputs.one("model").path), "two")
