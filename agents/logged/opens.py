"""What a log says was opened from elsewhere, without a slate, tick by tick (docs/guide/offline.md).

Shapes: R opens of the log, m of a tick. Time is in hours.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from feedgym.env.arrays import Arrays, Doubles, Ints
from feedgym.env.checks import require
from feedgym.env.feed import Opens, Visits, one_a_tick
from feedgym.env.log import LoggedNewsroom, open_columns


class LoggedOpens:
    """The opens beside a log; none where it has none.

    Args:
        path: of the log.
        newsroom: of its articles.
        tick_hours: the clock.
        own_ticks: the opens say their ticks: they are of a FeedGym log.
        device_names: of the log's visits, which say what the devices of opens are.

    Raises:
        ValueError: whatever is wrong in the file.
    """

    def __init__(
        self,
        path: str | Path,
        newsroom: LoggedNewsroom,
        tick_hours: float,
        *,
        own_ticks: bool,
        device_names: tuple[str, ...] = (),
    ) -> None:
        columns, self.channel_names, devices = open_columns(path)
        columns["article_id"] = newsroom.own_id(columns["article_id"])
        self._original_id, self._live_hours = newsroom.original_id, newsroom.live_hours[0]
        known = own_ticks and bool((columns["tick"] >= 0).all())
        # As visits are put on a clock: at the first tick at or after their time.
        ticks = columns["tick"] if known else np.ceil(columns["time_hours"] / tick_hours - 1e-6).astype(np.int64)
        order = np.argsort(columns["reader_id"], kind="stable")
        waiting = np.empty(len(ticks), dtype=np.int64)
        # A tick holds one open of a reader: a site's own may have more, which come one after the other.
        by_reader = np.unique(columns["reader_id"], return_inverse=True)[1]
        waiting[order] = one_a_tick(by_reader[order], ticks[order].astype(np.int64))
        columns["tick"] = waiting
        place = {name: index for index, name in enumerate(device_names)}
        table = np.array([place.get(name, -1) for name in devices] + [-1])
        columns["device"] = table[columns["device"]]
        order = np.lexsort((columns["reader_id"], waiting))
        self._columns: Arrays = {name: values[order] for name, values in columns.items()}
        self._done = -1

    def __len__(self) -> int:
        """Opens, R."""
        return len(self._columns["tick"])

    @property
    def reader_id(self) -> Ints:
        """Whose they are, (R,)."""
        return self._columns["reader_id"]

    @property
    def last_tick(self) -> int:
        """Of the last of them; -1 of none."""
        return int(self._columns["tick"].max(initial=-1))

    def due(self, tick: int, now: float, published: int) -> Arrays | None:
        """The opens of a tick, by reader; None where there are none, or where it has been asked before.

        Raises:
            ValueError: an article that was not there yet.
        """
        begin, end = np.searchsorted(self._columns["tick"], [tick, tick + 1])
        if begin == end or tick <= self._done:
            return None
        self._done = tick
        due = {name: values[begin:end] for name, values in self._columns.items()}
        early = due["article_id"] >= published
        if early.any():
            own = int(due["article_id"][early][0])
            seen = f"{int(self._original_id[own])} at {now:g} h, published at {float(self._live_hours[own]):g} h"
            require(False, "opens: article_id", seen, "articles that were there")
        return due

    def as_opens(self, due: Arrays, rows: Ints, tick: int, now: float, readers: Callable[[], Visits]) -> Opens:
        """What :meth:`due` has found, as a Feed has it."""
        minutes: Doubles = due["dwell_minutes"]
        return Opens(
            now=now,
            tick=tick,
            rows=rows,
            reader_id=due["reader_id"],
            number=due["number"],
            article_id=due["article_id"],
            channel=due["channel"],
            channel_names=self.channel_names,
            dwell_minutes=minutes.astype(np.float32),
            reward=due["reward"].astype(np.float32),
            device=due["device"],
            readers=readers,
        )
