"""What slates are drawn from: readers as the towers are told of them, at the moment that is told.

Shapes: n readers, L clicks of history, R columns, F observables of the reader model. Time is in hours.
"""

import math
from dataclasses import dataclass

import numpy as np

from feedgym.env.arrays import Doubles, Floats, Ints


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Readers who are to be served."""

    now: float
    """Hours at which the slates are drawn: ages of articles are those of this moment."""
    row: Ints
    """The readers' rows in the population, (n,)."""
    reader_id: Ints
    """(n,)"""
    visit: Ints
    """Number of the visit that is to be served, (n,); of slates drawn ahead, of the first that may be."""
    reader: Floats
    """Columns of the readers, (n, R)."""
    history_id: Ints
    """(n, L), -1 where none."""
    history_minutes: Floats
    """Read of each click, (n, L)."""

    def __len__(self) -> int:
        """Readers, n."""
        return len(self.row)


def reader_columns(
    now: float,
    visit: Ints,
    gap_hours: Doubles,
    history_id: Ints,
    history_minutes: Floats,
    features: Floats,
    *,
    example_age: bool,
    id_rows: Floats | None = None,
) -> Floats:
    """What the user tower sees besides the history, float32 (n, R).

    Args:
        now: hours since hour 0, a Monday's midnight.
        visit: visits before this one, (n,).
        gap_hours: since the last of them, (n,).
        history_id: (n, L), -1 where none.
        history_minutes: (n, L).
        features: what the reader model shows, (n, F).
        example_age: whether there is a column for the age of an example, after the others.
        id_rows: the rows of the readers' ids in their table, 0 where unknown, (n,): the last column; None: no ids.
    """
    own, extra, ids = OWN_READER_COLUMNS, features.shape[1], id_rows is not None
    # What stays 0 is the age of the example: of what is served now.
    columns = np.zeros((len(visit), own + extra + example_age + ids), dtype=np.float32)
    count = np.count_nonzero(history_id >= 0, axis=1)
    angle = 2.0 * math.pi * (now % 24.0) / 24.0
    columns[:, 0] = np.log1p(gap_hours)
    columns[:, 1] = np.log1p(visit)
    columns[:, 2] = math.sin(angle)
    columns[:, 3] = math.cos(angle)
    columns[:, 4] = np.log1p(count)
    columns[:, 5] = np.log1p(history_minutes).sum(axis=1) / np.maximum(count, 1)
    columns[:, own : own + extra] = features
    if id_rows is not None:
        columns[:, -1] = id_rows
    return columns


OWN_READER_COLUMNS = 6
"""What the agent itself knows of a reader: gap, visits, hour (two columns), clicks in the history, minutes in it."""
