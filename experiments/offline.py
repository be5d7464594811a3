"""Learning from a log alone: ``feedgym offline --log FOLDER --agent regression-dwell``.

The agent lives through the logged days and learns from what was served then (docs/offline.md). Where the log came from
a simulator, the agent is then deployed there, frozen, for the same days and the same readers: that is the truth.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from feedgym.agents.registry import AgentPlan, parse_agent
from feedgym.env.arrays import Doubles
from feedgym.env.checks import require
from feedgym.env.config import RewardConfig
from feedgym.experiments.checkpoint import save_arrays, write_json
from feedgym.experiments.run_config import RunConfig
from feedgym.experiments.train import one_torch_thread

if TYPE_CHECKING:
    from feedgym.agents.logged_site import LoggedSite
    from feedgym.agents.two_tower_agent import TwoTowerAgent
    from feedgym.env.feed import Feed

TRAINED = "trained.npz"
RESULT = "offline.json"
MOST_READERS, MOST_DAYS = 20_000_000, 3650
"""Of a world that is made again from a file's word."""


@dataclass(frozen=True, kw_only=True)
class OfflineConfig:
    """What learns from which log."""

    log: Path
    """Folder of a log (``feedgym log``, or any run), or a Parquet file with ``articles.parquet`` beside it."""
    agent: str = "regression-dwell"
    """Who learns: an agent of ``feedgym.agents`` with towers, maybe with settings."""
    deploy: bool | None = None
    """Serve the trained agent, frozen, where the log came from; by default if it came from a simulator."""
    seed: int | None = None
    """Of the agent's own stream; the log's if not given."""
    tick_hours: float | None = None
    """The clock's step of a log that has no ticks, in hours; 1/12 if not given."""
    estimate_days: float = 0.0
    """Last days of the log that are not learned from: on them, off-policy estimates say what the trained agent would
    have earned a visit, beside the truth where the log came from a simulator. 0: no estimates."""
    out: Path | None = None
    """Folder for the result and the trained agent; none are written if not given."""

    def __post_init__(self) -> None:
        """Check what can be checked without reading files."""
        plan = parse_agent(self.agent)
        require(plan.learns, "agent", self.agent, "an agent that learns, such as regression-dwell or reinforce")
        require(self.seed is None or self.seed >= 0, "seed", self.seed, ">= 0")
        require(self.estimate_days >= 0, "estimate_days", self.estimate_days, ">= 0 (days)")

    def plan(self) -> AgentPlan:
        """The agent."""
        return parse_agent(self.agent)


@dataclass(frozen=True, kw_only=True)
class OfflineResult:
    """What was learned, and what it is worth."""

    agent: str
    num_visits: int
    num_impressions: int
    propensities: str
    """``logged``, or ``unknown`` where some impressions have none."""
    why_unsupported: str | None
    """Why no other policy can be estimated from this log; None if one can."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the last trainings."""
    logger_reward: float | None = None
    """Of the logged policy, per reader per day; None if the log has no rewards."""
    deployed_reward: float | None = None
    """Of the trained agent, frozen, at the same readers on the same days: the truth. None if not deployed."""
    difference: float | None = None
    """Deployed less logger, per reader per day."""
    half_width: float | None = None
    """Of its 95 % interval, over readers (paired); the newsroom of one seed is taken as it is."""
    why_not_deployed: str | None = None
    estimates: tuple[Mapping[str, Any], ...] = ()
    """Reward a visit on the days that were kept back, by each estimator, with its diagnostics, and with ``truth``
    where it is known."""
    logged_visit_reward: float | None = None
    """What the logged policy earned a visit on these days."""


