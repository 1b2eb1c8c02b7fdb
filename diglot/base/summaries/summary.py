"""What a summary is: a dataclass that is written into a manifest as JSON and read back strictly."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, TypeAdapter


@functools.cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _plain(value: Any) -> Any:
    """Dataclasses as dictionaries, without what has its default value."""
    if is_dataclass(value):
        return {
            each.name: _plain(own) for each in fields(value) if not _is_default(each, own := getattr(value, each.name))
        }
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _is_default(field: Field[Any], value: Any) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return default is not MISSING and value == default


class Record:
    """A dataclass that is written as JSON and read back, with all nested ones, strictly."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def as_json(self) -> dict[str, Any]:
        """For JSON: dictionaries, lists and plain values."""
        plain: dict[str, Any] = _plain(self)
        return plain

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `as_json` wrote.

        Raises:
            ValueError: unknown or missing fields, or values of another type.
        """
        kind: Any = cls
        found: Self = _reader(kind).validate_python(value)
        return found


class Summary(Record):
    """What a stage says about its artifact.

    Attributes:
        headline: the fields that `diglot show` and the end of a stage put into one line.
    """

    headline: ClassVar[tuple[str, ...]] = ()
    classes: ClassVar[dict[str, type[Summary]]] = {}

    def __init_subclass__(cls, of: tuple[str, ...] = (), **keywords: Any) -> None:
        """Make a class known by the kinds of artifacts or stages it is of."""
        super().__init_subclass__(**keywords)
        cls.classes.update(dict.fromkeys(of, cls))

    def warnings(self) -> list[str]:
        """What the one who runs the stage should hear at once."""
        return []


def read_summary(do: str, kind: str, value: Any) -> Summary:
    """The summary in a manifest, by the kinds of stage and artifact that it names.

    Raises:
        ValueError: there is no such kind, or it is of another version.
    """
    found = Summary.classes.get(do) or Summary.classes.get(kind)
    if found is None:
        raise ValueError(f"no artifact has the kind {kind!r}")
    return found.from_json(value)
