"""What a shell offers at a press of Tab beside commands, options and files: settings and stages of the recipe in the line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from diglot.base.errors import UserError
from diglot.load import load_recipe
from diglot.recipe import Recipe
from diglot.recipe.common import Stage
from diglot.stage_commands import fields_of

VARIABLE = "_DIGLOT_COMPLETE"  # click's name for it


def settings_of_the_recipe(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """`stage.key=` for every setting of every stage, and of the recipe itself: what an override may begin with."""
    recipe = _recipe_in(context)
    if recipe is None:
        return []
    whole = [name for name in Recipe.model_fields if name != "stages"]
    keys = [*whole, *(f"{name}.{key}" for name, stage in recipe.stages.items() for key in _keys_of(stage))]
    return [f"{key}=" for key in keys if key.startswith(begun)]


def stages_of_the_recipe(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The names of its stages."""
    recipe = _recipe_in(context)
    return [name for name in (recipe.stages if recipe else ()) if name.startswith(begun)]


def _keys_of(stage: Stage) -> Iterator[str]:
    """A stage's settings by dotted name; of a mapping from names, such as sources, those that are there."""
    for path, _ in fields_of(type(stage)):
        key = ".".join(path)
        yield key
        value = getattr(stage, path[0]) if len(path) == 1 else None
        if isinstance(value, dict):
            for name, inner in value.items():
                fields = getattr(type(inner), "model_fields", {})
                yield from (f"{key}.{name}.{field}" for field in fields)


def _recipe_in(context: click.Context) -> Recipe | None:
    """The recipe that the line names, if it can be read: a shell shows no errors."""
    # Where an option still lacks its value, click has parsed nothing, and left the words as they were.
    files = [word for word in context.args if word.endswith((".yaml", ".yml"))]
    given = context.params.get("recipe") or next(iter(files), None)
    try:
        return load_recipe(Path(given))[0] if given else None
    except UserError:
        return None
