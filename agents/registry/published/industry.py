"""Uber (2023), Recruit (2025) and ZOZO (2024): reports of engineers."""

from feedgym.agents.registry.published.common import (
    CLICKS,
    COLUMNS,
    FEEDGYM_OPTIMISER,
    LIVE,
    NOTHING_GIVEN,
    WIDE,
    age,
    slates,
    unstated,
)
from feedgym.agents.registry.published.system import Fact, System

UBER = System(
    description="one table of hashed ids for both towers and all their features, in-batch softmax with logQ",
    source="Uber Engineering, 2023 (two-tower embeddings)",
    learner="contrastive",
    facts=(
        Fact(
            what="sharing",
            says="layers of ids are shared between features and towers (blog of July 2023, figure 5); by how much the "
            "model shrank was not verified",
            here="one table for ids of authors, articles and readers, in eleven uses: feedgym towers uber-shared",
            settings={
                "share": "embeddings",
                "one_table": True,
                "author_buckets": 65536,
                "article_buckets": 65536,
                "reader_buckets": 65536,
                "article_bags": True,
                "author_dim": 64,
                "article_dim": 64,
                "reader_dim": 64,
            },
        ),
        Fact(
            what="ids",
            says="of eaters and stores, some of them as bags of what an eater did (not verified in detail)",
            here="readers, articles and authors; bags of what was clicked, read, clicked last",
            why="the site is another one",
        ),
        Fact(
            what="loss",
            says="in-batch negatives (blog of July 2023); a logQ correction was not verified",
            here="in-batch softmax with logQ",
            settings={"loss": "softmax", "negatives": "in_batch", "correction": "nce"},
        ),
        Fact(
            what="towers",
            says="a query tower of the eater and the context, an item tower of the store; inner product or cosine",
            here="mean of the history, layers, inner product",
            settings={"encoder": "mean", "item_encoder": "ffn", "prediction": "dot"},
        ),
        unstated("in what could be read", widths=WIDE, dim=64, batch_clicks=1024, learning_rate=1e-3, weight_decay=0.0),
        CLICKS,
        age("linear"),
        slates(8.0),
        LIVE,
        NOTHING_GIVEN,
        COLUMNS,
    ),
    small={
        "author_buckets": 1024,
        "article_buckets": 1024,
        "reader_buckets": 1024,
        "author_dim": 8,
        "article_dim": 8,
        "reader_dim": 8,
        "widths": (256, 128, 64),
        "dim": 16,
        "batch_clicks": 256,
        **FEEDGYM_OPTIMISER,
    },
)
RECRUIT = System(
    description="towers that share nothing, in-batch softmax, candidates by approximate nearest neighbours",
    source="Recruit, candidate generation for jobs (Recruit Tech Conference 2025; slides read in part)",
    learner="contrastive",
    facts=(
        Fact(
            what="task",
            says="two towers and approximate nearest neighbours generate candidates of jobs, in place of rules "
            "(slides: "
            "title, contents, background)",
            here="candidates of articles; slates are drawn of the shortlist",
            why="the ranker behind it is not described in what could be read",
            settings={"prediction": "dot"},
        ),
        Fact(
            what="search",
            says="approximate nearest neighbours (title); which kind was not verified",
            here="a graph (HNSW), recall measured in each run",
            settings={"index": "hnsw"},
        ),
        Fact(
            what="sharing and loss",
            says="not verified",
            here="towers that share nothing, in-batch softmax with logQ",
            why="nothing to go by",
            settings={"share": "none", "loss": "softmax", "negatives": "in_batch", "correction": "nce"},
        ),
        unstated(
            "in what could be read",
            encoder="mean",
            item_encoder="ffn",
            widths=(64,),
            dim=16,
            batch_clicks=256,
            **FEEDGYM_OPTIMISER,
        ),
        CLICKS,
        age("linear"),
        slates(8.0),
        LIVE,
        NOTHING_GIVEN,
        COLUMNS,
    ),
    small={},
)
ZOZO = System(
    description="orders the modules of a home page by their pooled vectors and ids (for --modules)",
    source="ZOZO, order of the modules of a home page (tech blog of July 2024; read in part)",
    learner="regression",
    facts=(
        Fact(
            what="task",
            says="two towers order the modules (rows of products on one theme) of a home page for each user; some "
            "modules "
            "stand for good, others are planned and renewed every week or two (blog, first part)",
            here="modules of articles, pooled (--modules); ids hashed as authors",
            why="modules of a news page stand for editions of articles",
            settings={"target": "click", "loss": "pointwise", "author_buckets": 256, "author_dim": 8},
        ),
        unstated(
            "in what could be read",
            encoder="mean",
            item_encoder="ffn",
            share="item_encoder",
            prediction="dot",
            widths=(64,),
            dim=16,
            **FEEDGYM_OPTIMISER,
        ),
        age("exponential"),
        slates(4.0),
        NOTHING_GIVEN,
        COLUMNS,
    ),
    small={},
)
