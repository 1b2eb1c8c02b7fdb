"""What all tests share: the folder of real data, and quiet threads."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Three processes test on two cores, and the tests' matrices are small: more threads would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import examples  # noqa: F401  (registers the profiles)
import hypothesis
import pytest
from chat_server import Server
from kernels import compile_once

from diglot.base.artifact import Context

if "PYTEST_XDIST_WORKER" in os.environ:
    compile_once()
hypothesis.settings.load_profile("few")  # `--hypothesis-profile=wide` comes after this file and wins

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: then the many short ones fill all processes to the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real text, from $DIGLOT_DATA or beside the repository; tests that need it skip without it."""
    folder = Path(os.environ.get("DIGLOT_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "raw_text").is_dir():
        pytest.skip(f"no real data in {folder}: set DIGLOT_DATA to run this test")
    return folder


@pytest.fixture(scope="session")
def models() -> Path:
    """A folder of real models, from $DIGLOT_MODELS: smollm2-135m, and tokenizers alone in tokenizers/{llama2,qwen3,…}."""
    folder = os.environ.get("DIGLOT_MODELS")
    if not folder or not (Path(folder) / "tokenizers").is_dir():
        pytest.skip("no real models: set DIGLOT_MODELS to run this test")
    return Path(folder)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts model servers that behave as told; see `chat_server`."""
    servers: list[Server] = []

    def start(name: str = "server", **behaviour: Any) -> Server:
        servers.append(Server(tmp_path / name, **behaviour))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A stage's context with a scratch folder of its own."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Context(name="test", seed=0, scratch=scratch, workers=2)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Torch's own generator starts anew, so that a test's weights do not depend on the tests before it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
