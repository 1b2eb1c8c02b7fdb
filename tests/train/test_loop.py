"""The loop: resumed = uninterrupted, 1 × 8 = 8 × 1, and the objectives against their formulas."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rounding import drift, rounding
from tiny_run import artifact, losses, settings, train

from diglot.base.artifact import Context, Inputs, content_hash
from diglot.base.errors import UserError
from diglot.model.huggingface import load_decoder
from diglot.recipe.train import Phase, Preference
from diglot.tokens.packing import too_long
from diglot.tokens.shards import open_tokens
from diglot.train import loop
from diglot.train.branches import Exports
from diglot.train.job import prepare
from diglot.train.metrics import Metrics, memory, read_metrics
from diglot.train.objectives import answers_of, micro_batches
from diglot.train.optimizer import build_optimizer, parameter_groups


@pytest.mark.parametrize("objective", ["lm", "sft", "dpo"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    inputs: Inputs, tmp_path: Path, objective: str, killed_at: Callable[..., None]
) -> None:
    whole = train(inputs, tmp_path / "whole", settings(objective=objective))
    killed_at(6)
    with pytest.raises(RuntimeError, match="killed"):
        train(inputs, tmp_path / "cut", settings(objective=objective))
    resumed = train(inputs, tmp_path / "cut", settings(objective=objective))
    assert content_hash(resumed) == content_hash(whole)
    assert losses(resumed) == losses(whole)
    evaluations = [
        [line for line in read_metrics(out / "logs" / "metrics.jsonl") if line["type"] == "evaluation"]
        for out in (whole, resumed)
    ]
    assert evaluations[0] == evaluations[1]
    assert len(evaluations[0]) == 3


@pytest.mark.parametrize("killed_after", [3, 4])
def test_more_steps_of_a_trunk_go_on_from_the_fewer(
    inputs: Inputs, tmp_path: Path, killed_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed on its way, or behind its last step, whose model the longer run keeps and so has to make again."""
    trunk = {"phases": [Phase(name="all", warmup_steps=2)], "export_every": 2}
    short, long = settings(steps=4, **trunk), settings(steps=8, **trunk)
    assert long.goes_on_from(short.semantic())
    whole = train(inputs, tmp_path / "whole", long)
    real, done = loop.update, list[int]()

    def counting(*given):
        done.append(given[2])
        return real(*given)

    def killed(*_):
        raise RuntimeError("killed")

    monkeypatch.setattr(loop, "update", lambda *given: killed() if given[2] == killed_after else real(*given))
    monkeypatch.setattr(Exports, "finish", killed)
    with pytest.raises(RuntimeError):
        train(inputs, tmp_path / "cut", short)
    monkeypatch.undo()
    monkeypatch.setattr(loop, "update", counting)
    longer = train(inputs, tmp_path / "cut", long)
    assert done == list(range(2, 8))
    assert content_hash(longer) == content_hash(whole)
    assert losses(longer) == losses(whole)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 3}, {"steps": 4}, {"learning_rate": 2e-3}, {"phases": [Phase(name="all", warmup=0.5)]},
        {"phases": [Phase(name="all", shape="linear")]}, {"phases": [Phase(name="all", max_epochs={"english": 2})]},
        {"phases": [Phase(name="a", share=0.5), Phase(name="b", share=0.5)]},
    ],
)  # fmt: skip
def test_other_plans_do_not_go_on(changes: dict) -> None:
    """What depends on the number of steps, or is not the same plan."""
    given = {"steps": 8, "phases": [Phase(name="all")]} | changes
    earlier = settings(**{**given, "steps": 4, "learning_rate": 1e-3})
    assert not settings(**given).goes_on_from(earlier.semantic())


@pytest.mark.parametrize("objective", ["lm", "sft", "dpo"])
def test_micro_batches_do_not_change_the_result(inputs: Inputs, tmp_path: Path, objective: str) -> None:
    one = train(inputs, tmp_path / "one", settings(objective=objective, steps=3, micro_batch_size=8))
    many = train(inputs, tmp_path / "many", settings(objective=objective, steps=3, micro_batch_size=1))
    assert losses(one) == pytest.approx(losses(many), abs=rounding(losses(many), operations=16))
    for a, b in zip(load_decoder(one).parameters(), load_decoder(many).parameters()):
        torch.testing.assert_close(a, b, atol=drift(1e-3, 3), rtol=0)


