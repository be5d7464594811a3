"""Collecting the impression log during a run: a few copies per tick, one Parquet part per simulated day.

Per-visit values are kept once and repeated over the K positions only when a part is written. Buffers are
reused from part to part, so memory is bounded by the busiest day.
Shapes: n visits of a tick, K positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from feedgym.env.arrays import Arrays, Bools, Doubles, Ints
from feedgym.env.checks import require
from feedgym.env.config import FeedConfig
from feedgym.env.feed import ServedOutcome, Visits, visit_ids
from feedgym.env.log.columns import BY_NAME, COLUMNS, DICTIONARY, arrow_type, log_schema
from feedgym.env.log.files import metadata_of, write_table
from feedgym.env.log.impressions import check_joint, constant, slot_logs
from feedgym.env.newsroom import LATENT, OBSERVABLE, Archive

if TYPE_CHECKING:
    import pyarrow as pa

_OF_SLATES = ("slate_made_hours", "slate_id")
"""Where and when a slate was drawn: at the visit itself, unless a serving mode says otherwise."""
_OF_CHANCES = ("slot_marginal", "inclusion", "inclusion_time")
"""What a policy may know of the chances of what it showed."""
_OF_LISTS = ("list_position", "num_skipped_expired", "num_skipped_excluded")
"""Where on a list that was drawn ahead a page stands."""
OPTIONAL = (*_OF_SLATES, "session", *_OF_CHANCES, *_OF_LISTS)
"""What a policy or a serving mode may add to a tick."""
# Derived at the end, or the same for the whole log.
_NOT_BUFFERED = ("run_id", "policy", "position", "visit_id")
_OF_VISITS = ("session", "device")
"""Columns that visits bring where readers have sessions or devices."""
_NULL_UNSAID = (*_OF_VISITS, *_OF_CHANCES, *_OF_LISTS)
"""Columns that are null where nobody says what they are."""
_BELOW_ZERO = (*_OF_VISITS, *_OF_LISTS)
"""Of these, columns of whole numbers: null where they are below 0."""


class ServedSlates(Protocol):
    """Slates as their policy served them. What is (n,) may be one value for all visits of the tick."""

    @property
    def article_id(self) -> Ints:
        """(n, K), -1 where nothing was left to show."""
        ...

    @property
    def logit(self) -> Doubles:
        """(n, K): what the softmax saw; NaN outside the shortlist."""
        ...

    @property
    def log_normaliser(self) -> Doubles:
        """(n,): log of the softmax's sum over the shortlist; NaN where nothing was drawn."""
        ...

    @property
    def explored(self) -> Bools:
        """(n,): the slate is a uniform one."""
        ...

    @property
    def in_shortlist(self) -> Bools:
        """(n, K): member of the shortlist."""
        ...

    @property
    def slot_propensity(self) -> Doubles:
        """(n, K): chance of each article given those above it; 1 at padding."""
        ...

    @property
    def log_propensity(self) -> Doubles:
        """(n,): the sum of the logs of ``slot_propensity``."""
        ...

    @property
    def shortlist_size(self) -> ArrayLike:
        """(n,): articles that retrieval really returned, M."""
        ...

    @property
    def num_live(self) -> ArrayLike:
        """(n,): live articles when the slate was made, N."""
        ...

    @property
    def epsilon(self) -> ArrayLike:
        """(n,): chance that a visit explores, with a uniform slate."""
        ...

    @property
    def temperature(self) -> ArrayLike:
        """(n,): what scores were divided by."""
        ...

    @property
    def greedy(self) -> ArrayLike:
        """(n,): the deterministic best K, log propensity 0."""
        ...

    @property
    def policy_version(self) -> ArrayLike:
        """(n,): counts the updates of what served."""
        ...


