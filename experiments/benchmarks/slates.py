"""Benchmark of slates: sampling with all chances that the log keeps, against the retrieval that made the shortlists."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import faiss
import numpy as np

from feedgym.agents.retrieval import SlotArrayIndex
from feedgym.agents.slate_policy import Draw, sample_slates, slate_marginals
from feedgym.env.arrays import Floats
from feedgym.experiments.benchmarks.retrieval import per_call

DIM = 64
SHORTLIST = 200
SLATE_SIZE = 10
EPSILON = 0.05


@dataclass(frozen=True, kw_only=True)
class SlateFigures:
    """CPU time for one batch of visits; ratios are medians over rounds, each against retrieval in its round."""

    live: int
    batch: int
    logit_sd: float
    """Of the logits within a shortlist; trained agents reach 4, a span of 20 nats."""
    retrieval_ms: float
    """``SlotArrayIndex.search``, CPU milliseconds."""
    sampling: float
    """Slates with slot and joint propensities, over retrieval."""
    with_marginals: float
    """The same, and slot marginals, inclusion probabilities and ``t*``, over retrieval."""


def measure(live: int, batch: int, logit_sd: float, rounds: int) -> SlateFigures:
    """One size: ``rounds`` in which the three take turns, each time with other queries."""
    rng = np.random.default_rng(0)
    index = SlotArrayIndex(DIM)
    ids = np.arange(live, dtype=np.int64)
    index.add(ids, rng.standard_normal((live, DIM)).astype(np.float32))
    pool: Floats = rng.standard_normal((max(8 * batch, 64), DIM)).astype(np.float32)
    k, size = min(SHORTLIST, live), min(SLATE_SIZE, live)
    shortlist, scores = index.search(pool[:batch], k)
    z = (scores - scores.mean(axis=1, keepdims=True)).astype(np.float64)
    z *= logit_sd / z.std(axis=1, keepdims=True)

    def sample(queries: Floats) -> None:
        sample_slates(rng, z, shortlist, ids, size, EPSILON)

    def everything(queries: Floats) -> None:
        slates = sample_slates(rng, z, shortlist, ids, size, EPSILON)
        slate_marginals(slates.article_id, Draw.of(z, shortlist, live, EPSILON, size))

    tries: dict[str, Callable[[Floats], object]] = {
        "retrieval": lambda queries: index.search(queries, k),
        "sampling": sample,
        "everything": everything,
    }
    faiss.omp_set_num_threads(1)
    seconds: dict[str, list[float]] = {name: [] for name in tries}
    for call in tries.values():
        per_call(call, pool, batch, 1)  # first-time costs are not what is asked for
    for _ in range(rounds):
        for name, call in tries.items():
            seconds[name].append(per_call(call, pool, batch, 3))
    ratio = {
        name: statistics.median(a / b for a, b in zip(seconds[name], seconds["retrieval"], strict=True))
        for name in tries
    }
    return SlateFigures(
        live=live,
        batch=batch,
        logit_sd=logit_sd,
        retrieval_ms=1e3 * statistics.median(seconds["retrieval"]),
        sampling=ratio["sampling"],
        with_marginals=ratio["everything"],
    )
