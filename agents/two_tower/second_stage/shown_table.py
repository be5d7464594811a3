"""How often of late each reader was shown some key, such as an article or a topic, and what came of it.

A direct-mapped table: a key has one slot in each reader's row, its number modulo the number of slots, and the newer key
evicts. With as many slots as there are keys nothing is ever evicted.
Shapes: n visits, K positions, M keys of a visit, P readers, S slots. Time is in hours, reading in minutes.
"""

import numpy as np

from feedgym.env.arrays import Arrays, Bools, Doubles, Floats, Ints, copied, lengthened, put_back

HALF_LIFE_HOURS = 24.0
"""Of all counts: what was shown a day ago counts half. A site's rule, not what a reader model forgets by."""
SHOWN, OPENED, MINUTES, LAST = range(4)
"""Columns of a slot: counts of showings and openings and the minutes read, faded until ``LAST``, the latest hour."""
_NAMES = ("_key", "_values")


class ShownTable:
    """Rows by reader, growing by doubling: 20 bytes a slot.

    Args:
        slots: S, keys remembered of a reader.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._key = np.full((0, slots), -1, dtype=np.int32)
        self._values: Floats = np.zeros((0, slots, 4), dtype=np.float32)

    def of(self, rows: Ints, key: Ints, now: float) -> tuple[Floats, Floats, Floats, Floats]:
        """What is remembered of keys (n, M) by readers ``rows`` (n,); keys below 0 are remembered by nobody.

        Returns:
            Showings, openings and minutes of late, and hours since the latest showing, inf where there was none:
            float32 (n, M) each.
        """
        self._reserve(int(rows.max(initial=-1)) + 1)
        slot = rows[:, None] * self.slots + key % self.slots
        known: Bools = (self._key.reshape(-1).take(slot) == key) & (key >= 0)
        values = self._values.reshape(-1, 4).take(slot, axis=0)
        since = np.where(known, np.float32(now) - values[..., LAST], np.float32(np.inf))
        fading = np.exp2(since * np.float32(-1.0 / HALF_LIFE_HOURS))
        return values[..., SHOWN] * fading, values[..., OPENED] * fading, values[..., MINUTES] * fading, since

    def note(self, rows: Ints, key: Ints, opened: Bools, minutes: Floats, now: float, *, showings: float = 1.0) -> None:
        """Readers (n,), each once, were shown keys (n, K), -1 where nothing; opened (n, K), minutes read (n, K).

        Of two keys of one slate that share a slot, the lower one on the page stays. Each counts as so many
        ``showings``: 0 where it was opened without one.
        """
        visit, position = np.nonzero(key >= 0)
        if len(visit) == 0:
            return
        self._reserve(int(rows.max()) + 1)
        keys = key[visit, position]
        slot = rows[visit] * self.slots + keys % self.slots
        unique, place = np.unique(slot, return_inverse=True)
        latest = np.zeros(len(unique), dtype=np.int64)
        latest[place] = keys  # in the order of the page: of several, the last one stands
        kept = keys == latest[place]
        what = visit[kept], position[kept]
        shown = np.full(len(what[0]), showings)
        parts = (shown, opened[what].astype(np.float64), minutes[what].astype(np.float64))
        sums: Doubles = np.stack([np.bincount(place[kept], part, len(unique)) for part in parts], axis=1)
        flat, table = self._values.reshape(-1, 4), self._key.reshape(-1)
        before = flat[unique]
        faded = np.exp2((np.float32(now) - before[:, LAST]) * np.float32(-1.0 / HALF_LIFE_HOURS))
        faded[table[unique] != latest] = 0.0
        flat[unique, :LAST] = before[:, :LAST] * faded[:, None] + sums
        flat[unique, LAST] = now
        table[unique] = latest

    def _reserve(self, size: int) -> None:
        if size > len(self._key):
            self._key = lengthened(self._key, size, -1)
            self._values = lengthened(self._values, size)

    def snapshot(self) -> Arrays:
        """All arrays, copied."""
        return copied(self, _NAMES)

    def restore(self, snapshot: Arrays) -> None:
        """Become the table of a snapshot."""
        put_back(self, _NAMES, snapshot)
