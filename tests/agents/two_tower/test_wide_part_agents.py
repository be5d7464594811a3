"""The wide part in agents: every learner has one, what is trained is what is served, and runs go on byte for byte."""

from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import parse_agent
from feedgym.agents.two_tower.optimiser import make_optimiser
from feedgym.agents.two_tower.settings import OptimiserConfig
from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig
from helpers.driving import drive
from helpers.inside import learner_of, learning_of, replay_of
from helpers.resuming import check_resuming

SITE = FeedConfig(
    num_readers=120, days=0.55, tick_hours=0.5, slate_size=6, newsroom=NewsroomConfig(articles_per_day=60)
)
SMALL = "wide_part=True,max_steps=2,shortlist_size=20,train_every_hours=3.0,replay_visits=50"
TOWERS = "widths=(16,),dim=8"


def start(text: str) -> tuple[Any, Feed]:
    feed = Feed(SITE, seed=3)
    name, _, more = text.partition(":")
    sizes = "" if name == "linear" else f",{TOWERS}"
    return parse_agent(f"{name}:{SMALL}{sizes}{',' if more else ''}{more}").start(feed), feed


FITTED = (
    "regression-dwell:loss=hurdle,content_channel=True",
    "regression-dwell:loss=poisson,share=none,encoder=nrms",
    "regression-dwell:loss=pointwise,site_counters=True,age_decay=linear",
    "regression-click:prediction=logistic,serving=streaming",
    "regression-click:loss=ips,examination=0.8,prediction=cosine",
    "ltv:content_channel=True",
    "reinforce:policy_visits=100,loss=pointwise",
    "reinforce:policy_visits=100,loss=hurdle",
    "direct:policy_visits=100,loss=hurdle",
    "linear",
    "linear:content_channel=True,serving=streaming",
)
TRAINED = (
    "contrastive:negatives=mixed,index=ivf",
    "regression-dwell:loss=huber",
    "reinforce:mode=plain,policy_visits=100",
)
"""No likelihood that a linear model could be fitted to: the towers' optimiser trains it."""


@pytest.mark.parametrize("text", [*FITTED, *TRAINED])
def test_every_learner_has_it_and_resumes_byte_for_byte(text: str) -> None:
    agent = check_resuming(lambda: start(text), at=8.5).agent  # half an hour before a training
    assert agent.policy_version == 4
    assert replay_of(agent).total > 60  # the ring has wrapped
    metrics = agent.metrics()
    assert np.isfinite(metrics.get("loss", 0.0))
    for wide in agent.model.wides:
        assert (wide.age != 0).all()
        assert float(wide.article.detach().abs().max()) > 1e-4
        assert wide.article.requires_grad == (text in TRAINED)
        assert 0 <= float(wide.trust) <= 1
        assert text in FITTED or float(wide.trust) == 1.0
        hurdle = "hurdle" in text or text.startswith("linear")
        assert (float(wide.worth_floor) > 0) == hurdle
    for channel in agent.model.channels:
        assert (channel.scale != 0).all()
    trusts = [metrics[name] for name in ("towers/trust", "towers/trust_later") if name in metrics]
    assert trusts == ([pytest.approx(float(w.trust)) for w in agent.model.wides] if text in FITTED else [])


