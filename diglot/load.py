"""Reading a recipe: YAML with the line of every key, overrides, and errors that say what to do.

An error names the place (`recipes/quickstart.yaml:12`), the key (`stages.cpt.steps`), what is wrong and what is
allowed. A `Where` remembers the places, so that what goes wrong later can still point at its line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from diglot.base.errors import UserError
from diglot.base.files import read_small
from diglot.base.format import excerpt, without_password
from diglot.base.plain_yaml import DEEPEST, MOST_BYTES, parse_yaml, unfit
from diglot.recipe import STAGES, Recipe
from diglot.recipe.common import PATTERNS, Settings
from diglot.recipe.described import example_of

Model = TypeVar("Model", bound=BaseModel)

SHOWN = 20  # errors of one recipe
MUST = "must be "
# The validator's words for types are Python's.
_WORDS = {
    "int_type": f"{MUST}a whole number",
    "float_type": f"{MUST}a number",
    "string_type": f"{MUST}text",
    "bool_type": f"{MUST}true or false",
    "dict_type": f"{MUST}a mapping (key: value)",
    "model_type": f"{MUST}a mapping (key: value)",
    "list_type": f"{MUST}a list",
    "tuple_type": f"{MUST}a list",
    "string_pattern_mismatch": "is not of the right form",
}


def apply_override(value: dict, override: str) -> tuple:
    """Set `stage.key=value` (or `seed=3`) in a parsed recipe; returns the path that was set.

    Raises:
        UserError: no `=`, or the path does not exist that far.
    """
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise UserError(f"{_named(override)}: write stage.key=value, such as train.steps=100")
    path: list[Any] = dotted.strip().split(".")
    if len(path) > DEEPEST:
        raise UserError(f"{_named(override)}: {len(path)} keys are too many; no setting is so deep")
    if path[0] not in Recipe.model_fields:  # a stage, unless it is seed, run and their like
        given = value.get("stages")
        stages = [str(name) for name in given] if isinstance(given, dict) else []
        if path[0] not in stages:
            hint = _near(path[0], [*stages, *Recipe.model_fields])
            raise UserError(f"{_named(override)}: no stage {path[0]!r}; {hint}stages: {', '.join(stages) or 'none'}")
        path = ["stages", *path]
    parsed = parse_value(text, _named(override))
    # Down to what holds the last key; mappings that are not there yet are made, lists must have the item.
    target: Any = value
    for depth in range(len(path) - 1):
        path[depth], target = _inside(target, path[depth], override)
    if isinstance(target, list):
        path[-1] = _list_index(target, path[-1], override)
    target[path[-1]] = parsed
    return tuple(path)


def _named(override: str) -> str:
    """What errors call an override."""
    return f"override {excerpt(without_password(override), 200)!r}"


def _inside(target: Any, key: str, override: str) -> tuple[Any, Any]:
    """A key as its mapping or list knows it, and what stands there: a new mapping, where nothing can be set inside."""
    place: Any = _list_index(target, key, override) if isinstance(target, list) else key
    inner = target[place] if isinstance(target, list) else target.get(place)
    if not isinstance(inner, dict | list):
        inner = target[place] = {}
    return place, inner


def parse_value(text: str, name: str) -> Any:
    """A value given on the command line: YAML, but `*.jsonl` is a glob and not an alias.

    Raises:
        UserError: not YAML, or characters that no setting may hold.
    """
    if not text.startswith("*"):
        return parse_yaml(text, name)[0]
    if character := unfit(text):
        raise UserError(f"{name}: the text holds the character {character}, which no setting may; take it out")
    return text


def _list_index(target: list, key: Any, override: str) -> int:
    """A list item by number, or by its `name` (phases)."""
    names = [item.get("name") if isinstance(item, dict) else None for item in target]
    if key in names:
        return names.index(key)
    numbers = [str(number) for number in range(len(target))]
    if key in numbers:
        return numbers.index(key)
    known = [str(name) for name in names if name] or [f"0 to {len(target) - 1}" if target else "none"]
    raise UserError(f"{_named(override)}: no item {excerpt(repr(key), 80)}; there are {', '.join(known)}")


@dataclass
class Where:
    """The places of a recipe's keys: `where("stages", "cpt", "steps")` is `recipe.yaml:31: stages.cpt.steps`."""

    name: str
    lines: dict[tuple, int] = field(default_factory=dict)
    overrides: dict[tuple, str] = field(default_factory=dict)

    def place(self, path: tuple) -> str:
        """`file:line` of a key or of the nearest key above it; the override's text where one set it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.overrides:
                return _named(self.overrides[path[:length]])
            if path[:length] in self.lines:
                return f"{self.name}:{self.lines[path[:length]]}"
        return self.name

    def knows(self, path: tuple) -> bool:
        """Whether a key was written, or lies inside what an override set."""
        return path in self.lines or any(path[: len(known)] == known for known in self.overrides)

    def __call__(self, *path: Any) -> str:
        return ": ".join([self.place(path), *([".".join(map(str, path))] if path else [])])


def load_recipe(file: Path, overrides: list[str] | None = None) -> tuple[Recipe, Where]:
    """Read and check a recipe.

    Raises:
        UserError: with file, line, key and what is allowed, for every error in the recipe.
    """
    try:
        text = read_small(file, MOST_BYTES).decode("utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot read the recipe: {error.strerror}{_other_recipe(file)}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text (byte {error.start}); save the recipe as UTF-8") from error
    value, lines = parse_yaml(text, str(file))
    if not isinstance(value, dict):
        raise UserError(f"{file}:1: a recipe is a mapping with name and stages")
    where = Where(str(file), lines)
    for override in overrides or []:
        where.overrides[apply_override(value, override)] = override
    return check(Recipe, value, where), where


def _other_recipe(file: Path) -> str:
    """A hint at a recipe beside a file that is not there, or in recipes/, with a name like its."""
    found = {path.stem: path for folder in (Path("recipes"), file.parent) for path in sorted(folder.glob("*.yaml"))}
    near = difflib.get_close_matches(file.stem, found, 1)
    return f"; did you mean {found[near[0]]}?" if near else "; a recipe is a YAML file, such as recipes/quickstart.yaml"


def check(model: type[Model], value: Any, where: Where) -> Model:
    """Validate a value, with errors as `file:line: key: what is wrong; what is allowed`.

    Raises:
        UserError: one line for every error.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        # Of a value that may be one of several types each says what it wanted: they are one message.
        found: dict[tuple[str, str], list[str]] = {}
        for item in error.errors():
            place, given, wrong = _explain(item, model, where)
            found.setdefault((place, given), []).append(wrong)
        messages = [f"{place}: {_either(wrongs)}{given}" for (place, given), wrongs in found.items()]
        more = [f"and {len(messages) - SHOWN:,} more"] if len(messages) > SHOWN else []
        raise UserError(without_password("\n".join(messages[:SHOWN] + more))) from error


