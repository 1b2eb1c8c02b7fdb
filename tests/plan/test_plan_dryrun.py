"""The dry run on fake ranks, against the formula."""

import json
from dataclasses import replace

import pytest
import yaml
from click.testing import CliRunner
from plan_recipes import polylm

from diglot.base.devices import GIB
from diglot.base.errors import UserError
from diglot.cli import cli
from diglot.model.presets import PRESETS, shape
from diglot.plan.dryrun import dry_run
from diglot.plan.execution import MASTER, Execution
from diglot.plan.memory import memory
from diglot.plan.states import local_size, parameter_shapes, states

pytestmark = pytest.mark.slow


def weights(config, execution):
    return MASTER * sum(local_size(name, size, execution) for name, size in parameter_shapes(config).items())


@pytest.mark.parametrize("checkpointing", [pytest.param(False, marks=pytest.mark.full), True])
def test_a_dry_run_holds_what_the_formula_says(checkpointing):
    config = shape("mini", 16_000)  # so that the loss holds most: other moments are summed on the safe side
    execution = Execution(
        data_parallel=6, micro_batch_size=2, sequence_length=512, activation_checkpointing=checkpointing
    )
    found = dry_run(config, execution)
    local = weights(config, execution)
    assert (found["ranks"], found["weights"], found["gradients"]) == (6, local, local)
    assert found["optimizer"] == 2 * local + 4 * len(parameter_shapes(config))
    assert found["peak"] == sum(found["categories"].values())
    assert memory(config, execution, margin=False).peak == pytest.approx(found["peak"], rel=0.02)


ADAPTER = {"weights": "bfloat16", "adapter_rank": 16}
LEAN = {
    "lean": {"weights": "bfloat16", "moments": "8-bit"},
    "adapter": ADAPTER,
    "rows": {**ADAPTER, "new_rows": True, "moments": "8-bit"},
    "dora": {**ADAPTER, "adapter_kind": "dora", "activation_checkpointing": True},
    "embeddings": {"phases": (("embeddings",),)},
}


@pytest.mark.parametrize(
    "variant",
    ["lean", *(pytest.param(name, marks=pytest.mark.full) for name in ("adapter", "rows", "dora", "embeddings"))],
)
def test_a_lean_dry_run_holds_what_the_formula_says(variant):
    if "adapter_rank" in LEAN[variant]:
        pytest.importorskip("peft")
    config = shape("mini", 4000)
    execution = Execution(data_parallel=256, micro_batch_size=2, sequence_length=512, **LEAN[variant])
    found, (held,) = dry_run(config, execution), states(config, execution)
    assert {name: found[name] for name in ("weights", "gradients", "optimizer")} == {
        "weights": held.weights, "gradients": held.gradients, "optimizer": held.optimizer
    }  # fmt: skip
    assert memory(config, execution, margin=False).peak == pytest.approx(found["peak"], rel=0.05)


@pytest.mark.parametrize("preset", ["polylm-1.7b", "llama-3-8b"])
def test_tensor_parallel_shards_have_the_formulas_sizes(preset):
    execution = Execution(data_parallel=4, tensor_parallel=8)
    config = replace(PRESETS[preset], num_layers=2)
    found = dry_run(config, execution)
    assert found["ranks"] == 32
    assert found["weights"] == weights(config, execution)
    assert found["peak"] is None


def test_a_failed_dry_run_says_so():
    with pytest.raises(UserError, match="the dry run failed"):
        dry_run(shape("tiny", 2000), Execution(data_parallel=2, sequence_length=4096))  # 2,048 positions


def test_stages_of_one_shape_share_a_dry_run(tmp_path):
    value = polylm("tiny", batch_size=8, sequence_length=64)
    value["stages"]["again"] = value["stages"]["pretrain"]
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(value))
    words = [str(file), "tokenizer.vocabulary_size=2000", "--cluster", "h100:8", "--dry-run-ranks", "4"]
    done = CliRunner().invoke(cli, ["plan", *words, "--json"])
    assert done.exit_code == 0, done.output
    runs = [stage["dry_run"] for stage in json.loads(done.output)["stages"].values()]
    assert runs[0] == runs[1]
    assert runs[0]["formula"] == pytest.approx(runs[0]["peak"], rel=0.1)


@pytest.mark.full
@pytest.mark.parametrize("checkpointing", [False, True])
def test_polylm_13b_on_256_ranks(checkpointing):
    """The benchmark holds it to a minute; here the machine may be busy."""
    config = PRESETS["polylm-13b"]
    execution = Execution(data_parallel=256, activation_checkpointing=checkpointing)
    found = dry_run(config, execution)
    assert found["host_bytes"] < 1e9
    assert found["seconds"] < 200
    assert found["peak"] / GIB == pytest.approx(12.2 if checkpointing else 23.9, abs=0.1)
    assert memory(config, execution, margin=False).peak == pytest.approx(found["peak"], rel=0.01)
