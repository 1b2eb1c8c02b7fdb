"""The plan of a recipe: shapes from settings alone, published runs met, verdicts that hold, and the command."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from foreign_models import foreign_model, save_foreign
from plan_recipes import CORPUS, expand, extended, polylm, train

from diglot.base.devices import DEVICES, GIB, parse_cluster
from diglot.base.errors import UserError
from diglot.cli import cli
from diglot.flow import graph
from diglot.load import Where, load_recipe
from diglot.model.decoder import LayerAttention
from diglot.model.families import config_json
from diglot.model.flops import flops_per_token
from diglot.model.presets import PRESETS
from diglot.plan.command import plan as whole_plan
from diglot.plan.estimate import Assumptions, plan_recipe
from diglot.plan.follow import follow
from diglot.plan.memory import memory

RECIPES = Path(__file__).resolve().parent.parent.parent / "recipes"


@pytest.fixture
def read(tmp_path):
    """Writes a recipe and reads it back: the recipe, its graph and its places."""

    def write_and_read(value: dict, *overrides: str):
        file = tmp_path / "recipe.yaml"
        file.write_text(yaml.safe_dump(value, sort_keys=False))
        recipe, where = load_recipe(file, list(overrides))
        return recipe, graph(recipe, where), where

    return write_and_read


# --- clusters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "nodes", "count"),
    [("h100", "h100", 1, 1), ("h200:8", "h200", 1, 8), ("a100-80:32x8", "a100-80", 32, 8), ("CPU:2", "cpu", 1, 2)],
)  # fmt: skip
def test_clusters_are_read(text, name, nodes, count):
    cluster = parse_cluster(text)
    assert (cluster.device.name, cluster.nodes, cluster.devices_per_node) == (name, nodes, count)
    assert cluster.devices == nodes * count


@pytest.mark.parametrize(
    ("text", "says"),
    [("h10:8", "did you mean 'h100'"), ("h100:8x", "NODESxCOUNT"), ("h100:0", "at least one"), ("", "NODESxCOUNT"), ("tpu", "devices: a100-40")],
)  # fmt: skip
def test_clusters_are_refused(text, says):
    with pytest.raises(UserError, match=says):
        parse_cluster(text)


def test_devices_say_where_their_figures_come_from():
    for device in DEVICES.values():
        assert len(device.source) > 20 < len(device.mfu_source)
        assert 0.2 < device.mfu < 0.65
        assert device.float32 < device.bfloat16 or "no bfloat16" in device.title
        assert device.bandwidth < device.bfloat16


# --- against published runs -----------------------------------------------------------------------------------


def test_polylms_days_follow_from_its_throughput(read):
    """PolyLM 3.3: 13B, 256 A100, about 1,170 tokens/s/GPU, 640B tokens in "approximately 29 days".

    Its own throughput gives 24.7 days. The 4.3 days between are 15% of the time: 29 days mean 998 tokens/s a GPU on
    average, restarts, checkpoints and evaluation included (it took two months with all loss spikes).
    """
    cluster = parse_cluster("a100-80:32x8")
    plan = plan_recipe(*read(polylm(parallel={"tensor": 8})), cluster, Assumptions(tokens_per_second=1170, price=2.0))[
        0
    ]
    assert plan.tokens == pytest.approx(640e9, rel=1e-5)
    assert plan.days == pytest.approx(640e9 / (256 * 1170) / 86_400, rel=1e-4) == pytest.approx(24.73, abs=0.01)
    assert plan.days / 29 == pytest.approx(0.853, abs=0.002)
    assert plan.flops_per_token == 6 * (13_906_790_400 - 2048 * 5120) + 12 * 40 * 5120 * 2048
    assert plan.mfu == pytest.approx(0.331, abs=0.001)
    assert plan.device_hours == pytest.approx(plan.days * 24 * 256)
    assert plan.cost == pytest.approx(2 * plan.device_hours)
    assert plan.energy_kwh == pytest.approx(plan.device_hours * 0.4 * 1.2)
    assert plan.fits


def test_a_window_counts_twice_the_tokens_that_are_seen():
    config = replace(PRESETS["tiny"], num_layers=2, layer_attention=(LayerAttention(window=100), LayerAttention()))
    plain = replace(config, layer_attention=())
    for length in (64, 100):  # within the window
        assert flops_per_token(config, length) == flops_per_token(plain, length)
    seen = (
        sum(min(place + 0.5, 100) for place in range(512)) / 512
    )  # half of a token's own product, as without a window
    saved = flops_per_token(plain, 512) - flops_per_token(config, 512)
    assert saved == pytest.approx(12 * config.num_heads * config.head_size * (512 - 2 * seen), rel=0.01)


def test_torchtitans_mfu_is_met():
    """Its table's 5,762 and 6,667 tokens/s/GPU are "33% to 39% MFU" in its own words; its formula is ours."""
    config = PRESETS["llama-3.1-8b"]
    per_token = flops_per_token(config, 8192)
    theirs = 6 * (8_030_261_248 - 128_256 * 4096) + 12 * 32 * 32 * 128 * 8192
    assert per_token == theirs
    peak = DEVICES["h100"].bfloat16
    assert 5762 * per_token / peak == pytest.approx(0.337, abs=0.001)
    assert 6667 * per_token / peak == pytest.approx(DEVICES["h100"].mfu, abs=0.001)


