"""The default reader against a slow, plain version of its equations: one reader, one visit, one article at a time."""

import contextlib
import dataclasses
import functools
import math
from typing import Any

import numpy as np
import pytest

from feedgym.env import Feed, FeedConfig, HalfLifeClass, NewsReader, NewsReaderConfig, NewsroomConfig
from feedgym.env.config import EventConfig
from feedgym.env.noise import Noise
from feedgym.env.readers.config import Device
from feedgym.env.readers.protocol import SlateView

SEED, K = 3, 6
SITE = FeedConfig(
    num_readers=24,
    days=2.0,
    slate_size=K,
    tick_hours=1.0 / 60.0,  # short, so that hours to the next visit are compared to the minute
    # Few articles that live long: readers meet the same ones again, memory slots are fought for.
    newsroom=NewsroomConfig(articles_per_day=20.0, half_lives=(HalfLifeClass(share=1.0, median_hours=12.0),)),
)
# The default weights, but readers who come and click often, so that a short run tells.
EAGER = NewsReaderConfig(
    base_log_odds=-0.5,
    gap_median_hours=2.5,
    leaving_per_day=0.15,
    subscribe_hazard=0.1,
    enrolment_share=0.5,
    fatigue_weight=1.0,
    fatigue_half_life_hours=8.0,
    satiation_weight=2.0,
    satiation_half_life_hours=6.0,
    memory_slots=16,
    dwell_cap_minutes=4.0,
    enrolment_window_hours=40.0,
)
# The mechanisms of ``measured``, with weights that tell in a short run, and a site with breaking events.
MODERN = dataclasses.replace(
    EAGER,
    base_log_odds=0.5,
    taste=2.0,
    interest_sd=0.6,
    drift_time_hours=20.0,
    devices=(Device(name="phone", share=0.6, rank_exponent=1.0), Device(name="pc", share=0.4, rank_exponent=0.37)),
    only_examined_tire=True,
    satiation_step=4.0,
    last_click_sates=True,
    continuation=0.6,
    continuation_slope=1.0,
    page_gap_hours=0.04,
    gap_median_hours=4.0,
)
EVENTS = EventConfig(per_day=2.0, surge_half_life_hours=4.0, trend_hours=20.0, trend_log_odds=1.5, burst_articles=2)
BUSY_SITE = dataclasses.replace(SITE, newsroom=dataclasses.replace(SITE.newsroom, max_age_hours=60.0, events=EVENTS))
CONFIGS = {"eager": EAGER, "modern": MODERN}


def site_of(config: NewsReaderConfig) -> FeedConfig:
    return BUSY_SITE if config.devices else SITE


FORMS = ("only_examined_tire", "last_click_sates")
"""Two forms of a mechanism: no switches."""
SWITCHES = tuple(
    f.name for f in dataclasses.fields(NewsReaderConfig) if isinstance(f.default, bool) and f.name not in FORMS
)
NEW_SWITCHES = ("sessions", "interest_drift", "surges")
OLD_SWITCHES = tuple(name for name in SWITCHES if name not in NEW_SWITCHES)


# The plain version: docs/mathematics.md 9.2, in Python floats


