"""Benchmark of the Feed alone, on random slates: speed, the floor under it, and what does not change it.

Shapes: n visits of a tick, K positions, N live articles.
"""

import dataclasses
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feedgym.env.arrays import Ints
from feedgym.env.config import HalfLifeClass, NewsroomConfig
from feedgym.env.feed import Feed
from feedgym.env.readers import NewsReader
from feedgym.env.worlds import WORLDS
from feedgym.experiments.benchmarks.floor import Floor

SLATE_SIZE = 10
LIVE_AT_400_PER_DAY = 830
"""Articles live in ``vivid``."""
EVEN = (1.0,) * 24


@dataclass(frozen=True, kw_only=True)
class FeedCase:
    """One size of the simulated site."""

    readers: int = 100_000
    live: int = 10_000
    """About, articles live."""
    tick_hours: float = 0.125
    arrivals: float = 25.0
    """About, articles published in a tick; their lifetimes follow from this and ``live``."""
    ticks: int = 40
    """In a round."""
    warm_ticks: int = 20
    """Before the first round."""
    world: str = "vivid"
    """Preset of the site and its readers."""

    def make_feed(self) -> Feed:
        """The site. Traffic is even over the day, so that the sizes of ticks compare whatever their length."""
        world = WORLDS[self.world]
        config = dataclasses.replace(
            world.feed,
            num_readers=self.readers,
            tick_hours=self.tick_hours,
            days=1000.0,
            slate_size=SLATE_SIZE,
            newsroom=self._newsroom(world.feed.newsroom),
        )
        return Feed(config, NewsReader(dataclasses.replace(world.reader, day_profile=EVEN)))

    def _newsroom(self, usual: NewsroomConfig) -> NewsroomConfig:
        """The world's, with lives as long as ``arrivals`` and ``live`` ask for."""
        per_day = self.arrivals * 24.0 / self.tick_hours
        live_hours = 24.0 * self.live / per_day
        if usual.max_age_hours is None:
            scale = (self.live / LIVE_AT_400_PER_DAY) / (per_day / 400.0)
        else:
            scale = live_hours / usual.max_age_hours
        lives = tuple(
            HalfLifeClass(share=kind.share, median_hours=kind.median_hours * scale) for kind in usual.half_lives
        )
        return dataclasses.replace(
            usual,
            articles_per_day=per_day,
            half_lives=lives,
            max_age_hours=None if usual.max_age_hours is None else live_hours,
            day_profile=EVEN,
            weekend_factor=1.0,
        )


def feed_cases(scale: float = 1.0) -> list[FeedCase]:
    """The target first; then live articles, readers, publications, sizes of ticks and the world, one at a time.

    Readers change at about the same visits in a tick, by its length (a reader visits once in a long one, and
    more often than later in the first minutes); live articles at the same publications.
    """

    def case(
        readers: float = 100_000,
        live: float = 10_000,
        tick_hours: float = 0.125,
        arrivals: float = 25.0,
        world: str = "vivid",
    ) -> FeedCase:
        return FeedCase(
            readers=max(20, round(readers * scale)),
            live=max(200, round(live * scale)),
            tick_hours=tick_hours,
            arrivals=arrivals,
            world=world,
        )

    return [
        case(),
        case(live=1_000),
        case(live=100_000),
        case(readers=10_000, tick_hours=2.0),
        case(readers=1_000_000, tick_hours=0.0096),
        case(live=100_000, arrivals=250.0),
        case(tick_hours=0.5),
        case(readers=5_000),
        case(readers=500),
        case(world="measured"),
        case(world="measured", readers=5_000),
    ]


def random_slates(rng: np.random.Generator, live_ids: Ints, num_visits: int) -> Ints:
    """Uniform slates of distinct articles, int64 (n, K), without rejection (Floyd, CACM 30(9), 1987).

    Position k draws from the first N - K + k + 1 articles; a repeat becomes the last of them, which none can be.
    """
    first = len(live_ids) - SLATE_SIZE
    drawn = np.empty((SLATE_SIZE, num_visits), dtype=np.int64)
    for position in range(SLATE_SIZE):
        pick = rng.integers(0, first + position + 1, num_visits)
        pick[(drawn[:position] == pick).any(axis=0)] = first + position
        drawn[position] = pick
    slates: Ints = live_ids[rng.permuted(drawn.T, axis=1)]
    return slates


