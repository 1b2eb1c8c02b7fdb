"""Branches: models kept on the way, and runs that go on from them as if they had never stopped."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from mesh_work import run_on
from rounding import drift, rounding
from tiny_run import artifact, losses, settings, train

from diglot.base.artifact import Inputs, content_hash
from diglot.base.errors import UserError
from diglot.model.huggingface import load_decoder
from diglot.model.weights import StoredWeights
from diglot.recipe.train import Phase
from diglot.train import loop
from diglot.train.branches import CONTINUE, MOMENTS, RECORD

pytestmark = pytest.mark.slow
STEADY = [Phase(name="steady")]


def from_model(inputs: Inputs, folder: Path) -> Inputs:
    return Inputs({"model": [artifact(folder, "model")], "tokens": inputs.many("tokens")})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_decoder(folder).state_dict()


def moments(folder: Path) -> dict[str, torch.Tensor]:
    stored = StoredWeights(folder / CONTINUE, MOMENTS)
    return {name: stored.tensor(name) for name in stored.shapes()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def trunk(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steady steps; the models of steps 2 and 4 are kept."""
    given = settings(phases=STEADY, export_every=4, exports=[2], export_optimizer=True)
    return train(inputs, tmp_path_factory.mktemp("trunk"), given)


def test_a_kept_model_is_that_of_a_shorter_run(inputs: Inputs, tmp_path: Path, trunk: Path) -> None:
    short = train(inputs, tmp_path, settings(steps=2, phases=STEADY))
    assert same(weights(trunk / "steps" / "2"), weights(short))
    assert not same(weights(trunk / "steps" / "2"), weights(trunk))
    assert sorted(path.name for path in (trunk / "steps").iterdir()) == ["2", "4"]


def test_transformers_loads_a_kept_model(trunk: Path) -> None:
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(trunk / "steps" / "4")
    assert sum(parameter.numel() for parameter in model.parameters()) > 0
    assert transformers.AutoTokenizer.from_pretrained(trunk / "steps" / "4")("the cat")["input_ids"]


def test_a_continued_run_and_its_trunk_are_one_run(inputs: Inputs, tmp_path: Path, trunk: Path) -> None:
    """Weights, moments, batches and losses, bit for bit; the trunk's end is in the middle of an epoch."""
    decay = Phase(name="decay", shape="linear", warmup=0.25)
    before = content_hash(trunk)
    rest = settings(steps=4, phases=[decay], continues="run", export_optimizer=True)
    continued = train(from_model(inputs, trunk), tmp_path / "rest", rest)
    parts = [Phase(name="steady", share=0.6), decay.model_copy(update={"share": 0.4})]
    one = train(inputs, tmp_path / "one", settings(steps=10, phases=parts, export_optimizer=True))
    assert losses(trunk) + losses(continued) == losses(one)
    assert same(weights(continued), weights(one))
    assert same(moments(continued), moments(one))
    assert (continued / CONTINUE / RECORD).read_bytes() == (one / CONTINUE / RECORD).read_bytes()
    assert content_hash(trunk) == before


def test_a_branch_from_the_middle_of_a_phase(inputs: Inputs, tmp_path: Path, trunk: Path) -> None:
    """And from a branch again: a chain of three runs is one run."""
    middle = settings(steps=1, phases=STEADY, continues="run", export_optimizer=True)
    first = train(from_model(inputs, trunk / "steps" / "2"), tmp_path / "first", middle)
    second = train(
        from_model(inputs, first), tmp_path / "second", middle.model_copy(update={"steps": 3, "exports": [1]})
    )
    assert same(weights(second), weights(trunk))
    assert same(weights(second / "steps" / "1"), weights(trunk / "steps" / "4"))
    assert same(moments(second), moments(trunk))
    record = json.loads((second / "steps" / "1" / CONTINUE / RECORD).read_text())
    assert [(phase["steps"], phase["left_after"]) for phase in record["phases"]] == [(6, 2), (1, None), (3, 1)]