class PlainReader:
    """One reader."""

    def __init__(self, config: NewsReaderConfig, reader_id: int, centers: Any, surge: list[float]) -> None:
        self.c, self.id, self.surge = config, reader_id, surge if config.surges else [1.0]
        noise = Noise(SEED, np.array([reader_id]))
        if config.interest_sd > 0:
            self.interest = (config.interest_sd * noise.normal("taste", "reader", size=centers.shape[1])[0]).tolist()
        else:
            mix = noise.gamma("taste", config.taste_concentration, size=len(centers))[0].tolist()
            raw = [
                sum(w * float(center[d]) for w, center in zip(mix, centers, strict=True))
                for d in range(centers.shape[1])
            ]
            length = math.sqrt(sum(x * x for x in raw))
            self.interest = [x / length for x in raw]
        self.exponent = None
        if config.devices:
            draw, up_to = float(noise.uniform("device", "reader")[0]), 0.0
            for device in config.devices:
                up_to += device.share
                if draw < up_to:
                    self.exponent = device.rank_exponent
                    break
        normal = float(noise.normal("base gap", "reader")[0])
        self.base_gap = config.gap_median_hours * math.exp(config.gap_log_sd * normal)
        late = float(noise.uniform("late", "reader")[0]) < config.enrolment_share and config.late_enrolment
        moment = config.enrolment_window_hours * float(noise.uniform("enrolment", "reader")[0])
        enrolled = moment if late else 0.0
        part = float(noise.uniform("first visit", "reader")[0])
        # From hour 0 on, in operational time, enrolment included.
        self.first_visit = self.walk(0.0, enrolled + part * self.base_gap, [1.0])
        self.session_worth: list[float] = []
        self.trust = 0.0
        self.satiation = [0.0] * len(centers)
        self.last_visit = 0.0
        self.visits = 0
        self.memory: dict[int, tuple[int, float, float, bool]] = {}
        self.subscriber = False

    def walk(self, now: float, operational_gap: float, surge: list[float] | None = None) -> float:
        """Clock hours until so much traffic has passed."""
        surge = self.surge if surge is None else surge
        profile = self.c.day_profile if self.c.daily_rhythm else (1.0,) * 24
        mean, left, clock = sum(profile) / 24.0, operational_gap, now
        while True:
            rate = profile[int(clock % 24.0)] / mean * (surge[int(clock)] if int(clock) < len(surge) else 1.0)
            end = math.floor(clock) + 1.0
            if rate * (end - clock) > left:
                return clock + left / rate - now
            left -= rate * (end - clock)
            clock = end

    def recall(self, article: int, now: float) -> tuple[float, bool]:
        held = self.memory.get(article % self.c.memory_slots)
        if held is None or held[0] != article:
            return 0.0, False
        return held[1] * 0.5 ** ((now - held[2]) / self.c.fatigue_half_life_hours), held[3]

    def visit(self, slate: list[dict[str, Any] | None], now: float) -> tuple[list[float | None], bool, float]:
        """Minutes read at each position (None: not clicked), subscribed, and hours to the next visit."""
        c = self.c
        fade = 0.5 ** ((now - self.last_visit) / c.satiation_half_life_hours)
        self.satiation = [s * fade for s in self.satiation]
        key = (SEED, np.array([self.id]), np.array([self.visits]))
        minutes: list[float | None] = []
        for position, article in enumerate(slate):
            if article is None:
                minutes.append(None)
                continue
            noise = Noise(*key, np.array([[article["id"]]]))
            match = (
                sum(u * v for u, v in zip(self.interest, article["vector"], strict=True)) if c.personal_taste else 0.0
            )
            q, clickbait = article["quality"], article["clickbait"]
            log_odds = c.base_log_odds + c.taste * match
            if c.headline_appeal:
                log_odds += c.clickbait_weight * clickbait + c.quality_weight * q
            if c.decay:
                log_odds += math.log(2.0 ** (-(now - article["published_hours"]) / article["half_life_hours"]))
            log_odds += article["trend"]
            if c.satiation:
                log_odds -= c.satiation_weight * self.satiation[article["topic"]]
            if c.fatigue:
                count, clicked_before = self.recall(article["id"], now)
                log_odds -= c.fatigue_weight * math.log(1.0 + count) + c.already_clicked_weight * clicked_before
            examined = c.examination**position if self.exponent is None else (position + 1.0) ** -self.exponent
            examined = examined if c.position_bias else 1.0
            chance = examined / (1.0 + math.exp(-log_odds))
            draw = float(noise.uniform("click", "impression")[0, 0])
            article["tires"] = draw < examined or not c.only_examined_tire
            if draw < chance:
                spread = c.dwell_log_sd * float(noise.normal("dwell", "impression")[0, 0])
                slopes = c.dwell_quality * q + c.dwell_clickbait * clickbait + c.dwell_taste * match
                minutes.append(min(c.dwell_cap_minutes, math.exp(c.dwell_log_minutes + slopes + spread)))
            else:
                minutes.append(None)
        self.keep(slate, minutes, now)
        worth = [
            c.value_quality * article["quality"] - c.value_clickbait * article["clickbait"]
            for article, read in zip(slate, minutes, strict=True)
            if article is not None and read is not None
        ]
        satisfying = sum(w > 0 for w in worth)
        worth = self.session_worth + worth
        value = math.tanh(sum(worth) / len(worth) + 0.15 * math.log(1 + len(worth))) if worth else c.value_nothing
        noise = Noise(*key)
        goes_on = False
        if c.sessions and c.continuation > 0:
            log_odds = math.log(c.continuation / (1 - c.continuation)) + c.continuation_slope * value
            goes_on = float(noise.uniform("continue")[0]) < 1.0 / (1.0 + math.exp(-log_odds))
        self.session_worth = worth if goes_on else []
        if not goes_on:
            self.trust = (1.0 - c.trust_step) * self.trust + c.trust_step * value
        hazard = c.subscribe_hazard * math.exp(self.trust) * satisfying
        wins = float(noise.uniform("subscribe")[0]) < 1.0 - math.exp(-hazard)
        subscribed = wins and c.subscription and not self.subscriber
        self.subscriber |= subscribed
        self.last_visit, self.visits = now, self.visits + 1
        return minutes, subscribed, c.page_gap_hours if goes_on else self.gap(value, now, noise)

    def keep(self, slate: list[dict[str, Any] | None], minutes: list[float | None], now: float) -> None:
        """Satiation and memory, from what stood there before this visit."""
        before = {article["id"]: self.recall(article["id"], now) for article in slate if article is not None}
        for article, read in zip(slate, minutes, strict=True):
            if article is None:
                continue
            count, clicked = before[article["id"]]
            held = (article["id"], count + (read is None), now, clicked or read is not None)
            if article["tires"]:
                self.memory[article["id"] % self.c.memory_slots] = held
            if read is not None and self.c.last_click_sates:
                self.satiation = [0.0] * len(self.satiation)
                self.satiation[article["topic"]] = self.c.satiation_step
            elif read is not None:
                self.satiation[article["topic"]] += self.c.satiation_step

    def gap(self, value: float, now: float, noise: Noise) -> float:
        c = self.c
        kappa = c.return_sensitivity if c.delayed_effects else 0.0
        pull = math.exp(-kappa * (c.return_mix * self.trust + (1.0 - c.return_mix) * value))
        habit = float(noise.exponential("habit")[0]) ** c.habit_exponent
        hours = self.walk(now, self.base_gap * pull * habit)
        if c.interest_drift and c.drift_time_hours > 0:
            kept = math.exp(-hours / c.drift_time_hours)
            spread = c.interest_sd * math.sqrt(1.0 - kept**2)
            draws = noise.normals("drift", len(self.interest))[0].tolist()
            self.interest = [kept * u + spread * z for u, z in zip(self.interest, draws, strict=True)]
        hazard = c.leaving_per_day * (math.exp(-2.0 * self.trust) if c.delayed_effects else 1.0)
        left = float(noise.uniform("leaving")[0]) < 1.0 - math.exp(-hazard * hours / 24.0)
        return math.inf if left and c.leaving else hours


