"""Settings of a learned agent, grouped by what they are of; reading them imports no torch. Time is in hours."""

from dataclasses import dataclass, field
from typing import Literal

from feedgym.agents.serving import Clocks, ServingMode, clocks_of
from feedgym.agents.slate_policy import PolicyConfig
from feedgym.agents.two_tower.second_stage import OF_SOURCES, TOWERS, cross_names, source_names
from feedgym.env.checks import require
from feedgym.towers.config import TowersConfig, one_of

ID_KINDS = ("author", "article", "reader")
"""What there are ids of."""


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig:
    """What the towers see besides an article's own columns, a reader's clicks and what the reader model adds."""

    author_buckets: int = 0
    """Rows of a table of hashed author ids, a feature of articles and of what readers clicked; 0: no such feature."""
    author_dim: int = 8
    """Width of that table."""
    article_buckets: int = 0
    """Rows of a table of hashed article ids, a feature of articles and of what readers clicked: learned anew for each
    article, from 0 (docs/guide/towers.md); 0: no such feature."""
    article_dim: int = 8
    """Width of that table."""
    article_id_half_life_hours: float | None = 48.0
    """What was learned of an article's id halves in so many hours once the article has expired: the row makes room for
    newcomers that are hashed to it. None, as in a table for all: it stays."""
    article_bags: bool = False
    """Describe readers also by bags of the ids of articles that they clicked, read, and clicked last."""
    reader_buckets: int = 0
    """Rows of a table of hashed reader ids, a feature of readers; 0: no such feature."""
    reader_dim: int = 8
    """Width of that table."""
    one_table: bool = False
    """Let all kinds of ids that there are share one table, of as many rows and columns each (Uber, 2023)."""
    history_clicks: int | None = None
    """Newest clicks that the user tower looks at, at most as many as the site keeps; None: as many."""
    site_counters: bool = False
    """Tell the item tower how often an article was shown, clicked and read by the latest refresh."""
    example_age: bool = False
    """Tell the user tower in training how old each example is, and 0 when serving (YouTube 2016, 3.3)."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.author_buckets >= 0, "author_buckets", self.author_buckets, ">= 0")
        for kind in ("article", "reader"):
            name = f"{kind}_buckets"
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        for kind in ID_KINDS:
            name = f"{kind}_dim"
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        looked = self.history_clicks
        require(looked is None or looked >= 1, "history_clicks", looked, "None, or >= 1")
        fading, bags = self.article_id_half_life_hours, not self.article_bags or self.article_buckets > 0
        require(fading is None or fading > 0, "article_id_half_life_hours", fading, "None, or > 0 (hours)")
        require(bags, "article_bags", True, "article_buckets > 0")
        if self.one_table:
            shapes = {kind: (getattr(self, f"{kind}_buckets"), getattr(self, f"{kind}_dim")) for kind in self.id_kinds}
            require(len(shapes) > 1, "one_table", True, f"two kinds of ids or more, of {', '.join(ID_KINDS)}")
            require(len(set(shapes.values())) == 1, "one_table", shapes, "as many rows and columns of each kind of ids")

    @property
    def id_kinds(self) -> tuple[str, ...]:
        """Which kinds of ids are features."""
        return tuple(kind for kind in ID_KINDS if getattr(self, f"{kind}_buckets"))


@dataclass(frozen=True, kw_only=True)
class SecondStageConfig:
    """What ranks the shortlist that retrieval has found, beside ``prediction``."""

    crosses: str = "none"
    """What a second stage is told of a reader with an article, which no tower can know, such as how often it has been
    shown to her: ``none``, ``all``, or names joined by ``+`` (docs/guide/second_stage.md). With ``prediction=logistic``
    or ``mlp`` they are further columns of that stage. Else a regression with a wide part fits a weight for each, and
    the shortlist is ranked by the score and these."""
    sources: str = TOWERS
    """Where candidates come from: ``towers``, or with others behind it, ``towers+recent+popular+similar``. What these
    propose joins the shortlist that the towers found, each article once (docs/guide/second_stage.md)."""
    source_size: int = 20
    """Articles that each source beside the towers proposes."""
    ranker: Literal["none", "gbdt"] = "none"
    """``gbdt``: boosted trees (scikit-learn) over score, age, position and crosses, grown anew at each training."""
    ranker_target: Literal["dwell", "click"] = "dwell"
    """What the trees foretell: minutes, or clicks."""
    ranker_trees: int = 60
    """How many trees."""
    ranker_leaves: int = 15
    """Leaves of each."""
    ranker_vectors: bool = False
    """Give the trees the towers' vectors of reader and article as further columns."""

    def __post_init__(self) -> None:
        """Check once."""
        unasked = [
            n for n in self.cross_names if n.startswith(OF_SOURCES) and n[len(OF_SOURCES) :] not in self.other_sources
        ]
        require(not unasked, "crosses", self.crosses, f"sources that name those of {', '.join(unasked)}")
        require(self.source_size >= 1, "source_size", self.source_size, ">= 1 (articles)")
        require(self.ranker in ("none", "gbdt"), "ranker", self.ranker, "'none' or 'gbdt'")
        target = self.ranker_target
        require(target in ("dwell", "click"), "ranker_target", target, "'dwell' or 'click'")
        require(self.ranker_trees >= 1, "ranker_trees", self.ranker_trees, ">= 1")
        require(self.ranker_leaves >= 2, "ranker_leaves", self.ranker_leaves, ">= 2")
        needless = self.ranker_vectors and not self.grows_trees
        require(not needless, "ranker_vectors", True, "False without ranker=gbdt: nothing else is given them")

    @property
    def cross_names(self) -> tuple[str, ...]:
        """The crosses by name."""
        return cross_names(self.crosses)

    @property
    def other_sources(self) -> tuple[str, ...]:
        """Sources of candidates beside the towers, by name."""
        return source_names(self.sources)

    @property
    def more_candidates(self) -> int:
        """Columns that they add to a shortlist."""
        return self.source_size * len(self.other_sources)

    @property
    def grows_trees(self) -> bool:
        """Whether there is a ranker of trees."""
        return self.ranker == "gbdt"


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """What is fresh when, and what retrieval searches."""

    serving: ServingMode = "realtime"
    """What is fresh when: ``realtime`` (all at request), ``streaming`` (articles and readers' features lag), ``batch``
    (lists are drawn each night for known readers, and one for the rest). Each sets the four clocks that follow, those
    of them that are None: see docs/guide/serving.md."""
    list_depth: int = 5
    """``batch``: slates that a list drawn ahead is deep. A visit shows its next one."""
    item_refresh_hours: float | None = None
    """New articles enter the index, and a trained model serves, at multiples of this; 0: at once."""
    reader_refresh_hours: float | None = None
    """Readers are served by their vectors (``batch``: lists) of the latest multiple of this; 0: made at request."""
    feature_lag_hours: float | None = None
    """What a reader has done is known this much later."""
    train_every_hours: float | None = None
    """Simulated hours between trainings, 6 in real time; item vectors are refreshed after each."""
    index: str = one_of("exact", "feedgym.agents.retrieval:INDEXES")
    """Kind of index; with numbers as ``ivf:nprobe=16+nlist=400``."""

    def __post_init__(self) -> None:
        """Check once."""
        from feedgym.agents.retrieval import check_index  # late: the indexes import faiss

        _ = self.clocks
        whole = isinstance(self.list_depth, int) and self.list_depth >= 1
        require(whole, "list_depth", self.list_depth, "a whole number >= 1 (slates)")
        check_index(self.index)

    @property
    def clocks(self) -> Clocks:
        """The mode's clocks, and those set one by one."""
        hours = (self.item_refresh_hours, self.reader_refresh_hours, self.feature_lag_hours, self.train_every_hours)
        return clocks_of(self.serving, *hours)


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """How long and how fast the towers are trained, on what."""

    passes: float = 10.0
    """Each training takes as many steps as would see what is new since the last one this many times: visits, at 256 a
    step, or the learner's own rows, such as clicks, at as many as a batch takes."""
    max_steps: int = 400
    """Most steps of one training."""
    learning_rate: float = 2e-3
    """Of Adam."""
    gradient_clip: float | None = None
    """Largest norm of a step's gradient, of all parameters together; None: no limit."""
    weight_decay: float = 1.0
    """Decoupled (AdamW). Strong: a day of one site's log is little, and its noise is what overfits."""
    replay_visits: int = 50_000
    """Latest visits that are learned from."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.passes > 0, "passes", self.passes, "> 0")
        require(self.max_steps >= 1, "max_steps", self.max_steps, ">= 1")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "> 0")
        clip = self.gradient_clip
        require(clip is None or clip > 0, "gradient_clip", clip, "None, or > 0")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, ">= 0")
        require(self.replay_visits >= 1, "replay_visits", self.replay_visits, ">= 1")


@dataclass(frozen=True, kw_only=True)
class TwoTowerAgentConfig:
    """A learned agent without its learner."""

    towers: TowersConfig = field(default_factory=TowersConfig)
    """The model."""
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    """What it sees."""
    second_stage: SecondStageConfig = field(default_factory=SecondStageConfig)
    """What ranks the shortlist."""
    serving: ServingConfig = field(default_factory=ServingConfig)
    """What is fresh when."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    """How it is trained."""
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """How slates are drawn."""
