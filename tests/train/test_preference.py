"""Losses of pairs against TRL's on the same batch, what TRL has not against its formula, and the limit of KL."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from tiny_model import ENGLISH, save_model, save_tokenizer
from tiny_run import settings, train
from transformers import AutoModelForCausalLM, AutoTokenizer

from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.model.families import family_of
from diglot.model.huggingface import load_decoder
from diglot.recipe.train import Phase, Preference
from diglot.train import loop
from diglot.train.evaluation import beyond_limit, in_words
from diglot.train.metrics import read_metrics
from diglot.train.objectives import MicroBatch, answers_of, preferences, target_log_probabilities
from diglot.train.preference import Answers, divergences, pair_losses

# TRL's loss types and weights; aot and sft are means over a batch, so they are of one pair.
KINDS: dict[str, tuple[list[str], list[float], dict[str, Any], int]] = {
    "sigmoid": (["sigmoid"], [1.0], {}, 3),
    "hinge": (["hinge"], [1.0], {"loss": "hinge"}, 3),
    "robust": (["robust"], [1.0], {"loss": "robust", "label_smoothing": 0.2}, 3),
    "ipo": (["ipo"], [1.0], {"loss": "ipo", "length_normalized": True}, 3),
    "normalized": (["sigmoid_norm"], [1.0], {"length_normalized": True}, 3),
    "smoothed": (["aot"], [1.0], {"label_smoothing": 0.2}, 1),
    "with sft": (["sigmoid", "sft"], [1.0, 0.7], {"sft_weight": 0.7}, 1),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model and a reference that differs from it everywhere."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("model", "reference"):
        save_tokenizer(folder / name)
        save_model(folder / name)
    reference = AutoModelForCausalLM.from_pretrained(folder / "reference")
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for parameter in reference.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    reference.save_pretrained(folder / "reference")
    return folder / "model", folder / "reference"


def pairs(number: int) -> list[tuple[list[int], int]]:
    """Ids of chosen, rejected, chosen, … and where each answer begins."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(number):
        prompt = random.integers(4, 200, random.integers(3, 9)).tolist()
        found += [(prompt + random.integers(4, 200, random.integers(2, 12)).tolist(), len(prompt)) for _ in range(2)]
    return found


