"""Reading a log visit by visit, in bounded memory, and refusing what is wrong in it.

A FeedGym log, or a site's own with fewer columns. Rows are read in batches; the rows of a visit stand together, and
visits are in order of time. Shapes: R rows, n visits, K positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Bools, Ints
from feedgym.env.checks import require
from feedgym.env.log.columns import BY_NAME, EXPLORATION, Exploration
from feedgym.env.log.files import find_parts, may_lack, opened, origin
from feedgym.env.log.ids import IDS, whole_ids
from feedgym.env.log.order import LatestReaders, first_hours
from feedgym.env.log.values import MAX_SLATE, check_type, to_numpy

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 131_072
"""Rows in memory at once, and those of one tick."""
_MOST_CLICKED = 0.9
"""Share of rows that are clicks, above which a log is taken for one of clicks alone."""
REPLAYED = (
    *("time_hours", "slate_made_hours", "tick", "visit_id", "reader_id", "session", "slate_id"),
    *("position", "article_id", "num_live", "epsilon", "greedy", "logit", "log_normaliser"),
    *("slot_propensity", "slot_marginal", "inclusion", "inclusion_time", "clicked", "dwell_minutes", "subscribed"),
    *("reward", "device"),
)
"""Columns of :meth:`LogReader.visits`."""


@dataclass(frozen=True)
class LogSummary:
    """What a pass over a whole log finds; every value has then been checked."""

    num_rows: int
    num_visits: int
    slate_size: int
    """K, positions of the longest slate."""
    reader_id: Ints
    """All readers, (P,), rising."""
    last_hours: float
    """Time of the last visit."""
    ticks_per_day: int | None
    """Of the log's own clock; None if it has none."""
    has_sessions: bool
    """The log numbers sessions."""
    device_names: tuple[str, ...]
    num_unknown: int
    """Impressions without a propensity."""
    num_greedy: int
    """Visits that were served deterministically."""
    num_ahead: int
    """Visits whose slate had been drawn at an earlier time."""
    num_clicks: int
    """Impressions that were clicked."""
    num_unexplored: int
    """Visits that were served with ``epsilon = 0``: most articles could not have been shown."""
    incomplete: frozenset[str]
    """Columns of numbers that are unknown for some article shown."""

    @property
    def has_default_slates(self) -> bool:
        """Slates were drawn ahead for known readers; whoever was unknown got the one greedy slate of the day.

        Which of both a visit gets depends on the reader alone, so that the rest of the log is as good as any.
        """
        return self.num_ahead > 0 and self.num_greedy < self.num_visits

    @property
    def why_doubtful(self) -> str | None:
        """What is odd about the whole log; None if nothing is."""
        share = self.num_clicks / self.num_rows
        if share <= _MOST_CLICKED:
            return None
        return (
            f"{share:.0%} of the log's {self.num_rows:,} rows are clicks: what was shown and not opened seems to be "
            "missing, and without it nothing tells what readers like from what they were shown"
        )

    @property
    def why_unsupported(self) -> str | None:
        """Why no other policy can be estimated from this log as it is; None if one can."""
        if self.num_unknown:
            return f"{self.num_unknown:,} of {self.num_rows:,} impressions have no propensity"
        if self.num_greedy and not self.has_default_slates:
            return f"{self.num_greedy:,} of {self.num_visits:,} visits were served greedily: nothing else had a chance"
        if self.num_unexplored:
            return f"{self.num_unexplored:,} of {self.num_visits:,} visits were served with epsilon = 0"
        return None


