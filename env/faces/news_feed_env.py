"""One reader as a Gymnasium environment: a step is one visit, the clock jumps over the hours in between.

A face on :class:`~feedgym.env.feed.feed.Feed` with one reader; ``NewsFeedVectorEnv`` with P = 1 is the same world.
Shapes: K positions, D article columns, F reader columns, C candidates. Time is in hours.
"""

import dataclasses
from typing import Any, ClassVar

import numpy as np
from gymnasium import Env

from feedgym.env.arrays import Bools, Floats, Ints
from feedgym.env.checks import require
from feedgym.env.config import FeedConfig
from feedgym.env.faces.actions import (
    ACTIONS,
    ORDERS,
    action_space,
    checked_choice,
    choice_masks,
    chosen_articles,
    slate_below,
)
from feedgym.env.faces.observables import (
    ReaderTable,
    article_columns,
    article_space,
    check_render_mode,
    clock_columns,
    nearest,
    observation_space,
    reader_space,
    world_centers,
)
from feedgym.env.feed import Catalogue, Feed, Opens, ServedOutcome
from feedgym.env.newsroom import Newsroom
from feedgym.env.readers import NewsReader, ReaderModel

OBSERVATIONS = ("flat", "dict")
"""What an observation of the single face may be."""
Info = dict[str, Any]
Observation = Floats | dict[str, Floats]
Action = Floats | Ints | int
Step = tuple[Observation, float, bool, bool, Info]