@pytest.fixture(scope="module")
def trainer(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl")
    model, reference = (AutoModelForCausalLM.from_pretrained(folder) for folder in folders)
    record = {"prompt": "What?", "chosen": ENGLISH[0], "rejected": ENGLISH[1]}
    given = trl.DPOConfig(
        output_dir=str(tmp_path_factory.mktemp("trl")), report_to=[], use_cpu=True, bf16=False, disable_dropout=True,
        gradient_checkpointing=False,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(folders[0])
    return trl.DPOTrainer(
        model, reference, given, train_dataset=datasets.Dataset.from_list([record]), processing_class=tokenizer
    )


def theirs(trainer: Any, kind: str, beta: float) -> tuple[float, dict[str, torch.Tensor]]:
    """TRL's loss and gradients: chosen ones first, then the rejected, padded."""
    types, weights, given, number = KINDS[kind]
    trainer.loss_types, trainer.loss_weights, trainer.beta = types, weights, beta
    trainer.label_smoothing = given.get("label_smoothing", 0.0)
    answers = pairs(number)
    rows = answers[0::2] + answers[1::2]
    width = max(len(ids) for ids, _ in rows)
    batch = {
        "input_ids": torch.tensor([ids + [3] * (width - len(ids)) for ids, _ in rows]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows]),
        "completion_mask": torch.tensor(
            [[0] * begin + [1] * (len(ids) - begin) + [0] * (width - len(ids)) for ids, begin in rows]
        ),
    }
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return float(loss.detach()), {name: each.grad.clone() for name, each in trainer.model.named_parameters()}


def packed(number: int, reference: Path | None = None) -> MicroBatch:
    """The same pairs, all in one row."""
    answers = pairs(number)
    ids = torch.tensor([id_ for ids, _ in answers for id_ in ids])[None]
    targets = torch.tensor(
        [following if place + 1 >= begin else -100 for ids, begin in answers
         for place, following in enumerate([*ids[1:], -100])]
    )[None]  # fmt: skip
    positions = torch.tensor([place for ids, _ in answers for place in range(len(ids))])[None]
    documents = torch.tensor([number for number, (ids, _) in enumerate(answers) for _ in ids], dtype=torch.int32)[None]
    micro = MicroBatch(ids, targets, positions, documents, torch.zeros(1, dtype=torch.int32))
    if reference is not None:
        with torch.no_grad():
            micro.reference_BT = target_log_probabilities(load_decoder(reference), micro)
    return micro


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_those_of_trl(trainer: Any, folders: tuple[Path, Path], kind: str) -> None:
    number = KINDS[kind][3]
    wanted, gradients = theirs(trainer, kind, 0.3)
    decoder = load_decoder(folders[0])
    outcome = preferences(decoder, Preference(beta=0.3, **KINDS[kind][2]), packed(number, folders[1]), 1)
    (outcome.loss / number).backward()
    assert float(outcome.loss.detach()) / number == pytest.approx(wanted, abs=1e-5)
    ours = family_of(decoder.config).from_huggingface(gradients)
    largest = max(float(gradient.abs().max()) for gradient in ours.values())
    assert largest > 1e-3
    for name, parameter in decoder.named_parameters():
        torch.testing.assert_close(parameter.grad, ours[name], atol=1e-5 * max(1.0, largest), rtol=0)


def test_losses_of_different_kinds_differ(folders: tuple[Path, Path]) -> None:
    decoder, micro = load_decoder(folders[0]), packed(3, folders[1])
    kinds = [given for _, _, given, _ in KINDS.values()] + [{"kl_weight": 1.0}, {"loss": "ipo"}]
    found = [float(preferences(decoder, Preference(beta=0.3, **given), micro, 1).loss.detach()) for given in kinds]
    assert len({round(loss, 4) for loss in found}) == len(kinds)


def test_ipo_of_sums_and_the_penalty_are_their_formulas(folders: tuple[Path, Path]) -> None:
    decoder, micro = load_decoder(folders[0]), packed(3, folders[1])
    answers = answers_of(decoder, micro)
    gains_T = (target_log_probabilities(decoder, micro) - micro.reference_BT)[0]
    by_answer = [gains_T[(micro.documents_BT[0] == k) & (micro.targets_BT[0] != -100)] for k in range(6)]
    margins = torch.stack([a.sum() - b.sum() for a, b in zip(by_answer[0::2], by_answer[1::2])])
    found = pair_losses(answers, Preference(loss="ipo", beta=0.5), 0.0)
    torch.testing.assert_close(found, (margins - 1).square(), atol=1e-4, rtol=1e-5)
    kl = torch.stack([torch.cat(both).square().mean() / 2 for both in zip(by_answer[0::2], by_answer[1::2])])
    torch.testing.assert_close(divergences(answers), kl, atol=1e-6, rtol=1e-5)
    plain, penal = (pair_losses(answers, Preference(beta=0.5, kl_weight=weight), 0.0) for weight in (0.0, 2.0))
    torch.testing.assert_close(penal - plain, 2 * kl, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(plain, -F.logsigmoid(0.5 * margins), atol=1e-5, rtol=1e-5)


def test_k2_is_the_kl_of_what_the_model_draws() -> None:
    """A model near its reference, with tokens of its own drawing: the mean of ½ · gain² comes to the exact KL."""
    generator = torch.Generator().manual_seed(0)
    logits_V = torch.randn(50, generator=generator)
    model_V = (logits_V + 0.1 * torch.randn(50, generator=generator)).log_softmax(0)
    gains_V = model_V - logits_V.log_softmax(0)
    exact = float((model_V.exp() * gains_V).sum())
    drawn_N = torch.multinomial(model_V.exp(), 200_000, replacement=True, generator=generator)
    halves = gains_V[drawn_N].view(2, -1)
    number_K = torch.full((2,), float(halves.shape[1]))
    answers = Answers(number_K, halves.sum(1), halves.square().sum(1), number_K, torch.zeros(2))
    assert exact > 1e-3
    assert float(divergences(answers)[0]) == pytest.approx(exact, rel=0.05)


def test_beta_and_the_penalty_go_evenly_to_their_ends(inputs: Inputs, tmp_path: Path) -> None:
    given = Preference(beta=0.2, final_beta=0.05, kl_weight=0.0, final_kl_weight=1.0)
    assert [given.beta_at(done) for done in (0.0, 0.5, 1.0)] == pytest.approx([0.2, 0.125, 0.05])
    assert [given.kl_weight_at(done) for done in (0.0, 0.5, 1.0)] == pytest.approx([0.0, 0.5, 1.0])
    output = train(inputs, tmp_path, settings(objective="dpo", preference=given, steps=5, phases=[Phase(name="a")]))
    lines = [line for line in read_metrics(output / "logs" / "metrics.jsonl") if line["type"] == "step"]
    for number, line in enumerate(lines[1:], 1):  # at the first nothing has moved yet
        found = line["preferences"]["pairs"]
        beta = 0.2 - 0.15 * number / 4
        assert found["chosen_reward"] - found["rejected_reward"] == pytest.approx(beta * found["margin"], abs=2e-5)


def test_a_longer_run_goes_on_unless_its_weights_depend_on_the_steps() -> None:
    given = {"objective": "dpo", "phases": [Phase(name="a")]}
    for preference, goes_on in ((Preference(), True), (Preference(final_beta=0.2), False)):
        shorter, longer = (settings(steps=steps, preference=preference, **given) for steps in (4, 8))
        assert longer.goes_on_from(shorter.semantic()) is goes_on


FAR = {
    "objective": "dpo", "steps": 6, "batch_size": 4, "sequence_length": 160, "evaluate_tokens": 2000, "evaluate_every": 2,
    "learning_rate": 5e-3, "phases": [Phase(name="a")],
}  # fmt: skip


def test_a_model_that_goes_too_far_is_said_once_or_stopped(inputs: Inputs, tmp_path: Path) -> None:
    said: list[str] = []
    context = Context("dpo", 0, tmp_path / "warn", say=said.append, workers=1)
    (tmp_path / "out").mkdir()
    (tmp_path / "warn").mkdir()
    summary = loop.run(settings(**FAR, preference=Preference(kl_limit=1e-4)), inputs, tmp_path / "out", context)
    warnings = [text for text in said if text.startswith("warning: dpo: step 2: en has moved")]
    assert len(warnings) == len([text for text in said if "has moved" in text]) == 1
    assert summary is not None
    assert summary.beyond_limit == ["en"]
    assert "further from its reference" in summary.warnings()[0]
    stop = Preference(kl_limit=1e-4, beyond_limit="stop")
    with pytest.raises(UserError, match=r"step 2: en has moved .* nats per token .* the limit is 0.0001"):
        train(inputs, tmp_path / "stop", settings(**FAR, preference=stop))
    within = Preference(kl_limit=1e6, beyond_limit="stop")
    train(inputs, tmp_path / "within", settings(**FAR, preference=within))


def test_a_distance_that_is_not_finite_is_beyond_every_limit() -> None:
    found = {"languages": {}, "preferences": {"en": {"kl": None}}, "sources": {"pairs": {"accuracy": 0.5, "kl": None}}}
    assert "infinitely many nats" in beyond_limit(found, Preference(kl_limit=1e6))["en"]
    assert in_words(found) == "pairs 50.0% right, KL infinitely many"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "sft", "preference": Preference(beta=0.2)}, "preference would do nothing"),
        ({"preference": {"loss": "hinge", "label_smoothing": 0.1}}, "label_smoothing would do nothing"),
        ({"preference": {"loss": "robust"}}, "robust without label_smoothing is sigmoid"),
        ({"preference": {"beyond_limit": "stop"}}, "give kl_limit"),
    ],
)
def test_what_would_do_nothing_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(**{"objective": "dpo", **changes})
