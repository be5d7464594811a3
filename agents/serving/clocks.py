"""What is fresh when: the serving modes, and the clocks that they are settings of (docs/mathematics.md 2.7).

Time is in hours.
"""

import math
from dataclasses import dataclass
from typing import Literal

from feedgym.env.checks import require

ServingMode = Literal["realtime", "streaming", "batch"]
LONGEST_AHEAD_HOURS = 120.0
"""Of lists drawn ahead. Ages are referred to one hour as long as they serve, and float32 bears 160 of those."""


@dataclass(frozen=True, kw_only=True)
class Clocks:
    """How far what is served lags behind what a site knows."""

    item_refresh_hours: float = 0.0
    """New articles enter the index, and a trained model is put to work, at multiples of this; 0: at once."""
    reader_refresh_hours: float = 0.0
    """Readers' vectors (``slates_ahead``: their lists) are those of the latest multiple of this; 0: at request."""
    feature_lag_hours: float = 0.0
    """What a reader has done is known this much later."""
    train_every_hours: float = 6.0
    """Between trainings. A model is trained when it can be put to work: at the next refresh of the items."""
    slates_ahead: bool = False
    """Draw a list of slates for each known reader at the readers' clock; whoever is unknown gets one greedy list."""

    def __post_init__(self) -> None:
        """Check once."""
        for name in ("item_refresh_hours", "reader_refresh_hours", "feature_lag_hours"):
            hours = getattr(self, name)
            require(math.isfinite(hours) and hours >= 0, name, hours, ">= 0 (hours)")
        require(self.train_every_hours > 0, "train_every_hours", self.train_every_hours, "> 0 (hours)")
        made = self.reader_refresh_hours > 0 or not self.slates_ahead
        require(made, "reader_refresh_hours", self.reader_refresh_hours, "> 0 (hours) with serving='batch'")
        kept = self.reader_refresh_hours <= LONGEST_AHEAD_HOURS or not self.slates_ahead
        most = f"at most {LONGEST_AHEAD_HOURS:g} (hours) with serving='batch'"
        require(kept, "reader_refresh_hours", self.reader_refresh_hours, most)

    @property
    def readers_lag(self) -> bool:
        """Whether a reader is served by less than what is known of her at request."""
        return self.reader_refresh_hours > 0 or self.feature_lag_hours > 0

    def made_hours(self, now: float) -> float:
        """When the vectors in use at ``now`` were made, by the readers' clock."""
        return refreshed(now, self.reader_refresh_hours)


def period(now: float, every_hours: float) -> int:
    """Number of the latest multiple of ``every_hours`` (> 0) that is not after ``now``."""
    # A tick is a product, and may miss the multiple that it stands for by a rounding.
    return math.floor(now / every_hours + 1e-9)


def refreshed(now: float, every_hours: float) -> float:
    """The latest multiple of ``every_hours`` that is not after ``now``; ``now`` itself where it is 0."""
    return now if every_hours == 0 else period(now, every_hours) * every_hours


PRESETS: dict[ServingMode, Clocks] = {
    "realtime": Clocks(),
    # Articles and readers' features through a queue, in minutes; the model as often as in real time.
    "streaming": Clocks(item_refresh_hours=0.5, reader_refresh_hours=0.5, feature_lag_hours=0.25),
    # Everything in one nightly job.
    "batch": Clocks(item_refresh_hours=24.0, reader_refresh_hours=24.0, train_every_hours=24.0, slates_ahead=True),
}


def clocks_of(
    mode: ServingMode,
    item_refresh_hours: float | None,
    reader_refresh_hours: float | None,
    feature_lag_hours: float | None,
    train_every_hours: float | None,
) -> Clocks:
    """The preset of a mode, with the clocks that are not None set."""
    require(mode in PRESETS, "serving", mode, f"one of {', '.join(PRESETS)}")
    preset = PRESETS[mode]

    def hours(name: str, given: float | None) -> float:
        require(given is None or isinstance(given, int | float), name, given, "hours, or None: as the mode has it")
        return float(getattr(preset, name)) if given is None else float(given)

    return Clocks(
        item_refresh_hours=hours("item_refresh_hours", item_refresh_hours),
        reader_refresh_hours=hours("reader_refresh_hours", reader_refresh_hours),
        feature_lag_hours=hours("feature_lag_hours", feature_lag_hours),
        train_every_hours=hours("train_every_hours", train_every_hours),
        slates_ahead=preset.slates_ahead,
    )
