"""The calendar of buckets against a plain dict of lists."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgym.env.feed.calendar import Calendar


class PlainCalendar:
    """A list of rows for each tick."""

    def __init__(self) -> None:
        self.due: defaultdict[int, list[int]] = defaultdict(list)

    def schedule(self, rows: list[int], ticks: list[int]) -> None:
        for row, tick in zip(rows, ticks, strict=True):
            self.due[tick].append(row)

    def collect(self, tick: int) -> list[int]:
        return sorted(self.due.pop(tick, []))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_equals_a_plain_dict_of_lists(data: Any) -> None:
    per_day = data.draw(st.sampled_from([1, 2, 3, 5, 24, 96, 97, 288]), label="ticks_per_day")
    start = data.draw(st.integers(0, 3 * per_day), label="first tick")
    reach = data.draw(st.sampled_from([1, per_day, 4 * per_day]), label="reach")
    fast, plain = Calendar(per_day, start), PlainCalendar()
    num_ticks = min(2 * per_day + 5, 220)
    row = 0
    busy = data.draw(st.sets(st.integers(0, num_ticks - 1), max_size=25), label="busy ticks") | {0}
    for offset in range(num_ticks):
        tick = start + offset
        # At the first tick, what is due at once may still be put down; later, at the next tick at the earliest.
        np.testing.assert_array_equal(fast.collect(tick), plain.collect(tick)) if offset else None
        if offset in busy:
            ahead = data.draw(st.lists(st.integers(0 if offset == 0 else 1, reach), max_size=12), label="ahead")
            rows, ticks = list(range(row, row + len(ahead))), [tick + a for a in ahead]
            row += len(ahead)
            fast.schedule(np.array(rows, dtype=np.int64), np.array(ticks, dtype=np.int64))
            plain.schedule(rows, ticks)
        if offset == 0:
            np.testing.assert_array_equal(fast.collect(tick), plain.collect(tick))
    assert all(tick >= start + num_ticks for tick in plain.due)


@pytest.mark.parametrize("per_day", [1, 24, 96, 97, 288, 1440])
def test_across_midnights_and_many_days(per_day: int) -> None:
    rng = np.random.default_rng(per_day)
    fast, plain = Calendar(per_day), PlainCalendar()
    collected = 0
    for tick in range(min(6 * per_day, 900)):
        rows = fast.collect(tick)
        assert rows.dtype == np.int64
        assert rows.tolist() == plain.collect(tick)
        collected += len(rows)
        new = rng.integers(0, 10**6, rng.integers(0, 20))
        # Near, around the next midnights, and far.
        midnight = (tick // per_day + rng.integers(1, 4, len(new))) * per_day + rng.integers(-1, 2, len(new))
        choices = np.stack(
            [tick + rng.integers(1, 9, len(new)), midnight, tick + rng.integers(1, 5 * per_day + 2, len(new))]
        )
        ticks = np.maximum(tick + 1, choices[rng.integers(0, 3, len(new)), np.arange(len(new))])
        fast.schedule(new, ticks)
        plain.schedule(new.tolist(), ticks.tolist())
    assert collected > (0 if per_day == 1 else 300)


def test_far_beyond_16_bits() -> None:
    calendar = Calendar(96)
    ticks = np.array([2**40, 70_000, 3, 65_536, 65_535, 2**52])
    calendar.schedule(np.arange(6), ticks)
    found = {tick: rows.tolist() for tick in range(70_001) if len(rows := calendar.collect(tick))}
    assert found == {3: [2], 65_535: [4], 65_536: [3], 70_000: [1]}


def test_collecting_forgets() -> None:
    calendar = Calendar(24)
    calendar.schedule(np.array([4, 2, 4]), np.array([0, 0, 0]))
    assert calendar.collect(0).tolist() == [2, 4, 4]
    assert calendar.collect(0).tolist() == []


def test_nothing_to_schedule() -> None:
    calendar = Calendar(24)
    calendar.schedule(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    assert [len(calendar.collect(tick)) for tick in range(60)] == [0] * 60


def test_more_than_16_bits_of_days() -> None:
    """Sorting by 16 bits is for keys that fit: neither ticks nor days of a long calendar do."""
    calendar = Calendar(1)
    calendar.schedule(np.arange(4), np.array([131_075, 3, 65_540, 70_000]))
    found = {tick: calendar.collect(tick).tolist() for tick in (0, 3, 4, 65_540, 70_000, 131_075)}
    assert found == {0: [], 3: [1], 4: [], 65_540: [2], 70_000: [3], 131_075: [0]}
