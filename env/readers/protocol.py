"""The plug-in point: what a reader model is asked, and what it is shown.

Any class with the four methods of :class:`ReaderModel` fits; there is no base class to read and nothing
to register. A model owns its latent state, a struct of arrays with a row per reader.
Shapes: n visits of this tick, K positions, D dimensions. Time is in hours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Bools, Doubles, Floats, Ints
from feedgym.env.checks import require
from feedgym.env.newsroom import LATENT, OBSERVABLE, Archive
from feedgym.env.noise import Noise


@dataclass(kw_only=True)
class Outcome:
    """What the readers of a batch did with their slates."""

    clicks: Bools
    """(n, K)"""
    dwell_minutes: Floats
    """(n, K), 0 where nothing was clicked."""
    subscribed: Bools
    """(n,): subscribed during this visit."""


class SlateView:
    """The slates that a batch of readers sees. All impressions arrays are (n, K), position-major in memory.

    An entry that is not ``valid`` (absent, repeated, expired or unpublished) shows nothing: it must not be
    clicked, and its attributes are those of some other article.
    """

    def __init__(self, archive: Archive, article_id: Ints, valid: Bools, now: float) -> None:
        self.article_id = article_id
        """int64 (n, K); 0 where not valid."""
        self.valid = valid
        """bool (n, K)"""
        self.now = now
        self._archive = archive

    @property
    def archive(self) -> Archive:
        """All articles, latent columns too."""
        return self._archive

    @property
    def position(self) -> Ints:
        """Positions, (K,), 0 on top."""
        return np.arange(self.article_id.shape[1])

    @property
    def age_hours(self) -> Floats:
        """Ages of the articles in hours, float32 (n, K)."""
        published = self._archive.column("published_hours").take(self.article_id.T)
        age: Floats = (self.now - published).astype(np.float32).T
        return age

    def observable(self, name: str) -> AnyArray:
        """What the site sees of the articles: (n, K), or (n, K, D) for ``text``. See ``OBSERVABLE``."""
        require(name in OBSERVABLE, "name", name, f"one of {OBSERVABLE}")
        return self._gather(name)

    def latent(self, name: str) -> AnyArray:
        """What only the simulator knows of the articles: (n, K), or (n, K, D) for ``vector``. See ``LATENT``."""
        require(name in LATENT, "name", name, f"one of {LATENT}")
        return self._gather(name)

    def scoring(self, positions: slice) -> Floats:
        """Rows of ``Archive.scoring`` of the articles at some positions, latent, float32 (k, n, D + 6).

        Position-major and not transposed.
        """
        return self._archive.scoring.take(self.article_id.T[positions], axis=0)

    def scoring_at(self, visit: Ints, position: Ints) -> Floats:
        """The same of some impressions only, by visit (m,) and position (m,): float32 (m, D + 6)."""
        return self._archive.scoring.take(self.article_id[visit, position], axis=0)

    def _gather(self, name: str) -> AnyArray:
        # take: five times faster than indexing by a two-dimensional array of rows.
        gathered = self._archive.column(name).take(self.article_id.T, axis=0)
        return gathered.swapaxes(0, 1)


class ReaderModel(Protocol):
    """How readers react."""

    def spawn(self, reader_ids: Ints, noise: Noise) -> Arrays:
        """The state of these readers (n,): arrays by name, each with a row per reader."""
        ...

    def first_visit(self, state: Arrays, rows: Ints, noise: Noise) -> Doubles:
        """Hours from hour 0 until each reader's first visit, (n,)."""
        ...

    def respond(self, state: Arrays, rows: Ints, slate: SlateView, now: float, noise: Noise) -> Outcome:
        """What the readers at ``rows`` (n,) of ``state`` do with their slates (n, K). May change their state."""
        ...

    def next_visit(self, state: Arrays, rows: Ints, outcome: Outcome, now: float, noise: Noise) -> Doubles:
        """Hours until each reader's next visit, (n,); inf where they left for good. May change their state."""
        ...


