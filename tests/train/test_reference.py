"""DPO's reference: asked once, stored, taken up after a kill, and never a second model in memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import settings, train

from diglot.base.artifact import Context, Inputs
from diglot.model.huggingface import load_decoder
from diglot.recipe.train import Phase
from diglot.train import job as jobs
from diglot.train import loop
from diglot.train.job import Job, prepare
from diglot.train.metrics import read_metrics
from diglot.train.objectives import micro_batches, target_log_probabilities
from diglot.train.reference import FOLDER, Reference

GIVEN = {
    "objective": "dpo", "steps": 4, "batch_size": 4, "sequence_length": 160, "evaluate_tokens": 2000,
    "phases": [Phase(name="a")],
}  # fmt: skip


def prepared(inputs: Inputs, folder: Path, **changes) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    tokens = [inputs.one("tokens").path]
    return prepare(settings(**GIVEN | changes), inputs.one("model").path, tokens, Context("x", 0, folder, workers=1))


def stored(folder: Path) -> dict[str, np.ndarray]:
    return {file.name.split(".")[1]: np.load(file) for file in (folder / FOLDER).iterdir()}


def test_what_is_stored_is_what_the_model_says_of_every_answer(inputs: Inputs, tmp_path: Path) -> None:
    """Of training pairs and held-out ones, each with a model of its own, document by document."""
    job = prepared(inputs, tmp_path, steps=12, evaluate_tokens=10**6)
    model = load_decoder(inputs.one("model").path)
    for source in (*job.order.sources, *job.heldout.values()):
        assert source.reference is not None
        assert source.targets is not None
        known = [d for d in range(source.num_documents) if not np.isnan(source.reference[source.offsets[d + 1] - 1])]
        pairs = source.lengths.reshape(-1, 2).sum(axis=1) <= job.settings.sequence_length
        assert known == np.flatnonzero(np.repeat(pairs, 2)).tolist()
        for document in known[:8]:
            begin, end = source.offsets[document], source.offsets[document + 1]
            ids = torch.from_numpy(source.tokens[begin:end].astype(np.int64))[None]
            with torch.no_grad():
                logits = model(ids, torch.arange(ids.shape[1])[None])[0] @ model.output_weight().T
            wanted = logits[:-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0].numpy()
            predicted = source.targets[begin + 1 : end] == 1
            np.testing.assert_allclose(source.reference[begin + 1 : end][predicted], wanted[predicted], atol=1e-4)


def test_before_the_first_step_every_pair_is_a_tie_to_the_bit(inputs: Inputs, tmp_path: Path) -> None:
    job = prepared(inputs, tmp_path)
    for step in range(4):
        for micro in micro_batches(job.order.batch(step), job.rows, job.device):
            assert micro.reference_BT is not None
            with torch.no_grad():
                assert torch.equal(target_log_probabilities(job.model, micro), micro.reference_BT)
    found = loop.evaluate(job)["preferences"]["en"]
    assert (found["accuracy"], found["margin"], found["kl"]) == (0.5, 0, 0)


def test_a_pass_that_was_killed_is_not_done_again(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between batches and within the writing of one: the same values, and only what is missing is asked."""
    prepared(inputs, tmp_path / "whole")
    asked, real = list[int](), Reference._log_probabilities

    def counting(asking, batch):
        asked.append(len(asked))
        if asked[-1] == 2:
            raise RuntimeError("killed")
        return real(asking, batch)

    monkeypatch.setattr(Reference, "_log_probabilities", counting)
    with pytest.raises(RuntimeError, match="killed"):
        prepared(inputs, tmp_path / "cut")
    half = stored(tmp_path / "cut")["train"]
    assert 0 < np.isnan(half).sum() < len(half)
    (file,) = (tmp_path / "cut" / FOLDER).glob("*.train.*")
    values = np.load(file, mmap_mode="r+")
    values[np.flatnonzero(~np.isnan(half))[-2]] = np.nan  # within the last document: its page did not come to the disk
    values.flush()
    prepared(inputs, tmp_path / "cut")
    whole, cut = stored(tmp_path / "whole"), stored(tmp_path / "cut")
    for split in ("train", "heldout"):
        np.testing.assert_array_equal(whole[split], cut[split])
    done = len(asked)
    prepared(inputs, tmp_path / "cut")
    assert len(asked) == done


def test_one_model_is_loaded(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, loaded = jobs.Mesh.load, list[Path]()

    def counting(mesh, folder, given):
        loaded.append(folder)
        return real(mesh, folder, given)

    monkeypatch.setattr(jobs.Mesh, "load", counting)
    train(inputs, tmp_path, settings(**GIVEN))
    assert loaded == [inputs.one("model").path]


def test_metrics_hold_what_moves_by_source_and_language(inputs: Inputs, tmp_path: Path) -> None:
    output = train(inputs, tmp_path, settings(**GIVEN | {"steps": 12, "learning_rate": 3e-3, "evaluate_every": 12}))
    lines = read_metrics(output / "logs" / "metrics.jsonl")
    steps = [line["preferences"]["pairs"] for line in lines if line["type"] == "step"]
    assert (steps[0]["margin"], steps[0]["kl"], steps[0]["accuracy"]) == (0, 0, 0.5)
    assert steps[-1]["margin"] > 0.5
    assert steps[-1]["kl"] > 1e-3
    for found in steps:
        assert found["chosen_reward"] - found["rejected_reward"] == pytest.approx(0.1 * found["margin"], abs=1e-5)
    first, last = (line for line in lines if line["type"] == "evaluation")
    assert first["preferences"]["en"]["kl"] == 0 < last["preferences"]["en"]["kl"]
    of_source = {name: value for name, value in last["sources"]["pairs"].items() if name not in ("language", "loss")}
    assert of_source == last["preferences"]["en"]
    # Log-probabilities are of the model itself: what they moved by is the gain, which beta makes a reward.
    moved = last["preferences"]["en"]["chosen_log_probability"] - first["preferences"]["en"]["chosen_log_probability"]
    assert last["preferences"]["en"]["chosen_reward"] == pytest.approx(0.1 * moved, abs=1e-4)
