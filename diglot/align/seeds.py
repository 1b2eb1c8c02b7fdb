"""Seed tasks: the few tasks written by people that self-instruct makes many of.

Ours lie in `seed_tasks/`, a file a language: en.jsonl, and ar.jsonl and id.jsonl, carried over by hand. A task a line:

    {"id": "seed-042", "name": "prime_or_not", "kind": "classification", "instruction": …, "input": …, "output": …,
     "is_classification": true, "keep": ["input"]}

A user's file may say less (`instruction` and `output` are enough), and may have self-instruct's own form, `instances:
[{"input", "output"}]` in place of `input` and `output`. Other keys are not read.

    keep     the parts that stay as they are in every language, such as code, formulas, a text to be translated
    only     the languages that the task makes sense in; in no other one it is used, and `reason` says why
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from diglot.align.messages import NO_INPUT
from diglot.base.errors import UserError
from diglot.base.files import parse_json, read_small
from diglot.text.languages import base_code

_FOLDER = Path(__file__).parent / "seed_tasks"
MOST_BYTES = 64 * 2**20  # of a file of tasks that people wrote


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class SeedTask(BaseModel):
    """A task, what is asked and a good answer.

    Attributes:
        id: unique in its file; that of a translation is that of its source.
        instruction: what is asked.
        input: what it is asked of; empty where the instruction says all.
        output: a good answer.
        is_classification: whether the answer is one of a few.
        name: in a word or two.
        kind: such as writing, extraction, mathematics.
        keep: parts that are the same in every language.
        only: the languages that it makes sense in; all if empty.
        reason: why only those.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    id: Annotated[str, BeforeValidator(_as_text), Field(min_length=1)]
    name: str = ""
    kind: str = ""
    instruction: str
    input: str = ""
    output: str
    is_classification: bool = False
    keep: Annotated[tuple[Literal["input", "output"], ...], Field(strict=False)] = ()
    only: Annotated[tuple[str, ...], Field(strict=False)] = ()
    reason: str = ""

    @field_validator("input", mode="before")
    @classmethod
    def _no_input(cls, value: Any) -> Any:
        """Nothing, in the ways that files of instructions say it."""
        nothing = value is None or (isinstance(value, str) and value.strip().lower() in {"", *NO_INPUT})
        return "" if nothing else value

    @field_validator("instruction", "output")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("it is empty")
        return value

    def as_json(self) -> dict[str, Any]:
        """What a file holds of it: the task in full, its marks only where it has some."""
        marks = [name for name in ("name", "kind", "keep", "only", "reason") if not getattr(self, name)]
        return self.model_dump(mode="json", exclude=set(marks))


def shipped_languages() -> list[str]:
    """The languages of our own seed tasks."""
    return sorted(file.stem for file in _FOLDER.glob("*.jsonl"))


def seed_tasks(language: str) -> list[SeedTask]:
    """Our seed tasks in a language.

    Args:
        language: its code; script and region do not matter.

    Raises:
        UserError: there are none in it.
    """
    if base_code(language) not in shipped_languages():
        raise UserError(
            f"seed tasks: there are none in {language!r} (only in {', '.join(shipped_languages())}); translate them "
            "with the stage translate-seed-tasks, or give a file of your own"
        )
    return read_seed_tasks(_FOLDER / f"{base_code(language)}.jsonl")


def read_seed_tasks(path: Path) -> list[SeedTask]:
    """The seed tasks of a file of JSON Lines, in its order; blank lines are passed by.

    Raises:
        UserError: it cannot be read, holds no task, or a line is none; with file, line and key.
    """
    try:
        content = read_small(path, MOST_BYTES)
    except OSError as error:
        raise UserError(
            f"{path}: the seed tasks cannot be read ({error.strerror}); give a file of JSON Lines"
        ) from error
    tasks: list[SeedTask] = []
    lines: dict[str, int] = {}  # by id
    for number, line in enumerate(content.split(b"\n"), start=1):  # a line ends at \n alone: texts may hold U+2028
        if not line.strip():
            continue
        for task in _read(line, f"{path}:{number}", default_id=f"{path.stem}-{number}"):
            if task.id in lines:
                raise UserError(f"{path}:{number}: id: {task.id!r} is the id of line {lines[task.id]} too; rename one")
            lines[task.id] = number
            tasks.append(task)
    if not tasks:
        raise UserError(f"{path}: it holds no seed task; write one a line, with at least an instruction and an output")
    return tasks


def _read(line: bytes, place: str, default_id: str) -> list[SeedTask]:
    """The task of a line; one an instance where it has several."""
    try:
        record = parse_json(line)
    except ValueError as error:
        raise UserError(f"{place}: not valid JSON ({error}); a task is one JSON object in one line") from error
    if not isinstance(record, dict):
        raise UserError(f"{place}: a task is a JSON object, this is {type(record).__name__}")
    record = {"id": default_id, **record}
    if "instances" not in record:
        return [_task(record, place, "")]
    instances = record.pop("instances")
    if not isinstance(instances, list) or not instances or not all(isinstance(one, dict) for one in instances):
        raise UserError(f"{place}: instances: it has to be a list of objects with input and output, one at least")
    parts = [{key: one[key] for key in ("input", "output") if key in one} for one in instances]
    record = {key: value for key, value in record.items() if key not in ("input", "output")}
    tasks = [_task({**record, **both}, place, f"instances[{at}].") for at, both in enumerate(parts)]
    # A file's ids are unique; the further instances of a task are told apart by their number.
    return [task if at == 0 else task.model_copy(update={"id": f"{task.id}#{at + 1}"}) for at, task in enumerate(tasks)]


def _task(record: dict[str, Any], place: str, inside: str) -> SeedTask:
    try:
        return SeedTask.model_validate(record)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in wrong["loc"])
        within = inside if key.split(".")[0] in ("input", "output") else ""
        what = wrong["msg"].removeprefix("Value error, ")
        raise UserError(f"{place}: {within}{key}: {what[:1].lower()}{what[1:]}; correct this task") from error
