"""What a reader's past does to the next click: the plug-in point for one effect more on :class:`NewsReader`.

An effect adds to the log-odds against a click, keeps what it needs in columns of its own, and changes them after a
visit. It is written once: ``NewsReader`` asks the same methods when readers respond to slates and when an oracle asks
what to expect. Shapes: n visits, K impressions of each (of an oracle's question: all N articles); arrays of
impressions are position-major, (K, n). Time is in hours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from feedgym.env.arrays import AnyArray, Arrays, Bools, Floats, Ints
from feedgym.env.newsroom import Archive
from feedgym.env.readers.reader_rows import PackedState


@dataclass(frozen=True)
class Shown:
    """Articles that readers are shown, or might be, and who these readers are."""

    article_id: Ints
    """(K, n), may be a read-only view."""
    topic: Ints
    """(K, n), as that."""
    rows: Ints
    """Rows of the readers in ``state``, (n,)."""
    reader: AnyArray | Mapping[str, AnyArray]
    """The readers' columns by name, (n, ...), as before the visit: ``interest``, ``trust``, ``seen_hours`` (time of the
    last visit or open from elsewhere), the effects' own. Of a visit a copy that is written back, so that ``after`` may
    change it in place."""
    state: Arrays
    """The whole population's, for an effect's ``beside``."""
    archive: Archive
    """All articles; ``archive.column(name)[article_id]`` is (K, n)."""
    now: float


@dataclass(frozen=True)
class Reaction:
    """What the readers did with what they were shown."""

    exposed: Bools
    """(K, n): tires, as the way of looking at a page says."""
    clicks: Bools
    """(K, n)"""
    flat_clicks: Ints
    """Flat indices of the clicks into (K, n), rising."""


class Effect(Protocol):
    """One effect. It keeps nothing on ``self`` but settings: whatever changes stands in the state."""

    def columns(self, num_readers: int, num_topics: int) -> Arrays:
        """What it keeps of each reader, (num_readers, ...), of readers who have seen nothing yet; no names of others.

        Few numbers: they stand in the reader's row, which every visit reads and writes.
        """
        ...

    def beside(self, num_readers: int) -> Arrays:
        """The same, of what is too large for the row: entries of the state, which it reads and writes by ``rows``."""
        ...

    def oppose(self, shown: Shown, against: Floats) -> Any:
        """Add to the log-odds against a click, in place, and change nothing else.

        Args:
            shown: what, and to whom.
            against: log-odds against a click so far, float32 (K, n).

        Returns:
            Whatever ``after`` needs of what was found here.
        """
        ...

    def after(self, shown: Shown, found: Any, reaction: Reaction) -> None:
        """Change the columns by what the readers did; ``found`` is what ``oppose`` returned for this visit."""
        ...


class ReadRows(dict[str, AnyArray]):
    """Columns of some readers, read when they are asked for: ``state[name][rows]``."""

    def __init__(self, state: PackedState, rows: Ints) -> None:
        super().__init__()
        self._state, self._rows = state, rows

    def __missing__(self, name: str) -> AnyArray:
        """Read a column, (n, ...)."""
        column = self[name] = self._state[name][self._rows]
        return column
