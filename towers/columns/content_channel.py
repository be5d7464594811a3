"""The content channel: what a reader has clicked, matched with what an article is about (docs/mathematics.md 6.10).

Two towers have to find such a match in thousands of weights, and do not within weeks of one site's log. Here its form
is given, and two numbers are left to learn:

    score += w0 <m, x> + w1 <t, h>

with x the text-like vector of the article and h its topic (one-hot), and m and t sums over the reader's clicks of the
same columns less their mean over all readers' clicks. It is an inner product of columns that are appended to u and v,
so that one search finds both, and no column of an article depends on what is learned.
Shapes: B readers, N articles, K positions, L clicks of history, W columns.
"""

import torch
from torch import Tensor, nn

from feedgym.towers.checks import require_shape
from feedgym.towers.features import ItemFeaturesConfig, rows_of

EVIDENCE = 30.0
"""k: clicks until which evidence adds up nearly in full. Of 3, 10, 30 and 100 the smallest lose a third of the gain."""
LEAST_WEIGHT = 0.5
"""Weight of a click that was not read at all, where minutes are known; log(1 + minutes) comes on top."""
MOST_TOPICS = 64
"""Topics beyond this many have no columns: an index would become all topics."""


class ContentChannel(nn.Module):
    """Columns of articles and readers whose inner product is part of the score; nothing until it is trained.

    Args:
        config: of the articles' features.
        by_minutes: a click weighs ``LEAST_WEIGHT + log(1 + minutes)``; else 1.
    """

    def __init__(self, config: ItemFeaturesConfig, *, by_minutes: bool) -> None:
        super().__init__()
        self.by_minutes = by_minutes
        self.widths = channel_widths(config)
        self._text = config.text_columns
        self._topic = topic_column(config)
        self._topics = None if self._topic is None else config.categories[self._topic]
        self.scale = nn.Parameter(torch.zeros(2))
        """w0 of the text, w1 of the topic."""
        self.crowd: Tensor
        """c: mean of the columns over all clicks, (W,), renewed at each training and held between."""
        self.register_buffer("crowd", torch.zeros(self.width))

    @property
    def width(self) -> int:
        """W, columns of x and of h."""
        return sum(self.widths)

    def articles(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Columns z = [x, h] of articles, as they are published: no weights and no gradient.

        Args:
            numeric: float32 (N, F), the text-like vector first.
            categorical: int64 (N, C).

        Returns:
            float32 (N, W).
        """
        columns = torch.zeros(len(numeric), self.width)
        columns[:, : self._text] = numeric[:, : self._text]
        if self._topic is not None and self._topics is not None and self.widths[1]:
            topic = rows_of(categorical[:, self._topic], self._topics)
            columns.scatter_(1, self._text + topic[:, None], 1.0)
        return columns

    def weights(self, mask: Tensor, log_minutes: Tensor | None) -> Tensor:
        """What each click counts, float32 (B, L), 0 where there is none.

        Args:
            mask: bool (B, L).
            log_minutes: log(1 + minutes read) of each click, (B, L); needed ``by_minutes``.
        """
        if not self.by_minutes:
            return mask.float()
        if log_minutes is None:
            raise ValueError("history_columns: got None, needs the minutes of each click for the content channel")
        require_shape(log_minutes, tuple(mask.shape), "log_minutes")
        return (log_minutes + LEAST_WEIGHT) * mask

    def readers(self, clicked: Tensor, mask: Tensor, log_minutes: Tensor | None) -> Tensor:
        """[w0 m, w1 t] of readers with these clicks.

        With a the weights of the clicks: ``sum a (z - c) / (1 + sum a / k)``. Nearly a sum: evidence counts, where a
        mean would say as much of a reader with one click as of one with fifty.

        Args:
            clicked: z of what was clicked, float32 (B, L, W); anything finite where there is none.
            mask: bool (B, L).
            log_minutes: see :meth:`weights`.

        Returns:
            float32 (B, W), with gradients to the two scales alone.
        """
        require_shape(clicked, (*mask.shape, self.width), "clicked")
        weight = self.weights(mask, log_minutes)
        total = weight.sum(dim=1, keepdim=True)
        evidence = torch.bmm(weight[:, None, :], clicked.detach())[:, 0] - total * self.crowd
        return evidence / (1.0 + total / EVIDENCE) * self.columns_scale

    @property
    def columns_scale(self) -> Tensor:
        """The scale of each column, (W,)."""
        return torch.cat([self.scale[part].expand(width) for part, width in enumerate(self.widths)])

    @staticmethod
    def score(reader: Tensor, article: Tensor, *, pairs: bool) -> Tensor:
        """What is added to scores.

        Args:
            reader: of :meth:`readers`, (B, W).
            article: z, (B, W) row by row; (B, K, W) slates; with ``pairs`` (N, W), every reader with every article.
            pairs: which of the two is meant where ``article`` has two axes.

        Returns:
            (B,), (B, K) or (B, N).
        """
        if article.ndim == 3:
            return torch.bmm(article, reader[:, :, None])[:, :, 0]
        if pairs:
            return reader @ article.T
        return (reader * article).sum(dim=-1)


def topic_column(config: ItemFeaturesConfig) -> int | None:
    """Which category is the topic; None without one."""
    names = [category.name for category in config.categories]
    return names.index("topic") if "topic" in names else None


def channel_widths(config: ItemFeaturesConfig) -> tuple[int, int]:
    """Columns of x and of h: both 0 where there is nothing to match."""
    column = topic_column(config)
    topics = 0 if column is None else config.categories[column].size
    return config.text_columns, topics if topics <= MOST_TOPICS else 0
