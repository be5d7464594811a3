"""What a two-tower agent keeps of articles: features, item vectors, the index, the logit scale.

Vectors are written when an article appears and when the model has changed; age enters by the decay's columns,
so that time alone moves nothing. Expired articles stay for the histories that name them. Where items lag, newcomers
are held back from the index until they are released.
Shapes: m articles, F numeric columns, d dimensions of an item vector, E of v'.
"""

from typing import Protocol

import numpy as np
import torch

from feedgym.agents.retrieval import ItemIndex, make_index
from feedgym.agents.serving.logit_scale import LogitScale
from feedgym.env.arrays import Arrays, Bools, Doubles, Floats, Ints, copied, lengthened, nest, put_back, unnest
from feedgym.env.feed import Catalogue
from feedgym.towers.interface import Towers

NUM_COUNTERS = 4

_REBASE_HOURS = 24.0
"""The age columns grow as exp((published - t_ref) / tau), and would leave float32 after some days."""
_COLUMNS = ("numeric", "categorical", "published_hours", "effect", "vector", "bias", "augmented", "_history")
_NOW = ("t_ref", "_now", "_held", "num_embedded", "num_written")


def site_counters(catalogue: Catalogue, article_id: Ints) -> Floats:
    """What a site has counted of articles (m,): impressions, clicks, click rate, minutes, (m, ``NUM_COUNTERS``).

    Logs, the rate with one click in fifty impressions added, so that few impressions say little.
    """
    shown, clicks = catalogue.impressions_of(article_id), catalogue.clicks_of(article_id)
    minutes = catalogue.dwell_minutes_of(article_id)
    rate = np.log((clicks + 1.0) / (shown + 50.0) * 50.0)
    columns: Floats = np.stack([np.log1p(shown), np.log1p(clicks), rate, np.log1p(minutes)], axis=1).astype(np.float32)
    return columns


class ExtraColumns(Protocol):
    """What goes with v' and is not of the towers."""

    num_columns: int
    """X"""

    def articles(self, numeric: torch.Tensor, categorical: torch.Tensor) -> torch.Tensor:
        """Columns of articles (m,), float32 (m, X)."""
        ...


