"""What readers were shown, counted one showing after the other: slow, and plain to see."""

import math
from typing import Any

SLOTS = {"article": 64, "author": 32, "publisher": 24, "topic": 16}


class PlainPairs:
    """Of each reader, kind and slot the latest key with [showings, openings, minutes, hour], faded by half a day."""

    def __init__(self, slots: dict[str, int] | None = None) -> None:
        self.slots = SLOTS if slots is None else slots
        self.kept: dict[tuple[int, str, int], tuple[int, list[float]]] = {}

    def counts(self, reader: int, kind: str, key: int, now: float) -> tuple[float, float, float, float]:
        """Showings, openings, minutes of late, and hours since."""
        held, values = self.kept.get((reader, kind, key % self.slots[kind]), (-1, [0.0] * 4))
        if held != key:
            return 0.0, 0.0, 0.0, math.inf
        fading = 0.5 ** ((now - values[3]) / 24.0)
        return values[0] * fading, values[1] * fading, values[2] * fading, now - values[3]

    def note(self, reader: int, kind: str, slate: list[tuple[int, bool, float]], now: float) -> None:
        """One slate, from the top: keys, whether opened, minutes read."""
        last = {key % self.slots[kind]: key for key, _, _ in slate}
        before = {key: self.counts(reader, kind, key, now)[:3] for key in last.values()}
        for slot, key in last.items():
            mine = [(opened, minutes) for other, opened, minutes in slate if other == key]
            total = [
                before[key][0] + len(mine),
                before[key][1] + sum(opened for opened, _ in mine),
                before[key][2] + sum(minutes for _, minutes in mine),
            ]
            self.kept[reader, kind, slot] = (key, [*total, now])

    def cross(self, name: str, reader: int, keys: dict[str, int], now: float) -> float:
        """A cross ``KIND_NUMBER`` by hand."""
        kind, number = name.split("_")
        shown, opened, minutes, since = self.counts(reader, kind, keys[kind], now)
        values: dict[str, Any] = {
            "shown": math.log1p(shown),
            "opened": math.log1p(opened),
            "minutes": math.log1p(minutes),
            "just": math.exp(-since / 2.0),
            "today": math.exp(-since / 24.0),
        }
        return float(values[number])
