"""``feedgym offline`` on a log of slates that were drawn ahead: learned from, estimated, and held against the truth."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents.logged import evaluation as logged_evaluation
from feedgym.env.log.reader import LogReader
from feedgym.experiments import offline
from feedgym.experiments.commands.log import LogConfig, make_log
from feedgym.experiments.logs import logged_truth
from feedgym.experiments.offline import OfflineConfig

CLOCKS = "serving=batch,item_refresh_hours=6,reader_refresh_hours=6,train_every_hours=12,max_steps=5"
LOGGER = f"regression-dwell:{CLOCKS},epsilon=0.8"
TARGET = f"regression-dwell:{CLOCKS},epsilon=0.7,sharpness=0.5"


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    make_log(LogConfig(agent=LOGGER, readers=300, days=2.0, tick_hours=1.0, seed=4, out=folder))
    return folder


def test_estimates_and_truth_are_of_the_same_visits(logged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of readers who were known when their slate was drawn, and of the first visit at which they got it."""
    truth: list[int] = []
    log: list[int] = []
    rewards, weigh = logged_truth.reward_on_logged_states, vars(logged_evaluation)["evaluate"]

    def counted(*args: Any, **settings: Any) -> Any:
        found = rewards(*args, **settings)
        truth.append(len(found))
        return found

    def weighed(slates: Any, *args: Any, **settings: Any) -> Any:
        log.append(slates.num_visits)
        return weigh(slates, *args, **settings)

    monkeypatch.setattr(logged_truth, "reward_on_logged_states", counted)
    monkeypatch.setattr(logged_evaluation, "evaluate", weighed)
    result = offline.run(OfflineConfig(log=logged, agent=TARGET, estimate_days=1.0))
    assert {row["estimator"] for row in result.estimates} == {"sniips", "snrips", "snsips"}
    assert any("drawn ahead" in note for note in result.notes)

    visits = list(LogReader(logged).visits())
    slate, greedy, hours = (np.concatenate([v[n] for v in visits]) for n in ("slate_id", "greedy", "time_hours"))
    used = (hours >= 24.0) & ~greedy
    assert truth == log == [len(np.unique(slate[used]))]
    assert truth[0] < used.sum() < (hours >= 24.0).sum()
    assert result.truth_error is not None
    row = next(row for row in result.estimates if row["estimator"] == "sniips")
    assert row["low"] - 4.0 * result.truth_error < row["truth"] < row["high"] + 4.0 * result.truth_error


def test_estimated_chances_are_refused_for_slates_drawn_ahead(logged: Path) -> None:
    with pytest.raises(ValueError, match="propensities: got 'estimated', needs those of the log"):
        offline.run(OfflineConfig(log=logged, agent=TARGET, estimate_days=1.0, propensities="estimated", deploy=False))
