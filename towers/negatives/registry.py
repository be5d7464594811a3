"""Samplers of negatives by name. A new one is a file beside this one and a line in ``NEGATIVES``."""

import inspect
from collections.abc import Callable

from feedgym.towers.checks import require
from feedgym.towers.negatives.hard import Hard
from feedgym.towers.negatives.impressed import Impressed
from feedgym.towers.negatives.in_batch import InBatch
from feedgym.towers.negatives.memory import Memory
from feedgym.towers.negatives.mixed import Mixed
from feedgym.towers.negatives.own import Own
from feedgym.towers.negatives.popularity import Popularity
from feedgym.towers.negatives.types import NegativeSampler
from feedgym.towers.negatives.uniform import Uniform

NEGATIVES: dict[str, Callable[..., NegativeSampler]] = {
    "in_batch": InBatch,
    "uniform": Uniform,
    "mixed": Mixed,
    "popularity": Popularity,
    "impressed": Impressed,
    "hard": Hard,
    "memory": Memory,
    "own": Own,
}

LOSSES_OF_A_SLATE = {"bce", "bpr", "slate_bpr", "slate_softmax"}
"""Losses whose negatives may be the impressions themselves: exposure cancels, no log q is asked for. Add your own."""


def make_negatives(name: str, **settings: object) -> NegativeSampler:
    """The sampler ``name`` of ``NEGATIVES`` with its ``settings``, such as ``make_negatives("mixed", count=256)``.

    Raises:
        ValueError: on a name or a setting that does not exist, or a value that is not allowed.
    """
    require(name in NEGATIVES, "name", name, f"one of {', '.join(NEGATIVES)}")
    known = tuple(inspect.signature(NEGATIVES[name]).parameters)
    unknown = sorted(set(settings) - set(known))
    require(not unknown, f"settings of {name!r}", unknown, f"some of {', '.join(known) or 'none, it has no settings'}")
    return NEGATIVES[name](**settings)


def check_combination(sampler: NegativeSampler, loss_name: str) -> None:
    """Refuse negatives without log q in a loss that would need it.

    Args:
        sampler: as from ``make_negatives``.
        loss_name: function in ``feedgym.towers.losses``, with or without its ``_loss``.

    Raises:
        ValueError: naming the loss and those that are allowed.
    """
    if not sampler.corrected:
        require(
            loss_name.removesuffix("_loss") in LOSSES_OF_A_SLATE,
            "loss_name",
            loss_name,
            f"one of {', '.join(sorted(LOSSES_OF_A_SLATE))}: {type(sampler).__name__} negatives have no log q",
        )
