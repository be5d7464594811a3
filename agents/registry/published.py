"""Published two-tower systems as settings of our learners: ``SYSTEMS``, name -> what was published, and its source.

A system here is its *model and training*, on FeedGym's world: sizes as published where they are known, features as the
world has them. What all share, and what no paper says of news: age enters by FeedGym's exact columns, and slates are
drawn by the common policy, so that a comparison is of towers and losses alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

_PUBLISHED_WIDTHS = (1024, 512, 256)
_LINEAR_AGE = {"age_decay": "linear", "sharpness": 8.0}
_YOUTUBE = {
    **_LINEAR_AGE,
    "widths": _PUBLISHED_WIDTHS,
    "example_age": True,
    "loss": "sampled_softmax",
    "negatives": "uniform",
    "task": "dwell",
}


@dataclass(frozen=True)
class System:
    """One published system."""

    description: str
    source: str
    learner: Literal["regression", "contrastive"]
    settings: Mapping[str, Any]
    """What differs from that learner's defaults."""


SYSTEMS: dict[str, System] = {
    "youtube-2016": System(
        "mean of the history, wide layers, example age, sampled softmax over what was read",
        "Covington, Adams & Sargin, RecSys 2016",
        "contrastive",
        _YOUTUBE,
    ),
    "youtube-rerank": System(
        "the same, then logistic ranking of the shortlist, odds weighed by minutes, position held at the top",
        "Covington, Adams & Sargin, RecSys 2016, section 4; Zhao et al., RecSys 2019",
        "contrastive",
        {**_YOUTUBE, "prediction": "logistic"},
    ),
    "google-play-mns": System(
        "in-batch softmax with logQ, uniform negatives mixed in",
        "Yang et al., WWW 2020 (companion)",
        "contrastive",
        {**_LINEAR_AGE, "widths": _PUBLISHED_WIDTHS, "negatives": "mixed"},
    ),
    "uber-shared": System(
        "one table of hashed ids for both towers and all their features, in-batch softmax with logQ",
        "Uber Engineering, 2023 (two-tower embeddings)",
        "contrastive",
        {
            **_LINEAR_AGE,
            "widths": _PUBLISHED_WIDTHS,
            "share": "embeddings",
            "author_buckets": 1024,
            "article_buckets": 1024,
            "article_bags": True,
            "reader_buckets": 1024,
            "one_table": True,
        },
    ),
    "sasrec": System(
        "causal transformer over the history, every click foretold from the older ones",
        "Kang & McAuley, ICDM 2018",
        "contrastive",
        {**_LINEAR_AGE, "encoder": "sasrec", "negatives": "mixed"},
    ),
    "bert4rec": System(
        "transformer that sees both sides, trained to guess masked clicks",
        "Sun et al., CIKM 2019",
        "contrastive",
        {**_LINEAR_AGE, "encoder": "bert4rec", "negatives": "mixed"},
    ),
    "nrms": System(
        "self-attention over clicks and over an article's fields, one item encoder, click against its own slate",
        "Wu et al., EMNLP 2019",
        "regression",
        {
            "target": "click",
            "sharpness": 4.0,
            "encoder": "nrms",
            "item_encoder": "fields",
            "history_gradient": True,
            "loss": "slate_softmax",
        },
    ),
    "nrms-softmax": System(
        "the same towers, in-batch softmax with logQ",
        "towers of Wu et al., EMNLP 2019",
        "contrastive",
        {**_LINEAR_AGE, "encoder": "nrms", "item_encoder": "fields", "history_gradient": True},
    ),
    "nikkei-realtime": System(
        "layers and an inner product, click regression, all vectors at request",
        "Nikkei, news in real time (industry report, details not verified)",
        "regression",
        {"target": "click", "sharpness": 4.0, "widths": (128, 64)},
    ),
    "recruit-ann": System(
        "towers that share nothing, in-batch softmax, candidates by nearest neighbours",
        "Recruit, candidate generation (industry report, details not verified)",
        "contrastive",
        {**_LINEAR_AGE, "share": "none"},
    ),
    "zozo-modules": System(
        "orders the modules of a home page by their pooled vectors and ids (for --modules)",
        "ZOZO, modules of a home page (industry report, details not verified)",
        "regression",
        {"target": "click", "sharpness": 4.0, "author_buckets": 256},
    ),
}
"""Name -> system."""
