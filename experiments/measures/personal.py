"""Are the scores personal? Each visitor's own list against one list for all who visit in the tick.

At some ticks, after the agent has acted and before readers respond, its scores of the live articles are held against
the simulator's truth: chance of a click times expected minutes, at examination 1, with what the reader's past does to
both (docs/mathematics.md 4.7). The correlation is of what is left without each article's and each reader's own level;
the gain compares lists in expected minutes. Popular articles are good for everybody: they count in neither.

No state changes, and nothing is drawn that moves a run. Shapes: n visits of a tick, N live articles, K positions.
"""

from typing import Any, NamedTuple

import numpy as np

from feedgym.agents.agent import Agent, Linked, Scoring
from feedgym.env.arrays import AnyArray, Bools, Doubles, Ints
from feedgym.env.feed import Feed, Visits
from feedgym.env.readers import Expecting
from feedgym.experiments.measures.regret import best_columns
from feedgym.experiments.measures.some_visits import stream, visits_at

FEWEST = 8
"""Visits of a tick that is looked at. Of fewer, one list for all is nearly everybody's own."""
MOST = 64
"""Visits of a tick that are looked at: drawn where there are more."""
NEW_VISITS = 3
"""A reader is new on so many first visits."""
_NOISE = 1e-6
"""A personal part whose spread is below this share of the scores' own is what float32 has rounded."""


class Window(NamedTuple):
    """A part of a run, in simulated days."""

    name: str
    start: float
    end: float


WINDOWS = (Window("day_3", 2.0, 3.0), Window("day_7", 5.5, 7.0), Window("day_14", 12.5, 14.0))
"""The first days, the first week, and later."""
LAST_THIRD = "last_third"
"""Name of the window of a run that goes on after its last one of ``WINDOWS``."""
WINDOW_NAMES = (*(window.name for window in WINDOWS), LAST_THIRD)


def windows_of(days: float) -> tuple[Window, ...]:
    """Those of ``WINDOWS`` that a run of ``days`` has whole, and its last third where it goes on after them."""
    whole = tuple(window for window in WINDOWS if window.end <= days)
    goes_on = not whole or whole[-1].end < days
    return (*whole, Window(LAST_THIRD, days * 2.0 / 3.0, days)) if goes_on else whole


class Lists(NamedTuple):
    """What one tick came to. A row of :class:`Personal`'s sums, behind its time and its visits."""

    correlation: float
    """Of the personal parts of scores and truth; 0 where one of them has none."""
    own: float
    """Expected minutes of each visitor's own list, summed over visits."""
    one: float
    """The same of the one list for all."""
    own_new: float
    """Expected minutes of their own lists, of the visitors who are new alone."""
    one_new: float
    """The same of the one list for all, chosen for all visitors."""
    differs: float
    """1 where scores are not the same for every visitor, else 0."""


def personal_part(values: Doubles) -> Doubles:
    """Values (n, N) less each row's mean and each column's, and with the whole mean again."""
    centred = values - values.mean(axis=1, keepdims=True)
    part: Doubles = centred - centred.mean(axis=0)
    return part


def own_against_one(score: Doubles, truth: Doubles, slate_size: int, is_new: Bools) -> Lists:
    """Compare personal parts, and the lists of the ``min(K, N)`` best articles.

    Args:
        score: of the agent, on the scale of what it foretells, float64 (n, N), finite.
        truth: expected minutes of each article at examination 1, float64 (n, N).
        slate_size: K.
        is_new: whose visit is one of her first, (n,).

    Returns:
        The correlation over all n N entries, and the minutes of both lists. One list for all holds the articles of
        the largest mean score.
    """
    # In whatever order: at examination 1 positions are alike.
    one_list = best_columns(score.mean(axis=0)[None], slate_size)[0]
    of_one = truth[:, one_list].sum(axis=1)
    one, one_new = float(of_one.sum()), float(of_one[is_new].sum())
    if (score == score[0]).all():
        # The mean of equal numbers may round, and a tie break another way.
        return Lists(0.0, one, one, one_new, one_new, 0.0)
    of_own = np.take_along_axis(truth, best_columns(score, slate_size), axis=1).sum(axis=1)
    own, own_new = float(of_own.sum()), float(of_own[is_new].sum())
    return Lists(correlation(score, truth), own, one, own_new, one_new, 1.0)


def correlation(score: Doubles, truth: Doubles) -> float:
    """Correlation of the personal parts of (n, N) and (n, N), 0 where one of them has none."""
    parts = []
    for values in (score, truth):
        part, whole = personal_part(values), values - values.mean()
        # Sums, no BLAS: its products depend on the number of threads, and reports are compared byte for byte.
        size, spread = np.sqrt((part * part).sum()), np.sqrt((whole * whole).sum())
        if size <= _NOISE * spread:
            return 0.0
        parts.append(part / size)
    return float((parts[0] * parts[1]).sum())


