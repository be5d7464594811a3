"""Benchmark of retrieval: our exact slot array against bare faiss and numpy, and sampling against retrieval."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import faiss
import numpy as np

from feedgym.agents.retrieval import SlotArrayIndex
from feedgym.agents.slate_policy import sample_slates
from feedgym.env.arrays import Floats

DIM = 66
SHORTLIST = 100
SLATE_SIZE = 10


@dataclass(frozen=True, kw_only=True)
class RetrievalFigures:
    """CPU time for one batch of queries; ratios are medians over rounds, each against bare faiss in its round."""

    live: int
    batch: int
    faiss_ms: float
    """Bare ``faiss.knn`` through BLAS, CPU milliseconds."""
    ours: float
    """``SlotArrayIndex.search`` over bare faiss."""
    no_blas: float
    """faiss at its own threshold (no BLAS for small batches) over the same."""
    numpy: float
    """Matrix product and ``argpartition`` over the same."""
    sampling: float
    """Slates of 10 with all propensities from the shortlists, over the same."""


def measure(live: int, batch: int, rounds: int, seconds_each: float = 0.02) -> RetrievalFigures:
    """One size. Queries rotate, so that none is answered from the cache (docs/mathematics.md 7.4, trap 1).

    Args:
        live: articles in the index.
        batch: queries in a call.
        rounds: in which all ways of search take turns.
        seconds_each: CPU time, about, for which each of them is called in a round.
    """
    rng = np.random.default_rng(0)
    vectors: Floats = rng.standard_normal((live, DIM)).astype(np.float32)
    pool: Floats = rng.standard_normal((max(8 * batch, 64), DIM)).astype(np.float32)
    index = SlotArrayIndex(DIM)
    ids = np.arange(live, dtype=np.int64)
    index.add(ids, vectors)
    k = min(SHORTLIST, live)
    shortlist, scores = index.search(pool[:batch], k)
    z = (scores - scores.mean(axis=1, keepdims=True)).astype(np.float64)
    default = int(faiss.cvar.distance_compute_blas_threshold)

    def bare(queries: Floats) -> None:
        faiss.cvar.distance_compute_blas_threshold = 8 * DIM
        faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)

    def without_blas(queries: Floats) -> None:
        faiss.cvar.distance_compute_blas_threshold = 1 << 30
        faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)

    def in_numpy(queries: Floats) -> None:
        product = queries @ vectors.T
        best = np.argpartition(product, live - k, axis=1)[:, live - k :]
        np.take_along_axis(product, best, axis=1)

    tries: dict[str, Callable[[Floats], object]] = {
        "faiss": bare,
        "ours": lambda queries: index.search(queries, k),
        "no_blas": without_blas,
        "numpy": in_numpy,
        "sampling": lambda queries: sample_slates(rng, z, shortlist, ids, min(SLATE_SIZE, live), 0.05),
    }
    faiss.omp_set_num_threads(1)
    seconds: dict[str, list[float]] = {name: [] for name in tries}
    try:
        repeats = {}
        for name, call in tries.items():
            per_call(call, pool, batch, 1)  # first-time costs are not what is asked for
            repeats[name] = math.ceil(seconds_each / max(per_call(call, pool, batch, 1), 1e-6))
        for _ in range(rounds):
            for name, call in tries.items():
                seconds[name].append(per_call(call, pool, batch, repeats[name]))
    finally:
        faiss.cvar.distance_compute_blas_threshold = default
    ratio = {
        name: statistics.median(a / b for a, b in zip(seconds[name], seconds["faiss"], strict=True)) for name in tries
    }
    return RetrievalFigures(
        live=live,
        batch=batch,
        faiss_ms=1e3 * statistics.median(seconds["faiss"]),
        ours=ratio["ours"],
        no_blas=ratio["no_blas"],
        numpy=ratio["numpy"],
        sampling=ratio["sampling"],
    )


def per_call(call: Callable[[Floats], object], pool: Floats, batch: int, repeats: int) -> float:
    """CPU seconds of a call with ``batch`` queries of the pool, each time others."""
    start = time.process_time()
    for repeat in range(repeats):
        offset = (repeat * batch) % (len(pool) - batch + 1)
        call(pool[offset : offset + batch])
    return (time.process_time() - start) / repeats
