"""Learned agents retrieve through any index: they serve live articles, resume byte for byte, and report recall."""

from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.driving import drive
from helpers.resuming import check_resuming
from helpers.towers import alone

SITE = FeedConfig(num_readers=60, days=1.0, tick_hours=0.5, slate_size=4, newsroom=NewsroomConfig(articles_per_day=60))
KINDS = ("ivf:nprobe=2+nlist=12", "ivf-sq8", "hnsw:ef=20", "auto:ivf_above=50+sq8_above=90")


def start(index: str, name: str = "regression-click", **settings: Any) -> tuple[Any, Feed]:
    feed = Feed(SITE, seed=3)
    small = {"widths": (16,), "dim": 8, "max_steps": 2, "shortlist_size": 10, "train_every_hours": 5.0}
    return make_agent(name, replay_visits=50, index=index, **(small | alone(name) | settings)).start(feed), feed


@pytest.mark.parametrize("index", KINDS)
def test_a_day_of_serving_resumes_byte_for_byte(index: str) -> None:
    rest = check_resuming(lambda: start(index), at=13.5).rest
    assert sum(len(served.article_id) for served, _ in rest) > 30
    for served, _ in rest:
        assert (served.article_id >= 0).all()
        assert (served.shortlist_size == min(10, served.num_live)).all()
        assert np.isfinite(served.log_propensity).all()


@pytest.mark.parametrize("index", ["ivf:nlist=3+nprobe=3", "hnsw:ef=400"])
def test_an_index_that_finds_all_serves_what_the_exact_one_does(index: str) -> None:
    """Age columns and their rebases are in it: the scale of an approximate index changes no score."""
    runs = [drive(*start(kind, age_decay="linear")) for kind in (index, "exact")]
    for one, other in zip(*([served for served, _ in run] for run in runs), strict=True):
        assert one.article_id.tobytes() == other.article_id.tobytes()
        # Scores are sums in faiss's order; the logit's mean and deviation are sums in the order of the index's ids.
        np.testing.assert_allclose(one.logit, other.logit, rtol=1e-4, atol=1e-4)


def test_recall_is_told_where_retrieval_is_not_exact() -> None:
    agent, feed = start("ivf:nprobe=1+nlist=12")
    assert "retrieval/recall_at_k" not in agent.metrics()  # nothing has been searched for
    drive(agent, feed, until=8.0)
    assert 0.1 < agent.metrics()["retrieval/recall_at_k"] < 1.0
    exact, feed = start("exact")
    drive(exact, feed, until=8.0)
    assert "retrieval/recall_at_k" not in exact.metrics()


@pytest.mark.parametrize("name", ["contrastive", "ltv", "reinforce"])
def test_other_learners_serve_through_an_approximate_index(name: str) -> None:
    agent, feed = start("hnsw", name)
    run = drive(agent, feed, until=9.0)
    assert all((served.article_id >= 0).all() for served, _ in run)
    assert agent.policy_version >= 1
