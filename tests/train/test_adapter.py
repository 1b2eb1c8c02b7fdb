"""Adapters: what they train and what stays, against peft and transformers; merged on export; resumed and cut alike."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mesh_work import run_on
from pydantic import ValidationError
from safetensors.torch import load_file
from tiny_run import artifact, losses, settings, train
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from diglot.base.artifact import Context, Inputs, content_hash
from diglot.base.errors import UserError
from diglot.model import imported, presets
from diglot.model.families import family_of
from diglot.model.huggingface import TOKENIZER_FILES, load_decoder
from diglot.model.loss import cross_entropy
from diglot.model.weights import EXPANSION
from diglot.recipe.model import ImportModel, NewModel, Shape
from diglot.recipe.train import Adapter, Phase, Train
from diglot.train import loop
from diglot.train.adapter import adapted, base_weight, four_bit, plain_parameters
from diglot.train.freezing import read_expansion
from diglot.train.job import Job, prepare
from diglot.train.objectives import answers_of, micro_batches, target_log_probabilities

PeftModel = pytest.importorskip("peft").PeftModel
SMALL = {"num_layers": 2, "hidden_size": 64, "intermediate_size": 96, "num_heads": 4}
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
NEW_ROWS = [[290, 310], [320, 328]]
IS_NEW = torch.zeros(330, dtype=torch.bool)
for start, end in NEW_ROWS:
    IS_NEW[start:end] = True
KINDS = {"lora": {"rank": 4}, "rslora": {"rank": 9, "kind": "rslora"}, "dora": {"rank": 4, "kind": "dora"}}


@pytest.fixture(scope="module")
def expanded(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """An untied model whose folder says that it has new rows."""
    folder, scratch = tmp_path_factory.mktemp("expanded") / "model", tmp_path_factory.mktemp("scratch")
    new_model = NewModel(preset="tiny", shape=Shape(tied_embeddings=False), **{"from": "tokenizer"})
    tokenizer = artifact(inputs.one("model").path, "tokenizer")
    presets.run(new_model, Inputs({"tokenizer": [tokenizer]}), folder, Context("model", 0, scratch))
    (folder / EXPANSION).write_text(json.dumps({"new_rows": NEW_ROWS, "new_layers": []}))
    return Inputs({"model": [artifact(folder, "model")], "tokens": inputs.many("tokens")})


def adapting(kind: str = "lora", **changes) -> Train:
    given = {"adapter": Adapter(**KINDS[kind]), "phases": [Phase(name="a")], "learning_rate": 1e-2}
    return settings(**{**given, **changes})


def prepared(given: Train, inputs: Inputs, folder: Path) -> Job:
    tokens = [tokens.path for tokens in inputs.many("tokens")]
    return prepare(given, inputs.one("model").path, tokens, Context("x", 0, folder, workers=1))


def logits(folder: Path, tokens_BT: torch.Tensor) -> torch.Tensor:
    decoder = load_decoder(folder)
    return decoder(tokens_BT) @ decoder.output_weight().T


def model_of(inputs: Inputs, folder: Path, preset: str, **shape) -> Inputs:
    """A model of another family, with the same tokenizer and new rows."""
    tokenizer = artifact(inputs.one("model").path, "tokenizer")
    (folder / "scratch").mkdir(parents=True)
    new = NewModel(preset=preset, shape=Shape(**SMALL, **shape), **{"from": "tokenizer"})
    presets.run(new, Inputs({"tokenizer": [tokenizer]}), folder / "model", Context("model", 0, folder / "scratch"))
    (folder / "model" / EXPANSION).write_text(json.dumps({"new_rows": NEW_ROWS, "new_layers": []}))
    return Inputs({"model": [artifact(folder / "model", "model")], "tokens": inputs.many("tokens")})


def walk(given: Train, inputs: Inputs, folder: Path) -> tuple[Job, Path]:
    """Train, and write the model: the job as it ended, and the artifact."""
    job = loop.walk(given, inputs, Context("train", 0, folder / "scratch", "print", workers=1))
    job.exports.finish(job.model, job.optimizer, folder / "out")
    return job, folder / "out"


def assert_all_answer_alike(job: Job, output: Path, base: Path, tolerance: float = 2e-5) -> None:
    """The model that was trained, as it is in memory; the merged one; and the base in transformers with peft's folder."""
    tokens_BT = torch.randint(0, 330, (3, 40))
    with torch.no_grad():
        trained = job.model(tokens_BT) @ job.model.output_weight().T
        theirs = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        before = theirs(tokens_BT).logits
        peft = PeftModel.from_pretrained(theirs, output / "adapter")(tokens_BT).logits
        merged = logits(output, tokens_BT)
        theirs_merged = AutoModelForCausalLM.from_pretrained(output, dtype=torch.float32)(tokens_BT).logits
    assert (trained - before).abs().max() > 0.1
    for found in (merged, theirs_merged, peft):
        torch.testing.assert_close(found, trained, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_the_merged_model_and_the_peft_folder_answer_as_the_trained_one(
    expanded: Inputs, tmp_path: Path, kind: str
) -> None:
    job, output = walk(adapting(kind), expanded, tmp_path)
    assert_all_answer_alike(job, output, expanded.one("model").path)


@pytest.mark.parametrize("kind", KINDS)
def test_gpt2_keeps_three_matrices_in_one(inputs: Inputs, tmp_path: Path, kind: str) -> None:
    """Their adapters become one of three times the rank; the output weight is the embedding."""
    given = model_of(inputs, tmp_path, "polylm-1.7b", num_key_value_heads=4, max_positions=64)
    job, output = walk(adapting(kind, steps=3), given, tmp_path)
    assert_all_answer_alike(job, output, given.one("model").path)


def of_transformers(inputs: Inputs, folder: Path, model_type: str, **sizes) -> Inputs:
    """A model that transformers made, with the same tokenizer and new rows, as `import-model` takes it in."""
    base = inputs.one("model").path
    config = CONFIG_MAPPING[model_type](
        vocab_size=330, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=3, **sizes
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "theirs")
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / "theirs" / name)
    (folder / "scratch").mkdir()
    model = folder / "model"
    model.mkdir()
    imported.run(ImportModel(path=str(folder / "theirs")), Inputs({}), model, Context("m", 0, folder / "scratch"))
    (model / EXPANSION).write_text(json.dumps({"new_rows": NEW_ROWS, "new_layers": []}))
    return Inputs({"model": [artifact(model, "model")], "tokens": inputs.many("tokens")})


