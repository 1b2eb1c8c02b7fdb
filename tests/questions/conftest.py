"""A model and a judge on one server, and folders for stages."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from judge_server import Answering
from web_server import serving

from diglot.base.artifact import Context
from diglot.recipe.endpoint import Endpoint


@pytest.fixture
def server() -> Answering:
    return Answering()


@pytest.fixture
def endpoint(server: Answering) -> Iterator[Callable[[str], Endpoint]]:
    """An endpoint of the server, for `model` or `judge`."""
    with serving(server) as port:
        yield lambda name: Endpoint(url=f"http://127.0.0.1:{port}/v1", model=name, retries=0, concurrency=2)


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], tuple[Path, Context]]:
    """An output folder and a context of a stage, by name; the scratch folder stays the same."""

    def make(name: str) -> tuple[Path, Context]:
        output, scratch = tmp_path / name, tmp_path / f"{name}.scratch"
        for folder in (output, scratch):
            folder.mkdir(exist_ok=True)
        return output, Context(name=name, seed=0, scratch=scratch)

    return make
