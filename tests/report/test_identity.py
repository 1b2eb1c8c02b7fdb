"""Which run a page is about, and how to talk to its model."""

import dataclasses
from pathlib import Path

import pytest
from small_run import by_stage

from diglot.base.artifact import Artifact
from diglot.report.identity import chat_command, facts_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def made_by(artifact: Artifact, day: str = "2026-01-02", version: str = "0.1.0", **recipe: object) -> Artifact:
    about = {"name": "mine", "file": "mine.yaml", "commit": COMMIT, "changed": False, "overrides": [], **recipe}
    versions = {"diglot": version, "torch": "2.13.0"}
    changed = {"started": f"{day}T03:04:05+00:00", "versions": versions, "recipe": about}
    return dataclasses.replace(artifact, provenance={**artifact.provenance, **changed})


def test_name_day_version_commit_and_seed_are_said(artifacts: list[Artifact]) -> None:
    facts = dict(facts_of([made_by(artifact) for artifact in artifacts]))
    assert facts == {
        "run": "mine", "made": "2026-01-02", "Diglot": "0.1.0", "recipe": "mine.yaml of commit 0123456789", "seed": "0",
    }  # fmt: skip


def test_what_differs_between_stages_is_all_said(artifacts: list[Artifact]) -> None:
    first = made_by(artifacts[0])
    last = made_by(artifacts[-1], "2026-01-05", "0.2.0", changed=True, overrides=["trunk.steps=9"])
    facts = dict(facts_of([first, last]))
    assert facts["made"] == "2026-01-02 to 2026-01-05"
    assert facts["Diglot"] == "0.1.0 and 0.2.0"
    assert facts["recipe"] == "mine.yaml of commit 0123456789 and mine.yaml changed after commit 0123456789"
    assert facts["changed on the command line"] == "trunk.steps=9"


def test_a_run_without_a_recipe_or_a_repository(artifacts: list[Artifact]) -> None:
    facts = dict(facts_of(artifacts))
    assert facts["run"] == artifacts[0].path.parent.name
    assert "recipe" not in facts
    alone = made_by(artifacts[0], commit=None, changed=None)
    assert dict(facts_of([alone]))["recipe"] == "mine.yaml, not in a repository"
    assert facts_of([]) == []


def test_the_command_to_chat(artifacts: list[Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [by_stage(artifacts, name) for name in ("base", "dpo")]
    monkeypatch.chdir(tmp_path)
    assert chat_command(models) == f"diglot chat {models[0].path.parent.relative_to(tmp_path)}"
    monkeypatch.chdir("/")
    away = dataclasses.replace(models[1], path=Path("/nowhere of mine/a run/dpo"))
    assert chat_command([away]) == "diglot chat 'nowhere of mine/a run'"  # below the working directory
    monkeypatch.chdir(tmp_path)
    assert chat_command([away]) == "diglot chat 'a run'"
    assert chat_command([]) == ""