class NewsFeedEnv(Env[Observation, Action]):
    """A news site with one reader.

    Actions. ``"query"``: a query vector, ``Box(-1, 1, (D,))``; the slate is the K live articles with the largest
    inner products with it in the space of ``article_names``; its scale does not matter. ``"slate"``:
    ``MultiDiscrete([C] * K)``, a candidate for each position. ``"item"``: ``Discrete(C)``, the candidate on top; the
    order goes on below it. ``step_slate`` serves any other slate.

    Candidates are the first C live articles of ``order``, in that order, for actions and observations alike:
    ``"newest"`` first, or ``"most_clicked"`` first (on this site, whose one reader makes all the clicks). Where
    fewer than C are live, the last numbers are masked: choosing one leaves its position empty, and so does choosing
    a candidate for a second position. See ``candidates`` and ``action_masks``.

    Observations: finite float32. ``"dict"``: ``reader`` (F,); ``clock`` (2,), sine and cosine of the hour;
    ``candidates`` (C * D,), the article columns of one candidate after the other, 0 where masked; ``mask`` (C,), 1
    where there is a candidate. ``"flat"``: these four in this order as one ``Box``. Columns are named by
    ``observation_names``, arrays are fresh at each step.

    Reward: that of the visit, weighted by ``config.reward``. ``terminated``: the reader has left for good, and the
    clock stands one tick after the last visit. ``truncated``: the horizon ``config.days`` came first.

    ``info``: ``article_id`` (K,) int64, ``clicks`` (K,) bool, ``dwell_minutes`` (K,) float32 and ``subscribed`` of
    the slate just served (-1 and nothing after ``reset``); ``hours_since_last_visit`` (0 before the first visit),
    ``time_hours`` and ``visit`` (visits before this one) of the moment that the observation shows.
    At the horizon that gap is an unfinished one. Where readers also come from elsewhere (``config.organic``), so are
    ``organic_article_id``, ``organic_channel`` (an index of ``channel_names``), ``organic_minutes`` and
    ``organic_hours``, (m,) each: what was opened without a slate since the step before, maybe nothing.

    ``reset(seed=s)`` is the world of ``Feed(seed=s)``; without a seed each episode draws a new world. A reader whose
    first visit lies beyond the horizon (late enrolment) has an episode without a visit, as in the Feed: the
    observation is that of the horizon, and the first step serves nothing, pays 0 and is ``truncated``.

    Args:
        reader_id: which reader of the world, >= 0.
        config: of the site; its ``num_readers`` and ``first_reader_id`` give way to ``reader_id``, who is there from
            hour 0 on; newcomers have no part in the life of one reader.
        reader_model: how readers react; ``NewsReader()`` by default.
        newsroom: what is published, instead of the synthetic newsroom of ``config``.
        action: ``"query"``, ``"slate"`` or ``"item"``.
        obs: ``"flat"`` or ``"dict"``.
        order: of the candidates, ``"newest"`` or ``"most_clicked"``.
        num_candidates: C, articles shown in the observation, >= 1.
        render_mode: None, as training scripts pass it: there is nothing to be seen.

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
        order: str = "newest",
        num_candidates: int = 16,
        render_mode: str | None = None,
    ) -> None:
        check_render_mode(render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        require(action in ACTIONS, "action", action, f"one of {ACTIONS}")
        require(obs in OBSERVATIONS, "obs", obs, f"one of {OBSERVATIONS}")
        require(order in ORDERS, "order", order, f"one of {tuple(ORDERS)}")
        require(num_candidates >= 1, "num_candidates", num_candidates, ">= 1")
        site = config if config is not None else FeedConfig()
        self.config = dataclasses.replace(
            site, num_readers=1, first_reader_id=reader_id, population=None, newcomers_per_day=0.0
        )
        self.reader_model: ReaderModel = reader_model if reader_model is not None else NewsReader()
        self.num_candidates = num_candidates
        self._action, self._obs, self._order = action, obs, ORDERS[order]
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
        """Names of the observation's columns; of a ``"dict"``, those of reader, clock, candidates and mask in turn."""
        ones = np.ones(max(2, c), dtype=np.float32)
        lows = {"reader": reader_low, "clock": -ones[:2], "candidates": np.tile(low, c), "mask": 0.0 * ones[:c]}
        highs = {"reader": reader_high, "clock": ones[:2], "candidates": np.tile(high, c), "mask": ones[:c]}
        self.action_space = action_space(action, len(self.article_names), c, self.config.slate_size)
        self.observation_space = observation_space(obs, lows, highs)
        self.channel_names = tuple(channel.name for channel in self.config.organic.channels)
        """Where the reader comes from besides the slates, where she does."""
        self._feed: Feed | None = None
        self._ended, self._opened = False, list[Opens]()

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

    @property
    def candidates(self) -> Ints:
        """Ids of the candidates now, int64 (C,), in their order; -1 where fewer are live."""
        return chosen_articles(np.arange(self.num_candidates), self._shown)

    def action_masks(self) -> Bools:
        """Which choices show an article, as sb3-contrib's ``MaskablePPO`` asks for them.

        Returns:
            bool, (C,) for ``action="item"``; (K * C,) for ``"slate"``, one position after the other. A slate's masks
            do not exclude a candidate that another position shows: what is repeated shows nothing. All False where
            nothing is live.

        Raises:
            ValueError: for ``"query"``, which has no choices to mask.
        """
        return choice_masks(self._action, len(self._shown), self.num_candidates, self.config.slate_size)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        """Begin a new world, at the reader's first visit.

        Args:
            seed: of the world, >= 0; drawn from ``np_random`` if None.
            options: none are known.
        """
        super().reset(seed=seed)
        world = int(self.np_random.integers(2**31)) if seed is None else seed
        self._feed = Feed(self.config, self.reader_model, world, newsroom=self._newsroom)
        self._reader = ReaderTable(self._feed)
        self._ended, self._opened = False, []
        self._jump()
        return self._observation(), self._info(None, None)

    def step(self, action: Action) -> Step:
        """Serve the slate that ``action`` stands for, jump to the next visit.

        Raises:
            ValueError: an action that is not in the action space, but for a query's length.
            RuntimeError: the episode has ended.
        """
        return self.step_slate(self.slate_of(action))

    def slate_of(self, action: Action) -> Ints:
        """The slate that ``action`` stands for at this visit: ids int64 (K,), -1 where a position stays empty."""
        if self._action == "query":
            query = np.asarray(action, dtype=np.float32)
            require(query.shape == self.action_space.shape, "action", query.shape, f"{self.action_space.shape}")
            require(bool(np.isfinite(query).all()), "action", query, "finite numbers")
            return self.retrieve(query)
        k, c = self.config.slate_size, self.num_candidates
        choice = checked_choice(action, (k,) if self._action == "slate" else (), c)
        articles = chosen_articles(choice, self._shown)
        if self._action == "slate":
            return articles
        # K articles of the order: one of them may be the one on top.
        return slate_below(int(articles), self._order(self.catalogue, k), k)

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
        outcome, self._opened = feed.serve(slate[None]), []
        self._reader.record(rows, outcome.clicks)
        terminated = bool(outcome.left[0])
        if not terminated:
            self._jump()
        # Opened since the visit, and paid with it, if it is paid at all.
        reward = float(outcome.reward[0]) + sum(float(opens.reward[0]) for opens in self._opened)
        truncated = feed.done and not terminated
        self._ended = terminated or truncated
        info = self._info(slate.astype(np.int64), outcome)
        return self._observation(), reward, terminated, truncated, info

    def _jump(self) -> None:
        """Let ticks without a visit pass."""
        # 1.7 ms a step of the default site, 2.7 ms when these 40 ticks or so were served one by one. Most of the
        # rest is the newsroom, whose articles come and go at every tick.
        first = self.feed.visits.opens
        passed = self.feed.skip_empty_ticks()
        self._opened = [*([] if first is None else [first]), *passed]
        self._reader.record_opens(self._opened)
        self._reader.open_tick()

    @property
    def _shown(self) -> Ints:
        """Ids of the candidates that there are, (m,), m <= C."""
        return self._order(self.catalogue, self.num_candidates)

    def _observation(self) -> Observation:
        shown, c = self._shown, self.num_candidates
        columns: Floats = np.zeros((c, len(self.article_names)), dtype=np.float32)
        columns[: len(shown)] = article_columns(self.catalogue, shown)
        parts: dict[str, Floats] = {
            "reader": self._reader.columns()[0],
            "clock": clock_columns(self.feed.now),
            "candidates": columns.ravel(),
            "mask": (np.arange(c) < len(shown)).astype(np.float32),
        }
        return parts if self._obs == "dict" else np.concatenate([*parts.values()])

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
        if self.config.organic.share > 0:
            opened = self._opened
            info["organic_article_id"] = np.array([opens.article_id[0] for opens in opened], dtype=np.int64)
            info["organic_channel"] = np.array([opens.channel[0] for opens in opened], dtype=np.int64)
            info["organic_minutes"] = np.array([opens.dwell_minutes[0] for opens in opened], dtype=np.float32)
            info["organic_hours"] = np.array([opens.now for opens in opened], dtype=np.float64)
        return info
