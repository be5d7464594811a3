"""The crosses: numbers of a reader with an article, by name in ``CROSSES``. A new one is a function and a line.

Of each of four kinds (the article, its author, its publisher, its topic) five numbers, and two of the session. Counts
enter by their logarithms, so that a linear score makes a power of them: a discount for what has been seen before.
Shapes: n visits, M articles.
"""

from collections.abc import Callable, Sequence

import numpy as np

from feedgym.agents.two_tower.second_stage.pairs import KINDS, Pairs
from feedgym.agents.two_tower.second_stage.sources import SOURCES
from feedgym.env.arrays import Floats
from feedgym.env.checks import require

Cross = Callable[[Pairs], Floats]
"""Of readers with articles, float32 (n, M), finite and within what float16 holds; 0 where nothing is remembered."""


def _shown(kind: str) -> Cross:
    return lambda pairs: np.log1p(pairs.counts(kind).shown)


def _opened(kind: str) -> Cross:
    return lambda pairs: np.log1p(pairs.counts(kind).opened)


def _minutes(kind: str) -> Cross:
    return lambda pairs: np.log1p(pairs.counts(kind).minutes)


def _since(kind: str, tau_hours: float) -> Cross:
    """1 just after a showing, fading to 0; 0 where there was none."""
    return lambda pairs: np.exp(pairs.counts(kind).since * np.float32(-1.0 / tau_hours))


def _from(name: str) -> Cross:
    return lambda pairs: pairs.proposed(name)


OF_SOURCES = "source_"
"""How the names of crosses begin that ask a source of candidates."""
_NUMBERS: dict[str, Callable[[str], Cross]] = {
    "shown": _shown,
    "opened": _opened,
    "minutes": _minutes,
    "just": lambda kind: _since(kind, 2.0),
    "today": lambda kind: _since(kind, 24.0),
}
CROSSES: dict[str, Cross] = {
    **{f"{kind}_{name}": number(kind) for kind in KINDS for name, number in _NUMBERS.items()},
    "session_page": lambda pairs: np.log1p(pairs.session[0]),
    "session_topic": lambda pairs: np.log1p(pairs.session[1]),
    **{f"{OF_SOURCES}{name}": _from(name) for name in SOURCES},
}
"""Crosses by name. ``KIND_shown``, ``_opened``, ``_minutes``: log(1 + showings, openings, minutes of late), a day's
half-life; ``KIND_just``, ``_today``: exp(-hours since the latest showing / 2, 24); ``session_page``, ``session_topic``:
log(1 + pages of the session so far, times that they showed the topic); ``source_NAME``: 1 where that source of
candidates proposed the article, else 0."""


def cross_names(words: str) -> tuple[str, ...]:
    """Names in the words of a setting: ``none``, ``all``, or some joined by ``+``.

    ``all`` are those that ask no source of candidates; ``all+source_recent`` are these and that one.

    Raises:
        ValueError: an unknown name, or one twice.
    """
    if words == "none":
        return ()
    every = tuple(name for name in CROSSES if not name.startswith(OF_SOURCES))
    names = tuple(name for word in words.split("+") for name in (every if word == "all" else (word,)))
    known = all(name in CROSSES for name in names) and len(set(names)) == len(names)
    require(known, "crosses", words, f"'none', 'all', or some of these joined by '+', once each: {', '.join(CROSSES)}")
    return names


def chosen_crosses(names: Sequence[str]) -> tuple[Cross, ...]:
    """The crosses of these names."""
    return tuple(CROSSES[name] for name in names)
