"""The worlds that ship: a site and its readers, by name (docs/mathematics.md 9)."""

import math
from dataclasses import dataclass, field

from feedgym.env.config import MEASURED_DAY, EventConfig, FeedConfig, HalfLifeClass, NewsroomConfig, OrganicConfig
from feedgym.env.readers import Device, NewsReaderConfig


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings of a site and of its readers that belong together."""

    description: str
    """One line."""
    feed: FeedConfig = field(default_factory=FeedConfig)
    """Readers, clock, slates, newsroom."""
    reader: NewsReaderConfig = field(default_factory=NewsReaderConfig)
    """How readers choose, read, tire, trust, return and leave."""


MEASURED = Preset(
    description="parameters from real logs and published figures: what a result about news should be run on",
    feed=FeedConfig(
        num_readers=3000,
        newcomers_per_day=0.0066,
        tick_hours=1.0 / 12.0,
        days=28.0,
        slate_size=10,
        newsroom=NewsroomConfig(
            articles_per_day=150.0,
            day_profile=MEASURED_DAY,
            half_lives=(
                HalfLifeClass(share=0.3, median_hours=6.0),
                HalfLifeClass(share=0.6, median_hours=12.0),
                HalfLifeClass(share=0.1, median_hours=72.0),
            ),
            half_life_log_sd=1.0,
            max_age_hours=168.0,
            num_topics=10,
            topic_exponent=1.1,
            spread=0.37 * 4.0,  # .37 in each of 16 dimensions
            events=EventConfig(per_day=1.0 / 8.0),
        ),
        organic=OrganicConfig(reference_opens_per_day=1.05, day_profile=MEASURED_DAY),
    ),
    reader=NewsReaderConfig(
        base_log_odds=-2.4,
        taste=1.0,
        interest_sd=0.605,
        drift_time_hours=2400.0,
        clickbait_weight=0.24,
        quality_weight=0.6,
        devices=(
            Device(name="phone", share=0.6, rank_exponent=1.0),
            Device(name="pc", share=0.4, rank_exponent=0.37),
        ),
        fatigue_weight=1.6,
        fatigue_half_life_hours=48.0,
        already_clicked_weight=0.56,
        memory_slots=256,  # several sessions of a heavy reader: 64 forget most of the evening before
        satiation_weight=0.16,
        satiation_step=1.0,
        satiation_half_life_hours=1.0,
        last_click_sates=True,
        dwell_log_minutes=math.log(13.0 / 60.0),
        dwell_log_sd=1.28,
        dwell_cap_minutes=30.0,
        value_nothing=-0.3,
        continuation=0.75,
        continuation_log_odds_sd=0.55,
        gap_median_hours=40.0,
        gap_log_sd=0.85,
        habit_exponent=1.0 / 0.9,  # Exp(1) ** (1 / .9) is Weibull of shape .9
        short_return_share=0.3,
        short_return_median_hours=0.4,
        short_return_log_sd=1.7,
        return_hour_habit=0.38,
        return_hour_sd_hours=0.4,
        return_sensitivity=0.8,
        leaving_per_day=0.006,
        day_profile=MEASURED_DAY,
    ),
)

WORLDS: dict[str, Preset] = {
    "vivid": Preset(description="strong signals, so that differences show within minutes on a laptop"),
    "measured": MEASURED,
}
"""Name -> preset."""
