"""Off-policy estimates of an agent that was trained from a log, and their truth where a simulator wrote the log."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from feedgym.agents.registry import AgentPlan, parse_agent
from feedgym.experiments.logs.offline_result import OfflineResult
from feedgym.experiments.runs import RunConfig

if TYPE_CHECKING:
    from feedgym.agents.logged import FittedBehaviour, LoggedSite, RewardModel
    from feedgym.agents.two_tower import TwoTowerAgent
    from feedgym.env.feed import Feed

STREAM = 0x0FE
MODEL_SEED = 1_000_003
"""Added to the log's seed: the reward model's first weights and batches are not those of the agent that it judges."""


@dataclass(frozen=True)
class Kept:
    """What is estimated, on what."""

    plan: AgentPlan
    trained: "TwoTowerAgent"
    opened: Callable[[int | None], "LoggedSite"]
    """The log from its start, with this seed of the agent's stream; None: as everywhere else."""
    from_hours: float
    """Visits from here on were not learned from."""
    world: RunConfig | None
    """Where the truth can be asked for."""


def start(plan: AgentPlan, site: "LoggedSite") -> "TwoTowerAgent":
    """A new agent for a log: to it a log looks like the site that wrote it."""
    return cast("TwoTowerAgent", plan.start(cast("Feed", site)))


def with_estimates(
    result: OfflineResult, kept: Kept, reward_model: str, *, estimate_propensities: bool
) -> OfflineResult:
    """The result with off-policy estimates on the visits that were kept back.

    Args:
        result: so far.
        kept: agent, log and days.
        reward_model: an agent's name, ``auto`` or ``none``.
        estimate_propensities: estimate the logging policy, instead of taking its word.
    """
    from feedgym.agents.logged import check_drawn_now, evaluate_on_log, fit_behaviour
    from feedgym.agents.ope import report_table

    site = kept.opened(None)
    behaviour: FittedBehaviour | None = None
    check_drawn_now(site, estimated=estimate_propensities)  # before a minute of work
    if estimate_propensities:
        # From all days: who was shown what holds no reward, and a policy's last days are not its first ones.
        behaviour = fit_behaviour(kept.opened(None), seed=site.seed)
    model, notes = _reward_model(kept, reward_model, site)
    rng = np.random.default_rng(np.random.SeedSequence(site.seed, spawn_key=(STREAM,)))
    evaluation = evaluate_on_log(
        _frozen(kept, site), site, from_hours=kept.from_hours, rng=rng, model=model, behaviour=behaviour
    )
    truth, error = _truth(kept)
    return dataclasses.replace(
        result,
        estimates=tuple(report_table(evaluation, truth)),
        logged_visit_reward=evaluation.logged,
        truth_error=error,
        propensities=result.propensities if behaviour is None else "estimated",
        reward_model=None if model is None else _name_of(reward_model, site),
        logger_epsilon=None if behaviour is None else behaviour.epsilon,
        notes=tuple(dict.fromkeys((*result.notes, *evaluation.notes, *notes))),
    )


def _reward_model(kept: Kept, name: str, site: "LoggedSite") -> tuple["RewardModel | None", tuple[str, ...]]:
    """The model, bound to ``site``; and why there is none where none could be had."""
    from feedgym.agents.logged import fit_reward_model

    if name == "none":
        return None, ()
    plan = parse_agent(_name_of(name, site))
    own = kept.opened(site.seed + MODEL_SEED)
    try:
        model = fit_reward_model(start(plan, own), own, until_hours=kept.from_hours)
    except ValueError as error:
        if name != "auto":
            raise
        return None, (f"no reward model: {error}",)
    frozen = start(plan, site)
    frozen.adopt(model.agent)
    return dataclasses.replace(model, agent=frozen), ()


def _name_of(name: str, site: "LoggedSite") -> str:
    """``auto`` is a regression of what the log pays for: minutes, or clicks where it pays for nothing else."""
    if name != "auto":
        return name
    return "regression-dwell" if site.config.reward.dwell_minutes > 0 else "regression-click"


def _frozen(kept: Kept, site: "LoggedSite") -> "TwoTowerAgent":
    agent = start(kept.plan, site)
    agent.adopt(kept.trained)
    return agent


def _truth(kept: Kept) -> tuple[float | None, float | None]:
    """What the simulator says, and its standard error."""
    from feedgym.experiments.logs.logged_truth import reward_on_logged_states

    if kept.world is None:
        return None, None
    site = kept.opened(None)
    reward = reward_on_logged_states(_frozen(kept, site), site, kept.world, from_hours=kept.from_hours)
    error = float(reward.std(ddof=1)) / len(reward) ** 0.5 if len(reward) > 1 else None
    return float(reward.mean()), error
