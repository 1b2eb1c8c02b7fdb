"""Rounds of sampling, judging and DPO: the recipe of docs/alignment.md, in small. Its parts are tested in the files beside."""

import json
import re
from pathlib import Path

import pytest
import yaml
from answering import QUESTIONS, read

from diglot import flow
from diglot.base.artifact import read_artifact
from diglot.load import Where, check
from diglot.recipe import Recipe

PAGE = Path(__file__).parent.parent.parent / "docs" / "alignment.md"
TRAINING = {
    "steps": 12, "batch_size": 4, "sequence_length": 128, "learning_rate": 5e-4, "evaluate_every": 12,
    "evaluate_tokens": 500,
}  # fmt: skip


def recipe(model: Path, prompts: Path) -> Recipe:
    """The page's, with a small model, few prompts and few steps."""
    text = re.search(r"```yaml\n(name: rounds\n.*?)```", PAGE.read_text(), re.DOTALL)[1]
    given = yaml.safe_load(text)
    stages = given["stages"]
    stages["base"]["path"], stages["prompts"]["sources"]["chat"]["path"] = str(model), str(prompts)
    stages["prompts"]["held_out"] = 0
    for stage in stages.values():
        if stage["do"] == "sample":
            stage |= {"answers": 8, "max_new_tokens": 20}
        if stage["do"] == "judge":
            stage["held_out"] = 0
        if stage["do"] == "train":
            stage |= TRAINING
    return check(Recipe, given, Where("rounds"))


@pytest.mark.full
def test_rounds_of_the_page_make_a_model_answer_in_the_language_of_the_question(model_folder, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    asked = [{"prompt": question, "response": "…"} for question in QUESTIONS]
    prompts.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in asked))
    run = tmp_path / "run"
    flow.run(recipe(model_folder, prompts), run, Where("rounds"))
    before, after = (read_artifact(run / name).summary.consistent["ar"] for name in ("drawn-1", "after"))
    assert before < 0.8
    assert after > before + 0.1
    pairs = read(run / "judged-1" / "train.jsonl")
    assert pairs
    assert {pair["source"] for pair in pairs} == {"judged-1-chat"}
    page = (run / "report" / "report.html").read_text()
    for stage in ("drawn-1", "judged-1", "after"):
        assert stage in page
