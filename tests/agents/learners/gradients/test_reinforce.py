"""The learner `reinforce`: what it keeps of a visit, what it learns, and that every option changes something."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import make_agent
from feedgym.agents.learners.gradients.candidate_ring import shown_columns
from feedgym.agents.learners.gradients.candidates import Candidates
from feedgym.env import Feed, FeedConfig, NewsroomConfig, Outcome
from helpers.driving import drive
from helpers.gradients import logged_of
from helpers.inside import acted_of, learner_of, learning_of, next_training_of, ring_of
from helpers.towers import alone

SITE = FeedConfig(num_readers=200, days=6.0, tick_hours=1.0, slate_size=4, newsroom=NewsroomConfig(articles_per_day=80))
SMALL = {"max_steps": 5, "shortlist_size": 20, "tail_draws": 16, "policy_batch": 64}


def started(seed: int = 2, **settings: Any) -> tuple[Any, Feed]:
    feed = Feed(SITE, seed=seed)
    return make_agent("reinforce", **{**SMALL, **settings}).start(feed), feed


@pytest.fixture(scope="module")
def lived() -> Any:
    """An agent after two days whose tail draws are the whole catalogue: its normalisers are exact."""
    agent, feed = started(tail_draws=600, sharpness=1.0)
    drive(agent, feed, until=47.0)
    return agent


def ring_batch(agent: Any, count: int = 200) -> tuple[dict[str, Any], Candidates, Candidates]:
    learner = learner_of(agent)
    batch = ring_of(learner).take(np.arange(len(ring_of(learner)))[-count:])
    return batch, *both(agent, batch)


def both(agent: Any, batch: dict[str, Any]) -> tuple[Candidates, Candidates]:
    """The policy and its prior on a batch's candidates."""
    learner = learner_of(agent)
    with torch.no_grad():
        seen = learner.policy.batch(learning_of(agent), batch, batch["slot_reward"], learner.weigh)
    return seen.candidates, replace(seen, logits=torch.from_numpy(seen.prior)).candidates


def test_serves_the_prior_plus_the_correction() -> None:
    for correction in ("linear", "mlp"):
        agent, feed = started(correction=correction, sharpness=1.0)
        drive(agent, feed, until=30.0)
        slates = agent.act(feed.visits, feed.catalogue)
        acted = acted_of(agent)
        width = agent.model.augmented_dim
        stored = agent.store.augmented[acted.served.draw.shortlist]
        prior = np.einsum("nd,nmd->nm", acted.queries[:, :width], stored[..., :width]) - acted.offset[:, None]
        ids = acted.served.draw.shortlist
        with torch.no_grad():
            numeric, categorical = learning_of(agent).features(ids.ravel())
            columns = learner_of(agent).policy.correction.articles(numeric, categorical).numpy().reshape(*ids.shape, -1)
            readers = learner_of(agent).policy.correction.readers(torch.from_numpy(acted.reader)).numpy()
        own = np.einsum("nx,nmx->nm", readers, columns)
        assert np.abs(own).max() > 0.01  # it has learned something
        np.testing.assert_allclose(acted.served.draw.logits, prior + own, rtol=1e-3, atol=2e-3)
        # The prior is the regression's z-score, `sharpness` wide over the live catalogue.
        everyone = agent.store.augmented[acted.live][:, :width]
        scores = acted.queries[:, :width] @ everyone.T - acted.offset[:, None]
        np.testing.assert_allclose(scores.mean(axis=1), 0.0, atol=1e-2)
        np.testing.assert_allclose(scores.std(axis=1), 1.0, rtol=1e-2)
        assert len(slates.article_id) == len(acted.row)


def test_kept_candidates_are_all_live_articles_once(lived: Any) -> None:
    batch, _, _ = ring_batch(lived)
    for i in range(len(batch["now"])):
        ids = np.concatenate([batch["head_id"][i], batch["tail_id"][i]])
        ids = ids[ids >= 0]
        assert len(np.unique(ids)) == len(ids) == batch["num_live"][i]


