"""The agents that ship, by name: ``make_agent("regression", target="click", sharpness=4.0).start(feed)``."""

import ast
import dataclasses
import importlib
import numbers
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feedgym.agents.agent import Agent, Site
from feedgym.env.checks import require

if TYPE_CHECKING:
    from feedgym.env.feed import Feed

Builder = Callable[[Site, "Feed", Mapping[str, Any]], Agent]


@dataclass(frozen=True)
class AgentKind:
    """One entry of ``AGENTS``."""

    description: str
    settings: Mapping[str, Any]
    """Every setting and its default."""
    build: Builder
    is_oracle: bool = False
    learns: bool = False
    """Trains towers: its runs take longest."""


@dataclass(frozen=True)
class AgentPlan:
    """A named agent with checked settings, not yet bound to a site."""

    name: str
    """As in ``AGENTS``."""
    settings: tuple[tuple[str, Any], ...]
    """Settings that differ from the name's defaults, sorted."""

    @property
    def label(self) -> str:
        """Name and settings, as on the command line: ``regression:target=click``."""
        words = ",".join(f"{key}={value}" for key, value in self.settings)
        return f"{self.name}:{words}" if words else self.name

    @property
    def is_oracle(self) -> bool:
        """The agent sees latents: a reference, not a candidate."""
        return kind_named(self.name).is_oracle

    @property
    def learns(self) -> bool:
        """The agent trains towers, which takes most of a run's time."""
        return kind_named(self.name).learns

    def start(self, feed: "Feed") -> Agent:
        """The agent, for this feed (a ``Feed``, or the ``feed`` of a vector environment).

        Raises:
            ValueError: an oracle on a reader model without ``expected_response``; a bad value of a setting.
        """
        kind, catalogue = kind_named(self.name), feed.catalogue
        site = Site(
            slate_size=feed.config.slate_size,
            history_length=feed.config.history_length,
            num_numeric=len(catalogue.feature_names),
            num_text=catalogue.archive.dim,
            category_sizes=catalogue.category_sizes,
            num_reader_features=len(feed.visits.feature_names),
            seed=feed.seed,
            reward=feed.config.reward,
        )
        return kind.build(site, feed, {**kind.settings, **dict(self.settings)})


def make_agent(name: str, **settings: Any) -> AgentPlan:
    """A named agent with some of its settings changed.

    Args:
        name: one of ``AGENTS``, or ``my_module.NAME`` of an :class:`AgentKind` of your own.
        **settings: fields of the agent's configs, by name: of its learner, of ``TwoTowerAgentConfig`` and of
            ``PolicyConfig`` for learned agents.

    Raises:
        ValueError: an unknown name, or a setting that this agent does not have.
    """
    known = kind_named(name).settings
    for key in settings:
        require(key in known, f"setting of {name}", key, f"one of {', '.join(known) or '(it has none)'}")
        kind = _kind_of(known[key])
        require(isinstance(settings[key], kind), f"{key} of {name}", settings[key], f"the kind of {known[key]!r}")
    changed = {key: value for key, value in settings.items() if value != known[key]}
    return AgentPlan(name, tuple(sorted(changed.items())))


def _kind_of(default: Any) -> type:
    """What a setting with this default takes: whole numbers too where it is a float, anything where it is None."""
    kinds: dict[type, type] = {type(None): object, float: numbers.Real, int: numbers.Integral}
    return kinds.get(type(default), type(default))


def parse_agent(text: str) -> AgentPlan:
    """The plan that ``name`` or ``name:setting=value,setting=value`` stands for.

    A value is read as Python where it is a literal (``4.0``, ``(64,32)``, ``None``), else as a word.
    """
    name, _, words = text.partition(":")
    settings: dict[str, Any] = {}
    for word in _split(words):
        key, equals, value = word.partition("=")
        require(bool(equals), f"agent {text!r}", word, "setting=value")
        settings[key.strip()] = _literal(value.strip())
    return make_agent(name.strip(), **settings)


def _split(words: str) -> list[str]:
    """Split at commas outside brackets."""
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(words):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append(words[start:index])
            start = index + 1
    return [part for part in [*parts, words[start:]] if part.strip()]


def _literal(word: str) -> Any:
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return word


def _fields(*configs: type) -> dict[str, Any]:
    """Settings and defaults of dataclasses, flattened; nested configs are left to their own."""
    settings: dict[str, Any] = {}
    for config in configs:
        for f in dataclasses.fields(config):
            if f.default is not dataclasses.MISSING:
                settings[f.name] = f.default
    return settings


