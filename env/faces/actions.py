"""What the actions of the single face mean: candidates in an observable order, and slates made of choices.

A learner can only learn what "candidate 3" means if the candidates stand in an order that it can see: unsorted, the
number would mean another article at every visit.
Shapes: K positions, C candidates, D article columns, m ordered articles (fewer where fewer are live).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from gymnasium import spaces

from feedgym.env.arrays import Bools, Ints
from feedgym.env.checks import require
from feedgym.env.faces.observables import newest
from feedgym.env.feed import Catalogue

ACTIONS = ("query", "slate", "item")
"""What an action of the single face may be."""


def newest_first(catalogue: Catalogue, count: int) -> Ints:
    """Ids int64 (m,) of the ``count`` latest live articles, the latest on top; fewer where fewer are live."""
    return newest(catalogue.article_id, count)


def most_clicked_first(catalogue: Catalogue, count: int) -> Ints:
    """Ids int64 (m,) of the ``count`` live articles with the most clicks on this site so far; of equals the newer."""
    live = catalogue.article_id
    ranked: Ints = live[np.lexsort((-live, -catalogue.clicks_of(live)))[:count]]
    return ranked


ORDERS: Mapping[str, Callable[[Catalogue, int], Ints]] = MappingProxyType(
    {"newest": newest_first, "most_clicked": most_clicked_first}
)
"""Observable orders of candidates, by name."""


def action_space(action: str, num_columns: int, num_candidates: int, slate_size: int) -> spaces.Space[Any]:
    """The space of an ``action`` of :data:`ACTIONS`: a query (D,), K choices of C, or one choice of C."""
    if action == "query":
        return spaces.Box(-1.0, 1.0, (num_columns,), np.float32)
    if action == "slate":
        return spaces.MultiDiscrete([num_candidates] * slate_size)
    return spaces.Discrete(num_candidates)


def checked_choice(action: object, shape: tuple[int, ...], num_candidates: int) -> Ints:
    """Choices as int64 of ``shape``; raises ``ValueError`` unless they are integers from 0 to C - 1."""
    choice = np.asarray(action)
    is_integer = np.issubdtype(choice.dtype, np.integer)
    require(bool(is_integer), "action", choice.dtype, "an integer dtype (numbers of candidates)")
    require(choice.shape == shape, "action", choice.shape, f"{shape}")
    inside = bool(((choice >= 0) & (choice < num_candidates)).all())
    require(inside, "action", choice.tolist(), f"numbers of candidates, 0 to {num_candidates - 1}")
    return choice.astype(np.int64)


def chosen_articles(choice: Ints, candidates: Ints) -> Ints:
    """The candidates (m,) that numbers of any shape stand for; -1 for a number with no candidate, m and above."""
    padded = np.append(candidates, -1)
    articles: Ints = padded[np.minimum(choice, len(candidates))]
    return articles


def slate_below(article: int, ordered: Ints, slate_size: int) -> Ints:
    """A slate with one article on top and the order below it.

    Args:
        article: the id on top; -1 leaves the top empty.
        ordered: the first K (or more) articles of the order, int64 (m,); the one on top is left out.
        slate_size: K.

    Returns:
        int64 (K,); -1 at the end where too few are live.
    """
    rest = ordered[ordered != article][: slate_size - 1]
    slate: Ints = np.full(slate_size, -1, dtype=np.int64)
    slate[0] = article
    slate[1 : 1 + len(rest)] = rest
    return slate


def choice_masks(action: str, num_shown: int, num_candidates: int, slate_size: int) -> Bools:
    """Which choices show an article, as sb3-contrib's ``MaskablePPO`` takes them.

    Args:
        action: ``"item"`` or ``"slate"``.
        num_shown: candidates that there are now, m <= C.
        num_candidates: C.
        slate_size: K.

    Returns:
        bool, (C,) for an item; (K * C,) for a slate, one position after the other.

    Raises:
        ValueError: for a query, which has no choices.
    """
    require(action != "query", "action_masks", action, "action='slate' or 'item': a query has no choices to mask")
    shown: Bools = np.arange(num_candidates) < num_shown
    return np.tile(shown, slate_size) if action == "slate" else shown
