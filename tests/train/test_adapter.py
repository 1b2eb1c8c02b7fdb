"""Adapters: what they train and what stays, against peft and transformers; merged on export; resumed and cut alike."""

import json
from pathlib import Path

import pytest
import torch
from tiny_run import artifact, settings

from diglot.base.artifact import Context, Inputs
from diglot.model import presets
from diglot.model.huggingface import load_decoder
from diglot.model.weights import EXPANSION
from diglot.recipe.model import NewModel, Shape
from diglot.recipe.train import Adapter, Phase, Train
from diglot.train import loop

pytest.importorskip("peft")

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


def logits(folder: Path, tokens_BT: torch.Tensor) -> torch.Tensor:
    decoder = load_decoder(folder)
    return decoder(tokens_BT) @ decoder.output_weight().T


@pytest.mark.parametrize("kind", KINDS)
def test_the_merged_model_and_the_peft_folder_both_answer_as_the_trained_one(
    expanded: Inputs, tmp_path: Path, kind: str
) -> None:
    """The model that was trained, as it is in memory, against two that were read from disk."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    job = loop.walk(adapting(kind), expanded, Context("train", 0, tmp_path / "scratch", "print", workers=1))
    output = tmp_path / "out"
    job.exports.finish(job.model, job.optimizer, output)
    tokens_BT = torch.randint(0, 330, (3, 40))
    with torch.no_grad():
        trained = job.model(tokens_BT) @ job.model.output_weight().T
        merged = logits(output, tokens_BT)
        base = logits(expanded.one("model").path, tokens_BT)
        theirs = AutoModelForCausalLM.from_pretrained(expanded.one("model").path, dtype=torch.float32)
        peft = PeftModel.from_pretrained(theirs, output / "adapter")(tokens_BT).logits
    assert (trained - base).abs().max() > 0.1
    torch.testing.assert_close(merged, trained, atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(peft, trained, atol=2e-5, rtol=2e-5)