def slates_for(feed: Feed) -> Any:
    """Some of the newest articles in some order; some entries show nothing."""
    newest = np.sort(feed.catalogue.article_id)[-14:]
    slates = np.full((len(feed.visits), K), -1, dtype=np.int64)
    for row, (reader, visit) in enumerate(zip(feed.visits.reader_id, feed.visits.visit, strict=True)):
        rng = np.random.default_rng((int(reader), int(visit), 1))
        slates[row] = np.where(rng.random(K) < 0.95, rng.choice(newest, K, replace=False), -1)
    return slates


def first_disagreement(shipped: NewsReaderConfig, plain: NewsReaderConfig) -> tuple[str, int]:
    """What the shipped reader and the plain one first differ in ("" if in nothing), and visits compared."""
    feed, compared = Feed(site_of(plain), NewsReader(shipped), SEED), 0
    newsroom: Any = feed.newsroom
    centers, surge = newsroom.centers.astype(np.float64), newsroom.surge(np.arange(2000)).tolist()
    readers = [PlainReader(plain, i, centers, surge) for i in range(SITE.num_readers)]
    events = newsroom.events.between(-200.0, 100.0)
    events = list(zip(events.hours.tolist(), events.topic.tolist(), strict=True))
    length, gain = site_of(plain).newsroom.events.trend_hours, site_of(plain).newsroom.events.trend_log_odds
    due = [math.ceil(reader.first_visit / SITE.tick_hours) for reader in readers]
    names = ("vector", "quality", "clickbait", "topic", "published_hours", "half_life_hours")
    while not feed.done:
        visits, slates, now = feed.visits, slates_for(feed), feed.now
        if visits.reader_id.tolist() != [i for i, tick in enumerate(due) if tick == feed.tick]:
            return "who comes", compared
        columns = {name: feed.catalogue.archive.column(name) for name in names}
        outcome = feed.serve(slates)
        trend = [sum(gain for at, topic in events if topic == t and at <= now < at + length) for t in range(16)]
        columns["trend"] = np.array(trend)[columns["topic"]]
        for row, reader in enumerate(visits.reader_id.tolist()):
            slate = [
                None if a < 0 else {"id": a} | {name: column[a].tolist() for name, column in columns.items()}
                for a in slates[row].tolist()
            ]
            minutes, subscribed, hours = readers[reader].visit(slate, now)
            compared += 1
            if outcome.clicks[row].tolist() != [m is not None for m in minutes]:
                return "clicks", compared
            if not np.allclose(outcome.dwell_minutes[row], [m or 0.0 for m in minutes], rtol=1e-5, atol=0.0):
                return "dwell", compared
            if bool(outcome.subscribed[row]) != subscribed:
                return "subscribed", compared
            if math.isinf(hours) != bool(outcome.left[row]):
                return "left", compared
            due[reader] = -1 if math.isinf(hours) else max(feed.tick, math.ceil((now + hours) / SITE.tick_hours))
    return "", compared


