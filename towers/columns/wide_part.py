"""The wide part of a model: a weight for each plain column of an article and for its age (docs/mathematics.md 6.11).

"Wide" as in Wide & Deep (Cheng et al., DLRS 2016, section 3.1): a linear model beside the deep towers, in one score.

    score += level + w . z + sum_k a_k c_k exp(-age / tau_k) + worth

with z the columns that are no text (proxies, flags), standardised, and a column for each topic and publisher. Few
weights find in a day what two towers need weeks for; the towers learn what is left. ``worth`` is a second weighing of
the same columns, for what an article is worth once it is opened; 0 unless a learner sets it.
Shapes: N articles, F numeric columns, C categories, A columns of z, E age columns, K positions.
"""

import torch
from torch import Tensor, nn

from feedgym.towers.features import ItemFeaturesConfig, rows_of

AGE_TAUS_HOURS = (4.0, 24.0, 96.0)
"""Time scales of the age columns."""
AGE_AMPLITUDES = (1.0, 1.0, 9.6)
"""Factors c of them: the third is nearly a line, -age / 10 h, and bends where articles expire."""
MOST_CATEGORIES = 64
"""A category with more values than this, such as an author, has no columns."""
_LARGEST_EXPONENT = 80.0


class WidePart(nn.Module):
    """Weights of given columns; all 0 at the start, which changes no score.

    Args:
        config: of the articles' features. The columns after the text are weighed, and small categories.
    """

    def __init__(self, config: ItemFeaturesConfig) -> None:
        super().__init__()
        self._text = config.text_columns
        # Counters are of now: those of an article that was clicked would tell of the click itself.
        self._plain = config.num_numeric - config.text_columns - config.counter_columns
        self._end = config.text_columns + self._plain
        self._categories = [
            (place, category) for place, category in enumerate(config.categories) if category.size <= MOST_CATEGORIES
        ]
        self.article = nn.Parameter(torch.zeros(self.width))
        """w, (A,)."""
        self.age = nn.Parameter(torch.zeros(len(AGE_TAUS_HOURS)))
        """a, (E,)."""
        self.level: Tensor
        """The same for all articles."""
        self.worth_log: Tensor
        """Of log minutes once opened: a constant, then a weight for each column, (1 + A,)."""
        self.worth_more: Tensor
        """Of what is added to those minutes, (1 + A,)."""
        self.worth_floor: Tensor
        """Least minutes that count: a logarithm of less would bury an article for good. 0: ``worth`` is not set."""
        self.trust: Tensor
        """What the towers count beside it in serving, in [0, 1]; in training they always count in full."""
        self.register_buffer("level", torch.zeros(()))
        self.register_buffer("trust", torch.ones(()))
        self.register_buffer("worth_log", torch.zeros(1 + self.width))
        self.register_buffer("worth_more", torch.zeros(1 + self.width))
        self.register_buffer("worth_floor", torch.zeros(()))
        self._rates: Tensor
        self._amplitudes: Tensor
        self.register_buffer("_rates", torch.tensor([-1.0 / tau for tau in AGE_TAUS_HOURS]), persistent=False)
        self.register_buffer("_amplitudes", torch.tensor(AGE_AMPLITUDES), persistent=False)

    @property
    def width(self) -> int:
        """A, columns of z."""
        return self._plain + sum(category.size for _, category in self._categories)

    @property
    def publisher_columns(self) -> slice | None:
        """Where z says who published; None where nobody knows."""
        return self._columns_of("publisher")

    @property
    def publishers(self) -> int:
        """Publishers that have a column each; 0 where nobody knows, or they are too many."""
        columns = self.publisher_columns
        return 0 if columns is None else columns.stop - columns.start

    @property
    def first_plain(self) -> int:
        """The numeric column that stands first in z."""
        return self._text

    @property
    def plain_columns(self) -> slice:
        """Where z holds the standardised numbers."""
        return slice(0, self._plain)

    def _columns_of(self, name: str) -> slice | None:
        start = self._plain
        for _, category in self._categories:
            if category.name == name:
                return slice(start, start + category.size)
            start += category.size
        return None

    def columns(self, standard: Tensor, categorical: Tensor) -> Tensor:
        """Z of articles, for a fit.

        Args:
            standard: numeric columns as the item tower standardises them, float32 (N, F).
            categorical: int64 (N, C).

        Returns:
            float32 (N, A).
        """
        z = torch.zeros(len(standard), self.width)
        z[:, : self._plain] = standard[:, self._text : self._end]
        start = self._plain
        for place, category in self._categories:
            z.scatter_(1, start + rows_of(categorical[:, place], category)[:, None], 1.0)
            start += category.size
        return z

    def articles(self, standard: Tensor, categorical: Tensor) -> Tensor:
        """What is added to the bias of articles, float32 (N,): ``w . z`` and worth. Arguments as of :meth:`columns`."""
        if float(self.worth_floor) == 0:
            return self._weighed(self.article[:, None], standard, categorical)[:, 0]
        # All three at once: each look-up costs as much as its sums.
        weights = torch.stack([self.article, self.worth_log[1:], self.worth_more[1:]], dim=1)
        bias, log_minutes, more = self._weighed(weights, standard, categorical).unbind(dim=1)
        return bias + self._log_worth(log_minutes, more)

    def worth(self, standard: Tensor, categorical: Tensor, longer: Tensor | float = 0.0) -> Tensor:
        """Log of the minutes that an opening is worth, what it brings later included; float32 (N,), no gradient.

        0 while no learner has set it. ``longer``: what is added to the log minutes of each article, (N,).
        """
        if float(self.worth_floor) == 0:
            return torch.zeros(len(standard))
        weights = torch.stack([self.worth_log[1:], self.worth_more[1:]], dim=1)
        log_minutes, more = self._weighed(weights, standard, categorical).unbind(dim=1)
        return self._log_worth(log_minutes + longer, more)

    def _log_worth(self, log_minutes: Tensor, more: Tensor) -> Tensor:
        minutes = (log_minutes + self.worth_log[0]).clamp(-20, 20).exp()
        return torch.maximum(minutes + more + self.worth_more[0], self.worth_floor).log()

    def _weighed(self, weights: Tensor, standard: Tensor, categorical: Tensor) -> Tensor:
        """Columns of articles times weights (A, W): (N, W)."""
        # By lookup: the product with columns that are 0 but for one would cost as many times more. Ids are not checked
        # again: whoever embeds articles has.
        total = standard[:, self._text : self._end] @ weights[: self._plain]
        start = self._plain
        for place, category in self._categories:
            rows = categorical[:, place]
            rows = rows_of(rows, category) if category.hashed else rows
            total = total + weights[start : start + category.size].index_select(0, rows)
            start += category.size
        return total

    @staticmethod
    def age_columns(age: Tensor) -> Tensor:
        """``c_k exp(-age / tau_k)`` of ages in hours, float64 (..., E), for a fit."""
        taus = torch.tensor(AGE_TAUS_HOURS, dtype=torch.float64)
        return torch.exp(-age.double()[..., None] / taus) * torch.tensor(AGE_AMPLITUDES, dtype=torch.float64)

    def aged(self, age: Tensor) -> Tensor:
        """Level, and what age in hours adds, in the shape of ``age``."""
        fading = torch.exp(age[..., None] * self._rates)
        return self.level + (fading * (self.age * self._amplitudes)).sum(dim=-1)

    @staticmethod
    def item_columns(publish_time: Tensor, t_ref: float) -> Tensor:
        """Columns of v', ``exp((published - t_ref) / tau_k)``: hours, float64 (N,) -> float32 (N, E)."""
        return _powers(publish_time.double() - t_ref)

    def user_columns(self, now: Tensor) -> Tensor:
        """Columns of u': hours since ``t_ref``, float64 (B,) or () -> float32 (B, E) or (1, E)."""
        return _powers(-now.reshape(-1)) * (self.age * self._amplitudes)


def _powers(hours: Tensor) -> Tensor:
    """exp(hours / tau_k), (..., E); formed in float64, and held where float32 has numbers."""
    exponent = hours[..., None] / torch.tensor(AGE_TAUS_HOURS, dtype=torch.float64)
    if exponent.numel() and float(exponent.max()) > _LARGEST_EXPONENT:
        allowed = f"at most {_LARGEST_EXPONENT * min(AGE_TAUS_HOURS):g} h before all times: rebase"
        raise ValueError(f"t_ref: got {float(hours.max()):.0f} h before, needs {allowed}")
    return exponent.exp().float()
