"""Learning from a log alone: ``feedgym offline --log FOLDER --agent regression-dwell``.

The agent lives through the logged days and learns from what was served then (docs/guide/offline.md). Where the log came
from a simulator, the agent is then deployed there, frozen, for the same days and the same readers: that is the truth.
With --estimate-days, the last days are kept back, and off-policy estimates say what the agent would have earned on
them.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from feedgym.agents.registry import AgentPlan, parse_agent
from feedgym.env.arrays import Doubles
from feedgym.env.checks import require
from feedgym.experiments.logs import (
    Kept,
    OfflineResult,
    changed_world,
    deploy,
    feed_of,
    result_text,
    simulated_run,
    start,
    with_estimates,
)
from feedgym.experiments.runs import RunConfig, of_other_code, one_thread, save_arrays, write_json

if TYPE_CHECKING:
    from feedgym.agents.logged import LoggedSite

__all__ = ["OfflineConfig", "OfflineResult", "deploy", "logged_rewards", "main", "result_text", "run", "simulated_run"]

TRAINED = "trained.npz"
RESULT = "offline.json"
PICTURE = "estimates.png"


@dataclass(frozen=True, kw_only=True)
class OfflineConfig:
    """What learns from which log."""

    log: Path
    """Folder of a log (``feedgym log``, or any run), or a Parquet file with ``articles.parquet`` beside it."""
    agent: str = "regression-dwell"
    """Who learns: an agent of ``feedgym.agents`` with towers, maybe with settings."""
    deploy: bool | None = None
    """Serve the trained agent, frozen, where the log came from; by default if it came from a simulator."""
    deploy_seed: int | None = None
    """Deploy to other readers with other luck, of this seed, on the same days and articles. Not given: to the log's own
    readers and under the log's own luck, from which the agent has learned: optimistic, but paired with the log."""
    seed: int | None = None
    """Of the agent's own stream; the log's if not given."""
    tick_hours: float | None = None
    """The clock's step of a log that has no ticks, in hours; 1/12 if not given."""
    estimate_days: float = 0.0
    """Last days of the log that are not learned from: on them, off-policy estimates say what the trained agent would
    have earned a visit, beside the truth where the log came from a simulator. 0: no estimates."""
    reward_model: str = "auto"
    """Regression behind the estimators with a model of rewards, learned from the same days as the agent: ``auto`` (of
    minutes, or of clicks where the log pays for nothing else), an agent such as ``regression-dwell``, or ``none``."""
    propensities: Literal["auto", "logged", "estimated"] = "auto"
    """What estimates weigh by: the log's chances, or those of a model of who logged. ``auto``: the model where the log
    has none for some impressions."""
    reuse: bool = False
    """Deploy in today's world also where its code has changed since the log was written; the result says so."""
    out: Path | None = None
    """Folder for the result, its picture and the trained agent; none are written if not given."""

    def __post_init__(self) -> None:
        """Check what can be checked without reading files."""
        plan = parse_agent(self.agent)
        require(plan.learns, "agent", self.agent, "an agent that learns, such as regression-dwell or reinforce")
        require(self.seed is None or self.seed >= 0, "seed", self.seed, ">= 0")
        require(self.estimate_days >= 0, "estimate_days", self.estimate_days, ">= 0 (days)")
        require(self.deploy_seed is None or self.deploy_seed >= 0, "deploy_seed", self.deploy_seed, ">= 0")
        asked = self.deploy_seed is None or self.deploy is not False
        require(asked, "deploy_seed", self.deploy_seed, "None without deployment")
        kinds = ("auto", "logged", "estimated")
        require(self.propensities in kinds, "propensities", self.propensities, f"one of {', '.join(kinds)}")
        if self.reward_model not in ("auto", "none"):
            known = parse_agent(self.reward_model).learns
            require(known, "reward_model", self.reward_model, "auto, none, or a regression such as regression-dwell")

    def plan(self) -> AgentPlan:
        """The agent."""
        return parse_agent(self.agent)


def run(
    config: OfflineConfig,
    *,
    report: Callable[[float], None] | None = None,
) -> OfflineResult:
    """Train from the log, estimate and deploy where that is asked for and possible.

    Args:
        config: which log, which agent.
        report: told of the logged days gone through.

    Raises:
        ValueError: whatever is wrong in the log; a deployment that was asked for and cannot be.
    """
    with one_thread("torch", "faiss"):
        return _run(config, report)


