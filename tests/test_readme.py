"""The README is true: its make targets are there, its tree is the tree. Its commands are tested in test_examples.py."""

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path

import pytest

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


def test_every_file_has_its_line() -> None:
    spec = importlib.util.spec_from_file_location("make_tree", ROOT / "docs" / "make_tree.py")
    make_tree = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_tree)
    assert (ROOT / "docs" / "tree.md").read_text() == make_tree.tree(), "run: make docs"


def test_pictures_and_pages_are_there() -> None:
    for target in re.findall(r"\]\((\S+?)\)", README):
        assert (ROOT / target).is_file(), target
