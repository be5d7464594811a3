"""How often each article turns up in a batch row: log q for the sampling correction, under churn.

Per batch of B rows: q <- (1 - a) q + a count / B, over the live articles, summing to 1.

*Draws* are counted, not presence. Estimating from the gap between batches that hold the article (Yi et al.,
RecSys 2019, algorithm 2, with batches as its clock) saturates at one per batch: a story with q = .03 at B =
1024 comes out 30 times too rare, and the error of -3.4 lands in its score one to one. What is left here is
Jensen's bias, E[log q_hat] - log q ~ -a (1 - q) / (4 B q).
"""

import numpy as np
import numpy.typing as npt

from feedgym.towers.checks import require

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_FIRST_CAPACITY = 1024
_LARGEST_TOTAL = 1e100
_LEAST_MASS = 1e-200
"""Of the live total, far below any share that matters: keeps log q finite in runs of 100,000 batches."""


class FrequencyEstimator:
    """Running share of batch rows that each live article takes, numpy in and numpy out.

    Articles are known by ``add`` and leave by ``remove``. Ids are dense and growing (row of the archive);
    memory is 9 bytes for each article ever added, and grows by doubling.

    A removed article takes no part of the live total any more, but its mass stays readable and its draws
    still count for itself. So a batch that replays clicks on expired articles gets finite log q for them in
    the same unit as for live ones: their rate per live row. In a batch of live articles only, that is the
    rate per row. Else all log q are too large by the same log(rows / live rows): `nce` does not notice,
    `full` and mixed negatives notice a little; let a replay that never stops drawing expired articles call
    ``remove`` when they leave the replay instead.

    Args:
        rate: a, weight of the newest batch, in (0, 1). Memory is about 1 / a batches.
    """

    # q_i = mass_i / total. Instead of fading all masses, a batch's draws weigh total * a / (1 - a) / B: then
    # the total grows to total / (1 - a), which fades everybody, and an update costs O(B) instead of O(live
    # articles).

    def __init__(self, rate: float = 0.01) -> None:
        require(0 < rate < 1, "rate", rate, "a value in (0, 1)")
        self.rate = rate
        self._mass: Doubles = np.zeros(_FIRST_CAPACITY)  # 0: never added
        self._is_live = np.zeros(_FIRST_CAPACITY, dtype=np.bool_)
        self._total = 0.0
        self._num_live = 0

    @property
    def num_live(self) -> int:
        """Number of live articles, N_live of the mixed negatives."""
        return self._num_live

    def add(self, ids: Ints) -> None:
        """Let articles ``ids`` (m,) in, each at share 1 / N_live; the others give way in proportion.

        Raises:
            ValueError: if an id is negative, twice in ``ids``, or already live. An expired one may come back.
        """
        ids = _as_ids(ids)
        if len(ids) == 0:
            return
        self._reserve(int(ids.max()) + 1)
        self._refuse(ids, self._is_live[ids], "an article that is not live yet")
        require(len(np.unique(ids)) == len(ids), "ids", "an id twice", "different ids")
        # The mean of those already there: after the newcomers are counted in, it is exactly 1 / N_live.
        start = self._total / self._num_live if self._num_live else 1 / len(ids)
        self._mass[ids] = start
        self._is_live[ids] = True
        self._total += start * len(ids)
        self._num_live += len(ids)

    def remove(self, ids: Ints) -> None:
        """Drop expired articles ``ids`` (m,); the others share what they held.

        Raises:
            ValueError: if an id is not live or twice in ``ids``.
        """
        ids = _as_ids(ids)
        self._refuse_unknown(ids)
        self._refuse(ids, ~self._is_live[ids], "a live article")
        require(len(np.unique(ids)) == len(ids), "ids", "an id twice", "different ids")
        before = self._total
        self._is_live[ids] = False
        self._num_live -= len(ids)
        self._total = before - float(self._mass[ids].sum())
        if self._num_live == 0:
            self._mass /= before or 1.0  # the unit that `add` will start from
            self._total = 0.0
        elif self._total < 1e-6 * before:  # what is left of the subtraction may be rounding
            self._total = float(self._mass[self._is_live].sum())

    def update(self, ids: Ints) -> None:
        """Count one batch: ``ids`` int64 (B,), the article of each row, duplicates and all.

        Raises:
            ValueError: if an id was never added, or no article is live.
        """
        ids = _as_ids(ids)
        if len(ids) == 0:
            return
        self._refuse_unknown(ids)
        require(self._num_live > 0, "live articles", 0, "at least one, see add()")
        drawn, count = np.unique(ids, return_counts=True)
        gain = count * (self._total * self.rate / (1 - self.rate) / len(ids))
        self._mass[drawn] += gain
        self._total += float(gain[self._is_live[drawn]].sum())
        if self._total > _LARGEST_TOTAL:
            self._rescale()

    def log_q(self, ids: Ints) -> Doubles:
        """Log of each article's share of the batch rows, float64, in the shape of ``ids``. Always finite.

        Raises:
            ValueError: if an id was never added, or no article is live.
        """
        ids = np.asarray(ids, dtype=np.int64)
        self._refuse_unknown(ids.ravel())
        require(self._num_live > 0, "live articles", 0, "at least one, see add()")
        result: Doubles = np.log(self._mass[ids]) - np.log(self._total)
        return result

    def snapshot(self) -> dict[str, npt.NDArray[np.generic]]:
        """The complete state as plain arrays (copies)."""
        return {
            "mass": self._mass.copy(),
            "is_live": self._is_live.copy(),
            "total": np.array(self._total),
            "rate": np.array(self.rate),
        }

    def restore(self, state: dict[str, npt.NDArray[np.generic]]) -> None:
        """Go back to a ``snapshot``: what follows is the same, byte for byte."""
        self._mass = np.array(state["mass"], dtype=np.float64)
        self._is_live = np.array(state["is_live"], dtype=np.bool_)
        self._total = float(state["total"])
        self.rate = float(state["rate"])
        self._num_live = int(self._is_live.sum())

    def _rescale(self) -> None:
        known = self._mass > 0
        self._mass /= self._total
        self._mass[known] = np.maximum(self._mass[known], _LEAST_MASS)
        self._total = float(self._mass[self._is_live].sum())

    def _reserve(self, size: int) -> None:
        capacity = len(self._mass)
        if size <= capacity:
            return
        grow = max(2 * capacity, size) - capacity
        self._mass = np.concatenate([self._mass, np.zeros(grow)])
        self._is_live = np.concatenate([self._is_live, np.zeros(grow, dtype=np.bool_)])

    def _refuse_unknown(self, ids: Ints) -> None:
        inside = (ids >= 0) & (ids < len(self._mass))
        known = inside & (self._mass[np.where(inside, ids, 0)] > 0)
        self._refuse(ids, ~known, "an article that was added")

    @staticmethod
    def _refuse(ids: Ints, wrong: npt.NDArray[np.bool_], allowed: str) -> None:
        if wrong.any():
            raise ValueError(f"ids: got article {int(ids[wrong][0])}, needs {allowed}")


def _as_ids(ids: Ints) -> Ints:
    ids = np.asarray(ids, dtype=np.int64)
    require(ids.ndim == 1, "ids", ids.shape, "shape (m,)")
    require(len(ids) == 0 or int(ids.min()) >= 0, "ids", int(ids.min()) if len(ids) else None, ">= 0")
    return ids
