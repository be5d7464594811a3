"""The default reader: taste, headlines, decay, fatigue, satiation, trust, habit (world.md, section 1).

Clickbait is the heart of it: it wins clicks and its dwell looks fine at once, yet it costs trust and the
next visit, so immediate reward cannot see the harm.
Shapes: n visits, K positions, D dimensions, T topics, N articles; time in hours. Inside, arrays of
impressions are position-major (K, n): per-visit values broadcast along contiguous memory.
"""

import copy
from functools import cached_property

import numpy as np

from feedgym.env.arrays import Arrays, Bools, Doubles, Floats, Ints
from feedgym.env.articles import SCORING_EXTRA, Archive
from feedgym.env.newsroom import topic_centers, unit
from feedgym.env.noise import Noise
from feedgym.env.readers.config import NewsReaderConfig
from feedgym.env.readers.exposure import empty_memory, recall, remember
from feedgym.env.readers.protocol import Outcome, SlateView, World
from feedgym.env.readers.reader_rows import PACKED, PackedState, pack, put_rows, take_rows
from feedgym.env.readers.rhythm import DayRhythm

_POSITIONS_AT_ONCE = 2
"""Articles of a visit gathered at once: all ten would push the readers' rows out of the second-level cache."""


def sigmoid(log_odds: Floats) -> Floats:
    """Logistic function, float32, any shape; no overflow."""
    probability: Floats = np.float32(1.0) / (np.float32(1.0) + np.exp(np.minimum(-log_odds, 60.0)))
    return probability


