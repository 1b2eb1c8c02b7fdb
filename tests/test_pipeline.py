"""The whole pipeline, shortened: the shipped quickstart run as a user runs it, killed, shown, and talked to."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import Command, diglot

from diglot.base.artifact import read_artifact
from diglot.load import load_recipe

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "recipes" / "quickstart.yaml"
STEPS = 6
SHORT = [
    "world.documents={en: 500, ar: 500}",
    "world.people=80",
    "world.pairs=300",
    "world.instructions=120",
    "world.preferences=60",
    "world.items=8",
    "tokenizer.vocabulary_size=700",
    "tokenizer-extended.new_tokens=200",
    *(
        f"{name}.{key}={value}"
        for name in ("base", "sweep", "trunk", "decay-one", "decay-two", "sft", "dpo")
        for key, value in {"steps": STEPS, "batch_size": 4, "checkpoint_every": 2, "evaluate_tokens": 2000}.items()
    ),
    "trunk.export_every=3",
    "decay-one.from.model=trunk@3",
]  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quickstart")
    command = [sys.executable, "-m", "diglot.cli", "run", str(RECIPE), *SHORT, "--run", str(folder)]
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    assert f"report: {folder / 'report' / 'report.html'}" in done.stdout
    assert "cloze-ar" in done.stdout
    return folder


def test_every_stage_is_done(run: Path) -> None:
    shown = json.loads(diglot("show", str(run), "--json").stdout)
    recipe, _ = load_recipe(RECIPE, SHORT)
    assert shown["recipe"] == "quickstart"
    assert set(shown["stages"]) == set(recipe.stages)
    assert {stage["state"] for stage in shown["stages"].values()} == {"done"}
    assert Path(shown["report"]).is_file()
    scores = shown["stages"]["evaluate-aligned"]["summary"]
    assert scores["tasks"]["cloze-ar"]["chance"] == 0.25
    assert {"metric", "metrics", "items", "language"} <= set(scores["tasks"]["cloze-ar"])
    assert set(scores["bits_per_byte"]) >= {"en", "ar"}


def test_the_terminal_says_what_the_report_says(run: Path) -> None:
    finding = json.loads((run / "report" / "artifact.json").read_text())["summary"]["finding"]
    *learnt, _ = finding.split("\n")  # the last line is what the run took
    assert any("Arabic" in line for line in learnt)
    assert "\n".join(learnt) in diglot("show", str(run)).stdout


def test_the_ledger_balances(run: Path) -> None:
    for source in json.loads((run / "corpus" / "ledger.json").read_text())["sources"].values():
        for unit in ("documents",):
            dropped = sum(count[unit] for count in source["dropped"].values())
            assert source["read"][unit] == source["kept"][unit] + source["held_out"][unit] + dropped


def test_running_again_does_nothing(run: Path) -> None:
    done = diglot("run", str(RECIPE), *SHORT, "--run", str(run))
    assert "nothing to do" in done.stdout
    dry = diglot(
        "run", str(RECIPE), *SHORT, "--run", str(run), "--dry-run", "sft.learning_rate=1e-5", COLUMNS="200"
    ).stdout
    states = {line.split()[0]: line for line in dry.split("\n") if line and not line[0].isspace()}
    assert "stale" in states["sft"]
    assert "learning_rate" in states["sft"]
    assert "stale" in states["dpo"]
    assert " done " in states["merged"]


def test_the_result_chats(run: Path) -> None:
    assert diglot("chat", str(run), "--prompt", "Who are you?", "--max-new-tokens", "5").stdout.strip()


def test_models_load_in_transformers(run: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(run / "dpo")
    model = AutoModelForCausalLM.from_pretrained(run / "dpo")
    assert model.get_input_embeddings().weight.shape[0] >= len(tokenizer)
    assert tokenizer.decode(tokenizer("مرحبا hello")["input_ids"], skip_special_tokens=True) == "مرحبا hello"


def test_a_stage_command_makes_what_the_recipe_makes(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokenizer"
    settings = read_artifact(run / "tokenizer").settings
    done = diglot("train-tokenizer", "--out", str(out), "--corpus", str(run / "corpus"), "--languages", "[en]",
           "--vocabulary-size", str(settings["vocabulary_size"]), "--recipe-seed", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (out / "tokenizer.json").read_bytes() == (run / "tokenizer" / "tokenizer.json").read_bytes()


def test_killed_in_every_kind_of_stage_the_run_ends_the_same(run: Path, tmp_path: Path) -> None:
    """kill -9 in one stage of each kind, and in training after a checkpoint; then the same command."""
    recipe, _ = load_recipe(RECIPE, SHORT)
    victims = {stage.do: name for name, stage in recipe.stages.items()}
    folder = tmp_path / "killed"
    command = ["run", RECIPE, *SHORT, "--run", folder]
    for name in victims.values():
        process = Command(*command)
        training = recipe.stages[name].do == "train"
        sign = (lambda name=name: list((folder / ".scratch").glob(f"{name}-*/checkpoints/step-*"))) if training else (
            lambda name=name: (folder / ".partial" / name).exists() or (folder / name).exists())  # fmt: skip
        while process.running() and not sign():
            time.sleep(0.005)
        process.kill()
    done = diglot(*command)
    assert done.returncode == 0, done.stderr
    for name, stage in recipe.stages.items():
        if stage.do in ("report",):
            continue
        assert read_artifact(folder / name).content == read_artifact(run / name).content, name


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["corpus.sources.english.path=text/none.jsonl"], "none.jsonl"),
        (["corpus.sources.english.language=ar"], "en"),
        (["sft.steps=0"], "greater than or equal to 1"),
        (["trunk.phases.stable.mixture={german: 1}"], "german"),
    ],
)
def test_bad_input_is_refused_with_exit_code_2(run: Path, arguments: list[str], says: str) -> None:
    done = diglot("run", str(RECIPE), *SHORT, "--run", str(run), *arguments, "--until", "trunk")
    assert done.returncode == 2
    assert says in done.stderr
    assert "quickstart.yaml" in done.stderr or "override" in done.stderr
