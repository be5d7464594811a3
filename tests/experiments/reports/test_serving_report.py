"""What serving costs, as the report says it."""

import dataclasses
from pathlib import Path

from feedgym.experiments import compare
from feedgym.experiments.compare import CompareConfig

AGENTS = ("recent", "regression:max_steps=1", "regression:max_steps=1,serving=batch")


def test_the_report_counts_what_serving_cost_over_all_seeds(tmp_path: Path) -> None:
    config = CompareConfig(agents=AGENTS, seeds=(0, 1), readers=40, days=2, tick_hours=2.0, out=tmp_path, log=False)
    result = compare.run(dataclasses.replace(config, workers=1), quiet=True)
    text = (tmp_path / "report.md").read_text()
    section = text.split("## What serving costs, per 1,000 visits")[1].split("\n## ")[0]
    rows = {line.split("|")[2].strip(): line.split("|")[3:-1] for line in section.splitlines() if line.startswith("| ")}
    assert "recent" not in rows
    assert len(rows) == 4  # titles and rule, two agents
    for name in AGENTS[1:]:
        counts = [run.serving for run in result.runs if run.agent == name and run.serving is not None]
        assert len(counts) == 2
        visits = sum(count["visits"] for count in counts)
        visited = sum(float(run.curves.totals["visits"].sum()) for run in result.runs if run.agent == name)
        assert visits == visited > 0
        names = ("reader_embeddings", "item_embeddings", "index_writes", "queries", "slates")
        for cell, part in zip(rows[name], (*names, "age_minutes", "expired", "excluded", "empty"), strict=True):
            total = sum(count[part] for count in counts)
            of_visits = round(total / visits / 60.0, 1) if part == "age_minutes" else round(1000.0 * total / visits)
            assert float(cell) == of_visits, part
    whole, ahead = ([float(cell) for cell in rows[name]] for name in AGENTS[1:])
    assert whole[0] == whole[3] == whole[4] == 1000
    # Drawn at midnight, and shown around noon.
    assert whole[5] == 0
    assert 8 < ahead[5] < 18
    assert whole[6:] == [0, 0, 0]
    assert ahead[7] == 0 < min(ahead[6], ahead[8])
    assert ahead[0] < 1000