@pytest.mark.parametrize(
    ("model_type", "sizes"),
    [("phi3", {"sliding_window": None}), ("gemma3_text", {"head_dim": 16, "sliding_window": 16}), ("cohere", {})],
)
def test_other_families(inputs: Inputs, tmp_path: Path, model_type: str, sizes: dict) -> None:
    """Phi keeps queries, keys and values in one matrix; Gemma and Cohere run as transformers' own modules."""
    given = of_transformers(inputs, tmp_path, model_type, **sizes)
    _, output = walk(adapting("dora", steps=3), given, tmp_path)
    tokens_BT = torch.randint(0, 330, (3, 40))
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(given.one("model").path, dtype=torch.float32)
        before = theirs(tokens_BT).logits
        peft = PeftModel.from_pretrained(theirs, output / "adapter")(tokens_BT).logits
        merged = AutoModelForCausalLM.from_pretrained(output, dtype=torch.float32)(tokens_BT).logits
    assert (merged - before).abs().max() > 0.05
    torch.testing.assert_close(peft, merged, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(("targets", "number"), [("attention", 4), ("feed-forward", 3), ("all", 7)])
def test_only_the_adapter_and_the_new_rows_move(expanded: Inputs, tmp_path: Path, targets: str, number: int) -> None:
    given = adapting(adapter=Adapter(rank=2, targets=targets), weight_decay=0.5)
    job, output = walk(given, expanded, tmp_path)
    base, merged = load_decoder(expanded.one("model").path), load_decoder(output)
    found = plain_parameters(job.model)
    for name, parameter in base.named_parameters():
        moved = found[name] != parameter
        if name in ("embedding.weight", "head.weight"):
            assert torch.equal(moved.any(dim=1), IS_NEW)
        else:
            assert not moved.any()
    moved = {
        name for name, parameter in base.named_parameters() if not torch.equal(merged.get_parameter(name), parameter)
    }
    assert len(moved) == number * base.config.num_layers + 2
    assert {name.partition(".")[0] for name in moved} == {"layers", "embedding", "head"}
    words = {"attention": ["attention"], "feed-forward": ["feed_forward"], "all": ["attention", "feed_forward"]}[
        targets
    ]
    assert {name.split(".")[2] for name in moved if name.startswith("layers")} == set(words)


def test_loss_and_gradients_are_pefts(expanded: Inputs, tmp_path: Path) -> None:
    """On the module of transformers, from the peft folder of a run: so both A and B have gradients."""
    job, output = walk(adapting("dora"), expanded, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(expanded.one("model").path, dtype=torch.float32)
    peft = PeftModel.from_pretrained(theirs, output / "adapter", is_trainable=True)
    tokens_BT = torch.randint(0, 330, (2, 33))
    wanted = peft(tokens_BT, labels=tokens_BT).loss
    wanted.backward()
    hidden = job.model(tokens_BT[:, :-1])
    loss, _ = cross_entropy(hidden.flatten(0, 1), job.model.output_weight(), tokens_BT[:, 1:].flatten())
    job.model.zero_grad()
    (loss / 64).backward()
    assert float(loss.detach()) / 64 == pytest.approx(float(wanted.detach()), abs=1e-5)
    ours = {name: parameter.grad for name, parameter in job.model.named_parameters() if parameter.requires_grad}
    gradients = {name: parameter.grad for name, parameter in peft.named_parameters() if "lora_" in name}
    assert len(gradients) == 7 * 3 * job.model.config.num_layers
    family = family_of(job.model.config)
    for name, parameter in gradients.items():
        module, _, part = name.removeprefix("base_model.model.").partition(".lora_")
        (own,) = family.from_huggingface({f"{module}.weight": parameter})
        mine = ours[f"{own.removesuffix('.weight')}.lora_{part}"]
        torch.testing.assert_close(mine, parameter, atol=1e-6, rtol=1e-4)


def test_it_begins_as_the_model_it_came_from(expanded: Inputs, tmp_path: Path) -> None:
    tokens_BT = torch.randint(0, 330, (2, 30))
    base = load_decoder(expanded.one("model").path)
    for kind in KINDS:
        job = prepared(adapting(kind), expanded, tmp_path / kind)
        torch.testing.assert_close(job.model(tokens_BT), base(tokens_BT), atol=1e-5, rtol=1e-5)


# --- runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{}, {"weights": "nf4", "precision": "bfloat16", "moments": "8-bit"}, {"objective": "dpo", "batch_size": 4}],
    ids=["usual", "nf4", "dpo"],
)
def test_a_killed_run_ends_as_if_it_was_not(
    expanded: Inputs, tmp_path: Path, killed_at: Callable[..., None], changes: dict
) -> None:
    phases = [Phase(name="all", share=0.5), Phase(name="rows", share=0.5, trains="new-rows")]
    given = adapting("dora", exports=[2, 4], phases=phases if not changes else [Phase(name="a")], **changes)
    whole = train(expanded, tmp_path / "whole", given)
    killed_at(4, 6)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="killed"):
            train(expanded, tmp_path / "cut", given)
    resumed = train(expanded, tmp_path / "cut", given)
    assert content_hash(resumed) == content_hash(whole)
    assert losses(resumed) == losses(whole)
    assert sorted(path.name for path in (whole / "steps" / "2").iterdir() if path.is_dir()) == ["adapter"]
    branch = Inputs({"model": [artifact(whole / "steps" / "2", "model")], "tokens": expanded.many("tokens")})
    assert len(losses(train(branch, tmp_path / "branch", adapting(steps=2, **changes)))) == 2