def test_a_killed_run_has_all_its_kept_models(
    inputs: Inputs, tmp_path: Path, trunk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after each step in turn, checkpoints every 2 steps, models kept at 2, 4 and 6."""
    given = settings(phases=STEADY, export_every=4, exports=[2], export_optimizer=True)
    real = loop.update
    for last in range(1, 6):

        def failing(job, batch, step, begun, last=last):
            if step == last:
                raise RuntimeError("killed")
            return real(job, batch, step, begun)

        monkeypatch.setattr(loop, "update", failing)
        with pytest.raises(RuntimeError):
            train(inputs, tmp_path, given)
    monkeypatch.setattr(loop, "update", real)
    assert content_hash(train(inputs, tmp_path, given)) == content_hash(trunk)


def test_an_optimizer_alone_is_continued(inputs: Inputs, tmp_path: Path, trunk: Path) -> None:
    """The same moments; the data are those that a stage without a past reads."""
    one_step = settings(steps=1, phases=STEADY, export_optimizer=True)
    found = {}
    for continues in ("weights", "optimizer", "run"):
        given = one_step.model_copy(update={"continues": continues})
        found[continues] = train(from_model(inputs, trunk), tmp_path / continues, given)
    assert losses(found["weights"]) == losses(found["optimizer"]) != losses(found["run"])
    assert not same(weights(found["weights"]), weights(found["optimizer"]))
    step = "embedding.weight|step"
    assert [moments(found[kind])[step].item() for kind in found] == [1, 7, 7]


def test_what_cannot_be_continued_is_refused(inputs: Inputs, tmp_path: Path, trunk: Path) -> None:
    given = settings(steps=1, phases=STEADY, continues="run")
    with pytest.raises(UserError, match="has none: set export_optimizer: true"):
        train(inputs, tmp_path / "a", given)
    with pytest.raises(UserError, match="same batch_size as before: 8, not 4"):
        train(from_model(inputs, trunk), tmp_path / "b", given.model_copy(update={"batch_size": 4}))
    other = tmp_path / "tokens"
    shutil.copytree(inputs.one("tokens").path, other)
    described = json.loads((other / "tokens.json").read_text())
    described["sources"]["english"]["train"]["content"] = "another"
    (other / "tokens.json").write_text(json.dumps(described))
    tokens = Inputs({"model": [artifact(trunk, "model")], "tokens": [artifact(other, "tokens")]})
    with pytest.raises(UserError, match="source 'english' are not those that the run began with"):
        train(tokens, tmp_path / "c", given)
    broken = tmp_path / "broken"
    shutil.copytree(trunk, broken)
    (broken / CONTINUE / RECORD).write_text("{}")
    with pytest.raises(UserError, match="not the record of a run"):
        train(from_model(inputs, broken), tmp_path / "d", given)


@pytest.mark.parametrize("parallel", [pytest.param({}, marks=pytest.mark.full), {"tensor": 2}])
def test_two_processes_continue_what_one_began(inputs: Inputs, tmp_path: Path, trunk: Path, parallel: dict) -> None:
    """And write what one process writes: models and moments, to rounding, and the same record."""
    rest = {"steps": 2, "phases": [{"name": "steady"}], "continues": "run", "export_optimizer": True, "exports": [1]}
    folders = {"model": trunk / "steps" / "4", "tokens": inputs.one("tokens").path}
    run_on(2, folders, tmp_path / "two", [rest | {"parallel": parallel}])
    found = tmp_path / "two" / "0" / "out"
    for name, tensor in weights(trunk).items():
        torch.testing.assert_close(weights(found)[name], tensor, atol=drift(1e-3, 6), rtol=0)
    for name, tensor in moments(trunk).items():
        torch.testing.assert_close(moments(found)[name], tensor, atol=rounding(tensor, operations=64), rtol=1e-3)
    record = json.loads((found / "steps" / "1" / CONTINUE / RECORD).read_text())
    assert [(phase["steps"], phase["left_after"]) for phase in record["phases"]] == [(6, 4), (2, 1)]
    assert (found / "steps" / "1" / "config.json").is_file()
