"""Tries: what stages that were stopped have left in their scratch folders, and what becomes of it.

    .scratch/trunk-1f0c…/     named by the stage and its fingerprint
    ├── try.json              what the try is made of
    └── …                     what the stage goes on from (training: its checkpoints)

A stage goes on from the try of its own fingerprint. Where it has none and a try with other settings is its very beginning
(more steps of a trunk), it takes that one up. All others stay until the stage is whole, for what was changed may be
changed back; what will be removed then is said before.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diglot.base.artifact import MadeFrom, read_artifact
from diglot.base.errors import UserError
from diglot.base.files import make_folder, read_json, refuse_links, remove, write_json
from diglot.base.format import megabytes
from diglot.progress import recorded
from diglot.step import Step, what_changed

FILE = "try.json"
MOST_BYTES = 10_000_000  # of that file; the largest stage of our recipes has 23 kB of settings


@dataclass(frozen=True)
class Try:
    """A try of a stage with other settings.

    Attributes:
        folder: where it lies.
        do: the kind of stage.
        semantic: the settings that make the result.
        settings: all of them.
        inputs: what else it was made of, as in `Step.made_from`.
    """

    folder: Path
    do: str
    semantic: dict[str, Any]
    settings: dict[str, Any]
    inputs: dict[str, Any]


def scratch_of(step: Step) -> Path:
    """Where a stage keeps what its next try goes on from."""
    return step.work / ".scratch" / f"{step.name}-{step.fingerprint[:12]}"


def take_up(step: Step) -> Path:
    """The scratch folder of a stage, with what it goes on from.

    Raises:
        UserError: a link lies there.
    """
    scratch = scratch_of(step)
    refuse_links(scratch.parent)
    if beginning := _beginning(step):
        beginning.folder.rename(scratch)
    make_folder(scratch)
    settings = step.settings
    made = {
        "do": settings.do,
        "semantic": settings.semantic(),
        "settings": settings.settings(),
        "inputs": step.made_from,
    }
    write_json(scratch / FILE, made)
    return scratch


def remove_tries(step: Step) -> None:
    """Remove all that a stage has tried: it is whole."""
    for folder in (scratch_of(step), *_others(step)):
        remove(folder)


def told(step: Step) -> Iterator[str]:
    """What a stage goes on from though it was begun with other settings, and what is removed when it is whole."""
    beginning = _beginning(step)
    if beginning:
        yield f"{step.name}: goes on from {_about(beginning.folder)}, made with {what_changed(step, beginning)}"
    for folder in _others(step):
        if beginning and folder == beginning.folder:
            continue
        earlier = _read(folder)
        why = f" ({what_changed(step, earlier)})" if earlier else ""
        yield f"{step.name}: {_about(folder)}, of a try with other settings{why}: removed when this stage is whole"
    if step.state == "stale":
        yield f"{step.name}: what it made before, {_before(step)}"


def _beginning(step: Step) -> Try | None:
    """A try with other settings that did just what this stage does first, if the stage has no try of its own."""
    if scratch_of(step).exists():
        return None
    for found in filter(None, map(_read, _others(step))):
        # As text: the order of inputs counts.
        same = json.dumps([found.do, found.inputs]) == json.dumps([step.settings.do, step.made_from])
        if same and step.settings.goes_on_from(found.semantic):
            return found
    return None


def _others(step: Step) -> list[Path]:
    """The scratch folders of a stage's tries with other settings; not of a stage whose name begins alike."""
    own = scratch_of(step)
    return sorted(path for path in own.parent.glob(f"{step.name}-*") if path != own and len(path.name) == len(own.name))


def _read(folder: Path) -> Try | None:
    """A try; None where it does not say what it is made of."""
    with contextlib.suppress(UserError, TypeError, ValueError):
        found = Try(folder, **read_json(folder / FILE, most=MOST_BYTES))
        if all(isinstance(each, dict) for each in (found.semantic, found.settings, found.inputs)):
            MadeFrom.model_validate(found.inputs)
            return found
    return None


def _about(folder: Path) -> str:
    """How far a try came, and its size: 14 steps, 3.2 GB."""
    steps = [path.name.removeprefix("step-") for path in (folder / "checkpoints").glob("step-*")]
    reached = max((int(number) for number in steps if number.isdecimal()), default=None)
    far = f"{reached:,} steps" if reached else recorded(folder) or "what there is"
    return f"{far}, {_size(folder)}"


def _before(step: Step) -> str:
    """What becomes of the artifact that a stage is to make anew, and how a train stage goes on from it instead."""
    settings: dict[str, Any] = {}
    with contextlib.suppress(UserError):  # of an older version
        if artifact := read_artifact(step.folder):
            settings = artifact.settings
    steps = settings.get("steps")
    size = f"{steps:,} steps, {_size(step.folder)}" if isinstance(steps, int) else _size(step.folder)
    semantic = step.settings.semantic()
    is_beginning = step.settings.goes_on_from({key: value for key, value in settings.items() if key in semantic})
    remedy = "; to go on from it, leave this stage as it was and add one with continues: run" if is_beginning else ""
    return f"{size}, is replaced when this stage is whole{remedy}"


def _size(folder: Path) -> str:
    """The bytes of all files in a folder, in words; links are not followed."""
    files = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return megabytes(sum(file.lstat().st_size for file in files) / 1e6)
