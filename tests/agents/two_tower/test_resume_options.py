"""What holds for every choice inside the towers and the losses: it serves, it resumes, no reader notices another."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import make_agent
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.towers.encoders import HISTORY_ENCODERS
from helpers.driving import drive
from helpers.inside import learner_of, learning_of
from helpers.resuming import check_resuming, no_global_luck

SITE = FeedConfig(
    num_readers=120, days=0.55, tick_hours=1.0, slate_size=6, newsroom=NewsroomConfig(articles_per_day=60)
)
WHOLE = {"dropout": 0.2, "layer_norm": True, "residual": True, "widths": (16, 16)}
IDS = {"author_buckets": 64, "article_buckets": 64, "reader_buckets": 64}
CLICK, CONTRASTIVE, LTV = "regression-click", "contrastive", "ltv"
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"{e}, all layers' options": (CLICK, WHOLE | {"encoder": e}) for e in HISTORY_ENCODERS},
    **{f"{e}, clicks foretold": (CONTRASTIVE, WHOLE | {"encoder": e}) for e in ("gru", "sasrec", "bert4rec")},
    **{
        f"{e}, two models, share={s}": (LTV, {"encoder": e, "share": s, "dropout": 0.1})
        for e in HISTORY_ENCODERS
        for s in ("none", "embeddings", "item_encoder")
    },
    "fields": (CLICK, {"item_encoder": "fields"}),
    "fields, two models": (LTV, {"item_encoder": "fields", "history_gradient": True}),
    "share nothing, authors": (CLICK, {"share": "none", "author_buckets": 32}),
    "share embeddings, authors": (CONTRASTIVE, {"share": "embeddings", "author_buckets": 32}),
    "authors, two models": (LTV, {"share": "embeddings", "author_buckets": 32}),
    "ids of all kinds": (CONTRASTIVE, IDS | {"share": "embeddings", "one_table": True, "article_bags": True}),
    "ids that fade": (CLICK, IDS | {"share": "none", "article_id_half_life_hours": 3.0}),
    "ids of articles, two models": (LTV, {"article_buckets": 64, "share": "embeddings"}),
    "columns of clicks": (CLICK, {"history_columns": True, "encoder": "nrms"}),
    "columns of clicks, two models": (LTV, {"history_columns": True}),
    "history gradient": (CONTRASTIVE, {"history_gradient": True, "encoder": "attention"}),
    "content channel": (CLICK, {"content_channel": True, "encoder": "gru", "share": "embeddings"}),
    "content channel, two models": (LTV, {"content_channel": True, "history_columns": True}),
    "wide part": (CLICK, {"wide_part": True, "content_channel": True}),
    "wide part, hurdle": ("regression-dwell", {"wide_part": True, "loss": "hurdle", "prediction": "cosine"}),
    "wide part, two models": (LTV, {"wide_part": True, "age_decay": "linear"}),
    "wide part, trained by steps": (CONTRASTIVE, {"wide_part": True}),
    "cosine": (CONTRASTIVE, {"prediction": "cosine"}),
    "cosine, two models": (LTV, {"prediction": "cosine"}),
    "logistic": (CONTRASTIVE, {"prediction": "logistic"}),
    "mlp": (CLICK, {"prediction": "mlp"}),
    "product": (CONTRASTIVE, {"age_decay": "product"}),
    "harmonic": (CLICK, {"age_decay": "harmonic"}),
    "harmonic, two models": (LTV, {"age_decay": "harmonic"}),
    "exponential+harmonic": (CONTRASTIVE, {"age_decay": "exponential+harmonic"}),
    "age in the item tower": (CLICK, {"age_in_item_tower": True}),
    "age in the item tower, two models": (LTV, {"age_in_item_tower": True, "item_encoder": "fields"}),
    "example age": (CONTRASTIVE, {"example_age": True}),
    "own negatives": (CONTRASTIVE, {"loss": "bce", "negatives": "own", "encoder": "sasrec", "sequence_loss": "bce"}),
    "catalogue": (CONTRASTIVE, {"loss": "full_softmax", "encoder": "bert4rec", "sequence_loss": "full_softmax"}),
    "completed, few of each": (CONTRASTIVE, {"task": "completed", "clicks_per_reader": 3, "gradient_clip": 0.5}),
    "some of a slate": (CLICK, {"loss": "slate_softmax", "slate_negatives": 2, "target": "completed"}),
    "as published, sasrec": ("sasrec", {"size": "published"}),
    "as published, nrms": ("nrms", {"size": "published", "heads": 4}),
    "memory": (CONTRASTIVE, {"negatives": "memory", "num_negatives": 8, "batch_clicks": 8}),
    "hard": (CONTRASTIVE, {"negatives": "hard", "num_negatives": 16}),
    "learned examination": (CLICK, {"examination": "learned"}),
    "two tasks": (CLICK, {"target": "click+0.5*dwell"}),
    "next": (CONTRASTIVE, {"task": "click+0.5*next"}),
}


def start(option: str) -> tuple[Any, Feed]:
    name, settings = OPTIONS[option]
    feed = Feed(SITE, seed=3)
    small = {"widths": (16,), "dim": 8, "max_steps": 2, "shortlist_size": 20, "train_every_hours": 3.0}
    # A small ring, so that it has wrapped when the snapshot is taken.
    return make_agent(name, replay_visits=50, **(small | settings)).start(feed), feed


@pytest.mark.parametrize("option", OPTIONS)
def test_serves_and_resumes_byte_for_byte_from_a_file_without_pickle(option: str) -> None:
    with no_global_luck():
        resumed = check_resuming(lambda: start(option), at=8.0)  # an hour before a training
    assert sum(len(served.article_id) for served, _ in resumed.before) > 60
    agent, rest = resumed.agent, resumed.rest
    assert rest[0][0].policy_version == 2
    assert agent.policy_version == 4  # two trainings since
    assert np.isfinite(agent.metrics()["loss"])
    assert {k for k, v in agent.snapshot().items() if v.dtype.kind == "f" and not np.isfinite(v).all()} <= {
        "learner/departed"
    }
    assert sum(len(served.article_id) for served, _ in rest) > 10
    for served, _ in rest:
        assert np.isfinite(served.log_propensity).all()
        np.testing.assert_allclose(np.log(served.slot_propensity).sum(axis=1), served.log_propensity, atol=1e-9)
        assert (served.article_id >= 0).all()


@pytest.fixture(scope="module")
def trained() -> Callable[[str], tuple[Any, Feed]]:
    """An agent of an option after two trainings, with three or more visits to come, one of a reader who has clicked."""
    made: dict[str, tuple[Any, Feed]] = {}

    def make(option: str) -> tuple[Any, Feed]:
        if option not in made:
            agent, feed = start(option)
            drive(agent, feed, until=7.0)
            while len(feed.visits) < 3 or not (feed.visits.history_id >= 0).any():
                assert not feed.done
                drive(agent, feed, until=feed.now + 0.25)
            made[option] = agent, feed
        return copy.deepcopy(made[option])

    return make


@pytest.mark.parametrize("option", OPTIONS)
def test_no_reader_notices_another(option: str, trained: Callable[..., Any]) -> None:
    """Shortlist and logits of a visit alone are those that it has among others."""
    agent, feed = trained(option)
    visits = feed.visits
    # Those who have clicked most, and one of the others.
    chosen = np.argsort(-(visits.history_id >= 0).sum(axis=1), kind="stable")[[0, 1, -1]]
    alone = [copy.deepcopy((agent, feed.catalogue)) for _ in chosen]
    together = agent.act(visits, feed.catalogue).draw
    logits, shortlist = together.logits, together.shortlist
    for i, (single, catalogue) in zip(chosen.tolist(), alone, strict=True):
        columns = ("rows", "reader_id", "visit", "gap_hours", "features")
        row = {name: getattr(visits, name)[i : i + 1] for name in columns}
        draw = single.act(dataclasses.replace(visits, _history=None, **row), catalogue).draw
        got, listed = draw.logits, draw.shortlist
        assert np.array_equal(np.sort(listed[0]), np.sort(shortlist[i]))
        own, among = np.argsort(listed[0]), np.argsort(shortlist[i])
        np.testing.assert_allclose(got[0][own], logits[i][among], atol=2e-4)
    assert np.ptp(logits[chosen], axis=1).min() > 0.1


@pytest.mark.parametrize("option", [option for option in OPTIONS if "share=" not in option])
def test_a_loss_under_autocast_is_float32(option: str, trained: Callable[..., Any]) -> None:
    agent, feed = trained(option)
    learner, learning = learner_of(agent), learning_of(agent)
    learner.begin(learning, feed.now)
    state = copy.deepcopy(learner)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = learner.loss(learning, np.random.default_rng(0))
    whole = state.loss(learning, np.random.default_rng(0))
    assert half.dtype == whole.dtype == torch.float32
    assert half.item() == pytest.approx(whole.item(), rel=0.05)
    assert half.item() != whole.item()  # halves were at work
    half.backward()
    gradients = [p.grad for p in agent.model.parameters() if p.grad is not None]
    assert gradients
    assert all(g.dtype == torch.float32 and bool(g.isfinite().all()) for g in gradients)
