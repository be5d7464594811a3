"""The tables of agents that ship: ``KINDS``, name -> kind.

Only what imports torch or faiss stays late: the faces of ``learners`` and ``two_tower`` look their classes up when an
agent is built. Defaults were chosen on seeds 100 to 102 of ``vivid``, and then frozen; where on others, it is said.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from feedgym.agents import learners, two_tower
from feedgym.agents.agent import Agent, Site
from feedgym.agents.baselines import (
    OneListAgent,
    OneListConfig,
    OracleAgent,
    PlanningConfig,
    PopularConfig,
    RandomConfig,
    RecentConfig,
    SponsoredConfig,
    popular_agent,
    random_agent,
    recent_agent,
    sponsored_agent,
)
from feedgym.agents.learners import (
    ContrastiveConfig,
    DirectConfig,
    FutureConfig,
    LtvConfig,
    RegressionConfig,
    ReinforceConfig,
    ReturnConfig,
)
from feedgym.agents.registry.kinds import AgentKind
from feedgym.agents.registry.published import SIZES, SYSTEMS, SizeConfig, System
from feedgym.agents.two_tower import TwoTowerAgentConfig
from feedgym.env.checks import require

if TYPE_CHECKING:
    from feedgym.agents.learners import Learner
    from feedgym.env.feed import Feed


def learned_kind(
    description: str,
    learner: "Callable[..., Learner]",
    *configs: type,
    defaults: Mapping[str, Any] | None = None,
    check: Callable[..., None] | None = None,
) -> AgentKind:
    """Two towers around a learner.

    Args:
        description: one line.
        learner: makes the learner from its configs. Only called when an agent is named, so that the kind can be
            listed without torch.
        *configs: the dataclasses that the learner is made of, in order; ``TwoTowerAgentConfig`` comes after them.
        defaults: where this kind's defaults differ from those of the dataclasses.
        check: see :attr:`AgentKind.check`.
    """

    def build(site: Site, feed: "Feed", *made: Any) -> Agent:
        *own, agent = made
        return two_tower.TwoTowerAgent(site, agent, learner(*own))

    def together(*made: Any) -> None:
        *own, agent = made
        # Small before it has met a site; it refuses settings of its own that do not go together.
        two_tower.check_second_stage(agent, learner(*own))
        if check is not None:
            check(*made)

    return AgentKind(
        description=description,
        configs=(*configs, TwoTowerAgentConfig),
        defaults=defaults or {},
        build=build,
        check=together,
        learns=True,
    )


def no_reranker(*made: Any) -> None:
    """Refuse a second stage of the towers' own, for a learner that trains none."""
    reranker = made[-1].towers.reranker
    require(reranker is None, "prediction", reranker, "'dot' or 'cosine': this agent has one stage")


def one_stage(*made: Any) -> None:
    """Refuse all that is of a second stage, for a learner that trains none: candidates of other sources, too."""
    no_reranker(*made)
    stage = made[-1].second_stage
    require(not stage.other_sources, "sources", stage.sources, "'towers': this agent has one stage")


def needs_wide_part(*made: Any) -> None:
    """Refuse a loss that is of openings alone where no wide part says what an opened article is worth."""
    loss = next((config.loss for config in made if isinstance(config, RegressionConfig)), None)
    fits = loss != "hurdle" or made[-1].towers.wide_part
    require(fits, "wide_part", made[-1].towers.wide_part, f"True with loss={loss}")


def one_stage_of_what_fits(*made: Any) -> None:
    """Both: of learners with a regression inside them."""
    one_stage(*made)
    needs_wide_part(*made)


def of_wide_part(*made: Any) -> None:
    """Refuse, for a learner that has nothing else, to be without a wide part, or with a second stage."""
    no_reranker(*made)
    require(made[-1].towers.wide_part, "wide_part", False, "True: this agent is nothing else")


def _regression(description: str, **defaults: Any) -> AgentKind:
    return learned_kind(
        description,
        lambda *c: learners.RegressionLearner(*c),
        RegressionConfig,
        defaults=defaults,
        check=needs_wide_part,
    )


def _contrastive(description: str, **defaults: Any) -> AgentKind:
    def cosines(config: ContrastiveConfig, agent: TwoTowerAgentConfig) -> None:
        fits = config.loss != "ccl" or agent.towers.prediction == "cosine"
        require(fits, "prediction", agent.towers.prediction, "'cosine' with loss=ccl, which trains cosines alone")

    return learned_kind(
        description,
        lambda *c: learners.ContrastiveLearner(*c),
        ContrastiveConfig,
        defaults=defaults,
        check=cosines,
    )


BASELINES = {
    "random": AgentKind(
        description="uniform over the live articles",
        configs=(RandomConfig,),
        build=lambda site, feed, config: random_agent(site, config),
    ),
    "recent": AgentKind(
        description="newest first, softened",
        configs=(RecentConfig,),
        build=lambda site, feed, config: recent_agent(site, config),
    ),
    "popular": AgentKind(
        description="highest click rate, smoothed by a prior and decayed by age",
        configs=(PopularConfig,),
        build=lambda site, feed, config: popular_agent(site, config),
    ),
    "sponsored": AgentKind(
        description="a logger for studies: popular, with the articles of paying publishers pushed up",
        configs=(SponsoredConfig,),
        # Softer than popular's 4: then the slates themselves are paid for, and not mostly exploration.
        defaults={"sharpness": 1.0},
        build=lambda site, feed, config: sponsored_agent(site, config),
    ),
}

