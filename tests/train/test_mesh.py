"""Every mesh gives the run of one process: losses, weights, evaluations; on 1, 2 and 4 processes over gloo."""

import json
from pathlib import Path

import pytest
import torch
from mesh_work import run_on
from rounding import drift, rounding
from tiny_run import artifact, losses, settings, train

from diglot.base.artifact import Context, Inputs
from diglot.model import presets
from diglot.model.huggingface import load_decoder
from diglot.model.weights import EXPANSION, StoredWeights
from diglot.recipe.model import NewModel, Shape
from diglot.recipe.train import Phase
from diglot.train.metrics import read_metrics

pytestmark = pytest.mark.slow
SMALL = {"num_layers": 2, "hidden_size": 64, "intermediate_size": 96, "num_heads": 4, "num_key_value_heads": 2}
MODELS = {
    "llama": ("tiny", SMALL),
    "untied": ("qwen3-0.6b", SMALL | {"tied_embeddings": False, "max_positions": 64}),  # norms on queries and keys
    "gpt2": ("polylm-1.7b", SMALL | {"num_key_value_heads": 4, "max_positions": 64}),
}
STEPS = 6
BASE = {"steps": STEPS, "checkpoint_every": 1000, "evaluate_every": 3, "evaluate_tokens": 300}


def model_of(inputs: Inputs, folder: Path, kind: str) -> Inputs:
    preset, shape = MODELS[kind]
    tokenizer = artifact(inputs.one("model").path, "tokenizer")
    new = NewModel(preset=preset, shape=Shape(**shape), **{"from": "tokenizer"})
    (folder / "scratch").mkdir(parents=True)
    presets.run(new, Inputs({"tokenizer": [tokenizer]}), folder / "model", Context("model", 0, folder / "scratch"))
    return Inputs({"model": [artifact(folder / "model", "model")], "tokens": inputs.many("tokens")})


def assert_same_run(found: Path, alone: Path) -> None:
    assert losses(found) == pytest.approx(losses(alone), abs=rounding(losses(alone), operations=16))
    assert len(losses(found)) == STEPS
    weights, expected = load_decoder(found).state_dict(), load_decoder(alone).state_dict()
    for name, tensor in expected.items():
        if not name.endswith("key.bias"):  # moves no attention: its gradient is rounding, which Adam scales up
            torch.testing.assert_close(
                weights[name], tensor, atol=drift(1e-3, STEPS), rtol=0, msg=lambda text, n=name: f"{n}: {text}"
            )
    evaluations, wanted = (
        [line for line in read_metrics(out / "logs" / "metrics.jsonl") if line["type"] == "evaluation"]
        for out in (found, alone)
    )
    assert len(evaluations) == len(wanted) == 3
    for line, other in zip(evaluations, wanted):
        for source, numbers in other["sources"].items():
            assert line["sources"][source] == pytest.approx(numbers, abs=1e-5)


def check(inputs: Inputs, folder: Path, world: int, given: list[dict], **more: int) -> None:
    """Each of the settings on `world` processes, against one process with the same objective."""
    folders, base = {role: inputs.one(role).path for role in ("model", "tokens")}, BASE | more
    run_on(world, folders, folder / "together", [base | changes for changes in given])
    alone: dict[str, Path] = {}
    for number, changes in enumerate(given):
        objective = changes.get("objective", "lm")
        if objective not in alone:
            alone[objective] = train(inputs, folder / objective, settings(**base | {"objective": objective}))
        assert_same_run(folder / "together" / str(number) / "out", alone[objective])


TENSOR, REPLICAS = {"parallel": {"tensor": 2}}, {"parallel": {"replicas": 2}}
RECOMPUTED = {"activation_checkpointing": True}


@pytest.mark.parametrize("kind", ["llama", "untied", pytest.param("gpt2", marks=pytest.mark.full)])
def test_two_processes(inputs: Inputs, tmp_path: Path, kind: str) -> None:
    """Shards, tensor parallel and replicas; micro-batches of one row and recomputed layers change nothing."""
    given = [{}, TENSOR | RECOMPUTED, REPLICAS, {"micro_batch_size": 1} | RECOMPUTED]
    check(model_of(inputs, tmp_path, kind), tmp_path, 2, given)


@pytest.mark.parametrize("kind", ["llama", pytest.param("gpt2", marks=pytest.mark.full)])
def test_four_processes(inputs: Inputs, tmp_path: Path, kind: str) -> None:
    """Four shards, shards × tensor parallel, and replicas × shards."""
    check(model_of(inputs, tmp_path, kind), tmp_path, 4, [{}, TENSOR, REPLICAS])


@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_objectives(inputs: Inputs, tmp_path: Path, objective: str) -> None:
    """Fine-tuning, and preferences against a reference model that is laid out alike."""
    given = [{"objective": objective} | changes for changes in ({}, TENSOR)]
    check(model_of(inputs, tmp_path, "untied"), tmp_path, 2, given)


@pytest.mark.full
def test_frozen_parts(inputs: Inputs, tmp_path: Path) -> None:
    """Phases of the embeddings, of new rows and of all, where rows are cut once and twice."""
    kinds = ("embeddings", "new-rows", "all")
    given = BASE | {"phases": [Phase(name=kind, share=1 / len(kinds), trains=kind) for kind in kinds]}
    inputs = model_of(inputs, tmp_path, "untied")
    folder = inputs.one("model").path
    (folder / EXPANSION).write_text(json.dumps({"new_rows": [[100, 180], [300, 329]], "new_layers": []}))
    folders = {role: inputs.one(role).path for role in ("model", "tokens")}
    run_on(4, folders, tmp_path / "together", [given, given | TENSOR])
    alone = train(inputs, tmp_path / "alone", settings(**given))
    for number in range(2):
        assert_same_run(tmp_path / "together" / str(number) / "out", alone)


def test_bfloat16_trains_master_weights(inputs: Inputs, tmp_path: Path) -> None:
    """Gathered weights are cast; those that are trained and saved stay float32, and the loss falls as it does in one."""
    inputs = model_of(inputs, tmp_path, "llama")
    folders = {role: inputs.one(role).path for role in ("model", "tokens")}
    run_on(2, folders, tmp_path / "together", [BASE | {"precision": "bfloat16"}])
    found = tmp_path / "together" / "0" / "out"
    alone = train(inputs, tmp_path / "alone", settings(**BASE | {"precision": "bfloat16"}))
    assert losses(found) == pytest.approx(losses(alone), abs=2e-2)
    weights = StoredWeights(found)
    assert {tensor.dtype for tensor in weights.shapes().values()} == {torch.float32}
    name = next(iter(weights.shapes()))
    assert not torch.equal(weights.tensor(name), weights.tensor(name).bfloat16().float())