@pytest.mark.parametrize(
    ("base", "off"),
    [("eager", off) for off in (None, *OLD_SWITCHES)]
    + [("modern", off) for off in (None, *NEW_SWITCHES, "position_bias", "fatigue", "satiation", "delayed_effects")],
)
def test_equals_the_plain_version(base: str, off: str | None) -> None:
    config = CONFIGS[base] if off is None else dataclasses.replace(CONFIGS[base], **{off: False})
    difference, compared = first_disagreement(config, config)
    assert difference == ""
    assert compared > 200


WEIGHTS = tuple(f.name for f in dataclasses.fields(NewsReaderConfig) if type(f.default) is float)


MEANINGLESS = ("interest_sd", "drift_time_hours", "continuation", "continuation_slope", "page_gap_hours")
"""Weights that ``EAGER`` does not have."""
OF_SESSIONS = ("continuation", "continuation_slope", "page_gap_hours", "trust_step", "value_nothing")
OF_MODERN = (
    *("interest_sd", "drift_time_hours", "satiation_step", "satiation_half_life_hours", "fatigue_weight"),
    *OF_SESSIONS,
)
"""Weights that only ``MODERN`` has, or that mean something else there."""


def wrong_configs() -> dict[str, tuple[NewsReaderConfig, str]]:
    """Every weight a fifth too small, and where a sign is allowed, of the wrong sign."""
    found = {}
    for base, config in CONFIGS.items():
        for name in WEIGHTS:
            for factor in (0.8, -1.0):
                if (name in MEANINGLESS) if base == "eager" else (name not in OF_MODERN):
                    continue
                wrong = 0.2 if name == "dwell_log_minutes" else getattr(config, name) * factor
                with contextlib.suppress(ValueError):  # a setting that has no sign
                    found[f"{base} {name} {factor}"] = (dataclasses.replace(config, **{name: wrong}), base)
    return found


@pytest.mark.parametrize(("shipped", "base"), wrong_configs().values(), ids=wrong_configs())
def test_a_wrong_weight_or_sign_does_not_equal_it(shipped: NewsReaderConfig, base: str) -> None:
    assert first_disagreement(shipped, CONFIGS[base])[0] != ""


DEVICES_SWAPPED = tuple(
    dataclasses.replace(device, rank_exponent=other.rank_exponent)
    for device, other in zip(MODERN.devices, reversed(MODERN.devices), strict=True)
)


