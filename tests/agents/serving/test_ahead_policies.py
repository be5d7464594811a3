"""Batch under each policy: greedy, rules, sites with little or nothing to show; what is told of lists and pages."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from feedgym.agents import make_agent
from feedgym.agents.slate_policy import slate_chances
from feedgym.agents.slate_policy.inclusion import slate_marginals
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.inside import acted_of

NEWSROOM = NewsroomConfig(articles_per_day=60, max_age_hours=20.0, num_topics=4)
SITE = FeedConfig(num_readers=120, days=2.0, tick_hours=0.5, slate_size=4, newsroom=NEWSROOM)
SMALL: dict[str, Any] = {"widths": (8,), "dim": 4, "max_steps": 2, "shortlist_size": 12, "serving": "batch"}


def start(newsroom: NewsroomConfig = NEWSROOM, slate_size: int = 4, **settings: Any) -> tuple[Any, Feed]:
    site = FeedConfig(**{**SITE.__dict__, "newsroom": newsroom, "slate_size": slate_size})
    feed = Feed(site, seed=5)
    clocks = {"reader_refresh_hours": 12.0, "item_refresh_hours": 12.0, "train_every_hours": 12.0}
    return make_agent("regression", **(SMALL | clocks | settings)).start(feed), feed


def ticks(agent: Any, feed: Feed) -> Iterator[tuple[Any, Any]]:
    """What was served at each tick with visits, between ``act`` and ``learn``, with how it came about."""
    while not feed.done:
        served = agent.act(feed.visits, feed.catalogue)
        if len(served.article_id):
            yield served, acted_of(agent)
        agent.learn(feed.serve(served.article_id))


def list_of(agent: Any, served: Any, i: int) -> tuple[list[int], int]:
    """The i-th visit's whole list as drawn, and where its page begins."""
    stored, row = agent.serving.ahead.snapshot(), acted_of(agent).row[i]
    place = stored["place"][row] if row < len(stored["place"]) else -1
    begin = stored["next"][row] if row < len(stored["next"]) else 0
    return stored["columns/article_id"][place].tolist(), int(begin)


def test_greedy_lists_are_the_best_for_everybody() -> None:
    agent, feed = start(greedy=True, list_depth=3)
    further = 0
    for served, acted in ticks(agent, feed):
        live = set(feed.catalogue.article_id.tolist())
        stored = agent.serving.ahead.snapshot()
        for i in range(len(acted.row)):
            drawn, begin = list_of(agent, served, i)
            place = stored["place"][acted.row[i]] if acted.row[i] < len(stored["place"]) else -1
            order = np.argsort(-stored["columns/logits"][place], kind="stable")
            assert drawn == stored["columns/shortlist"][place][order][:12].tolist()
            assert served.article_id[i].tolist() == ([a for a in drawn[begin:] if a in live] + [-1] * 4)[:4]
            further += begin > 0
        assert served.greedy.all()
        assert not served.log_propensity.any()
        assert not served.unweighted.any()
        assert not (served.epsilon * (served.shortlist_size > 0)).any()
        assert served.draw.all_greedy
        assert (served.inclusion == 1).all()
    assert further > 20


def test_without_exploration_pages_are_of_the_shortlist() -> None:
    agent, feed = start(epsilon=0.0)
    sampled = 0
    for served, _ in ticks(agent, feed):
        shown = served.article_id >= 0
        assert (served.in_shortlist == shown).all()
        assert np.isfinite(served.log_propensity).all()
        sampled += int((~served.greedy).sum())
    assert sampled > 50


