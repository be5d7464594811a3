"""The Feed: one core for clock, visits and outcomes. Everything else in ``env/`` is a face on it.

One tick: the newsroom publishes and expires; due readers form the visit batch; the caller serves slates;
readers respond; their next visit, or their leaving, is scheduled; the clock moves. A tick costs what is
visited and published in it, neither the population nor the catalogue.
Shapes: P readers, n visits of this tick, K positions. Time is in hours.
"""

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Bools, Floats, Ints, copied, nest, put_back, unnest
from feedgym.env.checks import require
from feedgym.env.config import FeedConfig
from feedgym.env.feed.catalogue import Catalogue
from feedgym.env.feed.elsewhere import Elsewhere
from feedgym.env.feed.outcomes import ServedOutcome, check_outcome, joined
from feedgym.env.feed.population import Population, checked_hours
from feedgym.env.feed.visits import Opens, ReaderRecords, Visits, valid_entries
from feedgym.env.newsroom import Eventful, ModuleNewsroom, Newsroom, SyntheticNewsroom
from feedgym.env.noise import Noise
from feedgym.env.readers import (
    Describing,
    NewsReader,
    Observing,
    ReaderModel,
    SlateView,
    World,
    WorldAware,
)

BLOCK = 4096
"""Visits handled at once: their arrays stay in the second-level cache."""
SNAPSHOT_VERSION = 3
_KEPT = ("tick", "invalid_entries")
"""What is the Feed's own in a snapshot."""


