"""Benchmark of the indexes: search and refresh of each kind against the bare faiss calls that do the same work.

CPU time of one thread; ways take turns within a round, queries rotate (docs/mathematics.md 7.4, traps 1 to 3). Vectors
lie around topics with norms of their own: speed of lists and graphs, and recall, belong to a distribution.
Letters: n live articles, B queries of a batch, d coordinates, k articles wanted, m articles that come and go.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import faiss
import numpy as np

from feedgym.agents.retrieval import ItemIndex, make_index, recall_at_k
from feedgym.env.arrays import Doubles, Floats, Ints
from feedgym.experiments.benchmarks.bare_faiss import Bare, bare_of

DIM = 66
SHORTLIST = 100
BATCHES = (1, 64, 1024)
LIFE_HOURS = 48.0
SEARCHED = (
    "exact",
    "ivf:nprobe=16",
    "ivf:nprobe=64",
    "ivf-sq8:nprobe=16",
    "hnsw:ef=100",
    "hnsw:ef=400",
)
REFRESHED = ("exact", "ivf", "ivf-sq8", "hnsw")
_NO_BUILDS = {"ivf": "retrain_share=1e9", "ivf-sq8": "retrain_share=1e9", "hnsw": "dead_share=1"}
"""Settings without builds: those are measured apart."""
SHARE = 0.01
"""Of the articles leaves, and as many arrive, in a refresh."""
REFRESHES = 13
"""In a round. Recall is checked when a quarter of the articles has changed: once in each of these."""
Call = Callable[[Floats], object]
Refresh = tuple[Ints, Ints, Floats, Doubles]
"""Who leaves (m,), who arrives (m,), their vectors (m, d), and when they were published (m,)."""


@dataclass(frozen=True, kw_only=True)
class SearchFigures:
    """CPU time of one batch; the ratio is a median over rounds, each within its round."""

    kind: str
    live: int
    batch: int
    faiss_ms: float
    """The bare call, CPU milliseconds."""
    ratio: float
    """Ours over it."""
    recall: float
    """Share of the true top k that ours finds."""
    bare_recall: float
    """And the bare call."""


@dataclass(frozen=True, kw_only=True)
class RefreshFigures:
    """CPU time of one refresh: 1 % of the articles leave and 1 % arrive."""

    kind: str
    live: int
    faiss_ms: float
    """Bare removal and adding, CPU milliseconds; flat: reset, and add all, which is faster."""
    ratio: float
    """Ours over it, without checks of recall and builds."""
    checked: float
    """Ours over it with checks of recall, averaged over the refreshes between two of them."""
    build_ms: float
    """A build, CPU milliseconds; 0 where nothing is ever built."""
    rebase_ms: float
    """An update of all articles whose column of hours alone has moved, CPU milliseconds."""


def search_figures(live: int, rounds: int, seconds_each: float, kinds: Sequence[str] = SEARCHED) -> list[SearchFigures]:
    """All kinds at one size, in batches of 1, 64 and 1,024.

    Args:
        live: n.
        rounds: in which ours and the bare call take turns.
        seconds_each: CPU time, about, for which each of them is called in a round.
        kinds: as ``make_index`` takes them.
    """
    rng = np.random.default_rng(0)
    topics = _topics(rng)
    vectors, pool = topic_vectors(rng, topics, live), topic_vectors(rng, topics, 8 * max(BATCHES))
    hours = np.linspace(0.0, LIFE_HOURS, live, endpoint=False)
    truth = _filled("exact", vectors, hours).search(pool[:256], min(SHORTLIST, live))[0]
    built: dict[str, tuple[ItemIndex, Bare]] = {}
    figures = []
    for kind in kinds:
        family = kind.partition(":")[0]
        if family not in built:
            built[family] = _filled(kind, vectors, hours), bare_of(kind, vectors)
        first, bare = built[family]
        ours = make_index(kind, DIM)
        ours.restore(first.snapshot())  # the same lists or graph; nprobe and ef are settings
        bare = bare.with_settings(kind)
        figures += [_searched(kind, ours, bare, pool, batch, rounds, seconds_each, truth) for batch in BATCHES]
    return figures


def _searched(
    kind: str,
    ours: ItemIndex,
    bare: Bare,
    pool: Floats,
    batch: int,
    rounds: int,
    seconds_each: float,
    truth: Ints,
) -> SearchFigures:
    k = truth.shape[1]
    calls: dict[str, Call] = {"faiss": lambda q: bare.search(q, k), "ours": lambda q: ours.search(q, k)}
    seconds = take_turns(calls, pool, batch, rounds, seconds_each)
    return SearchFigures(
        kind=kind,
        live=len(ours),
        batch=batch,
        faiss_ms=1e3 * statistics.median(seconds["faiss"]),
        ratio=_ratio(seconds["ours"], seconds["faiss"]),
        recall=recall_at_k(ours.search(pool[: len(truth)], k)[0], truth),
        bare_recall=recall_at_k(bare.search(pool[: len(truth)], k), truth),
    )


def take_turns(
    calls: dict[str, Call], pool: Floats, batch: int, rounds: int, seconds_each: float
) -> dict[str, list[float]]:
    """CPU seconds per call of each way, a value per round; first-time costs are not what is asked for."""
    faiss.omp_set_num_threads(1)
    repeats = {}
    for name, call in calls.items():
        _per_call(call, pool, batch, 1)
        repeats[name] = math.ceil(seconds_each / max(_per_call(call, pool, batch, 1), 1e-6))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(_per_call(call, pool, batch, repeats[name]))
    return seconds


def _per_call(call: Call, pool: Floats, batch: int, repeats: int) -> float:
    """CPU seconds of a call with ``batch`` queries of the pool, each time others."""
    start = time.process_time()
    for repeat in range(repeats):
        offset = (repeat * batch) % (len(pool) - batch + 1)
        call(pool[offset : offset + batch])
    return (time.process_time() - start) / repeats


def refresh_figures(live: int, rounds: int, kinds: Sequence[str] = REFRESHED) -> list[RefreshFigures]:
    """Refreshes of each kind at one size: the oldest leave, newcomers lie half-way between two old topics."""
    return [_refreshed(kind, live, rounds) for kind in kinds]


def _refreshed(kind: str, live: int, rounds: int) -> RefreshFigures:
    rng = np.random.default_rng(1)
    topics = _topics(rng)
    moved: Floats = (0.5 * (topics + topics[rng.permutation(len(topics))])).astype(np.float32)
    vectors, hours = topic_vectors(rng, topics, live), np.linspace(0.0, LIFE_HOURS, live, endpoint=False)
    # Where nothing is learned there is nothing to switch off. A fall of 2 never comes.
    settings = f":{_NO_BUILDS[kind]}+recall_drop=" if kind in _NO_BUILDS else ""
    plain = _filled(kind + (settings and settings + "1e999"), vectors, hours)
    checked = _filled(kind + (settings and settings + "2"), vectors, hours)
    checked.search(topic_vectors(rng, topics, 64), min(SHORTLIST, live))
    bare = bare_of(kind, vectors)
    ways: dict[str, Callable[[Refresh], None]] = {
        "faiss": lambda change: bare.refresh(*change),
        "ours": lambda change: _refresh(plain, change),
        "checked": lambda change: _refresh(checked, change),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for changes in _rounds(rng, moved, live, rounds):
        for name, way in ways.items():
            start = time.process_time()
            for change in changes:
                way(change)
            seconds[name].append((time.process_time() - start) / len(changes))
    return RefreshFigures(
        kind=kind,
        live=live,
        faiss_ms=1e3 * statistics.median(seconds["faiss"]),
        ratio=_ratio(seconds["ours"], seconds["faiss"]),
        checked=_ratio(seconds["checked"], seconds["faiss"]),
        build_ms=0.0 if plain.exact else _milliseconds(plain.rebuild),
        rebase_ms=_rebase_ms(plain, hours),
    )


def _rebase_ms(index: ItemIndex, hours: Doubles) -> float:
    """All vectors anew, of which only the last column has moved: hours, whose reference is a day later."""
    ids = index.ids.copy()
    vectors = topic_vectors(np.random.default_rng(2), _topics(np.random.default_rng(1)), len(ids))
    vectors[:, -1] = hours
    index.update(ids, vectors)
    vectors[:, -1] -= np.float32(24.0)
    return _milliseconds(lambda: index.update(ids, vectors))


def _milliseconds(call: Callable[[], None]) -> float:
    start = time.process_time()
    call()
    return 1e3 * (time.process_time() - start)


def _rounds(rng: np.random.Generator, topics: Floats, live: int, rounds: int) -> Iterator[list[Refresh]]:
    """Refreshes of each round."""
    m, first = max(1, round(SHARE * live)), 0
    for _ in range(rounds):
        changes = []
        for _ in range(REFRESHES):
            gone = np.arange(first, first + m, dtype=np.int64)
            published = LIFE_HOURS * (gone + live) / live
            changes.append((gone, gone + live, topic_vectors(rng, topics, m), published))
            first += m
        yield changes


def _refresh(index: ItemIndex, change: Refresh) -> None:
    gone, new, vectors, published = change
    index.remove(gone)
    index.add(new, vectors, published)


def topic_vectors(rng: np.random.Generator, topics: Floats, count: int) -> Floats:
    """Articles or readers (count, d) around topics (T, d), their norms log-normal."""
    around = topics[rng.integers(0, len(topics), count)] + 0.6 * rng.standard_normal((count, topics.shape[1]))
    scaled: Floats = (around * np.exp(0.2 * rng.standard_normal((count, 1)))).astype(np.float32)
    return scaled


def _topics(rng: np.random.Generator) -> Floats:
    return topic_vectors(rng, np.zeros((1, DIM), dtype=np.float32), 100)


def _filled(kind: str, vectors: Floats, hours: Doubles) -> ItemIndex:
    index = make_index(kind, DIM)
    index.add(np.arange(len(vectors), dtype=np.int64), vectors, hours)
    return index


def _ratio(ours: list[float], bare: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, bare, strict=True))
