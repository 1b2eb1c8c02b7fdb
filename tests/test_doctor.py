"""`diglot doctor` says what is there, and nothing else."""

import copy
import importlib.metadata
import json
import re
import tomllib
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from packaging.requirements import Requirement
from rich.console import Console

from diglot.base.table import show
from diglot.cli import cli
from diglot.doctor import EXTRAS, Health, Package, _judge, _package, examine, views

ROOT = Path(__file__).resolve().parent.parent


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_extras_are_those_of_the_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {name: {normal(Requirement(line).name) for line in lines} for name, lines in extras.items()}
    del wanted["dev"]
    assert {name: set(map(normal, packages)) for name, (_, packages) in EXTRAS.items()} == wanted


@pytest.fixture(scope="module")
def found() -> Health:
    return examine()


def test_what_is_found_is_there(found: Health) -> None:
    health = copy.deepcopy(found)
    assert health.system["rates"]["float32"] > 1e8
    assert {package.name: package.version for package in health.packages}["torch"] == torch.__version__
    for extra in health.extras:
        for package in extra.packages:
            if package.version:
                assert importlib.metadata.version(package.name) == package.version
    assert health.broken == []
    assert health.folders["here"]["free"] > 0
    json.dumps(health.as_json())


def test_what_is_wrong_is_said(found: Health) -> None:
    health = copy.deepcopy(found)
    health.advice.clear()
    health.packages = [
        _package("torch", Requirement("torch<2")),
        _package("no-such-package", Requirement("no-such-package")),
    ]
    health.extras[0].packages = [Package("trafilatura", None)]
    health.system |= {"gpus": [], "bfloat16_over_float32": 0.1, "memory_available": 2**30}
    health.folders["here"] |= {"free": 10**9}
    health.folders["hub"] |= {"writable": False}
    _judge(health)
    assert [text.split(":")[0] for text in health.broken] == [f"torch {torch.__version__}", "no-such-package"]
    said = "\n".join(health.advice)
    for part in (
        "0.1 times the rate",
        "precision: float32",
        "1.0 GiB of memory",
        "(here): 0.93 GiB",
        "cannot be written",
        "diglot[web",
    ):
        assert part in said
    health.system["bfloat16_over_float32"] = 1.9
    _judge(health)
    assert "precision: bfloat16 pays" in health.advice[len(said.split("\n"))]


def test_the_tables(found: Health) -> None:
    console = Console(record=True, width=100)
    show(console, views(found))
    text = console.export_text()
    for part in ("This machine", "GFLOP/s", "Packages", torch.__version__, "Extras", "plotly"):
        assert part in text


def test_the_command() -> None:
    done = CliRunner().invoke(cli, ["doctor", "--json"])
    assert done.exit_code == 0, done.output
    extras = {extra["name"]: extra["installed"] for extra in json.loads(done.stdout)["extras"]}
    assert extras.keys() == EXTRAS.keys()
    assert extras["report"] is True
