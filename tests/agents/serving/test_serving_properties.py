"""Random clocks, policies and rules that change, for every kind of index and every mode: what must always hold.

Articles are published and expire at random; at each change an agent with other settings goes on from a snapshot.
"""

import math
from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.agents.retrieval.registry import INDEXES
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.inside import acted_of
from helpers.plain.policy import plain_slots, plain_softmax

SIZE, TICK = 3, 0.5
NEWSROOM = NewsroomConfig(articles_per_day=80, max_age_hours=7.0, num_topics=3)
SITE = FeedConfig(num_readers=60, days=1.5, tick_hours=TICK, slate_size=SIZE, newsroom=NEWSROOM)
KINDS = (
    "exact",
    "ivf:nlist=4+nprobe=1",
    "ivf-sq8:nprobe=2",
    "hnsw:m=4+ef=12",
    "auto:ivf_above=8+sq8_above=16",
)
MODES = ("realtime", "streaming", "batch")
RULES = (None, None, "exclude(topic=1)", "exclude(age_hours>3)", "cap(topic,1)", "exclude(topic=2)+cap(topic,2)")


def test_every_kind_of_index_is_here() -> None:
    assert {kind.partition(":")[0] for kind in KINDS} == set(INDEXES)


def clocks(rng: np.random.Generator, mode: str) -> dict[str, float]:
    """Any, but none of the articles' in real time."""
    readers = float(rng.choice([1.0, 2.5, 4.0]))
    items = {
        "realtime": 0.0,
        "streaming": float(rng.choice([0.5, 1.5, 3.0])),
        "batch": float(rng.choice([0.0, 2.0, 6.0])),
    }
    lag = {"realtime": 0.0, "streaming": float(rng.choice([0.0, 1.2])), "batch": float(rng.choice([0.0, 2.0]))}
    own = {} if mode == "realtime" else {"reader_refresh_hours": readers}
    return own | {"item_refresh_hours": items[mode], "feature_lag_hours": lag[mode], "train_every_hours": 5.0}


class Watch:
    """What has come and gone, and when it could first be found, written down beside the agent."""

    def __init__(self, every: float, draws: float) -> None:
        self.every, self.draws = every, draws
        self.live: set[int] = set()
        self.held: set[int] = set()
        self.period = self.draw = -1
        self.now = 0.0
        self.at_draw: dict[str, Any] = {}

    def follow(self, feed: Feed) -> bool:
        """The tick's changes; whether slates are drawn."""
        catalogue, now = feed.catalogue, feed.now
        self.now = now
        gone, came = set(catalogue.departed.tolist()), set(catalogue.arrived.tolist())
        self.live = (self.live - gone) | came
        self.held = (self.held - gone) | came
        draw = math.floor(now / self.draws + 1e-9) if self.draws else self.draw + 1
        due, self.draw = draw > self.draw, draw
        # Ahead of a draw only: between draws nobody searches.
        period = math.floor(now / self.every + 1e-9) if self.every else self.period + 1
        if due and period > self.period:
            self.held, self.period = set(), period
        if due:
            ids = catalogue.article_id
            self.at_draw = {"live": set(self.live), "found": self.live - self.held, "now": now}
            self.at_draw["topic"] = dict(zip(ids.tolist(), catalogue.categories_of(ids)[:, 0].tolist(), strict=True))
            self.at_draw["age"] = dict(zip(ids.tolist(), catalogue.age_hours.tolist(), strict=True))
        return due


