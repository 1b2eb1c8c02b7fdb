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

import yaml
from pydantic import BaseModel, ValidationError

from diglot.base.errors import UserError
from diglot.recipe import STAGES, Recipe
from diglot.recipe.common import Settings

Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars: `1e-4` is a number, `no` is a string (and Norwegian), 12:30 is not 750."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("merge", r"^<<$", ["<"]),
    ("null", r"^(?:null|Null|NULL|~|)$", [*list("nN~"), ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?(?:[0-9][0-9_]*|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", list("-+.")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _whole_number(loader: yaml.Loader, node: yaml.ScalarNode) -> int:
    """YAML 1.2: 010 is ten, not eight."""
    return int(node.value, 16 if "0x" in node.value else 10)


_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


def parse_yaml(text: str, name: str) -> tuple[Any, dict[tuple, int]]:
    """Parse YAML and remember the line of every key.

    Raises:
        UserError: not YAML, or a key given twice; with file and line.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        value = _unshared(yaml.load(text, Loader=_Loader))  # noqa: S506  (a SafeLoader)
        lines: dict[tuple, int] = {}
        if node is not None:
            _lines(node, (), lines, name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UserError(f"{name}:{mark.line + 1 if mark else 1}: not valid YAML: {error.problem}") from error
    except RecursionError as error:
        raise UserError(f"{name}: not valid YAML: an alias stands inside what it stands for") from error
    except (yaml.YAMLError, ValueError, IndexError) as error:
        raise UserError(f"{name}: not valid YAML: {error}") from error
    return value, lines


def _unshared(value: Any) -> Any:
    """A copy in which aliases are apart, so that an override of one place does not change another."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    return [_unshared(inner) for inner in value] if isinstance(value, list) else value


def _lines(node: yaml.Node, path: tuple, lines: dict[tuple, int], name: str) -> None:
    """Note the line of each key; a key merged in with `<<` counts as written where its mapping is."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        own: dict[str, int] = {}
        # Merges last: a mapping's own keys win over those merged in, and a key given twice is an error of its own keys.
        for key, value in sorted(node.value, key=lambda pair: pair[0].tag.endswith(":merge")):
            line = key.start_mark.line + 1
            if key.tag.endswith(":merge"):
                merged: dict[tuple, int] = {}
                for mapping in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    _lines(mapping, path, merged, name)
                lines |= {inner: at for inner, at in merged.items() if inner not in lines}
                continue
            if key.value in own:
                dotted = ".".join(map(str, (*path, key.value)))
                raise UserError(f"{name}:{line}: {dotted} was given before, in line {own[key.value]}")
            own[key.value] = lines[(*path, key.value)] = line
            _lines(value, (*path, key.value), lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _lines(item, (*path, index), lines, name)


def apply_override(value: dict, override: str) -> tuple:
    """Set `stage.key=value` (or `seed=3`) in a parsed recipe; returns the path that was set.

    Raises:
        UserError: no `=`, or the path does not exist that far.
    """
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise UserError(f"override {override!r}: write stage.key=value, such as train.steps=100")
    path: list[Any] = dotted.strip().split(".")
    if path[0] not in Recipe.model_fields:  # a stage, unless it is seed, run and their like
        stages = {str(name): stage for name, stage in (value.get("stages") or {}).items()}
        if path[0] not in stages:
            hint = _near(path[0], [*stages, *Recipe.model_fields])
            raise UserError(f"override {override!r}: no stage {path[0]!r}; {hint}stages: {', '.join(stages)}")
        path = ["stages", *path]
    parsed = parse_value(text, f"override {override!r}")
    # Walk down to what holds the last key; mappings that are not there yet are made, lists must have the item.
    target: Any = value
    for depth, key in enumerate(path[:-1]):
        if isinstance(target, list):
            path[depth] = key = _list_index(target, key, override)
            target = target[key]
        else:
            if not isinstance(target.get(key), (dict, list)):
                target[key] = {}
            target = target[key]
    if isinstance(target, list):
        path[-1] = _list_index(target, path[-1], override)
    target[path[-1]] = parsed
    return tuple(path)


def parse_value(text: str, name: str) -> Any:
    """A value given on the command line: YAML, but `*.jsonl` is a glob and not an alias.

    Raises:
        UserError: not YAML.
    """
    return text if text.startswith("*") else parse_yaml(text, name)[0]


def _list_index(target: list, key: Any, override: str) -> int:
    """A list item by number, or by its `name` (phases)."""
    names = [item.get("name") if isinstance(item, dict) else None for item in target]
    if key in names:
        return names.index(key)
    if key.isdigit() and int(key) < len(target):
        return int(key)
    known = [str(name) for name in names if name] or [f"0 to {len(target) - 1}"]
    raise UserError(f"override {override!r}: no item {key!r}; there are {', '.join(known)}")


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
                return f"override {self.overrides[path[:length]]!r}"
            if path[:length] in self.lines:
                return f"{self.name}:{self.lines[path[:length]]}"
        return self.name

    def knows(self, path: tuple) -> bool:
        """Whether a key was written, or lies inside what an override set."""
        return path in self.lines or any(path[: len(known)] == known for known in self.overrides)

    def __call__(self, *path: Any) -> str:
        return f"{self.place(path)}: {'.'.join(map(str, path))}"


def load_recipe(file: Path, overrides: list[str] | None = None) -> tuple[Recipe, Where]:
    """Read and check a recipe.

    Raises:
        UserError: with file, line, key and what is allowed, for every error in the recipe.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot read the recipe: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text (byte {error.start})") from error
    value, lines = parse_yaml(text, str(file))
    if not isinstance(value, dict):
        raise UserError(f"{file}:1: a recipe is a mapping with name and stages")
    where = Where(str(file), lines)
    for override in overrides or []:
        where.overrides[apply_override(value, override)] = override
    return check(Recipe, value, where), where


def check(model: type[Model], value: Any, where: Where) -> Model:
    """Validate a value, with errors as `file:line: key: what is wrong; what is allowed`.

    Raises:
        UserError: one line for every error.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        messages = [_explain(item, model, where) for item in error.errors()]
        raise UserError("\n".join(dict.fromkeys(messages))) from error


def _explain(item: Any, model: type[BaseModel], where: Where) -> str:
    path = _without_tag(item["loc"])
    while path and not where.knows(path) and item["type"] not in ("missing", "extra_forbidden"):
        path = path[:-1]
    return f"{where(*path)}: {_what_is_wrong(item, model)}"


def _without_tag(loc: tuple) -> tuple:
    """Pydantic puts the chosen kind of stage into the location: stages, <name>, <kind>, <setting>."""
    tagged = len(loc) > 2 and loc[0] == "stages" and loc[2] in STAGES
    return tuple(part for part in (loc[:2] + loc[3:] if tagged else loc) if "[" not in str(part))


def _what_is_wrong(item: Any, model: type[BaseModel]) -> str:
    kind, last = item["type"], str(item["loc"][-1]) if item["loc"] else ""
    if kind == "extra_forbidden":
        settings = _settings_at(item["loc"][:-1], model)
        if settings and last in settings.renamed:
            return f"is called {settings.renamed[last]!r} now"
        keys = [field.alias or name for name, field in settings.model_fields.items()] if settings else []
        return f"unknown key; {_near(last, keys)}allowed: {', '.join(keys)}"
    if kind == "missing":
        return "is missing"
    if kind == "union_tag_invalid":
        given = str(item["ctx"]["tag"])
        if now := next((name for name, stage in STAGES.items() if given in stage.formerly), None):
            return f"do: {given!r} is called {now!r} now"
        return f"do: unknown kind of stage {given!r}; {_near(given, STAGES)}allowed: {', '.join(STAGES)}"
    if kind == "union_tag_not_found":
        return f"do: is missing; allowed: {', '.join(STAGES)}"
    message = item["msg"].removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]}, not {item['input']!r}" if kind != "value_error" else message


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
