"""The readers of a site: their states, who comes when, who joins, who is there. Costs nothing that grows with them.

Rows are given in the order of joining: the first ``num_readers`` at hour 0, newcomers from there on, a day's at once
when the day begins. A row is never given again, so that a reader's state stands where it stood.
Shapes: P readers so far, m newcomers of a day. Time is in hours.
"""

from typing import Any

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Bools, Doubles, Ints, SmallInts, nest, unnest
from feedgym.env.checks import require
from feedgym.env.config import FeedConfig
from feedgym.env.feed.arrivals import Arrivals
from feedgym.env.feed.calendar import Calendar
from feedgym.env.feed.visits import ReaderRecords, with_room
from feedgym.env.noise import Noise
from feedgym.env.readers import PackedState, ReaderModel, Renewing

SPAWNED_AT_ONCE = 65536
"""Readers are born in blocks, so that a million of them need no large temporaries."""
_LEFT = np.int32(-1)


class Population:
    """Everybody who has joined.

    Args:
        config: how many readers, from which id on, and newcomers a day.
        model: how they react; newcomers come only where it can be told of them (``Renewing``).
        seed: of the world.
        records: what the site keeps of them; gets room for newcomers.
    """

    def __init__(self, config: FeedConfig, model: ReaderModel, seed: int, records: ReaderRecords) -> None:
        self._config, self._model, self._seed, self._records = config, model, seed, records
        self._arrivals = Arrivals(config, seed) if isinstance(model, Renewing) else None
        self._calendar = Calendar(config.ticks_per_day)
        self._roomy: Arrays = {}  # the arrays of which the state shows the rows in use
        self._next_tick: SmallInts = np.zeros(config.num_readers, dtype=np.int32)
        self._ids: Ints | None = None if config.num_readers == config.whole_population else np.zeros(0, dtype=np.int64)
        self.num_rows = 0
        """P: readers who have a row."""
        self.num_left = 0
        """Of those, readers who have left for good."""
        self.joined_hours: Doubles = np.zeros(0)
        """When each newcomer joined, (P - num_readers,), rising."""
        self.state: Arrays = PackedState()
        """The reader model's state, latent: a row per reader."""
        self._spawn_first()

    @property
    def has_left(self) -> Bools:
        """Who has left for good, (P,)."""
        gone: Bools = self._next_tick[: self.num_rows] == _LEFT
        return gone

    def are_gone(self, rows: Ints) -> Bools:
        """Which of the readers at ``rows`` (n,) have left for good, (n,)."""
        gone: Bools = self._next_tick[rows] == _LEFT
        return gone

    def num_there(self, now: float) -> int:
        """Readers who have joined by ``now`` and have not left."""
        joined = int(np.searchsorted(self.joined_hours, now, side="right"))
        return self._config.num_readers + joined - self.num_left

    def reader_id(self, rows: Ints) -> Ints:
        """Ids of readers by row, int64 (n,)."""
        # Newcomers' ids go on where those of the first readers end, but in a shard, which has only some of them.
        return rows + self._config.first_reader_id if self._ids is None else self._ids[rows]

    def due(self, tick: int) -> Ints:
        """Rows of the readers who come at this tick, rising. A new day's newcomers join first."""
        if tick % self._config.ticks_per_day == 0:
            self._welcome(tick // self._config.ticks_per_day)
        return self._calendar.collect(tick)

    def schedule(self, rows: Ints, ticks: Doubles) -> None:
        """Put readers down for their next visit; who would come after the horizon is kept, but not called."""
        # Beyond int32 there is no horizon: the cap keeps "later" apart from "left".
        whole = np.minimum(ticks, 2.0**30)
        due = np.where(np.isinf(ticks), _LEFT, whole).astype(np.int64)
        self._next_tick[rows] = due
        coming = (due >= 0) & (due < self._config.num_ticks)
        if coming.all():
            self._calendar.schedule(rows, due)
            return
        self.num_left += int(np.count_nonzero(due == _LEFT))
        self._calendar.schedule(rows[coming], due[coming])

    def snapshot(self) -> Arrays:
        """Everything, as plain arrays of P rows."""
        state = {name: column.copy() for name, column in self.state.items()}
        return {"next_tick": self._next_tick[: self.num_rows].copy()} | nest("state", state)

    def restore(self, snapshot: Arrays, tick: int) -> None:
        """Become the population of a snapshot of this tick; the horizon may be another one."""
        state = unnest("state", snapshot)
        require(state.keys() == self.state.keys(), "snapshot state", sorted(state), f"{sorted(self.state)}")
        saved: AnyArray = snapshot["next_tick"]
        first, day = self._config.num_readers, tick // self._config.ticks_per_day
        ids, hours = self._newcomers(0, day + 1)
        # One taken at a horizon lacks the newcomers of the day that began there.
        late = np.count_nonzero(hours < 24.0 * day)
        known = len(saved) - first
        require(known in (late, len(hours)), "snapshot['next_tick']", len(saved), f"{first + len(hours)} readers")
        self._next_tick = saved.astype(np.int32)
        self.num_rows = len(saved)
        self.num_left = int(np.count_nonzero(self._next_tick == _LEFT))
        self._know(ids[:known], hours[:known], anew=True)
        self.state = PackedState({name: column.copy() for name, column in state.items()})
        self._roomy = {}
        self._calendar = Calendar(self._config.ticks_per_day, tick)
        waiting = np.flatnonzero((self._next_tick >= tick) & (self._next_tick < self._config.num_ticks))
        self._calendar.schedule(waiting, self._next_tick[waiting].astype(np.int64))
        if known < len(hours) and tick < self._config.num_ticks:
            self._join(ids[known:], hours[known:])

    def called(self, tick: int) -> Ints:
        """As :meth:`due`, of a population that has just been restored."""
        return self._calendar.collect(tick)

    def _spawn_first(self) -> None:
        c = self._config
        for start in range(0, c.num_readers, SPAWNED_AT_ONCE):
            ids = c.first_reader_id + np.arange(start, min(start + SPAWNED_AT_ONCE, c.num_readers), dtype=np.int64)
            self._append(self._model.spawn(ids, Noise(self._seed, ids)), len(ids), room=c.num_readers)
        if self._ids is not None:
            self._ids = c.first_reader_id + np.arange(c.num_readers, dtype=np.int64)
        for start in range(0, c.num_readers, SPAWNED_AT_ONCE):
            rows = np.arange(start, min(start + SPAWNED_AT_ONCE, c.num_readers), dtype=np.int64)
            hours = self._model.first_visit(self.state, rows, Noise(self._seed, rows + c.first_reader_id))
            hours = checked_hours("first_visit", hours, len(rows))
            self.schedule(rows, np.ceil(hours / c.tick_hours))

    def _welcome(self, day: int) -> None:
        """The newcomers of a day."""
        self._join(*self._newcomers(day, day + 1))

    def _newcomers(self, first_day: int, end_day: int) -> tuple[Ints, Doubles]:
        if self._arrivals is None:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        return self._arrivals.between(first_day, end_day)

    def _join(self, ids: Ints, hours: Doubles) -> None:
        """Newcomers (m,) get their rows and their first visits."""
        if len(ids) == 0:
            return
        model: Any = self._model
        before, after = self.num_rows, self.num_rows + len(ids)
        for start in range(0, len(ids), SPAWNED_AT_ONCE):
            block = ids[start : start + SPAWNED_AT_ONCE]
            self._append(model.spawn(block, Noise(self._seed, block)), len(block))
        self._know(ids, hours)
        self._records.reserve(after)
        if len(self._next_tick) < after:
            self._next_tick = with_room(self._next_tick, after)
        rows = np.arange(before, after, dtype=np.int64)
        noise = Noise(self._seed, ids)
        first = checked_hours("arrive", model.arrive(self.state, rows, hours.copy(), noise), len(rows))
        early = first < hours
        require(not early.any(), "arrive", float(first.min(initial=np.inf)), "hours not before those of joining")
        self.schedule(rows, np.ceil(first / self._config.tick_hours))

    def _know(self, ids: Ints, hours: Doubles, *, anew: bool = False) -> None:
        """Who newcomers are, and since when they are there."""
        first = self._config.num_readers
        self.joined_hours = np.concatenate([self.joined_hours[: 0 if anew else None], hours])
        if self._ids is not None:
            self._ids = np.concatenate([self._ids[: first if anew else None], ids])

    def _append(self, part: Arrays, many: int, room: int = 0) -> None:
        """Give the next ``many`` rows to readers with these states."""
        check_state(part, many)
        before, after = self.num_rows, self.num_rows + many
        require(before == 0 or part.keys() == self.state.keys(), "spawn", sorted(part), f"{sorted(self.state)}")
        for name, column in part.items():
            shown = self.state[name] if before else column[:0]
            roomy = self._roomy.get(name)
            # A model may have put an array of its own in the place of the one it was shown.
            if roomy is None or shown.base is not roomy or len(roomy) < after:
                roomy = self._roomy[name] = with_room(shown, after, exactly=room)
            roomy[before:after] = column
            self.state[name] = roomy[:after]
        self.num_rows = after


def check_state(state: Arrays, n: int) -> None:
    """Refuse a state that is not of ``n`` readers."""
    for name, column in state.items():
        shape = getattr(column, "shape", None)
        require(bool(shape) and shape[0] == n, f"spawn[{name!r}]", shape, f"an array with {n} rows")  # type: ignore[index]
        require(column.dtype != np.object_, f"spawn[{name!r}]", column.dtype, "numbers or booleans")


def checked_hours(name: str, hours: Doubles, n: int) -> Doubles:
    """Hours (n,) that a reader model returned; refused where they are none."""
    checked: Doubles = np.asarray(hours, dtype=np.float64)
    require(checked.shape == (n,), name, checked.shape, f"{(n,)}")
    require(n == 0 or bool(checked.min() >= 0.0), name, float(checked.min()) if n else 0.0, "hours >= 0, or inf")
    return checked
