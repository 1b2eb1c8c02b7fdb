"""Where a recipe came from: its name, its file, the commit that it lies in, and what was changed on the command line."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def origin_of(name: str, file: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """What provenance says of the recipe that a stage was run by.

    Args:
        name: the recipe's own.
        file: where it was read from; only the file's name is kept, as folders say more of a person than of a run.
        overrides: settings given on the command line, as written there.
    """
    return {"name": name, "file": file.name, **_committed(file), "overrides": list(overrides)}


def _committed(file: Path) -> dict[str, Any]:
    """The commit that is checked out where a file lies, and whether the file differs from the one in it.

    Only what runs no program that the repository's settings name: `git status` would (fsmonitor, filters).
    """
    commit = _git(file.parent, "rev-parse", "--verify", "HEAD")
    if commit is None or not file.is_file():
        return {"commit": None, "changed": None}
    there = _git(file.parent, "rev-parse", "--verify", f"HEAD:./{file.name}")
    here = _git(file.parent, "hash-object", "--no-filters", "--", file.name)
    return {"commit": commit, "changed": there != here}


def _git(folder: Path, *words: str) -> str | None:
    """What git prints, or None where it is not there, takes too long or refuses."""
    try:
        command = ["git", *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