def test_the_served_policy_comes_back_from_the_ring(lived: Any) -> None:
    """With the correction as it was served, over the shortlist alone: its chances are those that the ring keeps."""
    learner, agent = learner_of(lived), lived
    batch, mine, _ = ring_batch(agent, 300)
    served_after_training = (
        batch["now"] > next_training_of(agent) - agent.config.serving.clocks.train_every_hours - 1e-9
    )
    assert served_after_training.any()
    head = mine.head.clone()
    head[:, learner.policy.shortlist_size :] = -torch.inf  # exploration's articles were not in the softmax
    nothing = torch.full((len(head), 1), -torch.inf, dtype=torch.float64)
    zero = torch.zeros(len(head), dtype=torch.float64)
    served = Candidates(head, nothing, zero, mine.num_live).policy(0.05)
    column = shown_columns(batch["article_id"].astype(np.int64), batch["head_id"].astype(np.int64))
    in_shortlist = (column >= 0) & (column < learner.policy.shortlist_size)
    mine_logged = logged_of(served, torch.from_numpy(np.where(in_shortlist, column, -1)))
    rows = served_after_training[:, None] & in_shortlist
    for name in ("inclusion", "first"):
        np.testing.assert_allclose(getattr(mine_logged, name)[rows], batch[name][rows], rtol=2e-3, err_msg=name)
    # Whole slates from the shortlist: their propensities, too.
    rows = served_after_training & in_shortlist.all(axis=1)
    np.testing.assert_allclose(mine_logged.slot_propensity[rows], batch["slot_propensity"][rows], rtol=5e-3)
    # What only a visit that explored shows has the chances of exploration alone.
    outside = (batch["article_id"] >= 0) & ~in_shortlist
    assert outside.any()
    explored = 0.05 / batch["num_live"][:, None] * np.ones(outside.shape)
    np.testing.assert_allclose(batch["first"][outside], explored[outside], rtol=1e-12)
    np.testing.assert_allclose(batch["inclusion"][outside], 4 * explored[outside], rtol=1e-12)


def test_tail_draws_estimate_the_exact_normaliser() -> None:
    agent, feed = started(tail_draws=600, sharpness=1.0)
    drive(agent, feed, until=20.0)
    batch, exact, _ = ring_batch(agent, 400)
    draws = np.random.default_rng(0)
    errors = []
    for _ in range(20):
        fewer = {**batch, "tail_id": batch["tail_id"].copy()}
        keep = draws.random(fewer["tail_id"].shape[1]) < 0.1
        fewer["tail_id"][:, ~keep] = -1
        mine, _ = both(agent, fewer)
        errors.append(float((mine.log_normaliser() - exact.log_normaliser()).exp().mean()) - 1.0)
    spread = np.std(errors, ddof=1)
    assert 0 < spread < 0.1
    assert abs(np.mean(errors)) < 4 * spread / np.sqrt(len(errors)) + 1e-12


OPTIONS: list[dict[str, Any]] = [
    {"estimator": "marginal"},
    {"estimator": "chen"},
    {"estimator": "none"},
    {"estimator": "prefix"},
    {"estimator": "joint"},
    {"weights": "none"},
    {"weights": "nis"},
    {"weights": "clip"},
    {"weight_cap": 1.5},
    {"credit": "item"},
    {"credit": "slate"},
    {"correction": "mlp"},
    {"mode": "plain"},
    {"kl": 3.0},
    {"use_future": False},
    {"trace": 1.0},
    {"discount_per_hour": 0.9},
    {"normalise_advantage": True},
    {"policy_learning_rate": 0.005},
    {"tail_draws": 4},
]


@pytest.fixture(scope="module")
def default_weights() -> np.ndarray:
    return served_weights({})


def served_weights(settings: dict[str, Any]) -> np.ndarray:
    agent, feed = started(**settings)
    served = drive(agent, feed, until=26.0)
    metrics = agent.metrics()
    assert all(np.isfinite(value) for value in metrics.values())
    return np.concatenate([slates.chances.first.ravel() for slates, _ in served])


@pytest.mark.parametrize("settings", OPTIONS, ids=str)
def test_every_option_changes_what_is_served(settings: dict[str, Any], default_weights: np.ndarray) -> None:
    weights = served_weights(settings)
    assert np.isfinite(weights).all()
    same = len(weights) == len(default_weights) and np.array_equal(weights, default_weights)
    assert not same


def test_curves_get_what_the_issue_names() -> None:
    agent, feed = started()
    drive(agent, feed, until=26.0)
    metrics = agent.metrics()
    names = ("entropy", "effective_sample_share", "share_capped", "kl_to_prior", "gradient_norm", "shortlist_mass")
    assert set(names) <= metrics.keys()
    assert 0 < metrics["shortlist_mass"] <= 1 + 1e-9
    assert 0 < metrics["effective_sample_share"] <= 1
    assert metrics["kl_to_prior"] > 0
    assert agent.metrics().keys() == {"towers/trust"}  # which is as it is, and no mean of what came since