def test_given_mfu_and_given_throughput_agree(read):
    cluster, recipe = parse_cluster("h100:4x8"), read(polylm())
    by_mfu = plan_recipe(*recipe, cluster, assumptions=Assumptions(mfu=0.4))[0]
    speed = by_mfu.tokens_per_second
    assert speed == pytest.approx(0.4 * 989e12 / by_mfu.flops_per_token)
    by_speed = plan_recipe(*recipe, cluster, assumptions=Assumptions(tokens_per_second=speed))[0]
    assert (by_speed.mfu, by_speed.days) == (pytest.approx(0.4), pytest.approx(by_mfu.days))


def test_dpo_costs_a_pass_more_and_holds_no_second_model(read):
    recipe = polylm(objective="dpo")
    dpo = plan_recipe(*read(recipe), parse_cluster("h100:4x8"))[0]
    lm = plan_recipe(*read(polylm()), parse_cluster("h100:4x8"))[0]
    assert dpo.flops == pytest.approx(lm.flops * 4 / 3)
    assert dpo.memory == lm.memory


# --- following a recipe ---------------------------------------------------------------------------------------


def test_shapes_are_followed_through_every_kind_of_stage(read, tmp_path):
    folder = tmp_path / "llama"
    folder.mkdir()
    config = replace(PRESETS["tiny"], vocabulary_size=1000)
    (folder / "config.json").write_text(json.dumps(config_json(config, dtype="float32")))
    known = follow(
        *read(
            {
                "name": "r",
                "stages": {
                    **extended(str(folder)),
                    "expanded": expand(pad_vocabulary_to=64),
                    "one": train("expanded", "tokens", exports=[50]),
                    "two": train("one@50", "tokens"),
                    "merged": {"do": "merge", "from": ["one", "two"]},
                    "sft": train("merged", "tokens", objective="sft"),
                },
            }
        )
    )
    assert known["base"].config == config
    assert known["longer"].entries == 1500
    assert known["sft"].config == replace(config, vocabulary_size=1536, num_layers=5)
    assert known["sft"].origin.endswith("1,000 → 1,536 rows, 2 new layers")
    assert any("adds its 500 new_tokens" in note for note in known["sft"].assumed)
    assert "corpus" not in known
    assert "tokens" not in known


@pytest.mark.parametrize(("kind", "said"), [("gemma2", "parameters$"), ("mixtral", "a token passes 57,952 of them")])
def test_another_familys_model_is_planned_as_a_llama_of_its_size(kind, said, read, tmp_path):
    folder = save_foreign(kind, tmp_path / kind, max_position_embeddings=64)
    stages = {
        "corpus": CORPUS,
        "base": {"do": "import-model", "path": str(folder)},
        "tokens": {"do": "encode", "from": {"tokenizer": "base", "corpus": "corpus"}},
        "trained": train("base", "tokens", sequence_length=64),
    }
    plan = plan_recipe(*read({"name": "r", "stages": stages}), parse_cluster("h100:1x1"))[0]
    true = sum(parameter.numel() for parameter in foreign_model(kind).parameters())
    # A unit of the feed-forward layers' width is 3 layers × 3 × 32 numbers.
    assert plan.parameters["total"] == pytest.approx(true, abs=2 * 3 * 3 * 32)
    assert any(f"its {true:,} parameters" in note and re.search(said, note) for note in plan.notes)


