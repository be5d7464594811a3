"""What a kind of agent is: which settings it has, in which groups, and how it is built from them.

A setting is a field of a dataclass: its default, its type, what it means and what is refused stand there, and nowhere
else. A field that is itself a dataclass is a group of settings. On the command line, and in labels, settings are flat
words (``regression:dim=32``), so that no two groups of an agent may share a name.
"""

import dataclasses
import numbers
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from feedgym.agents.agent import Agent, Site
from feedgym.env.checks import require

if TYPE_CHECKING:
    from feedgym.env.feed import Feed

Builder = Callable[..., Agent]
"""Called with the site, the feed (a ``Feed``, or what stands for one) and one config for each of ``AgentKind.configs``.
Only oracles may look into the feed."""


@dataclass(frozen=True)
class Setting:
    """One setting of an agent."""

    name: str
    group: type
    """The dataclass that it is a field of; what the setting means stands there."""
    default: Any
    type: Any
    """As annotated."""


@dataclass(frozen=True, kw_only=True)
class AgentKind:
    """A kind of agent: an entry of the tables, or one of your own (docs/guide/agents.md).

    Raises:
        ValueError: two groups share a name, a setting has no default, or ``defaults`` names none of the settings.
    """

    description: str
    """One line."""
    build: Builder
    """Makes the agent."""
    configs: tuple[type, ...] = ()
    """Dataclasses whose fields are the settings: frozen, with a default each, checked when they are made."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Where this kind's defaults differ from those of the dataclasses."""
    variants: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Settings of which a value changes other defaults: name -> value -> those defaults, such as a ``size``."""
    check: Callable[..., None] | None = None
    """Called with the configs as soon as an agent is named: refuses by ``ValueError`` what does not go together."""
    is_oracle: bool = False
    """It sees latents: a reference, not a candidate."""
    learns: bool = False
    """Trains towers: its runs take longest."""

    def __post_init__(self) -> None:
        """Check once."""
        owner: dict[str, type] = {}
        for setting in self.table:
            other = owner.setdefault(setting.name, setting.group)
            where = f"{other.__name__} and {setting.group.__name__}"
            require(other is setting.group, "configs", f"{setting.name!r} in {where}", "a name in one group only")
        for key in self.defaults:
            require(key in owner, "defaults", key, f"one of {', '.join(owner) or '(it has none)'}")
        for name, values in self.variants.items():
            for key in (name, *(key for value in values.values() for key in value)):
                require(key in owner, "variants", key, f"one of {', '.join(owner) or '(it has none)'}")

    @cached_property
    def table(self) -> tuple[Setting, ...]:
        """Every setting, group by group, with the default of its dataclass."""
        return tuple(setting for config in self.configs for setting in _settings_of(config))

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Every setting and its default."""
        return {setting.name: setting.default for setting in self.table} | dict(self.defaults)

    def settings_beside(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Every setting and its default beside those that are given: another of a variant."""
        return {**self.settings, **self._defaults_beside(given)}

    def _defaults_beside(self, given: Mapping[str, Any]) -> dict[str, Any]:
        values = dict(self.defaults)
        for name, variant in self.variants.items():
            # A value that is none of them is refused where the config is made.
            values |= variant.get(given.get(name, self.settings[name]), {})
        return values

    def changed(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the given settings that differ from the defaults, all of them known and of the right type.

        Args:
            name: of the agent, for messages.
            given: name -> value.

        Raises:
            ValueError: a setting that this kind does not have, or a value of another type.
        """
        known = {setting.name: setting for setting in self.table}
        for key, value in given.items():
            require(key in known, f"setting of {name}", key, f"one of {', '.join(known) or '(it has none)'}")
            fits = _fits(value, known[key].type)
            require(fits, f"{key} of {name}", value, _wanted(known[key], self.settings[key]))
        beside = self.settings_beside(given)
        return {key: value for key, value in given.items() if value != beside[key]}

    def make_configs(self, changed: Mapping[str, Any]) -> tuple[Any, ...]:
        """The configs with these settings changed, checked one by one and together.

        Raises:
            ValueError: a value that cannot be, or values that do not go together.
        """
        values = {**self._defaults_beside(changed), **changed}
        configs = tuple(_make(config, values) for config in self.configs)
        if self.check is not None:
            self.check(*configs)
        return configs

    def start(self, site: Site, feed: "Feed", changed: Mapping[str, Any]) -> Agent:
        """An agent of this kind on a site."""
        return self.build(site, feed, *self.make_configs(changed))


def _group(annotation: Any) -> type | None:
    """The dataclass that a field holds; None where the field is a setting."""
    return annotation if isinstance(annotation, type) and dataclasses.is_dataclass(annotation) else None


def _settings_of(config: type) -> Iterator[Setting]:
    """The fields of a dataclass, its own first, then those of its groups."""
    require(dataclasses.is_dataclass(config), "configs", config, "dataclasses")
    annotations, groups = typing.get_type_hints(config), []
    for one in dataclasses.fields(config):
        group = _group(annotations[one.name])
        if group is not None:
            groups.append(group)
            continue
        default = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
        require(default is not dataclasses.MISSING, f"{config.__name__}.{one.name}", "no default", "a default")
        yield Setting(one.name, config, default, annotations[one.name])
    for group in groups:
        yield from _settings_of(group)


def _make(config: type, values: Mapping[str, Any]) -> Any:
    """A config, and the groups in it, from the settings that are its own."""
    annotations, own = typing.get_type_hints(config), {}
    for one in dataclasses.fields(config):
        group = _group(annotations[one.name])
        if group is not None:
            own[one.name] = _make(group, values)
        elif one.name in values:
            own[one.name] = values[one.name]
    return config(**own)


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a value is of an annotated type; numpy's numbers count, True is no number, and 3 is a float."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is Literal:
        return isinstance(value, str)  # which word is checked, with a message of its own, where the config is made
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(inner) == 2 and inner[1] is Ellipsis:
            return all(_fits(each, inner[0]) for each in value)
        return len(value) == len(inner) and all(map(_fits, value, inner))
    if annotation is Any:
        return True
    kinds: dict[Any, type] = {float: numbers.Real, int: numbers.Integral}
    if annotation in kinds:
        return isinstance(value, kinds[annotation]) and not isinstance(value, bool)
    plain = origin or annotation
    return isinstance(value, plain) if isinstance(plain, type) else True


def _wanted(setting: Setting, default: Any) -> str:
    """What a value should be like: the default, or its type where the default is None."""
    if default is not None:
        return f"a value like {default!r}"
    names = [getattr(each, "__name__", str(each)) for each in typing.get_args(setting.type) if each is not type(None)]
    return f"a {' or '.join(names)}, or None"
