"""One card: settings from the fullest to the leanest, the advice, and that what it says to type does what it says."""

import json
import shlex

import pytest
import torch
import yaml
from click.testing import CliRunner
from plan_recipes import new_model, train

from diglot.base.devices import DEVICES, GIB, device_called, parse_cluster
from diglot.cli import cli
from diglot.flow import graph
from diglot.load import load_recipe
from diglot.model.families import config_json
from diglot.model.presets import PRESETS, shape
from diglot.plan.command import plan
from diglot.plan.ladder import RUNGS, WAYS, choice
from diglot.recipe.model import Shape

# Llama-3.2-1B: 1,235,814,400 parameters.
LLAMA_1B = shape(
    "llama-3-8b",
    128_256,
    Shape(num_layers=16, hidden_size=2048, intermediate_size=8192, num_heads=32, num_key_value_heads=8),
)
CONFIGS = {"llama-3.2-1b": LLAMA_1B, "llama-2-7b": PRESETS["llama-2-7b"]}


@pytest.fixture
def planned(tmp_path):
    """Plans a model that is imported and trained on one card; more overrides may come."""

    def make(model: str, card: str, *overrides: str, **changes):
        folder = tmp_path / model
        folder.mkdir(exist_ok=True)
        tied = {"tie_word_embeddings": model == "llama-3.2-1b"}
        (folder / "config.json").write_text(json.dumps(config_json(CONFIGS[model], torch.float32) | tied))
        stages = {"base": {"do": "import-model", "path": str(folder)}}
        stages |= {name: made for name, made in new_model("tiny", 32_000).items() if name != "init"}
        stages["trunk"] = train("base", "tokens", **{"micro_batch_size": 1, **changes})
        file = tmp_path / "recipe.yaml"
        file.write_text(yaml.safe_dump({"name": "one-card", "stages": stages}))
        recipe, where = load_recipe(file, list(overrides))
        return file, plan(recipe, graph(recipe, where), where, parse_cluster(card))

    return make


def changes(found):
    """Of the advice, but for what changes nothing but time."""
    chosen = choice(found.ladders["trunk"])
    return {name: value for name, value in chosen.changes.items() if name not in WAYS["and micro-batch 1"]}


def test_a_1b_in_full_within_24_gb(planned):
    _, found = planned("llama-3.2-1b", "4090")
    assert sum(found.stages[0].parameters[part] for part in ("embedding", "layers", "norm")) == 1_235_814_400
    chosen = choice(found.ladders["trunk"])
    assert RUNGS[chosen.rung]["adapter"] is None
    assert not RUNGS[chosen.rung]["offload"]
    assert chosen.memory.total < 24 * GIB


def test_a_7b_with_an_adapter_within_24_gb(planned):
    _, found = planned("llama-2-7b", "3090")
    assert changes(found) == {"adapter": {"rank": 64}, "weights": "bfloat16"}


def test_a_7b_in_full_on_one_card_of_80_gb(planned):
    for card in ("a100-80", "h100"):
        _, found = planned("llama-2-7b", card)
        assert changes(found) == {"weights": "bfloat16", "moments": "8-bit"}


def test_four_bits_are_for_what_else_would_not_fit(planned):
    _, found = planned("llama-2-7b", "t4")
    assert changes(found) == {"adapter": {"rank": 64}, "weights": "nf4"}


@pytest.mark.parametrize(("model", "card"), [("llama-2-7b", "4090"), ("llama-2-7b", "a100-80"), ("llama-3.2-1b", "l4")])
def test_what_the_advice_says_to_type_fits_as_it_says(planned, model, card):
    file, found = planned(model, card)
    chosen = choice(found.ladders["trunk"])
    typed = shlex.split(found.as_json()["one_card"]["trunk"]["advice"].partition(": ")[2])
    _, again = planned(model, card, *typed)
    assert again.stages[0].fits
    assert again.stages[0].memory == chosen.memory
    first = again.ladders["trunk"]
    assert choice(first).changes.keys() <= {"adapter", "weights", "moments", "activation_checkpointing"}
    done = CliRunner().invoke(cli, ["plan", str(file), "--cluster", card])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "on one card of" in said
    assert " ".join(typed[:1]).replace("{", "'{").replace("}", "}'") in said


def test_each_rung_takes_less_than_the_one_above(planned):
    _, found = planned("llama-2-7b", "h100")
    totals = {(each.rung, each.way): each.memory.total for each in found.ladders["trunk"]}
    for way in WAYS:
        of_rungs = [totals[rung, way] for rung in RUNGS]
        assert of_rungs == sorted(of_rungs, reverse=True)
    for rung in RUNGS:
        of_ways = [totals[rung, way] for way in WAYS]
        assert of_ways == sorted(of_ways, reverse=True)
    away = found.ladders["trunk"][-1].memory
    assert away.offloaded >= 16 * found.stages[0].parameters["total"]
    assert away.categories["weights"] == away.categories["optimizer"] == 0


def test_what_a_stage_refuses_is_left_out_with_the_reason(planned):
    _, found = planned("llama-3.2-1b", "h100", optimizer="muon")
    refused = {each.rung: each.refused for each in found.ladders["trunk"] if each.refused}
    assert set(refused) == {rung for rung in RUNGS if not rung.startswith("in full") or "8 bits" in rung}
    assert all("Muon was not tried" in reason for reason in refused.values())


def test_an_adapter_that_is_asked_for_is_kept(planned):
    _, found = planned("llama-2-7b", "4090", adapter={"rank": 8, "targets": "attention"})
    chosen = choice(found.ladders["trunk"])
    assert "adapter" not in chosen.changes
    assert "weights" in chosen.changes


def test_no_ladder_where_there_are_several_cards(planned):
    _, found = planned("llama-2-7b", "h100:8")
    assert found.ladders == {}
    assert found.as_json()["one_card"] == {}


@pytest.mark.parametrize("short", ["3090", "4090", "5090"])
def test_cards_have_short_names(short):
    assert parse_cluster(short) == parse_cluster(f"rtx-{short}")
    assert parse_cluster(f"{short}:2").devices == 2


@pytest.mark.parametrize(
    ("title", "gigabytes", "name"),
    [("Tesla T4", 16, "t4"), ("NVIDIA L4", 24, "l4"), ("NVIDIA L40S", 48, "l40s"), ("NVIDIA A10", 24, "a10"),
     ("NVIDIA A100-SXM4-40GB", 40, "a100-40"), ("NVIDIA GeForce RTX 3090", 24, "rtx-3090"), ("NVIDIA H100 80GB HBM3", 80, "h100")],
)  # fmt: skip
def test_cards_are_known_by_cudas_titles(title, gigabytes, name):
    assert device_called(title, gigabytes * GIB) == DEVICES[name]
