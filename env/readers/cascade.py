"""A reader who reads the page from the top, and after each click may be done with it: the cascade.

Cascade model (Craswell, Zoeter, Taylor & Ramsey, WSDM 2008, section 3.4): positions are looked at in order, and the
reader stops at the first click. With a chance to stop it is the dependent click model of Guo, Liu & Wang (WSDM 2009)
with the same chance at all positions. A click at position l has the chance ``mu_l prod_{j<l} (1 - stop mu_j)``, where
``mu_l`` is the default reader's chance there, its position bias included: what stands higher takes clicks from what
stands lower, which the position alone does not explain.
Shapes: n visits, K positions; position-major (K, n).
"""

from collections.abc import Sequence

import numpy as np

from feedgym.env.arrays import Bools, Floats, SmallInts
from feedgym.env.checks import require
from feedgym.env.noise import Noise
from feedgym.env.readers.config import NewsReaderConfig
from feedgym.env.readers.effects import Effect
from feedgym.env.readers.news_reader import NewsReader


def reached_positions(left: Bools) -> Bools:
    """The positions that a reader comes to, bool (K, n), where the page is left below the ``left`` ones, (K, n)."""
    reached: Bools = np.ones(left.shape, dtype=np.bool_)
    np.logical_not(np.logical_or.accumulate(left[:-1], axis=0), out=reached[1:])
    return reached


class CascadeReader(NewsReader):
    """The default reader, who after each click leaves the page with chance ``stop``.

    What was not reached is neither clicked nor tired of: the exposure memory counts what the reader came to.
    Everything else is the default reader's; with ``stop=0`` all of it is, byte for byte.

    ``expected_response`` keeps its meaning: the chance of a click *once examined*, that is once the reader has come so
    far. The chance to come so far is not in it, since it depends on the rest of the slate; so the oracles, which rank
    article by article, are no longer the best that can be done even at once. For clicks without position bias the order
    of a slate does not matter; for minutes a short read high on the page costs longer ones below it.

    Args:
        config: as :class:`NewsReader`'s; ``position_bias=False`` leaves the cascade as the only reason why lower
            positions are clicked less.
        stop: chance that a click is the visit's last, between 0 and 1.
        centers: as :class:`NewsReader`'s.
        effects: as :class:`NewsReader`'s.

    Raises:
        ValueError: ``stop`` is not between 0 and 1.
    """

    def __init__(
        self,
        config: NewsReaderConfig | None = None,
        *,
        stop: float = 0.5,
        centers: Floats | None = None,
        effects: Sequence[Effect] = (),
    ) -> None:
        super().__init__(config, centers=centers, effects=effects)
        require(0.0 <= stop <= 1.0, "stop", stop, "a chance between 0 and 1")
        self.stop = stop

    def look_and_click(
        self, odds_against: Floats, valid: Bools, noise: Noise, device: SmallInts | None
    ) -> tuple[Bools, Bools]:
        """As the default reader, down to the click after which the page is left."""
        examined, clicks = super().look_and_click(odds_against, valid, noise, device)
        position, visit = np.nonzero(clicks)
        left: Bools = np.zeros(clicks.shape, dtype=np.bool_)
        # Drawn for every click that the whole page would have had: beyond the first that ends the visit, no matter.
        left[position, visit] = noise.uniform("leave the page", "impression", at=(visit, position)) < self.stop
        reached = reached_positions(left)
        return examined & reached, clicks & reached
