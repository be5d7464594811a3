"""The toy whose table is worked out by hand."""

import pytest

from helpers.plain.toy_world import LISTED, LOGGER, TARGET, World, policy


@pytest.fixture(scope="session")
def toy() -> World:
    return World(policy(LISTED, LOGGER, 8, 0.1), policy(LISTED, TARGET, 8, 0.1), 3)
