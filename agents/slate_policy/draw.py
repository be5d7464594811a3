"""What slates are drawn from: one record inside, made and checked from arrays at the public border.

Shapes: B visits, M columns of a shortlist (-1 pads), N live articles, K positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feedgym.env.arrays import AnyArray, Bools, Doubles, Ints, rows_of
from feedgym.env.checks import require


@dataclass(frozen=True)
class Draw:
    """What the slates of B visits are drawn from: everything that their chances depend on, rules apart."""

    logits: Doubles
    """float64 (B, M), nats, after temperature and every adjustment; ignored where the shortlist is padded."""
    shortlist: Ints
    """int64 (B, M), distinct article ids in a row; -1 pads."""
    num_live: int | Ints
    """N, of all visits or (B,). The ids themselves are needed to draw, not to say how likely a slate is."""
    epsilon: float | Doubles
    """Chance that a visit explores, with a uniform slate of all N, of all visits or (B,)."""
    slate_size: int
    """K"""
    greedy: bool | Bools = False
    """The K best by logit instead of a draw, of all visits or (B,)."""

    @classmethod
    def of(
        cls,
        logits: npt.ArrayLike,
        shortlist: npt.ArrayLike,
        num_live: npt.ArrayLike,
        epsilon: npt.ArrayLike,
        slate_size: int,
        *,
        check: bool = True,
    ) -> Draw:
        """From arrays as callers have them, checked; float32 logits are widened.

        Args:
            logits: float (B, M), ``<u, v> / T`` after every adjustment. -inf means that only a visit that explores may
                show the article. With ``epsilon = 1`` no logits are needed: shape (B, 0).
            shortlist: integer (B, M); -1 pads, and only -1.
            num_live: N >= 1, a scalar or (B,).
            epsilon: a scalar or (B,), within [0, 1].
            slate_size: K >= 1.
            check: also sort every row to find repeated articles, O(B M log M).

        Raises:
            ValueError: what does not fit, naming the argument and the first bad row.
        """
        scores, listed = as_shortlist(logits, shortlist, check=check)
        check_slate_size(slate_size)
        rows = len(listed)
        return cls(scores, listed, _as_num_live(num_live, rows), _as_epsilon(epsilon, rows), slate_size)

    def __len__(self) -> int:
        """Visits, B."""
        return len(self.shortlist)

    @property
    def shortlist_size(self) -> Ints:
        """M without padding, (B,)."""
        count: Ints = np.count_nonzero(self.shortlist >= 0, axis=1)
        return count

    @property
    def all_greedy(self) -> bool:
        """None of them is drawn."""
        return bool(np.all(self.greedy))

    def rows(self, which: Ints | Bools) -> Draw:
        """Of some visits, by number or mask; a visit may come several times."""
        return rows_of(self, which)

    @classmethod
    def joined(cls, draws: Sequence[Draw]) -> Draw:
        """Of the visits of several, one after the other; shortlists padded to one width."""
        lengths = [len(draw) for draw in draws]
        width = max(draw.shortlist.shape[1] for draw in draws)
        logits, shortlist = np.zeros((sum(lengths), width)), np.full((sum(lengths), width), -1, dtype=np.int64)
        end = 0
        for draw in draws:
            start, end, columns = end, end + len(draw), draw.shortlist.shape[1]
            logits[start:end, :columns], shortlist[start:end, :columns] = draw.logits, draw.shortlist

        def each(values: Sequence[npt.ArrayLike]) -> AnyArray:
            """One value a visit."""
            return np.concatenate([np.broadcast_to(value, n) for value, n in zip(values, lengths, strict=True)])

        return cls(
            logits,
            shortlist,
            each([draw.num_live for draw in draws]),
            each([draw.epsilon for draw in draws]),
            max(draw.slate_size for draw in draws),
            each([draw.greedy for draw in draws]),
        )


def as_shortlist(logits: npt.ArrayLike, shortlist: npt.ArrayLike, *, check: bool) -> tuple[Doubles, Ints]:
    """Check the shapes of logits (B, M) and shortlist (B, M); bring them to float64 and int64.

    Args:
        logits: float array; float32 is widened.
        shortlist: integer array; -1 pads, and only -1.
        check: also sort every row to find repeated articles, O(B M log M).
    """
    scores, listed = np.asarray(logits), as_ids(shortlist, "shortlist", 2)
    require(scores.dtype.kind == "f", "logits", scores.dtype, "a float array")
    require(scores.shape == listed.shape, "logits", scores.shape, f"the shortlist's shape {listed.shape}")
    if check and listed.shape[1] > 1:
        ordered = np.sort(listed, axis=1)
        repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
        refuse_rows(
            repeated.any(axis=1),
            "shortlist",
            lambda b: f"article {ordered[b, 1:][repeated[b]][0]} twice in row {b}",
            "distinct articles in a row",
        )
    return scores.astype(np.float64, copy=False), listed


def as_ids(ids: npt.ArrayLike, name: str, ndim: int) -> Ints:
    """Bring article ids of ``ndim`` axes to int64; -1 is the only negative one."""
    array = np.asarray(ids)
    require(array.dtype.kind in "iu", name, array.dtype, "an integer array of article ids")
    require(array.ndim == ndim, name, array.shape, f"{ndim} axes")
    lowest = int(array.min(initial=0))
    require(lowest >= -1, name, lowest, "article ids >= 0, or -1 for none")
    return array.astype(np.int64, copy=False)


def check_slate_size(slate_size: int) -> None:
    """Refuse what is no number of positions."""
    whole = isinstance(slate_size, int | np.integer) and not isinstance(slate_size, bool)
    require(whole and slate_size >= 1, "slate_size", slate_size, "an integer >= 1")


def _as_epsilon(epsilon: npt.ArrayLike, num_rows: int) -> Doubles:
    """Epsilon as float64 (B,), from a scalar or (B,), each within [0, 1]."""
    array = np.asarray(epsilon, dtype=np.float64)
    require(array.shape in ((), (num_rows,)), "epsilon", array.shape, f"a scalar or shape ({num_rows},)")
    outside = ~((array >= 0) & (array <= 1))
    require(not outside.any(), "epsilon", array[outside].tolist()[:1], "0 <= epsilon <= 1")
    return np.broadcast_to(array, (num_rows,))


def _as_num_live(num_live: npt.ArrayLike, num_rows: int) -> Ints:
    """The number of live articles as int64 (B,), from a scalar or (B,), each at least 1."""
    array = np.asarray(num_live)
    require(array.dtype.kind in "iu", "num_live", array.dtype, "an integer or integers")
    require(array.shape in ((), (num_rows,)), "num_live", array.shape, f"a scalar or shape ({num_rows},)")
    lowest = int(array.min(initial=1))
    require(lowest >= 1, "num_live", lowest, ">= 1 live article")
    return np.broadcast_to(array.astype(np.int64), (num_rows,))


def refuse_rows(
    bad: Bools | np.bool_,
    name: str,
    seen: Callable[[int], str],
    allowed: str,
    detail: Callable[[int], str] = lambda b: "",
) -> None:
    """Raise ``ValueError`` about the first row of ``bad`` (B,) that is True; the texts are made only then."""
    if bad.any():
        row = int(bad.argmax())
        require(False, name, seen(row), allowed + detail(row))
