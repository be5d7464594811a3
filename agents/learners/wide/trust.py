"""How much the towers may add to the wide part: as much as has paid on visits that they had not been trained on.

Before each training the model as it is, and as it would be without its towers, foretells the visits since the last one.
The share of the towers under which these were likeliest is what the next hours are served by. Towers that were trained
on little thus do no harm, and need no rate or decay of their own for each site.
Shapes: R impressions.
"""

import numpy as np

from feedgym.agents.learners.wide.newton import Link, fit_share
from feedgym.env.arrays import Arrays, Doubles

ROWS = 16_384
"""Impressions that are looked back on: what towers of days ago were worth says little of these."""
PRIOR = 10.0
"""Belief in 0, as that many units of information."""


class Trust:
    """Rows that the towers foretold before they were trained on them, the latest ``ROWS``."""

    def __init__(self) -> None:
        self._rows: Doubles = np.zeros((3, 0))

    def add(self, without: Doubles, towers: Doubles, target: Doubles) -> None:
        """Take in what has been foretold.

        Args:
            without: scores without the towers, (R,).
            towers: what they add, (R,).
            target: what came of it, (R,).
        """
        self._rows = np.concatenate([self._rows, np.stack([without, towers, target])], axis=1)[:, -ROWS:]

    def share(self, link: Link) -> float:
        """What the towers may count, in [0, 1]; 0 where nothing is known."""
        if self._rows.shape[1] == 0:
            return 0.0
        without, towers, target = self._rows
        return fit_share(without, towers, target, link, PRIOR)

    def snapshot(self) -> Arrays:
        """All rows."""
        return {"rows": self._rows.copy()}

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        self._rows = snapshot["rows"].copy()
