"""The log's marginals are those of the policy that served, worked out anew from the articles' file."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from feedgym.env import read_impressions
from feedgym.experiments import train
from feedgym.experiments.runs import logged_marginals
from feedgym.experiments.runs.run_config import RunConfig

SLATE_SIZE = 3
EPSILON = 0.3


def enumerate_slots(w: np.ndarray, slate_size: int) -> np.ndarray:
    """m_k of every article, (N, K), by drawing slot after slot: all prefixes and their chances."""
    marginal = np.zeros((len(w), slate_size))
    chances: dict[tuple[int, ...], float] = {(): 1.0}
    for k in range(slate_size):
        longer: dict[tuple[int, ...], float] = {}
        for prefix, chance in chances.items():
            left = 1.0 - w[list(prefix)].sum()
            for a in set(range(len(w))) - set(prefix):
                longer[*prefix, a] = chance * w[a] / left
                marginal[a, k] += chance * w[a] / left
        chances = longer
    return marginal


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
        w = np.full(len(live), EPSILON / len(live))
        w[best] += (1 - EPSILON) * np.exp(logits[best]) / np.exp(logits[best]).sum()
        marginal = enumerate_slots(w, SLATE_SIZE)
        shown = np.searchsorted(live, log["article_id"][rows])
        np.testing.assert_allclose(log["slot_marginal"][rows], marginal[shown, range(SLATE_SIZE)], rtol=1e-5)
        np.testing.assert_allclose(log["inclusion"][rows], marginal[shown].sum(axis=1), rtol=1e-5)
        assert -np.expm1(-w * log["inclusion_time"][start]).sum() == pytest.approx(SLATE_SIZE, rel=1e-5)
        checked += 1
    assert checked > 8


def _columns(folder: Path) -> dict[str, np.ndarray]:
    table = read_impressions(folder / "impressions")
    return {name: table[name].to_numpy() for name in table.column_names if name != "device"}


@pytest.mark.parametrize("together", [1, 7])
def test_how_many_visits_are_taken_together_changes_nothing(
    folder: Path, tmp_path: Path, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    monkeypatch.setattr(logged_marginals, "TOGETHER", together)
    agent = json.loads((folder / "config.json").read_text())["agent"]
    config = RunConfig(agent=agent, readers=15, days=3.0, tick_hours=1.0, slate_size=3, articles_per_day=10.0)
    train.run(config, tmp_path)
    whole, parts = _columns(folder), _columns(tmp_path)
    for name in ("slot_marginal", "inclusion", "inclusion_time"):
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-9)


def test_a_greedy_agent_is_certain(tmp_path: Path) -> None:
    train.run(RunConfig(agent="oracle-click", readers=10, days=1.0, tick_hours=2.0), tmp_path)
    log = read_impressions(tmp_path / "impressions")
    assert len(log) > 0
    assert set(log["inclusion"].to_pylist()) == set(log["slot_marginal"].to_pylist()) == {1.0}
    assert log["inclusion_time"].null_count == len(log)