def test_a_hurdle_is_judged_as_the_model_is_also_of_what_is_new() -> None:
    """Scores less all worth, of articles that were published since the fit, too."""
    agent, feed = start("regression-dwell:loss=hurdle")
    drive(agent, feed, until=8.5)
    fitter, learning = learner_of(agent)._wide, learning_of(agent)
    latest = replay_of(agent).column("article_id")
    assert (fitter.worth(latest) == 0).any()  # published since
    known = len(fitter._trust.snapshot()["rows"][0])
    batch = learning.replay.take(np.argsort(learning.replay.column("now"), kind="stable"))
    agent.model.wide.trust.fill_(0.0)
    with torch.no_grad():
        slates = learning.slates(batch)
        assert slates is not None
        score = agent.model.score(slates.user, slates.item, slates.bias, slates.age).double().numpy()
        ids = batch.article_id
        numeric, categorical = agent.store.features(ids.ravel())
        worth = agent.model.wide.worth(agent.model.normalisations.items(numeric), categorical).numpy()
    worth = np.where(fitter.worth(ids) != 0, fitter.worth(ids), worth.reshape(ids.shape))
    wanted = (score - worth + fitter.effect).ravel()
    learner_of(agent).begin(learning, feed.now)
    rows = fitter._trust.snapshot()["rows"][0]
    assert len(rows) > known
    np.testing.assert_allclose(rows[known:], wanted[-(len(rows) - known) :], atol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "regression-dwell:loss=hurdle,content_channel=True",
        "regression-click:age_decay=linear",
        "ltv",
        "linear:index=ivf",
        "regression-dwell:serving=streaming,prediction=cosine",
    ],
)
def test_what_is_served_is_what_is_trained(text: str) -> None:
    """The score of a served article is that of the model, with the towers counted in part."""
    agent, feed = start(text)
    drive(agent, feed, until=9.0)
    for wide in agent.model.wides:
        wide.trust.fill_(0.4)
    agent.store.refresh(feed.now)
    agent.model.eval()
    visits, live = feed.visits, feed.catalogue.article_id.copy()
    agent.act(visits, feed.catalogue)
    served = agent.score_all(visits, feed.catalogue)
    learning = learning_of(agent)
    agent.learn(feed.serve(np.tile(live[:6], (len(visits), 1))))
    replay = replay_of(agent)
    batch = replay.take((replay.total - len(visits) + np.arange(len(visits))) % len(replay))
    with torch.no_grad():
        user = learning.users(batch)
        vector, bias = learning.items(live)
        age = torch.from_numpy((batch.now[:, None] - agent.store.published_hours[live]).astype(np.float32))
        score = agent.model.score(user, vector, bias, age)
        constant = agent.model.constant(user, float(batch.now[0]), agent.store.t_ref)
    np.testing.assert_allclose(served, (score - constant[:, None]).numpy(), atol=2e-4)
    assert float(score.std()) > 0.05


def test_it_has_a_group_of_the_optimiser_only_where_that_trains_it() -> None:
    for text, groups in (("contrastive:content_channel=True", 3), ("regression-dwell:content_channel=True", 1)):
        agent, _ = start(text)
        optimiser = make_optimiser(agent.model, OptimiserConfig(learning_rate=0.5, weight_decay=0.25), ())
        assert len(optimiser.param_groups) == groups
        grouped = [id(p) for group in optimiser.param_groups for p in group["params"]]
        assert sorted(grouped) == sorted(id(p) for p in agent.model.parameters() if p.requires_grad)
        if groups == 3:
            wide = optimiser.param_groups[2]
            assert (wide["lr"], wide["weight_decay"]) == (1e-2, 0.0)  # few columns: none is buried
            assert [id(p) for p in wide["params"]] == [id(p) for p in agent.model.wide.parameters()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("regression-dwell:loss=hurdle,wide_part=False", "wide_part: got False, needs True with loss=hurdle"),
        ("reinforce:loss=hurdle,wide_part=False", "wide_part: got False, needs True with loss=hurdle"),
        ("regression-click:loss=hurdle,wide_part=True", "target: got 'click', needs dwell with loss=hurdle, not click"),
        ("linear:wide_part=False", "wide_part: got False, needs True: this agent is nothing else"),
        ("linear:loss=huber", "loss: got 'huber', needs one of pointwise, ips, poisson, hurdle: a linear model"),
        ("linear:prediction=logistic", "prediction: got 'logistic', needs 'dot' or 'cosine'"),
    ],
)
def test_what_does_not_fit_is_refused_where_it_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_agent(text)


@pytest.mark.parametrize("name", ["regression", "regression-dwell", "regression-click", "linear", "ltv", "direct"])
def test_until_somebody_opens_something_the_newest_are_shown(name: str) -> None:
    """Trainings on nothing but refusals included: all weights at 0 would go on showing what nobody wants."""
    feed = Feed(SITE, NewsReader(NewsReaderConfig(base_log_odds=-50.0)), seed=5)
    agent: Any = parse_agent(f"{name}:max_steps=2,epsilon=0.0,train_every_hours=3.0").start(feed)
    younger: list[bool] = []
    while not feed.done:
        served = agent.act(feed.visits, feed.catalogue)
        age = feed.now - feed.catalogue.archive.column("published_hours")[served.article_id]
        younger += (age < np.median(feed.catalogue.age_hours)).ravel().tolist()
        outcome = feed.serve(served.article_id)
        assert not outcome.clicks.any()
        agent.learn(outcome)
    assert agent.policy_version > 2
    assert len(younger) > 300
    assert np.mean(younger) > 0.95
