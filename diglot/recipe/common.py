"""What all settings share: strictness, the types of common values, and what a stage is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from diglot.base.errors import UserError


class Role(NamedTuple):
    """One input of a stage: the kinds of artifact it accepts, whether it must be there, and whether several may be."""

    kinds: tuple[str, ...] | None  # None: every kind
    required: bool = True
    many: bool = False

    def accepts(self, kind: str) -> bool:
        """Whether an artifact of a kind fits."""
        return self.kinds is None or kind in self.kinds

    def __str__(self) -> str:
        return "artifact" if self.kinds is None else " or ".join(self.kinds)


def at_step(name: str) -> tuple[str, str | None]:
    """A name in `from`, apart: `trunk@400` is the model of the stage `trunk` after 400 steps."""
    stage, at, step = name.partition("@")
    return stage, step if at else None


class Settings(BaseModel):
    """Base of all settings: unknown keys and wrong types are errors."""

    renamed: ClassVar[dict[str, str]] = {}  # keys of before, by which errors name the new ones

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True, allow_inf_nan=False)


_LANGUAGE, _NAME, _COLUMN = r"^[a-z]{2,3}(-[A-Za-z]+)?$", r"^[A-Za-z0-9][A-Za-z0-9_-]*$", r"^[a-z][a-z0-9_]*$"
PATTERNS = {  # what they mean, for errors
    _LANGUAGE: "a language is its ISO 639 code in small letters, such as en, ar or zh",
    _NAME: "a name has letters of A to Z, digits, - and _, and begins with a letter or a digit",
    _COLUMN: "a column has small letters of a to z, digits and _, and begins with a letter",
}

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Language = Annotated[str, Field(pattern=_LANGUAGE, description="ISO 639 code, such as ar")]
Seed = Annotated[int, Field(description="Of the stage's own random choices, beside the recipe's seed.")]
Name = Annotated[str, Field(pattern=_NAME)]
Column = Annotated[str, Field(pattern=_COLUMN)]


REGISTRY: dict[str, type[Stage]] = {}  # by the name of the kind; a class enters it when it is defined


class Stage(Settings):
    """What all stages share. A subclass with a `do` of its own is a kind of stage, and registers itself.

    Attributes:
        makes: the kind of artifact that the stage writes.
        reads: its inputs, by role.
        function: what does the work, as `module:name`: `function(settings, inputs, output, context) -> summary`.
        foresees: a check before anything runs, as `module:name`: `function(settings, folders) -> Path | None` looks at the
            folders that are there already, by role, and returns the one whose tokenizer the artifact will have, if any.
        version: of the code, in the fingerprint: raised when a change makes the same settings give another result.
        extra: the extra of the package that it needs, for the error where a library is missing.
        not_in_fingerprint: settings, or `setting.part`, that do not change the result.
        main_role: the role of a plain name in `from`, where there are several.
        told: settings outside the fingerprint of which is said, of what is done, that they were others.
        checks_inputs_whole: what it reads is hashed to the last byte before it runs, whatever is remembered of it.
        reads_everything: without `from` it reads all other stages.
        position: its place in lists of kinds, which follow the pipeline.
        formerly: names of before, by which errors name the new one.
        in_example: settings that the example in the command's help gives beside those that must be given.
    """

    makes: ClassVar[str]
    reads: ClassVar[dict[str, Role]] = {}
    function: ClassVar[str]
    foresees: ClassVar[str | None] = None
    version: ClassVar[int] = 1
    extra: ClassVar[str | None] = None
    not_in_fingerprint: ClassVar[frozenset[str]] = frozenset()
    main_role: ClassVar[str | None] = None
    told: ClassVar[tuple[str, ...]] = ()
    checks_inputs_whole: ClassVar[bool] = False
    reads_everything: ClassVar[bool] = False
    position: ClassVar[int] = 1000
    formerly: ClassVar[tuple[str, ...]] = ()
    in_example: ClassVar[frozenset[str]] = frozenset()

    do: str
    from_: dict[str, str | list[str]] | list[str] | str = Field(
        default_factory=dict,
        alias="from",
        description="The stages whose artifacts this stage reads, by role; a plain name where there is one role, or a main one.",
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        kind = cls.model_fields["do"].default
        if not isinstance(kind, str):  # a base of several kinds, such as Training
            return
        if kind in REGISTRY:
            raise TypeError(f"two kinds of stage are called {kind}: {REGISTRY[kind].__module__} and {cls.__module__}")
        REGISTRY[kind] = cls

    def reads_from(self) -> dict[str, list[str]]:
        """The stages read, by role.

        Raises:
            UserError: roles are left out although the stage has several.
        """
        given = self.from_
        if not isinstance(given, dict):
            role = self.main_role or (next(iter(self.reads)) if len(self.reads) == 1 else None)
            if role is None:
                raise UserError(f"from: name the role of each input: {', '.join(self.reads) or 'it reads none'}")
            given = {role: given}
        return {role: [names] if isinstance(names, str) else list(names) for role, names in given.items()}

    def settings(self) -> dict[str, Any]:
        """The stage's own settings, for the manifest."""
        return self.model_dump(mode="json", exclude={"do", "from_"})

    def semantic(self) -> dict[str, Any]:
        """The settings that make the result, for the fingerprint."""
        made_of = {key: value for key, value in self.settings().items() if key not in self.not_in_fingerprint}
        for key, _, inner in (name.partition(".") for name in self.not_in_fingerprint if "." in name):
            if made_of[key] is not None:
                made_of[key] = {name: value for name, value in made_of[key].items() if name != inner}
        return made_of

    def num_sources(self) -> int:
        """Sources that its artifact has, as far as its settings tell; for plans."""
        return 1

    def settled(self, stages: Mapping[str, Stage]) -> Stage:
        """The stage with the defaults that follow from other stages of its recipe."""
        return self

    def orders(self) -> dict[str, list[str]]:
        """The keys of each mapping among the settings that make the result, in their order."""
        return dict(found for name in self.semantic() for found in _orders(name, getattr(self, name)))

    def kept_steps(self) -> list[int]:
        """The steps whose models other stages can read as STAGE@STEP; only training has steps."""
        return []

    def goes_on_from(self, earlier: dict[str, Any]) -> bool:
        """Whether a try of this stage with other settings (as `semantic` gives them) is the beginning of this one."""
        return False

    def refuses(self, role: str, other: Stage, step: int | None) -> str | None:
        """What is wrong with reading another stage (at a step of its) in a role, beyond its kind; None if nothing."""
        return None

    def impossible(self) -> Iterator[tuple[str, str]]:
        """What is wrong with the settings beyond their types, and is known before anything runs: key, and words."""
        yield from ()

    def outside_paths(self) -> dict[tuple, str]:
        """Files, folders, globs and URLs read from outside the run, by the settings' key that names them."""
        return {}

    def brings(self) -> str | None:
        """The folder from outside whose tokenizer the artifact will have, where it is on this machine."""
        return None


def _orders(place: str, value: Any) -> Iterator[tuple[str, list[str]]]:
    if isinstance(value, BaseModel):
        inner = {name: getattr(value, name) for name in type(value).model_fields}
    elif isinstance(value, list):
        inner = {str(number): item for number, item in enumerate(value)}
    elif isinstance(value, dict):
        inner = {str(key): item for key, item in value.items()}
        yield place, list(inner)
    else:
        return
    for key, item in inner.items():
        yield from _orders(f"{place}.{key}", item)
