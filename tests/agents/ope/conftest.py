"""The toy whose table is worked out by hand."""

import pytest

from helpers.plain.toy_world import LISTED, LOGGER, TARGET, World, weights


@pytest.fixture(scope="session")
def toy() -> World:
    return World(weights(LISTED, LOGGER, 8, 0.1), weights(LISTED, TARGET, 8, 0.1), 3)
