"""Readers with articles, as crosses ask about them.

Shapes: n visits, M articles of a slate or a shortlist. Time is in hours.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from feedgym.env.arrays import Floats, Ints

KINDS = ("article", "author", "publisher", "topic")
"""What a reader may have been shown before: the article itself, or others of its author, its publisher, its topic."""


class Counts(NamedTuple):
    """Of one kind, what is remembered of the pairs: float32 (n, M) each."""

    shown: Floats
    """Showings of late: those of a day ago count half."""
    opened: Floats
    """Openings, likewise."""
    minutes: Floats
    """Minutes read, likewise."""
    since: Floats
    """Hours since the latest showing; inf where there was none."""


@dataclass
class Pairs:
    """Readers with articles. What is not asked for is not looked up, and each kind once."""

    rows: Ints
    """Readers, (n,)."""
    article_id: Ints
    """(n, M); -1 where there is none."""
    now: float
    """Hours."""
    look_up: Callable[["Pairs", str], Counts]
    """Finds what is remembered of a kind."""
    pages_of: Callable[["Pairs"], tuple[Floats, Floats]]
    """Finds the two numbers of the session: what :attr:`session` keeps."""
    proposed: Callable[[str], Floats]
    """Whether a source of candidates proposed them at this draw, float32 (n, M): 1 or 0."""
    _found: dict[str, Counts] = field(default_factory=dict)

    def counts(self, kind: str) -> Counts:
        """Of one of ``KINDS``."""
        if kind not in self._found:
            self._found[kind] = self.look_up(self, kind)
        return self._found[kind]

    @cached_property
    def session(self) -> tuple[Floats, Floats]:
        """Pages of this session before this one, how often they showed the topic: float32 (n, M) each."""
        return self.pages_of(self)
