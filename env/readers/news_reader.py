"""The default reader: taste, headlines, decay, fatigue, satiation, trust, habit (docs/mathematics.md 9.2).

Clickbait is the heart of it: it wins clicks and its dwell looks fine at once, yet it costs trust and the
next visit, so immediate reward cannot see the harm.
Shapes: n visits, K positions, D dimensions, T topics, N articles; time in hours. Inside, arrays of
impressions are position-major (K, n): per-visit values broadcast along contiguous memory.
"""

import copy
import math
from collections.abc import Callable, Sequence

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Bools, Doubles, Floats, Ints, SmallInts
from feedgym.env.checks import require
from feedgym.env.newsroom import SCORING_EXTRA, Archive, Scoring, topic_centers
from feedgym.env.noise import Noise
from feedgym.env.readers.config import NewsReaderConfig
from feedgym.env.readers.dwell import Dwell
from feedgym.env.readers.effects import Effect, Reaction, ReadRows, Shown
from feedgym.env.readers.elsewhere import common_log_odds, read_elsewhere, taste_log_odds
from feedgym.env.readers.fatigue import Fatigue
from feedgym.env.readers.interests import drifted, mixed_interest, normal_interest
from feedgym.env.readers.protocol import Outcome, SlateView, World
from feedgym.env.readers.reader_rows import PACKED, PackedState, pack, put_rows, take_rows
from feedgym.env.readers.returning import OWN_HOUR, Returning
from feedgym.env.readers.rhythm import DayRhythm, SurgingRhythm
from feedgym.env.readers.satiation import Satiation

EFFECTS: dict[str, Callable[[NewsReaderConfig], Effect]] = {
    "satiation": Satiation,
    "fatigue": Fatigue,
}
"""What a reader's past does to clicks, by the config's switch, in the order in which sums are formed: append."""
_POSITIONS_AT_ONCE = 2
"""Articles of a visit gathered at once: all ten would push the readers' rows out of the second-level cache."""


def logit(probability: float) -> float:
    """Log-odds of a probability in (0, 1)."""
    return math.log(probability / (1.0 - probability))


def sigmoid(log_odds: Floats) -> Floats:
    """Logistic function, float32, any shape; no overflow."""
    probability: Floats = np.float32(1.0) / (np.float32(1.0) + np.exp(np.minimum(-log_odds, 60.0)))
    return probability


def _joined(columns: Arrays, more: Arrays) -> Arrays:
    """Both, if they share no name."""
    taken = sorted(columns.keys() & more.keys())
    require(not taken, "effects: columns", taken, "names that nothing else has")
    return columns | more


