"""Learning from a log alone: the agent lives through the logged days, and learns from what somebody else served.

At every tick it acts as if it served (so it trains on the clock, embeds what is published, and knows the shortlist
that it would have drawn from); then the log says what was served instead, at which chance, and what came of it.
"""

import math
from collections.abc import Callable

from feedgym.agents.learners import ContrastiveLearner, Learner, ReinforceLearner
from feedgym.agents.logged.site import LoggedSite
from feedgym.agents.two_tower import TwoTowerAgent
from feedgym.env.checks import require
from feedgym.env.log import LogSummary

Progress = Callable[[float], None]
"""Called with the simulated days done, at the end of each."""
Watch = Callable[[LoggedSite], None]
"""Called at each tick when the agent has acted, before it learns what came of the tick."""


def learn_from_log(
    agent: TwoTowerAgent,
    site: LoggedSite,
    report: Progress | None = None,
    *,
    until_hours: float = math.inf,
    watch: Watch | None = None,
) -> None:
    """Let an agent learn from a log.

    Args:
        agent: new, made for this site.
        site: the log, at its first tick.
        report: told of every day.
        until_hours: visits from here on are not learned from.
        watch: looks at every tick, such as at what the agent foretells of it.

    Raises:
        ValueError: the log lacks what this learner needs; whatever is wrong in the log.
    """
    require(site.tick == 0 and len(agent.store) == 0, "site", f"tick {site.tick}", "its first tick, and a new agent")
    check_learnable(agent.learner, site)
    per_day = site.config.ticks_per_day
    while not site.done and site.now < until_hours - 1e-9:
        agent.act(site.visits, site.catalogue)
        agent.served_instead(site.logged)
        if watch is not None:
            watch(site)
        agent.learn(site.outcome)
        before = site.tick
        site.advance()
        if report is not None and site.tick > before and site.tick % per_day == 0:
            report(site.tick / per_day)
    # What is due at the end.
    agent.act(site.visits, site.catalogue)


def check_learnable(learner: Learner, site: LoggedSite) -> None:
    """Refuse a learner that needs what the log does not have.

    Raises:
        ValueError: saying what lacks, and what to do.
    """
    summary = site.summary
    if isinstance(learner, ReinforceLearner) and learner.estimator.corrects:
        estimator, logged = learner.config.used_estimator, learner.config.behaviour == "logged"
        require(not (logged and summary.num_unknown), "propensities of the log", _lacking(summary), _with(estimator))
        require(
            not summary.num_greedy or summary.has_default_slates,
            "visits of the log that were served greedily",
            summary.num_greedy,
            f"none with estimator={estimator}: log by a policy that explores (feedgym log), or learn a regression",
        )
        needed = learner.estimator.needs
        lacking = logged and needed is not None and needed in summary.incomplete
        allowed = (
            f"known in every row with estimator={estimator}; chen, prefix and joint need no more than propensities"
        )
        require(not lacking, f"column {needed!r} of the log", "unknown", allowed)
    if isinstance(learner, ContrastiveLearner) and learner.config.propensity_cap is not None:
        require(not summary.num_unknown, "propensities of the log", _lacking(summary), "propensity_cap=None")
        lacking = "inclusion_time" in summary.incomplete
        require(not lacking, "column 'inclusion_time' of the log", "unknown", "known with propensity_cap")


def _lacking(summary: LogSummary) -> str:
    return f"unknown in {summary.num_unknown:,} of {summary.num_rows:,} impressions"


def _with(estimator: str) -> str:
    others = "behaviour=estimated estimates them; estimator=none corrects nothing, and needs none"
    return f"known with estimator={estimator}: {others}"
