"""The study of all two-tower agents, at a size that runs in seconds."""

import dataclasses
from pathlib import Path

import pytest

from feedgym.agents.registry.published import SYSTEMS
from feedgym.experiments.studies import two_towers


def test_every_learning_agent_and_every_system_is_in_the_study() -> None:
    assert set(SYSTEMS) < set(two_towers.AGENTS_RUN)
    assert {"regression-dwell", "regression-click", "contrastive", "reinforce", "ltv"} < set(two_towers.AGENTS_RUN)
    assert not any(name.startswith("oracle") for name in two_towers.AGENTS_RUN)


def test_a_small_study_has_a_row_for_each_agent_with_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_towers, "AGENTS_RUN", ("recent", "regression-dwell", "nrms"))
    monkeypatch.setattr(two_towers, "SEEDS", (0,))
    monkeypatch.setattr(two_towers, "READERS", 60)
    monkeypatch.setattr(two_towers, "DAYS", 1.0)
    # Here: each worker would load torch.
    plain = two_towers.config
    monkeypatch.setattr(two_towers, "config", lambda out: dataclasses.replace(plain(out), tick_hours=1.0, workers=1))
    monkeypatch.setattr(two_towers, "COST_READERS", 30)
    monkeypatch.setattr(two_towers, "COST_DAYS", 0.5)
    text = two_towers.run(tmp_path)
    rows = {line.split(" | ")[1]: line.split(" | ") for line in text.splitlines() if line.startswith("| ")}
    assert {"recent", "regression-dwell", "nrms"} <= rows.keys()
    assert rows["recent"][7] == "-"
    parameters, seconds = two_towers.cost("regression-dwell")
    assert rows["regression-dwell"][7] == f"{parameters:,}"
    assert parameters > 5000
    assert seconds > 0
    assert rows["nrms"][7] != rows["regression-dwell"][7]
    recall = float(rows["regression-dwell"][5])
    assert 0 < recall <= 1
    assert two_towers.cost("random")[0] == 0
