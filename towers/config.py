"""What a two-tower model consists of: sizes, and one choice for each question that two-tower teams argue about."""

from dataclasses import dataclass, field
from typing import Literal

from feedgym.towers.age_decay import AGE_DECAYS, AgeDecay, ExponentialSum
from feedgym.towers.checks import require
from feedgym.towers.encoders import HISTORY_ENCODERS
from feedgym.towers.features import ItemFeaturesConfig
from feedgym.towers.prediction import PREDICTIONS
from feedgym.towers.rerankers import RERANKERS

Share = Literal["none", "embeddings", "item_encoder"]
ITEM_ENCODERS = ("ffn", "fields")
HISTORY_COLUMNS = 2
"""What may be known of a click besides its article: log(1 + the article's age in hours), log(1 + minutes read)."""


@dataclass(frozen=True, kw_only=True)
class TwoTowerConfig:
    """Sizes and parts of a two-tower model. Unknown names are refused here, with those that there are."""

    item: ItemFeaturesConfig = field(default_factory=ItemFeaturesConfig)
    """What the item tower sees."""
    reader_numeric: int = 4
    """Numeric columns F of a reader."""
    widths: tuple[int, ...] = (1024, 512, 256)
    """Hidden layers of each tower."""
    dim: int = 64
    """Dimensions of the inner product."""
    history_length: int = 50
    """L, the clicks that callers hand to the user tower; encoders with positions keep to the newest of so many."""
    encoder: str = "mean"
    """What makes one vector of a reader's clicks, see ``HISTORY_ENCODERS``."""
    item_encoder: str = "ffn"
    """``ffn``: layers over all features side by side. ``fields``: attention over them as tokens (NRMS, NAML)."""
    heads: int = 2
    """Attention heads of the encoders that attend."""
    layers: int = 2
    """Blocks of the encoders that are transformers."""
    dropout: float = 0.0
    """Share of hidden units dropped in training, in the towers' layers and the encoders."""
    layer_norm: bool = False
    """Normalise each hidden layer of the towers."""
    residual: bool = False
    """Add each hidden layer's input to its output."""
    share: Share = "item_encoder"
    """What the two towers have in common. ``item_encoder``: a click is the item tower's vector of its article (NRMS).
    ``embeddings``: the tables of categories and ids, with a layer of its own on top (Uber). ``none``: nothing."""
    history_gradient: bool = False
    """``item_encoder``: let the user tower's gradient flow into the item tower through the history. Else clicks are
    the vectors that serving keeps."""
    history_columns: bool = False
    """Tell the encoder of each click how old the article is and how long it was read."""
    id_feature: str | None = None
    """Name of an item category, such as a hashed author, that describes readers too: the means of its embeddings over
    what they clicked, what they read for a minute, and their latest click."""
    prediction: str = "dot"
    """How vectors become the score that is retrieved by, see ``PREDICTIONS``."""
    reranker: str | None = None
    """A second stage over the shortlist that no index can search by, see ``RERANKERS``; None: one stage."""
    num_positions: int = 10
    """Positions that a reranker can tell apart."""
    age_decay: str = "exponential"
    """How age enters the score, see ``AGE_DECAYS``."""
    decay_taus_hours: tuple[float, ...] = (2.0, 8.0, 32.0)
    """Time scales of ``exponential``."""
    decay_per_item: bool = True
    """``exponential``: whether articles have amplitudes of their own (v is wider then: ``item_dim``)."""
    age_in_item_tower: bool = False
    """An ablation: age as an input of the item tower, so that every article is embedded anew at each tick."""

    def __post_init__(self) -> None:
        require(self.reader_numeric >= 0, "reader_numeric", self.reader_numeric, ">= 0")
        require(self.dim >= 1, "dim", self.dim, ">= 1")
        require(self.history_length >= 0, "history_length", self.history_length, ">= 0")
        require(all(width >= 1 for width in self.widths), "widths", self.widths, ">= 1 each")
        require(self.heads >= 1, "heads", self.heads, ">= 1")
        require(self.layers >= 1, "layers", self.layers, ">= 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")
        shares = ("none", "embeddings", "item_encoder")
        require(self.share in shares, "share", self.share, f"one of {', '.join(shares)}")
        for name, known in (
            ("encoder", HISTORY_ENCODERS),
            ("item_encoder", ITEM_ENCODERS),
            ("prediction", PREDICTIONS),
        ):
            require(getattr(self, name) in known, name, getattr(self, name), f"one of {', '.join(known)}")
        ranks = self.reranker is None or self.reranker in RERANKERS
        require(ranks, "reranker", self.reranker, f"None, or one of {', '.join(RERANKERS)}")
        require(self.num_positions >= 1, "num_positions", self.num_positions, ">= 1")
        categories = [category.name for category in self.item.categories]
        known_id = self.id_feature is None or self.id_feature in categories
        require(known_id, "id_feature", self.id_feature, f"None, or one of {', '.join(categories)}")
        own = self.share == "item_encoder" or not self.history_gradient
        require(own, "history_gradient", True, "share='item_encoder': a history encoder of its own always learns")
        frozen = not (self.age_in_item_tower and self.history_gradient)
        require(
            frozen,
            "history_gradient",
            True,
            "False with age_in_item_tower: clicks have the ages of the store's vectors",
        )
        self.make_decay()

    def make_decay(self) -> AgeDecay:
        """The decay that these settings name.

        Raises:
            ValueError: on an unknown name, or time scales that cannot be.
        """
        require(self.age_decay in AGE_DECAYS, "age_decay", self.age_decay, f"one of {', '.join(AGE_DECAYS)}")
        if self.age_decay == "exponential":
            return ExponentialSum(taus_hours=self.decay_taus_hours, per_item=self.decay_per_item)
        return AGE_DECAYS[self.age_decay]()

    @property
    def trains_history(self) -> bool:
        """Whether gradients flow into the vectors of clicks, so that training embeds them anew."""
        return self.share != "item_encoder" or self.history_gradient
