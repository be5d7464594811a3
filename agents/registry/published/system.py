"""A published system: what its source says, what stands for it here, and why where the two differ.

The settings of a system are those of its facts, and of nothing else: what a fact says of a setting is what is run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from feedgym.env.checks import require

Size = Literal["small", "published"]
SIZES: tuple[Size, ...] = ("small", "published")


@dataclass(frozen=True, kw_only=True)
class SizeConfig:
    """How large a published system is."""

    size: Size = "small"
    """``published``: layers, vectors, heads, dropout, history, negatives, batch and optimiser as its source has them,
    where it says so (docs/guide/published.md). ``small``: of the same shape, but of a size that a day of one small
    site's clicks can fill, with FeedGym's own optimiser."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.size in SIZES, "size", self.size, f"one of {', '.join(SIZES)}")


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One thing that a source says of its system."""

    what: str
    """Of which part."""
    says: str
    """What the source says, and where; or that it does not, or that it was not verified."""
    here: str
    """What FeedGym does."""
    why: str = ""
    """Why, where it is something else; empty where it is the same."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The settings that do so at ``size=published``."""


@dataclass(frozen=True, kw_only=True)
class System:
    """One published system."""

    description: str
    """One line."""
    source: str
    """Who published it, and where."""
    learner: Literal["regression", "contrastive"]
    """Which of our learners stands for its training."""
    facts: tuple[Fact, ...]
    """What is known of it."""
    small: Mapping[str, Any]
    """Settings that are others at ``size=small``."""

    def __post_init__(self) -> None:
        """Check once."""
        names = [name for fact in self.facts for name in fact.settings]
        twice = {name for name in names if names.count(name) > 1}
        require(not twice, "facts", sorted(twice), "each setting in one fact")
        unknown = set(self.small) - set(names)
        require(not unknown, "small", sorted(unknown), "settings of some fact")

    def settings(self, size: Size) -> dict[str, Any]:
        """What differs from the learner's dataclasses, or is said to be the same."""
        whole = {name: value for fact in self.facts for name, value in fact.settings.items()}
        return whole | dict(self.small) if size == "small" else whole

    def rows(self) -> Iterator[tuple[Fact, str]]:
        """Each fact with its settings in words, at both sizes where they differ."""
        for fact in self.facts:
            words = [f"{name}={_word(value)}" for name, value in fact.settings.items()]
            other = [f"{name}={_word(self.small[name])}" for name in fact.settings if name in self.small]
            yield fact, ", ".join(words) + (f"; small: {', '.join(other)}" if other else "")


def _word(value: object) -> str:
    return str(value).replace(" ", "")
