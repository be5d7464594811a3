"""Study: what staleness costs in reward, and what freshness costs in serving, on ``vivid`` and ``measured``.

Each clock of serving is varied alone around real time (``item_refresh_hours``, ``reader_refresh_hours``,
``feature_lag_hours``, ``train_every_hours``), then the modes, then cheap baselines; all paired. What serving takes is
counted in the runs; CPU time is measured in a separate short pass in which the modes take turns.
Settings: ``staleness_settings.py``.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feedgym.experiments.benchmarks import WARM_DAYS, ServingFigures, measure
from feedgym.experiments.compare import CompareResult
from feedgym.experiments.compare import run as compare
from feedgym.experiments.runs import code_with, kept_result
from feedgym.experiments.studies.freshness import staleness_settings as settings
from feedgym.experiments.studies.freshness.staleness_plot import plot_staleness
from feedgym.experiments.studies.freshness.staleness_tables import cost_table, hours_table, pairs_table, reward_table
from feedgym.experiments.studies.units import Unit, run_units, size_words

COST_READERS = 5_000
COST_SEED = 7800
COST_MINUTES = 5.0
"""Of one core, for each world, about (see ``pace.py``)."""


def run(out: Path, reuse: bool = False) -> str:
    """Both worlds, their tables, and the picture beside them."""
    results = {
        world: compare(dataclasses.replace(settings.config(world, out), reuse=reuse)) for world in settings.WORLDS
    }
    costs = {world: costs_of(world, _cost_path(world, out), reuse) for world in settings.WORLDS}
    runs = {world: result.runs for world, result in results.items()}
    plot_staleness(settings.SETTINGS, runs, costs, out / "staleness.png")
    return "\n\n".join(_world(world, results[world], costs[world]) for world in settings.WORLDS) + "\n"


def units(out: Path) -> list[Unit]:
    """The runs of both worlds, and what is timed."""
    runs = [unit for world in settings.WORLDS for unit in run_units(settings.config(world, out), world)]
    return [*runs, *(cost_unit(world, _cost_path(world, out)) for world in settings.WORLDS)]


def cost_unit(world: str, path: Path) -> Unit:
    """What is timed in a world, in one pass."""
    agents = [setting.agent for setting in settings.SETTINGS if setting.is_timed]
    return Unit(
        group=f"{world}: CPU time",
        seed=COST_SEED,
        size=size_words(COST_READERS, WARM_DAYS + 1),
        path=path,
        settings={"world": world, "readers": COST_READERS, "seed": COST_SEED, "agents": agents},
        code=code_with(measure.__module__),
        minutes=COST_MINUTES,
    )


def _cost_path(world: str, out: Path) -> Path:
    return out / f"cost-{world}.json"


def costs_of(world: str, path: Path, reuse: bool = False) -> dict[str, ServingFigures]:
    """CPU time of serving, by name of those settings that are timed, measured once and kept in ``path``."""
    timed = [setting for setting in settings.SETTINGS if setting.is_timed]
    unit = cost_unit(world, path)

    def measured() -> list[dict[str, Any]]:
        found = measure(unit.settings["agents"], readers=COST_READERS, world=world, seed=COST_SEED)
        return [dataclasses.asdict(figures) for figures in found]

    found = kept_result(path, unit.settings, measured, code=unit.code, reuse=reuse)
    return {setting.name: ServingFigures(**figures) for setting, figures in zip(timed, found, strict=True)}


def _world(world: str, result: CompareResult, costs: Mapping[str, ServingFigures]) -> str:
    seeds, readers, days = result.ranking.seeds, result.ranking.num_readers, result.ranking.days
    head = f"{readers:,} readers, {days:g} days, seeds {seeds[0]} to {seeds[-1]}; per reader per day, paired."
    per_tick = next(iter(costs.values())).visits_per_tick
    cost_head = (
        f"What 1,000 visits of these runs take, means over seeds. The last five columns: "
        f"{COST_READERS:,} readers on day {WARM_DAYS + 1}, {per_tick:.0f} visits a tick in real time, one thread, "
        "serving without training; ratio: to real time."
    )
    hours_head = "Reward per visit against real time, by hours since midnight, when all was made anew:"
    parts = [
        *(f"## `{world}`", head, reward_table(result.runs, settings.SETTINGS)),
        *("Steps between:", pairs_table(result.runs, settings.SETTINGS)),
        *(hours_head, hours_table(result.runs, settings.SETTINGS)),
        *(cost_head, cost_table(result.runs, settings.SETTINGS, costs)),
    ]
    return "\n\n".join(parts)
