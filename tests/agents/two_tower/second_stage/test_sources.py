"""Candidates of several sources in one shortlist: which, each once, with exact chances, the same after a stop."""

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgym.agents import make_agent, parse_agent
from feedgym.agents.two_tower.second_stage import SOURCES, Asked, Sources, merged, source_names
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.chances import p_value
from helpers.driving import crowd, drive, ticks
from helpers.inside import replay_of
from helpers.resuming import check_resuming

SITE = FeedConfig(num_readers=80, days=3.0, tick_hours=1.0, slate_size=3, newsroom=NewsroomConfig(articles_per_day=60))
SMALL: dict[str, Any] = {"max_steps": 2, "shortlist_size": 12, "widths": (16,), "dim": 8}
ALL = "towers+recent+popular+similar"


def started(name: str = "regression-dwell", site: FeedConfig = SITE, **more: Any) -> tuple[Any, Feed]:
    feed = Feed(site, seed=3)
    settings = {"crosses": "all", "sources": ALL, "source_size": 5} | SMALL | more
    return make_agent(name, **settings).start(feed), feed


def plain_merged(shortlist: list[list[int]], proposals: list[list[list[int]]]) -> list[list[int]]:
    rows = []
    for i, row in enumerate(shortlist):
        seen: list[int] = []
        out = []
        for a in [*row, *(a for ids in proposals for a in ids[i % len(ids)])]:
            out.append(a if a >= 0 and a not in seen else -1)
            seen.append(a)
        rows.append(out)
    return rows


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_merged_shortlist_is_what_a_plain_loop_makes(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 4))

    def ids(rows: int, columns: int) -> Any:
        return [data.draw(st.lists(st.integers(-1, 9), min_size=columns, max_size=columns)) for _ in range(rows)]

    first = [data.draw(st.permutations(range(10)))[:4] for _ in range(n)]
    proposals = [ids(data.draw(st.sampled_from([1, n])), 3) for _ in range(2)]
    found = merged(np.array(first), [np.array(p) for p in proposals])
    assert found.tolist() == plain_merged([list(row) for row in first], proposals)


@pytest.mark.parametrize("rules", [None, "exclude(topic=1)"])
def test_shortlists_hold_what_each_source_would_name(rules: str | None) -> None:
    agent, feed = started(rules=rules, item_refresh_hours=3.0)
    liked = hidden = excluded = 0
    for served, acted in ticks(agent, feed, until=40.0):
        live, now = feed.catalogue.article_id.copy(), feed.now
        out = feed.catalogue.categories_of(live)[:, 0] == 1 if rules else np.zeros(len(live), dtype=np.bool_)
        findable = live[~out & ~np.isin(live, agent.store.held)]
        hidden, excluded = hidden + len(agent.store.held), excluded + int(out.sum())
        newest = set(np.sort(findable)[::-1][:5].tolist())
        shown, clicks = feed.catalogue.impressions_of(findable), feed.catalogue.clicks_of(findable)
        rate = (clicks + 100.0 * (clicks.sum() + 1.0) / (shown.sum() + 100.0)) / (shown + 100.0)
        score = rate * 0.5 ** ((now - feed.catalogue.published_hours_of(findable)) / 6.0)
        popular = {a for _, a in sorted(zip(score.tolist(), findable.tolist(), strict=True))[::-1][:5]}
        for row, history in zip(served.draw.shortlist.tolist(), acted.history_id[:, 0].tolist(), strict=True):
            ids = [a for a in row if a >= 0]
            assert len(set(ids)) == len(ids)
            assert set(ids) <= set(findable.tolist())
            assert newest | popular <= set(ids)
            if history >= 0:
                v = agent.store.augmented
                dim, end = agent.model.config.dim, agent.model.augmented_dim
                columns = [*range(dim), *range(end - (agent.model.vector_dim - dim), end)]
                others = np.array([a for a in agent.store.index.ids if a != history])
                near = others[np.argsort(-(v[others][:, columns] @ v[history][columns]), kind="stable")[:5]]
                assert set(near.tolist()) & set(findable.tolist()) <= set(ids)
                liked += 1
    assert liked > 50
    assert hidden > 20
    assert (excluded > 20) == (rules is not None)


def test_scores_are_the_towers_own_and_the_second_stage_ranks_them_all() -> None:
    agent, feed = started()
    drive(agent, feed, until=30.0)
    while len(feed.visits) < 3:
        drive(agent, feed, until=feed.now + 0.5)
    visits = feed.visits
    served = agent.act(visits, feed.catalogue)
    score = agent.score_all(visits, feed.catalogue)
    listed = served.draw.shortlist
    place = {a: j for j, a in enumerate(feed.catalogue.article_id.tolist())} | {-1: 0}
    first = np.take_along_axis(score, np.array([[place[a] for a in row] for row in listed.tolist()]), axis=1)
    factor, mean = agent.drawer.scale(agent.drawer.queries(agent.serving.requests(visits)))
    told = agent._pairs.weighed(visits.rows, listed, feed.now, agent.learner.cross_weights)
    wanted = (first + told - mean[:, None]) * factor[:, None]
    np.testing.assert_allclose(served.draw.logits[listed >= 0], wanted[listed >= 0], atol=1e-3)
    assert (listed[:, 12:] >= 0).sum() > len(visits)  # some of the others are not of the towers' own