@pytest.mark.parametrize(
    "wrong", [{"only_examined_tire": False}, {"last_click_sates": False}, {"devices": DEVICES_SWAPPED}]
)
def test_another_form_of_a_mechanism_does_not_equal_it(wrong: dict[str, Any]) -> None:
    assert first_disagreement(dataclasses.replace(MODERN, **wrong), MODERN)[0] != ""


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_that_is_not_obeyed_does_not_equal_it(switch: str) -> None:
    base = MODERN if switch in NEW_SWITCHES else EAGER
    assert first_disagreement(base, dataclasses.replace(base, **{switch: False}))[0] != ""


# Switches: the parameters of a mechanism matter when it is on, and do not when it is off

PARAMETERS = {
    "personal_taste": {"taste": 1.0, "dwell_taste": 0.1},
    "headline_appeal": {"clickbait_weight": 0.2, "quality_weight": 1.0},
    "position_bias": {"examination": 0.5},
    "fatigue": {
        "fatigue_weight": 2.0,
        "already_clicked_weight": 2.0,
        "fatigue_half_life_hours": 5.0,
        "memory_slots": 4,
    },
    "satiation": {"satiation_weight": 3.0, "satiation_step": 1.0, "satiation_half_life_hours": 5.0},
    "delayed_effects": {"return_sensitivity": 0.3},
    "leaving": {"leaving_per_day": 0.6},
    "daily_rhythm": {"day_profile": (1.0,) * 12 + (3.0,) * 12},
    "late_enrolment": {"enrolment_share": 0.9, "enrolment_window_hours": 20.0},
    "subscription": {"subscribe_hazard": 0.3},
    "sessions": {"continuation": 0.2, "continuation_slope": -1.0, "page_gap_hours": 0.4},
    "interest_drift": {"drift_time_hours": 5.0},
}
OBSERVED = ("clicks", "dwell_minutes", "subscribed", "left", "hours_to_next_visit")


@functools.lru_cache(maxsize=64)
def story(config: NewsReaderConfig) -> list[bytes]:
    feed = Feed(dataclasses.replace(site_of(config), tick_hours=0.25), NewsReader(config), SEED)
    told = []
    while not feed.done:
        told.append(feed.visits.reader_id.tobytes())
        outcome = feed.serve(slates_for(feed))
        told += [np.asarray(getattr(outcome, name)).tobytes() for name in OBSERVED]
    return told


@pytest.mark.parametrize(
    ("switch", "name", "value"), [(s, n, v) for s, changes in PARAMETERS.items() for n, v in changes.items()]
)
def test_a_mechanism_matters_when_on_and_vanishes_when_off(switch: str, name: str, value: Any) -> None:
    base = MODERN if switch in NEW_SWITCHES else EAGER
    other = dataclasses.replace(base, **{name: value})
    assert story(base) != story(other)
    assert story(dataclasses.replace(base, **{switch: False})) == story(dataclasses.replace(other, **{switch: False}))


def test_every_switch_is_tested() -> None:
    assert set(PARAMETERS) | {"decay", "surges"} == set(SWITCHES)


# What a switch turns off, seen in what is expected of single articles


def used_feed(base: NewsReaderConfig = EAGER, **settings: Any) -> Feed:
    """A feed in which readers have clicked and tired for a day; the articles live on."""
    site = dataclasses.replace(site_of(base), tick_hours=0.5)
    feed = Feed(site, NewsReader(dataclasses.replace(base, **settings)), SEED)
    while feed.tick < 60:
        feed.serve(slates_for(feed))
    return feed


def expected(feed: Feed, **changes: Any) -> tuple[Any, Any]:
    rows, ids = np.arange(SITE.num_readers), np.sort(feed.catalogue.article_id)
    model: Any = feed.reader_model
    return model.expected_response(feed.state | changes, rows, feed.catalogue.archive, ids, feed.now)


def logit(p: Any) -> Any:
    p = p.astype(np.float64)
    return np.log(p / (1.0 - p))


def test_decay_halves_the_odds_at_each_half_life_and_can_be_switched_off() -> None:
    feed, still = used_feed(), used_feed(decay=False)
    archive, ids = feed.catalogue.archive, np.sort(feed.catalogue.article_id)
    rows, model = np.arange(4), NewsReader(EAGER)
    half = 12.0
    for one, loss in (
        (model, math.log(2.0) * half / archive.column("half_life_hours")[ids]),
        (NewsReader(dataclasses.replace(EAGER, decay=False)), 0.0),
    ):
        fresh = dict(feed.state, memory=np.full_like(feed.state["memory"], -1), satiation=0 * feed.state["satiation"])
        now, later = (one.expected_response(fresh, rows, archive, ids, t)[0] for t in (feed.now, feed.now + half))
        np.testing.assert_allclose(logit(now) - logit(later), np.broadcast_to(loss, now.shape), atol=2e-3)
    assert not np.array_equal(expected(feed)[0], expected(still)[0])