def test_a_checkpoint_holds_what_is_trained_alone(expanded: Inputs, tmp_path: Path) -> None:
    train(expanded, tmp_path, adapting())
    (newest,) = [path for path in (tmp_path / "scratch" / "checkpoints").glob("step-*") if path.name.endswith("6")]
    held = json.loads((newest / "index.json").read_text())
    names = {name for name in _names(held) if name.startswith("model.")}
    assert names
    assert all(".lora_" in name or name in ("model.embedding.weight", "model.head.weight") for name in names)


def _names(index: dict) -> list[str]:
    return [name for value in index.values() if isinstance(value, dict) for name in value]


def test_the_reference_of_dpo_is_the_model_without_its_adapter(expanded: Inputs, tmp_path: Path) -> None:
    """What is stored, and the gains after some steps, against a second model that lies beside it; new rows move too."""
    given = adapting("dora", objective="dpo", batch_size=4, phases=[Phase(name="a")])
    job, _ = walk(given, expanded, tmp_path)
    beside = load_decoder(expanded.one("model").path)
    (micro,) = micro_batches(job.order.batch(2), 4, job.device)
    assert micro.reference_BT is not None
    with torch.no_grad():
        reference_BT, model_BT = (target_log_probabilities(each, micro) for each in (beside, job.model))
        answers = answers_of(job.model, micro)
    # DoRA divides by the lengths of rows and multiplies by them again.
    torch.testing.assert_close(micro.reference_BT, reference_BT, atol=1e-5, rtol=1e-5)
    gain = float((model_BT - reference_BT).sum())
    assert abs(gain) > 1e-2
    assert float(answers.gain_K.sum()) == pytest.approx(gain, abs=1e-3)
    start, ended = load_decoder(expanded.one("model").path), plain_parameters(job.model)
    moved = (ended["embedding.weight"] != start.embedding.weight).any(dim=1)
    new = read_expansion(expanded.one("model").path, job.model.config).new_rows
    assert moved.any()
    assert not moved[: new[0][0]].any()


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [slice(0, 2), pytest.param(slice(2, None), marks=pytest.mark.full)])
def test_two_processes_train_as_one(expanded: Inputs, tmp_path: Path, chosen: slice) -> None:
    folders = {role: expanded.one(role).path for role in ("model", "tokens")}
    bfloat16 = {"weights": "bfloat16", "precision": "bfloat16"}
    runs = [
        {"adapter": Adapter(**KINDS["dora"])},
        {"adapter": Adapter(**KINDS["lora"]), "activation_checkpointing": True, "offload": True},
        {"adapter": Adapter(**KINDS["lora"]), "objective": "dpo", "batch_size": 4},
        {"adapter": Adapter(**KINDS["lora"])} | bfloat16,
        {"adapter": Adapter(**KINDS["lora"]), "parallel": {"context": 2}},
    ]
    runs = [{"phases": [Phase(name="a")], "learning_rate": 1e-2} | run for run in runs[chosen]]
    run_on(2, folders, tmp_path / "together", runs)
    for number, run in enumerate(runs):
        alone = train(
            expanded,
            tmp_path / str(number),
            settings(**{key: value for key, value in run.items() if key not in ("offload", "parallel")}),
        )
        together = tmp_path / "together" / str(number) / "out"
        tolerance = 0.02 if "weights" in run else 2e-4
        assert losses(together) == pytest.approx(losses(alone), abs=tolerance)
        for file in ("model.safetensors", "adapter/adapter_model.safetensors"):
            mine, theirs = load_file(alone / file), load_file(together / file)
            assert mine.keys() == theirs.keys()
            assert {name: one.dtype for name, one in mine.items()} == {name: one.dtype for name, one in theirs.items()}
        assert (alone / "adapter" / "adapter_config.json").read_text() == (
            together / "adapter" / "adapter_config.json"
        ).read_text()


