"""What the studies of learning from logs share: a log, agents that learn from its first days, and what these earn.

The log goes on for some days beyond those that are learned from. The agent is deployed, frozen, on these: in the same
world, to the same readers in the state in which the logger left them, but with articles and luck that it has not
learned from. All agents of a seed start from that same state.
Shapes: n visits, K positions, M shortlist, R logged impressions.
"""

import dataclasses
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from feedgym.agents.off_policy import effective_sample_size
from feedgym.agents.registry import parse_agent
from feedgym.agents.slate_policy import Draw, slate_marginals
from feedgym.env.arrays import Doubles, Ints
from feedgym.env.checks import require
from feedgym.experiments.commands import LogConfig, make_log
from feedgym.experiments.runs import (
    code_with,
    cores,
    file_name,
    heard,
    kept_result,
    load_run,
    one_thread,
    say,
    without_code,
)
from feedgym.experiments.studies.units import Unit, size_words

if TYPE_CHECKING:
    from feedgym.agents.logged import LoggedSite
    from feedgym.agents.two_tower import TwoTowerAgent
    from feedgym.env.feed import Feed

POWERS = (1, 3, 5)
"""Caps are e to these; the published one is e^3, and e^5 did harm online (Chen et al., WSDM 2019, 4.4)."""
MOST_WORKERS = 2
MINUTES, MARGINAL_MINUTES = 0.25, 3.5
"""Of one core that an agent takes, about, whatever the size (see ``pace.py``): the steps are as many. The second where
chances of positions are learned from, whose gradient is an integral."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is logged, learned from, and deployed."""

    readers: int = 1000
    """Seats of ``vivid``."""
    log_days: int = 2
    """Days that are learned from."""
    deploy_days: int = 2
    """Days after them."""
    tick_hours: float = 1.0
    """The clock's step: coarser than the world's own, which saves half of the time."""

    def __post_init__(self) -> None:
        """Check once."""
        for name in ("readers", "log_days", "deploy_days"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")


@dataclass(frozen=True)
class Learned:
    """What one agent learned from one log."""

    deployed: float
    """Reward per reader per day of deployment."""
    logger: float
    """Of the logger, on the same days."""
    weights: Mapping[str, float]
    """Of what was learned from, under the policy learned: see :func:`weights_summary`."""
    training: Mapping[str, float]
    """The agent's own metrics, means over its trainings."""


@dataclass(frozen=True)
class Job:
    """One log, and all that learn from it."""

    logger: str
    seed: int
    """Of the world, and of the agents' own streams."""
    sizes: Sizes
    agents: tuple[str, ...]
    out: Path
    """Folder of this log and of the results."""
    reuse: bool = False
    """Take results of other code as they are."""


def run_jobs(jobs: Sequence[Job], workers: int | None = None) -> dict[Job, tuple[Learned, ...]]:
    """Do all jobs: what is done already is read.

    Args:
        jobs: in this order.
        workers: processes; as many as there are cores, up to 2, if not given.
    """
    many = min(len(jobs), cores(), MOST_WORKERS) if workers is None else workers
    if many <= 1:
        return {job: run_job(job) for job in jobs}
    # spawn, not fork: torch and faiss do not survive a fork with threads.
    with ProcessPoolExecutor(many, mp_context=multiprocessing.get_context("spawn")) as pool:
        done = list(pool.map(_run_and_tell, jobs))
    for words in dict.fromkeys(words for _, said in done for words in said):
        say(words)
    return {job: learned for job, (learned, _) in zip(jobs, done, strict=True)}


def run_job(job: Job) -> tuple[Learned, ...]:
    """What each agent of the job learned, in their order."""
    return tuple(_kept_or_learned(agent, job) for agent in job.agents)


def _run_and_tell(job: Job) -> tuple[tuple[Learned, ...], list[str]]:
    """In a process of its own: with what was said there of other code."""
    with heard() as said:
        return run_job(job), said


def job_units(jobs: Sequence[Job]) -> list[Unit]:
    """What the plan of a study shows: each agent of each job. Each makes its log, if nobody has."""
    return [_unit(agent, job) for job in jobs for agent in job.agents]


def _log_of(job: Job) -> LogConfig:
    sizes = job.sizes
    return LogConfig(
        agent=job.logger,
        seed=job.seed,
        readers=sizes.readers,
        days=float(sizes.log_days + sizes.deploy_days),
        tick_hours=sizes.tick_hours,
        evaluate_visits=0,
        out=job.out / "log",
        reuse=job.reuse,
    )


def _unit(agent: str, job: Job) -> Unit:
    sizes, label = job.sizes, parse_agent(agent).label
    logged = without_code(_log_of(job).run_config().settings())
    return Unit(
        group=f"log of {job.logger}: {label}",
        seed=job.seed,
        size=size_words(sizes.readers, sizes.log_days + sizes.deploy_days),
        path=job.out / f"{file_name(label)}.json",
        settings={**dataclasses.asdict(sizes), "agent": label, "log": logged},
        code=code_with(__name__),
        minutes=MARGINAL_MINUTES if "estimator=marginal" in agent else MINUTES,
    )


def _kept_or_learned(agent: str, job: Job) -> Learned:
    log, unit = _log_of(job), _unit(agent, job)

    def made() -> dict[str, Any]:
        make_log(log)
        return dataclasses.asdict(learn_and_deploy(agent, log, job.sizes))

    return Learned(**kept_result(unit.path, unit.settings, made, code=unit.code, reuse=job.reuse))


def learn_and_deploy(agent: str, log: LogConfig, sizes: Sizes) -> Learned:
    """Learn from a finished log's first days, and serve on the days that follow.

    Raises:
        ValueError: an agent without towers, or one that this log cannot teach.
    """
    from feedgym.agents.logged import LoggedSite, learn_from_log
    from feedgym.agents.two_tower import TwoTowerAgent
    from feedgym.experiments.runs import make_drive

    plan, hours = parse_agent(agent), 24.0 * sizes.log_days
    feed = make_drive(log.run_config()).feed

    def opened() -> LoggedSite:
        return LoggedSite(log.out, category_sizes=feed.catalogue.category_sizes)

    with one_thread("torch", "faiss"):
        site = opened()
        trained = plan.start(cast("Feed", site))
        require(isinstance(trained, TwoTowerAgent), "agent", agent, "one of the learned agents")
        assert isinstance(trained, TwoTowerAgent)
        learn_from_log(trained, site, until_hours=hours)
        frozen = plan.start(feed)
        assert isinstance(frozen, TwoTowerAgent)
        frozen.adopt(trained)
        weights = relive(frozen, opened(), feed, hours)
        total = 0.0
        while not feed.done:
            total += float(feed.serve(frozen.act(feed.visits, feed.catalogue).article_id).reward.sum())
    logger = load_run(log.out).curves.daily("reward")[sizes.log_days :].mean()
    return Learned(total / (sizes.readers * sizes.deploy_days), float(logger), weights, trained.metrics())


def relive(agent: "TwoTowerAgent", site: "LoggedSite", feed: "Feed", until_hours: float) -> dict[str, float]:
    """Let the feed live through the log's first days again, and a frozen agent look on.

    Args:
        agent: new and frozen; afterwards it knows the articles of that moment.
        site: the log, at its first tick.
        feed: where the log came from, at its first tick; afterwards its readers are where the log left them.
        until_hours: where to stop.

    Returns:
        :func:`weights_summary` of what was logged.
    """
    seen: list[tuple[Draw, Ints, Doubles]] = []
    epsilon = agent.config.policy.epsilon
    while not site.done and site.now < until_hours - 1e-9:
        served, logged = agent.act(feed.visits, feed.catalogue), site.logged
        same = np.array_equal(site.visits.rows, feed.visits.rows) and site.tick == feed.tick
        require(same, "log", f"other visits at {site.now:g} h", "those of the world that it came from")
        drawn = not served.draw.all_greedy and served.given_marginals is None and len(site.catalogue) > 0
        if drawn and len(site.visits):
            draw = dataclasses.replace(served.draw, num_live=logged.num_live, epsilon=epsilon)
            seen.append((draw, logged.article_id, logged.inclusion))
        feed.serve(logged.article_id)
        site.advance()
    return weights_summary(*_inclusions(seen))


def _inclusions(ticks: Sequence[tuple[Draw, Ints, Doubles]]) -> tuple[Doubles, Doubles]:
    """Chance of each logged impression to be shown, under the agent and under the logger, (R,) each."""
    draws, slates, chances = zip(*ticks, strict=True)
    article_id, beta = np.concatenate(slates), np.concatenate(chances)
    pi = slate_marginals(article_id, Draw.joined(draws)).inclusion
    shown = article_id >= 0
    return pi[shown], beta[shown]


def weights_summary(pi: Doubles, beta: Doubles) -> dict[str, float]:
    """How far a policy is from the one that logged, by the weights ``i_pi / i_beta`` of what was logged.

    Args:
        pi: chance of each logged impression to be shown by the policy, float64 (R,).
        beta: by the logger, (R,), > 0.

    Returns:
        ``mean_weight``: 1 in expectation, for a policy that was not fitted to this log. ``effective_sample_share``:
        ESS / R. For each of ``POWERS``: ``share_above_1``, of the weights that a cap of e^1 cuts, and ``lost_1``, the
        share of all weight that it takes away.
    """
    weight: Doubles = pi / beta
    summary = {
        "mean_weight": float(weight.mean()),
        "effective_sample_share": effective_sample_size(weight) / len(weight),
    }
    for power in POWERS:
        cap = exp(power)
        summary[f"share_above_{power}"] = float(np.mean(weight > cap))
        summary[f"lost_{power}"] = float(1.0 - np.minimum(weight, cap).sum() / weight.sum())
    return summary