class LogReader:
    """A log on disk.

    Args:
        path: folder of a run (``impressions/`` with ``articles.parquet`` beside it), a folder of part files, or one
            Parquet file. Without FeedGym's schema version it is taken for a site's own log.
        batch_rows: rows read at once.

    Raises:
        FileNotFoundError: no such file, or no part file in the folder.
        ValueError: a file that is cut short, foreign, or of another schema version; columns that lack or are of
            another type.
    """

    def __init__(self, path: str | Path, *, batch_rows: int = BATCH_ROWS) -> None:
        require(batch_rows >= 1, "batch_rows", batch_rows, ">= 1")
        self.path, self._batch_rows = Path(path), batch_rows
        self.parts, self.articles_path = find_parts(self.path)
        self.version: int | None = None
        """FeedGym's schema version; None: a site's own log."""
        self.config: dict[str, Any] | None = None
        """Settings of the run that wrote it; None of a site's own log."""
        self._names: frozenset[str] = frozenset()
        self._devices: dict[str, int] = {}
        for number, part in enumerate(self.parts):
            with opened(part) as file:
                schema = file.schema_arrow
            version, config = origin(part, schema)
            if number == 0:
                self.version, self.config, self._names = version, config, frozenset(schema.names)
            same = (version, config) == (self.version, self.config) and self._known(schema) == self._known(self._names)
            require(same, f"{part}: settings and columns", "others", f"those of {self.parts[0]}: parts of one log")
            for name in self._known(schema):
                kind, may_be_null = schema.field(name).type, may_lack(name, self.is_own)
                check_type(str(part), name, kind, may_be_null, text_ids=not self.is_own)
        if not self.is_own:
            # Names of parts say little: part-10 comes before part-2.
            self.parts = sorted(self.parts, key=first_hours)

    @property
    def is_own(self) -> bool:
        """FeedGym wrote it."""
        return self.version is not None

    @property
    def exploration(self) -> Exploration | None:
        """What explored with chance epsilon; None: a site's own log does not say."""
        return None if self.version is None else EXPLORATION[self.version]

    @staticmethod
    def _known(schema: Any) -> set[str]:
        return set(getattr(schema, "names", schema)) & BY_NAME.keys()

    @cached_property
    def summary(self) -> LogSummary:
        """Sizes, clock and what is missing: a pass over the whole log, once."""
        rows = visits = clicks = unknown = greedy = ahead = unexplored = slate_size = 0
        readers, last, per_day = np.zeros(0, dtype=np.int64), 0.0, None
        incomplete: set[str] = set()
        has_sessions = False
        for columns, starts in self._stretches():
            rows, visits = rows + len(columns["reader_id"]), visits + len(starts)
            slate_size = max(slate_size, int(_positions(columns, starts).max()) + 1)
            readers = np.union1d(readers, columns["reader_id"])
            last = float(columns["time_hours"][-1])
            per_day = self._clock(columns, per_day)
            shown = columns["article_id"] >= 0
            has_sessions |= bool((columns["session"] >= 0).any())
            floats = [name for name, values in columns.items() if values.dtype == np.float64]
            # Nothing was drawn for a greedy slate: it has no t*.
            own = shown & ~_unweighted(columns, starts) if self.is_own else shown
            drawn = {"inclusion_time": own & ~columns["greedy"], "inclusion": own, "slot_marginal": own}
            incomplete |= {name for name in floats if np.isnan(columns[name][drawn.get(name, shown)]).any()}
            clicks += int(np.count_nonzero(columns["clicked"] & shown))
            unknown += int(np.count_nonzero(np.isnan(columns["slot_propensity"]) & shown))
            greedy += int(np.count_nonzero(columns["greedy"][starts]))
            ahead += int(np.count_nonzero((columns["slate_made_hours"] < columns["time_hours"])[starts]))
            unexplored += int(np.count_nonzero((columns["epsilon"][starts] == 0.0) & ~columns["greedy"][starts]))
        require(visits > 0, str(self.path), "a log without a row", "a log of at least one visit")
        return LogSummary(
            num_rows=rows,
            num_visits=visits,
            slate_size=slate_size,
            reader_id=readers,
            last_hours=last,
            ticks_per_day=per_day,
            has_sessions=has_sessions,
            device_names=tuple(self._devices),
            num_unknown=unknown,
            num_greedy=greedy,
            num_ahead=ahead,
            num_clicks=clicks,
            num_unexplored=unexplored,
            incomplete=frozenset(incomplete),
        )

    def visits(self) -> Iterator[Arrays]:
        """Stretches of whole visits in order of time, ``REPLAYED`` by name.

        Of a visit (n,), of an impression (n, K): article -1, chance 1 and nothing clicked where a slate is shorter.
        What is unknown is NaN, or -1 for whole numbers; ``device`` is the index of ``summary.device_names``, or -1.

        Raises:
            ValueError: whatever is wrong, naming file, row, column, value and what is allowed.
        """
        size = self.summary.slate_size
        for columns, starts in self._stretches():
            yield _by_visit(columns, starts, size)

    def _clock(self, columns: Arrays, per_day: int | None) -> int | None:
        """Ticks in a day, from the first tick after 0 on; all must keep time with it."""
        tick, hours = columns["tick"], columns["time_hours"]
        if int(tick[0]) < 0:
            return None
        later = np.flatnonzero(tick > 0)
        if per_day is None:
            if len(later) == 0:
                return None
            exact = 24.0 * float(tick[later[0]]) / max(float(hours[later[0]]), 1e-12)
            # Ten ticks a second: a clock beyond that is none, and a replay would never end.
            fine = 0.99 < exact < 1e6
            require(fine, f"{self.path}: ticks in a day", exact, "time_hours = tick * tick_hours, 1 to 1,000,000 a day")
            per_day = round(exact)
        bad = np.abs(tick * (24.0 / per_day) - hours) > 1e-6
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"{self.path}: column 'tick': got {tick[row]} at {hours[row]} h, needs {per_day} ticks in a day, "
                "as before"
            )
        return per_day

    def _stretches(self) -> Iterator[tuple[Arrays, Ints]]:
        """Rows of whole visits, and where each visit begins among them."""
        rest: Arrays | None = None
        last = -np.inf
        whose = LatestReaders()
        for columns in self._batches():
            if rest is not None:
                columns = {name: np.concatenate([rest[name], column]) for name, column in columns.items()}
            starts = _starts(columns)
            end = int(starts[-1])
            rest = {name: column[end:] for name, column in columns.items()}
            long = len(rest["reader_id"]) > MAX_SLATE
            require(not long, f"{self.path}: rows of one visit", f"more than {MAX_SLATE}", f"at most {MAX_SLATE}")
            if end:
                whole = {name: column[:end] for name, column in columns.items()}
                last = self._check_order(whole, starts[:-1], last)
                whose.check(str(self.path), whole, starts[:-1])
                yield whole, starts[:-1]
        if rest is not None:
            starts = np.zeros(1, dtype=np.int64)
            self._check_order(rest, starts, last)
            whose.check(str(self.path), rest, starts)
            yield rest, starts

    def _check_order(self, columns: Arrays, starts: Ints, last: float) -> float:
        """Refuse visits out of order, and what is not the same in all rows of a visit; the last visit's time."""
        hours = columns["time_hours"][starts]
        back = np.flatnonzero(np.diff(hours, prepend=last) < 0)
        if len(back):
            first = starts[back[0]]
            before = float(hours[back[0] - 1]) if back[0] else last
            raise ValueError(
                f"{self.path}: column 'time_hours': got {float(columns['time_hours'][first])} (reader "
                f"{columns['reader_id'][first]}) after {before}, needs rows in order of time"
            )
        of = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(columns["reader_id"])))
        for name, values in columns.items():
            if BY_NAME[name].per != "visit":
                continue
            expected = values[starts][of]
            other = (values != expected) & ~((values != values) & (expected != expected))
            if other.any():
                row = int(np.argmax(other))
                raise ValueError(
                    f"{self.path}: column {name!r}: got {values[row]} and {expected[row]} in one visit (reader "
                    f"{columns['reader_id'][row]}, {columns['time_hours'][row]} h), needs one value in all its rows"
                )
        return float(hours[-1])

    def _batches(self) -> Iterator[Arrays]:
        """``REPLAYED`` columns of some rows, checked; a batch is never empty."""
        import pyarrow as pa

        names = [name for name in REPLAYED if name in self._names]
        for part in self.parts:
            row = 0
            try:
                with opened(part) as file:
                    total = file.metadata.num_rows
                    for batch in file.iter_batches(batch_size=self._batch_rows, columns=names):
                        if len(batch):
                            yield self._columns(str(part), row, batch)
                        row += len(batch)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise ValueError(f"{part}: got a file that is damaged near row {row}, needs a log ({error})") from error
            require(row == total, f"{part}: rows", row, f"{total}, as the file says")

    def _columns(self, where: str, first_row: int, batch: pa.RecordBatch) -> Arrays:
        given = set(batch.schema.names)
        columns: Arrays = {}
        for name in REPLAYED:
            kind = BY_NAME[name].type
            if name in given and kind == "category":
                columns[name] = self._codes(where, first_row, batch.column(name))
            elif name in given:
                array = whole_ids(batch.column(name)) if name in IDS else batch.column(name)
                columns[name] = to_numpy(where, first_row, name, array, may_lack(name, self.is_own))
            elif kind == "bool":
                columns[name] = np.zeros(len(batch), dtype=np.bool_)
            else:
                columns[name] = np.full(len(batch), np.nan if kind.startswith("float") else -1)
        return columns

    def _codes(self, where: str, first_row: int, array: pa.Array) -> Ints:
        """Devices as indices, named in the order in which the log's dictionaries have them."""
        import pyarrow as pa

        if pa.types.is_null(array.type):
            return np.full(len(array), -1, dtype=np.int64)
        coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        names = coded.dictionary.to_pylist()
        require(len(self._devices) + len(names) <= 4096, f"{where}: devices", len(names), "at most 4096 names")
        table = np.array([self._devices.setdefault(name, len(self._devices)) for name in names] + [-1])
        codes = coded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False).astype(np.int64)
        own: Ints = table[codes]
        return own


