"""Columns of the log that are worked out for the visits of many ticks at once: slot_marginal, inclusion, their time.

A tick of 20 visits alone takes twice the time that it takes among a thousand.
"""

from feedgym.agents.slate_policy import Served, marginals_of
from feedgym.env.log import ImpressionLog

TOGETHER = 1024
"""Visits, about: more take longer in no cache, fewer are not worth the calls."""


class LoggedMarginals:
    """What is owed to a log.

    Args:
        log: whose columns are filled in, a part's before it is written.
    """

    def __init__(self, log: ImpressionLog) -> None:
        self._log = log
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
        found = marginals_of(self._waiting)
        if self._num_visits:
            self._log.amend(self._num_visits, found._asdict())
        self._waiting, self._num_visits = [], 0