def _either(wrongs: list[str]) -> str:
    """What is wrong with one value: `must be text or a list`."""
    first, *others = dict.fromkeys(wrongs)
    return " or ".join([first, *(other.removeprefix(MUST) for other in others)])


def _explain(item: Any, model: type[BaseModel], where: Where) -> tuple[str, str, str]:
    """Where an error stands, the value that was given, and what is wrong with it."""
    path = _without_tag(item["loc"])
    while path and not where.knows(path) and item["type"] not in ("missing", "extra_forbidden"):
        path = path[:-1]
    wrong = _of_our_own(item, model)
    if wrong is None:
        wrong = _WORDS.get(item["type"]) or item["msg"].replace("Input should be ", MUST).replace("Input ", "")
        given = f", not {excerpt(repr(item['input']), 100)}{_instead(item)}"
        return where(*path), given, wrong[0].lower() + wrong[1:]
    return where(*path), "", wrong


def _without_tag(loc: tuple) -> tuple:
    """A location as the recipe has it: pydantic puts the chosen kind of stage in, stages.<name>.<kind>.<setting>."""
    tagged = len(loc) > 2 and loc[0] == "stages" and loc[2] in STAGES
    parts = loc[:2] + loc[3:] if tagged else loc
    # It ends in a type where a value may be one of several, and in `[key]` where a key is wrong.
    return tuple(part for part in parts if "[" not in str(part) and part != "str")