def test_what_the_log_says_of_a_page_is_what_a_recount_from_its_logits_says() -> None:
    """First pages: from what is left of the shortlist, and of the articles that were live at the draw."""
    agent, feed = start(epsilon=0.1, temperature=0.7)
    known = 0
    for served, _ in ticks(agent, feed):
        ids = feed.catalogue.article_id
        live = set(ids[feed.catalogue.published_hours_of(ids) <= served.ahead.made_hours[0]].tolist())
        first = ~served.greedy & ~served.unweighted
        assert (served.num_live[first] == len(live)).all()
        assert (served.epsilon[first] == 0.1).all()
        assert set(served.draw.shortlist.ravel().tolist()) - {-1} <= live
        draw = dataclasses.replace(served.draw.rows(first), num_live=len(live), epsilon=0.1)
        plain = slate_marginals(served.article_id[first], draw)
        for name, values in plain._asdict().items():
            np.testing.assert_allclose(getattr(served, name)[first], values, rtol=1e-9)
        log, slots = slate_chances(served.article_id[first], draw)
        np.testing.assert_allclose(served.log_propensity[first], log, rtol=1e-12)
        np.testing.assert_allclose(served.slot_propensity[first], slots, rtol=1e-12)
        further, shown = served.unweighted, served.article_id >= 0
        assert np.isnan(served.inclusion[further][shown[further]]).all()
        assert np.isnan(served.inclusion_time[~first]).all()
        assert (served.inclusion[served.greedy] == 1).all()
        assert (served.slot_marginal[served.greedy] == 1).all()
        assert served.temperature == 0.7
        known += int(first.sum())
    assert known > 50


def test_fewer_articles_than_positions_and_none_at_the_draw() -> None:
    short, empty = 0, 0
    agent, feed = start(NewsroomConfig(articles_per_day=5.0, max_age_hours=9.0), slate_size=6)
    for served, acted in ticks(agent, feed):
        for i in range(len(acted.row)):
            drawn, begin = list_of(agent, served, i)
            there = [a for a in drawn[begin:] if a in set(feed.catalogue.article_id.tolist())]
            assert served.article_id[i].tolist() == (there + [-1] * 6)[:6]
            short += begin == 0 and len(there) < 6
        assert served.num_unfilled == 0
        assert (served.slot_propensity[served.article_id < 0] == 1).all()
        empty += len(acted.live) == 0
    assert short > 20
    nothing, feed = start(NewsroomConfig(articles_per_day=0.0))
    assert all(
        (served.article_id == -1).all() and not served.log_propensity.any() for served, _ in ticks(nothing, feed)
    )


def test_what_appears_after_an_empty_draw_waits_for_the_next() -> None:
    agent, feed = start(NewsroomConfig(articles_per_day=4.0, max_age_hours=2.0))
    waited = missed = 0
    for served, acted in ticks(agent, feed):
        missed += int((min(4, len(feed.catalogue)) - (served.article_id >= 0).sum(axis=1)).sum())
        if len(acted.live) == 0:
            assert (served.article_id == -1).all()
            waited += len(feed.catalogue) > 0
    assert waited > 5
    # Empty though there was something to show.
    assert agent.serving.cost.empty == missed
    assert np.isfinite(agent.metrics()["serving/slates_per_1000_visits"])


def test_before_anybody_is_known_all_go_down_one_list() -> None:
    agent, feed = start(reader_refresh_hours=24.0)
    lists, pages, visitors = set(), set(), 0
    for served, acted in ticks(agent, feed):
        if feed.now >= 24:
            break
        assert len(agent.serving.ahead) == 0
        lists |= {tuple(list_of(agent, served, i)[0]) for i in range(len(acted.row))}
        pages |= set(served.ahead.place[:, 0].tolist())
        visitors += len(served.article_id)
    assert len(lists) == 1
    assert len(pages) > 3
    assert visitors > 50


