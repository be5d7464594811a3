"""One reader as a Gymnasium environment: a step is one visit, the clock jumps over the hours in between.

A face on :class:`~feedgym.env.feed.Feed` with one reader; ``NewsFeedVectorEnv`` with P = 1 is the same world.
Shapes: K positions, D article columns, F reader columns, C candidates. Time is in hours.
"""

import dataclasses
from typing import Any, ClassVar

import numpy as np
from gymnasium import Env, spaces

from feedgym.env.arrays import Floats, Ints
from feedgym.env.catalogue import Catalogue
from feedgym.env.checks import require
from feedgym.env.config import FeedConfig
from feedgym.env.feed import Feed, ServedOutcome
from feedgym.env.newsroom import Newsroom
from feedgym.env.observables import (
    ReaderTable,
    article_columns,
    article_space,
    clock_columns,
    nearest,
    newest,
    reader_space,
    world_centers,
)
from feedgym.env.readers.news_reader import NewsReader
from feedgym.env.readers.protocol import ReaderModel

Info = dict[str, Any]
Step = tuple[Floats, float, bool, bool, Info]


class NewsFeedEnv(Env[Floats, Floats]):
    """A news site with one reader.

    Action (``action="query"``): a query vector, ``Box(-1, 1, (D,))``. The slate is the K live articles with the
    largest inner products with it in the space of ``article_names``; its scale does not matter. ``step_slate``
    serves any other slate.

    Observation (``obs="flat"``): finite float32, named by ``observation_names``: the reader's F columns, sine and
    cosine of the hour, the D columns of the C newest live articles (newest first; 0 where fewer are live), and a
    mask of C that is 1 where there is a candidate.

    Reward: that of the visit, weighted by ``config.reward``. ``terminated``: the reader has left for good, and the
    clock stands one tick after the last visit. ``truncated``: the horizon ``config.days`` came first.

    ``info``: ``article_id`` (K,) int64, ``clicks`` (K,) bool, ``dwell_minutes`` (K,) float32 and ``subscribed`` of
    the slate just served (-1 and nothing after ``reset``); ``hours_since_last_visit`` (0 before the first visit),
    ``time_hours`` and ``visit`` (visits before this one) of the moment that the observation shows.
    At the horizon that gap is an unfinished one.

    ``reset(seed=s)`` is the world of ``Feed(seed=s)``; without a seed each episode draws a new world. A reader whose
    first visit lies beyond the horizon (late enrolment) has an episode without a visit, as in the Feed: the
    observation is that of the horizon, and the first step serves nothing, pays 0 and is ``truncated``.

    Args:
        reader_id: which reader of the world, >= 0.
        config: of the site; its ``num_readers`` and ``first_reader_id`` give way to ``reader_id``.
        reader_model: how readers react; ``NewsReader()`` by default.
        newsroom: what is published, instead of the synthetic newsroom of ``config``.
        action: ``"query"``.
        obs: ``"flat"``.
        num_candidates: C, articles shown in the observation, >= 1.

    Raises:
        ValueError: a setting that is not allowed.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]

    def __init__(
        self,
        reader_id: int = 0,
        *,
        config: FeedConfig | None = None,
        reader_model: ReaderModel | None = None,
        newsroom: Newsroom | None = None,
        action: str = "query",
        obs: str = "flat",
        num_candidates: int = 16,
    ) -> None:
        require(action == "query", "action", action, "'query'")
        require(obs == "flat", "obs", obs, "'flat'")
        require(num_candidates >= 1, "num_candidates", num_candidates, ">= 1")
        site = config if config is not None else FeedConfig()
        self.config = dataclasses.replace(site, num_readers=1, first_reader_id=reader_id)
        self.reader_model: ReaderModel = reader_model if reader_model is not None else NewsReader()
        self.num_candidates = num_candidates
        self._newsroom = newsroom
        centers = world_centers(self.config, newsroom)
        self.article_names, low, high = article_space(centers)
        """Names of the D columns in which queries retrieve."""
        self.reader_names, reader_low, reader_high = reader_space(self.reader_model, centers)
        """Names of the F columns of the reader."""
        c = num_candidates
        self.observation_names: tuple[str, ...] = (
            *self.reader_names,
            *("hour_sin", "hour_cos"),
            *(f"candidate_{i}_{name}" for i in range(c) for name in self.article_names),
            *(f"is_candidate_{i}" for i in range(c)),
        )
        """Names of the observation's columns."""
        clock, mask = np.ones(2, dtype=np.float32), np.ones(c, dtype=np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (len(self.article_names),), np.float32)
        self.observation_space = spaces.Box(
            np.concatenate([reader_low, -clock, np.tile(low, c), 0.0 * mask]),
            np.concatenate([reader_high, clock, np.tile(high, c), mask]),
            dtype=np.float32,
        )
        self._feed: Feed | None = None
        self._ended = False

    @property
    def feed(self) -> Feed:
        """The site itself. Its ``catalogue`` and ``visits`` are observable, its ``state`` is latent."""
        if self._feed is None:
            raise RuntimeError("feed: there is none yet; needs reset() first")
        return self._feed

    @property
    def catalogue(self) -> Catalogue:
        """What is live now: ids, features, ages, counters."""
        return self.feed.catalogue

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Floats, Info]:
        """Begin a new world, at the reader's first visit.

        Args:
            seed: of the world, >= 0; drawn from ``np_random`` if None.
            options: none are known.
        """
        super().reset(seed=seed)
        world = int(self.np_random.integers(2**31)) if seed is None else seed
        self._feed = Feed(self.config, self.reader_model, world, newsroom=self._newsroom)
        self._reader = ReaderTable(self._feed)
        self._ended = False
        self._jump()
        return self._observation(), self._info(None, None)

    def step(self, action: Floats) -> Step:
        """Serve the K live articles nearest to the query ``action`` (D,)."""
        query = np.asarray(action, dtype=np.float32)
        require(query.shape == self.action_space.shape, "action", query.shape, f"{self.action_space.shape}")
        require(bool(np.isfinite(query).all()), "action", query, "finite numbers")
        return self.step_slate(self.retrieve(query))

    def retrieve(self, query: Floats) -> Ints:
        """The slate for a query float32 (D,): ids int64 (K,), best first, -1 where fewer are live."""
        live = self.catalogue.article_id
        return nearest(query, article_columns(self.catalogue, live), live, self.config.slate_size)

    def step_slate(self, article_id: Ints) -> Step:
        """Serve a slate, jump to the next visit. ``step`` is this with the slate of its query.

        Args:
            article_id: integer (K,), the top position first. An entry that is repeated, expired, unpublished or -1
                shows nothing (with ``config.strict``: is refused).

        Returns:
            What ``step`` returns.

        Raises:
            ValueError: wrong shape or dtype.
            RuntimeError: the episode has ended.
        """
        slate = np.asarray(article_id)
        shape = (self.config.slate_size,)
        require(slate.shape == shape, "article_id", slate.shape, f"{shape}: slate_size entries")
        is_integer = np.issubdtype(slate.dtype, np.integer)
        require(bool(is_integer), "article_id", slate.dtype, "an integer dtype (article ids)")
        feed = self.feed
        if self._ended:
            raise RuntimeError("step: the episode has ended; needs reset() first")
        if feed.done:  # the reader's first visit lies beyond the horizon
            self._ended = True
            return self._observation(), 0.0, False, True, self._info(None, None)
        rows = feed.visits.rows
        outcome = feed.serve(slate[None])
        self._reader.record(rows, outcome.clicks)
        terminated = bool(outcome.left[0])
        if not terminated:
            self._jump()
        truncated = feed.done and not terminated
        self._ended = terminated or truncated
        info = self._info(slate.astype(np.int64), outcome)
        return self._observation(), float(outcome.reward[0]), terminated, truncated, info

    def _jump(self) -> None:
        """Let ticks without a visit pass."""
        nobody: Ints = np.zeros((0, self.config.slate_size), dtype=np.int64)
        while not self.feed.done and len(self.feed.visits) == 0:
            self.feed.serve(nobody)
        self._reader.open_tick()

    def _observation(self) -> Floats:
        catalogue = self.catalogue
        candidates = newest(catalogue.article_id, self.num_candidates)
        shown: Floats = np.zeros((self.num_candidates, len(self.article_names)), dtype=np.float32)
        shown[: len(candidates)] = article_columns(catalogue, candidates)
        mask = (np.arange(self.num_candidates) < len(candidates)).astype(np.float32)
        parts = [self._reader.columns()[0], clock_columns(self.feed.now), shown.ravel(), mask]
        return np.concatenate(parts)

    def _info(self, slate: Ints | None, outcome: ServedOutcome | None) -> Info:
        k = self.config.slate_size
        info: Info = {
            "article_id": np.full(k, -1, dtype=np.int64) if slate is None else slate,
            "clicks": np.zeros(k, dtype=np.bool_),
            "dwell_minutes": np.zeros(k, dtype=np.float32),
            "subscribed": False,
            "hours_since_last_visit": float(self._reader.gap_hours()[0]),
            "time_hours": self.feed.now,
            "visit": int(self.feed.records.visit_count[0]),
        }
        if outcome is not None:
            info["clicks"][:] = outcome.clicks[0]
            info["dwell_minutes"][:] = outcome.dwell_minutes[0]
            info["subscribed"] = bool(outcome.subscribed[0])
        return info
