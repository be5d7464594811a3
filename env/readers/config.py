"""Settings of the default reader model. Defaults: ``vivid`` of docs/mathematics.md 9.3."""

import math
from dataclasses import dataclass

from feedgym.env.checks import require
from feedgym.env.config import SINE_DAY, check_profile


@dataclass(frozen=True, kw_only=True)
class Device:
    """What readers read on. A site sees it; a reader keeps it."""

    name: str
    """Such as ``phone``."""
    share: float
    """Share of the readers who have it."""
    rank_exponent: float
    """Chance that position k (0 on top) is examined: (k + 1) ** -rank_exponent."""

    def __post_init__(self) -> None:
        """Check."""
        require(0.0 <= self.share <= 1.0, "share", self.share, "between 0 and 1")
        require(self.rank_exponent >= 0.0, "rank_exponent", self.rank_exponent, ">= 0")


@dataclass(frozen=True, kw_only=True)
class NewsReaderConfig:
    """How readers choose, read, tire, trust, return and leave. Each mechanism has a switch."""

    # Choosing
    base_log_odds: float = -2.3
    """b0: log-odds of a click on a fresh article of average appeal, once examined."""
    taste: float = 3.0
    """Weight of the match between reader and article, <u, v>."""
    taste_concentration: float = 0.15
    """Dirichlet concentration of a reader's mix of topics: below 1, few topics."""
    interest_sd: float = 0.0
    """Above 0: interests are normal with this standard deviation in each dimension, instead of a mix of length 1."""
    drift_time_hours: float = 0.0
    """Above 0: such interests drift as an Ornstein-Uhlenbeck process with this relaxation time, between sessions."""
    clickbait_weight: float = 0.9
    """w_c: log-odds for a unit of clickbait."""
    quality_weight: float = 0.2
    """w_q: log-odds for a unit of quality."""
    examination: float = 0.85
    """Chance that position k is examined: examination ** k. Not with ``devices``."""
    devices: tuple[Device, ...] = ()
    """What readers read on, which decides what they examine; their shares sum to 1."""
    # Tiring
    fatigue_weight: float = 0.5
    """w_fat: log-odds lost for log(1 + k), k the decayed count of own unclicked exposures of the article."""
    fatigue_half_life_hours: float = 24.0
    """Half-life of that count."""
    already_clicked_weight: float = 0.5
    """w_again: log-odds lost on an article that the reader has clicked before."""
    memory_slots: int = 64
    """Articles that a reader's exposure memory can hold (article id modulo this; the newer evicts)."""
    only_examined_tire: bool = False
    """Exposures count that were examined, not all that were shown: examined if u < e, clicked if u < e p, one u."""
    satiation_weight: float = 1.0
    """w_sat: log-odds lost for a unit of satiation with the article's topic."""
    satiation_step: float = 0.35
    """Satiation with a topic gained by a click."""
    satiation_half_life_hours: float = 24.0
    """Half-life of satiation."""
    last_click_sates: bool = False
    """Only the last click's topic sates, by ``satiation_step`` at the click; else every click adds to its topic."""
    # Reading
    dwell_log_minutes: float = 0.0
    """d0: log of the median minutes on an average article."""
    dwell_quality: float = 0.45
    """d_q: log minutes for a unit of quality."""
    dwell_clickbait: float = 0.1
    """d_c: log minutes for a unit of clickbait. Positive: the harm does not show at once."""
    dwell_taste: float = 0.6
    """d_u: log minutes for the match <u, v>."""
    dwell_log_sd: float = 0.5
    """d_s: standard deviation of log minutes."""
    dwell_cap_minutes: float = 20.0
    """Longest read."""
    # Trusting
    trust_step: float = 0.2
    """a: how far one session moves trust towards its value e."""
    value_quality: float = 0.6
    """v_q: value of a clicked article for a unit of quality."""
    value_clickbait: float = 1.0
    """v_c: value lost for a unit of clickbait."""
    value_nothing: float = -0.4
    """e_none: value of a session without a click."""
    # Sessions
    continuation: float = 0.0
    """Chance of going on to the next page after a visit of value 0; 0: every visit is a session."""
    continuation_slope: float = 0.0
    """What a unit of the session's value so far adds to that chance's log-odds."""
    continuation_log_odds_sd: float = 0.0
    """Standard deviation of that chance's log-odds between readers: some read page after page."""
    page_gap_hours: float = 50.0 / 3600.0
    """Time on a page of a session; with a longer tick the next page falls into the next tick."""
    # Returning and leaving
    gap_median_hours: float = 8.0
    """Median of a reader's base gap b between sessions."""
    gap_log_sd: float = 0.6
    """Standard deviation of log b between readers."""
    habit_exponent: float = 0.6
    """Habit noise on each gap: Exp(1) ** habit_exponent."""
    short_return_share: float = 0.0
    """Chance that a return is short: a look at what is new, whatever the reader's base gap."""
    short_return_median_hours: float = 1.0
    """Median of short returns, times what trust and the session make of any gap."""
    short_return_log_sd: float = 1.0
    """Standard deviation of their logarithm."""
    return_hour_habit: float = 0.0
    """h: chance that a gap which is not short ends at the reader's own hour of the day, drawn from ``day_profile``."""
    return_hour_sd_hours: float = 0.5
    """Standard deviation of the moments of such returns around that hour."""
    return_sensitivity: float = 1.6
    """kappa: a session's value and trust shorten the next gap by exp(-kappa (mix S + (1 - mix) e))."""
    return_mix: float = 0.5
    """mix: share of slow trust S against the session's own value e in that."""
    leaving_per_day: float = 0.006
    """Hazard of leaving for good per day, at trust 0; times exp(-2 S)."""
    day_profile: tuple[float, ...] = SINE_DAY
    """Relative traffic in each hour of the day."""
    subscribe_hazard: float = 0.002
    """Hazard of subscribing for each satisfying read, at trust 0; times exp(S)."""
    enrolment_share: float = 0.0
    """Share of the first readers who enrol later, at uniform times in the window. Newcomers: ``FeedConfig``."""
    enrolment_window_hours: float = 336.0
    """Length of that window, from hour 0. Not the horizon: a longer run begins with the same bytes."""
    # Switches
    personal_taste: bool = True
    """Off: every reader weighs the match by 0, in clicks and in dwell."""
    headline_appeal: bool = True
    """Off: clickbait and quality do not move clicks (they still move dwell and value)."""
    position_bias: bool = True
    """Off: every position is examined."""
    decay: bool = True
    """Off: articles appeal alike until they expire."""
    fatigue: bool = True
    """Off: exposures and earlier clicks do not tire."""
    satiation: bool = True
    """Off: topics do not sate."""
    sessions: bool = True
    """Off: every visit is a session."""
    interest_drift: bool = True
    """Off: interests stay."""
    short_returns: bool = True
    """Off: no return is short."""
    own_hours: bool = True
    """Off: nobody has an hour of the day of their own."""
    surges: bool = True
    """Off: breaking events do not bring readers back sooner."""
    delayed_effects: bool = True
    """Off: kappa = 0 and a constant leaving hazard, so that what is served changes neither returning nor leaving."""
    leaving: bool = True
    """Off: nobody leaves."""
    daily_rhythm: bool = True
    """Off: gaps ignore the hour of the day."""
    late_enrolment: bool = True
    """Off: everybody is enrolled at hour 0."""
    subscription: bool = True
    """Off: nobody subscribes."""

    def __post_init__(self) -> None:
        """Check once, so that no step checks it again."""
        for name in ("taste_concentration", "fatigue_half_life_hours", "satiation_half_life_hours"):
            require(getattr(self, name) > 0, name, getattr(self, name), "> 0")
        for name in ("gap_median_hours", "dwell_cap_minutes", "enrolment_window_hours"):
            require(getattr(self, name) > 0, name, getattr(self, name), "> 0")
        for name in ("dwell_log_sd", "gap_log_sd", "habit_exponent", "leaving_per_day", "subscribe_hazard"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        require(self.short_return_median_hours > 0, "short_return_median_hours", self.short_return_median_hours, "> 0")
        for name in ("continuation_log_odds_sd", "short_return_log_sd", "return_hour_sd_hours"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        require(self.return_hour_sd_hours <= 3.0, "return_hour_sd_hours", self.return_hour_sd_hours, "at most 3")
        for name in ("short_return_share", "return_hour_habit"):
            require(0.0 <= getattr(self, name) <= 1.0, name, getattr(self, name), "between 0 and 1")
        for name in ("interest_sd", "drift_time_hours"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        require(self.page_gap_hours > 0, "page_gap_hours", self.page_gap_hours, "> 0 (hours)")
        require(0.0 <= self.continuation < 1.0, "continuation", self.continuation, "at least 0, below 1")
        require(math.isfinite(self.continuation_slope), "continuation_slope", self.continuation_slope, "finite")
        shares = sum(device.share for device in self.devices)
        require(not self.devices or abs(shares - 1.0) < 1e-9, "devices", shares, "shares that sum to 1")
        if self.drift_time_hours > 0:
            require(self.interest_sd > 0, "drift_time_hours", self.drift_time_hours, "0 where interest_sd is 0")
        for name in ("examination", "trust_step", "return_mix", "enrolment_share"):
            require(0.0 <= getattr(self, name) <= 1.0, name, getattr(self, name), "between 0 and 1")
        require(math.isfinite(self.base_log_odds), "base_log_odds", self.base_log_odds, "a finite number")
        power_of_two = self.memory_slots >= 1 and self.memory_slots & (self.memory_slots - 1) == 0
        require(power_of_two, "memory_slots", self.memory_slots, "a power of two, >= 1")
        check_profile("day_profile", self.day_profile)
