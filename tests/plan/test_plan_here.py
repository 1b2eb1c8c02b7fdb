"""The plan of this machine: measured, not assumed; and what stands beside the steps."""

import json
from dataclasses import replace

import pytest
import yaml
from click.testing import CliRunner
from plan_recipes import new_model, train

from diglot.base.devices import GIB, parse_cluster
from diglot.base.errors import UserError
from diglot.cli import cli
from diglot.flow import graph
from diglot.load import Where
from diglot.model.flops import flops_per_token
from diglot.model.presets import shape
from diglot.plan import here
from diglot.plan.estimate import plan_recipe
from diglot.plan.execution import Execution
from diglot.plan.memory import memory
from diglot.plan.states import parameters
from diglot.recipe import Recipe

SMALL = {"steps": 100, "batch_size": 4, "sequence_length": 128, "precision": "float32", "evaluate_tokens": 1000}


def recipe(**settings) -> dict:
    trained = train("init", "tokens", **SMALL | settings)
    scored = {"do": "evaluate", "from": {"model": "trained", "corpus": "corpus"}, "max_bytes": 3000}
    return {"name": "small", "stages": new_model("tiny", 1000) | {"trained": trained, "scored": scored}}


@pytest.fixture
def quick(monkeypatch):
    """Passes as short as can be."""
    monkeypatch.setattr(here, "PASS_SECONDS", 1e-9)


def test_this_machine_is_measured_and_planned_with(tmp_path, quick):
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(recipe()))
    done = CliRunner().invoke(cli, ["plan", str(file), "--cluster", "here", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    device, stage = found["cluster"]["device"], found["stages"]["trained"]
    assert device["name"] == "here"
    assert 1e8 < device["float32"] < 1e15
    assert GIB / 10 < device["memory"] < 2**50
    assert stage["measured"]
    assert stage["seconds"] == pytest.approx(stage["tokens"] / stage["tokens_per_second"])
    assert stage["mfu"] == pytest.approx(stage["tokens_per_second"] * stage["flops_per_token"] / device["float32"])
    assert found["free_disk"] > 0
    assert not any("published" in note or "assumed" in note for note in found["notes"])
    shown = CliRunner().invoke(cli, ["plan", str(file), "--cluster", "here"])
    assert "trained here for some passes just now" in " ".join(shown.output.split())
    assert max(map(len, shown.output.split("\n"))) <= 100


def test_here_takes_no_count():
    with pytest.raises(UserError, match="no device 'here'"):
        parse_cluster("here:2")


def test_what_is_too_large_to_be_tried_is_assumed(quick):
    machine = here.this_machine()
    slow = replace(machine, device=replace(machine.device, float32=1e6))
    execution = Execution(sharded=False, precision="float32", sequence_length=128)
    assert here.measured_speed(shape("tiny", 500), execution, 4, slow) is None
    small = replace(machine, device=replace(machine.device, memory=2**20))
    assert here.measured_speed(shape("tiny", 500), execution, 4, small) is None


def test_what_is_timed_needs_memory_of_its_own_whatever_the_stage_trains(quick):
    config, machine = shape("tiny", 20_000), here.this_machine()
    execution = Execution(sharded=False, sequence_length=128, weights="nf4", adapter_rank=4, host=True)
    enough = replace(machine, device=replace(machine.device, memory=int(memory(config, execution).total)))
    assert here.measured_speed(config, execution, 4, enough) is None


def test_the_layers_that_are_not_timed_take_as_long_as_those_that_are():
    assert here.extrapolated({1: 5.0, 3: 9.0}, 30) == pytest.approx(3 + 30 * 2)
    assert here.extrapolated({1: 5.0}, 1) == 5.0
    assert here.extrapolated({1: 5.0, 3: 4.0}, 30) == 5.0  # what chance did is no speed below nothing


def test_a_timed_pass_is_short_and_no_more_than_training_holds():
    config = shape("tiny", 500)
    device = replace(parse_cluster("cpu").device, float32=1e12)
    one = 128 * flops_per_token(config, 128) / (here.ASSUMED_MFU * 1e12)
    execution = Execution(sharded=False, precision="float32", sequence_length=128, micro_batch_size=10**6)
    rows = here.timed_rows(config, execution, device)
    assert 1 < rows < 10**6
    assert rows * one < 2 * here.PASS_SECONDS
    assert here.timed_rows(config, replace(execution, micro_batch_size=3), device) == 3


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "1000\n", "memory.current": "400\n"}, [600]),
        ({"memory.max": "max\n", "memory.current": "400\n"}, []),
        ({"memory/memory.limit_in_bytes": "50", "memory/memory.usage_in_bytes": "70"}, [0]),
        ({}, []),
    ],
)
def test_a_containers_limit_counts(tmp_path, files, left):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert list(here._left_of_limits(tmp_path)) == left


