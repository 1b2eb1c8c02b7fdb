"""What `diglot data` says is what the loop reads."""

from pathlib import Path

import pytest
from tiny_run import settings, train

from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.recipe.train import Phase
from diglot.train.data import Data, data_order
from diglot.train.job import prepare
from diglot.train.metrics import read_metrics
from diglot.train.rollbacks import Rollbacks

PHASES = [
    Phase(name="a", share=0.5, mixture={"english": 0.5, "chat": 0.5}),
    Phase(name="b", share=0.5, mixture={"english": 1.0}, ramp=True, max_epochs={"chat": 2}),
]


def test_the_loop_reads_what_was_said_before(inputs: Inputs, tmp_path: Path) -> None:
    given = settings(phases=PHASES)
    (tokens,) = inputs.many("tokens")
    data = Data.open("train", given, [tokens.path], inputs.one("model").path, None, 0, Rollbacks(tmp_path / "none"))
    (tmp_path / "prepare").mkdir()
    context = Context("train", 0, tmp_path / "prepare", "print", workers=1)
    job = prepare(given, inputs.one("model").path, [tokens.path], context)
    assert job.order.fingerprint == data.order.fingerprint
    for step in range(given.steps):
        said = data.at_step(step + 1)
        read = [(*document[:2], document[2] + 1, *document[3:]) for document in job.order.documents(step)]
        assert [
            tuple(entry[key] for key in ("source", "id", "epoch", "from", "to")) for entry in said["documents"]
        ] == read
    output = train(inputs, tmp_path, given)
    steps = [line for line in read_metrics(output / "logs" / "metrics.jsonl") if line["type"] == "step"]
    for line in steps:
        said = data.at_step(line["step"])
        assert line["phase"] == said["phase"]
        assert line["packing_efficiency"] == pytest.approx(said["packing_efficiency"], abs=1e-4)
        assert set(line["losses"]) == {entry["source"] for entry in said["documents"]}


def test_the_order_is_that_of_the_settings_whatever_the_stage_is_called(inputs: Inputs, tmp_path: Path) -> None:
    (tokens,) = inputs.many("tokens")

    def order(name: str, seed: int = 0, recipe_seed: int = 0) -> str:
        context = Context(name, recipe_seed, tmp_path, "print", workers=1)
        model = inputs.one("model").path
        return prepare(settings(phases=PHASES, seed=seed), model, [tokens.path], context).order.fingerprint

    assert order("pretrain") == order("cpt")
    assert len({order("pretrain"), order("pretrain", seed=1), order("pretrain", recipe_seed=1)}) == 3


def test_a_ramp_needs_a_phase_before_it(inputs: Inputs) -> None:
    with pytest.raises(ValueError, match="phase 'a' is the first: there is no mixture to ramp from"):
        settings(phases=[Phase(name="a", ramp=True)])


def test_tokens_of_the_wrong_form_are_refused() -> None:
    with pytest.raises(UserError, match=r"objective dpo needs pairs tokens; there are: none"):
        data_order(settings(objective="dpo"), {}, 0)
