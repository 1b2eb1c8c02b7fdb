"""Rows that are cut over processes give the run of one process: losses, weights, evaluations, checkpoints."""

import shutil
from pathlib import Path

import pytest
from mesh_work import run_on
from pydantic import ValidationError
from test_mesh import BASE, RECOMPUTED, assert_same_run, check, model_of
from tiny_run import losses, settings, train

from diglot.base.artifact import Inputs
from diglot.base.errors import UserError
from diglot.train.mesh import Mesh
from diglot.train.metrics import read_metrics

CONTEXT = {"parallel": {"context": 2}}


@pytest.mark.slow
def test_two_processes(inputs: Inputs, tmp_path: Path) -> None:
    """Rows of several documents, most of which go on from one piece of a row to another."""
    given = [CONTEXT, CONTEXT | {"micro_batch_size": 1} | RECOMPUTED]
    check(model_of(inputs, tmp_path, "untied"), tmp_path, 2, given)


@pytest.mark.full
def test_four_processes(inputs: Inputs, tmp_path: Path) -> None:
    """All on one row, shards × context, and a copy of the model for each two that share a row."""
    given = [{"context": 4}, {"context": 2}, {"context": 2, "replicas": 2}]
    check(model_of(inputs, tmp_path, "llama"), tmp_path, 4, [{"parallel": parallel} for parallel in given])


@pytest.mark.full
def test_with_tensor_parallel(inputs: Inputs, tmp_path: Path) -> None:
    """Each process has half of the heads of half of a row; learned positions, which are cut by tokens too."""
    check(model_of(inputs, tmp_path, "gpt2"), tmp_path, 4, [{"parallel": {"context": 2, "tensor": 2}}])


@pytest.mark.slow
def test_documents_that_fill_rows(inputs: Inputs, tmp_path: Path) -> None:
    """Rows of 32 tokens, of sentences that are often longer."""
    check(model_of(inputs, tmp_path, "llama"), tmp_path, 2, [CONTEXT], sequence_length=32)


@pytest.mark.slow
def test_answers(inputs: Inputs, tmp_path: Path) -> None:
    """Fine-tuning: where a conversation begins there is nothing to predict."""
    check(model_of(inputs, tmp_path, "llama"), tmp_path, 2, [CONTEXT | {"objective": "sft"}])


@pytest.mark.slow
def test_bfloat16(inputs: Inputs, tmp_path: Path) -> None:
    """Keys and values travel, and their gradients are summed, in bfloat16."""
    inputs = model_of(inputs, tmp_path, "llama")
    folders, given = (
        {role: inputs.one(role).path for role in ("model", "tokens")},
        BASE | {"precision": "bfloat16", "steps": 2, "batch_size": 2, "evaluate_tokens": 50},
    )
    run_on(2, folders, tmp_path / "together", [given | CONTEXT])
    alone = train(inputs, tmp_path / "alone", settings(**given))
    assert losses(tmp_path / "together" / "0" / "out") == pytest.approx(losses(alone), abs=2e-2)


@pytest.mark.slow
def test_one_process_goes_on_from_a_checkpoint_of_two(inputs: Inputs, tmp_path: Path) -> None:
    inputs = model_of(inputs, tmp_path, "llama")
    folders = {role: inputs.one(role).path for role in ("model", "tokens")}
    given = BASE | {"checkpoint_every": 3}
    run_on(2, folders, tmp_path / "together", [given | CONTEXT])
    folder = tmp_path / "together" / "0"
    checkpoints = folder / "scratch" / "checkpoints"
    assert [path.name for path in sorted(checkpoints.glob("step-*"))] == ["step-00000003", "step-00000006"]
    shutil.rmtree(checkpoints / "step-00000006")
    shutil.rmtree(folder / "out")
    done = read_metrics(folder / "scratch" / "metrics.jsonl")[:5]  # of 3 steps, and two evaluations
    found = train(inputs, folder, settings(**given))
    assert read_metrics(found / "logs" / "metrics.jsonl")[:5] == done  # with the times that they took
    assert_same_run(found, train(inputs, tmp_path / "alone", settings(**given)))


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"sequence_length \(60\) is not a multiple of 8"):
        settings(sequence_length=60, parallel={"context": 4})
    with pytest.raises(ValidationError, match=r"parallel\.context is for lm and sft"):
        settings(objective="dpo", **CONTEXT)
    with pytest.raises(UserError, match="context 2 × replicas 1 does not divide the 1 processes"):
        Mesh(settings(**CONTEXT).parallel)
