"""Settings of the study ``staleness``: one clock at a time around real time, the serving modes, cheap baselines.

No setting was tuned: clocks stand on a grid, everything else is as it ships when the study is run. The seeds are fresh,
and were frozen with all settings before they were run. Time is in hours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from feedgym.agents.registry import parse_agent
from feedgym.experiments.compare import CompareConfig

SEEDS = (7800, 7801, 7802, 7803, 7804)
WORLDS = ("vivid", "measured")
READERS, DAYS = 600, 5.0
WARM_DAYS = 2
"""The model that is trained least often, every 48 hours, serves from then on: later days are shown apart."""

AGENT, OTHER = "regression-dwell", "reinforce"
CLOCKS = {
    "item_refresh_hours": (0.5, 1.0, 6.0, 24.0),
    "reader_refresh_hours": (1.0, 6.0, 24.0),
    "feature_lag_hours": (0.5, 6.0),
    "train_every_hours": (1.0, 24.0, 48.0),
}
"""Real time has 0, 0, 0 and 6."""
CLOCK_NAMES = {
    "item_refresh_hours": "items",
    "reader_refresh_hours": "readers",
    "feature_lag_hours": "lag",
    "train_every_hours": "training",
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One agent of the study."""

    group: str
    """What it varies: a clock, ``mode``, ``baseline``, or the other agent's name."""
    name: str
    """Short name in tables and pictures."""
    agent: str
    """As on the command line."""
    reference: str
    """The agent in real time that it is compared with."""
    hours: float | None = None
    """What the clock that is varied is set to."""

    @property
    def label(self) -> str:
        """The name of its runs."""
        return parse_agent(self.agent).label

    @property
    def is_reference(self) -> bool:
        """Whether it is what others are compared with."""
        return self.agent == self.reference

    @property
    def is_timed(self) -> bool:
        """Whether CPU time of its serving is taken: of the modes, and of baselines."""
        return self.group in ("mode", "baseline")


def _with(agent: str, **settings: object) -> str:
    words = ",".join(f"{name}={value}" for name, value in settings.items())
    return f"{agent}:{words}" if words else agent


def _both_clocks(hours: float) -> dict[str, float]:
    return {"item_refresh_hours": hours, "reader_refresh_hours": hours}


def _settings() -> Iterator[Setting]:
    def own(group: str, name: str, **settings: object) -> Setting:
        return Setting(group=group, name=name, agent=_with(AGENT, **settings), reference=AGENT)

    yield own("mode", "realtime")
    yield own("mode", "streaming", serving="streaming")
    yield own("mode", "batch", serving="batch")
    # A list ahead has five slates by default, for later pages; with one, these repeat the first.
    yield own("mode", "batch of 1 slate", serving="batch", list_depth=1)
    # Between real time and batch: the same clocks, slates at request; slates ahead, more often.
    yield own("mode", "daily vectors", **_both_clocks(24.0), train_every_hours=24.0)
    for hours in (6.0, 1.0):
        yield own("mode", f"batch {hours:g} h", serving="batch", **_both_clocks(hours), train_every_hours=6.0)
    for clock, values in CLOCKS.items():
        for hours in values:
            group = CLOCK_NAMES[clock]
            yield replace(own(group, f"{group} {hours:g} h", **{clock: hours}), hours=hours)
    for name in ("recent", "popular"):
        yield Setting(group="baseline", name=name, agent=name, reference=AGENT)
    for mode in ("realtime", "batch"):
        agent = _with(OTHER, **({} if mode == "realtime" else {"serving": mode}))
        yield Setting(group=OTHER, name=f"{OTHER} {mode}", agent=agent, reference=OTHER)


SETTINGS = tuple(_settings())


def config(world: str, out: Path) -> CompareConfig:
    """All settings in one world. The ranking of the catalogue is not evaluated: it would cost more than the runs."""
    return CompareConfig(
        agents=tuple(setting.agent for setting in SETTINGS),
        seeds=SEEDS,
        world=world,
        readers=READERS,
        days=DAYS,
        out=out / world,
        evaluate_visits=0,
        log=False,
    )