# --- types ----------------------------------------------------------------------------------------------------


def test_four_bits_are_merged_into_the_weights_as_they_were(expanded: Inputs, tmp_path: Path) -> None:
    """What was trained beside coarse weights is put to the stored ones, in bfloat16."""
    given = adapting(weights="nf4", precision="bfloat16")
    job, output = walk(given, expanded, tmp_path)
    coarse = four_bit(job.model)
    # 352 columns are no multiple of 64: bitsandbytes' kernel would give other values back.
    names = {
        name for name, _ in load_decoder(expanded.one("model").path).layers.named_parameters() if "norm" not in name
    }
    assert set(coarse) == {f"layers.{name}" for name in names if not name.endswith("down.weight")}
    assert all(module.weight.dtype == torch.uint8 for module in coarse.values())
    base, merged = load_decoder(expanded.one("model").path), load_decoder(output, dtype=None)
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.bfloat16}
    for name, module in adapted(job.model).items():
        stored = base.get_parameter(f"{name}.weight").detach()
        own = stored if f"{name}.weight" in coarse else stored.bfloat16()
        wanted = (own + module.get_delta_weight("default").detach()).bfloat16()
        assert torch.equal(merged.get_parameter(f"{name}.weight"), wanted)
        share = float((base_weight(module).detach().float() - stored).norm() / stored.norm())
        assert 0.08 < share < 0.11 if f"{name}.weight" in coarse else share < 0.004
    usual = losses(train(expanded, tmp_path / "usual", adapting(precision="bfloat16")))
    assert losses(train(expanded, tmp_path / "four", given)) == pytest.approx(usual, abs=0.1)


