"""Training of families that run as transformers' module: resumed, on two processes, with an adapter, document by document."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import transformers
from foreign_models import foreign_model
from mesh_work import run_on
from rounding import drift, rounding
from tiny_run import artifact, losses, settings, train

from diglot.base.artifact import Context, Inputs, content_hash
from diglot.base.errors import UserError
from diglot.model.families import read_config
from diglot.model.imported import run as import_model
from diglot.model.weights import StoredWeights
from diglot.recipe.model import ImportModel
from diglot.recipe.train import Adapter, Parallel
from diglot.tokenizer.folder import load_tokenizer, tokenizer_size
from diglot.tokens.packing import heldout_batches
from diglot.train.foreign import check_foreign
from diglot.train.job import prepare
from diglot.train.metrics import read_metrics

STEPS = {"steps": 4, "checkpoint_every": 2, "evaluate_every": 4, "evaluate_tokens": 300}


@pytest.fixture(scope="module")
def based(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory):
    """Gives the inputs of training with an imported model of a kind."""
    made: dict[str, Inputs] = {}

    def on(kind: str, **changes) -> Inputs:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            tokenizer = inputs.one("model").path
            entries = tokenizer_size(load_tokenizer(tokenizer))
            foreign_model(kind, vocab_size=entries, **changes).save_pretrained(folder / "theirs")
            for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "diglot.json"):
                if (tokenizer / name).is_file():
                    shutil.copy(tokenizer / name, folder / "theirs" / name)
            (folder / "model").mkdir()
            stage = ImportModel(do="import-model", path=str(folder / "theirs"))
            import_model(stage, Inputs({}), folder / "model", Context("import", 0, folder))
            made[kind] = Inputs({"model": [artifact(folder / "model", "model")], "tokens": inputs.many("tokens")})
        return made[kind]

    return on


def evaluations(output: Path) -> list[dict]:
    return [line for line in read_metrics(output / "logs" / "metrics.jsonl") if line["type"] == "evaluation"]


@pytest.mark.parametrize("kind", ["gemma2", "bloom"])
def test_a_trained_model_is_to_transformers_what_its_evaluation_said(kind: str, based, tmp_path: Path) -> None:
    """Packed or document by document: the loss of held-out text, each document alone, in plain attention."""
    given, wanted = based(kind), settings(**STEPS)
    output = train(given, tmp_path, wanted)
    assert losses(output)[-1] < losses(output)[0]
    (tmp_path / "again").mkdir()
    folder = given.one("model").path
    job = prepare(
        wanted, folder, [artifact.path for artifact in given.many("tokens")], Context("x", 0, tmp_path / "again")
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(output, attn_implementation="eager")
    total, count = 0.0, 0
    for batch in heldout_batches(job.heldout["english"], wanted.tokens_an_evaluation(len(job.heldout)), 64, 8):
        tokens_BT, targets_BT, documents_BT = (
            torch.from_numpy(part) for part in (batch.tokens_BT, batch.targets_BT, batch.documents_BT)
        )
        for number in documents_BT[documents_BT >= 0].unique().tolist():
            inside = documents_BT == number
            with torch.no_grad():
                logits = model(input_ids=tokens_BT[inside][None].long(), use_cache=False).logits[0]
            targets = targets_BT[inside].long()
            total += float(F.cross_entropy(logits, targets, reduction="sum", ignore_index=-100))
            count += int((targets != -100).sum())
    said = evaluations(output)[-1]["sources"]["english"]["loss"]
    assert count > 200
    assert said == pytest.approx(total / count, abs=2e-6)


@pytest.mark.parametrize("more", [{}, {"activation_checkpointing": True, "micro_batch_size": 2}], ids=["plain", "lean"])
def test_a_resumed_run_equals_an_uninterrupted_one(more: dict, based, tmp_path: Path, killed_at) -> None:
    given, wanted = based("gpt_oss"), settings(**STEPS | more)
    whole = train(given, tmp_path / "whole", wanted)
    killed_at(4)
    with pytest.raises(RuntimeError, match="killed"):
        train(given, tmp_path / "cut", wanted)
    assert content_hash(train(given, tmp_path / "cut", wanted)) == content_hash(whole)


def test_preferences_begin_at_a_tie(based, tmp_path: Path) -> None:
    """The reference is the model itself, soft caps included: the first loss is ln 2."""
    output = train(based("gemma2"), tmp_path, settings(objective="dpo", **STEPS))
    assert losses(output)[0] == pytest.approx(math.log(2), abs=1e-6)
    assert losses(output)[-1] < losses(output)[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gemma2", pytest.param("mixtral", marks=pytest.mark.full)])
def test_two_processes_give_the_run_of_one(kind: str, based, tmp_path: Path) -> None:
    """Tied and untied; each process holds half of every parameter, also of a mixture's experts."""
    given = based(kind)
    folders = {role: given.one(role).path for role in ("model", "tokens")}
    run_on(2, folders, tmp_path / "together", [STEPS, STEPS | {"activation_checkpointing": True}])
    alone = train(given, tmp_path / "alone", settings(**STEPS))
    expected = StoredWeights(alone)
    for number in range(2):
        found = tmp_path / "together" / str(number) / "out"
        assert losses(found) == pytest.approx(losses(alone), abs=rounding(losses(alone), operations=16))
        stored = StoredWeights(found)
        assert stored.shapes().keys() == expected.shapes().keys()
        for name in stored.shapes():
            torch.testing.assert_close(
                stored.tensor(name), expected.tensor(name), atol=drift(1e-3, 4), rtol=0, msg=name
            )
        assert read_config(found) == read_config(alone)


