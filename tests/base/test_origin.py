"""Where a recipe came from, with a real git repository."""

import shutil
import subprocess
from pathlib import Path

import pytest

from diglot.base.origin import origin_of

GIT = ["git", "-c", "user.name=A", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]


def git(folder: Path, *words: str) -> str:
    return subprocess.run([*GIT, *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    """A recipe in a repository, committed."""
    if shutil.which("git") is None:
        pytest.skip("no git on this machine")
    file = tmp_path / "recipes" / "mine.yaml"
    file.parent.mkdir()
    file.write_text("name: mine\nstages: {}\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "One")
    return file


def test_a_committed_recipe_has_its_commit(committed: Path) -> None:
    found = origin_of("mine", committed, ["base.steps=3"])
    commit = git(committed.parent, "rev-parse", "HEAD")
    assert found == {"name": "mine", "file": "mine.yaml", "commit": commit, "changed": False, "overrides": ["base.steps=3"]}  # fmt: skip


def test_a_changed_and_a_new_file_are_not_in_the_commit(committed: Path) -> None:
    committed.write_text("name: mine\nseed: 3\nstages: {}\n")
    assert origin_of("mine", committed, [])["changed"] is True
    other = committed.with_name("other.yaml")
    other.write_text("name: other\n")
    assert origin_of("other", other, [])["changed"] is True


def test_what_the_repository_names_is_not_run(committed: Path) -> None:
    trap = committed.parent.parent / "ran"
    git(committed.parent, "config", "core.fsmonitor", f"touch {trap}; false")
    git(committed.parent, "config", "filter.trap.clean", f"touch {trap}; cat")
    (committed.parent.parent / ".gitattributes").write_text("*.yaml filter=trap\n")
    origin_of("mine", committed, [])
    assert not trap.exists()


def test_outside_a_repository_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\n")
    assert origin_of("mine", file, []) == {"name": "mine", "file": "mine.yaml", "commit": None, "changed": None, "overrides": []}  # fmt: skip
    monkeypatch.setenv("PATH", "")
    assert origin_of("mine", tmp_path / "gone.yaml", [])["commit"] is None