def check(agent: Any, served: Any, watch: Watch, rules: str | None) -> tuple[int, int]:
    """One tick: how many entries were shown, and how many chances were recounted."""
    acted, at = acted_of(agent), watch.at_draw
    out = {a for a, t in at["topic"].items() if f"topic={t})" in str(rules)}
    by_age = "age_hours" in str(rules)
    out |= {a for a, h in at["age"].items() if h > 3.0} if by_age else set()
    eligible = at["live"] - out
    # What has expired since the draw is gone, and what has grown too old for a rule.
    left = eligible & watch.live - {a for a in eligible if by_age and at["age"][a] + watch.now - at["now"] > 3.0}
    ruled = "cap" in str(rules)
    assert set(agent.store.index.ids.tolist()) == watch.live - watch.held
    assert set(agent.store.held.tolist()) == watch.held
    assert set(acted.live.tolist()) == (eligible if ruled else left)
    drawn, newest, counted = served.as_drawn, sorted(eligible, reverse=True), 0
    greedy, epsilon, num_live, unweighted = (
        np.broadcast_to(v, len(acted.row)) for v in (served.greedy, served.epsilon, served.num_live, served.unweighted)
    )
    for i, slate in enumerate(served.article_id.tolist()):
        shown = [a for a in slate if a >= 0]
        assert len(set(shown)) == len(shown)
        assert set(shown) <= left
        listed = [a for a in acted.served.draw.shortlist[i].tolist() if a >= 0]
        assert len(set(listed)) == len(listed)
        # Only what had been released; where no search found what the rules leave, the newest stand in.
        assert set(listed) <= at["found"] - out or set(listed) <= set(newest[: agent.drawer.shortlist_size])
        if served.ahead is None or served.ahead.place[i, 0] == 0:
            assert num_live[i] == len(eligible if ruled else left) or unweighted[i]
        if ruled:
            kinds = [at["topic"][a] for a in shown]
            assert max((kinds.count(t) for t in kinds), default=0) <= (1 if rules == "cap(topic,1)" else 2)
        elif not greedy[i] and not unweighted[i] and listed:
            draw = acted.served.draw
            p = plain_softmax(draw.logits[i].tolist(), draw.shortlist[i].tolist())
            chances = plain_slots(slate, p, sorted(left), float(epsilon[i]))
            np.testing.assert_allclose(served.slot_propensity[i], chances, rtol=1e-6)
            counted += 1
        assert np.log(drawn.slot_propensity[i]).sum() == pytest.approx(drawn.log_propensity[i], abs=1e-9)
        expired = [a if a in left else -1 for a in drawn.article_id[i].tolist()]
        assert slate == expired
    return int((served.article_id >= 0).sum()), counted


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_any_sequence(kind: str, mode: str) -> None:
    rng = np.random.default_rng([*kind.encode(), *mode.encode()])
    fixed = clocks(rng, mode)
    feed, rules = Feed(SITE, seed=int(rng.integers(1000))), None
    agent: Any = None
    watch = Watch(fixed["item_refresh_hours"], fixed["reader_refresh_hours"] if mode == "batch" else 0.0)
    shown = counted = rebuilt = 0
    while not feed.done:
        due = watch.follow(feed)
        # Rules hold at the draw: they change where slates are drawn anew.
        if agent is None or (due and rng.random() < (0.3 if mode == "batch" else 0.1)):
            rules = RULES[rng.integers(len(RULES))]
            policy = {"epsilon": float(rng.choice([0.0, 0.2, 1.0])), "greedy": bool(rng.random() < 0.2)}
            small = {"widths": (4,), "dim": 3, "max_steps": 1, "shortlist_size": int(rng.integers(SIZE, 9))}
            changed = make_agent("regression", serving=mode, index=kind, rules=rules, **small, **policy, **fixed).start(
                feed
            )
            if agent is not None:
                changed.restore(agent.snapshot())
                rebuilt += 1
            agent = changed
        served = agent.act(feed.visits, feed.catalogue)
        some, more = check(agent, served, watch, rules)
        shown, counted = shown + some, counted + more
        agent.learn(feed.serve(served.article_id))
    assert shown > 60
    assert counted > 10
    assert rebuilt > 0
    assert agent.policy_version >= 3
    assert feed.catalogue.archive.published - len(feed.catalogue) > 60
