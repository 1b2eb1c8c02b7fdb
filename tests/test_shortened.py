"""A recipe in short is still a recipe, and says the same things but for how much."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import diglot

from diglot.cli import cli
from diglot.flow import graph
from diglot.load import load_recipe
from diglot.shortened import DOCUMENTS, ROWS, TOKENS, in_short

ROOT = Path(__file__).resolve().parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_every_recipe_has_a_try(file: Path) -> None:
    recipe, _ = load_recipe(file)
    short, where = load_recipe(file, in_short(recipe))
    assert list(graph(short, where)) == list(graph(recipe, where))
    assert (short.name, short.run) == (f"{recipe.name}-try", None)
    for name, stage in short.stages.items():
        whole = recipe.stages[name]
        assert stage.do == whole.do
        assert list(stage.reads_from()) == list(whole.reads_from())
        if stage.do in ("train", "sweep"):
            assert stage.steps <= 6
            assert stage.batch_size * stage.sequence_length <= ROWS * TOKENS
            assert [phase.name for phase in stage.phases] == [phase.name for phase in whole.phases]
            assert stage.objective == whole.objective
        if stage.do in ("curate", "gather-instructions", "gather-preferences", "make-instructions"):
            assert all(source.limit <= DOCUMENTS for source in stage.sources.values())
    assert in_short(short)  # a try of a try


def test_what_is_given_holds() -> None:
    file = ROOT / "recipes" / "arabic.yaml"
    given = ["trunk.steps=7", "corpus.sources.arabic.limit=11"]
    recipe, _ = load_recipe(file, given)
    short, _ = load_recipe(file, [*in_short(recipe, given), *given])
    assert short.stages["trunk"].steps == 7
    assert short.stages["corpus"].sources["arabic"].limit == 11
    assert short.stages["corpus"].sources["english"].limit == DOCUMENTS


def test_the_command_says_what_it_would_set() -> None:
    done = CliRunner().invoke(cli, ["try", str(ROOT / "recipes" / "quickstart.yaml"), "--dry-run"])
    settings = dict(line.split("=", 1) for line in done.stdout.strip().split("\n"))
    assert settings["trunk.steps"] == "2"
    assert json.loads(settings["world.documents"]) == {"en": 300, "ar": 300}


@pytest.mark.full
def test_the_quickstart_is_tried(tmp_path: Path) -> None:
    """To the report, in a folder of its own."""
    done = diglot("try", ROOT / "recipes" / "quickstart.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "the real run: diglot run" in done.stdout
    assert list((tmp_path / "runs").iterdir()) == [tmp_path / "runs" / "quickstart-try"]
    assert (tmp_path / "runs/quickstart-try/report/report.html").is_file()