class ItemStore:
    """Arrays with a row per article id, growing by doubling.

    Args:
        model: the towers.
        index: kind of index, see ``make_index``.
        memory_hours: how long expired articles are embedded anew with the rest: what histories reach back.
        extra: makes columns that are appended to v'; they are not part of the towers' scores, so not of ``scale``.
        num_counters: columns of the site's counters at the end of the numeric ones: ``NUM_COUNTERS``, or none. They are
            those of the latest refresh, 0 for newcomers, so that no vector has to be written anew between refreshes.
        holds_back: newcomers wait for :meth:`release`; else they are found at once.
        keeps_queries: queries are kept for later: whoever keeps them calls :meth:`rebase` when they are done with; else
            :meth:`follow` does.
    """

    def __init__(
        self,
        model: Towers,
        index: str = "exact",
        memory_hours: float = 336.0,
        *,
        extra: ExtraColumns | None = None,
        num_counters: int = 0,
        holds_back: bool = False,
        keeps_queries: bool = False,
    ) -> None:
        self._model = model
        self._extra, num_extra = extra, 0 if extra is None else extra.num_columns
        self.memory_hours = memory_hours
        self.index: ItemIndex = make_index(index, model.augmented_dim + num_extra)
        self.scale = LogitScale(model.augmented_dim)
        self.t_ref = 0.0
        """Reference of the age columns, hours: rebased after each training, and daily without one."""
        self.num_embedded = 0
        """Times that the item tower has seen an article."""
        self.num_written = 0
        """Articles that the index has taken in, overwritten or let go."""
        self._size = 0
        self._holds_back, self._keeps_queries = holds_back, keeps_queries
        self._held: Ints = np.zeros(0, dtype=np.int64)
        self.is_live: Bools = np.zeros(0, dtype=np.bool_)
        self._ages, self._now = model.config.age_in_item_tower, 0.0
        item = model.config.item
        self._num_counters, self._num_static = num_counters, item.num_numeric - num_counters
        self._catalogue: Catalogue | None = None
        self.numeric: Floats = np.zeros((0, item.num_numeric), dtype=np.float32)
        self.categorical: Ints = np.zeros((0, len(item.categories)), dtype=np.int64)
        self.published_hours: Doubles = np.zeros(0)
        self.effect: Floats = np.zeros(0, dtype=np.float32)
        """What a learner has found of each article beyond its features: added to its bias from the next refresh on."""
        self.vector: Floats = np.zeros((0, model.item_dim), dtype=np.float32)
        self.bias: Floats = np.zeros(0, dtype=np.float32)
        self._shares_vector = model.config.share == "item_encoder"
        width = 0 if self._shares_vector else model.history_dim
        self._history: Floats = np.zeros((0, width), dtype=np.float32)
        self.augmented: Floats = np.zeros((0, model.augmented_dim + num_extra), dtype=np.float32)

    def __len__(self) -> int:
        """Articles ever seen."""
        return self._size

    @property
    def click_vector(self) -> Floats:
        """What the user tower sees of a clicked article, a row per id: v where the item encoder is shared."""
        return self.vector if self._shares_vector else self._history

    def features(self, article_id: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        """What the item tower sees of articles (m,): numeric and categorical columns, copies."""
        return torch.from_numpy(self.numeric[article_id]), torch.from_numpy(self.categorical[article_id])

    @property
    def held(self) -> Ints:
        """Live articles that no search finds yet, int64 (m,), rising."""
        return self._held

    def are_live(self, article_id: Ints) -> Bools:
        """Which of these ids are live, bool of their shape; -1 is not."""
        known = (article_id >= 0) & (article_id < self._size)
        live: Bools = np.zeros(article_id.shape, dtype=np.bool_)
        live[known] = self.is_live[article_id[known]]
        return live

    def follow(self, catalogue: Catalogue) -> None:
        """Take in what has come and gone at this tick."""
        gone, moved = catalogue.departed, catalogue.now > self._now
        self._now, self._catalogue = catalogue.now, catalogue
        if len(gone):
            self.is_live[gone] = False
            self._let_go(gone)
        if not self._keeps_queries:
            self.rebase(catalogue.now)
        if self._ages and moved and len(self.index) and not self._holds_back:
            # The ablation's price: whoever has aged is embedded anew, at each tick.
            self._embed(self.index.ids.copy())
            self._rebase(catalogue.now)
        ids = catalogue.arrived
        if len(ids) == 0:
            return
        self._reserve(int(ids[-1]) + 1)
        self.numeric[ids, : self._num_static] = catalogue.features_of(ids)
        self.categorical[ids] = self._categories(catalogue, ids)
        self.published_hours[ids] = catalogue.published_hours_of(ids)
        self.is_live[ids] = True
        self._embed(ids)
        self._augment(ids)
        if self._holds_back:
            self._held = np.concatenate([self._held, ids])
        else:
            self._enter(ids)

    def _categories(self, catalogue: Catalogue, ids: Ints) -> Ints:
        """Categorical columns of articles (m,): the catalogue's first ones in its order, but for their own ids."""
        known, names = catalogue.categories_of(ids), [each.name for each in self._model.config.item.categories]
        if "article" not in names:
            return known[:, : len(names)].astype(np.int64)
        others = iter(known.T)
        columns: Ints = np.stack([ids if name == "article" else next(others) for name in names], axis=1)
        return columns

    def release(self, now: float) -> None:
        """Let those be found who were held back; with ages and counters of this moment, where the item tower has them.

        Nothing where nobody is held back: there all this happens in :meth:`follow`.
        """
        if not self._holds_back:
            return
        self._now = now
        held, self._held = self._held, self._held[:0]
        if len(held):
            self._enter(held)
        if self._ages or self._num_counters:
            self.refresh(now)

    def _enter(self, ids: Ints) -> None:
        self.index.add(ids, self.augmented[ids], self.published_hours[ids])
        self.scale.add(self._scored(ids))
        self.num_written += len(ids)

    def _let_go(self, gone: Ints) -> None:
        if len(self._held):
            waiting = np.isin(gone, self._held)
            self._held = np.setdiff1d(self._held, gone, assume_unique=True)
            gone = gone[~waiting]
        if len(gone):
            self.scale.remove(self._scored(gone))
            self.index.remove(gone)
            self.num_written += len(gone)

    def refresh(self, now: float) -> None:
        """Embed anew all live and remembered articles, after the model has changed, with the counts of this moment."""
        self._now = now
        if self._num_counters and self._catalogue is not None:
            live = self.index.ids
            self.numeric[live, self._num_static :] = site_counters(self._catalogue, live)
        remembered = np.flatnonzero(self.published_hours[: self._size] >= now - self.memory_hours)
        self._embed(np.union1d(remembered, self.index.ids))
        self._rebase(now)

    def rebase(self, now: float) -> None:
        """Once a day: write all live v' anew, with ages referred to ``now``. Queries made before are worth nothing."""
        if now - self.t_ref > _REBASE_HOURS:
            self._rebase(now)

    def _rebase(self, now: float) -> None:
        """Write all live v' anew, with ages referred to ``now``: no embedding, and no score changes."""
        self.t_ref = now
        live = self.index.ids.copy()
        self._augment(live)
        if len(self._held):
            self._augment(self._held)
        self.index.update(live, self.augmented[live])
        self.scale.reset(self._scored(live))
        self.num_written += len(live)

    @torch.no_grad()
    def _embed(self, ids: Ints) -> None:
        self.num_embedded += len(ids)
        numeric, categorical = self.features(ids)
        age = None
        if self._ages:
            age = torch.from_numpy((self._now - self.published_hours[ids]).astype(np.float32))
        vector, bias = self._model.embed_items(numeric, categorical, age)
        self.vector[ids] = vector.numpy()
        self.bias[ids] = bias.numpy() + self.effect[ids]
        if not self._shares_vector:
            self._history[ids] = self._model.embed_history(numeric, categorical).numpy()

    @torch.no_grad()
    def _augment(self, ids: Ints) -> None:
        """Write v' of live articles; those of histories are not searched for."""
        vector, bias = torch.from_numpy(self.vector[ids]), torch.from_numpy(self.bias[ids])
        published = torch.from_numpy(self.published_hours[ids])
        width = self._model.augmented_dim
        self.augmented[ids, :width] = self._model.augment_items(vector, bias, published, self.t_ref).numpy()
        if self._extra is not None:
            numeric, categorical = self.features(ids)
            self.augmented[ids, width:] = self._extra.articles(numeric, categorical).numpy()

    def _scored(self, ids: Ints) -> Floats:
        """The towers' own columns of v'."""
        columns: Floats = self.augmented[ids, : self._model.augmented_dim]
        return columns

    def _reserve(self, size: int) -> None:
        self._size = max(self._size, size)
        if size <= len(self.bias):
            return
        for name in (*_COLUMNS, "is_live"):
            setattr(self, name, lengthened(getattr(self, name), max(size, 1024)))

    def snapshot(self) -> Arrays:
        """Everything but the model."""
        arrays = copied(self, _COLUMNS, self._size) | copied(self, _NOW)
        return arrays | nest("index", self.index.snapshot()) | nest("scale", self.scale.snapshot())

    def restore(self, snapshot: Arrays) -> None:
        """Become the store of a snapshot."""
        size = len(snapshot["bias"])
        self._size = 0
        self._reserve(size)
        put_back(self, _COLUMNS, snapshot, room=len(self.bias))
        put_back(self, _NOW, snapshot)
        self.index.restore(unnest("index", snapshot))
        self.is_live[:] = False
        self.is_live[self.index.ids] = True
        self.is_live[self._held] = True
        self.scale.restore(unnest("scale", snapshot))