def make_config(config: type, settings: Mapping[str, Any], **parts: Any) -> Any:
    """A config from the flattened settings that are its own."""
    names = {f.name for f in dataclasses.fields(config)}
    return config(**{key: value for key, value in settings.items() if key in names}, **parts)


def kind_named(name: str) -> AgentKind:
    """The agent of this name: one that ships, or ``my_module.NAME``; the current folder is searched first.

    Raises:
        ValueError: there is none.
    """
    kinds = agent_kinds()
    if name in kinds or "." not in name:
        require(name in kinds, "agent", name, f"one of {', '.join(kinds)}, or my_module.NAME of an AgentKind")
        return kinds[name]
    module_name, _, attribute = name.rpartition(".")
    here = str(Path.cwd())
    if here not in sys.path:  # an installed command does not look there by itself
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module_name), attribute, None)
    except ModuleNotFoundError as error:
        raise ValueError(f"agent: got {name!r}, needs an importable module; {error}") from error
    require(isinstance(found, AgentKind), "agent", name, f"the name of an AgentKind in {module_name}")
    assert isinstance(found, AgentKind)
    return found


def agent_kinds() -> dict[str, AgentKind]:
    """All agents that ship, by name."""
    global _KINDS
    if _KINDS is None:
        _KINDS = {**_baselines(), **_learned(), **_oracles()}
    return _KINDS


_KINDS: dict[str, AgentKind] | None = None


def _baselines() -> dict[str, AgentKind]:
    from feedgym.agents.baselines import (
        PopularConfig,
        RandomConfig,
        RecentConfig,
        SponsoredConfig,
        popular_agent,
        random_agent,
        recent_agent,
        sponsored_agent,
    )
    from feedgym.agents.slate_policy import PolicyConfig

    def random(site: Site, feed: "Feed", settings: Mapping[str, Any]) -> Agent:
        return random_agent(site, make_config(RandomConfig, settings))

    def recent(site: Site, feed: "Feed", settings: Mapping[str, Any]) -> Agent:
        return recent_agent(site, make_config(RecentConfig, settings, policy=make_config(PolicyConfig, settings)))

    def popular(site: Site, feed: "Feed", settings: Mapping[str, Any]) -> Agent:
        return popular_agent(site, make_config(PopularConfig, settings, policy=make_config(PolicyConfig, settings)))

    def sponsored(site: Site, feed: "Feed", settings: Mapping[str, Any]) -> Agent:
        popular = make_config(PopularConfig, settings, policy=make_config(PolicyConfig, settings))
        return sponsored_agent(site, make_config(SponsoredConfig, settings, popular=popular))

    return {
        "random": AgentKind("uniform over the live articles", _fields(RandomConfig), random),
        "recent": AgentKind("newest first, softened", _fields(RecentConfig, PolicyConfig), recent),
        "popular": AgentKind(
            "highest click rate, smoothed by a prior and decayed by age",
            _fields(PopularConfig, PolicyConfig),
            popular,
        ),
        "sponsored": AgentKind(
            "a logger for studies: popular, with the articles of paying publishers pushed up",
            # Softer than popular's 4: then the slates themselves are paid for, and not mostly exploration.
            _fields(SponsoredConfig, PopularConfig, PolicyConfig) | {"sharpness": 1.0},
            sponsored,
        ),
    }


def learner_builder(learner: Callable[[], Any], *configs: type) -> Builder:
    """Builds two towers around a learner.

    Args:
        learner: its class, asked for when an agent is built: learners import torch.
        configs: of which the learner is made, in order.
    """

    def build(site: Site, feed: "Feed", settings: Mapping[str, Any]) -> Agent:
        from feedgym.agents.slate_policy import PolicyConfig
        from feedgym.agents.two_tower import TwoTowerAgent, TwoTowerAgentConfig

        agent = make_config(TwoTowerAgentConfig, settings, policy=make_config(PolicyConfig, settings))
        return TwoTowerAgent(site, agent, learner()(*(make_config(c, settings) for c in configs)))

    return build


