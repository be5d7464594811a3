"""What holds for every agent of ``AGENTS``: it serves what is live, resumes byte for byte, and minds its own luck."""

from typing import Any

import numpy as np
import pytest

from feedgym.agents import AGENTS, Agent, AgentPlan, make_agent
from feedgym.agents.slate_policy import Served
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.chances import binomial_interval
from helpers.driving import drive, served_bytes
from helpers.inside import replay_of
from helpers.resuming import check_resuming, no_global_luck

SHARED = ("recent", "popular")
LEARNED = [name for name in AGENTS if name.startswith(("regression", "contrastive"))]


def plan_of(name: str, **more: Any) -> AgentPlan:
    small: dict[str, Any] = {"max_steps": 6} if name in LEARNED else {}
    return make_agent(name, **small, **more)


@pytest.mark.parametrize("name", AGENTS)
def test_a_day_of_live_articles_only(name: str) -> None:
    feed = Feed(FeedConfig(num_readers=50, days=1.0, strict=True), seed=1)
    agent = plan_of(name).start(feed)
    run = drive(agent, feed)
    assert feed.invalid_entries == 0
    assert feed.done
    assert any(len(s.article_id) == 0 for s, _ in run)  # ticks without visits are among them
    assert sum(len(s.article_id) for s, _ in run) > 50
    for served, _ in run:
        np.testing.assert_allclose(np.log(served.slot_propensity).sum(axis=1), served.log_propensity, atol=1e-9)
        assert served.num_live > 100
    check_share_explored(name, [served for served, _ in run])
    if name in LEARNED:
        assert run[-1][0].policy_version == 3  # at hours 6, 12 and 18
        assert np.isfinite(agent.metrics()["loss"])
        assert agent.metrics().keys() <= {"towers/trust", "towers/trust_later"}  # states; the rest are means since


def check_share_explored(name: str, run: list[Served]) -> None:
    """Epsilon is the share of visits that explore, and all others show what retrieval brought."""
    sampled = [served for served in run if not np.any(served.greedy)]
    if not sampled:
        assert not any(served.explored.any() for served in run)
        return
    explored = np.concatenate([served.explored for served in sampled])
    outside = np.concatenate([((served.article_id >= 0) & ~served.in_shortlist).any(axis=1) for served in sampled])
    epsilon = 1.0 if name == "random" else 0.05
    assert all(np.all(served.epsilon == epsilon) for served in sampled)
    low, high = binomial_interval(len(explored), epsilon)
    assert low <= explored.sum() <= high
    assert not outside[~explored].any()
    # Of some 800 live articles a shortlist holds 100.
    assert outside[explored].mean() > 0.5


SITES = {
    "fewer live articles than positions": NewsroomConfig(articles_per_day=5.0),
    "nothing published": NewsroomConfig(articles_per_day=0.0),
}


POLICIES = [(name, greedy) for name in AGENTS for greedy in (False, True)]


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize(("name", "greedy"), [(n, g) for n, g in POLICIES if not g or n in (*LEARNED, *SHARED)])
def test_tiny_newsrooms(name: str, site: str, greedy: bool) -> None:
    config = FeedConfig(num_readers=20, days=1.0, tick_hours=1.0, slate_size=12, newsroom=SITES[site])
    feed = Feed(config, seed=6)
    agent = plan_of(name, **({"greedy": True} if greedy else {})).start(feed)
    lengths = set()
    for served, _ in drive(agent, feed):
        shown = (served.article_id >= 0).sum(axis=1)
        assert (shown == min(12, served.num_live)).all()
        assert (served.slot_propensity[served.article_id < 0] == 1).all()
        assert np.isfinite(served.log_propensity).all()
        assert (served.shortlist_size <= served.num_live).all()
        lengths.add(served.num_live)
    assert min(lengths) < 12


RESUMED = FeedConfig(num_readers=40, days=2.5, tick_hours=1.0, newsroom=NewsroomConfig(articles_per_day=100))


@pytest.mark.parametrize("name", AGENTS)
def test_resumes_byte_for_byte_from_a_file_without_pickle(name: str) -> None:
    # A small ring, so that it has wrapped when the snapshot is taken.
    plan = plan_of(name, **({"replay_visits": 100} if name in LEARNED else {}))

    def start() -> tuple[Agent, Feed]:
        feed = Feed(RESUMED, seed=3)
        return plan.start(feed), feed

    with no_global_luck():
        resumed = check_resuming(start, at=35.0)  # an hour before a training
    agent, rest = resumed.agent, resumed.rest
    if name in LEARNED:
        assert rest[-1][0].policy_version - rest[0][0].policy_version >= 2
        # The ring of 100 is full before the snapshot; how many visits there are depends on the processor's last digits.
        assert replay_of(agent).total > 150


@pytest.mark.parametrize("name", ["random", "popular", "regression", "contrastive-uniform"])
def test_an_agent_does_not_notice_another(name: str) -> None:
    config = FeedConfig(num_readers=40, days=0.6, tick_hours=1.0, newsroom=NewsroomConfig(articles_per_day=100))

    def own_run(other: str | None) -> list[tuple[bytes, ...]]:
        feed = Feed(config, seed=5)
        agent = plan_of(name).start(feed)
        if other is None:
            return served_bytes(drive(agent, feed))
        beside = Feed(config, seed=5)
        companion = plan_of(other).start(beside)
        run = []
        while not feed.done:
            drive(companion, beside, until=feed.now + 0.25)
            run += drive(agent, feed, until=feed.now + 0.25)
        return served_bytes(run)

    alone = own_run(None)
    assert own_run("contrastive") == own_run("random") == alone
    different = Feed(config, seed=6)
    assert served_bytes(drive(plan_of(name).start(different), different)) != alone


@pytest.mark.parametrize("name", LEARNED)
def test_agents_draw_as_their_own_seed_says_and_not_as_the_world_does(name: str) -> None:
    feed = Feed(RESUMED, seed=3)
    one, two = plan_of(name).start(feed), plan_of(name).start(feed)
    a, b = one.snapshot(), two.snapshot()
    assert all(a[k].tobytes() == b[k].tobytes() for k in a)
    other = plan_of(name).start(Feed(RESUMED, seed=4)).snapshot()
    assert any(a[k].tobytes() != other[k].tobytes() for k in a if k.startswith("model"))
