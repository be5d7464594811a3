"""Exact scores of candidates, row by row: they do not depend on who else is in the batch (docs/mathematics.md 7.3).

In two ways, which differ in the order of a sum of d products and nothing else: ``row_scores`` is numpy's, of exact
search; ``faiss_scores`` is the kernel with which faiss scans lists. Approximate indexes use the second: what
faiss has already computed from the very same vectors then need not be computed again.
Letters: B queries, w candidates of a query, n rows of the store, d coordinates.
"""

from typing import Any

import faiss
import numpy as np

from feedgym.env.arrays import Floats, Ints

_faiss: Any = faiss  # its stubs do not know all that is used here

_BLOCK = 1 << 19
"""Floats gathered at a time (2 MiB): memory does not grow with B w d. From 256 KiB on the time is the same."""


def row_scores(queries: Floats, vectors: Floats, slots: Ints) -> Floats:
    """Inner products of each query with its own candidates: the same bytes whatever else is in the batch.

    Not a matrix product: BLAS rounds by the shape of the batch (docs/mathematics.md 7.3).

    Args:
        queries: float32 (B, d), C-contiguous: ``einsum`` adds up in the order of the memory.
        vectors: float32 (n, d).
        slots: rows of ``vectors``, (B, w), each from 0 to n - 1.

    Returns:
        float32 (B, w).
    """
    scores: Floats = np.empty(slots.shape, dtype=np.float32)
    step = max(1, _BLOCK // max(1, slots.shape[1] * vectors.shape[1]))
    if len(slots) <= step:
        np.einsum("bd,bwd->bw", queries, vectors.take(slots, axis=0), out=scores)
        return scores
    room: Floats = np.empty((step, slots.shape[1], vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(slots), step):
        part = slots[start : start + step]
        # mode="clip": with "raise" numpy would gather into room of its own first. All slots are in range.
        gathered = vectors.take(part, axis=0, out=room[: len(part)], mode="clip")
        np.einsum("bd,bwd->bw", queries[start : start + step], gathered, out=scores[start : start + step])
    return scores


def faiss_scores(queries: Floats, vectors: Floats, slots: Ints) -> Floats:
    """As :func:`row_scores`, by faiss: -inf for negative slots.

    Args:
        queries: float32 (B, d), C-contiguous.
        vectors: float32 (n, d), C-contiguous.
        slots: rows of ``vectors``, (B, w), below n.

    Returns:
        float32 (B, w).
    """
    scores: Floats = np.empty(slots.shape, dtype=np.float32)
    rows = np.ascontiguousarray(slots, dtype=np.int64)
    pointers = [faiss.swig_ptr(array) for array in (scores, queries, vectors, rows)]
    _faiss.fvec_inner_products_by_idx(*pointers, vectors.shape[1], *slots.shape)
    return scores
