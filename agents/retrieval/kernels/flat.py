"""Flat search: which rows of an array have the largest inner products, up to rounding.

Letters: B queries, n rows, k rows wanted, d coordinates.
"""

from typing import Any

import faiss
import numpy as np

from feedgym.env.arrays import Floats, Ints

_faiss: Any = faiss  # its stubs do not know all that is used here

_FEW_ROWS = 4096
"""Up to so many rows a matrix product and numpy's partition are faster in batches than faiss: .5 of its time at 1,000
and 2,000 rows, .65 at 4,000, .8 at 8,000; faiss spends its time keeping the k best there."""
BLAS_FROM = 8
"""Queries from which matrix products pay: the measured crossover."""
_BLOCK = 1 << 20
"""Products kept at a time (4 MiB)."""


def largest_products(queries: Floats, vectors: Floats, k: int, threads: int) -> tuple[Floats, Ints]:
    """The k rows of largest inner product with each query, in any order.

    Args:
        queries: float32 (B, d), C-contiguous.
        vectors: float32 (n, d), C-contiguous.
        k: from 1 to n.
        threads: of faiss. Matrix products of numpy have those of its BLAS.

    Returns:
        The smallest of the k products, up to rounding, (B,), and the rows int64 (B, k).
    """
    if len(queries) < BLAS_FROM or len(vectors) > _FEW_ROWS:
        return _by_faiss(queries, vectors, k, threads)
    least: Floats = np.empty(len(queries), dtype=np.float32)
    rows: Ints = np.empty((len(queries), k), dtype=np.int64)
    step = max(1, _BLOCK // len(vectors))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        products = queries[part] @ vectors.T
        first = len(vectors) - k
        rows[part] = np.argpartition(products, first, axis=1)[:, first:]
        least[part] = np.take_along_axis(products, rows[part, :1], axis=1)[:, 0]  # where the partition is cut
    return least, rows


def use_blas_from(num_queries: int, dim: int) -> None:
    """Set, for all of faiss, from how many queries on its flat searches take BLAS. It is set before each of them.

    faiss >= 1.15 avoids BLAS while B d < 128000: 3.8 times slower at 64 queries of 100k articles (docs/mathematics.md
    7.4, trap 2). Older versions have no such global, and take BLAS from 20 queries on.
    """
    if hasattr(faiss.cvar, "distance_compute_blas_threshold"):
        faiss.cvar.distance_compute_blas_threshold = min(num_queries * dim, 1 << 30)


def _by_faiss(queries: Floats, vectors: Floats, k: int, threads: int) -> tuple[Floats, Ints]:
    """What ``faiss.knn`` calls, without its checks."""
    faiss.omp_set_num_threads(threads)
    use_blas_from(BLAS_FROM, vectors.shape[1])
    scores: Floats = np.empty((len(queries), k), dtype=np.float32)
    rows: Ints = np.empty((len(queries), k), dtype=np.int64)
    pointers = [faiss.swig_ptr(array) for array in (queries, vectors, scores, rows)]
    _faiss.knn_inner_product(*pointers[:2], vectors.shape[1], len(queries), len(vectors), k, *pointers[2:])
    return scores[:, -1], rows
