"""The JSON Schema of recipes agrees with what checks them, and tells an editor what every key is for."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from diglot.base.plain_yaml import parse_yaml
from diglot.cli import cli
from diglot.recipe import STAGES, json_schema

ROOT = Path(__file__).resolve().parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
SCHEMA = json.loads((ROOT / "docs" / "recipe.schema.json").read_text())
CHECKER = jsonschema.Draft202012Validator(SCHEMA)


def parsed(file: Path) -> Any:
    return parse_yaml(file.read_text(), file.name)[0]


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_every_recipe_passes_and_names_it(file: Path) -> None:
    assert [error.message for error in CHECKER.iter_errors(parsed(file))] == []
    first = file.read_text().split("\n")[0]
    assert (
        file.parent / first.removeprefix("# yaml-language-server: $schema=")
    ).resolve() == ROOT / "docs/recipe.schema.json"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("stages", "trunk", "stepps"), 10),
        (("stages", "trunk", "steps"), "many"),
        (("stages", "trunk", "steps"), 0),
        (("stages", "trunk", "do"), "trian"),
        (("stages", "trunk", "do"), None),
        (("stages", "trunk", "phases"), [{"name": "all", "trains": "nothing"}]),
        (("stages", "corpus", "sources", "english", "pth"), "x"),
        (("stages", "corpus", "sources", "english"), {"language": "en"}),
        (("stages",), {}),
        (("name",), 3),
        (("sed",), 1),
    ],
)
def test_a_wrong_one_fails(path: tuple[str, ...], value: object) -> None:
    recipe = copy.deepcopy(parsed(ROOT / "recipes" / "arabic.yaml"))
    target = recipe
    for key in path[:-1]:
        target = target[key]
    if value is None:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    assert not CHECKER.is_valid(recipe)


def test_every_key_is_described() -> None:
    silent = [
        f"{name}.{key}"
        for name, settings in {"Recipe": SCHEMA, **SCHEMA["$defs"]}.items()
        for key, value in settings.get("properties", {}).items()
        if not value.get("description")
    ]
    assert silent == []
    kinds = {
        settings["properties"]["do"]["const"]
        for settings in SCHEMA["$defs"].values()
        if "do" in settings.get("properties", {})
    }
    assert kinds == set(STAGES)


def test_it_is_printed() -> None:
    assert json.loads(CliRunner().invoke(cli, ["schema"]).stdout) == SCHEMA
