"""Studies: every claim names agents that are run, and the verdict is what the interval says."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents import parse_agent
from feedgym.experiments import study
from feedgym.experiments.curves import Curves, Run
from feedgym.experiments.study import STUDIES, claims_markdown


def run_of(agent: str, seed: int, reward: float) -> Run:
    curves = Curves(10, 1.0, 24.0)
    curves.totals["reward"] = np.array([10.0 * reward])
    return Run(agent, seed, False, curves)


@pytest.mark.parametrize("name", STUDIES)
def test_claims_are_about_agents_that_are_run(name: str, tmp_path: Path) -> None:
    module: Any = importlib.import_module(f"feedgym.experiments.studies.{name}")
    labels = {config.plan().label for config in module.config(tmp_path).runs()}
    assert {parse_agent(agent).label for pair in module.CLAIMS for agent in pair[:2]} <= labels
    assert len(set(module.SEEDS)) >= 3


def test_verdicts() -> None:
    rewards = {"recent": [2.0, 2.1, 1.9], "random": [1.0, 1.0, 1.0], "popular": [1.0, 4.0, 1.2]}
    runs = [run_of(agent, seed, r) for agent, values in rewards.items() for seed, r in enumerate(values)]
    claims = (("recent", "random", "a"), ("random", "recent", "b"), ("popular", "random", "c"))
    rows = claims_markdown(runs, claims).splitlines()[2:]
    assert [row.split(" | ")[-1] for row in rows] == ["yes |", "no: the reverse |", "not shown |"]
    # t interval of the differences 1, 1.1, .9: mean 1, sd .1, 4.303 * .1 / sqrt(3)
    assert "| +1.000 | [+0.752, +1.248] | 3 of 3 |" in rows[0]


def test_an_agents_settings_may_come_in_any_order() -> None:
    runs = [run_of(parse_agent("regression:dim=8,widths=(4,)").label, s, 2.0 + 0.01 * s) for s in range(3)]
    runs += [run_of("random", s, 1.0) for s in range(3)]
    assert "yes" in claims_markdown(runs, (("regression:widths=(4,),dim=8", "random", "x"),))


def test_a_study_writes_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from feedgym.experiments.compare import CompareConfig
    from feedgym.experiments.studies import real_articles

    def small(out: Path) -> CompareConfig:
        agents = ("random", "recent", "popular", "regression")
        return CompareConfig(agents=agents, seeds=(0, 1), readers=40, days=1.0, out=out, log=False, workers=1)

    monkeypatch.setattr(real_articles, "config", small)
    study.main(["real_articles", "--out", str(tmp_path)])
    table = (tmp_path / "real_articles" / "table.md").read_text()
    assert "feedgym study real_articles" in table
    assert table.count("dwell regression beats") == 3
    with pytest.raises(SystemExit, match="needs one of learning, real_articles, or all"):
        study.main(["nonsense"])