def _of_our_own(item: Any, model: type[BaseModel]) -> str | None:
    """What is wrong, where what was given need not be shown or is shown in the words; None elsewhere."""
    kind, last = item["type"], str(item["loc"][-1]) if item["loc"] else ""
    settings = _settings_at(item["loc"][:-1], model)
    if kind == "extra_forbidden":
        if settings and last in settings.renamed:
            return f"is called {settings.renamed[last]!r} now"
        keys = [field.alias or name for name, field in settings.model_fields.items()] if settings else []
        return f"unknown key; {_near(last, keys)}allowed: {', '.join(keys)}"
    if kind == "missing":
        return f"is missing{_such_as(settings, last)}"
    if kind == "too_short":
        number, wanted = item["ctx"]["actual_length"], item["ctx"]["min_length"]
        return f"has {number or 'no'} entries, and needs at least {wanted}{_such_as(settings, last)}"
    if kind == "too_long":
        return f"has more than {item['ctx']['max_length']} entries, and may not"
    if kind == "union_tag_invalid":
        given = str(item["ctx"]["tag"])
        if now := next((name for name, stage in STAGES.items() if given in stage.formerly), None):
            return f"do: {given!r} is called {now!r} now"
        return f"do: unknown kind of stage {given!r}; {_near(given, STAGES)}allowed: {', '.join(STAGES)}"
    if kind == "union_tag_not_found":
        return f"do: is missing; allowed: {', '.join(STAGES)}"
    return item["msg"].removeprefix("Value error, ") if kind == "value_error" else None


def _such_as(settings: type[Settings] | None, name: str) -> str:
    """An example of a setting, from its field."""
    field = settings.model_fields.get(name) if settings else None
    return f"; such as {name}: {example_of(field)}" if field and field.examples else ""


def _instead(item: Any) -> str:
    """What to give in place of a value that is none of those allowed, or not of the form that is wanted."""
    kind, given = item["type"], item["input"]
    if kind == "string_pattern_mismatch":
        pattern = item["ctx"]["pattern"]
        near = f"; did you mean {given.lower()!r}?" if re.search(pattern, given.lower()) else ""
        return f": {PATTERNS[pattern]}{near}"
    if kind == "literal_error" and isinstance(given, str):
        hint = _near(given, re.findall(r"'([^']*)'", item["ctx"]["expected"]))
        return f"; {hint.strip()}" if hint else ""
    return ""


def _near(given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given, known, 1)
    return f"did you mean {near[0]!r}? " if near else ""


def _settings_at(loc: tuple, model: type[BaseModel]) -> type[Settings] | None:
    """The settings class at a place in the recipe, found along the types of its fields."""
    here: Any = model
    for key in loc:
        here = _type_inside(here, key)
    options = [here, *get_args(here)]  # a class, or one that may be null
    return next((each for each in options if isinstance(each, type) and issubclass(each, Settings)), None)


def _type_inside(kind: Any, key: Any) -> Any:
    """The type of what stands under a key, or a list's index, in a value of a type; None if nothing can."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(key)
        return field.annotation if field else None
    arguments = get_args(kind)
    if get_origin(kind) in (dict, list):
        return arguments[-1]
    if STAGES.get(key) in get_args(arguments[0] if arguments else None):
        return STAGES[key]  # pydantic puts the chosen kind of stage into the location
    return next((inner for each in arguments if (inner := _type_inside(each, key)) is not None), None)
