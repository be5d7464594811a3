"""NRMS (2019), and Nikkei's news."""

from feedgym.agents.registry.published.common import (
    COLUMNS,
    FEEDGYM_OPTIMISER,
    LIVE,
    NOTHING_GIVEN,
    age,
    slates,
    unstated,
)
from feedgym.agents.registry.published.system import Fact, System

_TOWERS = (
    Fact(
        what="news encoder",
        says="self-attention over the words of a title, 16 heads of 16, additive attention (2.1, 3.1)",
        here="the same over an article's fields: text-like vector, numbers, topic, publisher; vectors of 256",
        why="articles of these worlds have no words",
        settings={"item_encoder": "fields", "heads": 16, "dim": 256},
    ),
    Fact(
        what="user encoder",
        says="self-attention over clicked news, additive attention with a query of 200 (2.2, 3.1)",
        here="the same, the query as wide as the vectors; then a linear layer that adds the reader's columns",
        why="all systems know gap, visits and hour",
        settings={"encoder": "nrms", "widths": (), "history_clicks": 50, "history_columns": False},
    ),
    Fact(
        what="sharing",
        says="one news encoder, for candidates and for clicks (2)",
        here="the same, trained through the history",
        settings={"share": "item_encoder", "history_gradient": True, "prediction": "dot"},
    ),
    Fact(
        what="dropout",
        says="20 % of word embeddings (3.1)",
        here="20 % of what goes into the user encoder and comes out of its attention",
        why="there are no words",
        settings={"dropout": 0.2},
    ),
)
NRMS = System(
    description="self-attention over clicks and over an article's fields, one item encoder, click against its own "
    "slate",
    source="Wu et al., EMNLP 2019",
    learner="regression",
    facts=(
        *_TOWERS,
        Fact(
            what="loss",
            says="each click against K = 4 news of the same impression that were not clicked, softmax (2.3, 3.1)",
            here="the same, drawn anew in every batch; of smaller slates all",
            settings={"target": "click", "loss": "slate_softmax", "slate_negatives": 4},
        ),
        Fact(
            what="optimiser and batch",
            says="Adam, batches of 64 (3.1); the rate is not stated",
            here="the same: 64 visits a batch; rate 1e-4, as in later code for this model",
            why="a rate had to be chosen",
            settings={"learning_rate": 1e-4, "weight_decay": 0.0, "batch_visits": 64},
        ),
        age("exponential"),
        slates(4.0),
        NOTHING_GIVEN,
        COLUMNS,
    ),
    small={"heads": 2, "dim": 16, "dropout": 0.0, "batch_visits": 256, **FEEDGYM_OPTIMISER},
)
NRMS_SOFTMAX = System(
    description="the same towers, in-batch softmax with logQ",
    source="towers of Wu et al., EMNLP 2019",
    learner="contrastive",
    facts=(
        *_TOWERS,
        Fact(
            what="loss",
            says="not published: see nrms",
            here="in-batch softmax with logQ (Yi et al., RecSys 2019)",
            why="to see what towers and loss each bring",
            settings={"task": "click", "loss": "softmax", "negatives": "in_batch", "correction": "nce"},
        ),
        Fact(
            what="optimiser and batch",
            says="not published: see nrms",
            here="Adam, rate 1e-4, 256 clicks a batch",
            why="more rows than 64, since they are the negatives",
            settings={"learning_rate": 1e-4, "weight_decay": 0.0, "batch_clicks": 256},
        ),
        age("linear"),
        slates(8.0),
        LIVE,
        NOTHING_GIVEN,
        COLUMNS,
    ),
    small={"heads": 2, "dim": 16, "dropout": 0.0, **FEEDGYM_OPTIMISER},
)
NIKKEI = System(
    description="layers and an inner product, click regression, all vectors at request",
    source="Nikkei, news in real time (industry report, details not verified)",
    learner="regression",
    facts=(
        Fact(
            what="report",
            says="not verified: no public report of Nikkei's two towers was found here. Talks of its AI team on "
            "personalised notices of news are public (NIKKEI Tech Talk, October 2025), and are about something else",
            here="what a talk is remembered to have said",
            why="nothing to go by",
            settings={"target": "click", "loss": "pointwise", "encoder": "mean", "item_encoder": "ffn"},
        ),
        Fact(
            what="serving",
            says="not verified: vectors of readers and articles at request",
            here="the same",
            settings={"serving": "realtime", "prediction": "dot"},
        ),
        unstated("in what could be read", widths=(128, 64), dim=16, share="item_encoder", **FEEDGYM_OPTIMISER),
        age("exponential"),
        slates(4.0),
        NOTHING_GIVEN,
        COLUMNS,
    ),
    small={},
)