def _run(config: OfflineConfig, report: Callable[[float], None] | None) -> OfflineResult:
    from feedgym.agents.logged import LoggedSite, learn_from_log
    from feedgym.agents.two_tower import TwoTowerAgent

    world, why_not = _world(config)
    sizes = (1, 1, 1) if world is None else feed_of(world).catalogue.category_sizes

    def opened(seed: int | None = None) -> LoggedSite:
        own = config.seed if seed is None else seed
        return LoggedSite(config.log, tick_hours=config.tick_hours, seed=own, category_sizes=sizes)

    site = opened()
    until = 24.0 * (site.config.days - config.estimate_days)
    require(until > 0, "estimate_days", config.estimate_days, f"less than the log's {site.config.days:g} days")
    plan = config.plan()
    agent = start(plan, site)
    require(isinstance(agent, TwoTowerAgent), "agent", config.agent, "one of the learned agents")
    learn_from_log(agent, site, report, until_hours=until)
    logger = logged_rewards(site)
    summary = site.summary
    result = OfflineResult(
        agent=plan.label,
        num_visits=summary.num_visits,
        num_impressions=summary.num_rows,
        propensities="unknown" if summary.num_unknown else "logged",
        why_unsupported=summary.why_unsupported,
        metrics=agent.metrics(),
        other_code=None if world is None else _other_code(config, world),
        logger_reward=None if logger is None else _per_day(logger.sum(), site, world),
        why_not_deployed=why_not if world is None else None,
        notes=tuple(note for note in (summary.why_doubtful, site.why_fewer, site.other_policy) if note is not None),
    )
    if config.estimate_days:
        estimate = config.propensities == "estimated" or (config.propensities == "auto" and summary.num_unknown > 0)
        kept = Kept(plan, agent, opened, until, world)
        result = with_estimates(result, kept, config.reward_model, estimate_propensities=estimate)
    if world is not None:
        deployed = deploy(plan, agent, world, seed=config.deploy_seed)
        result = _compared(dataclasses.replace(result, deploy_seed=config.deploy_seed), deployed, logger, world)
    if config.out is not None:
        save_arrays(config.out / TRAINED, agent.snapshot())
        _write(config.out, result)
    return result


def _world(config: OfflineConfig) -> tuple[RunConfig | None, str]:
    """Where the log came from, or why there is no deploying."""
    from feedgym.env.log import LogReader

    if config.deploy is False:
        return None, "not asked for"
    asked = bool(config.deploy) or config.deploy_seed is not None
    try:
        return simulated_run(LogReader(config.log).config, trusted=config.deploy is True, reuse=config.reuse), ""
    except (ValueError, OSError) as error:
        if asked:
            raise
        return None, str(error)


def _other_code(config: OfflineConfig, world: RunConfig) -> str | None:
    """What has changed of the log's world since, where it was taken all the same."""
    from feedgym.env.log import LogReader

    parts = changed_world(LogReader(config.log).config or {}, world)
    return of_other_code("The log's world is", parts) if parts else None


def _write(folder: Path, result: OfflineResult) -> None:
    write_json(folder / RESULT, dataclasses.asdict(result))
    if result.estimates:
        from feedgym.experiments.logs import draw_estimates

        draw_estimates(result, folder / PICTURE)


def logged_rewards(site: "LoggedSite") -> Doubles | None:
    """What each reader brought the logged policy, by the replay's rows, (P,); None where rewards are unknown."""
    if "reward" in site.summary.incomplete:
        return None
    total = np.zeros(site.config.num_readers)
    weight = site.config.reward.subscription
    for visits in site.log.visits():
        reward = visits["reward"].sum(axis=1) + weight * visits["subscribed"]
        total += np.bincount(site.rows_of(visits["reader_id"]), weights=reward, minlength=len(total))
    return total


def _per_day(total: float, site: "LoggedSite", world: RunConfig | None) -> float:
    """Per enrolled reader where their number is known; else per reader who ever came."""
    if world is not None:
        return float(total) / (world.readers * world.horizon_days)
    return float(total) / (len(site.summary.reader_id) * site.config.days)


def _compared(result: OfflineResult, deployed: Doubles, logger: Doubles | None, world: RunConfig) -> OfflineResult:
    reader_days = world.readers * world.horizon_days
    reward = float(deployed.sum()) / reader_days
    if logger is None:
        return dataclasses.replace(result, deployed_reward=reward)
    # A row for each reader, newcomers too; who never came to the logger brought it nothing.
    before = np.zeros(len(deployed))
    before[: len(logger)] = logger
    many = len(before)
    if result.deploy_seed is None:
        variance = float((deployed - before).var(ddof=1)) if many > 1 else math.nan
    else:
        # Other readers: nothing pairs them.
        variance = float(deployed.var(ddof=1) + before.var(ddof=1)) if many > 1 else math.nan
    width = 1.96 * math.sqrt(variance * many) / reader_days if many > 1 else None
    difference = float((deployed - before).sum()) / reader_days
    return dataclasses.replace(result, deployed_reward=reward, difference=difference, half_width=width)


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    from feedgym.experiments.cli import parsed, stopping

    config = parsed(OfflineConfig, args, "offline", __doc__)
    with stopping("offline"):
        result = run(config, report=lambda day: print(f"day {day:g} of the log", flush=True))
        print(f"\n{result_text(result)}")
        if config.out is not None:
            print(f"\nResult: {config.out / RESULT}   Trained agent: {config.out / TRAINED}")
            if result.estimates:
                print(f"Picture: {config.out / PICTURE}")


if __name__ == "__main__":
    main()
