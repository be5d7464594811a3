"""The order of answers: by falling score, ties to the smaller article id. The same for every index.

Letters: B queries, k articles wanted, w candidates.
"""

import sys

import numpy as np
import numpy.typing as npt

from feedgym.env.arrays import Floats, Ints

_ID, _SCORE = (0, 1) if sys.byteorder == "little" else (1, 0)
"""Which half of a key is which: the score is the more significant one."""

_ZERO = np.float32(0)


def nothing(num_queries: int, k: int) -> tuple[Floats, Ints]:
    """Scores and ids (B, k) where there is nothing to find: -inf and -1."""
    return np.full((num_queries, k), -np.inf, dtype=np.float32), np.full((num_queries, k), -1, dtype=np.int64)


def best(scores: Floats, ids: Ints, k: int) -> tuple[Ints, Floats]:
    """The k candidates of each row that come first, ids (B, k) and scores (B, k), padded with -1 and -inf.

    Rows that stand in order as they are, without ties, are left alone: faiss sorts, and few near ties change places
    when they are scored exactly.

    Args:
        scores: float32 (B, w), without NaN; -inf marks what is no candidate.
        ids: article ids int64 (B, w), -1 where the score is -inf.
        k: articles wanted.
    """
    scores = scores + _ZERO  # -0.0 and 0.0 are a tie, and come out as 0.0
    width = min(k, scores.shape[1])
    falls = scores[:, :-1] > scores[:, 1:]
    first, found = ids[:, :width], scores[:, :width]
    if np.count_nonzero(falls) < falls.size:  # in single queries half as long as falls.all()
        unordered = ~falls.all(axis=1)
        first, found = first.copy(), found.copy()
        first[unordered], found[unordered] = sort_by_score(scores[unordered], ids[unordered], width)
    if width < k:
        padding = ((0, 0), (0, k - width))
        return np.pad(first, padding, constant_values=-1), np.pad(found, padding, constant_values=-np.inf)
    return np.ascontiguousarray(first), np.ascontiguousarray(found)


def sort_by_score(scores: Floats, ids: Ints, k: int) -> tuple[Ints, Floats]:
    """The first k of each row by (-score, id): ids (B, k) and scores (B, k), from (B, w); k <= w.

    Score and id are packed into one integer, the bits of the negated score (made monotone, IEEE 754) above those of
    the id: a plain integer sort is 8 times faster than ``lexsort``, and gives both back.
    """
    halves = np.empty((*scores.shape, 2), dtype=np.int32)
    halves[..., _ID] = ids
    halves[..., _SCORE] = _flip((0 - scores).view(np.int32))  # 0 - x, not -x: -0.0 and 0.0 are a tie
    keys = halves.view(np.int64)[..., 0]
    if keys.shape[1] > 2 * k:
        keys = np.partition(keys, k - 1, axis=1)[:, :k]
    halves = np.sort(keys, axis=1)[:, :k].copy().view(np.int32).reshape(len(keys), k, 2)
    return halves[..., _ID].astype(np.int64), 0 - _flip(halves[..., _SCORE]).view(np.float32)


def _flip(bits: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Bits of a float32 as an integer in the same order as the float, and back: its own inverse."""
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
