"""What a log says of the policy that served is true: worked out anew from the articles' file."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from feedgym.env import read_impressions
from feedgym.experiments import train
from feedgym.experiments.runs import logged_chances
from feedgym.experiments.runs.run_config import RunConfig
from helpers.chances import binomial_interval
from helpers.plain.policy import plain_marginals, plain_slots, plain_softmax

SLATE_SIZE = 3
EPSILON = 0.3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("logged")
    config = RunConfig(
        agent=f"recent:epsilon={EPSILON},shortlist_size=6",
        readers=15,
        days=3.0,
        tick_hours=1.0,
        slate_size=SLATE_SIZE,
        articles_per_day=10.0,
        log_marginals=True,
    )
    train.run(config, out)
    return out


def test_columns_equal_an_enumeration_from_the_articles(folder: Path) -> None:
    log = _columns(folder)
    articles = pq.read_table(folder / "articles.parquet").to_pydict()
    published, expires = np.array(articles["published_hours"]), np.array(articles["expires_hours"])
    starts = np.flatnonzero(log["position"] == 0)
    assert len(starts) > 30
    checked = 0
    for start in starts[:: max(1, len(starts) // 12)]:
        rows = slice(start, start + SLATE_SIZE)
        now = log["time_hours"][start]
        live = np.flatnonzero((published <= now) & (expires > now))
        assert len(live) == log["num_live"][start]
        logits = -(now - published[live]) / 6.0
        best = np.argsort(-logits)[:6]
        p = plain_softmax(logits[best].tolist(), best.tolist())
        marginal = plain_marginals(p, range(len(live)), EPSILON, SLATE_SIZE)
        shown = np.searchsorted(live, log["article_id"][rows])
        np.testing.assert_allclose(log["slot_marginal"][rows], marginal[shown, range(SLATE_SIZE)], rtol=1e-5)
        np.testing.assert_allclose(log["inclusion"][rows], marginal[shown].sum(axis=1), rtol=1e-5)
        time = log["inclusion_time"][start]
        assert -np.expm1(-np.array(list(p.values())) * time).sum() == pytest.approx(SLATE_SIZE, rel=1e-5)
        slots = plain_slots(shown.tolist(), p, range(len(live)), EPSILON)
        np.testing.assert_allclose(log["slot_propensity"][rows], slots, rtol=1e-5)
        # In brief: the softmax of what was shown, from its logits and their normaliser.
        logit = log["logit"][rows]
        brief = np.where(np.isnan(logit), 0.0, np.exp(logit - log["log_normaliser"][start]))
        np.testing.assert_allclose(brief, [p.get(int(a), 0.0) for a in shown], rtol=1e-5)
        if not log["explored"][start]:
            assert log["in_shortlist"][rows].all()
        checked += 1
    assert checked > 8
    explored = log["explored"][starts]
    low, high = binomial_interval(len(starts), EPSILON)
    assert low <= explored.sum() <= high


def test_marginals_are_written_where_asked_for_and_the_rest_is_the_same(folder: Path, tmp_path: Path) -> None:
    """Whoever wants them later has ``t*``, the softmax of what was shown, and every propensity."""
    agent = json.loads((folder / "config.json").read_text())["agent"]
    config = RunConfig(agent=agent, readers=15, days=3.0, tick_hours=1.0, slate_size=3, articles_per_day=10.0)
    train.run(config, tmp_path)
    brief, whole = read_impressions(tmp_path / "impressions"), read_impressions(folder / "impressions")
    assert brief["slot_marginal"].null_count == brief["inclusion"].null_count == len(brief)
    assert whole["slot_marginal"].null_count == whole["inclusion"].null_count == 0
    for name in set(brief.column_names) - {"run_id", "slot_marginal", "inclusion", "inclusion_time"}:
        assert brief[name].equals(whole[name]), name
    np.testing.assert_allclose(brief["inclusion_time"], whole["inclusion_time"], rtol=1e-9)
    size = lambda path: sum(part.stat().st_size for part in (path / "impressions").iterdir())
    assert size(tmp_path) < size(folder)


def _columns(folder: Path) -> dict[str, np.ndarray]:
    table = read_impressions(folder / "impressions")
    return {name: table[name].to_numpy() for name in table.column_names if name != "device"}


@pytest.mark.parametrize("together", [1, 7])
def test_how_many_visits_are_taken_together_changes_nothing(
    folder: Path, tmp_path: Path, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logged_chances, "TOGETHER", together)
    agent = json.loads((folder / "config.json").read_text())["agent"]
    config = RunConfig(agent=agent, readers=15, days=3.0, tick_hours=1.0, slate_size=3, articles_per_day=10.0)
    train.run(dataclasses.replace(config, log_marginals=True), tmp_path)
    whole, parts = _columns(folder), _columns(tmp_path)
    for name in ("slot_marginal", "inclusion", "inclusion_time"):
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-9)


def test_a_greedy_agent_is_certain(tmp_path: Path) -> None:
    train.run(RunConfig(agent="oracle-click", readers=10, days=1.0, tick_hours=2.0, log_marginals=True), tmp_path)
    log = read_impressions(tmp_path / "impressions")
    assert len(log) > 0
    assert set(log["inclusion"].to_pylist()) == set(log["slot_marginal"].to_pylist()) == {1.0}
    assert log["inclusion_time"].null_count == len(log)