@dataclass(frozen=True, kw_only=True)
class World:
    """What a reader model may want to know of the site before readers are spawned."""

    centers: Floats
    """Centres of the topics, (T, D), in the space of the article vectors."""
    surge: Callable[[Ints], Doubles] | None = None
    """Traffic over the usual in consecutive clock hours (h,), (h,), if breaking events raise it."""


@runtime_checkable
class WorldAware(Protocol):
    """Optional: a model whose readers' tastes live in the space of the article vectors."""

    def enter(self, world: World) -> ReaderModel:
        """A model for this world; ``self`` stays as it is."""
        ...


@runtime_checkable
class Renewing(Protocol):
    """Optional: a model whose readers may join after hour 0. Without it the readers of hour 0 are all there ever are.

    The site says who joins and when (``FeedConfig.newcomers_per_day``). They are born by ``spawn`` like the others,
    at the latest rows of the state, when their day begins.
    """

    def arrive(self, state: Arrays, rows: Ints, joined: Doubles, noise: Noise) -> Doubles:
        """Hours from hour 0 until the first visit of newcomers at ``rows``, who join at hours ``joined``; both (n,).

        Not before they join. Draws are per reader, as in ``first_visit``.
        """
        ...


@runtime_checkable
class Roaming(Protocol):
    """Optional: a model whose readers also come from elsewhere, straight to an article (``FeedConfig.organic``).

    The site says who comes when, and by which channel; the model says what is found appealing, and what it does.
    """

    def appeal(self, archive: Archive, article_id: Ints, now: float) -> tuple[Doubles, Doubles]:
        """Log-odds of an open that articles (N,) have for all readers alike, and what their age takes: (N,) each."""
        ...

    def match(self, state: Arrays, rows: Ints, archive: Archive, article_id: Ints) -> Floats:
        """What taste adds to those log-odds for the readers at ``rows`` (m,) and articles (C, m), float32 (C, m)."""
        ...

    def open_elsewhere(
        self, state: Arrays, rows: Ints, archive: Archive, article_id: Ints, now: float, noise: Noise
    ) -> Floats:
        """Minutes read, float32 (m,), by the readers at ``rows`` (m,), each once, of an article each. Changes state.

        Draws are of the open: ``noise`` is keyed by the reader and the number of her opens from elsewhere.
        """
        ...


@runtime_checkable
class Observing(Protocol):
    """Optional: a model that shows the site more of a reader than the Feed's own history and gaps."""

    @property
    def observable_names(self) -> tuple[str, ...]:
        """Names of the F columns."""
        ...

    def observe(self, state: Arrays, rows: Ints) -> Floats:
        """What the site sees of the readers at ``rows`` (n,), float32 (n, F)."""
        ...


@runtime_checkable
class Describing(Protocol):
    """Optional: a model whose readers have devices, or whose visits form sessions, for the log.

    A site would know both. An agent that wants them as columns finds what ``observe`` gives.
    """

    @property
    def device_names(self) -> tuple[str, ...]:
        """Names of the devices; none in a world without."""
        ...

    def describe(self, state: Arrays, rows: Ints) -> tuple[Ints | None, Ints | None]:
        """Device, an index of ``device_names``, and number of the session, from 0, of the readers at ``rows`` (n,).

        Each int64 (n,), or None in a world without. Asked before the visit is served.
        """
        ...


@runtime_checkable
class Expecting(Protocol):
    """Optional: a model that can say what it expects of a reader and an article. Oracles need it."""

    def expected_response(
        self, state: Arrays, rows: Ints, archive: Archive, article_id: Ints, now: float
    ) -> tuple[Floats, Floats]:
        """Chance of a click once examined, and expected minutes once clicked: each float32 (n, N)."""
        ...


@runtime_checkable
class Attracting(Protocol):
    """Optional: a model that can say how much sooner readers return for what they opened. Oracles that plan need it."""

    def return_pull(self, archive: Archive, article_id: Ints) -> Doubles:
        """Natural log of the factor by which opening one article alone shortens gaps, float64 (N,); 0: no effect.

        Against a session in which nothing is opened. Of the next gap, and of what is left in the gaps after that: the
        sum of all, so that it times the mean minutes of a session is what opening the article is worth later.
        """
        ...