class NewsReader:
    """The reader model of the default worlds.

    Args:
        config: weights, half-lives, switches.
        centers: centres of the topics, float32 (T, D); the Feed passes its newsroom's through ``enter``.
        effects: further effects of a reader's past on clicks, after the config's own (docs/guide/readers.md).
    """

    def __init__(
        self,
        config: NewsReaderConfig | None = None,
        *,
        centers: Floats | None = None,
        effects: Sequence[Effect] = (),
    ) -> None:
        self.config = c = config if config is not None else NewsReaderConfig()
        self._centers = topic_centers(16, 16) if centers is None else centers
        self._profile = c.day_profile if c.daily_rhythm else (1.0,) * 24
        self._day = DayRhythm(self._profile)
        self._rhythm: DayRhythm | SurgingRhythm = self._day
        self._returning = Returning(c, self._day)
        self._taste = np.float32(c.taste if c.personal_taste else 0.0)
        self._dwell = Dwell(c)
        self._kappa = c.return_sensitivity if c.delayed_effects else 0.0
        self._has_sessions = c.sessions and c.continuation > 0.0
        self._drifts = c.interest_drift and c.drift_time_hours > 0.0
        own = [make(c) for switch, make in EFFECTS.items() if getattr(c, switch)]
        self.effects: tuple[Effect, ...] = (*own, *effects)
        """What the readers' past does to clicks, in this order."""
        draws = ("continue",) if self._has_sessions else ("habit", "leaving")
        self._draws = ("click", "dwell", "subscribe", *draws)
        """What is drawn for every visit."""

    def enter(self, world: World) -> "NewsReader":
        """The same model, with tastes in the space of this world's articles and with its surges of traffic."""
        # A copy, not a new NewsReader: a user's subclass stays what it is, whatever its constructor takes.
        there = copy.copy(self)
        there._centers = world.centers
        if world.surge is not None and self.config.surges:
            there._rhythm = SurgingRhythm(self._profile, world.surge)
        return there

    # What a site sees

    @property
    def device_names(self) -> tuple[str, ...]:
        """Names of the devices; none in a world without."""
        return tuple(device.name for device in self.config.devices)

    @property
    def observable_names(self) -> tuple[str, ...]:
        """A column for each device."""
        return tuple(f"device_{name}" for name in self.device_names)

    def observe(self, state: Arrays, rows: Ints) -> Floats:
        """The readers' devices, 1 in one column, float32 (n, F)."""
        if not self.config.devices:
            return np.zeros((len(rows), 0), dtype=np.float32)
        columns: Floats = np.eye(len(self.config.devices), dtype=np.float32).take(state["device"][rows], axis=0)
        return columns

    def describe(self, state: Arrays, rows: Ints) -> tuple[Ints | None, Ints | None]:
        """Device and number of the session of the readers at ``rows`` (n,), for the log."""
        device = state["device"][rows].astype(np.int64) if self.config.devices else None
        return device, state["session"][rows].astype(np.int64) if self._has_sessions else None

    def examination(self, slate_size: int) -> Floats:
        """Chance that each position is examined, float32 (K,); with devices, averaged over the readers."""
        if self.config.devices:
            share = np.array([device.share for device in self.config.devices], dtype=np.float32)
            mean: Floats = (self.examination_by_device(slate_size) * share).sum(axis=1)
            return mean
        base = self.config.examination if self.config.position_bias else 1.0
        return (base ** np.arange(slate_size)).astype(np.float32)

    def examination_by_device(self, slate_size: int) -> Floats:
        """The same on each device, float32 (K, devices): a power of the rank."""
        slope = np.array([device.rank_exponent if self.config.position_bias else 0.0 for device in self.config.devices])
        chance: Floats = (np.arange(1.0, slate_size + 1.0)[:, None] ** -slope).astype(np.float32)
        return chance

    # Births

    def spawn(self, reader_ids: Ints, noise: Noise) -> Arrays:
        """Interest, device, habit, enrolment; no trust, no memory, no satiation yet."""
        c, n = self.config, len(reader_ids)
        if c.interest_sd > 0:
            interest = normal_interest(self._centers.shape[1], c.interest_sd, noise)
        else:
            interest = mixed_interest(self._centers, c.taste_concentration, noise)
        base_gap = c.gap_median_hours * np.exp(c.gap_log_sd * noise.normal("base gap", "reader"))
        late = noise.uniform("late", "reader") < (c.enrolment_share if c.late_enrolment else 0.0)
        moment = c.enrolment_window_hours * noise.uniform("enrolment", "reader")
        columns: Arrays = {"seen_hours": np.zeros(n), "interest": interest}
        columns["base_gap_hours"] = base_gap.astype(np.float32)
        columns |= {name: np.zeros(n, dtype=np.float32) for name in ("trust", "value")}
        if self._has_sessions:
            columns["session_worth"] = np.zeros(n, dtype=np.float32)
            columns |= {name: np.zeros(n, dtype=np.int32) for name in ("session_clicks", "session")}
            columns["continues"] = np.zeros(n, dtype=np.bool_)
            if c.continuation_log_odds_sd > 0.0:
                lean = c.continuation_log_odds_sd * noise.normal("lean to go on", "reader")
                columns["lean_to_go_on"] = lean.astype(np.float32)
        columns |= self._returning.columns(n, noise)
        if c.devices:
            share_up_to = np.cumsum([device.share for device in c.devices])
            at = np.searchsorted(share_up_to, noise.uniform("device", "reader"), side="right")
            columns["device"] = np.minimum(at, len(c.devices) - 1).astype(np.uint8)
        columns["subscriber"] = np.zeros(n, dtype=np.bool_)
        beside: Arrays = {}
        for effect in self.effects:
            columns = _joined(columns, effect.columns(n, len(self._centers)))
            beside = _joined(beside, effect.beside(n))
        return PackedState(packed=pack(columns), enrolment_hours=np.where(late, moment, 0.0), **beside)

    def first_visit(self, state: Arrays, rows: Ints, noise: Noise) -> Doubles:
        """Part of a habitual gap after enrolment, at an hour of the day like any other visit's; surges aside."""
        enrolled = state["enrolment_hours"][rows]
        part = noise.uniform("first visit", "reader") * state["base_gap_hours"][rows]
        # Enrolment is uniform in operational time too: nobody enrols in hours without traffic.
        return self._day.clock(enrolled.astype(np.float64) + part)

    def arrive(self, state: Arrays, rows: Ints, joined: Doubles, noise: Noise) -> Doubles:
        """As the first readers after hour 0: a newcomer's first visit is part of a habitual gap after joining."""
        state["enrolment_hours"][rows] = joined
        part = noise.uniform("first visit", "reader") * state["base_gap_hours"][rows]
        # There and back again, no gap may come out as a moment too early.
        return np.maximum(self._day.clock(self._day.operational_at(joined) + part), joined)

    # Visits

    def respond(self, state: Arrays, rows: Ints, slate: SlateView, now: float, noise: Noise) -> Outcome:
        """Examine, click, read, judge: and tire, sate, trust more or less. Ends the session, or goes on."""
        c, n = self.config, len(rows)
        article_id, valid = slate.article_id.T, slate.valid.T
        noise.foresee(*self._draws)
        reader = take_rows(state[PACKED], rows)
        interest: Floats = np.ascontiguousarray(reader["interest"])
        # Against a click throughout: the same passes over the batch, and no division.
        coefficients = -self._coefficients(interest, now)
        against = np.empty(valid.shape, dtype=np.float32)
        topic = np.empty(valid.shape, dtype=np.int64)
        for first in range(0, len(valid), _POSITIONS_AT_ONCE):
            some = slice(first, first + _POSITIONS_AT_ONCE)
            articles = slate.scoring(some)
            np.einsum("knd,nd->kn", articles, coefficients, out=against[some])
            topic[some] = articles[..., Scoring.TOPIC]
        against -= np.float32(c.base_log_odds)
        shown = Shown(article_id, topic, rows, reader, state, slate.archive, now)
        found = [effect.oppose(shown, against) for effect in self.effects]
        odds_against = np.exp(np.minimum(against, np.float32(60.0), out=against), out=against)
        odds_against += np.float32(1.0)
        examined, clicks = self.look_and_click(odds_against, valid, noise, reader["device"] if c.devices else None)
        flat = np.flatnonzero(clicks)
        reaction = Reaction(examined, clicks, flat)
        # Soon after ``oppose``: what it has read is still in the cache.
        for effect, what in zip(self.effects, found, strict=True):
            effect.after(shown, what, reaction)
        positions, visit = np.divmod(flat, n)
        articles = slate.scoring_at(visit, positions)
        dwell = np.zeros(clicks.shape, dtype=np.float32)
        dwell.reshape(-1)[flat] = self._dwell.minutes(articles, interest, visit, positions, noise)
        reader["seen_hours"] = now
        satisfying = self._judge(reader, articles, visit, noise)
        subscribed = self._subscribe(reader["subscriber"], reader["trust"], satisfying, noise)
        reader["subscriber"] |= subscribed
        put_rows(state[PACKED], rows, reader)
        return Outcome(clicks=clicks.T, dwell_minutes=dwell.T, subscribed=subscribed)

    def look_and_click(
        self, odds_against: Floats, valid: Bools, noise: Noise, device: SmallInts | None
    ) -> tuple[Bools, Bools]:
        """Which impressions tire, and which are clicked: what another model of looking at a page overrides.

        Args:
            odds_against: ``1 + exp(-log-odds)`` of a click once examined, float32 (K, n), position-major; it may be
                overwritten.
            valid: the entry shows an article, (K, n); not to be changed.
            noise: of the visits.
            device: each reader's device, (n,); None in a world without devices.

        Returns:
            Exposures that the memory counts, and clicks, each bool (K, n): clicks are exposures, exposures are valid.
        """
        uniform = noise.uniform("click", "impression").T
        if device is None:
            chance = self.examination(len(valid))[:, None]
        else:
            chance = self.examination_by_device(len(valid)).take(device, axis=1)
        # One uniform: examined where it is below e, clicked where below e * sigmoid(log-odds).
        examined: Bools = (uniform < chance) & valid if self.config.only_examined_tire else valid
        odds_against *= uniform
        clicks: Bools = odds_against < chance
        clicks &= valid
        return examined, clicks

    def next_visit(self, state: Arrays, rows: Ints, outcome: Outcome, now: float, noise: Noise) -> Doubles:
        """The next page of the session; after its last one habit, trust and the hazard of leaving decide."""
        if not self._has_sessions:
            return self._return(state, rows, now, noise)
        hours = np.full(len(rows), self.config.page_gap_hours)
        ended = np.flatnonzero(~state["continues"][rows])
        hours[ended] = self._return(state, rows[ended], now, noise.of(ended))
        return hours

    def _return(self, state: Arrays, rows: Ints, now: float, noise: Noise) -> Doubles:
        """Habit, shortened by trust and a good session; then the hazard of leaving over that gap; interests drift."""
        c = self.config
        trust, value = state["trust"][rows], state["value"][rows]
        weight = np.float32(c.return_mix)
        pull = np.exp(np.float32(-self._kappa) * (weight * trust + (1 - weight) * value))
        own_hour = state[OWN_HOUR][rows] if self._returning.has_own_hours else None
        gap = self._returning.gap(self._rhythm, now, state["base_gap_hours"][rows], pull, own_hour, noise)
        if self._drifts:
            # Now, over the gap to come: at the next visit the state is what the reader is then, as oracles ask.
            state["interest"][rows] = drifted(state["interest"][rows], gap, c.interest_sd, c.drift_time_hours, noise)
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
        reader = ReadRows(state, rows)
        interest: Floats = reader["interest"]
        scoring = archive.scoring.take(article_id, axis=0)
        against = -(self._coefficients(interest, now) @ scoring.T + np.float32(c.base_log_odds))
        shape = (len(article_id), len(rows))
        topic = archive.column("topic")[article_id].astype(np.int64)
        every_id, every_topic = (np.broadcast_to(values[:, None], shape) for values in (article_id, topic))
        shown = Shown(every_id, every_topic, rows, reader, state, archive, now)
        for effect in self.effects:
            effect.oppose(shown, against.T)
        return sigmoid(-against), self._dwell.expected(scoring, interest)

    # Opens from elsewhere: see :class:`feedgym.env.readers.protocol.Roaming`

    def appeal(self, archive: Archive, article_id: Ints, now: float) -> tuple[Doubles, Doubles]:
        """Headline, quality and trend, and the age, as in a click's log-odds."""
        nobody = np.zeros((1, self._centers.shape[1]), dtype=np.float32)
        return common_log_odds(archive, article_id, self._coefficients(nobody, now)[0])

    def match(self, state: Arrays, rows: Ints, archive: Archive, article_id: Ints) -> Floats:
        """``taste <u, v>``."""
        return taste_log_odds(archive, article_id, PackedState(state)["interest"][rows], self._taste)

    def open_elsewhere(
        self, state: Arrays, rows: Ints, archive: Archive, article_id: Ints, now: float, noise: Noise
    ) -> Floats:
        """Read; topics sate and the article is remembered, as after a click. Trust and the next visit stay."""
        return read_elsewhere(state, rows, archive, article_id, now, noise, self.effects, self._dwell)

    def return_pull(self, archive: Archive, article_id: Ints) -> Doubles:
        """``kappa (e_a - e_none)``, float64 (N,), with ``e_a`` the value of a session that opens one article alone.

        The share ``1 - mix`` acts on the next gap; trust carries the share ``mix`` into it and the gaps after it, by
        ``a (1 - a)^j``, which sums to 1. Zero without delayed effects.
        """
        c = self.config
        quality = archive.column("quality")[article_id].astype(np.float64)
        clickbait = archive.column("clickbait")[article_id].astype(np.float64)
        value = _session_value(c.value_quality * quality - c.value_clickbait * clickbait, 1)
        pull: Doubles = self._kappa * (value - c.value_nothing)
        return pull

    # Parts

    def _coefficients(self, interest: Floats, now: float) -> Floats:
        """What an article's ``Archive.scoring`` row is multiplied with, (n, D + 6)."""
        c = self.config
        coefficients = np.empty((len(interest), interest.shape[1] + SCORING_EXTRA), dtype=np.float32)
        np.multiply(interest, self._taste, out=coefficients[:, Scoring.VECTOR])
        coefficients[:, Scoring.CLICKBAIT] = c.clickbait_weight if c.headline_appeal else 0.0
        coefficients[:, Scoring.QUALITY] = c.quality_weight if c.headline_appeal else 0.0
        coefficients[:, Scoring.APPEAL] = 1.0
        coefficients[:, Scoring.RATE_PUBLISHED] = 1.0 if c.decay else 0.0
        coefficients[:, Scoring.RATE] = -now if c.decay else 0.0
        coefficients[:, Scoring.TOPIC] = 0.0
        return coefficients

    def _judge(self, reader: AnyArray, articles: Floats, visit: Ints, noise: Noise) -> Ints:
        """Value and trust into ``reader`` (n,), from the clicks; returns clicks worth reading, (n,).

        Trust moves once a session, at its end, by the value of all of the session's clicks.
        """
        c, n = self.config, len(reader)
        worth = c.value_quality * articles[:, Scoring.QUALITY] - c.value_clickbait * articles[:, Scoring.CLICKBAIT]
        count = np.bincount(visit, minlength=n)
        total = np.bincount(visit, weights=worth, minlength=n)
        satisfying = np.bincount(visit[worth > 0.0], minlength=n)
        if self._has_sessions:
            count = count + reader["session_clicks"]
            total = total + reader["session_worth"]
        value = np.full(n, c.value_nothing, dtype=np.float32)
        some = np.flatnonzero(count)
        clicks = count[some]
        value[some] = _session_value(total[some] / clicks, clicks)
        trust = reader["trust"] * (1.0 - c.trust_step) + c.trust_step * value
        reader["value"] = value
        if self._has_sessions:
            lean = reader["lean_to_go_on"] if c.continuation_log_odds_sd > 0.0 else None
            continues = noise.uniform("continue") < self._continuation(value, lean)
            trust = np.where(continues, reader["trust"], trust)
            reader["session_clicks"] = count * continues
            reader["session_worth"] = total * continues
            reader["session"] += ~continues
            reader["continues"] = continues
        reader["trust"] = trust
        return satisfying

    def _continuation(self, value: Floats, lean: Floats | None = None) -> Floats | float:
        """s(e): chance of going on to the next page, for a session worth ``value`` (n,) so far, of such readers."""
        c = self.config
        if c.continuation_slope == 0.0 and lean is None:
            return c.continuation
        log_odds = np.float32(logit(c.continuation)) + np.float32(c.continuation_slope) * value
        return sigmoid(log_odds if lean is None else log_odds + lean)

    def _subscribe(self, subscriber: Bools, trust: Floats, satisfying: Ints, noise: Noise) -> Bools:
        """Each satisfying read may win a reader who is not a subscriber yet; all (n,)."""
        c = self.config
        if not c.subscription:
            return np.zeros(len(trust), dtype=np.bool_)
        chance = -np.expm1(np.float32(-c.subscribe_hazard) * np.exp(trust) * satisfying)
        subscribed: Bools = (noise.uniform("subscribe") < chance) & ~subscriber
        return subscribed


def _session_value(worth: Doubles, clicks: Ints | int) -> Doubles:
    """Value of sessions that opened so many articles, of so much worth on average."""
    value: Doubles = np.tanh(worth + 0.15 * np.log1p(clicks))
    return value
