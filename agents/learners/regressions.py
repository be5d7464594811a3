"""Losses of regression: ``REGRESSIONS``, name -> loss and what it fits. A new one is a function and a line here.

Shapes: B visits of a batch, K positions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from feedgym.agents.learners.tasks import CLICK_TASKS, TASKS, Task
from feedgym.agents.learners.wide.newton import Link
from feedgym.towers.losses import (
    bce_loss,
    drawn_non_clicks,
    ips_bce_loss,
    mse_loss,
    slate_bpr_loss,
    slate_softmax_loss,
)

_LINKS: dict[Task, Link] = {"dwell": "identity", **dict.fromkeys(CLICK_TASKS, "logit")}
LARGEST_LOG = 12.0
"""Of scores in the logarithm: no article is worth more minutes than a hundred days have."""


@dataclass(frozen=True, kw_only=True)
class Impressions:
    """What one task says of a batch of slates."""

    task: Task
    score: Tensor
    """What the towers predict, (B, K): log-odds for tasks of clicks, minutes for ``dwell``."""
    target: Tensor
    """What came of it, float32 (B, K): 0 or 1, or minutes."""
    shown: Tensor
    """Which entries count, bool (B, K), at least one."""
    log_examination: Tensor | None
    """Log of the chance that each position is seen, (K,); None where positions are ignored."""
    negative_keep_rate: float
    """Share of the entries of target 0 that are among ``shown``."""
    ips_clip: float | None
    """Largest weight of ``ips``."""
    clicked: Tensor | None = None
    """Whether each was opened, bool (B, K); for ``hurdle``."""
    effect: Tensor | None = None
    """What each position adds to a logarithm, float32 (K,), as the wide part found it; None: positions are ignored."""
    worth: Tensor | None = None
    """Log of what each is worth once opened, float32 (B, K): a part of the score; for ``hurdle``."""
    luck: Tensor | None = None
    """Which non-clicks of its slate each click is set against: those of the lowest numbers, (B, K, K); None: all."""
    negatives: int = 0
    """How many, with ``luck``."""


@dataclass(frozen=True)
class Regression:
    """One loss."""

    loss: Callable[[Impressions], Tensor | None]
    """Of one task, a scalar; None where the batch has nothing to say."""
    tasks: tuple[Task, ...] = TASKS
    """What it can be trained to foretell."""
    thinned: tuple[Task, ...] = ()
    """Tasks of which it corrects for ``negative_keep_rate``."""
    examination: bool | None = None
    """True: it needs the chances that positions are seen. False: it has no use for them. None: either."""
    predicts: bool = True
    """Scores are the task's own: log-odds, minutes, their logarithm. False: their order alone says something."""
    link: Callable[[Task], Link] | None = None
    """Of the mean to the score, by task: the wide part's weights are fitted to it. None: they are trained with the
    towers."""
    draws: bool = False
    """It can set a click against some non-clicks of its slate alone (``slate_negatives``)."""
    hurdle: bool = False
    """Its scores are of openings, and the wide part, which it needs, says what an opened article is worth."""


def _pointwise(i: Impressions) -> Tensor:
    """MSE of minutes, BCE of clicks (docs/mathematics.md 6.1); of what is examined, where that is known."""
    weight, log_theta = i.shown.float(), i.log_examination
    if i.task == "dwell":
        return mse_loss(_examined(i), i.target, weight=weight)
    rate = i.negative_keep_rate
    return bce_loss(i.score, i.target, weight=weight, log_examination=log_theta, negative_keep_rate=rate)


def _ips(i: Impressions) -> Tensor:
    """Clicks weighed by 1 / examination; a stage that is told the position needs no weights."""
    if i.log_examination is None:
        return _pointwise(i)
    return ips_bce_loss(i.score, i.target, i.log_examination.exp(), clip=i.ips_clip, weight=i.shown.float())


def _huber(i: Impressions) -> Tensor:
    """Squared error up to a minute, absolute beyond: a great read does not outweigh a hundred usual ones.

    What it tends to is below the mean where minutes are skewed, so that it ranks, and is no estimate of minutes.
    """
    weight = i.shown.float()
    error = F.huber_loss(_examined(i), i.target, reduction="none", delta=1.0)
    return (weight * error).sum() / weight.sum()


def _poisson(i: Impressions) -> Tensor:
    """``exp(s) - y s``: the optimum is the logarithm of the mean, of minutes or of clicks (mathematics 6.12)."""
    return _log_loss(i, i.score, i.target)


def _hurdle(i: Impressions) -> Tensor:
    """Minutes in two parts, opened or not and how long: the towers learn the first, less what the second adds."""
    assert i.clicked is not None
    assert i.worth is not None
    return _log_loss(i, i.score - i.worth, i.clicked.float())


def _log_loss(i: Impressions, score: Tensor, target: Tensor) -> Tensor:
    weight = i.shown.float()
    seen = score if i.log_examination is None else score + i.log_examination
    if i.effect is not None and i.log_examination is None:
        seen = seen + i.effect
    # A wild score of a position without an article would be infinite: nought times that is no number.
    error = F.poisson_nll_loss(seen.clamp(max=LARGEST_LOG), target, log_input=True, full=False, reduction="none")
    return (weight * error).sum() / weight.sum()


def _slate(loss: Callable[..., Tensor]) -> Callable[[Impressions], Tensor | None]:
    """What was clicked against what else stood on the slate, or some of it; of ``dwell``, weighed by minutes."""

    def of_slates(i: Impressions) -> Tensor | None:
        won = (i.target > 0) & i.shown
        mixed = won.any(dim=1) & (i.shown & ~won).any(dim=1)
        if not bool(mixed.any()):
            return None
        # A minute of reading counts as a click, two as two.
        value = torch.where(won, i.target, 0.0) if i.task == "dwell" else None
        drawn = {} if i.luck is None else {"against": drawn_non_clicks(i.luck, i.shown & ~won, i.negatives)}
        return loss(i.score, won, valid=i.shown, weight=value, **drawn)

    return of_slates


def _examined(i: Impressions) -> Tensor:
    """Minutes that a position brings: those of a reader who looks, times the chance that one does."""
    return i.score if i.log_examination is None else i.score * i.log_examination.exp()


REGRESSIONS: dict[str, Regression] = {
    "pointwise": Regression(_pointwise, thinned=CLICK_TASKS, link=lambda task: _LINKS[task]),
    "ips": Regression(_ips, tasks=CLICK_TASKS, examination=True, link=lambda task: "logit"),
    "poisson": Regression(_poisson, link=lambda task: "log"),
    "hurdle": Regression(_hurdle, tasks=("dwell",), link=lambda task: "log", hurdle=True),
    "slate_softmax": Regression(_slate(slate_softmax_loss), examination=False, predicts=False, draws=True),
    "slate_bpr": Regression(_slate(slate_bpr_loss), examination=False, predicts=False),
    "huber": Regression(_huber, tasks=("dwell",), predicts=False),
}
"""Losses by name."""