def _learned() -> dict[str, AgentKind]:
    """Defaults were chosen on seeds 100 to 102 of ``vivid``, and then frozen."""
    from feedgym.agents.learners import (
        ContrastiveConfig,
        DirectConfig,
        FutureConfig,
        LtvConfig,
        RegressionConfig,
        ReinforceConfig,
    )
    from feedgym.agents.registry.published import SYSTEMS
    from feedgym.agents.slate_policy import PolicyConfig
    from feedgym.agents.two_tower import TwoTowerAgentConfig

    def builder(learner: str, *configs: type) -> Builder:
        return learner_builder(lambda: getattr(importlib.import_module("feedgym.agents.learners"), learner), *configs)

    regression = builder("RegressionLearner", RegressionConfig)
    contrastive = builder("ContrastiveLearner", ContrastiveConfig)
    reinforce = builder("ReinforceLearner", ReinforceConfig, FutureConfig, RegressionConfig)
    direct = builder("DirectLearner", DirectConfig, FutureConfig, RegressionConfig)
    ltv = builder("LtvLearner", LtvConfig, FutureConfig)
    regressed = _fields(RegressionConfig, TwoTowerAgentConfig, PolicyConfig)
    contrasted = _fields(ContrastiveConfig, TwoTowerAgentConfig, PolicyConfig)
    # A linear decay spreads the scores of old articles far below the mean: what is left of the z-score's range
    # at the top needs a larger factor than under a decay that saturates.
    softmax = {"age_decay": "linear", "sharpness": 8.0}
    # 1 of 1, 2, 3, on seeds 100 to 102 at 3,000 readers: minutes of a few great reads stretch the score's upper tail.
    dwell = regressed | {"target": "dwell", "sharpness": 1.0}
    click = regressed | {"target": "click", "sharpness": 4.0}
    in_batch = contrasted | softmax
    mixed = in_batch | {"negatives": "mixed"}
    acted = _fields(ReinforceConfig, FutureConfig, RegressionConfig, TwoTowerAgentConfig, PolicyConfig)
    # Chosen on seeds 100 to 102 over 28 days: a softer prior explores, and leaves the correction something to do.
    acted |= {"target": "dwell", "sharpness": 1.0}
    modelled = _fields(DirectConfig, FutureConfig, RegressionConfig, TwoTowerAgentConfig, PolicyConfig)
    modelled |= {"target": "dwell", "sharpness": 1.0}  # the prior of reinforce
    valued = _fields(LtvConfig, FutureConfig, TwoTowerAgentConfig, PolicyConfig) | {"sharpness": 1.0}

    def learned(description: str, settings: Mapping[str, Any], build: Builder) -> AgentKind:
        return AgentKind(description, settings, build, learns=True)

    bases = {"regression": (regressed, regression), "contrastive": (contrasted, contrastive)}
    published = {
        name: learned(
            f"{system.description} [{system.source}]",
            bases[system.learner][0] | dict(system.settings),
            bases[system.learner][1],
        )
        for name, system in SYSTEMS.items()
    }
    own = {
        "regression": learned("two towers, MSE on dwell minutes (target=click: BCE on clicks)", dwell, regression),
        "regression-dwell": learned("two towers, MSE on dwell minutes", dwell, regression),
        "regression-click": learned("two towers, BCE on clicks", click, regression),
        "contrastive": learned("two towers, in-batch softmax with logQ over clicks", in_batch, contrastive),
        "contrastive-uniform": learned("the same with uniform negatives mixed in", mixed, contrastive),
        "reinforce": learned("dwell regression corrected by off-policy REINFORCE on returns", acted, reinforce),
        "direct": learned("dwell regression corrected towards what a reward model expects", modelled, direct),
        "ltv": learned("two regressions: minutes now, and what an opened article changes later", valued, ltv),
    }
    return own | published


def _oracles() -> dict[str, AgentKind]:
    from feedgym.agents.baselines import OracleAgent

    def builder(aim: Any) -> Builder:
        return lambda site, feed, settings: OracleAgent(feed, aim, **settings)

    return {
        "oracle-click": AgentKind("sees latents: highest chance of a click", {}, builder("click"), True),
        "oracle-dwell": AgentKind("sees latents: highest expected minutes", {}, builder("dwell"), True),
        "oracle-planning": AgentKind(
            "sees latents: expected minutes, and what quality and clickbait do to the next visits",
            {"quality_bonus": 2.0, "clickbait_cost": 2.0},
            builder("planning"),
            True,
        ),
    }


AGENTS: dict[str, str] = {name: kind.description for name, kind in agent_kinds().items()}
"""Name -> one line of description."""