def _unweighted(columns: Arrays, starts: Ints) -> Bools:
    """Rows, bool (R,), of pages of lists that have no chances of their own: further ones, and those that came short."""
    sizes = np.diff(starts, append=len(columns["article_id"]))
    shown = np.add.reduceat(columns["article_id"] >= 0, starts, dtype=np.int64)
    short = np.repeat(shown < np.minimum(sizes, columns["num_live"][starts]), sizes)
    later: Bools = columns["slate_id"] != columns["visit_id"]
    ahead = columns["slate_made_hours"] < columns["time_hours"]
    return later | (ahead & (short | np.isnan(columns["log_normaliser"])))


def _starts(columns: Arrays) -> Ints:
    """First rows of the visits, (n,): where the visit's id changes, or reader and time where there are no ids."""
    by = ("visit_id",) if int(columns["visit_id"].min()) >= 0 else ("reader_id", "time_hours")
    changed: Bools = np.zeros(len(columns["reader_id"]), dtype=np.bool_)
    changed[0] = True
    for name in by:
        changed[1:] |= columns[name][1:] != columns[name][:-1]
    return np.flatnonzero(changed)


def _positions(columns: Arrays, starts: Ints) -> Ints:
    """Positions of the rows, (R,): as logged, or their order within the visit."""
    position: Ints = columns["position"]
    if int(position.min()) >= 0:
        return position
    sizes = np.diff(starts, append=len(position))
    counted: Ints = np.arange(len(position)) - np.repeat(starts, sizes)
    return counted


