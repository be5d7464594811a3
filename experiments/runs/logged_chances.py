"""Columns of the log that are worked out for the visits of many ticks at once: t*, and exact marginals where asked for.

A tick of 20 visits alone takes twice the time that it takes among a thousand.
"""

from feedgym.agents.slate_policy import Served, marginals_of, times_of
from feedgym.env.log import ImpressionLog

TOGETHER = 1024
"""Visits, about: more take longer in no cache, fewer are not worth the calls."""


class LoggedChances:
    """What is owed to a log.

    Args:
        log: whose columns are filled in, a part's before it is written.
        exact: slot marginals and inclusions, too.
    """

    def __init__(self, log: ImpressionLog, *, exact: bool) -> None:
        self._log, self._exact = log, exact
        self._waiting: list[Served] = []
        self._num_visits = 0

    def append(self, served: Served) -> None:
        """The slates of the tick that the log got last."""
        self._waiting.append(served)
        self._num_visits += len(served.article_id)
        if self._num_visits >= TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Fill in what is owed: before the log's own flush."""
        if self._num_visits:
            found = (
                marginals_of(self._waiting)._asdict() if self._exact else {"inclusion_time": times_of(self._waiting)}
            )
            self._log.amend(self._num_visits, found)
        self._waiting, self._num_visits = [], 0