def simulated_run(settings: Mapping[str, Any] | None, *, trusted: bool = False) -> RunConfig:
    """The world that a log came from, made again from the log's settings; its agent is not.

    Args:
        settings: of the log; None of a site's own.
        trusted: import the reader model that the settings name. A log is a file from anywhere: by itself it may not
            say which code runs.

    Raises:
        ValueError: it cannot be, and why.
    """
    require(settings is not None, "log", "a site's own log", "one of a simulator, to deploy there")
    assert settings is not None
    names = {f.name for f in dataclasses.fields(RunConfig)} & settings.keys()
    require("world" in names, "settings of the log", sorted(settings)[:10], "those of feedgym log, train or compare")
    allowed = "the world's own newsroom: the file of articles is not part of the log"
    require(settings.get("articles") is None, "articles of the log", settings.get("articles"), allowed)
    own = settings.get("reader_model")
    require(own is None or trusted, "reader_model of the log", own, "--deploy, to say that this code may run")
    values = {name: settings[name] for name in names - {"articles"}} | {"agent": "random"}
    for name, most in (("readers", MOST_READERS), ("days", MOST_DAYS)):
        fits = isinstance(values.get(name), int | float) and values[name] <= most
        require(fits, f"{name} of the log", values.get(name), f"a number up to {most:,}")
    values["reward"] = RewardConfig(**settings.get("reward", {}))
    try:
        config = RunConfig(**values)
    except TypeError as error:
        raise ValueError(f"settings of the log: got {values}, needs those of a run ({error})") from error
    now, then = config.settings(), dict(settings)
    names = (now.keys() | then.keys()) - {"agent", "agent_sha256"}
    other = sorted(name for name in names if now.get(name) != then.get(name))
    require(not other, "settings of the log", other, "what this version makes of them: another one wrote this log")
    return config


def run(
    config: OfflineConfig,
    *,
    report: Callable[[float], None] | None = None,
) -> OfflineResult:
    """Train from the log, and deploy where that is possible.

    Args:
        config: which log, which agent.
        report: told of the logged days gone through.

    Raises:
        ValueError: whatever is wrong in the log; a deployment that was asked for and cannot be.
    """
    from feedgym.agents.logged_learning import learn_from_log
    from feedgym.agents.logged_site import LoggedSite
    from feedgym.agents.two_tower_agent import TwoTowerAgent
    from feedgym.env.log_reading import LogReader

    world, why_not = None, "not asked for"
    if config.deploy is not False:
        try:
            world = simulated_run(LogReader(config.log).config, trusted=config.deploy is True)
        except (ValueError, OSError) as error:
            if config.deploy:
                raise
            why_not = str(error)
    sizes = (1, 1, 1) if world is None else _feed(world).catalogue.category_sizes

    def opened() -> LoggedSite:
        return LoggedSite(config.log, tick_hours=config.tick_hours, seed=config.seed, category_sizes=sizes)

    site = opened()
    kept = 24.0 * (site.config.days - config.estimate_days)
    require(kept > 0, "estimate_days", config.estimate_days, f"less than the log's {site.config.days:g} days")
    plan = config.plan()
    # To an agent a log looks like the site that wrote it.
    agent = plan.start(cast("Feed", site))
    require(isinstance(agent, TwoTowerAgent), "agent", config.agent, "one of the learned agents")
    assert isinstance(agent, TwoTowerAgent)
    with one_torch_thread():
        learn_from_log(agent, site, report, until_hours=kept)
    logger = logged_rewards(site)
    summary = site.summary
    result = OfflineResult(
        agent=plan.label,
        num_visits=summary.num_visits,
        num_impressions=summary.num_rows,
        propensities="unknown" if summary.num_unknown else "logged",
        why_unsupported=summary.why_unsupported,
        metrics=agent.metrics(),
        logger_reward=None if logger is None else _per_day(logger.sum(), site, world),
        why_not_deployed=why_not if world is None else None,
    )
    if config.estimate_days:
        with one_torch_thread():
            result = _estimated(result, plan, agent, opened, world, kept)
    if world is not None:
        with one_torch_thread():
            deployed = deploy(plan, agent, world)
        result = _compared(result, deployed, logger, world)
    if config.out is not None:
        save_arrays(config.out / TRAINED, agent.snapshot())
        write_json(config.out / RESULT, dataclasses.asdict(result))
    return result


def _estimated(
    result: OfflineResult,
    plan: AgentPlan,
    trained: "TwoTowerAgent",
    opened: Callable[[], "LoggedSite"],
    world: RunConfig | None,
    from_hours: float,
) -> OfflineResult:
    """Off-policy estimates on the visits that were kept back, and the truth of the same where a world is known."""
    from feedgym.agents.logged_evaluation import evaluate_on_log
    from feedgym.agents.ope import report_table
    from feedgym.experiments.logged_truth import reward_on_logged_states

    def frozen(site: "LoggedSite") -> "TwoTowerAgent":
        agent = cast("TwoTowerAgent", plan.start(cast("Feed", site)))
        agent.adopt(trained)
        return agent

    site = opened()
    rng = np.random.default_rng(np.random.SeedSequence(site.seed, spawn_key=(0x0FE,)))
    evaluation = evaluate_on_log(frozen(site), site, from_hours=from_hours, rng=rng)
    truth = None
    if world is not None:
        site = opened()
        truth = float(reward_on_logged_states(frozen(site), site, world, from_hours=from_hours).mean())
    rows = tuple(report_table(evaluation, truth))
    return dataclasses.replace(result, estimates=rows, logged_visit_reward=evaluation.logged)


