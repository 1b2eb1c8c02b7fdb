"""Every setting says what it is for, and stands where a user meets it."""

import importlib.util
import re
from pathlib import Path

import pytest
from settings_classes import places_of

from diglot.flow import graph
from diglot.load import load_recipe
from diglot.recipe import STAGES

ROOT = Path(__file__).resolve().parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
PAGES = [page for page in (ROOT / "docs").glob("*.md") if page.name != "settings.md"]  # made from the descriptions
CLASSES = {settings for stage in STAGES.values() for _, settings in places_of(stage)}
SETTINGS = [
    (settings, name, field)
    for settings in sorted(CLASSES, key=lambda settings: settings.__name__)
    for name, field in settings.model_fields.items()
    if name not in ("do", "from_")
]
COMMENTED = re.compile(r"^( {4,})# ([a-z_-]+: \S.*)$", re.MULTILINE)


def test_every_setting_says_what_it_is_for() -> None:
    assert [f"{settings.__name__}.{name}" for settings, name, field in SETTINGS if not field.description] == []


def test_every_setting_stands_in_a_recipe_or_a_page() -> None:
    """As `key:` or `key=`, or by itself in backticks."""
    text = "\n".join(file.read_text() for file in [*RECIPES, *PAGES])
    missing = [
        f"{settings.__name__}.{name}"
        for settings, name, _ in SETTINGS
        if not re.search(rf"(?<![\w-]){name}[:=]|`([\w.-]+\.)?{name}`", text)
    ]
    assert missing == []


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_settings_that_are_commented_out_can_be_taken_in(recipe: Path, tmp_path: Path) -> None:
    text = recipe.read_text()
    file = tmp_path / recipe.name
    for commented in COMMENTED.finditer(text):
        taken = f"{text[: commented.start()]}{commented[1]}{commented[2]}{text[commented.end() :]}"
        file.write_text(taken)
        graph(*load_recipe(file))


def test_the_page_of_settings_is_new() -> None:
    spec = importlib.util.spec_from_file_location("make_settings", ROOT / "docs" / "make_settings.py")
    make_settings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_settings)
    assert (ROOT / "docs" / "settings.md").read_text() == make_settings.page(), "run: make docs"
    assert (ROOT / "docs" / "recipe.schema.json").read_text() == make_settings.schema(), "run: make docs"
