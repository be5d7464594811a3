"""Estimated propensities of a log that has none: the likelihood, the chances, and how near the truth they come."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from feedgym.agents.logged.behaviour import FittedBehaviour, chances, fit_behaviour
from feedgym.agents.logged.policy import BehaviourConfig, slate_log_likelihood
from feedgym.agents.logged.site import LoggedSite
from feedgym.agents.slate_policy import Draw, sample_slates, slate_log_propensity, slate_marginals
from feedgym.env import read_impressions
from feedgym.experiments.commands.log import LogConfig, make_log

QUICK = BehaviourConfig(steps=120, draws=256, learning_rate=0.03)
SETTINGS: dict[str, Any] = {"readers": 200, "days": 2.0, "tick_hours": 1.0, "seed": 3}


def a_policy(n: int, num_live: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """Ids, logits (n, N), and slates of four that the shipped sampler drew, at epsilon .2."""
    rng = np.random.default_rng(seed)
    live = np.sort(rng.choice(10 * num_live, num_live, replace=False))
    logits = 2.0 * rng.normal(size=(n, num_live))
    listed = np.tile(live, (n, 1))
    return live, logits, sample_slates(rng, logits, listed, live, 4, 0.2).article_id


def test_the_likelihood_is_that_of_the_slate_policy() -> None:
    live, logits, slates = a_policy(50, 30)
    expected, _ = slate_log_propensity(slates, logits, np.tile(live, (50, 1)), 30, 0.2)
    column = np.searchsorted(live, slates)
    own = np.take_along_axis(logits, column, axis=1)
    others = logits.copy()
    np.put_along_axis(others, column, -np.inf, axis=1)
    found = slate_log_likelihood(
        torch.from_numpy(own),
        torch.ones(50, 4, dtype=torch.bool),
        torch.logsumexp(torch.from_numpy(others), dim=1),
        torch.full((50,), 30.0).double(),
        torch.tensor(0.2, dtype=torch.float64),
    )
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)


def test_chances_are_those_of_the_slate_policy() -> None:
    live, logits, slates = a_policy(60, 40)
    listed = np.tile(live, (60, 1))
    _, expected = slate_log_propensity(slates, logits, listed, 40, 0.2)
    marginals = slate_marginals(slates, Draw.of(logits, listed, 40, 0.2, 4))
    slot, found = chances(slates, live, logits, 0.2)
    np.testing.assert_allclose(slot, expected, rtol=1e-12)
    np.testing.assert_allclose(found.slot_marginal, marginals.slot_marginal, rtol=1e-12)
    np.testing.assert_allclose(found.inclusion, marginals.inclusion, rtol=1e-12)
    # Padding has the chance 1.
    padded = slates.copy()
    padded[:, 3] = -1
    slot, found = chances(padded, live, logits, 0.2)
    np.testing.assert_allclose(slot[:, :3], expected[:, :3], rtol=1e-12)
    assert (slot[:, 3] == 1.0).all()
    assert (found.slot_marginal[:, 3] == 1.0).all()


def logged_and_estimated(path: Path, fitted: FittedBehaviour) -> tuple[Any, Any, Any, Any]:
    """Slot propensities and marginals: the log's, and those estimated."""
    site = LoggedSite(path)
    parts = []
    while not site.done:
        if len(site.visits):
            slot, found = fitted.propensities(site)
            parts.append((site.logged.slot_propensity, slot, site.logged.slot_marginal, found.slot_marginal))
        site.advance()
    one, two, three, four = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return one, two, three, four


@pytest.fixture(scope="module")
def popular(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("popular")
    make_log(LogConfig(**SETTINGS | {"readers": 500}, agent="popular", epsilon=0.3, out=path))
    return path


def test_a_popularity_logger_is_found_out(popular: Path) -> None:
    fitted = fit_behaviour(LoggedSite(popular), config=QUICK)
    assert fitted.num_visits == LoggedSite(popular).summary.num_visits
    # A uniform slate is unlike those of the softmax as a whole: how many visits explored is found out.
    explored = read_impressions(popular / "impressions", ["explored"])["explored"].to_numpy(zero_copy_only=False)
    assert fitted.epsilon == pytest.approx(explored.mean(), abs=0.04)
    slot, estimated, marginal, estimated_marginal = logged_and_estimated(popular, fitted)
    # The first article: its chance spreads over ten nats.
    assert np.log(slot[:, 0]).std() > 2.5
    assert np.corrcoef(np.log(slot[:, 0]), np.log(estimated[:, 0]))[0, 1] > 0.95
    assert abs(np.log(slot[:, 0] / estimated[:, 0]).mean()) < 0.3
    assert np.corrcoef(np.log(marginal[:, 0]), np.log(estimated_marginal[:, 0]))[0, 1] > 0.95
    # Without steps it is a uniform logger.
    first = fit_behaviour(LoggedSite(popular), config=BehaviourConfig(steps=1, learning_rate=1e-9))
    _, uniform, _, _ = logged_and_estimated(popular, first)
    live = 1.0 / uniform[:, 0]
    np.testing.assert_allclose(live, np.round(live), rtol=1e-4)
    assert np.log(estimated).mean() > np.log(uniform).mean() + 0.2


def test_a_random_logger_is_found_uniform(tmp_path: Path) -> None:
    make_log(LogConfig(**SETTINGS, agent="random", out=tmp_path))
    fitted = fit_behaviour(LoggedSite(tmp_path), config=QUICK)
    slot, estimated, _, _ = logged_and_estimated(tmp_path, fitted)
    assert abs(np.log(estimated / slot).mean()) < 0.2
    assert np.log(estimated / slot).std() < 0.6


def test_chances_are_not_looked_at(popular: Path, tmp_path: Path) -> None:
    """The same log as a site's own, without any: the same estimate, bit for bit."""
    table = read_impressions(popular / "impressions").replace_schema_metadata(None)
    for name in ("slot_propensity", "slot_marginal", "inclusion", "inclusion_time", "epsilon", "logit"):
        at = table.column_names.index(name)
        table = table.set_column(at, name, pa.nulls(table.num_rows, table.schema.field(name).type))
    pq.write_table(table, tmp_path / "site.parquet")
    (tmp_path / "articles.parquet").write_bytes((popular / "articles.parquet").read_bytes())
    site = LoggedSite(tmp_path / "site.parquet", seed=3)
    assert site.summary.num_unknown == table.num_rows
    config = BehaviourConfig(steps=5)
    stripped, whole = fit_behaviour(site, config=config), fit_behaviour(LoggedSite(popular), config=config)
    for one, other in zip(stripped.policy.parameters(), whole.policy.parameters(), strict=True):
        assert torch.equal(one, other)


def test_only_the_latest_visits_before_an_hour_are_learned_from(popular: Path) -> None:
    config = BehaviourConfig(steps=2, most_visits=100)
    fitted = fit_behaviour(LoggedSite(popular), config=config)
    assert 0 < fitted.num_visits <= 100
    site = LoggedSite(popular)
    fit_behaviour(site, until_hours=20.0, config=config)
    assert site.now == 20.0
    with pytest.raises(ValueError, match=r"until_hours: got 0\.0, needs a time after the log's first visit"):
        fit_behaviour(LoggedSite(popular), until_hours=0.0, config=config)
    with pytest.raises(ValueError, match="steps: got 0, needs >= 1"):
        BehaviourConfig(steps=0)
    with pytest.raises(ValueError, match=r"learning_rate: got 0\.0, needs > 0"):
        BehaviourConfig(learning_rate=0.0)
