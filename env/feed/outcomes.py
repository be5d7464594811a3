"""What came of the visits of a tick: what readers did, and what the Feed makes of it.

Shapes: n visits, K positions.
"""

import dataclasses

import numpy as np

from feedgym.env.arrays import Bools, Doubles, Floats
from feedgym.env.checks import require
from feedgym.env.readers import Outcome


@dataclasses.dataclass(kw_only=True)
class ServedOutcome(Outcome):
    """An :class:`Outcome` with what the Feed makes of it. The last two are latent: a site learns them later."""

    valid: Bools
    """(n, K): the entry showed an article."""
    slot_reward: Floats
    """(n, K): the parts of the reward that belong to a position (clicks, dwell)."""
    reward: Floats
    """(n,): all of it, with the subscription."""
    hours_to_next_visit: Doubles
    """(n,), latent: inf where the reader left for good."""
    left: Bools
    """(n,), latent: left for good after this visit."""


def joined(blocks: list[ServedOutcome], slate_size: int) -> ServedOutcome:
    """The blocks of a tick as one outcome; arrays of impressions stay position-major."""
    if len(blocks) == 1:
        return blocks[0]
    if not blocks:
        none: Doubles = np.zeros((0, slate_size))
        return ServedOutcome(
            clicks=none.astype(np.bool_),
            dwell_minutes=none.astype(np.float32),
            subscribed=np.zeros(0, dtype=np.bool_),
            valid=none.astype(np.bool_),
            slot_reward=none.astype(np.float32),
            reward=np.zeros(0, dtype=np.float32),
            hours_to_next_visit=np.zeros(0),
            left=np.zeros(0, dtype=np.bool_),
        )
    names = [f.name for f in dataclasses.fields(ServedOutcome)]
    return ServedOutcome(
        **{name: np.concatenate([getattr(block, name).T for block in blocks], axis=-1).T for name in names}
    )


def check_outcome(outcome: Outcome, valid: Bools) -> None:
    """Refuse what a reader model must not return. A few passes over the batch: 2 % of a tick."""
    k, n = valid.shape
    clicks, dwell, subscribed = outcome.clicks, outcome.dwell_minutes, outcome.subscribed
    for name in ("clicks", "dwell_minutes", "subscribed"):
        seen = getattr(outcome, name)
        require(isinstance(seen, np.ndarray), name, type(seen).__name__, "a numpy array")
    require(clicks.dtype == np.bool_, "clicks", clicks.dtype, "bool")
    require(subscribed.dtype == np.bool_, "subscribed", subscribed.dtype, "bool")
    require(clicks.shape == (n, k), "clicks", clicks.shape, f"{(n, k)}")
    require(dwell.shape == (n, k), "dwell_minutes", dwell.shape, f"{(n, k)}")
    require(subscribed.shape == (n,), "subscribed", subscribed.shape, f"{(n,)}")
    nothing = bool((clicks.T & ~valid).any())
    require(not nothing, "clicks", "a click on an entry that shows nothing", "clicks only where slate.valid")
    unearned = bool(((dwell.T != 0.0) & ~clicks.T).any())
    require(not unearned, "dwell_minutes", "minutes on an entry that was not clicked", "0 where nothing was clicked")
    low, high = (float(dwell.min()), float(dwell.max())) if dwell.size else (0.0, 0.0)
    # Written so that NaN fails.
    require(low >= 0.0 and high < np.inf, "dwell_minutes", (low, high), "finite minutes >= 0")
