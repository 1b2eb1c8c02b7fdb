"""The command line itself: hints, arguments that are no text, Ctrl-C from the first moment on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import diglot
from test_recipe import GOOD

from diglot.base.errors import UserError
from diglot.cli import cli

ROOT = Path(__file__).resolve().parent.parent
INTERRUPTED = 130


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("hlep", "did you mean `cli --help`?"),
        ("help", "did you mean `cli --help`?"),
        ("curat", "did you mean `cli curate`?"),
        ("gather-tasks", "did you mean `cli gather-instructions`?"),
        ("encode --out x --tokenizer y --tasks z", "--tasks is called --instructions now"),
        ("recipes/arabic.yaml", "did you mean `cli run recipes/arabic.yaml`?"),
        ("qqqq", "there is no command 'qqqq'; `cli --help` lists them"),
        ("tokenizer mesure", "did you mean `cli tokenizer measure`?"),
        ("run arabic", "did you mean recipes/arabic.yaml?"),
        ("run nothing-like-it", "a recipe is a YAML file, such as recipes/quickstart.yaml"),
    ],
)
def test_what_was_meant(given: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError) as error:
        cli.main(given.split(), prog_name="cli", standalone_mode=False)
    assert says in str(error.value)


def test_a_name_that_is_too_long() -> None:
    done = diglot("show", "a" * 5000)
    assert (done.returncode, len(done.stderr) < 500) == (2, True)
    assert "File name too long" in done.stderr


def test_a_run_that_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "quickstart").mkdir(parents=True)
    (tmp_path / "runs" / "quickstart" / "recipe.json").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"did you mean runs/quickstart\?"):
        cli.main(["show", "qickstart"], standalone_mode=False)
    with pytest.raises(UserError, match=r"^other/quickstart: no run there: other/quickstart/recipe.json is missing"):
        cli.main(["show", "other/quickstart"], standalone_mode=False)


@pytest.mark.parametrize(
    "words", [["chat", "x", "--prompt", "caf\udce9"], ["run", "caf\udce9.yaml"], ["show", "\udcff"]]
)
def test_arguments_that_are_no_text(words: list[str]) -> None:
    done = diglot(*words)
    assert done.returncode == 2
    assert "is not UTF-8 text" in done.stderr
    assert "\\xe9" in done.stderr or "\\xff" in done.stderr


INTERRUPT = """
import importlib.abc, os, signal, sys

class Pressed(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == os.environ["PRESSED_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Pressed())
"""


@pytest.mark.parametrize(
    "module", ["diglot.cli", "click", "pydantic", "diglot.recipe", "diglot.load", "diglot.world.generate"]
)
def test_control_c_while_importing(module: str, tmp_path: Path) -> None:
    """As if it was pressed when a module begins to be imported; the last one is a stage's own."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPT)
    file = tmp_path / "recipe.yaml"
    file.write_text("name: x\nstages: {world: {do: world, people: 30}}\n")
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "diglot", "run", str(file), "--run", str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": paths, "PRESSED_AT": module}, capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith("interrupted; the same command goes on from here\n"), done.stderr
    assert done.returncode == INTERRUPTED
    assert not (tmp_path / "run" / "world").exists()


def test_a_dry_run_knows_what_no_run_could_do(tmp_path: Path) -> None:
    """In a process with 2 GB: 10^18 steps, each kept, were listed before."""
    file = tmp_path / "recipe.yaml"
    file.write_text(GOOD)
    code = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31)); from diglot.__main__ import main; main()"
    for override, says in (
        ("pretrain.steps=999999999999999999", "would keep"), ("pretrain.steps=99999999999999999999", "too large"),
        ("base.preset=huge", "must be 'tiny'"),
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", code, "run", str(file), "--dry-run", "pretrain.export_every=1", override],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr
