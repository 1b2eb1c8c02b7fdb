"""The artifacts of a small run, for all tests of the report."""

from pathlib import Path

import pytest
from small_run import write_run

from diglot.base.artifact import Artifact


@pytest.fixture
def artifacts(tmp_path: Path) -> list[Artifact]:
    """The artifacts of the small run, in run order."""
    return write_run(tmp_path / "run")
