"""What opening an article is worth later, as weights of the wide part's columns (docs/mathematics.md 3.7).

The wide part weighs an article's plain columns; worth later is linear in the same ones. So it is served with the score,
also of articles that are published after the fit, in the one inner product.
Shapes: A columns of the wide part, F numeric columns, N articles.
"""

import numpy as np

from feedgym.agents.agent import Site
from feedgym.agents.learners.averages import Averages
from feedgym.agents.learners.learning import Learning
from feedgym.agents.learners.returns.gap_model import ReturnModel
from feedgym.agents.learners.returns.sessions import ArticleColumns, sessions_of
from feedgym.agents.learners.settings import ReturnConfig
from feedgym.env.arrays import Arrays, Doubles, Floats, Ints, nest, unnest
from feedgym.towers.interface import Towers
from feedgym.towers.two_tower import TwoTower

_PUBLISHER = 1
"""Its place among the categories of an article."""


class Planning:
    """The return model of a learner, fitted with each training.

    Args:
        config: prior, guard, discount, which numbers of articles count.
    """

    def __init__(self, config: ReturnConfig) -> None:
        self._config = config
        self._averages = Averages()

    def start(self, site: Site) -> None:
        """Once the site is known: which of the wanted numbers it has."""
        self._articles = ArticleColumns(site.feature_names, self._config.proxies)
        self._returns = ReturnModel(self._config, self._articles.names)

    def later(self, learning: Learning[Towers], model: TwoTower, now: float) -> Doubles:
        """Fit on all visits kept; minutes that an opening is worth later as a constant and weights of z, (1 + A,).

        Args:
            learning: store and replay.
            model: with a wide part.
            now: hours.
        """
        store, replay = learning.store, learning.replay
        numeric, publisher = store.numeric[: len(store)], store.categorical[: len(store), _PUBLISHER]
        self._articles.know(numeric, publisher)
        sessions = sessions_of(
            replay.column("row"),
            replay.column("now"),
            replay.column("clicks"),
            replay.column("article_id"),
            replay.column("dwell_minutes"),
            self._articles.of(numeric, publisher),
            now,
        )
        self._returns.fit(sessions, now)
        live = store.index.ids
        for name, value in self._returns.metrics(self._alone(store.numeric[live], publisher[live])).items():
            self._averages.note(name, value)
        return self._weights(model)

    def _alone(self, numeric: Floats, publisher: Ints) -> Doubles:
        return self._articles.opened_alone(numeric, publisher)

    def _weights(self, model: TwoTower) -> Doubles:
        """The worth of an article as a line in z: what one column more changes, all else equal."""
        wide, standard = model.wide, model.normalisations.items
        assert wide is not None
        mean, spread = standard.mean.numpy(), standard.std.numpy()
        sizes = wide.publishers
        # Worth at the mean of all numbers, of each publisher; and with one number a standard deviation higher.
        base = np.tile(mean, (1 + sizes, 1)).astype(np.float32)
        nobody = np.iinfo(np.int64).max
        publishers: Ints = np.append(np.arange(sizes), nobody).astype(np.int64)
        of_publisher = self._returns.value(self._alone(base, publishers))
        weights = np.zeros(1 + wide.width)
        weights[0] = of_publisher[-1]
        if wide.publisher_columns is not None:
            weights[1:][wide.publisher_columns] = of_publisher[:-1] - of_publisher[-1]
        plain = np.arange(wide.first_plain, wide.first_plain + len(range(wide.width)[wide.plain_columns]))
        higher = np.tile(mean, (len(plain), 1)).astype(np.float32)
        higher[np.arange(len(plain)), plain] += spread[plain]
        one_more = self._returns.value(self._alone(higher, np.full(len(plain), nobody)))
        weights[1:][wide.plain_columns] = one_more - of_publisher[-1]
        return weights

    def metrics(self) -> dict[str, float]:
        """Effects with their errors, and the worth of the best and the worst live article, since the last call."""
        return self._averages.take()

    def snapshot(self) -> Arrays:
        """Columns, fit, and what the curves have not seen yet."""
        arrays = nest("articles", self._articles.snapshot()) | nest("returns", self._returns.snapshot())
        return arrays | nest("seen", self._averages.snapshot())

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        self._articles.restore(unnest("articles", snapshot))
        self._returns.restore(unnest("returns", snapshot))
        self._averages.restore(unnest("seen", snapshot))