def test_rules_hold_at_the_visit_and_what_they_leave_empty_is_told() -> None:
    agent, feed = start(rules="exclude(topic=0)+exclude(topic=1)+exclude(age_hours>6)", slate_size=8, list_depth=2)
    unfilled = skipped = 0
    for served, acted in ticks(agent, feed):
        ids = served.article_id
        assert set(ids.ravel().tolist()) - {-1} <= set(acted.live.tolist())
        kinds, born = feed.catalogue.categories_of(acted.live)[:, 0], feed.catalogue.published_hours_of(acted.live)
        assert (kinds > 1).all()
        assert (born >= feed.now - 6).all()
        empty = np.maximum(min(8, len(feed.catalogue)) - (ids >= 0).sum(axis=1), 0).sum()
        if feed.now == served.ahead.made_hours[0]:
            # At the draw it is the rules alone that leave positions empty.
            assert served.num_unfilled == empty
        assert served.num_unfilled <= empty
        unfilled, skipped = unfilled + served.num_unfilled, skipped + int(served.ahead.skipped_excluded.sum())
    assert unfilled > 20
    assert agent.serving.cost.excluded == skipped > 20


def test_pages_of_a_ruled_list_keep_the_rules_and_repeat_nothing() -> None:
    """A page is shown as it was drawn, less what has gone: each has its cap, its share, and its pinned category."""
    agent, feed = start(rules="cap(topic,2)+share(topic=1,0.5)+pin(topic=2,0)", list_depth=3, epsilon=0.4)
    pages = holes = 0
    for served, acted in ticks(agent, feed):
        live = set(feed.catalogue.article_id.tolist())
        topics = dict(
            enumerate(feed.catalogue.categories_of(np.arange(feed.catalogue.archive.published))[:, 0].tolist())
        )
        for i in range(len(acted.row)):
            drawn, begin = list_of(agent, served, i)
            whole = [a for a in drawn if a >= 0]
            assert len(set(whole)) == len(whole)
            page = (drawn[begin:] + [-1] * 4)[:4]
            assert served.article_id[i].tolist() == [a if a in live else -1 for a in page]
            kinds = [topics[a] for a in page if a >= 0]
            assert max((kinds.count(t) for t in kinds), default=0) <= 2
            # What there is enough of.
            if len(kinds) == 4:
                assert kinds.count(1) >= 2 or begin > 0
                assert topics[page[0]] == 2 or begin > 0
            pages += begin > 0 and len(kinds) == 4
            holes += any(a >= 0 and a not in live for a in page)
        log = served.as_drawn
        np.testing.assert_allclose(np.log(log.slot_propensity).sum(axis=1), log.log_propensity, atol=1e-9)
    assert min(pages, holes) > 10


def test_a_pinned_article_leaves_a_hole_when_it_expires_and_its_place_to_others_at_the_next_draw() -> None:
    _, feed = start()
    live = feed.catalogue.article_id
    expires = feed.catalogue.archive.column("expires_hours")[live]
    pinned = int(live[np.argmin(np.abs(expires - 17.0))])
    hours = float(feed.catalogue.archive.column("expires_hours")[pinned])
    assert 13.0 < hours < 23.0
    agent, feed = start(rules=f"pin({pinned},1)+cap(topic,2)")
    seen = {"there": 0, "gone": 0, "others": 0, "further": 0}
    for served, _ in ticks(agent, feed):
        drawn, first = served.as_drawn, served.ahead.place[:, 0] == 0
        # On the first page alone.
        assert (drawn.article_id[~first] != pinned).all()
        seen["further"] += int((~first).sum())
        if feed.now >= 24:
            assert (drawn.article_id != pinned).all()
            seen["others"] += int((served.article_id[:, 1] >= 0).sum())
            continue
        assert (drawn.article_id[first, 1] == pinned).all()
        assert (drawn.slot_propensity[first, 1] == 1).all()
        assert (served.article_id[first, 1] == (pinned if feed.now < hours else -1)).all()
        seen["there" if feed.now < hours else "gone"] += int(first.sum())
        # Caps and pins leave the marginals of what was drawn unknown; the greedy list was not drawn.
        known = ~served.greedy
        shown = drawn.article_id >= 0
        assert np.isnan(drawn.inclusion[known][shown[known]]).all()
        assert (drawn.inclusion[~known] == 1).all()
        np.testing.assert_allclose(np.log(drawn.slot_propensity).sum(axis=1), drawn.log_propensity, atol=1e-9)
    assert min(seen.values()) > 15
