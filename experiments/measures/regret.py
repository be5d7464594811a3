"""Local regret: what the oracle's slate would have paid at the agent's own states, minus what the agent's is to pay.

Both in expected reward, so that neither luck nor what the oracle would have made of the reader comes in
(docs/mathematics.md 4.5 a). The other comparison with an oracle, run minus run, is the gap (``regret_report``).
Shapes: n visits, N live articles, K positions.
"""

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Doubles, Ints
from feedgym.env.config import RewardConfig
from feedgym.env.feed import Feed, Visits
from feedgym.env.readers import CascadeReader, Expecting, NewsReader, ReaderModel


def expected_slate_reward(click: Doubles, worth: Doubles, examination: Doubles, stop: float = 0.0) -> Doubles:
    """Expected reward of slates whose positions are looked at from the top.

    ``sum_k mu_k worth_k prod_{j<k} (1 - stop mu_j)`` with ``mu = examination * click``: independent positions at
    ``stop = 0``, else the cascade (Guo, Liu & Wang, WSDM 2009, with one chance to stop for all positions).

    Args:
        click: chance of a click once examined, float64 (n, K); 0 where the position shows nothing.
        worth: expected reward of a click, float64 (n, K).
        examination: chance that a position is examined if the reader comes so far, float64 (n, K).
        stop: chance that a click is the visit's last, in [0, 1].

    Returns:
        float64 (n,), in units of the reward.
    """
    mu = examination * click
    on = np.cumprod(1.0 - stop * mu, axis=1)
    reached = np.concatenate([np.ones((len(mu), 1)), on[:, :-1]], axis=1)
    expected: Doubles = (mu * reached * worth).sum(axis=1)
    return expected


def examination_of(model: ReaderModel, state: Arrays, rows: Ints, slate_size: int) -> tuple[Doubles, float]:
    """Chance that each position is examined, float64 (n, K), and the chance that a click ends the visit.

    Of a reader model of the user's own nothing is known: all positions count as examined, for agent and oracle alike.
    """
    if not isinstance(model, NewsReader):
        return np.ones((len(rows), slate_size)), 0.0
    stop = model.stop if isinstance(model, CascadeReader) else 0.0
    if model.config.devices:
        return model.examination_by_device(slate_size).T[state["device"][rows]].astype(np.float64), stop
    return np.tile(model.examination(slate_size).astype(np.float64), (len(rows), 1)), stop


def best_columns(value: Doubles, slate_size: int) -> Ints:
    """Columns of the ``min(K, N)`` largest of each row of ``value`` (n, N), best first.

    The best slate where examination falls with position and depends on nothing else. In a cascade it is the order by
    which the oracle serves, which may be no longer the best for minutes.
    """
    order: Ints = np.argsort(-value, axis=1, kind="stable")[:, :slate_size]
    return order


def columns_of(slates: Ints, live: Ints) -> Ints:
    """Where slate entries (n, K) stand in ``live`` (N,), N >= 1; -1 where nothing is shown.

    That is: absent, not live, or already higher on the same slate.
    """
    order = np.argsort(live)
    place = np.minimum(np.searchsorted(live, slates, sorter=order), len(live) - 1)
    column = order[place]
    shown = live[column] == slates
    for position in range(1, slates.shape[1]):
        shown[:, position] &= ~(slates[:, :position] == slates[:, position, None]).any(axis=1)
    found: Ints = np.where(shown, column, -1)
    return found


def local_regret(feed: Feed, visits: Visits, slates: Ints) -> tuple[Doubles, Doubles]:
    """Expected reward of the agent's slates and of the oracle's, before they are served.

    Clicks and minutes by the run's weights; a subscription is not in it: what a slate does to it no reader model says.

    Args:
        feed: the site; its reader model has ``expected_response``.
        visits: of this tick, or some of them.
        slates: what the agent is about to serve them, int64 (n, K).

    Returns:
        The agent's and the oracle's, float64 (n,) each. Their difference is never negative, up to rounding, but in a
        cascade (see :func:`best_columns`).
    """
    model, live, weights = feed.reader_model, feed.catalogue.article_id, feed.config.reward
    assert isinstance(model, Expecting)
    response = model.expected_response(feed.state, visits.rows, feed.catalogue.archive, live, visits.now)
    click, minutes = (values.astype(np.float64) for values in response)
    worth = reward_of_click(weights, minutes)
    examination, stop = examination_of(model, feed.state, visits.rows, slates.shape[1])

    def expected(columns: Ints) -> Doubles:
        shown = columns >= 0
        chance = np.where(shown, np.take_along_axis(click, columns, axis=1), 0.0)
        return expected_slate_reward(
            chance, np.take_along_axis(worth, columns, axis=1), examination[:, : columns.shape[1]], stop
        )

    return expected(columns_of(slates, live)), expected(best_columns(click * worth, slates.shape[1]))


def reward_of_click(weights: RewardConfig, minutes: Doubles) -> Doubles:
    """Expected reward of a click that is read for ``minutes``, any shape."""
    worth: Doubles = weights.click + weights.dwell_minutes * minutes
    return worth


class LocalRegret:
    """Sums over the evaluated visits of a run. Checkpoints are never amid a day."""

    def __init__(self) -> None:
        # Of the agent's slates, of the oracle's, and visits.
        self._run: Doubles = np.zeros(3)
        self._day: Doubles = np.zeros(3)

    def add(self, agent: Doubles, oracle: Doubles) -> None:
        """Add visits: expected reward of the agent's and the oracle's slates, (n,) each."""
        self._day += (agent.sum(), oracle.sum(), len(agent))

    def end_day(self) -> float | None:
        """The day's local regret a visit; the next day starts empty. None where no visit was evaluated."""
        day, self._day = self._day, np.zeros(3)
        self._run += day
        return float((day[1] - day[0]) / day[2]) if day[2] else None

    def summary(self) -> dict[str, float] | None:
        """Of the run, for JSON: visits, and expected reward a visit; None where nothing was evaluated."""
        agent, oracle, visits = self._run
        if not visits:
            return None
        names = {"visits": visits, "agent": agent / visits, "oracle": oracle / visits}
        return {name: float(value) for name, value in names.items()} | {"local": float((oracle - agent) / visits)}

    def snapshot(self) -> AnyArray:
        """Sums of the days that have ended, (3,)."""
        return self._run.copy()

    def restore(self, sums: AnyArray) -> None:
        """Go on from the end of a day."""
        self._run, self._day = sums.astype(np.float64), np.zeros(3)
