"""A population as a Gymnasium vector environment: P readers, one clock, one newsroom; a step is one tick.

A face on :class:`~feedgym.env.feed.feed.Feed`: sub-environment i is the reader at row i. O(P) per tick by Gymnasium's
contract; whoever needs ticks that cost their visits only drives the Feed itself.
Shapes: P readers, K positions, F reader columns. Time is in hours.
"""

import dataclasses
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from feedgym.env.arrays import AnyArray, Bools, Floats, Ints
from feedgym.env.checks import require
from feedgym.env.config import FeedConfig
from feedgym.env.faces.observables import (
    ReaderTable,
    check_render_mode,
    clock_columns,
    reader_space,
    world_centers,
)
from feedgym.env.feed import Catalogue, Feed, Opens, ServedOutcome, Visits, most_readers
from feedgym.env.newsroom import Newsroom
from feedgym.env.readers import NewsReader, ReaderModel

Info = dict[str, Any]
Observation = dict[str, AnyArray]
MAX_ARTICLE_ID = 2**31 - 2
"""Largest id that an action can hold: Gymnasium's ``Box`` overflows at int64's own maximum."""
_ORGANIC = ("organic_article_id", "organic_channel", "organic_minutes")


class NewsFeedVectorEnv(VectorEnv[Observation, Ints, AnyArray]):
    """A news site with P readers.

    Action: article ids, ``Box(-1, 2**31 - 2, (P, K), int64)``, -1 for an empty position. Rows of absent readers
    are ignored. What to choose from is ``catalogue``; who is here, with history and gap, is ``visits``.

    Observation: ``reader`` (P, F) float32, columns ``reader_names``; ``clock`` (P, 2) float32, sine and cosine of
    the hour; ``present`` (P,) int8, 1 where the reader asks for a slate now.

    Rewards (P,) float32, 0 for absent readers. ``terminated[i]`` is True in one step, that in which reader i left
    for good; the row is absent ever after. Rows are not refilled (``AutoresetMode.DISABLED``): newcomers have rows of
    their own behind those of the first readers, absent until they come. ``truncated`` at the horizon, for every row
    that has not terminated; then ``reset``.

    ``info``, arrays that lead with P: ``article_id`` (P, K) int64, ``clicks`` (P, K) bool, ``dwell_minutes`` (P, K)
    float32 and ``subscribed`` (P,) bool of the slates just served (-1 and nothing for absent readers);
    ``hours_since_last_visit`` (P,) float64 (0 before the first visit), ``time_hours`` (P,) and ``visit`` (P,) int64,
    the visits before now. As everywhere in Gymnasium, ``_name`` (P,) bool says for which rows ``name`` holds.

    Where readers also come from elsewhere (``config.organic``), ``info`` has ``organic_article_id`` (P,) int64,
    ``organic_channel`` (P,) int64, an index of ``channel_names``, and ``organic_minutes`` (P,) float32: what readers
    opened without a slate when the present tick began; -1, -1 and 0 where nothing. What it pays, if anything, is in the
    rewards of the step that shows it.

    Args:
        num_envs: P, readers at hour 0, and nobody joins; ``make_vec`` passes its own default 1. None: the readers of
            ``config`` and a row for each newcomer until the horizon.
        config: of the site; reader ids begin at its ``first_reader_id``.
        reader_model: how readers react; ``NewsReader()`` by default.
        newsroom: what is published, instead of the synthetic newsroom of ``config``.
        render_mode: None, as training scripts pass it: there is nothing to be seen.

    Raises:
        ValueError: a setting that is not allowed.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": [],
        "autoreset_mode": AutoresetMode.DISABLED,
    }

    def __init__(
        self,
        num_envs: int | None = None,
        *,
        config: FeedConfig | None = None,
        reader_model: ReaderModel | None = None,
        newsroom: Newsroom | None = None,
        render_mode: str | None = None,
    ) -> None:
        check_render_mode(render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        site = config if config is not None else FeedConfig()
        closed = {"num_readers": num_envs, "population": None, "newcomers_per_day": 0.0}
        self.config = site if num_envs is None else dataclasses.replace(site, **closed)  # type: ignore[arg-type]
        self.reader_model: ReaderModel = reader_model if reader_model is not None else NewsReader()
        self.num_envs = most_readers(self.config, self.reader_model)
        self.autoreset_mode = AutoresetMode.DISABLED
        self._newsroom = newsroom
        centers = world_centers(self.config, newsroom)
        self.reader_names, low, high = reader_space(self.reader_model, centers)
        """Names of the F columns of ``obs["reader"]``."""
        self.single_action_space = spaces.Box(-1, MAX_ARTICLE_ID, (self.config.slate_size,), np.int64)
        self.single_observation_space = spaces.Dict(
            {
                "reader": spaces.Box(low, high, dtype=np.float32),
                "clock": spaces.Box(-1.0, 1.0, (2,), np.float32),
                "present": spaces.Box(0, 1, (), np.int8),
            }
        )
        self.channel_names = tuple(channel.name for channel in self.config.organic.channels)
        """Where readers come from besides the slates, where they do."""
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._feed: Feed | None = None
        self.outcome: ServedOutcome | None = None
        """All of the last step's outcome for its present readers, latent parts too: for logs, not for agents."""

    @property
    def feed(self) -> Feed:
        """The site itself. Its ``catalogue`` and ``visits`` are observable, its ``state`` is latent."""
        if self._feed is None:
            raise RuntimeError("feed: there is none yet; needs reset() first")
        return self._feed

    @property
    def catalogue(self) -> Catalogue:
        """What is live now, once for all readers: ids, features, ages, counters."""
        return self.feed.catalogue

    @property
    def visits(self) -> Visits:
        """The present readers, a compact batch: rows, history, gaps."""
        return self.feed.visits

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        """Begin a new world for all readers.

        Args:
            seed: of the world, >= 0, as in ``Feed(seed=seed)``; drawn from ``np_random`` if None.
            options: ``reset_mask`` must be all True: the readers share one clock and one newsroom.
        """
        mask = (options or {}).get("reset_mask", True)
        require(bool(np.all(mask)), "options['reset_mask']", mask, "all True: the readers share one clock")
        super().reset(seed=seed)
        world = int(self.np_random.integers(2**31)) if seed is None else seed
        self._feed = Feed(self.config, self.reader_model, world, newsroom=self._newsroom)
        # Rows of all who will come, from the start: what leads with P must not grow.
        self._feed.records.reserve(self.num_envs, exactly=True)
        self._readers = ReaderTable(self._feed)
        return self._observation(), self._info(None, None, None)

    def step(self, actions: Ints) -> tuple[Observation, Floats, Bools, Bools, Info]:
        """Serve the present readers, end the tick.

        Args:
            actions: article ids, integer (P, K).

        Raises:
            ValueError: wrong shape or dtype; a bad entry if ``config.strict``.
            RuntimeError: the horizon is reached.
        """
        slates = np.asarray(actions)
        shape = (self.num_envs, self.config.slate_size)
        require(slates.shape == shape, "actions", slates.shape, f"{shape}: a row per reader, slate_size columns")
        is_integer = np.issubdtype(slates.dtype, np.integer)
        require(bool(is_integer), "actions", slates.dtype, "an integer dtype (article ids)")
        feed = self.feed
        rows = feed.visits.rows
        served: Ints = slates[rows].astype(np.int64)
        self.outcome = outcome = feed.serve(served)
        self._readers.record(rows, outcome.clicks)
        self._readers.open_tick()
        rewards: Floats = np.zeros(self.num_envs, dtype=np.float32)
        terminated: Bools = np.zeros(self.num_envs, dtype=np.bool_)
        rewards[rows], terminated[rows] = outcome.reward, outcome.left
        if feed.visits.opens is not None:
            # What is opened when the next tick begins is seen now, and paid now, if it is paid at all.
            rewards[feed.visits.opens.rows] += feed.visits.opens.reward
        truncated = np.full(self.num_envs, feed.done)
        if feed.done:
            truncated[: len(feed.has_left)] = ~feed.has_left
        return self._observation(), rewards, terminated, truncated, self._info(rows, served, outcome)

    def _observation(self) -> Observation:
        feed = self.feed
        present = np.zeros(self.num_envs, dtype=np.int8)
        present[feed.visits.rows] = 1
        clock = np.tile(clock_columns(feed.now), (self.num_envs, 1))
        return {"reader": self._readers.columns(), "clock": clock, "present": present}

    def _info(self, rows: Ints | None, served: Ints | None, outcome: ServedOutcome | None) -> Info:
        feed, p, k = self.feed, self.num_envs, self.config.slate_size
        info: Info = {
            "article_id": np.full((p, k), -1, dtype=np.int64),
            "clicks": np.zeros((p, k), dtype=np.bool_),
            "dwell_minutes": np.zeros((p, k), dtype=np.float32),
            "subscribed": np.zeros(p, dtype=np.bool_),
            "hours_since_last_visit": self._readers.gap_hours(),
            "time_hours": np.full(p, feed.now),
            "visit": feed.records.visit_count.astype(np.int64),
        }
        was_here = np.zeros(p, dtype=np.bool_)
        if outcome is not None:
            was_here[rows] = True
            info["article_id"][rows] = served
            for name in ("clicks", "dwell_minutes", "subscribed"):
                info[name][rows] = getattr(outcome, name)
        everyone = ("hours_since_last_visit", "time_hours", "visit", *_ORGANIC)
        if self.config.organic.share > 0:
            info |= self._organic(feed.visits.opens)
        masks = {f"_{n}": np.ones(p, dtype=np.bool_) if n in everyone else was_here.copy() for n in info}
        return info | masks

    def _organic(self, opens: Opens | None) -> Info:
        """What was opened from elsewhere when this tick began."""
        p = self.num_envs
        nothing = (np.full(p, -1, dtype=np.int64), np.full(p, -1, dtype=np.int64), np.zeros(p, dtype=np.float32))
        info: Info = dict(zip(_ORGANIC, nothing, strict=True))
        if opens is not None:
            for name, values in zip(_ORGANIC, (opens.article_id, opens.channel, opens.dwell_minutes), strict=True):
                info[name][opens.rows] = values
        return info