def test_a_base_in_bfloat16_is_merged_in_bfloat16(expanded: Inputs, tmp_path: Path) -> None:
    job, output = walk(adapting(weights="bfloat16", precision="bfloat16"), expanded, tmp_path)
    types = {name: parameter.dtype for name, parameter in job.model.named_parameters()}
    assert {name for name, dtype in types.items() if dtype == torch.float32} == {
        "embedding.weight",
        "head.weight",
        *(name for name in types if ".lora_" in name),
    }
    merged = load_decoder(output, dtype=None)
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        tokens_BT = torch.randint(0, 330, (2, 30))
        with torch.autocast("cpu", torch.bfloat16):
            trained = job.model(tokens_BT).float() @ job.model.output_weight().T
        found = logits(output, tokens_BT)
    assert (trained - found).norm() / found.norm() < 0.03


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "muon"}, "adapter is for optimizer: adamw"),
        ({"compile": True}, "adapter was not tried with compile"),
        ({"float8": True, "precision": "bfloat16"}, "adapter was not tried with float8"),
        ({"parallel": {"tensor": 2}}, "adapter is for parallel.tensor 1"),
        ({"continues": "optimizer"}, "continues: optimizer has no optimizer's state"),
        ({"export_optimizer": True}, "export_optimizer is not for an adapter"),
        ({"phases": [Phase(name="a", trains="new-layers")]}, "with an adapter a phase trains all"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        adapting(**changes)


def test_multipliers_of_what_stays_are_refused(expanded: Inputs, tmp_path: Path) -> None:
    phases = [Phase(name="a", learning_rate_multipliers={"vectors": 0.5})]
    with pytest.raises(UserError, match=r"learning_rate_multipliers\.vectors would do nothing beside the adapter"):
        prepared(adapting(phases=phases), expanded, tmp_path)
    assert prepared(adapting("dora", phases=phases), expanded, tmp_path)  # its lengths are vectors


# --- a real model ---------------------------------------------------------------------------------------------


@pytest.mark.full
def test_a_real_model_takes_half_the_memory_and_answers_as_it_did(models: Path, tmp_path: Path) -> None:
    """SmolLM2-135M, as the benchmark measures it: each way in a process of its own."""
    script, data = BENCHMARKS / "peers" / "diglot_train_memory.py", str(tmp_path / "none")

    def run(*arguments: str) -> dict:
        done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, cwd=BENCHMARKS)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.strip().rpartition("\n")[2])

    run("prepare", data, str(tmp_path), str(models / "smollm2-135m"))
    given = {
        "from": {"model": "model", "tokens": "tokens"}, "steps": 2, "batch_size": 2, "micro_batch_size": 1,
        "sequence_length": 256, "learning_rate": 3e-4, "checkpoint_every": 100, "evaluate_every": 100,
    }  # fmt: skip
    bfloat16 = {"precision": "bfloat16", "weights": "bfloat16"}
    ways = [{}, {"adapter": {"rank": 16}}, {"adapter": {"rank": 16}} | bfloat16, {"moments": "8-bit"} | bfloat16]
    full, adapter, in_bfloat16, lean = (run("run", str(tmp_path), json.dumps(given | way)) for way in ways)
    assert in_bfloat16["peak_bytes"] < 0.5 * full["peak_bytes"]
    assert adapter["peak_bytes"] < 0.55 * full["peak_bytes"]
    assert lean["peak_bytes"] < 0.65 * full["peak_bytes"]
    assert adapter["difference"] < 1e-5
    assert in_bfloat16["difference"] < 0.03
    assert adapter["losses"][0] == pytest.approx(full["losses"][0], abs=1e-4)
    assert lean["losses"] == pytest.approx(full["losses"], abs=0.02)
