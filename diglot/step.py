"""A stage in a plan: what its artifact will be made of, whether it is there, and what changed since it was made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from diglot.base.artifact import OtherFormat, fingerprint, other_versions, read_artifact
from diglot.base.errors import UserError
from diglot.base.format import excerpt
from diglot.recipe.common import Stage


@dataclass
class Step:
    """A stage in a plan.

    Attributes:
        name: its name in the recipe.
        settings: its settings.
        reads: the stages it reads, by role, as written in `from`: `trunk`, or `trunk@400`.
        folder: where its artifact lies or will lie.
        work: the folder of `.partial` and `.scratch`: the run folder.
        fingerprint: of the artifact that the recipe asks for.
        made_from: what went into the fingerprint, for saying why an artifact is stale.
        state: `done`, `stale` or `to do`; `running` where `note_begun` finds that, `damaged` where `verify` does.
        why: for `stale`, what changed; for `done`, which server or versions of libraries were others; of what was begun,
            how far it is.
    """

    name: str
    settings: Stage
    reads: dict[str, list[str]]
    folder: Path
    work: Path
    fingerprint: str = ""
    made_from: dict[str, Any] = field(default_factory=dict)
    state: str = "to do"
    why: str = ""


class Made(Protocol):
    """What was made, or begun: an artifact, or a try."""

    @property
    def do(self) -> str:
        """The kind of stage."""

    @property
    def settings(self) -> dict[str, Any]:
        """All its settings."""

    @property
    def inputs(self) -> dict[str, Any]:
        """What else went into it, as in `Step.made_from`."""


def step_fingerprint(settings: Stage, made_from: dict[str, Any], reads: dict[str, list[str]]) -> str:
    """The fingerprint of the artifact that a stage will make.

    The order of inputs counts (weights of a merge), and that of the keys of mappings: of documents that are the same, the one
    of the source that stands first is kept.
    """
    made = {"do": settings.do, "settings": settings.semantic(), "keys": settings.orders(), "order": reads, **made_from}
    return fingerprint(made)


def set_state(step: Step) -> None:
    """Say of a step whether its artifact is done, stale (and why) or to do.

    Raises:
        UserError: its folder holds something else.
    """
    try:
        artifact = read_artifact(step.folder)
    except OtherFormat as error:
        step.state, step.why = "stale", f"written by {error.which} version of Diglot"
        return
    if artifact is None:
        if step.folder.is_file() or (step.folder.is_dir() and any(step.folder.iterdir())):
            raise UserError(
                f"{step.folder} holds something that is not an artifact; give another folder (--run, or a stage's --out)"
            )
        step.state = "to do"
    elif artifact.fingerprint == step.fingerprint:
        told = [change for change in _changed_settings(step, artifact) if change.startswith(step.settings.told)]
        step.state, step.why = "done", "; ".join(filter(None, [*told, other_versions(artifact)]))
    else:
        step.state, step.why = "stale", what_changed(step, artifact)


def what_changed(step: Step, earlier: Made) -> str:
    """What differs between what a stage is to make now and what was made, or begun, before."""
    before, after = earlier.inputs, step.made_from
    if earlier.do != step.settings.do:
        return f"was made by {earlier.do}"
    changes = _changed_settings(step, earlier)
    if before.get("version") != after["version"]:
        changes.append(f"code version {before.get('version')} → {after['version']}")
    if before.get("seed") != after["seed"]:
        changes.append(f"seed {before.get('seed')} → {after['seed']}")
    old_files, new_files = before.get("files", {}), after["files"]
    changed = [name for name in sorted({*old_files, *new_files}) if old_files.get(name) != new_files.get(name)]
    if changed:
        changes.append(
            f"{len(changed)} input files changed, such as {changed[0]}" if len(changed) > 1 else f"{changed[0]} changed"
        )
    old_stages = {name: print_ for role in before.get("stages", {}).values() for name, print_ in role.items()}
    new_stages = {name: print_ for role in after["stages"].values() for name, print_ in role.items()}
    upstream = [name for name in new_stages if old_stages.get(name) != new_stages[name]]
    if upstream:
        changes.append(f"input changed: {', '.join(upstream)}")
    return "; ".join(changes) or "the order of its inputs, or of its settings"


def _changed_settings(step: Step, earlier: Made) -> list[str]:
    differences = _differences(earlier.settings, step.settings.settings())
    return [f"{key}: {_shown(old)} → {_shown(new)}" for key, old, new in differences]


def _differences(old: Any, new: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
    elif old != new:
        yield prefix, old, new


def _shown(value: Any) -> str:
    return excerpt(json.dumps(value, ensure_ascii=False), 40)