class NewsReader:
    """The reader model of the default worlds.

    Args:
        config: weights, half-lives, switches.
        centers: centres of the topics, float32 (T, D); the Feed passes its newsroom's through ``enter``.
    """

    def __init__(self, config: NewsReaderConfig | None = None, *, centers: Floats | None = None) -> None:
        self.config = c = config if config is not None else NewsReaderConfig()
        self._centers = topic_centers(16, 16) if centers is None else centers
        self._rhythm = DayRhythm(c.day_profile if c.daily_rhythm else (1.0,) * 24)
        self._taste = np.float32(c.taste if c.personal_taste else 0.0)
        self._dwell_taste = np.float32(c.dwell_taste if c.personal_taste else 0.0)
        self._kappa = c.return_sensitivity if c.delayed_effects else 0.0

    def enter(self, world: World) -> "NewsReader":
        """The same model, with tastes in the space of this world's articles."""
        # A copy, not a new NewsReader: a user's subclass stays what it is, whatever its constructor takes.
        there = copy.copy(self)
        there._centers = world.centers
        return there

    def examination(self, slate_size: int) -> Floats:
        """Chance that each position is examined, float32 (K,)."""
        base = self.config.examination if self.config.position_bias else 1.0
        return (base ** np.arange(slate_size)).astype(np.float32)

    # Births

    def spawn(self, reader_ids: Ints, noise: Noise) -> Arrays:
        """Taste, habit, enrolment; no trust, no memory, no satiation yet."""
        c, n = self.config, len(reader_ids)
        num_topics = len(self._centers)
        mix = noise.gamma("taste", c.taste_concentration, size=num_topics)
        # A row whose draws all underflow would have no taste: none does at any usual concentration.
        mix /= np.maximum(mix.sum(axis=1, keepdims=True), 1e-300)
        # einsum: a matrix product may round a row by the number of its rows.
        interest = unit(np.einsum("nt,td->nd", mix, self._centers.astype(np.float64)))
        base_gap = c.gap_median_hours * np.exp(c.gap_log_sd * noise.normal("base gap", "reader"))
        late = noise.uniform("late", "reader") < (c.enrolment_share if c.late_enrolment else 0.0)
        moment = c.enrolment_window_hours * noise.uniform("enrolment", "reader")
        by_visit = {
            "seen_hours": np.zeros(n),
            "interest": interest,
            "satiation": np.zeros((n, num_topics), dtype=np.float32),
            "base_gap_hours": base_gap.astype(np.float32),
            "trust": np.zeros(n, dtype=np.float32),
            "value": np.zeros(n, dtype=np.float32),
            "exposures": np.zeros(n, dtype=np.int32),
            "evictions": np.zeros(n, dtype=np.int32),
            "subscriber": np.zeros(n, dtype=np.bool_),
        }
        return PackedState(
            packed=pack(by_visit),
            memory=empty_memory(n, c.memory_slots),
            enrolment_hours=np.where(late, moment, 0.0),
        )

    def first_visit(self, state: Arrays, rows: Ints, noise: Noise) -> Doubles:
        """Part of a habitual gap after enrolment, at an hour of the day like any other visit's."""
        rhythm, enrolled = self._rhythm, state["enrolment_hours"][rows]
        part = noise.uniform("first visit", "reader") * state["base_gap_hours"][rows]
        # Enrolment is uniform in operational time too: nobody enrols in hours without traffic.
        return rhythm.clock(enrolled.astype(np.float64) + part)

    # Visits

    def respond(self, state: Arrays, rows: Ints, slate: SlateView, now: float, noise: Noise) -> Outcome:
        """Clicks by examination and attraction, then dwell, trust, satiation and memory."""
        c, n = self.config, len(rows)
        article_id, valid = slate.article_id.T, slate.valid.T
        noise.foresee("click", "dwell", "subscribe", "habit", "leaving")
        reader = take_rows(state[PACKED], rows)
        interest: Floats = np.ascontiguousarray(reader["interest"])
        # Against a click throughout: the same passes over the batch, and no division.
        coefficients = -self._coefficients(interest, now)
        against = np.empty(valid.shape, dtype=np.float32)
        cell = np.empty(valid.shape, dtype=np.int64)  # of (n, T): the visit's satiation with the article's topic
        for first in range(0, len(valid), _POSITIONS_AT_ONCE):
            some = slice(first, first + _POSITIONS_AT_ONCE)
            articles = slate.scoring(some)
            np.einsum("knd,nd->kn", articles, coefficients, out=against[some])
            cell[some] = articles[..., -1]
        against -= np.float32(c.base_log_odds)
        if c.satiation:
            satiation = self._faded(reader["satiation"], reader["seen_hours"], now)
            cell += np.arange(n) * satiation.shape[1]
            against += np.float32(c.satiation_weight) * satiation.reshape(-1).take(cell)
        if c.fatigue:
            clock = np.float32(now / c.fatigue_half_life_hours)
            memory: Ints = state["memory"]
            seen = recall(memory, rows, article_id, clock)
            against += np.float32(c.fatigue_weight) * seen.log_count
            if c.already_clicked_weight:
                against += np.float32(c.already_clicked_weight) * seen.clicked
        # Clicked where uniform < examination * sigmoid(log-odds).
        odds_against = np.exp(np.minimum(against, np.float32(60.0), out=against), out=against)
        odds_against += np.float32(1.0)
        odds_against *= noise.uniform("click", "impression").T
        clicks: Bools = odds_against < self.examination(len(article_id))[:, None]
        clicks &= valid
        if c.fatigue:
            remember(memory, seen, article_id, clicks, valid, clock)
            reader["exposures"] += np.add.reduce(valid, axis=0, dtype=np.int32)
            reader["evictions"] += np.add.reduce(seen.evicts & valid, axis=0, dtype=np.int32)

        flat = np.flatnonzero(clicks)
        positions, visit = np.divmod(flat, n)
        articles = slate.scoring_at(visit, positions)
        dwell = np.zeros(clicks.shape, dtype=np.float32)
        dwell.reshape(-1)[flat] = self._dwell(articles, interest, visit, positions, noise)
        if c.satiation:
            gained = np.bincount(cell.reshape(-1).take(flat), minlength=satiation.size)
            satiation += (np.float32(c.satiation_step) * gained.astype(np.float32)).reshape(satiation.shape)
            reader["satiation"] = satiation
        reader["seen_hours"] = now
        value, satisfying = self._judge(articles, visit, n)
        trust = reader["trust"] * (1.0 - c.trust_step) + c.trust_step * value
        reader["value"] = value
        reader["trust"] = trust
        subscribed = self._subscribe(reader["subscriber"], trust, satisfying, noise)
        reader["subscriber"] |= subscribed
        put_rows(state[PACKED], rows, reader)
        return Outcome(clicks=clicks.T, dwell_minutes=dwell.T, subscribed=subscribed)

    def next_visit(self, state: Arrays, rows: Ints, outcome: Outcome, now: float, noise: Noise) -> Doubles:
        """Habit, shortened by trust and a good visit; then the hazard of leaving over that gap."""
        c = self.config
        trust, value = state["trust"][rows], state["value"][rows]
        weight = np.float32(c.return_mix)
        pull = np.exp(np.float32(-self._kappa) * (weight * trust + (1 - weight) * value))
        habit = noise.exponential("habit") ** c.habit_exponent
        gap = self._rhythm.gap(now, state["base_gap_hours"][rows] * pull * habit)
        if c.leaving:
            hazard = c.leaving_per_day * (np.exp(np.float32(-2.0) * trust) if c.delayed_effects else 1.0)
            gap[noise.uniform("leaving") < -np.expm1(hazard * gap * (-1.0 / 24.0))] = np.inf
        return gap

    def expected_response(
        self, state: Arrays, rows: Ints, archive: Archive, article_id: Ints, now: float
    ) -> tuple[Floats, Floats]:
        """Chance of a click once examined, and expected minutes once clicked, each float32 (n, N).

        For the oracles. Reads the state and changes nothing.
        """
        c, state = self.config, PackedState(state)
        interest: Floats = state["interest"][rows]
        scoring = archive.scoring.take(article_id, axis=0)
        log_odds = self._coefficients(interest, now) @ scoring.T + np.float32(c.base_log_odds)
        if c.satiation:
            topic = archive.column("topic")[article_id]
            satiation = self._faded(state["satiation"][rows], state["seen_hours"][rows], now)
            log_odds -= np.float32(c.satiation_weight) * satiation[:, topic]
        if c.fatigue:
            memory: Ints = state["memory"]
            ids = np.broadcast_to(article_id[:, None], (len(article_id), len(rows)))
            seen = recall(memory, rows, ids, np.float32(now / c.fatigue_half_life_hours))
            log_odds -= np.float32(c.fatigue_weight) * seen.log_count.T
            log_odds -= np.float32(c.already_clicked_weight) * seen.clicked.T
        d = interest.shape[1]
        match = interest @ scoring[:, :d].T
        own = c.dwell_quality * scoring[:, d + 1] + c.dwell_clickbait * scoring[:, d]
        log_minutes = np.float32(c.dwell_log_minutes) + own + self._dwell_taste * match
        return sigmoid(log_odds), self._expected_minutes(log_minutes)

    # Parts

    def _coefficients(self, interest: Floats, now: float) -> Floats:
        """What an article's ``Archive.scoring`` row is multiplied with, (n, D + 6)."""
        c, d = self.config, interest.shape[1]
        coefficients = np.empty((len(interest), d + SCORING_EXTRA), dtype=np.float32)
        np.multiply(interest, self._taste, out=coefficients[:, :d])
        coefficients[:, d] = c.clickbait_weight if c.headline_appeal else 0.0
        coefficients[:, d + 1] = c.quality_weight if c.headline_appeal else 0.0
        coefficients[:, d + 2] = 1.0
        coefficients[:, d + 3] = 1.0 if c.decay else 0.0
        coefficients[:, d + 4] = -now if c.decay else 0.0
        coefficients[:, d + 5] = 0.0
        return coefficients

    def _faded(self, satiation: Floats, seen_hours: Doubles, now: float) -> Floats:
        """Satiation (n, T) after the absence since each reader's last visit."""
        half_lives = (now - seen_hours) * (1.0 / self.config.satiation_half_life_hours)
        faded: Floats = satiation * np.exp2(-half_lives).astype(np.float32)[:, None]
        return faded

    def _dwell(self, articles: Floats, interest: Floats, visit: Ints, position: Ints, noise: Noise) -> Floats:
        """Minutes on clicked articles: ``articles`` (m, D + 6) are their scoring rows."""
        c, d = self.config, interest.shape[1]
        match = np.einsum("md,md->m", articles[:, :d], interest.take(visit, axis=0))
        log_minutes = np.float32(c.dwell_log_minutes) + self._dwell_taste * match
        log_minutes += np.float32(c.dwell_quality) * articles[:, d + 1]
        log_minutes += np.float32(c.dwell_clickbait) * articles[:, d]
        log_minutes += np.float32(c.dwell_log_sd) * noise.normal("dwell", "impression", at=(visit, position))
        minutes: Floats = np.minimum(np.exp(log_minutes), np.float32(c.dwell_cap_minutes))
        return minutes

    def _judge(self, articles: Floats, visit: Ints, n: int) -> tuple[Floats, Ints]:
        """What each visit was worth to its reader, (n,), and its number of clicks worth reading, (n,)."""
        c, d = self.config, articles.shape[1] - SCORING_EXTRA
        worth = c.value_quality * articles[:, d + 1] - c.value_clickbait * articles[:, d]
        count = np.bincount(visit, minlength=n)
        total = np.bincount(visit, weights=worth, minlength=n)
        value = np.full(n, c.value_nothing, dtype=np.float32)
        some = np.flatnonzero(count)
        clicks = count[some]
        value[some] = np.tanh(total[some] / clicks + 0.15 * np.log1p(clicks))
        return value, np.bincount(visit[worth > 0.0], minlength=n)

    def _subscribe(self, subscriber: Bools, trust: Floats, satisfying: Ints, noise: Noise) -> Bools:
        """Each satisfying read may win a reader who is not a subscriber yet; all (n,)."""
        c = self.config
        if not c.subscription:
            return np.zeros(len(trust), dtype=np.bool_)
        chance = -np.expm1(np.float32(-c.subscribe_hazard) * np.exp(trust) * satisfying)
        subscribed: Bools = (noise.uniform("subscribe") < chance) & ~subscriber
        return subscribed

    @cached_property
    def _minutes_table(self) -> tuple[Doubles, Doubles]:
        """Mean of ``min(cap, exp(x + d_s N))`` on a grid of x, by quadrature."""
        c = self.config
        nodes, weights = np.polynomial.hermite_e.hermegauss(63)
        grid = np.linspace(-8.0, 8.0, 2049)
        minutes = np.minimum(np.exp(grid[:, None] + c.dwell_log_sd * nodes), c.dwell_cap_minutes)
        return grid, (minutes @ weights) / weights.sum()

    def _expected_minutes(self, log_minutes: Floats) -> Floats:
        """Expected minutes once clicked, any shape, for medians ``exp(log_minutes)``."""
        minutes: Floats = np.interp(log_minutes, *self._minutes_table).astype(np.float32)
        return minutes
