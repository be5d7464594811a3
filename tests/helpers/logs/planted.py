"""A log whose truth is given: visits of a made-up site, as a learner is handed them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from feedgym.agents.agent import Site
from feedgym.agents.learners import Learning
from feedgym.agents.learners.replay import Replay, VisitBatch
from feedgym.agents.serving import ItemStore
from feedgym.agents.slate_policy import PolicyConfig
from feedgym.agents.two_tower.optimiser import make_optimiser
from feedgym.agents.two_tower.settings import OptimiserConfig
from feedgym.env.arrays import Bools, Doubles, Floats, Ints
from feedgym.towers import TwoTowerConfig
from feedgym.towers.features import CategoryConfig, ItemFeaturesConfig
from helpers.draws import seeded

TEXT, PLAIN, TOPICS, READER, LENGTH = 4, 3, 5, 3, 4
HOURS, OLDEST = 240.0, 72.0
ITEM = ItemFeaturesConfig(
    num_numeric=TEXT + PLAIN, categories=(CategoryConfig(name="topic", size=TOPICS, dim=2),), text_columns=TEXT
)


@dataclass(frozen=True)
class Shown:
    """What a truth may depend on, of n visits with K positions."""

    article: Ints
    """(n, K)"""
    plain: Doubles
    """Columns that are no text, of mean 0 and deviation 1: (n, K, ``PLAIN``)."""
    topic: Ints
    """(n, K)"""
    age: Doubles
    """Hours, (n, K)."""
    position: Ints
    """(K,)"""
    reader: Floats
    """(n, ``READER``)"""


Truth = Callable[[Shown], Doubles]


class PlantedLog:
    """A learner with a log: what is opened is drawn by ``opens``, minutes once opened exponentially around ``minutes``.

    Args:
        learner: of any kind.
        opens: log of the chance that each is opened.
        minutes: mean minutes once opened.
        order: of each shown article, a number: those of a slate stand by falling order; None: as they are drawn.
        keeps: which articles may still be shown at an age in hours, both (n, K); None: all. Others leave a gap.
    """

    def __init__(
        self,
        learner: Any,
        opens: Truth,
        minutes: Truth = lambda shown: np.ones(shown.age.shape),
        order: Truth | None = None,
        *,
        keeps: Callable[[Ints, Doubles], Bools] | None = None,
        articles: int = 200,
        size: int = 4,
        capacity: int = 20_000,
        seed: int = 0,
        **towers: Any,
    ) -> None:
        self.learner, self.opens, self.minutes, self.size = learner, opens, minutes, size
        self._order, self._keeps = order, keeps
        self.rng = np.random.default_rng(seed)
        sizes: dict[str, Any] = {"widths": (16,), "dim": 8, "wide_part": True, "age_decay": "none"}
        config = TwoTowerConfig(item=ITEM, reader_numeric=READER, history_length=LENGTH, **(sizes | towers))
        site = Site(
            slate_size=size,
            history_length=LENGTH,
            num_numeric=TEXT + PLAIN,
            num_text=TEXT,
            category_sizes=(TOPICS, 1, 1),
            num_reader_features=READER,
            seed=seed,
        )
        parts = learner.start(site, config, PolicyConfig(), seeded(seed))
        self.model: Any = parts.model
        store = ItemStore(self.model)
        store._reserve(articles)
        store.numeric[:articles] = self.rng.standard_normal((articles, TEXT + PLAIN))
        plain = store.numeric[:articles, TEXT:]
        plain[:] = (plain - plain.mean(axis=0)) / plain.std(axis=0)
        store.categorical[:articles, 0] = self.rng.integers(0, TOPICS, articles)
        store.published_hours[:articles] = np.sort(self.rng.uniform(-OLDEST, HOURS, articles))
        self.model.fit_items(torch.from_numpy(store.numeric[:articles].copy()))
        store.refresh(0.0)
        replay = Replay(capacity, size, LENGTH, READER, with_minutes=config.needs_minutes)
        self.learning: Learning[Any] = Learning(self.model, store, replay)
        self._optimiser = make_optimiser(self.model, OptimiserConfig(), parts.modules)

    def visits(self, count: int) -> VisitBatch:
        """New visits with what came of them; not yet in the replay."""
        rng, store, shape = self.rng, self.learning.store, (count, self.size)
        now = np.sort(rng.uniform(0.0, HOURS, count))
        published = store.published_hours[: len(store)]
        first, last = np.searchsorted(published, now - OLDEST), np.searchsorted(published, now)
        article = first[:, None] + (rng.random(shape) * (last - first)[:, None]).astype(np.int64)
        reader = rng.standard_normal((count, READER)).astype(np.float32)
        if self._order is not None:
            by_order = np.argsort(-self._order(self.shown(article, now, reader)), axis=1, kind="stable")
            article = np.take_along_axis(article, by_order, axis=1)
        shown = self.shown(article, now, reader)
        clicks = rng.random(shape) < np.exp(self.opens(shown))
        if self._keeps is not None:
            kept = self._keeps(article, shown.age)
            article, clicks = np.where(kept, article, -1), clicks & kept
        minutes = np.where(clicks, self.minutes(shown) * rng.exponential(size=shape), 0.0)
        history = first[:, None] + (rng.random((count, LENGTH)) * (last - first)[:, None]).astype(np.int64)
        batch = VisitBatch(
            now=now,
            row=np.arange(count),
            reader=reader,
            history_id=np.where(rng.random((count, LENGTH)) < 0.5, history, -1),
            article_id=article,
            clicks=clicks,
            dwell_minutes=minutes.astype(np.float32),
            subscribed=np.zeros(count, dtype=np.bool_),
            slot_propensity=np.ones(shape, dtype=np.float32),
        )
        if self.model.config.needs_minutes:
            batch.history_minutes = rng.exponential(2.0, (count, LENGTH)).astype(np.float32)
        return batch

    def shown(self, article: Ints, now: Doubles, reader: Floats) -> Shown:
        """What the truth sees of slates."""
        store = self.learning.store
        return Shown(
            article=article,
            plain=store.numeric[article][..., TEXT:].astype(np.float64),
            topic=store.categorical[article, 0],
            age=now[:, None] - store.published_hours[article],
            position=np.arange(article.shape[1]),
            reader=reader,
        )

    def train(self, visits: int, steps: int = 0) -> None:
        """As an agent does: more visits, what is to be done before the steps, steps, all vectors anew."""
        learning = self.learning
        learning.replay.append(self.visits(visits))
        self.learner.begin(learning, HOURS)
        self.model.train()
        for _ in range(steps):
            loss = self.learner.loss(learning, self.rng)
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self._optimiser.step()
        self.model.eval()
        learning.store.refresh(HOURS)
        if hasattr(self.learner, "finish"):
            self.learner.finish(learning)

    @torch.no_grad()
    def scores(self, batch: VisitBatch) -> Doubles:
        """What the model as it is served says of visits, (n, K)."""
        slates = self.learning.slates(batch)
        assert slates is not None
        score: Doubles = self.model.score(slates.user, slates.item, slates.bias, slates.age).double().numpy()
        return score
