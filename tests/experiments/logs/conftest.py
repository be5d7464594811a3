"""A log that several files of tests read."""

from pathlib import Path

import pytest

from feedgym.experiments.commands.log import LogConfig, make_log
from helpers.logs.offline import SETTINGS


@pytest.fixture(scope="session")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    make_log(LogConfig(**SETTINGS, out=folder))
    return folder