@pytest.mark.parametrize(
    "settings",
    [
        {"estimator": "slot"},
        {"weights": "trim"},
        {"mode": "actor"},
        {"credit": "all"},
        {"correction": "deep"},
        {"kl": -1.0},
        {"policy_batch": 0},
        {"discount_per_hour": 1.5},
        {"trace": -0.1},
        {"credit": "slate", "estimator": "marginal"},
        {"greedy": True},
        {"epsilon": 1.0},
    ],
    ids=str,
)
def test_bad_settings_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=list(settings)[-1]):
        started(**settings)


class GoodReadsComeBack:
    """Everything is opened alike and read a minute; who opened good articles returns in 3 hours, else in 30."""

    def spawn(self, reader_ids: np.ndarray, noise: Any) -> dict[str, np.ndarray]:
        return {"good": np.zeros(len(reader_ids), dtype=np.float32)}

    def first_visit(self, state: dict[str, np.ndarray], rows: np.ndarray, noise: Any) -> np.ndarray:
        return 24.0 * noise.uniform("first", "reader")

    def respond(self, state: dict[str, np.ndarray], rows: np.ndarray, slate: Any, now: float, noise: Any) -> Outcome:
        clicks = (noise.uniform("click", "impression") < 0.3) & slate.valid
        quality = np.where(clicks, slate.observable("quality_proxy"), 0.0).sum(axis=1)
        state["good"][rows] = quality > 0.0
        nobody = np.zeros(len(rows), dtype=np.bool_)
        return Outcome(clicks=clicks, dwell_minutes=clicks.astype(np.float32), subscribed=nobody)

    def next_visit(
        self, state: dict[str, np.ndarray], rows: np.ndarray, outcome: Outcome, now: float, noise: Any
    ) -> np.ndarray:
        return np.where(state["good"][rows] > 0, 3.0, 30.0) * (0.5 + noise.uniform("gap"))


LEARNS = [
    ("reinforce", {}),
    ("reinforce", {"credit": "item"}),
    ("reinforce", {"credit": "slate"}),
    ("reinforce", {"correction": "mlp", "policy_learning_rate": 0.005, **alone("reinforce")}),
    ("reinforce", {"mode": "plain", "learning_rate": 0.005}),
    ("ltv", {}),
]


@pytest.mark.parametrize(("name", "settings"), LEARNS, ids=str)
def test_learns_what_brings_readers_back(name: str, settings: dict[str, Any]) -> None:
    """A click is worth the same everywhere: only the readers' next visits tell good articles from bad."""
    shown = {}
    base = {"sharpness": 0.5, "shortlist_size": 40, "max_steps": 40}
    if name == "reinforce":
        base |= {"kl": 0.05, "policy_learning_rate": 0.02, "tail_draws": 32}
    for use_future in (True, False):
        feed = Feed(replace(SITE, days=4.0, tick_hours=0.5), GoodReadsComeBack(), seed=5)
        agent: Any = make_agent(name, **{**base, **settings, "use_future": use_future}).start(feed)
        served = drive(agent, feed)
        quality = feed.catalogue.archive.column("quality_proxy")
        late = np.concatenate([s.article_id.ravel() for s, _ in served[-48:]])
        shown[use_future] = float(quality[late].mean())
    assert shown[True] > shown[False] + 0.25


def test_plain_mode_trains_the_towers_and_nothing_else() -> None:
    agent, feed = started(mode="plain")
    drive(agent, feed, until=5.5)
    before = agent.model.to_arrays()
    drive(agent, feed, until=26.0)
    after = agent.model.to_arrays()
    assert learner_of(agent).policy.correction is None
    assert not np.array_equal(before["item_tower.0.weight"], after["item_tower.0.weight"])
    assert not np.array_equal(before["user_tower.0.weight"], after["user_tower.0.weight"])
    # Its logits are the scores themselves, less a constant: no z-score widens them.
    agent.act(feed.visits, feed.catalogue)
    acted = acted_of(agent)
    scores = np.einsum("nd,nmd->nm", acted.queries, agent.store.augmented[acted.served.draw.shortlist])
    np.testing.assert_allclose(acted.served.draw.logits, scores, rtol=1e-4, atol=1e-5)
