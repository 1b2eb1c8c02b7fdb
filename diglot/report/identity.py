"""Which run a page is about: its name, days, version, recipe, commit and seed; and how to talk to its model."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from diglot.base.artifact import Artifact
from diglot.base.format import excerpt, join

COMMIT = 10  # digits of a commit's hash that are shown


def facts_of(artifacts: Sequence[Artifact]) -> list[tuple[str, str]]:
    """Label and value of what tells a run from others; stages of several versions or commits name them all."""
    recipes = [recipe for artifact in artifacts if (recipe := artifact.provenance.get("recipe"))]
    names = _different(recipe["name"] for recipe in recipes)
    names = names or _different(artifact.path.parent.name for artifact in artifacts)
    days = sorted(_different(str(artifact.provenance.get("started", ""))[:10] for artifact in artifacts))
    versions = _different((artifact.provenance.get("versions") or {}).get("diglot") for artifact in artifacts)
    seeds = _different(artifact.inputs.get("seed") for artifact in artifacts)
    overrides = _different(each for recipe in recipes for each in recipe["overrides"])
    facts = [
        ("run", join(names)),
        ("made", " to ".join([days[0], days[-1]][: len(days)]) if days else ""),
        ("Diglot", join(versions)),
        ("recipe", join(_different(_recipe(recipe) for recipe in recipes))),
        ("seed", join(seeds)),
        ("changed on the command line", excerpt(" ".join(overrides))),
    ]
    return [(label, value) for label, value in facts if value]


def _recipe(recipe: dict[str, Any]) -> str:
    """A recipe's file and the commit that it lies in."""
    file, commit = recipe["file"], recipe["commit"]
    if not commit:
        return f"{file}, not in a repository"
    return f"{file} {'changed after' if recipe['changed'] else 'of'} commit {commit[:COMMIT]}"


def _different(values: Iterable[Any]) -> list[str]:
    """The values that are there, each once, as text."""
    return list(dict.fromkeys(str(value) for value in values if value is not None and value != ""))


def chat_command(models: list[Artifact]) -> str:
    """The command that talks to a run's last model; a folder elsewhere is named without the way to it.

    The page travels: a path of the machine that made it would say more of a person than of the run.
    """
    if not models:
        return ""
    folder = models[-1].path.resolve().parent
    here = Path.cwd().resolve()
    shown = folder.relative_to(here) if folder.is_relative_to(here) and folder != here else Path(folder.name)
    return f"diglot chat {shlex.quote(str(shown))}"
