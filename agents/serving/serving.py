"""What is fresh when: the clocks at work, and readers as far as they are known by them (docs/mathematics.md 2.7).

Shapes: n readers, L clicks of history, R columns of a reader, F observables. Time is in hours.
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from feedgym.agents.serving.clocks import Clocks, period
from feedgym.agents.serving.lists_ahead import ListsAhead
from feedgym.agents.serving.reader_memory import ReaderMemory, history_before
from feedgym.agents.serving.reader_vectors import ReaderVectors
from feedgym.agents.serving.requests import Requests, reader_columns
from feedgym.agents.serving.serving_cost import ServingCost
from feedgym.env.arrays import Arrays, Bools, Floats, Ints, nest, rows_of, unnest
from feedgym.env.feed import Opens, ReaderRecords, Visits
from feedgym.towers.interface import UserOutput

BLOCK = 4096
"""Readers whose slates are drawn together."""
Who: TypeAlias = tuple[Ints, Ints, Ints]
"""Rows of readers in the population, their ids, and the number of the visit that is served, (n,) each."""


class Serving:
    """State of the clocks, and what is kept for them.

    Args:
        clocks: how far serving lags.
        num_features: F, observables of the reader model.
        history_length: L.
        example_age: whether readers have a column for the age of an example.
        id_rows: the rows of readers' ids in their table; None: ids are no feature.
    """

    def __init__(
        self,
        clocks: Clocks,
        num_features: int,
        history_length: int,
        *,
        example_age: bool,
        id_rows: Callable[[Ints], Floats] | None = None,
    ) -> None:
        self.clocks, self._id_rows = clocks, id_rows
        self._num_features, self._history_length, self._example_age = num_features, history_length, example_age
        self._memory = ReaderMemory(num_features) if clocks.readers_lag else None
        keeps = clocks.reader_refresh_hours > 0 and not clocks.slates_ahead
        self._vectors = ReaderVectors() if keeps else None
        self.ahead: ListsAhead | None = None
        """Lists drawn ahead, where the mode has such."""
        # Periods of the clocks that have begun. Not the hours of the next: a sum that a tick may miss by a rounding.
        self._items_period = self._slates_period = -1
        self.cost = ServingCost()
        self._told = ServingCost()
        # Visits whose outcome nobody has told yet, and the clicks of their readers before them.
        self._asked: tuple[Visits, Ints] | None = None
        self._opened: Opens | None = None

    # Clocks

    def items_due(self, now: float) -> bool:
        """Whether items are refreshed at this tick; asked once a tick."""
        if self.clocks.item_refresh_hours == 0:
            return True
        begun, self._items_period = self._items_period, period(now, self.clocks.item_refresh_hours)
        return self._items_period > begun

    def slates_due(self, now: float) -> bool:
        """Whether slates are drawn ahead at this tick; asked once a tick."""
        if not self.clocks.slates_ahead:
            return False
        begun, self._slates_period = self._slates_period, period(now, self.clocks.reader_refresh_hours)
        return self._slates_period > begun

    # Readers

    def requests(self, visits: Visits) -> Requests:
        """The readers who ask for a slate now, as far as they are known."""
        if self._memory is None:
            return self._request(
                visits.now,
                visits.now,
                (visits.rows, visits.reader_id, visits.visit),
                visits.visit,
                visits.gap_hours,
                (visits.history_id, visits.history_dwell),
                visits.features,
            )
        made = self.clocks.made_hours(visits.now)
        own = visits.features if self.clocks.reader_refresh_hours == 0 else None
        who = (visits.rows, visits.reader_id, visits.visit)
        return self._known_at(visits.records, who, visits.now, made, own)

    def known_readers(self, records: ReaderRecords, now: float) -> Iterator[Requests]:
        """Blocks of the readers of whom some visit is known by now."""
        assert self._memory is not None
        known, num_visits = self._memory.known(now - self.clocks.feature_lag_hours), self.num_visits
        for start in range(0, len(known), BLOCK):
            rows = known[start : start + BLOCK]
            yield self._known_at(records, (rows, self._memory.reader_id(rows), num_visits[rows]), now, now, None)

    @property
    def num_visits(self) -> Ints:
        """Visits so far by row of the population, (P,); known or not."""
        assert self._memory is not None
        return self._memory.num_visits

    def unknown_reader(self, now: float) -> Requests:
        """A reader of whom nothing is known, at row 0."""
        nothing = np.full((1, self._history_length), -1, dtype=np.int64)
        none, features = np.zeros(1, dtype=np.int64), np.zeros((1, self._num_features), dtype=np.float32)
        minutes = np.zeros(nothing.shape, dtype=np.float32)
        who = (none, none, none)
        return self._request(now, now, who, none, np.zeros(1), (nothing, minutes), features, unknown=True)

    def _known_at(self, records: ReaderRecords, who: Who, now: float, made: float, features: Floats | None) -> Requests:
        """Readers, to be served at ``now``, as what is made at ``made`` knows them."""
        assert self._memory is not None
        rows = who[0]
        count, last, since = self._memory.before(rows, made - self.clocks.feature_lag_hours)
        gap = np.where(count > 0, made - last, 0.0)
        if features is None:
            features = self._memory.features(rows)
        history = history_before(records, rows, since)
        return self._request(now, made, who, count, gap, history, features)

    def _request(
        self,
        now: float,
        made: float,
        who: Who,
        visit: Ints,
        gap: np.ndarray,
        history: tuple[Ints, Floats],
        features: Floats,
        *,
        unknown: bool = False,
    ) -> Requests:
        ids, minutes = history
        row, reader_id, number = who
        id_rows = None
        if self._id_rows is not None:
            id_rows = np.zeros(len(row), dtype=np.float32) if unknown else self._id_rows(reader_id)
        columns = reader_columns(
            made, visit, gap, ids, minutes, features, example_age=self._example_age, id_rows=id_rows
        )
        return Requests(
            now=now,
            row=row,
            reader_id=reader_id,
            visit=number,
            reader=columns,
            history_id=ids,
            history_minutes=minutes,
        )

    def vectors(self, requests: Requests, version: int, embed: Callable[[Requests], UserOutput]) -> UserOutput:
        """What the user tower says of them: kept from the latest refresh where the clock says so."""
        if self._vectors is None:
            self.cost.reader_embeddings += len(requests)
            return embed(requests)

        def some(stale: Bools) -> UserOutput:
            return embed(rows_of(requests, stale))

        number = period(requests.now, self.clocks.reader_refresh_hours)
        output, made = self._vectors.of(requests.row, number, version, some)
        self.cost.reader_embeddings += made
        return output

    def asked(self, visits: Visits) -> None:
        """These visits are being served."""
        self._asked = (visits, visits.records.click_count[visits.rows].astype(np.int64))

    def catch_up(self, visits: Visits) -> None:
        """Before visits are served: note those before them, where nobody told (a frozen agent learns nothing)."""
        if self._asked is None:
            return
        before, clicks = self._asked
        self._asked = None
        again = before.now == visits.now and np.array_equal(before.rows, visits.rows)
        if not again:  # else they have not been served yet
            since = before.records.click_count[before.rows] - clicks
            if visits.opens is not None:
                # What has been opened from elsewhere meanwhile is none of that visit's.
                since = since - np.isin(before.rows, visits.opens.rows)
            self.note(before.rows, before.reader_id, before.now, since, before.features)

    def opened(self, opens: Opens | None) -> bool:
        """Note what has been opened from elsewhere when the tick began; whether there is any that was not noted yet."""
        if opens is None or opens is self._opened:
            return False
        self._opened = opens
        if self._memory is not None:
            self._memory.note_opens(opens.rows, opens.now)
        return True

    def told(self, num_clicks: Ints) -> None:
        """How many clicks (n,) the visits being served have brought."""
        if self._asked is not None:
            visits, _ = self._asked
            self.note(visits.rows, visits.reader_id, visits.now, num_clicks, visits.features)

    def note(self, rows: Ints, reader_id: Ints, now: float, num_clicks: Ints, features: Floats) -> None:
        """Readers (n,), by row and id, have visited at ``now``, with so many clicks (n,)."""
        self._asked = None
        self.cost.visits += len(rows)
        if self.ahead is not None:
            self.ahead.turn()
        if self._memory is not None:
            self._memory.note(rows, reader_id, now, num_clicks, features)

    # Cost and state

    def metrics(self) -> dict[str, float]:
        """Cost of 1,000 visits since the last call."""
        found = self.cost.per_1000_visits(self._told)
        self._told.restore(self.cost.snapshot())
        return {f"serving/{name}_per_1000_visits": value for name, value in found.items()}

    def snapshot(self) -> Arrays:
        """Clocks, what is kept of readers, lists drawn ahead, and counts."""
        arrays: Arrays = {"periods": np.array([self._items_period, self._slates_period])}
        parts = {"cost": self.cost, "told": self._told, "memory": self._memory, "vectors": self._vectors}
        for name, part in (parts | {"ahead": self.ahead}).items():
            if part is not None:
                arrays |= nest(name, part.snapshot())
        return arrays

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot with the same clocks."""
        self._asked = None
        self._items_period, self._slates_period = snapshot["periods"].tolist()
        self.cost.restore(unnest("cost", snapshot))
        self._told.restore(unnest("told", snapshot))
        if self._memory is not None:
            self._memory.restore(unnest("memory", snapshot))
        if self._vectors is not None:
            self._vectors.restore(unnest("vectors", snapshot))
        ahead = unnest("ahead", snapshot)
        self.ahead = ListsAhead.restored(ahead) if ahead else None
