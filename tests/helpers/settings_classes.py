"""The settings classes of a stage."""

from collections.abc import Iterator
from typing import get_args, get_origin

from diglot.recipe.common import Settings


def places_of(settings: type[Settings], path: tuple = ()) -> Iterator[tuple[tuple, type[Settings]]]:
    """A settings class and those inside it, each with a path that leads to it."""
    yield path, settings
    for name, field in settings.model_fields.items():
        waiting: list = [(field.annotation, (*path, name))]
        while waiting:
            kind, inner = waiting.pop()
            if isinstance(kind, type) and issubclass(kind, Settings):
                yield from places_of(kind, inner)
            key = {dict: ("some",), list: (0,)}.get(get_origin(kind), ())
            waiting += [(each, (*inner, *key)) for each in get_args(kind)[-1 if key else 0 :]]
