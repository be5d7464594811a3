"""In what order a site's own log stands: its parts by time, and the rows of a visit together."""

from pathlib import Path

import numpy as np

from feedgym.env.arrays import Arrays, Ints
from feedgym.env.log.files import opened


def first_hours(part: Path) -> float:
    """Time of a part's first row, to read parts in order of time; what is wrong with it is said when it is read."""
    with opened(part) as file:
        for batch in file.iter_batches(batch_size=1, columns=["time_hours"]):
            value = batch.column(0)[0].as_py() if len(batch) else None
            return -np.inf if value is None else float(value)
    return -np.inf


class LatestReaders:
    """Refuses a visit whose rows do not stand together, in a log without ids of visits.

    It would be taken for as many visits as it has stretches of rows.
    """

    def __init__(self) -> None:
        self._hours = -np.inf
        self._readers: Ints = np.zeros(0, dtype=np.int64)

    def check(self, where: str, columns: Arrays, starts: Ints) -> None:
        """Visits (n,) in order of time, the next of the log."""
        if int(columns["visit_id"].min()) >= 0:
            return
        hours, reader = columns["time_hours"][starts], columns["reader_id"][starts]
        goes_on = np.where(hours[0] == self._hours, len(self._readers), 0)
        hours = np.concatenate([np.full(goes_on, hours[0]), hours])
        reader = np.concatenate([self._readers[:goes_on], reader])
        order = np.lexsort((reader, hours))
        again = (np.diff(hours[order]) == 0) & (np.diff(reader[order]) == 0)
        if again.any():
            row = order[int(np.argmax(again))]
            raise ValueError(
                f"{where}: rows of reader {reader[row]} at {hours[row]} h: got others between them, needs the rows of "
                "a visit together, or a column visit_id"
            )
        self._hours, self._readers = float(hours[-1]), reader[hours == hours[-1]]
