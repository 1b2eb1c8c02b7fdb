"""One small world, generated once, for all tests of the package."""

import pytest
from world_files import Generated, generate

from diglot.world.facts import World


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    return generate(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def world(generated: Generated) -> World:
    return generated.world
