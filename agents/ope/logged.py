"""What a log gives to an estimator, and what it must be told of the target (docs/mathematics.md 2.3 and 2.4).

Shapes: n visits, K positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feedgym.env.arrays import AnyArray, Bools, Doubles, Ints, rows_of
from feedgym.env.checks import require


@dataclass(frozen=True, kw_only=True)
class LoggedSlates:
    """Slates as they were served, a row for each visit; propensities are of the policy that served.

    Without ``epsilon``, ``greedy``, ``num_live`` or ``made_hours`` (a site's own log) less can be checked.
    """

    reader_id: Ints
    """int64 (n,)."""
    article_id: Ints
    """int64 (n, K); -1 pads."""
    reward: Doubles
    """Of each position, float64 (n, K); 0 where nothing was shown. A part that is paid for the visit as a whole (a
    subscription) belongs to the last position, for ``sips`` and the cascades; ``iips`` has no place for it."""
    slot_propensity: Doubles
    """``q_k``, float64 (n, K), in (0, 1]; 1 at padding."""
    slot_marginal: Doubles | None = None
    """``m_k(a_k)``, float64 (n, K), in (0, 1]; 1 at padding."""
    inclusion: Doubles | None = None
    """``i(a_k)``, float64 (n, K), in (0, 1]; 1 at padding."""
    epsilon: Doubles | None = None
    """Share of uniform exploration, float64 (n,)."""
    greedy: Bools | None = None
    """Whether the slate was the K best, bool (n,)."""
    num_live: Ints | None = None
    """N when the slate was made, int64 (n,): of a page of a list drawn ahead, those of them that are live still."""
    made_hours: Doubles | None = None
    """When the slate was made (not shown), hours, float64 (n,)."""
    shown_hours: Doubles | None = None
    """When it was shown, where it was made ahead, hours, float64 (n,)."""
    slate_id: Ints | None = None
    """Which slate, int64 (n,): batch serving may show one in several visits."""
    estimated: bool = False
    """Whether the propensities are estimates, not what served."""

    def __post_init__(self) -> None:
        n, _ = shape = _shape(self.article_id)
        for name in ("reader_id", "epsilon", "greedy", "num_live", "made_hours", "shown_hours", "slate_id"):
            _fits(name, getattr(self, name), (n,))
        _fits("reward", self.reward, shape)
        require(bool(np.isfinite(self.reward).all()), "reward", _first_bad(self.reward), "finite numbers")
        for name in ("slot_propensity", "slot_marginal", "inclusion"):
            _fits(name, getattr(self, name), shape)
            _chances(name, getattr(self, name), "in (0, 1]: what was logged had a chance", positive=True)
        if self.epsilon is not None:
            _chances("epsilon", self.epsilon, "in [0, 1]", positive=False)

    @property
    def num_visits(self) -> int:
        """How many visits there are."""
        return len(self.article_id)

    def select(self, rows: npt.ArrayLike) -> LoggedSlates:
        """Some of the visits: row numbers, or bool (n,).

        Choose by what was known before the slate was drawn (the reader, the time, epsilon), never by what it was.
        """
        return rows_of(self, np.asarray(rows))

    def first_visits(self) -> Ints:
        """Rows of the first visit of each slate, rising: the only ones for estimators (docs/mathematics.md 2.7).

        The rows of a log stand in order of time. All of them, if the log has no ``slate_id``.
        """
        if self.slate_id is None:
            return np.arange(self.num_visits)
        return first_rows(self.slate_id)


@dataclass(frozen=True, kw_only=True)
class TargetPropensities:
    """The target policy's chances of the logged slates, at the logged moments. 0 is allowed: it would not show them."""

    slot_propensity: Doubles
    """``q_k^pi``, float64 (n, K), in [0, 1]; 1 at padding."""
    slot_marginal: Doubles | None = None
    """``m_k^pi(a_k)``, float64 (n, K)."""
    inclusion: Doubles | None = None
    """``i_pi(a_k)``, float64 (n, K)."""
    pseudo_inverse: Doubles | None = None
    """Weights of ``pseudo_inverse_weights``, float64 (n,)."""
    num_live: Ints | None = None
    """N with which all of this was computed, int64 (n,)."""

    def __post_init__(self) -> None:
        shape = _shape(self.slot_propensity)
        for name in ("slot_propensity", "slot_marginal", "inclusion"):
            _fits(name, getattr(self, name), shape)
            _chances(name, getattr(self, name), "in [0, 1]", positive=False)
        _fits("pseudo_inverse", self.pseudo_inverse, shape[:1])
        _fits("num_live", self.num_live, shape[:1])

    def select(self, rows: npt.ArrayLike) -> TargetPropensities:
        """As :meth:`LoggedSlates.select`."""
        return rows_of(self, np.asarray(rows))


@dataclass(frozen=True, kw_only=True)
class ModelValues:
    """A reward model's values ``Q_k``: the reward from slot k to the end, under the target (``cascade``)."""

    q: Doubles
    """Of what was logged, float64 (n, K); 0 at padding."""
    q_pi: Doubles
    """Mean over the target's slot k, given the logged articles above, float64 (n, K); 0 at padding. Its first column
    is the model's value of the target's whole slate: the direct method."""
    slot_q: Doubles | None = None
    """The model's reward of each logged position alone, float64 (n, K); 0 at padding."""
    slot_q_pi: Doubles | None = None
    """Its mean over what the target puts at that position, whatever stands above, float64 (n, K); 0 at padding."""

    def __post_init__(self) -> None:
        shape = _shape(self.q)
        for name in ("q_pi", "slot_q", "slot_q_pi"):
            _fits(name, getattr(self, name), shape)

    def select(self, rows: npt.ArrayLike) -> ModelValues:
        """As :meth:`LoggedSlates.select`."""
        return rows_of(self, np.asarray(rows))


def first_rows(slate_id: Ints) -> Ints:
    """The row in which each slate stands first, rising, of slates (n,) in order of time."""
    _, first = np.unique(slate_id, return_index=True)
    return np.sort(first).astype(np.int64)


def _shape(array: AnyArray) -> tuple[int, int]:
    require(array.ndim == 2 and array.size > 0, "slates", array.shape, "(n, K) with visits and positions")
    return (array.shape[0], array.shape[1])


def _fits(name: str, array: AnyArray | None, shape: tuple[int, ...]) -> None:
    if array is not None:
        require(array.shape == shape, name, array.shape, f"shape {shape}")


def _chances(name: str, array: Doubles | None, allowed: str, *, positive: bool) -> None:
    if array is None:
        return
    # Written so that NaN is bad as well. A chance may exceed 1 by rounding.
    good = (array > 0 if positive else array >= 0) & (array <= 1.0 + 1e-9)
    if not good.all():
        row = int(np.argmax(~good.reshape(len(array), -1).all(axis=1)))
        require(False, name, f"{array[row]} in row {row}", allowed)


def _first_bad(array: Doubles) -> object:
    bad = array[~np.isfinite(array)]
    return bad[0] if len(bad) else None