@pytest.mark.parametrize(("objective", "source", "together"), [("sft", "chat", 1), ("dpo", "pairs", 2)])
def test_conversations_that_are_longer_than_a_row_are_said(
    inputs: Inputs, tmp_path: Path, objective: str, source: str, together: int
) -> None:
    tokens = open_tokens([inputs.one("tokens").path], None)[source]
    longer = together * int((tokens.lengths.reshape(-1, together).sum(axis=1) > 80).sum())
    assert 0 < longer < tokens.num_documents
    given = settings(objective=objective, steps=1, sequence_length=80, phases=[Phase(name="all")])
    said: list[str] = []
    (tmp_path / "scratch").mkdir()
    context = Context("train", 0, tmp_path / "scratch", say=said.append, workers=1)
    summary = loop.run(given, inputs, tmp_path, context)
    assert summary is not None
    assert (summary.dropped_as_too_long[source], summary.documents[source]) == (longer, tokens.num_documents)
    assert f"{longer} of {tokens.num_documents} documents of {source} are longer than a sequence" in said[0]
    held_out = open_tokens([inputs.one("tokens").path], None, "heldout")[source]
    longer = too_long(held_out, 80)
    assert longer == together * int((held_out.lengths.reshape(-1, together).sum(axis=1) > 80).sum())
    assert f"{longer} of {held_out.num_documents} held-out documents of {source} are longer" in said[1]


def test_the_loss_falls_and_first_loss_is_uniform(inputs: Inputs, tmp_path: Path) -> None:
    output = train(inputs, tmp_path, settings(steps=30, phases=[Phase(name="all", warmup=0.1)]))
    found = losses(output)
    assert found[0] == pytest.approx(np.log(330), abs=0.3)
    assert found[-1] < found[0] - 1
    lines = [line for line in read_metrics(output / "logs" / "metrics.jsonl") if line["type"] == "evaluation"]
    assert lines[-1]["languages"]["en"] < lines[0]["languages"]["en"]


def test_a_run_says_what_it_does_and_what_it_found(inputs: Inputs, tmp_path: Path) -> None:
    reports, said = [], []
    context = Context("trunk", 0, tmp_path, workers=1, say=said.append)
    context.progress = lambda done, total, unit, note="": reports.append((done, note))
    (tmp_path / "out").mkdir()
    loop.run(settings(steps=3), inputs, tmp_path / "out", context)
    evaluating = [note for done, note in reports if done == 0]
    assert evaluating[0] == "evaluating english (1 of 2), batch 1"
    assert (2, "saving a checkpoint") in reports
    assert reports[-1] == (3, "writing the model")
    found = [
        line["languages"]["en"] for line in read_metrics(tmp_path / "metrics.jsonl") if line["type"] == "evaluation"
    ]
    scores = [text for text in said if text.startswith("trunk: step")]  # beside what is left out
    assert scores == [f"trunk: step {step}: bits per byte en {bits:.4f}" for step, bits in zip((0, 3), found)]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are forgotten through /proc")
def test_the_peak_of_memory_is_the_stages_own(inputs: Inputs, tmp_path: Path) -> None:
    """What an earlier stage of the process held (here a gigabyte) is not this one's."""
    held = torch.ones(2**28).sum()
    before = memory(torch.device("cpu"))
    train(inputs, tmp_path, settings(steps=2))
    steps = [line for line in read_metrics(tmp_path / "out" / "logs" / "metrics.jsonl") if line["type"] == "step"]
    assert held > 0
    assert before > 1000
    assert 50 < steps[-1]["memory_mb"] < before - 700


def test_bits_per_byte_by_hand(inputs: Inputs, tmp_path: Path) -> None:
    """Against transformers, one document at a time."""
    from transformers import AutoModelForCausalLM

    job = prepare(
        settings(evaluate_tokens=10**6, sequence_length=128),
        inputs.one("model").path,
        [inputs.one("tokens").path],
        Context("x", 0, tmp_path, workers=1),
    )
    found = loop.evaluate(job)["sources"]["english"]
    model = AutoModelForCausalLM.from_pretrained(inputs.one("model").path)
    source = job.heldout["english"]
    offsets = np.load(inputs.one("tokens").path / "english.heldout.offsets.npy")
    tokens = np.load(inputs.one("tokens").path / "english.heldout.tokens.npy").astype(np.int64)
    nats, predicted = 0.0, 0
    for start, stop in itertools.pairwise(offsets):
        document = torch.from_numpy(tokens[start:stop])[None]
        assert document.shape[1] <= 128
        with torch.no_grad():
            logits = model(document).logits[0, :-1]
        nats += F.cross_entropy(logits, document[0, 1:], reduction="sum").item()
        predicted += document.shape[1] - 1
    num_bytes = np.load(inputs.one("tokens").path / "english.heldout.bytes.npy").sum()
    assert found["loss"] == pytest.approx(nats / predicted, abs=2e-3)
    assert found["bits_per_byte"] == pytest.approx(nats / np.log(2) / num_bytes, rel=2e-3)
    assert source.num_documents == len(offsets) - 1