def test_effects_have_the_right_direction() -> None:
    feed = used_feed()
    state, click = feed.state, expected(feed)[0]
    rested = expected(feed, satiation=np.zeros_like(state["satiation"]))[0]
    assert np.all(rested >= click)
    assert np.any(rested > click + 0.01)
    forgetful = expected(feed, memory=np.full_like(state["memory"], -1))[0]
    assert np.all(forgetful >= click)
    assert np.any(forgetful > click + 0.01)
    ids, archive = np.sort(feed.catalogue.article_id), feed.catalogue.archive
    match = state["interest"] @ archive.column("vector")[ids].T
    log_minutes = np.log(expected(feed)[1])
    fresh = logit(expected(feed, satiation=0 * state["satiation"], memory=np.full_like(state["memory"], -1))[0])
    assert np.corrcoef(match.ravel(), fresh.ravel())[0, 1] > 0.3
    assert np.corrcoef(match.ravel(), log_minutes.ravel())[0, 1] > 0.2
    for switch, weight in (("fatigue", "memory"), ("satiation", "satiation")):
        off = used_feed(**{switch: False})
        with pytest.raises(KeyError):  # nothing of it is kept
            off.state[weight]
        np.testing.assert_array_equal(expected(off)[0], expected(off, **{weight: state[weight]})[0])


def test_a_fresh_average_article_is_clicked_at_the_base_rate() -> None:
    model = NewsReader(NewsReaderConfig())
    feed = Feed(SITE, model, SEED)
    archive = feed.catalogue.archive
    archive.scoring[0] = 0.0
    click, minutes = feed.reader_model.expected_response(feed.state, np.arange(3), archive, np.array([0]), 0.0)  # type: ignore[attr-defined]
    np.testing.assert_allclose(click, 1.0 / (1.0 + math.exp(2.3)), rtol=1e-5)
    # The mean of a log-normal of median 1 and log-sd .5; the cap of 20 is six standard deviations away.
    np.testing.assert_allclose(minutes, math.exp(0.125), rtol=1e-3)


def test_delayed_effects_off_makes_the_leaving_hazard_constant() -> None:
    """Trust moves neither the next gap nor the chance to leave."""
    on, off = NewsReader(EAGER), NewsReader(dataclasses.replace(EAGER, delayed_effects=False))
    n = 4000
    ids = np.arange(n, dtype=np.int64)
    state = on.spawn(ids, Noise(SEED, ids))
    found: dict[str, list[Any]] = {"on": [], "off": []}
    for trust in (-0.8, 0.8):
        state["trust"][:] = state["value"][:] = trust
        for label, model in (("on", on), ("off", off)):
            found[label].append(model.next_visit(state, ids, None, 10.0, Noise(SEED, ids, ids * 0)))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found["off"][0], found["off"][1])
    stay = np.isfinite(found["on"][0]) & np.isfinite(found["on"][1])
    assert np.all(found["on"][0][stay] > found["on"][1][stay])
    assert np.isinf(found["on"][0]).mean() > 5 * np.isinf(found["on"][1]).mean()
    # The hazard is per day of absence, not per visit: 1 - exp(-lambda gap), averaged over the readers.
    calm = NewsReader(dataclasses.replace(EAGER, leaving=False, delayed_effects=False))
    gaps = calm.next_visit(state, ids, None, 10.0, Noise(SEED, ids, ids * 0))  # type: ignore[arg-type]
    chance = -np.expm1(-EAGER.leaving_per_day * gaps / 24.0)
    assert abs(np.isinf(found["off"][0]).sum() - chance.sum()) < 4.0 * math.sqrt((chance * (1 - chance)).sum())


# What oracles ask


