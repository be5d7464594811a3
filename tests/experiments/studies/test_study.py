"""Studies: every claim names agents that are run, and the verdict is what the interval says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent, parse_agent
from feedgym.env import Feed, FeedConfig
from feedgym.experiments.reports.curves import Curves, Run
from feedgym.experiments.studies import study
from feedgym.experiments.studies.study import (
    STUDIES,
    claims_markdown,
    crossing,
    daily_markdown,
    parts_of,
    study_module,
)


def run_of(agent: str, seed: int, reward: float) -> Run:
    curves = Curves(10, 1.0, 24.0)
    curves.totals["reward"] = np.array([10.0 * reward])
    return Run(agent, seed, False, curves)


@pytest.mark.parametrize("name", STUDIES)
def test_claims_are_about_agents_that_are_run(name: str, tmp_path: Path) -> None:
    module = study_module(name)
    for part in parts_of(name, tmp_path):
        labels = {config.plan().label for config in part.config.runs()}
        pairs = [*(claim[:2] for claim in part.claims), *part.daily]
        assert {parse_agent(agent).label for pair in pairs for agent in pair} <= labels
        assert part.config.seeds == module.SEEDS
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
    from feedgym.experiments.studies.worlds import real_articles

    def small(out: Path) -> CompareConfig:
        agents = ("random", "recent", "popular", "regression-dwell", "ltv", "return")
        return CompareConfig(
            agents=agents, seeds=(0, 1), readers=40, days=1.0, tick_hours=3.0, out=out, log=False, workers=1
        )

    monkeypatch.setattr(real_articles, "config", small)
    study.main(["real_articles", "--out", str(tmp_path), "--rows", str(tmp_path / "rows")])
    table = (tmp_path / "real_articles" / "table.md").read_text()
    assert "feedgym study real_articles" in table
    assert table.count("| dwell regression beats") == 3
    with pytest.raises(SystemExit, match="needs one of learning, real_articles"):
        study.main(["nonsense"])


def test_the_day_on_which_curves_cross() -> None:
    def lived(agent: str, seed: int, rewards: list[float]) -> Run:
        curves = Curves(10, 4.0, 24.0)
        curves.totals["reward"] = 10.0 * np.array(rewards)
        return Run(agent, seed, False, curves)

    runs = [lived("recent", s, [0.0, 1.0, 2.0, 2.0 + 0.1 * s]) for s in range(3)]
    runs += [lived("random", s, [1.0, 1.0, 1.0 - 0.3 * s, 1.0]) for s in range(3)]
    text = daily_markdown(runs, "recent", "random")
    # By hand: -1, -1, then 0, .3, .6, then 1, 1.4, 1.8 so far.
    assert "| 2 | +0.000 | -1.000 | [-1.000, -1.000] |" in text
    assert "| 3 | +1.300 | +0.300 | [-0.445, +1.045] |" in text
    assert "stays above 0 from day 3 on; its interval from day 4." in text
    assert "do not cross" in crossing(np.array([1.0, -1.0]), np.array([0.5, -2.0]))
    assert "from day 1 on; its interval never" in crossing(np.array([1.0, 1.0]), np.array([-0.5, -2.0]))


def test_the_single_slot_ratio_is_another_gradient() -> None:
    from feedgym.experiments.studies.long_term import SINGLE_SLOT

    served = {}
    for name in ("reinforce", SINGLE_SLOT):
        feed = Feed(FeedConfig(num_readers=200, days=1.0, tick_hours=1.0), seed=3)
        agent: Any = make_agent(name, max_steps=5, sharpness=1.0).start(feed)
        weights = []
        while not feed.done:
            slates = agent.act(feed.visits, feed.catalogue)
            agent.learn(feed.serve(slates.article_id))
            weights.append(slates.log_p)
        served[name] = weights
    one, other = served.values()
    assert all(np.array_equal(a, b) for a, b in zip(one[:5], other[:5], strict=True))  # before any training
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=False))