def test_what_another_familys_training_refuses_its_plan_refuses_too(read, tmp_path):
    folder = save_foreign("gemma2", tmp_path / "gemma2", max_position_embeddings=64)
    stages = extended(str(folder)) | {"expanded": expand(new_layers=0)}
    stages["trained"] = train("expanded", "tokens", sequence_length=64)
    found = whole_plan(*read({"name": "r", "stages": stages}), parse_cluster("h100"))
    four_bits = [each for each in found.ladders["trained"] if each.changes.get("weights") == "nf4"]
    assert four_bits
    assert all("weights: nf4: not for models of the family gemma2" in each.refused for each in four_bits)
    assert not any(each.refused for each in found.ladders["trained"] if each not in four_bits)
    stages["trained"]["optimizer"] = "muon"
    with pytest.raises(UserError, match="optimizer: muon: not for models of the family gemma2"):
        whole_plan(*read({"name": "r", "stages": stages}), parse_cluster("h100"))


def test_four_bits_are_planned_for_one_device(read):
    value = polylm("llama-2-7b", adapter={"rank": 64}, weights="nf4", sequence_length=4096, micro_batch_size=32)
    with pytest.raises(UserError, match="weights: nf4 is for one device"):
        plan_recipe(*read(value), parse_cluster("h100:2"))
    verdict = plan_recipe(*read(value), parse_cluster("t4"))[0].verdict
    assert "does not fit" in verdict
    assert "devices" not in verdict


def test_an_adapter_is_never_cut(read):
    value = polylm(adapter={"rank": 64}, weights="bfloat16")
    verdict = plan_recipe(*read(value), parse_cluster("t4"))[0].verdict
    assert "smallest sharding that fits" in verdict
    assert "tensor parallel 1)" in verdict


def test_layers_that_differ_are_planned(read, tmp_path):
    """OLMo 3: new layers among its own, and norms that tensor parallel cannot cut, as training refuses it."""
    window = LayerAttention(window=64)
    config = replace(
        PRESETS["tiny"],
        num_layers=2,
        norm_placement="after",
        query_key_norm="projection",
        layer_attention=(window, LayerAttention()),
    )
    (tmp_path / "olmo").mkdir()
    (tmp_path / "olmo" / "config.json").write_text(json.dumps(config_json(config, dtype="float32")))
    stages = extended(str(tmp_path / "olmo")) | {"expanded": expand(), "trained": train("expanded", "tokens")}
    known = follow(*read({"name": "r", "stages": stages}))
    assert known["base"].config == config
    expected = (window, window, LayerAttention(), LayerAttention())
    assert known["trained"].config.layer_attention == expected
    assert plan_recipe(*read({"name": "r", "stages": stages}), parse_cluster("h100:2"))[0].flops_per_token > 0
    stages["trained"]["parallel"] = {"tensor": 2}
    with pytest.raises(UserError, match=r"parallel\.tensor is 2: .*OLMo 2 and 3"):
        plan_recipe(*read({"name": "r", "stages": stages}), parse_cluster("h100:2"))


def test_a_new_model_has_a_row_for_each_entry(read):
    value = polylm("tiny")
    value["stages"]["init"] |= {"pad_vocabulary_to": 1000, "shape": {"num_layers": 5}}
    value["stages"]["tokenizer"]["vocabulary_size"] = 4100
    known = follow(*read(value))
    assert (known["init"].config.vocabulary_size, known["init"].config.num_layers) == (5000, 5)
    assert known["init"].origin == "tiny, changed"


def test_what_only_the_text_decides_is_said(read):
    value = polylm("tiny")
    value["stages"]["longer"] = {
        "do": "extend-tokenizer",
        "from": {"tokenizer": "tokenizer", "corpus": "corpus"},
        "languages": ["ar"],
        "minimum_gain": 0.01,
    }
    known = follow(*read(value))["longer"]
    assert known.entries == 512_000
    assert "minimum_gain decides when text is read" in known.assumed[-1]


