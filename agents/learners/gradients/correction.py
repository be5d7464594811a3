"""Low-capacity corrections of a policy's logits: what REINFORCE may change of a regression's ranking.

A correction is an inner product <reader, article> of its own, appended to the towers' columns, so that retrieval and
propensities stay exact. It starts at zero: the policy begins as its prior.
Shapes: m articles, n readers, X columns.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from feedgym.towers.encoders import FeedForward
from feedgym.towers.features import ItemFeatures, ItemFeaturesConfig, Standardise

Kind = Literal["linear", "mlp"]


class LinearCorrection(nn.Module):
    """``theta . x_a``: linear in an article's features (a weight for each topic and publisher), for all readers alike.

    Args:
        config: what an article's features are.
    """

    num_columns = 1

    def __init__(self, config: ItemFeaturesConfig) -> None:
        super().__init__()
        self.numeric = Standardise(config.num_numeric)
        self.theta = nn.Parameter(torch.zeros(config.num_numeric))
        self.tables = nn.ParameterList(nn.Parameter(torch.zeros(category.size)) for category in config.categories)

    def start(self, items: Standardise, readers: Standardise) -> None:
        """Take over the towers' normalisations."""
        self.numeric.load_state_dict(items.state_dict())

    def articles(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """The articles' columns, float32 (m, 1)."""
        total: Tensor = self.numeric(numeric) @ self.theta
        for column, table in enumerate(self.tables):
            total = total + table[categorical[:, column]]
        return total[:, None]

    def readers(self, columns: Tensor) -> Tensor:
        """The readers' side, (n, 1): ones."""
        return torch.ones(len(columns), 1)


class MlpCorrection(nn.Module):
    """Two small towers, of an article's features and of a reader's columns.

    Args:
        config: what an article's features are.
        num_reader: columns of a reader.
        widths: hidden layers of each.
        dim: X - 1; the last column is the article's own.
        generator: of the initial weights.
    """

    def __init__(
        self,
        config: ItemFeaturesConfig,
        num_reader: int,
        widths: tuple[int, ...],
        dim: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.num_columns = dim + 1
        self.features = ItemFeatures(config, generator)
        self.normalise = Standardise(num_reader)
        self.article_tower = FeedForward(config.out_dim, widths, dim + 1, generator, 0.5)
        self.reader_tower = FeedForward(num_reader, widths, dim, generator, 0.5)
        with torch.no_grad():
            self.article_tower.last.weight.zero_()

    def start(self, items: Standardise, readers: Standardise) -> None:
        """Take over the towers' normalisations."""
        self.features.numeric.load_state_dict(items.state_dict())
        self.normalise.load_state_dict(readers.state_dict())

    def articles(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """The articles' columns, float32 (m, X)."""
        output: Tensor = self.article_tower(self.features(numeric, categorical))
        return output

    def readers(self, columns: Tensor) -> Tensor:
        """The readers' side, (n, X)."""
        vector = self.reader_tower(self.normalise(columns))
        return torch.cat([vector, torch.ones(len(columns), 1)], dim=1)
