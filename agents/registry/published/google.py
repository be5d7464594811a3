"""YouTube (2016) and Google Play (2020)."""

from feedgym.agents.registry.published.common import (
    CLICKS,
    COLUMNS,
    FEEDGYM_OPTIMISER,
    LIVE,
    NOTHING_GIVEN,
    WIDE,
    age,
    slates,
)
from feedgym.agents.registry.published.system import Fact, System

_CANDIDATES = (
    Fact(
        what="positives",
        says="implicit feedback: a user completing a video is a positive example (3.1)",
        here="clicks read for a minute; none is weighed by minutes",
        why="what completing means of an article is not known: a threshold stands for it",
        settings={"task": "completed", "completed_minutes": 1.0, "dwell_weight": False},
    ),
    Fact(
        what="loss",
        says="softmax over all videos, with sampled negatives corrected by importance; several thousand are sampled "
        "(3.1)",
        here="sampled softmax with uniform draws, of which no correction is needed; as many as given",
        why="the distribution that negatives are drawn from is not stated",
        settings={"loss": "sampled_softmax", "negatives": "uniform", "num_negatives": 4096},
    ),
    Fact(
        what="examples of a user",
        says="a fixed number per user, so that all users count alike; how many is not stated (3.4)",
        here="the newest twenty of each reader",
        why="a number had to be chosen",
        settings={"clicks_per_reader": 20},
    ),
    Fact(
        what="watch history",
        says="mean of the embeddings of up to 50 recent watches, learned with the rest; search tokens likewise "
        "(3.2, 3.5)",
        here="mean over 50 clicks, trained through; no searches",
        why="readers of this site do not search",
        settings={"encoder": "mean", "history_clicks": 50, "history_columns": False},
    ),
    Fact(
        what="video ids",
        says="1M videos, 256 numbers each; the softmax's output vectors are a table of their own (3.5); ids out of the "
        "vocabulary are 0 (4.1)",
        here="hashed tables of article ids, one on each side, that start at 0; rows of expired articles fade",
        why="there are some thousand articles in a fortnight, not a million videos, and each is gone after days",
        settings={"share": "none", "article_buckets": 16384, "article_dim": 256},
    ),
    Fact(
        what="video side",
        says="the output vector alone (3.1)",
        here="a tower over text, topic, publisher and id, as wide as the user's",
        why="of an id that is new each day nothing is known when it must be served",
        settings={"item_encoder": "ffn"},
    ),
    Fact(
        what="layers",
        says="ReLU, 1024-512-256, the last one is the user's vector (3.5)",
        here="the same widths, and a linear layer to a vector of 256",
        why="vectors of both towers need the same width at every size",
        settings={"widths": WIDE, "dim": 256, "layer_norm": False, "residual": False},
    ),
    Fact(
        what="example age",
        says="an input in training, 0 when serving (3.3)",
        here="the same",
        settings={"example_age": True},
    ),
    Fact(
        what="optimiser, batch, dropout",
        says="not stated",
        here="Adam, 256 clicks a batch, no dropout, no decay",
        why="nothing to go by",
        settings={"learning_rate": 1e-3, "weight_decay": 0.0, "batch_clicks": 256, "dropout": 0.0},
    ),
    age("linear"),
    slates(8.0),
    LIVE,
    NOTHING_GIVEN,
    COLUMNS,
)
_SMALL = {
    "widths": (256, 128, 64),
    "dim": 16,
    "article_buckets": 2048,
    "article_dim": 8,
    "num_negatives": 256,
    **FEEDGYM_OPTIMISER,
}
_ONE_STAGE = Fact(
    what="ranking",
    says="a network of its own over hundreds of features (4): here youtube-rerank",
    here="none",
    settings={"prediction": "dot"},
)
_RANKING = Fact(
    what="ranking",
    says="a network of 1024-512-256 over hundreds of features, among them the user's history with this video and its "
    "channel, under weighted logistic regression: clicks weigh their watch time, so that the odds are expected minutes "
    "(4.2)",
    here="logistic regression, or (published) a network of 128-64, over score, u * v, |u - v| and age, clicks "
    "weighed by minutes",
    why="of a reader with an article its second stage is told nothing here; the setting crosses would tell it",
    settings={"prediction": "mlp", "rerank_minutes": True},
)
_POSITION = Fact(
    what="position",
    says="an input in training, held at one place when serving (Zhao et al., RecSys 2019, 4.3; not in the paper of "
    "2016)",
    here="the same, held at the top",
)

YOUTUBE = System(
    description="mean of the history, wide layers, ids, example age, sampled softmax over completed reads",
    source="Covington, Adams & Sargin, RecSys 2016",
    learner="contrastive",
    facts=(*_CANDIDATES, _ONE_STAGE),
    small=_SMALL,
)
YOUTUBE_RERANK = System(
    description="the same, then logistic ranking of the shortlist, odds weighed by minutes, position held at the top",
    source="Covington, Adams & Sargin, RecSys 2016, section 4; Zhao et al., RecSys 2019",
    learner="contrastive",
    facts=(*_CANDIDATES, _RANKING, _POSITION),
    small=_SMALL | {"prediction": "logistic"},
)
GOOGLE_PLAY = System(
    description="in-batch softmax with logQ, uniform negatives mixed in",
    source="Yang et al., WWW 2020 (companion)",
    learner="contrastive",
    facts=(
        Fact(
            what="loss",
            says="softmax over a batch whose columns are the batch's own items and others drawn uniformly from the "
            "corpus, corrected by log q of the mixture (abstract; section 3)",
            here="the same, with the expected count of each article in the mixture",
            settings={"loss": "softmax", "negatives": "mixed", "correction": "nce"},
        ),
        Fact(
            what="size of the batch and of the uniform part",
            says="not verified: only the abstract could be read here",
            here="1024 of each",
            why="as many of each, of a usual size",
            settings={"batch_clicks": 1024, "num_negatives": 1024},
        ),
        Fact(
            what="layers",
            says="not verified: only the abstract could be read here",
            here="the widths of Covington et al., vectors of 64",
            why="nothing to go by",
            settings={"widths": WIDE, "dim": 64, "dropout": 0.0, "layer_norm": False, "residual": False},
        ),
        Fact(
            what="towers",
            says="two towers over features of the query (user, context) and of the item (abstract)",
            here="mean of the history, a layer of its own for what was clicked, trained through; the tables are shared",
            why="how the history enters was not verified",
            settings={"encoder": "mean", "item_encoder": "ffn", "share": "embeddings", "prediction": "dot"},
        ),
        Fact(
            what="optimiser",
            says="not verified",
            here="Adam without decay",
            why="nothing to go by",
            settings={"learning_rate": 1e-3, "weight_decay": 0.0},
        ),
        CLICKS,
        age("linear"),
        slates(8.0),
        LIVE,
        NOTHING_GIVEN,
        COLUMNS,
    ),
    small={
        "widths": (256, 128, 64),
        "dim": 16,
        "batch_clicks": 256,
        "num_negatives": 256,
        **FEEDGYM_OPTIMISER,
    },
)