def _by_visit(columns: Arrays, starts: Ints, slate_size: int) -> Arrays:
    """Values of visits (n,), and of impressions (n, K)."""
    n, position = len(starts), _positions(columns, starts)
    of = np.repeat(np.arange(n), np.diff(starts, append=len(position)))
    at = of * slate_size + position
    twice = np.flatnonzero(np.bincount(at, minlength=1) > 1)
    if len(twice):
        visit, place = divmod(int(twice[0]), slate_size)
        row = starts[visit]
        raise ValueError(
            f"column 'position': got {place} twice at {columns['time_hours'][row]} h for reader "
            f"{columns['reader_id'][row]}, needs each position of a visit once"
        )
    values: Arrays = {}
    for name in REPLAYED:
        if BY_NAME[name].per == "visit":
            values[name] = columns[name][starts]
        elif name != "position":
            values[name] = _spread(name, columns[name], at, n, slate_size)
    return values


_EMPTY = {"article_id": -1, "logit": np.nan, "slot_propensity": 1.0, "slot_marginal": 1.0, "inclusion": 1.0}


def _spread(name: str, values: AnyArray, at: Ints, n: int, slate_size: int) -> AnyArray:
    grid = np.full(n * slate_size, _EMPTY.get(name, 0), dtype=values.dtype)
    grid[at] = values
    return grid.reshape(n, slate_size)
