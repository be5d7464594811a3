"""When an approximate index is built anew: on schedule, after a share of turnover, or when recall has fallen.

What was learned of yesterday's articles finds today's badly: after one turnover of 100k articles IVF finds .61 of the
top 100 with stale centroids, .89 with new ones (docs/mathematics.md 7.2).
Letters: n articles in the index, B queries, d coordinates.
"""

import math
from dataclasses import dataclass

import numpy as np

from feedgym.agents.retrieval.kernels.checks import check_whole
from feedgym.env.arrays import Arrays, Doubles, Floats
from feedgym.env.checks import require

SAMPLE = 64
"""Latest queries on which recall is measured: at recall .95 of 100 its standard error is below .01."""
_CHECK_SHARE = 0.25
"""Recall is measured each time so many articles have changed, as a share of those at the last build: as an exact search
of the sample costs some three refreshes of 1 %, once in twelve of them is a quarter of their price."""
_COUNTERS = ("_changed", "_checked", "_built_count", "_k", "_seen")
_MEASURES = ("_baseline", "_built_hours", "_newest_hours", "_drift")
_FAR = 0.1
"""Drift of all articles since the build at which they are another catalogue: a tenth of their spread."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When to build anew."""

    retrain_share: float = 0.5
    """Articles added, removed or overwritten since the last build, as a share of those it saw: .5 is a quarter of the
    catalogue replaced by another."""
    retrain_hours: float = math.inf
    """Simulated hours between builds, by the publication of the newest article."""
    recall_drop: float = 0.02
    """Fall of recall on the latest queries, since the last build."""

    def __post_init__(self) -> None:
        """Check once."""
        for name in ("retrain_share", "retrain_hours", "recall_drop"):
            require(getattr(self, name) > 0, name, getattr(self, name), "> 0")


class Upkeep:
    """Counts what has changed, and keeps the latest queries.

    Args:
        dim: d.
        schedule: when to build anew.
    """

    def __init__(self, dim: int, schedule: Schedule) -> None:
        check_whole(dim, "dim")
        self._schedule = schedule
        self._changed = self._checked = self._built_count = 0
        self._baseline = self._built_hours = self._newest_hours = math.nan
        self._drift = 0.0
        self._queries: Floats = np.zeros((SAMPLE, dim), dtype=np.float32)
        self._seen = 0
        self._k = 1

    def change(self, count: int, published_hours: Doubles | None = None) -> None:
        """Note that articles came, went or were overwritten."""
        self._changed += count
        if published_hours is not None and len(published_hours):
            self._newest_hours = float(np.fmax(self._newest_hours, np.max(published_hours)))

    def has_drifted(self, moved: float) -> bool:
        """Take in how far all articles have moved, see ``Geometry.following``: whether it asks for a build."""
        self._drift += moved
        return self._drift > _FAR

    @property
    def due(self) -> bool:
        """Whether turnover or the clock asks for a build."""
        late = self._newest_hours - self._built_hours >= self._schedule.retrain_hours  # False while one is NaN
        unbuilt = self._built_count == 0 and self._changed > 0
        return unbuilt or late or self._changed >= self._schedule.retrain_share * self._built_count

    @property
    def wants_recall(self) -> bool:
        """Whether enough has changed to measure again."""
        changed = self._changed - self._checked
        return math.isfinite(self._schedule.recall_drop) and changed >= _CHECK_SHARE * self._built_count

    def has_fallen(self, recall: float) -> bool:
        """Take in a measurement: whether it asks for a build."""
        self._checked = self._changed
        if math.isnan(self._baseline):
            self._baseline = recall  # nothing had been asked for at the build
        return recall < self._baseline - self._schedule.recall_drop

    def built(self, count: int, recall: float) -> None:
        """Note that the index has been built of this many articles, and what it finds of the latest queries."""
        self._changed = self._checked = 0
        self._drift = 0.0
        self._built_count = count
        self._built_hours = self._newest_hours
        self._baseline = recall

    def remember(self, queries: Floats, k: int) -> None:
        """Keep the latest queries (B, d): the same ones however they come in batches."""
        latest = queries[-SAMPLE:]
        first = (self._seen + len(queries) - len(latest)) % SAMPLE
        head = min(len(latest), SAMPLE - first)
        self._queries[first : first + head] = latest[:head]
        self._queries[: len(latest) - head] = latest[head:]
        self._seen += len(queries)
        self._k = k

    @property
    def sample(self) -> tuple[Floats, int]:
        """The latest queries, (up to ``SAMPLE``, d), and the k last asked for."""
        return self._queries[: min(self._seen, SAMPLE)], self._k

    def snapshot(self) -> Arrays:
        """Counters, measures and queries."""
        return {
            "counters": np.array([getattr(self, name) for name in _COUNTERS], dtype=np.int64),
            "measures": np.array([getattr(self, name) for name in _MEASURES], dtype=np.float64),
            "queries": self._queries.copy(),
        }

    def restore(self, state: Arrays) -> None:
        """Go back to a snapshot."""
        for name, counter in zip(_COUNTERS, state["counters"].tolist(), strict=True):
            setattr(self, name, counter)
        for name, measure in zip(_MEASURES, state["measures"].tolist(), strict=True):
            setattr(self, name, measure)
        self._queries = state["queries"].copy()