def test_slates_of_merged_shortlists_follow_their_stated_chances() -> None:
    """By enumeration: softmax without replacement over the merged shortlist, a uniform slate where a visit explores."""
    newsroom = NewsroomConfig(articles_per_day=14, max_age_hours=14.0)
    site = dataclasses.replace(SITE, slate_size=2, newsroom=newsroom)
    agent, feed = started(site=site, shortlist_size=3, source_size=2, epsilon=0.2, sharpness=1.0)
    drive(agent, feed, until=50.0)
    while len(feed.visits) == 0:
        drive(agent, feed, until=feed.now + 1.0)
    draws = 20_000
    served = agent.act(crowd(feed.visits, draws), feed.catalogue)
    shortlist, logits = served.draw.shortlist[0], served.draw.logits[0]
    assert (served.draw.shortlist == shortlist).all()
    listed = {int(a): math.exp(z) for a, z in zip(shortlist, logits, strict=True) if a >= 0}
    live = feed.catalogue.article_id.tolist()
    assert 3 < len(listed) < len(live)

    def joint_of(mass: dict[int, float], epsilon: float) -> dict[tuple[int, ...], float]:
        joint: dict[tuple[int, ...], float] = {}
        for share, told in ((1.0 - epsilon, mass), (epsilon, dict.fromkeys(live, 1.0))):
            total = sum(told.values())
            for a, b in itertools.permutations(told, 2):
                chance = share * told[a] / total * told[b] / (total - told[a])
                joint[a, b] = joint.get((a, b), 0.0) + chance
        return joint

    joint = joint_of(listed, 0.2)
    assert p_value(served.article_id, joint) > 1e-3
    for slate, log in zip(served.article_id[:200].tolist(), served.log_propensity[:200], strict=True):
        assert math.exp(log) == pytest.approx(joint[tuple(slate)], rel=1e-3)
    # The check can fail: as if the shortlist were the towers' alone.
    alone = {a: listed[a] for a in shortlist[:3].tolist()}
    assert p_value(served.article_id, joint_of(alone, 0.2)) < 1e-6


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("regression-dwell", {"crosses": f"all+{'+'.join(f'source_{name}' for name in SOURCES)}"}),
        ("regression-click", {"prediction": "logistic"}),
        ("contrastive", {"crosses": "none", "negatives": "hard", "num_negatives": 8}),
        ("return", {"crosses": "none"}),
        ("linear", {"sources": "towers+similar", "widths": (), "dim": 1}),
        ("regression-dwell", {"crosses": "none", "serving": "batch"}),
        ("regression-dwell", {"ranker": "gbdt", "ranker_trees": 5, "ranker_vectors": True}),
    ],
    ids=str,
)
def test_runs_resume_byte_for_byte(name: str, more: dict[str, Any]) -> None:
    resumed = check_resuming(lambda: started(name, **more), at=27.0, until=34.0)
    for served, _ in resumed.rest:
        np.testing.assert_allclose(np.log(served.slot_propensity).sum(axis=1), served.log_propensity, atol=1e-9)


def test_a_cross_says_which_source_proposed_what_and_the_replay_keeps_it() -> None:
    agent, feed = started(crosses="source_recent+source_similar")
    kept = []
    for served, _ in ticks(agent, feed, until=30.0):
        newest = np.sort(feed.catalogue.article_id)[::-1][:5]
        kept.append(np.isin(served.article_id, newest))
    wanted = np.concatenate(kept)
    found = replay_of(agent).column("crosses")
    assert np.array_equal(found[..., 0] > 0, wanted)
    assert 0.02 < wanted.mean() < 0.98
    assert 0.0 < found[..., 1].mean() < 1.0
    # Of an open from elsewhere, that of a reader who was not asked about, no source knows.
    assert not agent._pairs.told(np.array([79, 78]), np.array([[newest[0]], [newest[1]]]), feed.now).any()


def test_a_source_of_your_own_is_a_function_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def oldest(asked: Asked) -> Any:
        return np.sort(asked.findable)[: asked.size][None]

    monkeypatch.setitem(SOURCES, "oldest", oldest)
    agent, feed = started(sources="towers+oldest")
    for served, _ in ticks(agent, feed, until=12.0):
        if len(served.article_id):
            assert (
                (np.sort(feed.catalogue.article_id)[:5][None, :, None] == served.draw.shortlist[:, None]).any(2).all()
            )


def test_words_that_name_no_sources_are_refused() -> None:
    assert source_names("towers") == ()
    assert source_names(ALL) == ("recent", "popular", "similar")
    for words in ("recent", "towers+towers", "towers+best", "towers+recent+recent", ""):
        with pytest.raises(ValueError, match=r"sources: got .* needs 'towers', and after it, joined by '\+'"):
            source_names(words)
    for text, message in (
        ("regression-dwell:source_size=0", "source_size: got 0, needs >= 1"),
        ("regression-dwell:crosses=source_recent", "needs sources that name those of source_recent"),
        ("regression-dwell:ranker_vectors=True", "ranker_vectors: got True, needs False without ranker=gbdt"),
        ("reinforce:sources=towers+recent", "sources: got 'towers\\+recent', needs 'towers': this agent has one stage"),
        ("ltv:sources=towers+recent", "sources: got 'towers\\+recent', needs 'towers': this agent has one stage"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_agent(text)


def test_nobody_is_asked_for_nothing() -> None:
    sources = Sources(("recent",), 3)
    assert not sources.proposed("recent", np.arange(2), np.array([[1], [2]])).any()
    assert sources.columns == 3