# Chosen by the reward of eight days with 1,000 readers on vivid, seeds 954 to 956, among sharpness 2 to 32: a wide part
# and a content channel for all who learn, and how peaked their slates are.
_GIVEN = {"wide_part": True, "content_channel": True}
_MSE = {"target": "dwell", "sharpness": 8.0, **_GIVEN}
_DWELL = {"loss": "hurdle", **_MSE}
_CLICK = {"target": "click", "sharpness": 8.0, **_GIVEN}
# A linear decay spreads the scores of old articles far below the mean: what is left of the z-score's range
# at the top needs a larger factor than under a decay that saturates.
# Clicks by minutes and by 1 / inclusion: else a softmax over clicks learns what was shown. Chosen by the reward of the
# last two of five days on seeds 9900 and 9901 at 1,000 readers, among decays linear and exponential, minutes or not,
# caps none, 10, 30, 300, sharpness 4 and 8, passes 5 to 30. The textbook's is
# task=click,propensity_cap=None,negatives_live=False,sharpness=8,wide_part=False,content_channel=False.
_SOFTMAX = {"age_decay": "linear", "sharpness": 4.0, "task": "dwell", "propensity_cap": 300.0, **_GIVEN}
_MIXED = {**_SOFTMAX, "sharpness": 8.0, "propensity_cap": 10.0, "negatives": "mixed"}

_LINEAR = {
    "target": "dwell",
    "loss": "hurdle",
    "wide_part": True,
    "article_effects": False,
    # Towers that say nothing need no width.
    "age_decay": "none",
    "dim": 1,
    "widths": (),
    "sharpness": 8.0,
}

LEARNED = {
    "linear": learned_kind(
        "two Poisson regressions of some 55 weights: opened or not, minutes once opened",
        lambda *c: learners.LinearLearner(*c),
        RegressionConfig,
        defaults=_LINEAR,
        check=of_wide_part,
    ),
    "regression": _regression("two towers, MSE on dwell minutes (target=click: BCE on clicks)", **_MSE),
    "regression-dwell": _regression("two towers, dwell minutes in two parts: opened or not, and how long", **_DWELL),
    "regression-click": _regression("two towers, BCE on clicks", **_CLICK),
    "return": learned_kind(
        "regression of minutes and of what an opened article changes in when its reader comes back",
        lambda regression, returns: learners.RegressionLearner(regression, learners.Planning(returns)),
        *(RegressionConfig, ReturnConfig),
        defaults={**_DWELL, "sharpness": 16.0},
        check=needs_wide_part,
    ),
    "contrastive": _contrastive("two towers, in-batch softmax with logQ over what was read", **_SOFTMAX),
    "contrastive-uniform": _contrastive("the same with uniform negatives mixed in", **_MIXED),
    "reinforce": learned_kind(
        "dwell regression corrected by off-policy REINFORCE on returns",
        lambda *c: learners.ReinforceLearner(*c),
        *(ReinforceConfig, FutureConfig, RegressionConfig),
        defaults=_DWELL,
        check=one_stage_of_what_fits,
    ),
    "direct": learned_kind(
        "dwell regression corrected towards what a reward model expects",
        lambda *c: learners.DirectLearner(*c),
        *(DirectConfig, FutureConfig, RegressionConfig),
        defaults={**_DWELL, "sharpness": 16.0},
        check=one_stage_of_what_fits,
    ),
    "ltv": learned_kind(
        "two regressions: minutes now, and what an opened article changes later",
        lambda *c: learners.LtvLearner(*c),
        *(LtvConfig, FutureConfig),
        defaults={"sharpness": 8.0, **_GIVEN},
        check=one_stage,
    ),
}

_BASES = {"regression": _regression, "contrastive": _contrastive}


def published_kind(system: System) -> AgentKind:
    """A published system: its learner with its settings, whole by themselves, at a size."""
    kind = _BASES[system.learner](f"{system.description} [{system.source}]", **system.settings("small"))
    build, check = kind.build, kind.check
    assert check is not None
    return dataclasses.replace(
        kind,
        configs=(SizeConfig, *kind.configs),
        variants={"size": {size: system.settings(size) for size in SIZES}},
        build=lambda site, feed, size, *made: build(site, feed, *made),
        check=lambda size, *made: check(*made),
    )


PUBLISHED = {name: published_kind(system) for name, system in SYSTEMS.items()}

ORACLES = {
    "oracle-click": AgentKind(
        description="sees latents: highest chance of a click",
        build=lambda site, feed: OracleAgent(feed, "click"),
        is_oracle=True,
    ),
    "oracle-dwell": AgentKind(
        description="sees latents: highest expected minutes",
        build=lambda site, feed: OracleAgent(feed, "dwell"),
        is_oracle=True,
    ),
    "oracle-planning": AgentKind(
        description="sees latents: expected minutes, and what quality and clickbait do to the next visits",
        configs=(PlanningConfig,),
        build=lambda site, feed, config: OracleAgent(feed, "planning", config),
        is_oracle=True,
    ),
    "one-list-now": AgentKind(
        description="sees latents: one list for all, by the readers' mean expected minutes",
        configs=(OneListConfig,),
        build=lambda site, feed, config: OneListAgent(feed, "now", config),
        is_oracle=True,
    ),
    "one-list-planning": AgentKind(
        description="sees latents: one list for all, by those minutes and what opening does to the next visits",
        configs=(OneListConfig,),
        build=lambda site, feed, config: OneListAgent(feed, "planning", config),
        is_oracle=True,
    ),
}

KINDS: dict[str, AgentKind] = {**BASELINES, **LEARNED, **PUBLISHED, **ORACLES}
"""All agents that ship, by name."""