class ImpressionLog:
    """The log of one run.

    Args:
        feed_config: of the Feed whose ticks are logged.
        run_id: names the run in every row.
        policy: names the policy in every row.
        config: all settings of the run, as JSON takes them; kept in the metadata of every part.
    """

    def __init__(
        self, feed_config: FeedConfig, *, run_id: str, policy: str, config: Mapping[str, Any] | None = None
    ) -> None:
        self._feed_config = feed_config
        self._run_id, self._policy = run_id, policy
        self._metadata = metadata_of(config or {})
        self._num_visits = 0
        self._buffers: Arrays = {}
        self._seen: set[str] = set()  # optional columns that some tick of this part had
        self._device_names: tuple[str, ...] = ()
        self._grow(256)

    def __len__(self) -> int:
        """Impressions collected since the last flush."""
        return self._num_visits * self._feed_config.slate_size

    def _grow(self, capacity: int) -> None:
        for c in COLUMNS:
            if c.name in _NOT_BUFFERED:
                continue
            shape = (capacity, self._feed_config.slate_size) if c.per == "impression" else (capacity,)
            # Devices by their index: what they are called is the same in all ticks.
            grown = np.empty(shape, dtype=np.int32 if c.name == "device" else np.dtype(c.type))
            if self._num_visits:
                grown[: self._num_visits] = self._buffers[c.name][: self._num_visits]
            self._buffers[c.name] = grown

    def append(
        self,
        visits: Visits,
        outcome: ServedOutcome,
        slates: ServedSlates,
        optional: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        """Add a tick. Everything is copied: the caller may reuse its arrays.

        Args:
            visits: who came.
            outcome: what ``Feed.serve`` returned for them.
            slates: what was served, and with which chances.
            optional: further columns by name, see ``OPTIONAL``: (n,), or (n, K) for those of an impression.
                ``slate_made_hours`` is now, ``slate_id`` is the visit's id, and ``session`` is what the visits say,
                where it does not say.

        Raises:
            ValueError: arrays that do not fit the visits; an unknown optional column.
        """
        shape = (len(visits), self._feed_config.slate_size)
        require(slates.article_id.shape == shape, "slates.article_id", slates.article_id.shape, f"{shape}")
        require(outcome.clicks.shape == shape, "outcome.clicks", outcome.clicks.shape, f"{shape}")
        more = dict(optional or {})
        _check_optional(more)
        for name in _OF_VISITS:
            if getattr(visits, name) is not None:
                more.setdefault(name, getattr(visits, name))
        self._device_names = visits.device_names
        start, end = self._num_visits, self._num_visits + shape[0]
        if end > len(self._buffers["tick"]):
            self._grow(max(end, 2 * len(self._buffers["tick"])))
        for name, values in self._columns(visits, outcome, slates).items():
            self._buffers[name][start:end] = values
        for name in _NULL_UNSAID:
            if name in more:
                self._put(name, start, end, more[name])
            elif name in self._seen:
                self._buffers[name][start:end] = _null_of(name)
        for name in _OF_SLATES:
            if name in more:
                self._buffers[name][start:end] = more[name]
        self._num_visits = end

    def amend(self, num_visits: int, optional: Mapping[str, ArrayLike]) -> None:
        """Set optional columns of the last ``num_visits`` visits appended since the last flush.

        For what is cheaper to work out for the visits of many ticks at once.

        Raises:
            ValueError: more visits than there are; an unknown optional column.
        """
        require(0 <= num_visits <= self._num_visits, "num_visits", num_visits, f"0 to {self._num_visits}")
        _check_optional(optional)
        for name, values in optional.items():
            self._put(name, self._num_visits - num_visits, self._num_visits, values)

    def _put(self, name: str, start: int, end: int, values: ArrayLike) -> None:
        if name in _NULL_UNSAID and name not in self._seen:
            # Ticks of this part that came without it hold null.
            self._buffers[name][: self._num_visits] = _null_of(name)
            self._seen.add(name)
        self._buffers[name][start:end] = values

    def _columns(self, visits: Visits, outcome: ServedOutcome, slates: ServedSlates) -> dict[str, ArrayLike]:
        """A tick's values by column, (n, K), (n,) or one for all."""
        c = self._feed_config
        hours = outcome.hours_to_next_visit
        # As the Feed counts: a visit at the horizon's tick or later is never served, so no log has it.
        beyond = visits.tick + np.rint(hours / c.tick_hours) >= c.num_ticks
        return {
            "policy_version": slates.policy_version,
            "time_hours": visits.now,
            "slate_made_hours": visits.now,
            "tick": visits.tick,
            "reader_id": visits.reader_id,
            "visit": visits.visit,
            "slate_id": visit_ids(visits.reader_id, visits.visit),
            "article_id": slates.article_id,
            "shortlist_size": slates.shortlist_size,
            "num_live": slates.num_live,
            "epsilon": slates.epsilon,
            "temperature": slates.temperature,
            "greedy": slates.greedy,
            "explored": slates.explored,
            "in_shortlist": slates.in_shortlist,
            "logit": slates.logit,
            "log_normaliser": np.where(np.isfinite(slates.log_normaliser), slates.log_normaliser, np.nan),
            "slot_propensity": slates.slot_propensity,
            "log_propensity": slates.log_propensity,
            "clicked": outcome.clicks,
            "dwell_minutes": outcome.dwell_minutes,
            "subscribed": outcome.subscribed,
            "reward": outcome.slot_reward,
            "hours_to_next_visit": np.where(beyond, np.nan, hours),
            "terminated": outcome.left,
            "truncated": beyond & ~outcome.left,
        }

    def flush(self, path: str | Path) -> int:
        """Write what was collected as one part file, whole or not at all, and begin anew.

        Args:
            path: such as ``run/log/day-0003.parquet``; what stands there is replaced.

        Returns:
            The number of rows, 0 for an empty part.

        Raises:
            ValueError: a slate whose log propensity is not the sum over its slots (docs/mathematics.md 2.3), an id that
                is too large. Nothing is written then.
        """
        import pyarrow as pa

        num_visits, num_rows = self._num_visits, len(self)
        buffers = {name: buffer[:num_visits] for name, buffer in self._buffers.items()}
        buffers["visit_id"] = visit_ids(buffers["reader_id"], buffers["visit"])
        check_joint(
            buffers["log_propensity"],
            slot_logs(buffers["slot_propensity"]).sum(axis=1),
            buffers["visit_id"],
        )
        arrays = [self._arrow(c.name, buffers, num_rows) for c in COLUMNS]
        table = pa.Table.from_arrays(arrays, schema=log_schema().with_metadata(self._metadata))
        write_table(path, table, DICTIONARY)
        self._num_visits = 0
        self._seen.clear()
        return num_rows

    def _arrow(self, name: str, buffers: Arrays, num_rows: int) -> pa.Array:
        """One column with a row per impression."""
        import pyarrow as pa

        column, size = BY_NAME[name], self._feed_config.slate_size
        if name in ("run_id", "policy"):
            return constant(self._run_id if name == "run_id" else self._policy, num_rows)
        if name == "position":
            return pa.array(np.tile(np.arange(size, dtype=np.int32), num_rows // size))
        if name in _NULL_UNSAID and name not in self._seen:
            return pa.nulls(num_rows, arrow_type(column))
        values = buffers[name].reshape(-1) if column.per == "impression" else np.repeat(buffers[name], size)
        if name in _BELOW_ZERO:
            whole = pa.array(values, mask=values < 0)
            if name == "device":
                return pa.DictionaryArray.from_arrays(whole, pa.array(self._device_names, pa.string()))
            return whole
        return pa.array(values, from_pandas=column.nullable)


def _check_optional(columns: Mapping[str, ArrayLike]) -> None:
    unknown = sorted(set(columns) - set(OPTIONAL))
    require(not unknown, "optional", unknown, f"names out of {OPTIONAL}")


def _null_of(name: str) -> float:
    return -1 if name in _BELOW_ZERO else np.nan


def write_articles(path: str | Path, archive: Archive, *, config: Mapping[str, Any] | None = None) -> int:
    """Write all articles published so far, whole or not at all: ``articles.parquet`` beside a log.

    Args:
        path: of the file.
        archive: ``feed.catalogue.archive``.
        config: as for the log.

    Returns:
        The number of articles. Latent columns begin with ``latent_``.
    """
    import pyarrow as pa

    m = archive.published
    columns: dict[str, Any] = {"article_id": np.arange(m, dtype=np.int64)}
    for name in ("published_hours", "expires_hours", *OBSERVABLE, *LATENT):
        values = archive.column(name)[:m]
        array = pa.array(values.reshape(-1))
        if values.ndim == 2:
            array = pa.FixedSizeListArray.from_arrays(array, archive.dim)
        columns[f"latent_{name}" if name in LATENT else name] = array
    write_table(path, pa.table(columns).replace_schema_metadata(metadata_of(config or {})))
    return m
