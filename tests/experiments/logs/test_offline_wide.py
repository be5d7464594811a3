"""``feedgym offline`` with a wide part: a linear model of a log is deployed as it was fitted."""

from pathlib import Path

import numpy as np
import pytest

from feedgym.experiments import offline
from feedgym.experiments.offline import OfflineConfig
from feedgym.experiments.runs.checkpoint import load_arrays


@pytest.mark.parametrize("agent", ["linear", "regression-dwell:loss=hurdle,wide_part=True,max_steps=5"])
def test_what_a_log_taught_is_deployed(agent: str, logged: Path, tmp_path: Path) -> None:
    words = "," if ":" in agent else ":"
    result = offline.run(OfflineConfig(log=logged, agent=f"{agent}{words}train_every_hours=12.0", out=tmp_path))
    assert (result.why_not_deployed, result.why_unsupported) == (None, None)
    assert result.deployed_reward is not None
    assert result.deployed_reward > 0
    arrays = load_arrays(tmp_path / offline.TRAINED)
    assert int(arrays["policy_version"]) == 4
    assert np.abs(arrays["model/wide.article"]).max() > 0.01
    assert float(arrays["model/wide.worth_floor"]) > 0
