"""Oracles that serve one list to all: how far one gets who knows every parameter and tells no reader from another.

``one-list-now`` ranks by the minutes that an article is expected to bring at once, ``one-list-planning`` by those and
what opening it does to the readers' next visits. They are the references of what learns planning without learning
tastes: an agent above them has found what is personal.
Shapes: n visits, N live articles, S readers of the sample. Time is in hours.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from feedgym.agents.baselines.oracles import best_slates, expecting
from feedgym.agents.slate_policy import Served
from feedgym.env.arrays import Arrays, Doubles, Ints, copied, put_back
from feedgym.env.checks import require
from feedgym.env.feed import SESSION_HOURS, Catalogue, Feed, Visits
from feedgym.env.readers import Attracting, Outcome

Aim = Literal["now", "planning"]
_MEMORY_HOURS = 48.0
"""Time constant of the mean minutes of a session: they follow what is served, and two days even out the hours."""
_SAMPLED_EVERY_HOURS = 24.0
_KEPT = ("_sample", "_sampled_day", "_minutes", "_sessions", "_counted")


@dataclass(frozen=True, kw_only=True)
class OneListConfig:
    """For whom the one list is the best."""

    sample_readers: int = 128
    """S: readers over whom expected minutes are averaged, drawn evenly each day from those who have not left. All
    readers would do as well and cost more, the visitors of one tick are too few: their mean is nearly their own."""

    def __post_init__(self) -> None:
        """Check."""
        require(self.sample_readers >= 1, "sample_readers", self.sample_readers, ">= 1")


class OneListAgent:
    """Serves every visitor of a tick the K articles of highest mean value over a sample of the readers.

    The value of an article to a reader is the chance of a click times the expected minutes, with what her past does to
    both; ``planning`` adds to the minutes ``m`` times the article's ``return_pull``, with ``m`` the mean minutes of a
    session so far. (A gap that is shorter by a share d saves d gaps, each of which holds a session.)

    Args:
        feed: whose latents are seen.
        aim: ``now`` or ``planning``.
        config: size of the sample.
    """

    is_oracle = True

    def __init__(self, feed: Feed, aim: Aim, config: OneListConfig | None = None) -> None:
        self._feed, self._model = feed, expecting(feed)
        self._config = config or OneListConfig()
        self._pull: Attracting | None = None
        if aim == "planning":
            model = feed.reader_model
            if not isinstance(model, Attracting):
                raise ValueError(
                    f"reader_model: got {type(model).__name__}, needs a method return_pull for an oracle that plans; "
                    "leave it out of this comparison, or add it"
                )
            self._pull = model
        self._sample: Ints = np.zeros(0, dtype=np.int64)
        self._sampled_day = -1
        self._minutes, self._sessions = 0.0, 0.0
        """Sums over sessions, fading with the time constant, as of hour ``_counted``."""
        self._counted = 0.0
        self._begun, self._now = 0, 0.0
        """Of the latest ``act``: sessions that its visits began, and when."""

    def act(self, visits: Visits, catalogue: Catalogue) -> Served:
        """The same slate for each visitor."""
        self._now = visits.now
        self._begun = int(np.count_nonzero((visits.visit == 0) | (visits.gap_hours >= SESSION_HOURS)))
        day = int(visits.now // _SAMPLED_EVERY_HOURS)
        if day != self._sampled_day:
            self._sample, self._sampled_day = self._drawn(), day
        n, live = len(visits), catalogue.article_id
        score = self._score(live, visits.now) if n and len(live) else np.zeros(len(live))
        return best_slates(np.broadcast_to(score, (n, len(live))), live, self._feed.config.slate_size)

    def _drawn(self) -> Ints:
        """Rows of at most S readers who have not left, evenly spaced: the one pass over all readers, once a day."""
        there = np.flatnonzero(~self._feed.has_left)
        size = min(self._config.sample_readers, len(there))
        rows: Ints = there[(np.arange(size) * len(there)) // max(size, 1)]
        return rows

    def _score(self, live: Ints, now: float) -> Doubles:
        """Mean value of the live articles, float64 (N,)."""
        archive = self._feed.catalogue.archive
        click, minutes = self._model.expected_response(self._feed.state, self._sample, archive, live, now)
        worth = minutes.astype(np.float64)
        if self._pull is not None:
            worth += self._minutes_of_a_session * self._pull.return_pull(archive, live)
        score: Doubles = (click * worth).sum(axis=0) / max(len(click), 1)
        return score

    @property
    def _minutes_of_a_session(self) -> float:
        return self._minutes / self._sessions if self._sessions > 0.0 else 0.0

    def score_all(self, visits: Visits, catalogue: Catalogue) -> Doubles:
        """What it serves by, float64 (n, N), columns as ``catalogue.article_id``."""
        live = catalogue.article_id
        return np.broadcast_to(self._score(live, visits.now), (len(visits), len(live)))

    def learn(self, outcome: Outcome) -> None:
        """Count sessions and their minutes."""
        keep = float(np.exp((self._counted - self._now) / _MEMORY_HOURS))
        self._minutes = keep * self._minutes + float(outcome.dwell_minutes.sum(dtype=np.float64))
        self._sessions = keep * self._sessions + self._begun
        self._counted = self._now

    def metrics(self) -> dict[str, float]:
        """The mean minutes of a session, where they are used and there was one."""
        if self._pull is None or self._sessions == 0.0:
            return {}
        return {"minutes_per_session": self._minutes_of_a_session}

    def snapshot(self) -> Arrays:
        """The sample, and the sums over sessions."""
        return copied(self, _KEPT)

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        put_back(self, _KEPT, snapshot)