def test_dpo_is_its_formula(inputs: Inputs, tmp_path: Path) -> None:
    """Rafailov et al. 2023, equation 7, pair by pair with transformers' log-probabilities."""
    from transformers import AutoModelForCausalLM

    folder = inputs.one("model").path
    given = settings(objective="dpo", preference=Preference(beta=0.2))
    job = prepare(given, folder, [inputs.one("tokens").path], Context("x", 0, tmp_path, workers=1))
    with torch.no_grad():
        for parameter in job.model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    micro = micro_batches(job.order.batch(0), 8, job.device)[0]
    outcome = job.loss(micro, len(job.order.names))
    with torch.no_grad():
        model_K, reference_K = (
            answers_of(model, micro).log_probability_K for model in (job.model, load_decoder(folder))
        )
    margins = (model_K - reference_K)[0::2] - (model_K - reference_K)[1::2]
    assert outcome.loss.item() == pytest.approx(-F.logsigmoid(0.2 * margins).sum().item(), rel=1e-5)
    assert outcome.measures_SM is not None
    assert outcome.measures_SM[0, 1].item() == pytest.approx(margins.sum().item(), rel=1e-4)
    reference = AutoModelForCausalLM.from_pretrained(folder)
    inside = micro.documents_BT[0] == 0
    tokens, targets = micro.tokens_BT[0][inside], micro.targets_BT[0][inside]
    with torch.no_grad():
        log_probabilities = F.log_softmax(reference(tokens[None]).logits[0], dim=-1)
    wanted = log_probabilities[targets != -100].gather(1, targets[targets != -100][:, None]).sum()
    assert reference_K[0].item() == pytest.approx(wanted.item(), abs=1e-3)


def test_dpo_starts_at_log_two_and_moves_the_margin(inputs: Inputs, tmp_path: Path) -> None:
    output = train(inputs, tmp_path, settings(objective="dpo", steps=12, phases=[Phase(name="dpo")]))
    assert losses(output)[0] == pytest.approx(np.log(2), abs=1e-5)
    assert losses(output)[-1] < np.log(2) - 0.01


def test_decay_on_matrices_only(inputs: Inputs) -> None:
    model = load_decoder(inputs.one("model").path)
    groups = parameter_groups(model)
    assert sum(p.numel() for group in groups.values() for p in group) == sum(p.numel() for p in model.parameters())
    assert all(parameter.ndim == 1 for parameter in groups["vectors"])
    decays = {group["name"]: group["weight_decay"] for group in build_optimizer(model, settings()).param_groups}
    assert decays == {"embeddings": 0.1, "matrices": 0.1, "vectors": 0.0}


def test_tokens_of_another_tokenizer_are_refused(inputs: Inputs, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "tokens"
    shutil.copytree(inputs.one("tokens").path, other)
    index = json.loads((other / "tokens.json").read_text())
    (other / "tokens.json").write_text(json.dumps({**index, "tokenizer": "0" * 32}))
    with pytest.raises(UserError, match="tokenizer"):
        train(
            Inputs({"model": inputs.many("model"), "tokens": [artifact(other, "tokens")]}), tmp_path / "x", settings()
        )


def test_a_mixture_with_an_unknown_source_is_refused(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="english"):
        train(inputs, tmp_path, settings(phases=[Phase(name="a", mixture={"german": 1.0})]))


def test_a_loss_that_is_not_finite_stops_the_run(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Lower learning_rate"):
        train(inputs, tmp_path, settings(steps=20, learning_rate=1e30, phases=[Phase(name="a")]))


def test_metrics_written_after_the_checkpoint_are_taken_back(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    metrics = Metrics(tmp_path)
    for step in range(1, 6):
        metrics.write("step", step=step)
    metrics.close()
    with file.open("a") as stream:
        stream.write('{"type": "step", "st')
    Metrics(tmp_path, resume_at=3).close()
    assert [line["step"] for line in read_metrics(file)] == [1, 2, 3]


@pytest.mark.slow
def test_sigterm_saves_a_checkpoint(inputs: Inputs, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from tiny_run import artifact, settings, train
from diglot.base.artifact import Inputs
inputs = Inputs({{"model": [artifact(Path({str(inputs.one("model").path)!r}), "model")], "tokens": [artifact(Path({str(inputs.one("tokens").path)!r}), "tokens")]}})
train(inputs, Path({str(tmp_path)!r}), settings(steps=100000, checkpoint_every=100000))
"""
    helpers = Path(__file__).resolve().parents[1] / "helpers"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=helpers, stderr=subprocess.PIPE, text=True)
    file = tmp_path / "scratch" / "metrics.jsonl"
    while process.poll() is None and len(read_metrics(file)) < 4:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in error
    assert "stopping: finishing the step and saving a checkpoint" in error
    assert list((tmp_path / "scratch" / "checkpoints").glob("step-*"))
