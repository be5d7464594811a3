"""IVF: k-means cells, of which a query looks into the ``nprobe`` best (Sivic & Zisserman, ICCV 2003; faiss).

Cells are learned of the articles that were there, so that they are learned anew on schedule: see ``upkeep``.
Letters: B queries, n articles in the index, d coordinates.
"""

import math
from typing import Any

import faiss
import numpy as np

from feedgym.agents.retrieval.approximate import ApproximateIndex
from feedgym.agents.retrieval.kernels.checks import check_whole
from feedgym.agents.retrieval.kernels.flat import BLAS_FROM, use_blas_from
from feedgym.agents.retrieval.kernels.order import nothing
from feedgym.agents.retrieval.upkeep import Schedule
from feedgym.env.arrays import Arrays, Floats, Ints
from feedgym.env.checks import require

_faiss: Any = faiss  # its stubs do not know the constructors that take Python values
_ARTICLES_PER_CELL = 39
"""Below this k-means has too little to learn from, says faiss."""


def cells_of(num_articles: int) -> int:
    """Cells by size, ``nlist``: 26 for 1k articles, 256 for 10k, 1265 for 100k, 4k for 1M (docs/mathematics.md 7.1)."""
    return max(1, min(round(4 * math.sqrt(num_articles)), num_articles // _ARTICLES_PER_CELL))


class IvfFinder:
    """Cells of faiss, with float32 vectors or one byte per coordinate.

    Args:
        dim: d.
        nlist: cells; 0: by size, see :func:`cells_of`.
        nprobe: cells that a query looks into.
        quantised: keep one byte per coordinate (SQ8).
        search_threads: OpenMP threads of faiss in a search.
    """

    worn = False  # What is removed leaves its cell.

    def __init__(self, dim: int, nlist: int, nprobe: int, quantised: bool, search_threads: int) -> None:
        require(isinstance(nlist, int | np.integer) and nlist >= 0, "nlist", nlist, "an integer >= 0 (0: by size)")
        check_whole(nprobe, "nprobe")
        self._dim, self._nlist, self._nprobe = dim, nlist, nprobe
        self._quantised, self._threads = quantised, search_threads
        self._index: Any = None

    def build(self, ids: Ints, vectors: Floats) -> None:
        """Learn cells of these articles, and put them in."""
        self._index = None
        if len(ids) == 0:
            return
        nlist = min(self._nlist or cells_of(len(ids)), len(ids))
        cells, metric = faiss.IndexFlatIP(self._dim), faiss.METRIC_INNER_PRODUCT
        index: Any
        if self._quantised:
            index = _faiss.IndexIVFScalarQuantizer(
                cells, self._dim, nlist, faiss.ScalarQuantizer.QT_8bit, metric, False
            )
        else:
            index = _faiss.IndexIVFFlat(cells, self._dim, nlist, metric)
        index.nprobe = self._nprobe
        index.cp.seed = 0
        index.cp.min_points_per_centroid = 1  # else a warning on stderr where nlist is given
        faiss.omp_set_num_threads(1)
        use_blas_from(BLAS_FROM, self._dim)
        index.train(vectors)
        index.add_with_ids(vectors, ids)
        self._index = index

    def place(self, ids: Ints, vectors: Floats) -> None:
        """Put all articles into the cells there are, anew."""
        self._index.reset()
        self.add(ids, vectors)

    def add(self, ids: Ints, vectors: Floats) -> None:
        """Put articles into the cells there are."""
        if self._index is not None:
            faiss.omp_set_num_threads(1)
            use_blas_from(BLAS_FROM, self._dim)
            self._index.add_with_ids(vectors, ids)

    def remove(self, ids: Ints) -> None:
        """Take articles out of their cells."""
        if self._index is not None:
            self._index.remove_ids(ids)

    @property
    def scores_exactly(self) -> bool:
        """Not with one byte per coordinate."""
        return not self._quantised

    def find(self, queries: Floats, count: int) -> tuple[Floats, Ints]:
        """The best of the ``nprobe`` cells, scores (B, count) and ids (B, count)."""
        if self._index is None:
            return nothing(len(queries), count)
        faiss.omp_set_num_threads(self._threads)
        # BLAS would round a query's products with the cells by who else is in the batch, and near ties would change
        # which cells are looked into (docs/mathematics.md 7.3).
        use_blas_from(1 << 30, self._dim)
        found: tuple[Floats, Ints] = self._index.search(queries, count)
        return found

    def snapshot(self) -> Arrays:
        """Faiss's own bytes: cells, and what is in them in its order."""
        empty = np.zeros(0, dtype=np.uint8)
        return {"faiss": empty if self._index is None else faiss.serialize_index(self._index).copy()}

    def restore(self, state: Arrays) -> None:
        """Go back to a snapshot."""
        self._index = faiss.deserialize_index(state["faiss"]) if len(state["faiss"]) else None
        if self._index is not None:
            self._index.nprobe = self._nprobe


def ivf_index(
    dim: int,
    *,
    nlist: int = 0,
    nprobe: int = 64,
    retrain_share: float = 0.5,
    retrain_hours: float = math.inf,
    recall_drop: float = 0.02,
    search_threads: int = 1,
) -> ApproximateIndex:
    """Make an empty IVF index: 1.5 to 5 times faster than exact search from 100k articles on (docs/mathematics.md 7.1).

    Args:
        dim: d.
        nlist: cells; 0: by size.
        nprobe: cells looked into. 64 found .96 of the top 100 at 10k and 100k articles, .92 at 1M (256: .99).
        retrain_share: learn cells anew when so much of the catalogue has changed, see ``Schedule``.
        retrain_hours: and after so many hours,
        recall_drop: and when recall on the latest queries has fallen by this.
        search_threads: OpenMP threads of faiss.
    """
    finder = IvfFinder(dim, nlist, nprobe, False, search_threads)
    schedule = Schedule(retrain_share=retrain_share, retrain_hours=retrain_hours, recall_drop=recall_drop)
    return ApproximateIndex(dim, finder, schedule, search_threads=search_threads)


def ivf_sq8_index(
    dim: int,
    *,
    nlist: int = 0,
    nprobe: int = 64,
    rescored: int = 4,
    retrain_share: float = 0.5,
    retrain_hours: float = math.inf,
    recall_drop: float = 0.02,
    search_threads: int = 1,
) -> ApproximateIndex:
    """Make an empty IVF index of one byte per coordinate; ``rescored`` times k candidates are scored exactly.

    The exact vectors stay, for those scores: 5 bytes per coordinate in all, where ``ivf`` takes 8. Other arguments are
    those of :func:`ivf_index`.
    """
    check_whole(rescored, "rescored")
    finder = IvfFinder(dim, nlist, nprobe, True, search_threads)
    schedule = Schedule(retrain_share=retrain_share, retrain_hours=retrain_hours, recall_drop=recall_drop)
    return ApproximateIndex(dim, finder, schedule, rescored=rescored, search_threads=search_threads)
