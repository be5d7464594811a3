"""The default reader again, one impression at a time, and sites that use all of its mechanisms."""

import dataclasses
import math
from typing import Any

import numpy as np

from feedgym.env import Feed, FeedConfig, HalfLifeClass, NewsReaderConfig, NewsroomConfig
from feedgym.env.config import EventConfig
from feedgym.env.noise import Noise
from feedgym.env.readers.config import Device

SEED, K = 3, 6


SITE = FeedConfig(
    newcomers_per_day=0.0,
    num_readers=24,
    days=2.0,
    slate_size=K,
    tick_hours=1.0 / 30.0,  # short, so that hours to the next visit are compared to two minutes
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
    continuation_log_odds_sd=0.8,
    page_gap_hours=0.04,
    gap_median_hours=4.0,
    short_return_share=0.4,
    short_return_median_hours=0.5,
    short_return_log_sd=0.7,
    return_hour_habit=0.3,
    return_hour_sd_hours=0.3,
)

EVENTS = EventConfig(per_day=2.0, surge_half_life_hours=4.0, trend_hours=20.0, trend_log_odds=1.5, burst_articles=2)

BUSY_SITE = dataclasses.replace(SITE, newsroom=dataclasses.replace(SITE.newsroom, max_age_hours=60.0, events=EVENTS))

CONFIGS = {"eager": EAGER, "modern": MODERN}


def site_of(config: NewsReaderConfig) -> FeedConfig:
    return BUSY_SITE if config.devices else SITE


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
        self.lean = config.continuation_log_odds_sd * float(noise.normal("lean to go on", "reader")[0])
        self.own_hour = self.walk(0.0, 24.0 * float(noise.uniform("own hour", "reader")[0]), [1.0])
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
            log_odds = math.log(c.continuation / (1 - c.continuation)) + c.continuation_slope * value + self.lean
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
        short = c.short_returns and float(noise.uniform("short return")[0]) < c.short_return_share
        brief = c.short_return_median_hours * math.exp(c.short_return_log_sd * float(noise.normal("short gap")[0]))
        hours = self.walk(now, pull * (brief if short else self.base_gap * habit))
        if c.own_hours and not short and float(noise.uniform("at own hour")[0]) < c.return_hour_habit:
            clear = 4.0 * c.return_hour_sd_hours
            days = [24.0 * (now // 24.0 + day) + self.own_hour - now for day in range(100)]
            nearest = min((end for end in days if end >= clear), key=lambda end: abs(end - hours))
            hours = nearest + c.return_hour_sd_hours * float(noise.normal("around own hour")[0])
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
    slates = np.full((len(feed.visits), K), -1, dtype=np.int64)
    newest = np.sort(feed.catalogue.article_id)[-14:] if len(slates) else slates
    for row, (reader, visit) in enumerate(zip(feed.visits.reader_id, feed.visits.visit, strict=True)):
        rng = np.random.default_rng((int(reader), int(visit), 1))
        slates[row] = np.where(rng.random(K) < 0.95, rng.choice(newest, K, replace=False), -1)
    return slates