class Feed:
    """A simulated news site.

    Args:
        config: readers, clock, slates, newsroom; the default is the world ``vivid``.
        reader_model: how readers react, see ``feedgym.env.readers.protocol``; ``NewsReader()`` by default.
        seed: of the world, >= 0; newsroom and population draw from streams of their own.
        newsroom: what is published, instead of the synthetic newsroom of ``config``.
    """

    def __init__(
        self,
        config: FeedConfig | None = None,
        reader_model: ReaderModel | None = None,
        seed: int = 0,
        *,
        newsroom: Newsroom | None = None,
    ) -> None:
        require(isinstance(seed, int | np.integer) and seed >= 0, "seed", seed, "an integer >= 0")
        self.config = config if config is not None else FeedConfig()
        self.seed = int(seed)
        source = newsroom if newsroom is not None else SyntheticNewsroom(self.config.newsroom, self.seed)
        self.newsroom = source if self.config.modules is None else ModuleNewsroom(source, self.config.modules)
        model: ReaderModel = reader_model if reader_model is not None else NewsReader()
        if isinstance(model, WorldAware):
            eventful = isinstance(self.newsroom, Eventful) and self.newsroom.has_surges
            surge = self.newsroom.surge if eventful else None  # type: ignore[attr-defined]
            model = model.enter(World(centers=self.newsroom.centers, surge=surge))
        self.reader_model = model
        # A look for the optional method costs 40 us: once, not at each tick.
        self._observing = model if isinstance(model, Observing) and model.observable_names else None
        self._describing = model if isinstance(model, Describing) else None
        self.tick = 0
        self.catalogue = Catalogue(self.newsroom, self.config.ticks_per_day)
        self.records = ReaderRecords(self.config.num_readers, self.config.history_length)
        self.invalid_entries = 0
        """Slate entries so far that showed nothing."""
        self.population = Population(self.config, model, self.seed, self.records)
        """Everybody who has joined, latent: states, who comes when, who is there."""
        self._elsewhere = Elsewhere(self.config, model, self.seed) if self.config.organic.share > 0 else None
        self.visits: Visits
        """Who asks for a slate at this tick."""
        self._open_tick()

    # What callers see

    @property
    def now(self) -> float:
        """Hours since hour 0: a product, not a sum, so that it never drifts."""
        return self.tick * self.config.tick_hours

    @property
    def done(self) -> bool:
        """The horizon is reached: no tick is left to serve."""
        return self.tick >= self.config.num_ticks

    @property
    def state(self) -> Arrays:
        """The reader model's state, latent: a row per reader who has joined."""
        return self.population.state

    @property
    def num_there(self) -> int:
        """Readers who have joined by now and have not left for good, latent."""
        return self.population.num_there(self.now)

    @property
    def num_left(self) -> int:
        """Readers who have left for good, latent."""
        return self.population.num_left

    @property
    def has_left(self) -> Bools:
        """(P,), latent: left for good, of all who have joined."""
        return self.population.has_left

    @property
    def has_opens(self) -> bool:
        """Readers also come from elsewhere, without a slate."""
        return self._elsewhere is not None

    @property
    def num_opens(self) -> int:
        """Opens from elsewhere so far, those of this tick among them."""
        return 0 if self._elsewhere is None else self._elsewhere.num_opens

    def serve(self, slates: Ints) -> ServedOutcome:
        """Show the slates, let readers respond, end the tick.

        Args:
            slates: article ids, integer (n, K), a row per visit of ``visits``; an empty tick takes (0, K).

        Returns:
            What happened, arrays (n, K) and (n,). An entry that is repeated, expired, unpublished or -1 shows
            nothing and is counted in ``invalid_entries``.

        Raises:
            ValueError: wrong shape or dtype; a bad entry if ``config.strict``; a reader model that returns
                what it must not. The tick has then not been served.
            RuntimeError: the horizon is reached.

        Whatever a reader model raises goes through, with the Feed's own records as before the tick; the model may
        have changed its state by then, so go on from a snapshot, not by serving again.
        """
        if self.done:
            raise RuntimeError(f"serve: the horizon of {self.config.days} days is reached; needs a new Feed")
        article_id = self._checked(slates)
        valid, safe = valid_entries(self.catalogue.archive, article_id)
        num_invalid = valid.size - int(np.count_nonzero(valid))
        if num_invalid and self.config.strict:
            self._refuse(article_id, valid)
        visits = self.visits
        blocks = [
            self._respond(visits, safe[:, i : i + BLOCK], valid[:, i : i + BLOCK], slice(i, i + BLOCK))
            for i in range(0, len(visits), BLOCK)
        ]
        outcome = joined(blocks, self.config.slate_size)
        self.invalid_entries += num_invalid
        visits.stale = True
        self._write_down(visits, safe, valid, outcome)
        self.tick += 1
        self._open_tick()
        return outcome

    def skip_empty_ticks(self) -> list[Opens]:
        """Let ticks without a visit pass, up to the next visit or the horizon: the bytes of serving (0, K) at each.

        ``catalogue.arrived`` and ``departed`` are those of the tick at which it stops. Returns what was opened from
        elsewhere meanwhile, at the ticks after this one.
        """
        rows, last = self.visits.rows, self.config.num_ticks
        passed: list[Opens] = []
        if len(rows) or self.done:
            return passed
        self.visits.stale, opens = True, None
        while len(rows) == 0 and self.tick < last:
            self.tick += 1
            rows, opens = self._due(), self._open_elsewhere()
            passed += [] if opens is None else [opens]
        self.visits = self._visits_of(rows, opens)
        return passed

    def snapshot(self) -> Arrays:
        """The complete state as plain arrays, to be saved with ``np.savez`` and given to :meth:`restore`."""
        arrays: Arrays = {name: np.asarray(value) for name, value in self._identity().items()}
        arrays |= copied(self, _KEPT)
        arrays |= nest("catalogue", self.catalogue.snapshot())
        arrays |= nest("records", self.records.snapshot(self.population.num_rows))
        if self._elsewhere is not None:
            arrays |= nest("elsewhere", self._elsewhere.snapshot(self.tick))
        return arrays | self.population.snapshot()

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot of a Feed with the same config, reader model and seed, byte for byte."""
        for name, value in self._identity().items():
            seen = snapshot[name].item() if name in snapshot else None
            require(seen == value, f"snapshot[{name!r}]", seen, f"{value}, as this Feed has")
        both = "opens_per_day" in snapshot and self._elsewhere is None
        require(not both, "snapshot", "opens from elsewhere", "none, as this Feed has")
        put_back(self, _KEPT, snapshot)
        self.catalogue.restore(unnest("catalogue", snapshot), self.tick, self.now)
        self.records.restore(unnest("records", snapshot))
        self.population.restore(snapshot, self.tick)
        opens = None
        if self._elsewhere is not None:
            arrays = unnest("elsewhere", snapshot)
            opens = self._elsewhere.restore(arrays, self.tick, self.population, self._before)
            opens = opens or self._open_elsewhere()
        self.visits = self._visits_of(self.population.called(self.tick), opens)

    def _identity(self) -> dict[str, float]:
        """What a snapshot and the Feed that goes on from it must share; the horizon may differ."""
        c = self.config
        # Where nothing comes from elsewhere, snapshots are as they always were.
        organic = {} if self._elsewhere is None else {"opens_per_day": c.organic.opens_per_day}
        return organic | {
            "version": SNAPSHOT_VERSION,
            "seed": self.seed,
            "num_readers": c.num_readers,
            "first_reader_id": c.first_reader_id,
            "newcomers_per_day": float(c.newcomers_per_day),
            "whole_population": c.whole_population,
            "ticks_per_day": c.ticks_per_day,
            "history_length": c.history_length,
        }

    # One tick

    def _open_tick(self) -> None:
        self.visits = self._visits_of(self._due(), self._open_elsewhere())

    def _open_elsewhere(self) -> Opens | None:
        """What readers open without a slate when the tick begins, before its visits; None where they open nothing."""
        catalogue, who = self.catalogue, self.population
        if self._elsewhere is None or self.done:
            return None
        opens = self._elsewhere.open(self.tick, catalogue.archive, catalogue.article_id, who, self._before)
        if opens is not None:
            self.records.record_opens(opens.rows, opens.article_id, opens.dwell_minutes)
            catalogue.count_opens(opens.article_id)
        return opens

    def _before(self, rows: Ints) -> Visits:
        """Readers (m,) who have each opened something from elsewhere at this tick, as they were known before."""
        visits = self._visits_of(rows)
        visits.newer_clicks = 1
        return visits

    def _due(self) -> Ints:
        """The newsroom publishes and expires; rows of the readers who come at this tick, rising."""
        self.catalogue.advance(self.tick, self.now)
        return self.population.due(self.tick) if not self.done else np.zeros(0, dtype=np.int64)

    def _visits_of(self, rows: Ints, opens: Opens | None = None) -> Visits:
        count, last_tick = self.records.read_counters(rows)
        gap = (self.tick - last_tick) * self.config.tick_hours
        if self._observing is not None:
            names = self._observing.observable_names
            features = np.asarray(self._observing.observe(self.state, rows), dtype=np.float32)
            require(features.shape == (len(rows), len(names)), "observe", features.shape, f"(n, {len(names)})")
        else:
            names, features = (), np.zeros((len(rows), 0), dtype=np.float32)
        device, session = (None, None) if self._describing is None else self._describing.describe(self.state, rows)
        return Visits(
            tick=self.tick,
            now=self.now,
            rows=rows,
            reader_id=self.population.reader_id(rows),
            visit=count,
            gap_hours=np.where(count > 0, gap, 0.0),
            features=features,
            feature_names=names,
            records=self.records,
            device=device,
            device_names=() if self._describing is None else self._describing.device_names,
            session=session,
            opens=opens,
        )

    def _checked(self, slates: Ints) -> Ints:
        """The slates position-major, int64 (K, n), contiguous."""
        shape = (len(self.visits), self.config.slate_size)
        array: AnyArray = np.asarray(slates)
        require(np.issubdtype(array.dtype, np.integer), "slates", array.dtype, "an integer dtype (article ids)")
        require(array.shape == shape, "slates", array.shape, f"{shape}: a row per visit, slate_size columns")
        # A copy even where .T is contiguous: the counters keep it, and callers may reuse their buffer.
        return np.array(array.T, dtype=np.int64, order="C")

    def _refuse(self, article_id: Ints, valid: Bools) -> None:
        """Name the first entry that shows nothing, and why."""
        position, visit = (int(i[0]) for i in np.nonzero(~valid))
        seen, archive = int(article_id[position, visit]), self.catalogue.archive
        if not 0 <= seen < archive.published:
            why = "which is absent" if seen == -1 else "which was never published"
        elif not archive.is_live[seen]:
            expired = float(archive.column("expires_hours")[seen])
            why = f"which expired at {expired:.2f} h (now {self.now:.2f} h)"
        else:
            why = "which stands higher on the same slate"
        raise ValueError(f"slates[{visit}, {position}]: got article {seen}, {why}; needs live articles, each once")

    def _respond(self, visits: Visits, article_id: Ints, valid: Bools, block: slice) -> ServedOutcome:
        """One block of visits: the reader model responds and says when it comes back."""
        rows = visits.rows[block]
        noise = Noise(self.seed, visits.reader_id[block], visits.visit[block], article_id.T)
        view = SlateView(self.catalogue.archive, article_id.T, valid.T, self.now)
        outcome = self.reader_model.respond(self.state, rows, view, self.now, noise)
        check_outcome(outcome, valid)
        hours = self.reader_model.next_visit(self.state, rows, outcome, self.now, noise)
        hours = checked_hours("next_visit", hours, len(rows))
        weights = self.config.reward
        slot_reward = np.float32(weights.dwell_minutes) * outcome.dwell_minutes
        if weights.click:
            slot_reward = slot_reward + np.float32(weights.click) * outcome.clicks
        # Added up position by position: of a single visit, sum() would round in pairs, of more in a row.
        reward: Floats = np.zeros(len(rows), dtype=np.float32)
        for position in range(self.config.slate_size):
            reward += slot_reward[:, position]
        if weights.subscription:
            reward += np.float32(weights.subscription) * outcome.subscribed
        # A reader has at most one visit per tick, at the tick's time.
        ticks = np.maximum(self.tick + 1, np.ceil((self.now + hours) / self.config.tick_hours))
        return ServedOutcome(
            clicks=outcome.clicks,
            dwell_minutes=outcome.dwell_minutes,
            subscribed=outcome.subscribed,
            valid=valid.T,
            slot_reward=slot_reward,
            reward=reward,
            hours_to_next_visit=(ticks - self.tick) * self.config.tick_hours,
            left=np.isinf(hours),
        )

    def _write_down(self, visits: Visits, article_id: Ints, valid: Bools, outcome: ServedOutcome) -> None:
        """What the site remembers of this tick, and the next visits."""
        rows, records = visits.rows, self.records
        if len(rows) == 0:
            return
        # Position-major already, unless a reader model made them otherwise.
        clicks, dwell = np.ascontiguousarray(outcome.clicks.T), np.ascontiguousarray(outcome.dwell_minutes.T)
        flat = np.flatnonzero(clicks)
        shown = article_id if valid.all() else article_id[valid]
        clicked, minutes = article_id.reshape(-1)[flat], dwell.reshape(-1)[flat]
        self.catalogue.count(shown, clicked, minutes)
        records.record_clicks(rows, article_id, clicks, dwell)
        records.record_visits(rows, visits.visit, self.tick)
        ticks = self.tick + np.rint(outcome.hours_to_next_visit / self.config.tick_hours)
        self.population.schedule(rows, ticks)