@pytest.mark.parametrize("recipe", ["quickstart.yaml", "arabic.yaml"])
def test_our_recipes_are_planned(recipe):
    loaded, where = load_recipe(RECIPES / recipe)
    plans = plan_recipe(loaded, graph(loaded, where), where, parse_cluster("cpu:2"))
    assert {"base", "trunk", "sft", "dpo"} <= {plan.name for plan in plans}
    for plan in plans:
        stage = loaded.stages[plan.name]
        runs = len(getattr(stage, "learning_rates", [1]))
        assert plan.tokens == runs * stage.steps * stage.batch_size * stage.sequence_length
        assert plan.fits
        assert not plan.execution.sharded
    base, trunk = plans[0], next(plan for plan in plans if plan.name == "trunk")
    assert trunk.config.vocabulary_size > base.config.vocabulary_size


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pretrain": {"sequence_length": 4096}}, "sequence_length is 4096, but the model has 2048 positions"),
        ({"init": {"do": "import-model", "path": "no/where"}}, "downloads nothing"),
        ({"init": {"do": "import-model", "path": "./nowhere"}}, "neither a folder nor"),
        ({"pretrain": None}, "there is nothing to plan"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_refused(read, change, says):
    value = polylm()
    for name, settings in change.items():
        if settings is None:
            del value["stages"][name]
        elif "do" in settings:
            value["stages"][name] = settings
        else:
            value["stages"][name] |= settings
    recipe, reads, where = read(value)
    with pytest.raises(UserError, match=says) as refused:
        plan_recipe(recipe, reads, where, parse_cluster("h100:8"))
    if "nothing to plan" not in says:
        assert "recipe.yaml:" in str(refused.value)


@pytest.mark.parametrize(("cut", "says"), [(3, "8 devices cannot"), (16, "8 devices cannot")])
def test_cuts_that_cannot_be_are_refused(read, cut, says):
    with pytest.raises(UserError, match=says):
        plan_recipe(*read(polylm(parallel={"tensor": cut})), parse_cluster("h100:8"))
    with pytest.raises(UserError, match="num_key_value_heads"):
        plan_recipe(*read(polylm("tiny", parallel={"tensor": 4})), parse_cluster("h100:8"))


def test_context_parallel_is_planned_as_the_recipe_has_it(read):
    """Long rows over four devices: fewer rows at a time, less memory, and as many devices hold the weights."""
    long = {"sequence_length": 2048, "batch_size": 64, "micro_batch_size": 1}
    whole = plan_recipe(*read(polylm(**long)), parse_cluster("h100:8"))[0]
    cut = plan_recipe(*read(polylm(**long, parallel={"context": 4})), parse_cluster("h100:8"))[0]
    assert (cut.execution.data_parallel, cut.execution.ranks) == (2, 8)
    for name in ("weights", "optimizer"):
        assert cut.memory.categories[name] == whole.memory.categories[name]
    assert cut.memory.categories["activations"] < 0.45 * whole.memory.categories["activations"]
    with pytest.raises(UserError, match=r"parallel\.context is 4 .*: 6 devices, .* cannot be divided"):
        plan_recipe(*read(polylm(**long, parallel={"context": 4})), parse_cluster("h100:6"))


def test_replicas_hold_all_shards_each(read):
    """Two copies over 8 devices hold what one copy over 4 does."""
    shape = {"batch_size": 64, "micro_batch_size": 1}
    copies = plan_recipe(*read(polylm(**shape, parallel={"replicas": 2})), parse_cluster("h100:8"))[0]
    one = plan_recipe(*read(polylm(**shape)), parse_cluster("h100:4"))[0]
    assert copies.execution.data_parallel == 8
    for name in ("weights", "optimizer"):
        assert copies.memory.categories[name] == one.memory.categories[name]
    with pytest.raises(UserError, match=r"parallel\.replicas 3: 8 devices"):
        plan_recipe(*read(polylm(**shape, parallel={"replicas": 3})), parse_cluster("h100:8"))


def test_a_sweep_is_planned_as_its_runs(read):
    value = polylm()
    value["stages"]["pretrain"] |= {"do": "sweep", "learning_rates": [1e-5, 3e-5, 1e-4], "steps": 100}
    plan = plan_recipe(*read(value), parse_cluster("h100:8"))[0]
    assert plan.tokens == 3 * 100 * 2048 * 2048


# --- verdicts -------------------------------------------------------------------------------------------------


def test_a_verdict_says_what_would_fit(read):
    cluster = parse_cluster("h100:8")
    plan = plan_recipe(*read(polylm(micro_batch_size=16)), cluster)[0]
    assert not plan.fits
    assert plan.verdict.startswith("does not fit: ")
    assert "fits with micro_batch_size=2 (" in plan.verdict
    assert "fits with activation_checkpointing=true (" in plan.verdict
    for size, fits in ((2, True), (4, False)):
        changed = plan_recipe(*read(polylm(micro_batch_size=size)), cluster)[0]
        assert changed.fits == fits
    changed = plan_recipe(*read(polylm(micro_batch_size=16, activation_checkpointing=True)), cluster)[0]
    assert changed.fits
    assert changed.memory == plan.other_memory
    assert changed.other_memory == plan.memory


def test_the_smallest_sharding_is_the_smallest(read):
    cluster = parse_cluster("a100-40:2")
    plan = plan_recipe(*read(polylm()), cluster)[0]
    assert "smallest sharding that fits: 8 devices (data parallel 2 × tensor parallel 4)" in plan.verdict
    fitting = replace(plan.execution, data_parallel=2, tensor_parallel=4)
    assert memory(plan.config, fitting).total < plan.capacity
    for ranks, cut in ((8, 1), (4, 2), (4, 1), (2, 2), (1, 4)):
        assert memory(plan.config, replace(fitting, data_parallel=ranks, tensor_parallel=cut)).total > plan.capacity


def test_what_fits_nowhere_is_said(read):
    value = polylm("llama-3.1-8b", sequence_length=4_000_000, batch_size=64)
    value["stages"]["init"]["shape"] = {"max_positions": 4_000_000}
    plan = plan_recipe(*read(value), parse_cluster("rtx-4090"))[0]
    assert "no sharding over up to 4,096 devices fits, even with activation_checkpointing=true" in plan.verdict
    value["stages"]["pretrain"]["sequence_length"] = 131_072
    plan = plan_recipe(*read(value), parse_cluster("rtx-4090"))[0]
    assert "that fits, with activation_checkpointing=true micro_batch_size=1: 32 devices" in plan.verdict


def test_idle_ranks_take_time_and_are_mentioned(read):
    few = plan_recipe(*read(polylm(batch_size=4, steps=1000)), parse_cluster("h100:8"))[0]
    enough = plan_recipe(*read(polylm(batch_size=4, steps=1000)), parse_cluster("h100:4"))[0]
    assert few.seconds == pytest.approx(enough.seconds)
    assert any("50% of their time is used" in note for note in few.notes)


def test_a_micro_batch_is_never_more_than_a_ranks_share(read):
    plan = plan_recipe(*read(polylm(batch_size=16, micro_batch_size=None)), parse_cluster("h100:8"))[0]
    assert (plan.execution.micro_batch_size, plan.execution.accumulates) == (2, False)
    plan = plan_recipe(*read(polylm(batch_size=16, micro_batch_size=1)), parse_cluster("h100:8"))[0]
    assert (plan.execution.micro_batch_size, plan.execution.accumulates) == (1, True)


# --- the command ----------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "polylm.yaml"
    path.write_text(yaml.safe_dump(polylm(), sort_keys=False))
    return path


def run(*words):
    return CliRunner().invoke(cli, ["plan", *map(str, words)], catch_exceptions=True)


def test_the_plan_is_shown_at_100_columns(file):
    done = run(
        file, "pretrain.parallel.tensor=8", "--cluster", "a100-80:32x8", "--tokens-per-second", 1170, "--price", 2
    )
    assert done.exit_code == 0, done.output
    lines = done.output.split("\n")
    assert max(map(len, lines)) <= 100
    for words in ("13,906,790,400", "24.7 days", "33.2%", "303,894", "72.9 MWh", "fits: ", "PaLM, appendix B"):
        assert words in done.output
    done = run(RECIPES / "quickstart.yaml", "--cluster", "h100:2x8")
    assert max(map(len, done.output.split("\n"))) <= 100


def test_the_plan_as_json(file):
    done = run(file, "pretrain.steps=10", "--cluster", "h100:8", "--mfu", 0.5, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    stage = found["stages"]["pretrain"]
    assert stage["tokens"] == 10 * 2048 * 2048
    assert stage["mfu"] == 0.5
    assert stage["memory"]["total"] == pytest.approx(1.15 * stage["memory"]["peak"] + GIB)
    assert found["cluster"]["devices"] == 8
    assert stage["cost"] is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--cluster", "h1000"], "no device 'h1000'"),
        (["--cluster", "h100", "--mfu", "0.4", "--tokens-per-second", "10"], "say the same thing"),
        (["pretrain.stepps=3", "--cluster", "h100"], "did you mean 'steps'"),
        (["pretrain.parallel.tensor=8", "--cluster", "h100:8", "--dry-run-ranks", "9"], "cannot be divided"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused(file, words, says):
    done = run(file, *words)
    assert isinstance(done.exception, UserError), done.output
    assert says in str(done.exception)


def test_nothing_is_written(file, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    assert run(file, "--cluster", "h100:8").exit_code == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_where_is_only_asked_for_places():
    """A plan needs no file: a recipe made in code will do."""
    from diglot.recipe import Recipe

    recipe = Recipe.model_validate(polylm())
    where = Where("made in code")
    assert plan_recipe(recipe, graph(recipe, where), where, parse_cluster("h200:8"))
