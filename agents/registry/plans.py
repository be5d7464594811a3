"""Agents by name: ``make_agent("regression", target="click", sharpness=4.0).start(feed)``."""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feedgym.agents.agent import Agent, Site
from feedgym.agents.expressions import literal, split
from feedgym.agents.registry.kinds import AgentKind
from feedgym.agents.registry.shipped import KINDS
from feedgym.env.checks import require

if TYPE_CHECKING:
    from feedgym.env.feed import Feed


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
            ValueError: an oracle on a reader model without ``expected_response``; settings that do not fit the site.
        """
        catalogue = feed.catalogue
        site = Site(
            slate_size=feed.config.slate_size,
            history_length=feed.config.history_length,
            num_numeric=len(catalogue.feature_names),
            feature_names=catalogue.feature_names,
            num_text=catalogue.archive.dim,
            category_sizes=catalogue.category_sizes,
            num_reader_features=len(feed.visits.feature_names),
            seed=feed.seed,
            has_opens=feed.has_opens,
            reward=feed.config.reward,
        )
        return kind_named(self.name).start(site, feed, dict(self.settings))


def make_agent(name: str, **settings: Any) -> AgentPlan:
    """A named agent with some of its settings changed. Its configs are made at once, and so is every check of a value.

    Args:
        name: one of ``AGENTS``, or ``my_module.NAME`` of an :class:`AgentKind` of your own.
        **settings: fields of the kind's configs and of their groups, by name: ``feedgym agents NAME`` lists them.

    Raises:
        ValueError: an unknown name, a setting that this agent does not have, or a value that cannot be.
    """
    kind = kind_named(name)
    changed = kind.changed(name, settings)
    if changed or name not in KINDS:
        # As they ship, they are known to be good: so to name one loads no torch, which the checks of towers need.
        kind.make_configs(changed)
    return AgentPlan(name, tuple(sorted(changed.items())))


def parse_agent(text: str) -> AgentPlan:
    """The plan that ``name`` or ``name:setting=value,setting=value`` stands for.

    A value is read as Python where it is a literal (``4.0``, ``(64,32)``, ``None``), else as a word.

    Raises:
        ValueError: as :func:`make_agent`, and a word that is no ``setting=value``.
    """
    name, _, words = text.partition(":")
    settings: dict[str, Any] = {}
    for word in split(words, ","):
        key, equals, value = word.partition("=")
        if word.strip():
            require(bool(equals), f"agent {text!r}", word, "setting=value")
            settings[key.strip()] = literal(value.strip())
    return make_agent(name.strip(), **settings)


def split_agents(words: Sequence[str]) -> tuple[str, ...]:
    """Agents given apart, or in one word with commas; ``name:a=1,b=2`` keeps its settings."""
    agents: list[str] = []
    for piece in split(",".join(words), ","):
        # With "=" before any colon it is one more setting of the agent to its left.
        if agents and "=" in piece.partition(":")[0]:
            agents[-1] += "," + piece.strip()
        elif piece.strip():
            agents.append(piece.strip())
    return tuple(agents)


def kind_named(name: str) -> AgentKind:
    """The agent of this name: one that ships, or ``my_module.NAME``; the current folder is searched first.

    Raises:
        ValueError: there is none.
    """
    if name in KINDS or "." not in name:
        require(name in KINDS, "agent", name, f"one of {', '.join(KINDS)}, or my_module.NAME of an AgentKind")
        return KINDS[name]
    module_name, _, attribute = name.rpartition(".")
    here = str(Path.cwd())
    if here not in sys.path:  # an installed command does not look there by itself
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module_name), attribute, None)
    except ModuleNotFoundError as error:
        raise ValueError(f"agent: got {name!r}, needs an importable module; {error}") from error
    if not isinstance(found, AgentKind):
        raise ValueError(f"agent: got {name!r}, needs the name of an AgentKind in {module_name}")
    return found


AGENTS: dict[str, str] = {name: kind.description for name, kind in KINDS.items()}
"""Name -> one line of description."""