class Personal:
    """Looks at an agent during a run, from each tick that it is told of on at the first with enough visits.

    Args:
        feed: the site; where its reader model does not say what it expects, nothing is measured.
        agent: who is looked at; nothing is measured of one that is not ``Scoring``.
    """

    def __init__(self, feed: Feed, agent: Agent) -> None:
        self._feed = feed
        self._scoring = agent if isinstance(agent, Scoring) else None
        self._linked = agent if isinstance(agent, Linked) else None
        self._expecting = feed.reader_model if isinstance(feed.reader_model, Expecting) else None
        self._rows: list[tuple[float, ...]] = []
        """Of each tick: hours, visits, and its :class:`Lists`."""
        self._day_start = 0
        """Where the day's rows begin."""
        self._is_due = False

    def before_serving(self, visits: Visits, is_due: bool) -> None:
        """After ``act``, at every tick.

        Args:
            visits: of the tick.
            is_due: look now or, where visits are too few, at the next tick of the day at which they are not.
        """
        self._is_due |= is_due
        if not self._is_due or len(visits) < FEWEST or self._scoring is None or self._expecting is None:
            return
        self._is_due = False
        some, catalogue, size = self._some(visits), self._feed.catalogue, self._feed.config.slate_size
        # Of no more articles than a list holds all lists are the same.
        score = self._scoring.score_all(some, catalogue) if len(catalogue) > size else None
        if score is None:
            return
        # Articles that no search finds yet are on nobody's list.
        found = np.flatnonzero(np.isfinite(score).all(axis=0))
        if len(found) <= size:
            return
        score = score[:, found]
        if self._linked is not None:
            score = self._linked.linked(score)
        chance, minutes = self._expecting.expected_response(
            self._feed.state, some.rows, catalogue.archive, catalogue.article_id[found], some.now
        )
        truth = chance.astype(np.float64) * minutes.astype(np.float64)
        is_new = some.visit < NEW_VISITS
        self._rows.append((some.now, float(len(some)), *own_against_one(score, truth, size, is_new)))

    def _some(self, visits: Visits) -> Visits:
        """At most ``MOST`` of the tick's visits, drawn from (seed, tick) alone."""
        if len(visits) <= MOST:
            return visits
        rows: Ints = np.sort(stream(self._feed.seed, 2, visits.tick).choice(len(visits), MOST, replace=False))
        return visits_at(visits, rows)

    def end_day(self) -> dict[str, float]:
        """The day's numbers, by TensorBoard tag; the next day starts empty."""
        rows, self._day_start, self._is_due = self._array()[self._day_start :], len(self._rows), False
        if not _differs(rows):
            return {}
        return {personal_tag(name): value for name, value in _measured(rows).items()}

    def summary(self) -> dict[str, Any] | None:
        """Of the run, for JSON: by day, lists with None where nothing was measured, and by window.

        None where scores are the same for every reader at every tick, or nothing was measured at all.
        """
        rows = self._array()
        if not _differs(rows):
            return None
        hours, days = rows[:, 0], self._feed.config.days
        of_days = [_measured(rows[(hours >= 24.0 * d) & (hours < 24.0 * (d + 1))]) for d in range(int(np.ceil(days)))]
        windows = []
        for window in windows_of(days):
            inside = rows[(hours >= 24.0 * window.start) & (hours < 24.0 * window.end)]
            counts = {"ticks": len(inside), "visits": int(inside[:, 1].sum())}
            windows.append(window._asdict() | counts | _measured(inside))
        return {
            "visits": int(rows[:, 1].sum()),
            "days": {name: [day.get(name) for day in of_days] for name in PERSONAL},
            "windows": windows,
        }

    def snapshot(self) -> AnyArray:
        """What was found at each tick so far, float64 (ticks, 8)."""
        return self._array()

    def restore(self, rows: AnyArray) -> None:
        """Go on from the end of a day."""
        self._rows = [tuple(row) for row in rows.astype(np.float64).tolist()]
        self._day_start, self._is_due = len(self._rows), False

    def _array(self) -> Doubles:
        return np.array(self._rows, dtype=np.float64).reshape(-1, 2 + len(Lists._fields))


PERSONAL = ("correlation", "gain", "gain_new")
"""What is measured, by name: ``gain_new`` is the gain of new readers, on their first visits."""


def personal_tag(name: str) -> str:
    """TensorBoard tag of one of ``PERSONAL``."""
    return f"personal/{name}"


def _differs(rows: Doubles) -> bool:
    """Whether scores were a reader's own at one of these ticks."""
    return bool(rows[:, -1].any())


def _measured(rows: Doubles) -> dict[str, float]:
    """Each of ``PERSONAL`` over ticks, as far as it is defined: the mean by visits, and the ratio of sums less 1."""
    _, visits, each, own, one, own_new, one_new, _ = rows.T
    found: dict[str, float] = {}
    if visits.any():
        found["correlation"] = float(np.average(each, weights=visits))
    if one.sum() > 0:
        found["gain"] = float(own.sum() / one.sum() - 1.0)
    if one_new.sum() > 0:
        found["gain_new"] = float(own_new.sum() / one_new.sum() - 1.0)
    return found