@dataclass(frozen=True, kw_only=True)
class FeedFigures:
    """What was measured of one size; ratios are medians over rounds of the ratio within a round."""

    case: FeedCase
    live: int
    visits_per_tick: float
    microseconds_per_visit: float
    """CPU time."""
    floor_ratio: float
    """CPU time over that of the floor, for the same visits."""
    first_ratio: float
    """Cost of a visit over that in the first size."""
    bytes_per_reader: float

    @property
    def visits_per_second(self) -> float:
        """Per CPU-second."""
        return 1e6 / self.microseconds_per_visit


class FeedBench:
    """One size: a Feed that has been running for some ticks, and the floor beside it."""

    def __init__(self, case: FeedCase) -> None:
        self.case = case
        self.feed = case.make_feed()
        # Room for newcomers, too: zeros that nobody touches take no memory.
        self._floor = Floor(2 * case.readers, 2 * len(self.feed.catalogue))
        self._rng = np.random.default_rng(0)
        self._run(case.warm_ticks)
        self.visits = 0
        self.per_visit: list[float] = []
        """CPU seconds of the Feed, in each round."""
        self.floor_per_visit: list[float] = []

    def round(self) -> None:
        """So many ticks."""
        visits, seconds, floor_seconds = self._run(self.case.ticks)
        self.visits += visits
        self.per_visit.append(seconds / max(visits, 1))
        self.floor_per_visit.append(floor_seconds / max(visits, 1))

    def _run(self, ticks: int) -> tuple[int, float, float]:
        """Visits, and CPU seconds of Feed and floor. Slates are made off the clock."""
        visits, seconds, floor_seconds = 0, 0.0, 0.0
        for _ in range(ticks):
            rows = self.feed.visits.rows
            slates = random_slates(self._rng, self.feed.catalogue.article_id, len(rows))
            start = time.process_time()
            self.feed.serve(slates)
            middle = time.process_time()
            self._floor.serve(rows, slates)
            floor_seconds += time.process_time() - middle
            seconds += middle - start
            visits += len(rows)
        return visits, seconds, floor_seconds

    def figures(self, first: Sequence[float]) -> FeedFigures:
        """The medians; ``first`` are the first size's ``per_visit``."""
        return FeedFigures(
            case=self.case,
            live=len(self.feed.catalogue),
            visits_per_tick=self.visits / (len(self.per_visit) * self.case.ticks),
            microseconds_per_visit=1e6 * statistics.median(self.per_visit),
            floor_ratio=median_ratio(self.per_visit, self.floor_per_visit),
            first_ratio=median_ratio(self.per_visit, first),
            bytes_per_reader=bytes_per_reader(self.feed),
        )


def measure(cases: Sequence[FeedCase], rounds: int) -> list[FeedFigures]:
    """All sizes take turns within a round, so that a drift of the machine hits them alike."""
    benches = [FeedBench(case) for case in cases]
    for _ in range(rounds):
        for bench in benches:
            bench.round()
    return [bench.figures(benches[0].per_visit) for bench in benches]


def median_ratio(rounds: Sequence[float], reference: Sequence[float]) -> float:
    """Median over rounds of how many times ``reference`` a case took in the same round."""
    return statistics.median(a / b if b > 0 else np.inf for a, b in zip(rounds, reference, strict=True))


def bytes_per_reader(feed: Feed) -> float:
    """What the site and the reader model keep of each reader."""
    snapshot = feed.snapshot()
    kept = [v.nbytes for k, v in snapshot.items() if k.startswith(("records/", "state/")) or k == "next_tick"]
    return sum(kept) / feed.population.num_rows
