"""A change of what a stage makes raises its version, or runs of before pass for done."""

import json
from pathlib import Path
from typing import Any

import golden
import pytest

REMEDY = "run python tests/helpers/golden.py and look at what it changed"


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    pytest.importorskip("fasttext")
    return golden.golden(tmp_path_factory.mktemp("golden"))


@pytest.mark.slow
def test_what_a_stage_makes_changes_with_its_version_only(now: dict[str, dict[str, Any]]) -> None:
    then = json.loads(golden.FILE.read_text())
    assert then.keys() == now.keys(), REMEDY
    for name, made in now.items():
        before = then[name]
        if made["version"] != before["version"]:
            pytest.fail(f"the version of {name} was raised: {REMEDY}")
        same = all(made.get(key) == before.get(key) for key in ("exact", "order"))
        # Rounding differs by processor, and training passes it on.
        same = same and made["floats"] == pytest.approx(before["floats"], rel=0.005, abs=1e-5)
        assert same, f"{name} makes something else of the same settings: raise its version, then {REMEDY}"


def test_floats_are_told_from_what_is_exact(tmp_path: Path) -> None:
    def made(content: str) -> dict[str, Any]:
        (tmp_path / "x.json").write_text(content)
        return golden.made(tmp_path)

    one = made('{"a": 1, "b": [0.5, "x"], "acc": true}')
    assert one["floats"] == {"x.json": 0.5}
    assert made('{"a": 1, "b": [0.25, "x"], "acc": false}')["exact"] == one["exact"]
    assert made('{"a": 2, "b": [0.5, "x"], "acc": true}')["exact"] != one["exact"]