@pytest.mark.parametrize("base", CONFIGS.values(), ids=CONFIGS)
def test_expected_response_equals_the_mean_of_respond_and_changes_no_state(base: NewsReaderConfig) -> None:
    feed = used_feed(base, position_bias=False)
    model: Any = feed.reader_model
    before = {name: column.copy() for name, column in feed.state.items()}
    ids = np.random.default_rng(4).permutation(feed.catalogue.article_id)[:12].astype(np.int64)
    n, rejected = 8000, 0
    for reader in (0, 5, 11):
        row = np.array([reader])
        click, minutes = model.expected_response(feed.state, row, feed.catalogue.archive, ids, feed.now)
        # The same reader many times over, under other luck.
        many = {name: np.repeat(column[row], n, axis=0) for name, column in feed.state.items()}
        slates = np.repeat(ids[:, None], n, axis=1).T
        keys = np.arange(n, dtype=np.int64)
        view = SlateView(feed.catalogue.archive, slates, np.ones(slates.shape, dtype=np.bool_), feed.now)
        outcome = model.respond(many, keys, view, feed.now, Noise(77, keys, keys * 0, slates))
        p, rate = click[0].astype(np.float64), outcome.clicks.mean(axis=0)
        z = (rate - p) / np.sqrt(p * (1 - p) / n)
        assert np.abs(z).max() < 4.0
        count = outcome.clicks.sum(axis=0)
        read = np.where(outcome.clicks, outcome.dwell_minutes, 0.0).astype(np.float64)
        mean = read.sum(axis=0) / count
        sd = np.sqrt((read**2).sum(axis=0) / count - mean**2)
        assert np.abs((mean - minutes[0]) * np.sqrt(count) / sd).max() < 4.0
        # The check can fail: on what is expected of another reader.
        other = model.expected_response(feed.state, row + 1, feed.catalogue.archive, ids, feed.now)[0][0]
        rejected += int(np.abs((rate - other) / np.sqrt(other * (1 - other) / n)).max() > 4.0)
    assert rejected == 3
    for name, column in feed.state.items():
        assert column.tobytes() == before[name].tobytes(), name


def test_the_cap_counts_in_expected_minutes() -> None:
    config = NewsReaderConfig(dwell_cap_minutes=2.0, dwell_log_minutes=1.0, dwell_log_sd=1.0)
    model, draws = NewsReader(config), np.random.default_rng(0).standard_normal(200_000)
    for shift in (-1.0, 0.5, 3.0):
        read = np.minimum(np.exp(shift + draws), 2.0)
        found = float(model._dwell.mean_minutes(np.array([shift], dtype=np.float32))[0])
        assert found == pytest.approx(read.mean(), abs=4.0 * read.std() / math.sqrt(len(read)) + 0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory_slots": 48}, "memory_slots: got 48, needs a power of two"),
        ({"examination": 1.1}, "examination: got 1.1, needs between 0 and 1"),
        ({"gap_median_hours": 0.0}, "gap_median_hours: got 0.0, needs > 0"),
        ({"leaving_per_day": -0.1}, "leaving_per_day: got -0.1, needs >= 0"),
        ({"base_log_odds": math.nan}, "base_log_odds: got nan, needs a finite number"),
        ({"day_profile": (1.0,) * 5}, "day_profile: got 5, needs 24 weights"),
        ({"continuation": 1.0}, "continuation: got 1.0, needs at least 0, below 1"),
        ({"drift_time_hours": 10.0}, "drift_time_hours: got 10.0, needs 0 where interest_sd is 0"),
        ({"devices": MODERN.devices[:1]}, "devices: got 0.6, needs shares that sum to 1"),
        ({"page_gap_hours": 0.0}, "page_gap_hours: got 0.0, needs > 0"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NewsReaderConfig(**settings)


def test_a_subclass_stays_itself_in_a_feed() -> None:
    class Patient(NewsReader):
        def next_visit(self, *args: object) -> np.ndarray:
            return np.full(len(args[1]), 5.0)  # type: ignore[arg-type]

    feed = Feed(FeedConfig(num_readers=20, days=1.0), Patient())
    assert isinstance(feed.reader_model, Patient)
    while len(feed.visits) == 0:
        feed.serve(np.zeros((0, 8), dtype=np.int64))
    slates = np.tile(feed.catalogue.article_id[:8], (len(feed.visits), 1))
    assert (feed.serve(slates).hours_to_next_visit == 5.0).all()