def test_the_disk_is_that_of_a_folder_to_be(tmp_path):
    assert here.free_disk(tmp_path / "not" / "there" / "yet") == pytest.approx(here.free_disk(tmp_path), rel=0.1)


# --- beside the steps -----------------------------------------------------------------------------------------


def planned(**settings):
    made = Recipe.model_validate(recipe(**settings))
    where = Where("made in code")
    [plan] = plan_recipe(made, graph(made, where), where, parse_cluster("cpu:2"))
    return plan


def test_evaluations_are_a_third_of_their_tokens():
    plan = planned(evaluate_every=30, indicator_tokens=0)
    assert (plan.beside.evaluations, plan.beside.sources, plan.beside.tokens) == (5, 1, 1000)  # 0, 30, 60, 90, 100
    assert plan.beside.seconds == pytest.approx(5 * 1000 / 3 / (2 * plan.tokens_per_second))
    watching = planned(evaluate_every=30, indicator_tokens=300)
    assert watching.beside.seconds == pytest.approx(5 * 1300 / 3 / (2 * plan.tokens_per_second))
    bounded = planned(evaluate_every=30, evaluate_tokens=None)
    assert bounded.beside.seconds == pytest.approx(0.05 * bounded.seconds, rel=0.01)


def test_checkpoints_their_copy_and_models():
    count = parameters(shape("tiny", 1000))["total"]
    state = pytest.approx(12 * count, rel=0.01)
    plan = planned(checkpoint_every=10, keep_checkpoints=2, export_every=50)
    assert plan.beside.copy == state
    assert plan.beside.checkpoints / 3 == state  # two, and the one that is being written
    assert plan.beside.models == 2 * 4 * count
    assert plan.memory.categories["copy"] == state
    waiting = planned(checkpoint_every=10, asynchronous_checkpoints=False)
    assert (waiting.beside.copy, waiting.execution.copies) == (0, False)
    none = planned(checkpoint_every=101)
    assert (none.beside.copy, none.beside.checkpoints, none.execution.copies) == (0, 0, False)


def test_the_adapter_lies_beside_each_model():
    config, rank = shape("tiny", 1000), 4
    plan = planned(
        adapter={"rank": rank, "targets": "attention"}, weights="bfloat16", precision="bfloat16", exports=[50]
    )
    heads = [config.num_heads, config.num_key_value_heads, config.num_key_value_heads, config.num_heads]
    adapter = sum(rank * (config.hidden_size + config.head_size * number) for number in heads) * config.num_layers
    assert plan.beside.models == 2 * (2 * parameters(config)["total"] + 4 * adapter)


def test_a_verdict_names_the_copy_as_a_way_out():
    made = Recipe.model_validate(recipe(checkpoint_every=10))
    where = Where("made in code")
    [plan] = plan_recipe(made, graph(made, where), where, parse_cluster("cpu:2"))
    total = memory(plan.config, replace(plan.execution, copies=False)).total
    device = replace(parse_cluster("cpu").device, memory=int(total + 1))
    machine = replace(parse_cluster("cpu"), device=device)
    [plan] = plan_recipe(made, graph(made, where), where, machine)
    assert not plan.fits
    assert "fits with asynchronous_checkpoints=false" in plan.verdict
