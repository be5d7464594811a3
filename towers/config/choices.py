"""What a user chooses of a two-tower model; reading it imports no torch. The site adds the rest: ``TwoTowerConfig``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from feedgym.towers.checks import require
from feedgym.towers.config.tables import names_in, one_of, require_known

if TYPE_CHECKING:
    from feedgym.towers.decays.protocol import AgeDecay

Share = Literal["none", "embeddings", "item_encoder"]
ITEM_ENCODERS = ("ffn", "fields")
_RERANKERS = "feedgym.towers.rerankers:RERANKERS"


@dataclass(frozen=True, kw_only=True)
class TowersConfig:
    """Sizes and parts of the two towers. Unknown names are refused here, with those that there are."""

    widths: tuple[int, ...] = (64,)
    """Hidden layers of each tower; (1024, 512, 256) is the published shape."""
    dim: int = 16
    """Dimensions of the inner product."""
    encoder: str = one_of("mean", "feedgym.towers.encoders:HISTORY_ENCODERS")
    """What makes one vector of a reader's clicks."""
    item_encoder: str = one_of("ffn", "feedgym.towers.config.choices:ITEM_ENCODERS")
    """``ffn``: layers over all features of an article side by side. ``fields``: attention over them as tokens (NRMS,
    NAML)."""
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
    """``share=item_encoder``: let the user tower's gradient flow into the item tower through the history. Else clicks
    are the vectors that serving keeps."""
    history_columns: bool = False
    """Tell the encoder of each click how old the article is and how long it was read."""
    prediction: str = one_of("dot", "feedgym.towers.prediction:PREDICTIONS", _RERANKERS)
    """How vectors become a score. ``dot``, ``cosine``: one stage, which retrieval searches by. ``logistic``, ``mlp``: a
    second stage over a shortlist that was retrieved by ``dot``, which no index can search by."""
    age_decay: str = one_of("exponential", "feedgym.towers.age_decay:AGE_DECAYS")
    """How age enters the score. A click's log-odds fade linearly, minutes exponentially."""
    decay_taus_hours: tuple[float, ...] = (2.0, 8.0, 32.0)
    """Time scales of ``exponential``."""
    decay_per_item: bool = True
    """``exponential``: whether articles have amplitudes of their own (v is wider then: ``item_dim``)."""
    content_channel: bool = False
    """Add to the score how well the article's text and topic match what the reader has clicked and read, in a form that
    is given: two scales are learned (docs/mathematics.md 6.10). Without it the towers hardly find personal taste."""
    wide_part: bool = False
    """Add to the score a linear model of plain columns: proxies, topic, publisher, age (docs/mathematics.md 6.11). Few
    weights find in a day what the towers need weeks for; these learn what is left."""
    article_effects: bool = True
    """``wide_part``, where a learner fits it: let each article differ from what its columns say, as far as its own
    impressions show. Else what is shown for long because it is good passes for what is good though it is old."""
    age_in_item_tower: bool = False
    """An ablation: age as an input of the item tower, so that every article is embedded anew at each tick."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.dim >= 1, "dim", self.dim, ">= 1")
        require(all(width >= 1 for width in self.widths), "widths", self.widths, ">= 1 each")
        require(self.heads >= 1, "heads", self.heads, ">= 1")
        require(self.layers >= 1, "layers", self.layers, ">= 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")
        shares = ("none", "embeddings", "item_encoder")
        require(self.share in shares, "share", self.share, f"one of {', '.join(shares)}")
        require_known(self)
        own = self.share == "item_encoder" or not self.history_gradient
        require(own, "history_gradient", True, "share='item_encoder': a history encoder of its own always learns")
        frozen = not (self.age_in_item_tower and self.history_gradient)
        allowed = "False with age_in_item_tower: clicks have the ages of the store's vectors"
        require(frozen, "history_gradient", True, allowed)
        self.make_decay()

    def make_decay(self) -> "AgeDecay":
        """The decay that these settings name.

        Raises:
            ValueError: time scales that cannot be.
        """
        from feedgym.towers.age_decay import AGE_DECAYS, ExponentialSum

        if self.age_decay == "exponential":
            return ExponentialSum(taus_hours=self.decay_taus_hours, per_item=self.decay_per_item)
        return AGE_DECAYS[self.age_decay]()

    @property
    def reranker(self) -> str | None:
        """The second stage over the shortlist, an entry of ``RERANKERS``; None: one stage."""
        return self.prediction if self.prediction in names_in([_RERANKERS]) else None

    @property
    def retrieval_prediction(self) -> str:
        """The score that retrieval searches by, an entry of ``PREDICTIONS``."""
        return self.prediction if self.reranker is None else "dot"

    @property
    def trains_history(self) -> bool:
        """Whether gradients flow into the vectors of clicks, so that training embeds them anew."""
        return self.share != "item_encoder" or self.history_gradient
