"""A model of another family goes the whole road; its logits are compared with transformers' wherever it lies."""

import html
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from foreign_models import foreign_model

from diglot import flow
from diglot.base.artifact import read_artifact
from diglot.load import Where, check
from diglot.model.families import read_config
from diglot.model.families.foreign import ForeignConfig
from diglot.model.proof import prove
from diglot.recipe import Recipe
from diglot.tokenizer.folder import load_tokenizer, tokenizer_size
from diglot.train.metrics import read_metrics

TEXTS = {name: {"path": f"text/{name}.jsonl", "language": name} for name in ("en", "ar")}
STARTED: dict[str, Any] = {
    "world": {"do": "world", "documents": {"en": 200, "ar": 200}, "people": 40, "pairs": 20, "instructions": 0, "preferences": 0},
    "corpus": {"do": "curate", "from": {"text": "world"}, "sources": TEXTS, "rules": {"set": "none"}, "held_out": 0.1},
    "tokenizer": {"do": "train-tokenizer", "from": "corpus", "languages": ["en"], "vocabulary_size": 500},
}  # fmt: skip
MIXED = {"mixture": {"en": 0.5, "ar": 0.5}, "share": 0.5}
PHASES = [{"name": "rows", "trains": "new-rows", **MIXED}, {"name": "all", **MIXED}]
ROAD: dict[str, Any] = {
    "extended": {"do": "extend-tokenizer", "from": {"tokenizer": "base", "corpus": "corpus"}, "languages": ["ar"], "new_tokens": 50},
    "expanded": {"do": "expand", "from": {"model": "base", "tokenizer": "extended"}, "pad_vocabulary_to": 8},
    "tokens": {"do": "encode", "from": {"tokenizer": "extended", "corpus": "corpus"}},
    "trained": {"do": "train", "from": {"model": "expanded", "tokens": "tokens"}, "steps": 4, "export_every": 2, "learning_rate": 1e-2,
                "phases": PHASES, "batch_size": 4, "sequence_length": 128, "evaluate_tokens": 500},
    "merged": {"do": "merge", "from": ["trained@2", "trained"]},
    "scores": {"do": "evaluate", "from": {"model": "merged", "corpus": "corpus"}, "max_documents": 5},
    "report": {"do": "report"},
}  # fmt: skip


def go(stages: dict[str, Any], run: Path) -> None:
    flow.run(check(Recipe, {"name": "walk", "stages": stages}, Where("walk")), run, Where("walk"))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("started") / "run"
    go(STARTED, run)
    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "gemma2",
        *(
            pytest.param(kind, marks=pytest.mark.full)
            for kind in (
                "gpt_oss",
                "gemma3_text",
                "granite",
                "cohere",
                "mixtral",
                "qwen3_moe",
                "gpt_neox",
                "apertus",
                "bloom",
            )
        ),
    ],
)
def test_a_model_of_another_family_goes_the_whole_road(kind: str, started: Path, tmp_path: Path) -> None:
    run, given = tmp_path / "run", tmp_path / "given"
    shutil.copytree(started, run)
    entries = tokenizer_size(load_tokenizer(run / "tokenizer"))
    theirs = foreign_model(kind, vocab_size=entries)
    theirs.save_pretrained(given)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(run / "tokenizer" / name, given / name)
    go(STARTED | {"base": {"do": "import-model", "path": str(given)}} | ROAD, run)
    for name in ("base", "expanded", "trained", "merged"):
        config = read_config(run / name)
        assert isinstance(config, ForeignConfig)
        again, found = prove(run / name, config, load_tokenizer(run / name))
        assert again == config  # packed or alone, as the import found
        assert found.tokens > 200
        assert found.difference < 3e-6 * found.scale
    # Of old tokens the expanded model says what the base says; training changes that.
    ids = torch.arange(3, 60)[None]
    logits = {
        name: transformers.AutoModelForCausalLM.from_pretrained(run / name)(ids).logits.detach()
        for name in ("base", "expanded", "trained", "merged")
    }
    torch.testing.assert_close(logits["expanded"][..., :entries], logits["base"], atol=1e-6, rtol=1e-5)
    assert logits["expanded"].shape[-1] == read_config(run / "expanded").vocabulary_size > entries
    assert not torch.allclose(logits["trained"], logits["expanded"], atol=1e-3)
    steps = [line["loss"] for line in read_metrics(run / "trained/logs/metrics.jsonl") if line["type"] == "step"]
    assert steps[-1] < steps[0]
    assert read_artifact(run / "scores").summary.bits_per_byte
    assert json.loads((run / "merged/config.json").read_text())["model_type"] == kind
    proof = read_artifact(run / "base").summary.proof
    how = ", document by document" if proof.documents == "alone" else ""
    assert f"{kind}{how}, logits {proof}" in html.unescape((run / "report" / "report.html").read_text())
