"""How long readers read what they click: log-normal minutes with a cap (docs/mathematics.md 9.2).

Shapes: n visits, m clicked impressions, N articles, D dimensions.
"""

from functools import cached_property

import numpy as np

from feedgym.env.arrays import Doubles, Floats, Ints
from feedgym.env.newsroom import Scoring
from feedgym.env.noise import Noise
from feedgym.env.readers.config import NewsReaderConfig


class Dwell:
    """Minutes on a clicked article: ``min(cap, exp(d0 + d_q q + d_c c + d_u <u, v> + d_s N))``.

    Args:
        config: d0, slopes, spread, cap.
    """

    def __init__(self, config: NewsReaderConfig) -> None:
        self._config = config
        self._taste = np.float32(config.dwell_taste if config.personal_taste else 0.0)

    def minutes(self, articles: Floats, interest: Floats, visit: Ints, position: Ints, noise: Noise) -> Floats:
        """Minutes on clicked articles (m,): ``articles`` (m, D + 6) are their scoring rows, ``interest`` is (n, D)."""
        c = self._config
        match = np.einsum("md,md->m", articles[:, Scoring.VECTOR], interest.take(visit, axis=0))
        log_minutes = np.float32(c.dwell_log_minutes) + self._taste * match
        log_minutes += np.float32(c.dwell_quality) * articles[:, Scoring.QUALITY]
        log_minutes += np.float32(c.dwell_clickbait) * articles[:, Scoring.CLICKBAIT]
        log_minutes += np.float32(c.dwell_log_sd) * noise.normal("dwell", "impression", at=(visit, position))
        minutes: Floats = np.minimum(np.exp(log_minutes), np.float32(c.dwell_cap_minutes))
        return minutes

    def expected(self, scoring: Floats, interest: Floats) -> Floats:
        """Expected minutes once clicked, (n, N), of articles with scoring rows (N, D + 6)."""
        c = self._config
        own = c.dwell_quality * scoring[:, Scoring.QUALITY] + c.dwell_clickbait * scoring[:, Scoring.CLICKBAIT]
        match = interest @ scoring[:, Scoring.VECTOR].T
        return self.mean_minutes(np.float32(c.dwell_log_minutes) + own + self._taste * match)

    def mean_minutes(self, log_minutes: Floats) -> Floats:
        """Expected minutes, any shape, for medians ``exp(log_minutes)``."""
        minutes: Floats = np.interp(log_minutes, *self._table).astype(np.float32)
        return minutes

    @cached_property
    def _table(self) -> tuple[Doubles, Doubles]:
        """Mean of ``min(cap, exp(x + d_s N))`` on a grid of x, by quadrature."""
        c = self._config
        nodes, weights = np.polynomial.hermite_e.hermegauss(63)
        grid = np.linspace(-8.0, 8.0, 2049)
        minutes = np.minimum(np.exp(grid[:, None] + c.dwell_log_sd * nodes), c.dwell_cap_minutes)
        return grid, (minutes @ weights) / weights.sum()
