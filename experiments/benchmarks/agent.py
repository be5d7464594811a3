"""Benchmark of an agent in the loop: visits per CPU-second with learning on, and where the time goes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from feedgym.agents import make_agent
from feedgym.agents.two_tower import TwoTowerAgent
from feedgym.agents.two_tower import drawing as module
from feedgym.env.config import FeedConfig, NewsroomConfig
from feedgym.env.feed import Feed
from feedgym.env.readers import Outcome
from feedgym.experiments.benchmarks.feed import LIVE_AT_400_PER_DAY


@dataclass(frozen=True, kw_only=True)
class AgentFigures:
    """What was measured of one size."""

    what: str
    readers: int
    live: int
    visits_per_tick: float
    visits_per_second: float
    shares: dict[str, float]
    """Share of the CPU time of each part; they sum to 1."""


class Stopwatch:
    """Exclusive CPU time of named parts: what a part calls is not counted twice."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stack: list[tuple[str, float]] = []

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Time every call of ``owner.name`` as ``part``."""
        inner: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._enter(part)
            try:
                return inner(*args, **kwargs)
            finally:
                self._leave()

        setattr(owner, name, timed)

    def _enter(self, part: str) -> None:
        now = time.process_time()
        if self._stack:
            outer, since = self._stack[-1]
            self.seconds[outer] = self.seconds.get(outer, 0.0) + now - since
        self._stack.append((part, now))

    def _leave(self) -> None:
        now = time.process_time()
        part, since = self._stack.pop()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - since
        if self._stack:
            self._stack[-1] = (self._stack[-1][0], now)


def measure(what: str, readers: int, live: int | None, days: float, agent: str = "regression") -> AgentFigures:
    """Run ``agent`` on ``vivid`` from hour 0, learning included.

    Args:
        what: name of the row.
        readers: P.
        live: live articles, about; None leaves the world's own.
        days: simulated days.
        agent: a learned agent.
    """
    newsroom = NewsroomConfig() if live is None else NewsroomConfig(articles_per_day=400.0 * live / LIVE_AT_400_PER_DAY)
    feed = Feed(FeedConfig(num_readers=readers, days=days, newsroom=newsroom))
    learner = make_agent(agent).start(feed)
    assert isinstance(learner, TwoTowerAgent)
    watch = Stopwatch()
    serve = vars(module)["serve"]
    try:
        _instrument(watch, feed, learner)
        visits = 0
        start = time.process_time()
        while not feed.done:
            visits += len(feed.visits)
            served = learner.act(feed.visits, feed.catalogue)
            outcome = feed.serve(served.article_id)
            learner.learn(Outcome(**{n: getattr(outcome, n) for n in ("clicks", "dwell_minutes", "subscribed")}))
        total = time.process_time() - start
    finally:
        setattr(module, "serve", serve)  # noqa: B010 - mypy knows no such name of that module
    shares = {part: seconds / total for part, seconds in watch.seconds.items()}
    shares["the rest"] = 1.0 - sum(shares.values())
    return AgentFigures(
        what=what,
        readers=readers,
        live=len(feed.catalogue),
        visits_per_tick=visits / feed.config.num_ticks,
        visits_per_second=visits / total,
        shares=dict(sorted(shares.items(), key=lambda item: -item[1])),
    )


def _instrument(watch: Stopwatch, feed: Feed, agent: TwoTowerAgent) -> None:
    watch.wrap(feed, "serve", "the Feed")
    watch.wrap(module, "serve", "sampling slates, propensities")
    watch.wrap(agent.store.index, "search", "retrieval")
    watch.wrap(agent.store.scale, "mean_and_sd", "logit scale")
    watch.wrap(agent.store, "follow", "articles that come and go")
    watch.wrap(agent.store, "refresh", "item vectors anew after training")
    watch.wrap(agent.serving, "vectors", "user tower")
    watch.wrap(agent.serving, "requests", "reader columns, histories")
    watch.wrap(agent, "_train", "training")
    watch.wrap(agent, "learn", "replay")