def test_an_adapter_is_merged_and_lies_beside_the_model(based, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    given = based("gemma2")
    output = train(given, tmp_path, settings(adapter=Adapter(rank=4), **STEPS))
    assert losses(output)[-1] < losses(output)[0]
    base = transformers.AutoModelForCausalLM.from_pretrained(given.one("model").path)
    ids = torch.arange(3, 60)[None]
    with torch.no_grad():
        before = base(ids).logits
        beside = peft.PeftModel.from_pretrained(base, output / "adapter")(ids).logits
        merged = transformers.AutoModelForCausalLM.from_pretrained(output)(ids).logits
    torch.testing.assert_close(merged, beside, atol=2e-6, rtol=0)
    assert not torch.allclose(merged, before, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"float32_residual": True, "precision": "bfloat16"}, "float32_residual"),
        ({"compile": True}, "compile"),
        ({"optimizer": "muon"}, "optimizer: muon"),
        ({"float8": True, "precision": "bfloat16"}, "float8"),
        ({"weights": "nf4", "precision": "bfloat16", "adapter": Adapter(rank=4)}, "weights: nf4"),
    ],
)
def test_what_only_our_own_decoder_can_is_refused_by_name(changes: dict, named: str, based, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(f"{named}: not for models of the family gemma2")):
        train(based("gemma2"), tmp_path, settings(**STEPS | changes))


def test_meshes_that_only_our_own_decoder_can_are_refused_by_name(based) -> None:
    config = read_config(based("gemma2").one("model").path)
    for parallel, named in ((Parallel(tensor=2), "parallel.tensor"), (Parallel(context=2), "parallel.context")):
        with pytest.raises(UserError, match=f"{named}: not for models of the family gemma2"):
            check_foreign(config, settings(), parallel, 2)
    check_foreign(config, settings(), Parallel(replicas=2), 2)
    alone = read_config(based("bloom").one("model").path)
    check_foreign(alone, settings(), Parallel(), 1)
    with pytest.raises(UserError, match="bloom are run document by document"):
        check_foreign(alone, settings(), Parallel(), 2)


def test_weights_in_bfloat16_and_moments_in_8_bits(based, tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    exact = train(based("gemma2"), tmp_path / "exact", settings(**STEPS))
    lean = {"weights": "bfloat16", "moments": "8-bit", "precision": "bfloat16"}
    output = train(based("gemma2"), tmp_path / "lean", settings(**STEPS | lean))
    assert losses(output) == pytest.approx(losses(exact), rel=0.02)
    assert json.loads((output / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_bfloat16_trains_as_float32_does(based, tmp_path: Path) -> None:
    exact = train(based("gemma2"), tmp_path / "exact", settings(**STEPS))
    coarse = train(based("gemma2"), tmp_path / "coarse", settings(precision="bfloat16", **STEPS))
    assert losses(coarse) == pytest.approx(losses(exact), rel=0.01)
    assert json.loads((coarse / "config.json").read_text())["torch_dtype"] == "float32"
