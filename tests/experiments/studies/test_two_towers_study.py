"""The study of all two-tower agents, at a size that runs in seconds."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from feedgym.agents.registry.published import SYSTEMS
from feedgym.experiments.studies import two_towers


def test_every_learning_agent_and_every_system_is_in_the_study() -> None:
    assert set(SYSTEMS) < set(two_towers.AGENTS_RUN)
    assert {"regression-dwell", "regression-click", "contrastive", "reinforce", "ltv"} < set(two_towers.AGENTS_RUN)
    assert not any(name.startswith("oracle") for name in two_towers.AGENTS_RUN)


def test_a_small_study_has_a_row_for_each_agent_in_each_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_towers, "AGENTS_RUN", ("random", "recent", "nrms"))
    monkeypatch.setattr(two_towers, "AS_PUBLISHED", ("nrms:size=published",))
    monkeypatch.setattr(two_towers, "SEEDS", (0,))
    monkeypatch.setattr(two_towers, "PUBLISHED_SEEDS", (0,))
    monkeypatch.setattr(two_towers, "READERS", 60)
    monkeypatch.setattr(two_towers, "DAYS", 3.0)
    monkeypatch.setattr(two_towers, "PUBLISHED_DAYS", 1.0)
    plain = two_towers.parts
    # Here, one after the other: each worker would load torch.
    short: dict[str, Any] = {"tick_hours": 1.0, "workers": 1}
    monkeypatch.setattr(
        two_towers, "parts", lambda out: {k: dataclasses.replace(v, **short) for k, v in plain(out).items()}
    )
    monkeypatch.setattr(two_towers, "COST_READERS", 30)
    monkeypatch.setattr(two_towers, "COST_DAYS", 0.5)
    assert len(two_towers.units(tmp_path)) == 3 + 3 + 4
    text = two_towers.run(tmp_path)
    sections = [part.partition("\n")[::2] for part in text.split("\n## ")[1:]]
    assert [title for title, _ in sections] == ["Slates alone", "With opens from elsewhere", "As published"]
    assert "30% of all opens from elsewhere" in sections[1][1]
    rows = [
        {line.split(" | ")[1]: line.strip("| ").split(" | ") for line in body.splitlines() if line.startswith("| ")}
        for _, body in sections
    ]
    for found in rows[:2]:
        assert {"random", "recent", "nrms"} <= found.keys()
        assert (found["recent"][10], found["random"][7]) == ("-", "1.00")
        assert float(found["nrms"][7].split()[0]) > 0
        assert found["nrms"][8] != "-"
    assert rows[0]["nrms"][2:8] != rows[1]["nrms"][2:8]
    small, large = rows[2]["nrms"], rows[2]["nrms:size=published"]
    assert small[10] == f"{two_towers.cost('nrms').parameters:,}"
    assert int(large[10].replace(",", "")) > 2 * int(small[10].replace(",", ""))
    measured = two_towers.cost("nrms")
    assert measured.parameters > 3000
    assert min(measured.training, measured.serving) > 0
    assert two_towers.cost("random")[:2] == (0, 0.0)
