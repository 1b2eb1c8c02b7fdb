"""What can be said of a setting from its field: for the help of commands, for errors, and for docs/settings.md."""

from __future__ import annotations

import json
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from diglot.recipe.common import Settings


def parts_of(kind: Any) -> list[Any]:
    """A type and all types inside it."""
    if get_origin(kind) is Annotated:
        return parts_of(get_args(kind)[0])
    return [kind, *(part for each in get_args(kind) if get_origin(kind) is not Literal for part in parts_of(each))]


def settings_in(field: FieldInfo) -> list[type[Settings]]:
    """The classes of settings that a field's value may hold."""
    return [each for each in parts_of(field.annotation) if isinstance(each, type) and issubclass(each, Settings)]


def is_deep(field: FieldInfo) -> bool:
    """Whether a value is a list or a mapping, and nothing simpler."""
    kinds = get_args(field.annotation) if _is_union(field.annotation) else (field.annotation,)
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    return all(get_origin(kind) in (dict, list, tuple) or _is_settings(kind) for kind in kinds)


def untold_choices(field: FieldInfo) -> list[str]:
    """The words that a setting may be, unless its description names them all."""
    kinds = [field.annotation, *get_args(field.annotation)] if _is_union(field.annotation) else [field.annotation]
    words = [str(word) for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    return [] if all(word in (field.description or "") for word in words) else words


def default_of(field: FieldInfo) -> str:
    """The default as a recipe would say it; empty where there is none, or it is to say nothing."""
    if field.is_required():
        return ""
    value = _plain(field.get_default(call_default_factory=True))
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def example_of(field: FieldInfo) -> str:
    """An example as a recipe would say it; empty where there is none."""
    example = (field.examples or [""])[0]
    return example if isinstance(example, str) else json.dumps(example)


def _plain(value: Any) -> Any:
    """A default without what is the default inside it."""
    if isinstance(value, Settings):
        return value.model_dump(mode="json", exclude_defaults=True)
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _is_settings(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Settings)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)
