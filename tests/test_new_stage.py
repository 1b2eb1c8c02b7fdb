"""A new kind of stage is a settings class and a function, and nothing else is touched."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "diglot"
SETTINGS = '''
"""Settings of counting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from diglot.base.summaries.summary import Summary
from diglot.recipe.common import Count, Role, Stage


class CountLines(Stage):
    """Count the lines of the invented world's texts."""

    makes: ClassVar[str] = "numbers"
    reads: ClassVar[dict[str, Role]] = {"text": Role(("text",))}
    function: ClassVar[str] = "diglot.counting.stage:run"
    position: ClassVar[int] = 15

    do: Literal["count-lines"] = "count-lines"
    times: Count = Field(1, description="Count so often.")


@dataclass(frozen=True)
class LinesSummary(Summary, of=("count-lines",)):
    """Lines by file."""

    lines: dict[str, int]
'''
STAGE = '''
"""The stage `count-lines`."""

from diglot.base.files import write_json
from diglot.recipe.counting import LinesSummary


def run(settings, inputs, output, context):
    """Count the lines."""
    files = sorted((inputs.one("text").path / "text").glob("*.jsonl"))
    lines = {file.stem: settings.times * file.read_text("utf-8").count("\\n") for file in files}
    write_json(output / "lines.json", lines)
    return LinesSummary(lines)
'''
RECIPE = """
name: counted
stages:
  world: {do: world, documents: {en: 20, ar: 10}, people: 40, pairs: 5, instructions: 5, preferences: 5, items: 4}
  lines: {do: count-lines, from: world, times: 2}
  report: {do: report, from: [lines]}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with a stage more: two files that nothing else names."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(PACKAGE, folder / "diglot", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "diglot" / "recipe" / "counting.py").write_text(SETTINGS)
    (folder / "diglot" / "counting").mkdir()
    (folder / "diglot" / "counting" / "stage.py").write_text(STAGE)
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def diglot(place: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "diglot.cli", *arguments],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_runs_in_a_recipe_and_is_reported(place: Path) -> None:
    done = diglot(place, "run", "recipe.yaml")
    assert done.returncode == 0, done.stderr
    assert json.loads((place / "runs" / "counted" / "lines" / "lines.json").read_text()) == {"ar": 20, "en": 40}
    assert (place / "runs" / "counted" / "report" / "report.html").is_file()
    assert "nothing to do" in diglot(place, "run", "recipe.yaml").stdout


def test_it_is_a_command(place: Path) -> None:
    sizes = ["--people", "40", "--pairs", "5", "--instructions", "5", "--preferences", "5", "--items", "4"]
    made = diglot(place, "world", "--out", "alone/world", "--documents", "{en: 20, ar: 10}", *sizes)
    assert made.returncode == 0, made.stderr
    done = diglot(place, "count-lines", "--out", "alone/lines", "--text", "alone/world", "--times", "3")
    assert done.returncode == 0, done.stderr
    assert json.loads((place / "alone" / "lines" / "lines.json").read_text()) == {"ar": 30, "en": 60}
    twice = diglot(place, "count-lines", "--out", "alone/other", "--text", "alone/world", "--text", "alone/world")
    assert "--text takes one folder, not 2" in twice.stderr


def test_it_stands_in_help_schema_and_errors(place: Path) -> None:
    shown = diglot(place, "--help").stdout
    assert shown.index("  world ") < shown.index("  count-lines ") < shown.index("  curate ")
    assert '"count-lines"' in diglot(place, "schema").stdout
    (place / "wrong.yaml").write_text(RECIPE.replace("times: 2", "time: 2"))
    assert (
        "wrong.yaml:5: stages.lines.time: unknown key; did you mean 'times'?"
        in diglot(place, "run", "wrong.yaml").stderr
    )