def deploy(plan: AgentPlan, trained: "TwoTowerAgent", world: RunConfig) -> Doubles:
    """Serve what was learned, frozen, from hour 0 to the horizon.

    Frozen, so that what is measured is what the log taught, not what was learned after it.

    Returns:
        What each reader brought over all days, (P,).

    Raises:
        ValueError: readers of this world show more of themselves than the log kept.
    """
    from feedgym.agents.two_tower_agent import TwoTowerAgent

    feed = _feed(world)
    agent = plan.start(feed)
    assert isinstance(agent, TwoTowerAgent)
    seen, logged = agent.model.config.reader_numeric, trained.model.config.reader_numeric
    allowed = f"{logged}, as in the log: deploy=False, or a reader model whose columns are devices"
    require(seen == logged, "columns of the site's readers", seen, allowed)
    agent.adopt(trained)
    total = np.zeros(world.readers)
    while not feed.done:
        visits = feed.visits
        served = agent.act(visits, feed.catalogue)
        outcome = feed.serve(served.article_id)
        # Nothing is kept: a frozen agent never trains.
        total[visits.rows] += outcome.reward
    return total


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


def _feed(world: RunConfig) -> "Feed":
    from feedgym.experiments.drive import make_drive

    return make_drive(world).feed


def _per_day(total: float, site: "LoggedSite", world: RunConfig | None) -> float:
    """Per enrolled reader where their number is known; else per reader who ever came."""
    if world is not None:
        return float(total) / (world.readers * world.days)
    return float(total) / (len(site.summary.reader_id) * site.config.days)


def _compared(result: OfflineResult, deployed: Doubles, logger: Doubles | None, world: RunConfig) -> OfflineResult:
    reward = float(deployed.mean()) / world.days
    if logger is None:
        return dataclasses.replace(result, deployed_reward=reward)
    before = np.zeros(world.readers)
    before[: len(logger)] = logger
    each = (deployed - before) / world.days
    width = 1.96 * float(each.std(ddof=1)) / math.sqrt(len(each)) if len(each) > 1 else None
    return dataclasses.replace(result, deployed_reward=reward, difference=float(each.mean()), half_width=width)


def result_text(result: OfflineResult) -> str:
    """The result in words."""
    lines = [f"{result.agent} learned from {result.num_visits:,} visits ({result.num_impressions:,} impressions)."]
    if result.propensities == "unknown":
        lines.append("Propensities: unknown in the log.")
    if result.why_unsupported is not None:
        lines.append(f"No other policy can be estimated from this log: {result.why_unsupported}.")
    if result.logger_reward is not None:
        lines.append(f"Logged policy: {result.logger_reward:.3f} per reader per day.")
    if result.deployed_reward is not None:
        words = f"Deployed, frozen, on the same days: {result.deployed_reward:.3f} per reader per day"
        if result.difference is not None and result.half_width is not None:
            words += f" ({result.difference:+.3f} +- {result.half_width:.3f}, 95 % over readers)"
        lines.append(words + ".")
    elif result.why_not_deployed is not None:
        lines.append(f"Not deployed: {result.why_not_deployed}.")
    if result.estimates:
        truth = result.estimates[0].get("truth")
        known = "" if truth is None else f", truth {truth:.3f}"
        lines.append(
            f"Reward a visit on the days kept back: logged {result.logged_visit_reward:.3f}{known}; estimates:"
        )
        lines += [_estimate_text(row) for row in result.estimates]
    return "\n".join(lines)


def _estimate_text(row: Mapping[str, Any]) -> str:
    line = f"  {row['estimator']:8} {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    line += f", effective sample {row['effective_sample_size']:,.0f}, unbiased: {row['unbiased_when']}"
    return line + (f" ({row['warnings']})" if row["warnings"] else "")


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    from feedgym.experiments.command import parsed, stopping

    config = parsed(OfflineConfig, args, "offline", __doc__)
    with stopping("offline"):
        result = run(config, report=lambda day: print(f"day {day:g} of the log", flush=True))
        print(f"\n{result_text(result)}")
        if config.out is not None:
            print(f"\nResult: {config.out / RESULT}   Trained agent: {config.out / TRAINED}")


if __name__ == "__main__":
    main()
