"""The README is true: its commands run, its tree is the tree."""

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from commands import diglot

from diglot.cli import cli
from diglot.load import load_recipe

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", " ").split("\n") if line.strip()]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make ")])
def test_make_targets_exist(command: str) -> None:
    target = shlex.split(command, comments=True)[1]
    dry = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = {"demo": "diglot run recipes/quickstart.yaml", "test": "pytest", "check": "ruff"}
    assert wanted[target] in dry.stdout


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("diglot ")])
def test_diglot_commands_are_understood(command: str) -> None:
    """Recipes and overrides are checked for real; what the commands do is tested in test_pipeline.py."""
    words = shlex.split(command, comments=True)[1:]
    if words[0] == "run":
        overrides = [word for word in words[2:] if "=" in word]
        load_recipe(ROOT / words[1], overrides)
        assert set(words[2:]) - set(overrides) <= {"--dry-run"}
    else:
        assert words[0] in cli.commands
    assert "Usage" in diglot(words[0], "--help").stdout


def test_every_file_has_its_line() -> None:
    spec = importlib.util.spec_from_file_location("make_tree", ROOT / "docs" / "make_tree.py")
    make_tree = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_tree)
    assert (ROOT / "docs" / "tree.md").read_text() == make_tree.tree(), "run: make docs"


def test_pictures_and_pages_are_there() -> None:
    for target in re.findall(r"\]\((\S+?)\)", README):
        assert (ROOT / target).is_file(), target
