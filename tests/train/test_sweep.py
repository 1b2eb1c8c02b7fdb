"""The learning-rate sweep: its runs are runs of the stage `train`, finished ones are not repeated, the best is chosen."""

import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from commands import fork
from rounding import rounding
from tiny_run import artifact, settings, train

from diglot.base.artifact import Context, Inputs, content_hash
from diglot.base.errors import UserError
from diglot.base.summaries.model import SweepRun
from diglot.recipe.train import Sweep
from diglot.tokens.packing import Batch
from diglot.train import sweep
from diglot.train.metrics import read_metrics
from diglot.train.reference import Reference

RATES = [3e-3, 1e-3, 1e-4]


def sweeping(**changes) -> Sweep:
    base = settings(evaluate_every=6).model_dump(mode="json", by_alias=True, include=set(Sweep.model_fields) - {"do"})
    return Sweep.model_validate_json(json.dumps(base | {"learning_rates": RATES} | changes))


def run(inputs: Inputs, folder: Path, given: Sweep) -> dict:
    output, scratch = folder / "out", folder / "scratch"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    scratch.mkdir(exist_ok=True)
    summary = sweep.run(given, inputs, output, Context("train", 0, scratch, "print", workers=1))
    return {"summary": summary, **json.loads((output / "sweep.json").read_text())}


@pytest.fixture(scope="module")
def swept(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("swept")
    return folder, run(inputs, folder, sweeping())


def test_every_run_is_that_of_a_train_stage(inputs: Inputs, tmp_path: Path, swept: tuple[Path, dict]) -> None:
    folder, found = swept
    assert [each["learning_rate"] for each in found["runs"]] == RATES
    alone = train(inputs, tmp_path, settings(evaluate_every=6, learning_rate=1e-3))
    lines = read_metrics(alone / "logs" / "metrics.jsonl")
    own = read_metrics(folder / "out" / "logs" / "rate-0.001.jsonl")
    steps, others = ([line["loss"] for line in each if line["type"] == "step"] for each in (lines, own))
    assert steps == others
    before, after = (line["languages"] for line in lines if line["type"] == "evaluation")
    assert found["runs"][1] == {
        "learning_rate": 1e-3,
        "diverged": False,
        "why": None,
        "steps": 6,
        "tokens": 6 * 8 * 64,
        "loss": steps[-1],  # a tenth of six steps is one
        "measure": "bits per byte",
        "heldout": after,
        "mean": after["en"],
        "before": before,
        "largest_gradient_norm": max(line["gradient_norm"] for line in lines if line["type"] == "step"),
        "largest_spike_score": 0.0,
        "skipped_steps": 0,
    }


def test_the_best_rate(swept: tuple[Path, dict]) -> None:
    folder, found = swept
    means = {each["learning_rate"]: each["mean"] for each in found["runs"]}
    assert means[1e-4] > means[1e-3]
    assert found["best"] == min(means, key=lambda rate: means[rate])
    assert found["summary"].best_learning_rate == found["best"]
    assert found["summary"].heldout == {"en": means[found["best"]]}
    assert found["summary"].tokens == 3 * 6 * 8 * 64
    assert not list((folder / "scratch").rglob("checkpoints"))
    assert not list(folder.rglob("*.safetensors"))


def result(rate: float, mean: float, diverged: bool = False) -> SweepRun:
    counts = {"steps": 1, "tokens": 1, "skipped_steps": 0, "largest_gradient_norm": 1.0, "largest_spike_score": 0.0}
    return SweepRun(rate, diverged, None, loss=1.0, measure="loss", heldout={}, mean=mean, before={}, **counts)


def test_of_equal_runs_the_lower_rate_is_best() -> None:
    assert sweep.best_run([result(3e-4, 1.0), result(1e-4, 1.0), result(1e-5, 2.0)]).learning_rate == 1e-4
    assert sweep.best_run([result(3e-4, 0.5, diverged=True), result(1e-4, 1.0)]).learning_rate == 1e-4
    assert sweep.best_run([result(3e-4, 0.5, diverged=True)]) is None


def step(number: int, loss: float) -> dict:
    return {
        "type": "step", "step": number, "tokens": number * 100, "loss": loss, "gradient_norm": loss / 2, "score": 0.0
    }  # fmt: skip


def evaluation(number: int, **languages: float) -> dict:
    return {"type": "evaluation", "step": number, "languages": languages, "sources": {}}


def test_the_numbers_of_a_run() -> None:
    """The last tenth of the steps; what is not finite is null; worse than the start is diverged."""
    lines = [evaluation(0, ar=2.0, en=1.0)] + [step(n, float(n)) for n in range(1, 31)]
    found = sweep.judge(1e-3, 30, [*lines, evaluation(30, ar=1.0, en=1.5)], None)
    assert (found.loss, found.mean, found.diverged) == (29.0, 1.25, False)
    assert found.largest_gradient_norm == 15.0
    assert sweep.judge(1e-3, 30, [*lines, evaluation(30, ar=1.0, en=2.5)], None).diverged
    lost = sweep.judge(1e-3, 30, [*lines, evaluation(30, ar=math.nan, en=1.0)], None)
    assert (lost.diverged, lost.mean, lost.heldout) == (True, None, {"ar": None, "en": 1.0})
    ended = sweep.judge(1e-3, 30, [*lines[:5], step(5, math.nan)], "leaps")
    assert (ended.diverged, ended.loss, ended.heldout, ended.why) == (True, None, {}, "leaps")
    assert json.dumps(ended.as_json(), allow_nan=False)


def test_a_rate_that_diverges_does_not_end_the_sweep(inputs: Inputs, tmp_path: Path) -> None:
    given = sweeping(learning_rates=[1e30, 1e-3], phases=[{"name": "a"}], steps=8, evaluate_every=8)
    found = run(inputs, tmp_path, given)
    broken, good = found["runs"]
    assert broken["diverged"]
    assert "nothing is left to try" in broken["why"]
    assert broken["skipped_steps"] == given.guard.rollback_after
    assert not good["diverged"]
    assert found["best"] == 1e-3
    assert [run.learning_rate for run in found["summary"].runs if run.diverged] == [1e30]


# --- killed ---------------------------------------------------------------------------------------------------


def work(paths: dict[str, str], folder: str, text: str) -> None:
    """The sweep in a process of its own."""
    inputs = Inputs({role: [artifact(Path(path), role)] for role, path in paths.items()})
    run(inputs, Path(folder), Sweep.model_validate_json(text))


def given_to(inputs: Inputs, folder: Path, given: Sweep) -> tuple[dict[str, str], str, str]:
    paths = {role: str(inputs.one(role).path) for role in ("model", "tokens")}
    return paths, str(folder), given.model_dump_json(by_alias=True)


def wait_for(condition: Callable[[], bool], running: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert running()
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.full
def test_a_killed_sweep_goes_on_where_it_was(inputs: Inputs, tmp_path: Path) -> None:
    """SIGKILL in the second of three runs: the first is not repeated, and everything ends as if nothing had been."""
    given = sweeping(steps=16, evaluate_every=16)
    whole = run(inputs, tmp_path / "whole", given)
    cut = tmp_path / "cut"
    cut.mkdir()
    process = fork(work, *given_to(inputs, cut, given))
    second = cut / "scratch" / "rate-0.001"
    wait_for(lambda: len(list(second.glob("checkpoints/step-*/checkpoint.json"))) > 0, process.is_alive)
    process.kill()
    process.join()
    first = cut / "scratch" / "rate-0.003"
    assert not (second / "result.json").exists()
    stamps = {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()}
    resumed = run(inputs, cut, given)
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()} == stamps
    assert resumed == whole
    assert content_hash(cut / "out") == content_hash(tmp_path / "whole" / "out")


def test_nothing_is_done_again(inputs: Inputs, swept: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, found = swept
    monkeypatch.setattr(sweep.loop, "walk", lambda *given: pytest.fail("a finished run was repeated"))
    assert run(inputs, folder, sweeping()) == found


def _work(rank: int, paths: dict[str, str], folder: str, text: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    inputs = Inputs({role: [artifact(Path(path), role)] for role, path in paths.items()})
    context = Context("train", 0, Path(folder) / "scratch", "print", workers=1)
    sweep.run(Sweep.model_validate_json(text), inputs, Path(folder) / "out", context)
    dist.destroy_process_group()


@pytest.mark.full
def test_two_processes_find_the_same(inputs: Inputs, tmp_path: Path, swept: tuple[Path, dict]) -> None:
    for name in ("scratch", "out"):
        (tmp_path / name).mkdir()
    mp.start_processes(_work, given_to(inputs, tmp_path, sweeping()), nprocs=2, start_method="fork")
    found = json.loads((tmp_path / "out" / "sweep.json").read_text())
    for one, other in zip(found["runs"], swept[1]["runs"]):
        for key in ("loss", "mean", "largest_gradient_norm"):
            assert one[key] == pytest.approx(other[key], abs=rounding(other[key], operations=32))


@pytest.mark.full
def test_torchrun_shares_a_sweep(inputs: Inputs, tmp_path: Path, swept: tuple[Path, dict]) -> None:
    """The first process tells the other one what to do."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path[:0] = {sys.path!r}\nfrom diglot.train import launch\nfrom test_sweep import work\n"
        f"with launch.processes(): work(*{given_to(inputs, tmp_path, sweeping())!r})"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launcher, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "sweep.json").read_text())
    means = [one["mean"] for one in swept[1]["runs"]]
    assert [one["mean"] for one in found["runs"]] == pytest.approx(means, abs=rounding(means, operations=32))


def test_preferences_are_compared_by_loss(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = sweeping(objective="dpo", steps=4, evaluate_every=4, learning_rates=[1e-5, 1e-7], sequence_length=128)
    real, asked = Reference._log_probabilities, list[Path]()

    def counting(asking: Reference, batch: Batch) -> np.ndarray:
        asked.append(asking.scratch)
        return real(asking, batch)

    monkeypatch.setattr(Reference, "_log_probabilities", counting)
    found = run(inputs, tmp_path, given)
    assert set(asked) == {tmp_path / "scratch" / "rate-1e-05"}  # for all rates
    assert found["measure"] == "loss"
    assert [list(each["heldout"]) for each in found["runs"]] == [["pairs"], ["pairs"]]
    assert found["runs"][0]["before"]["pairs"] == pytest.approx(math.log(2), abs=1e-5)
    assert found["runs"][0]["mean"] == found["runs"][0]["heldout"]["pairs"]
    with pytest.raises(UserError, match="nothing held out could be evaluated"):
        sweep.judge(1e-3, 4, [{"type": "evaluation", "step": 0, "languages": {}, "sources": {}}], None)


# --- refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rates": [1e-3]}, "at least 2"),
        ({"learning_rates": [1e-3, 1e-3]}, "names a rate twice"),
        ({"phases": [{"name": "a", "learning_rate": 1e-3}]}, "phase 'a' has a learning_rate of its own"),
        ({"learning_rate": 1e-3}, "learning_rate"),
        ({"export_every": 3}, "export_every"),
        ({"guard": {"skip_data": 7}}, "guard.skip_data would do nothing"),
    ],
)
def test_sweeps_that_would_not_compare_rates_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sweeping(**changes)


def test_nothing_held_out_is_refused(inputs: Inputs, tmp_path: Path) -> None:
    other = tmp_path / "tokens"
    shutil.copytree(inputs.one("tokens").path, other)
    described = json.loads((other / "tokens.json").read_text())
    for entry in described["sources"].values():
        entry["heldout"]["documents"] = 0
    (other / "tokens.json").write_text(json.dumps(described))
    bare = Inputs({"model": inputs.many("model"), "tokens": [artifact(other, "tokens")]})
    with pytest.raises(UserError, match="nothing held out"):
        run(bare, tmp_path / "run", sweeping())
