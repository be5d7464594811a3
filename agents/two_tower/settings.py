"""Sizes, clocks and optimisation of a learned agent: reading them imports no torch. Time is in hours."""

from dataclasses import dataclass, field
from typing import Literal

from feedgym.agents.serving import Clocks, ServingMode, clocks_of
from feedgym.agents.slate_policy import PolicyConfig
from feedgym.env.checks import require


@dataclass(frozen=True, kw_only=True)
class TwoTowerAgentConfig:
    """Sizes, clocks and optimisation of a learned agent."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """How slates are drawn."""
    widths: tuple[int, ...] = (64,)
    """Hidden layers of each tower; (1024, 512, 256) is the published shape."""
    dim: int = 16
    """Dimensions of the inner product."""
    encoder: str = "mean"
    """What makes one vector of a reader's clicks: mean, attention, nrms, gru, sasrec, bert4rec."""
    item_encoder: str = "ffn"
    """``ffn``: layers over an article's features. ``fields``: attention over them (NRMS's news encoder)."""
    heads: int = 2
    """Attention heads."""
    layers: int = 2
    """Blocks of the encoders that are transformers."""
    dropout: float = 0.0
    """Share of hidden units dropped in training."""
    layer_norm: bool = False
    """Normalise the towers' hidden layers."""
    residual: bool = False
    """Add each hidden layer's input to its output."""
    share: Literal["none", "embeddings", "item_encoder"] = "item_encoder"
    """What the towers share: nothing, the embedding tables, or the item tower as the encoder of clicks."""
    history_gradient: bool = False
    """``share=item_encoder``: let the user tower train the item tower through the clicks."""
    history_columns: bool = False
    """Tell the encoder of each click how old the article is and how long it was read."""
    author_buckets: int = 0
    """Rows of a table of hashed author ids, a feature of articles and of what readers clicked; 0: no such feature."""
    author_dim: int = 8
    """Width of that table."""
    prediction: str = "dot"
    """``dot``, ``cosine``: one stage. ``logistic``, ``mlp``: rerank a shortlist that was retrieved by ``dot``."""
    age_decay: str = "exponential"
    """How age enters the score: none, linear, product, exponential, harmonic. A click's log-odds fade linearly, minutes
    exponentially."""
    site_counters: bool = False
    """Tell the item tower how often an article was shown, clicked and read by the latest refresh."""
    age_in_item_tower: bool = False
    """An ablation: age as an input of the item tower; every article is embedded anew at each tick."""
    example_age: bool = False
    """Tell the user tower in training how old each example is, and 0 when serving (YouTube 2016, 3.3)."""
    serving: ServingMode = "realtime"
    """What is fresh when: ``realtime`` (all at request), ``streaming`` (articles and readers' features lag), ``batch``
    (slates are drawn each night for known readers, and one for the rest). Each sets the four clocks that follow, those
    of them that are None: see docs/guide/serving.md."""
    item_refresh_hours: float | None = None
    """New articles enter the index, and a trained model serves, at multiples of this; 0: at once."""
    reader_refresh_hours: float | None = None
    """Readers are served by their vectors (``batch``: slates) of the latest multiple of this; 0: made at request."""
    feature_lag_hours: float | None = None
    """What a reader has done is known this much later."""
    train_every_hours: float | None = None
    """Simulated hours between trainings, 6 in real time; item vectors are refreshed after each."""
    passes: float = 10.0
    """Each training takes as many steps as would see the visits since the last one this many times, at 256 a step."""
    max_steps: int = 400
    """Most steps of one training."""
    learning_rate: float = 2e-3
    """Of Adam."""
    weight_decay: float = 1.0
    """Decoupled (AdamW). Strong: a day of one site's log is little, and its noise is what overfits."""
    replay_visits: int = 50_000
    """Latest visits that are learned from."""
    index: str = "exact"
    """Kind of index: exact, ivf, ivf-sq8, hnsw, age-shards, auto; with numbers as ``ivf:nprobe=16+nlist=400``."""

    def __post_init__(self) -> None:
        """Check once."""
        _ = self.clocks
        require(self.passes > 0, "passes", self.passes, "> 0")
        require(self.max_steps >= 1, "max_steps", self.max_steps, ">= 1")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "> 0")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, ">= 0")
        require(self.replay_visits >= 1, "replay_visits", self.replay_visits, ">= 1")
        require(self.author_buckets >= 0, "author_buckets", self.author_buckets, ">= 0")
        require(self.author_dim >= 1, "author_dim", self.author_dim, ">= 1")

    @property
    def clocks(self) -> Clocks:
        """The mode's clocks, and those set one by one."""
        hours = (self.item_refresh_hours, self.reader_refresh_hours, self.feature_lag_hours, self.train_every_hours)
        return clocks_of(self.serving, *hours)
