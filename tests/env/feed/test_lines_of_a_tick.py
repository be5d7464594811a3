"""A tick runs the same lines of Python however many visits and articles there are: no loop over them."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from feedgym.agents import make_agent
from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig
from feedgym.env.feed.catalogue import Catalogue
from feedgym.env.newsroom.synthetic import SyntheticNewsroom


def lines_of(call: Callable[[], Any]) -> int:
    """Python lines executed by ``call``, in all frames."""
    count = 0

    def local(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return local

    old = sys.gettrace()
    sys.settrace(lambda frame, event, arg: local)
    try:
        call()
    finally:
        sys.settrace(old)
    return count


def crowded(num_readers: int, agent: str = "recent", **settings: Any) -> tuple[Feed, Any]:
    """A feed after some ticks, at one where every reader asks for a slate."""
    # Nobody leaves, habits do not vary: all readers come at each tick.
    model = NewsReader(NewsReaderConfig(gap_median_hours=1e-6, gap_log_sd=0.0, leaving=False, enrolment_share=0.0))
    feed = Feed(FeedConfig(num_readers=num_readers, newcomers_per_day=0.0, tick_hours=1.0, days=3.0), model, seed=2)
    started = make_agent(agent, **settings).start(feed)
    for _ in range(4):
        started.learn(feed.serve(started.act(feed.visits, feed.catalogue).article_id))
    assert len(feed.visits) == num_readers
    return feed, started


def test_the_count_sees_a_loop() -> None:
    def loop(n: int) -> int:
        total = 0
        for i in range(n):
            total += i
        return total

    assert lines_of(lambda: loop(2000)) > 5 * lines_of(lambda: loop(200))


# Both sizes take one block of visits and, of articles, one position at a time: below 1,025 visits several positions
# are read at once, which is fewer passes over the batch, not a loop over visits.
FEW, MANY = 1200, 4000


def test_serving_three_times_the_visits_runs_as_many_lines() -> None:
    lines = []
    for n in (FEW, MANY):
        feed, agent = crowded(n)
        slates = agent.act(feed.visits, feed.catalogue).article_id
        lines.append(lines_of(lambda feed=feed, slates=slates: feed.serve(slates)))  # type: ignore[misc]
    assert lines[0] > 100
    assert abs(lines[1] / lines[0] - 1.0) < 0.03, lines


def test_visits_are_read_without_a_loop() -> None:
    lines = []
    for n in (200, 2000):
        feed, _ = crowded(n)
        lines.append(lines_of(lambda feed=feed: feed.visits.history_id))  # type: ignore[misc]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("name", ["random", "recent", "popular", "regression"])
def test_agents_act_and_learn_without_a_loop_over_visits(name: str) -> None:
    # A training comes at every sixth hour and takes so many steps at most.
    settings = {"train_every_hours": 6.0, "max_steps": 1} if name == "regression" else {}
    lines = []
    for n in (FEW, FEW, MANY):  # the first one imports what torch imports late
        feed, agent = crowded(n, name, **settings)

        def three_ticks(feed: Feed = feed, agent: Any = agent) -> None:
            for _ in range(3):  # hours 4, 5 and 6: with a training
                served = agent.act(feed.visits, feed.catalogue)
                agent.learn(feed.serve(served.article_id))

        lines.append(lines_of(three_ticks))
        if name == "regression":
            assert agent.policy_version == 1
    assert lines[1] > 100
    assert abs(lines[2] / lines[1] - 1.0) < 0.1, lines


def test_a_catalogue_of_a_hundred_times_the_articles_runs_as_many_lines() -> None:
    lines = []
    for per_day in (40.0, 400.0, 4000.0):
        catalogue = Catalogue(SyntheticNewsroom(NewsroomConfig(articles_per_day=per_day), 1), 4)
        for tick in range(20):
            catalogue.advance(tick, 6.0 * tick)
        lines.append(lines_of(lambda c=catalogue: [c.advance(t, 6.0 * t) for t in range(20, 52)]))  # type: ignore[misc]
        assert len(catalogue) > per_day
    # Few articles leave some ticks and days without any that is due, and the calendar has a list for each.
    assert lines[0] > 100
    assert abs(lines[2] / lines[1] - 1.0) < 0.1, lines
    assert abs(lines[2] / lines[0] - 1.0) < 0.25, lines
