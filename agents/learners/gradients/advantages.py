"""What each shown article is given credit for: ``ADVANTAGES``, name -> advantage. A new one is a function and a line.

The baseline is the value head's: what the reader's state at the visit let expect (docs/mathematics.md 3.5).
Reading this imports no torch. Shapes: B visits, K positions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from feedgym.env.arrays import Bools, Doubles


@dataclass(frozen=True)
class Earned:
    """What became of logged slates, and what was expected of them."""

    reward: Doubles
    """Of each position at the visit itself, (B, K)."""
    clicked: Bools
    """(B, K)"""
    later: Doubles
    """Discounted return from the reader's next visit on, (B,)."""
    expected_reward: Doubles
    """Of the whole visit, by the value head, (B,)."""
    expected_later: Doubles
    """Of what follows, by the value head, (B,)."""
    share: Doubles
    """Share of a visit's reward that each position has on average, (K,)."""

    @property
    def beyond(self) -> Doubles:
        """The later return less what was expected, (B,)."""
        return self.later - self.expected_later

    @property
    def expected(self) -> Doubles:
        """Of the visit and of what follows together, (B,)."""
        return self.expected_reward + self.expected_later


Advantage = Callable[[Earned], Doubles]
"""A_k of each position, float64 (B, K)."""


def own(earned: Earned) -> Doubles:
    """A position's reward less its share of what was expected of the visit: what counts where the future does not."""
    return earned.reward - earned.expected_reward[:, None] * earned.share


def clicked(earned: Earned) -> Doubles:
    """:func:`own`; and to each opened article all that the future exceeded its expectation by.

    An unopened one did not change the reader. Biased by design, since it conditions on the outcome.
    """
    return own(earned) + earned.clicked * earned.beyond[:, None]


def item(earned: Earned) -> Doubles:
    """The future in equal shares to the opened articles, against the whole value in equal shares to all positions."""
    part = earned.clicked / np.maximum(earned.clicked.sum(axis=1, keepdims=True), 1)
    size = earned.reward.shape[1]
    shared: Doubles = earned.reward + part * earned.later[:, None] - earned.expected[:, None] / size
    return shared


def slate(earned: Earned) -> Doubles:
    """All positions alike: the K-th part of what the visit and its future exceeded their expectation by."""
    whole = earned.reward.sum(axis=1, keepdims=True) + earned.later[:, None] - earned.expected[:, None]
    return np.broadcast_to(whole / earned.reward.shape[1], earned.reward.shape).copy()


ADVANTAGES: dict[str, Advantage] = {"clicked": clicked, "item": item, "slate": slate}
"""Who is credited with the future, by name; :func:`own` where it does not count."""
