"""The model of rewards behind direct and doubly robust estimates: least squares, expectations, unbiasedness."""

import dataclasses
from itertools import permutations
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from feedgym.agents.logged.evaluation import evaluate_on_log
from feedgym.agents.logged.learning import learn_from_log
from feedgym.agents.logged.reward_model import PositionSums, RewardModel, fit_reward_model, model_values, predictions
from feedgym.agents.logged.site import LoggedSite
from feedgym.agents.ope import cascade_dr, iips, iips_dr, rips, sniips, sniips_dr
from feedgym.agents.registry.plans import parse_agent
from feedgym.agents.slate_policy import Draw, sample_slates, slate_log_propensity, slate_marginals
from feedgym.agents.two_tower.agent import TwoTowerAgent
from feedgym.env.feed.feed import Feed
from feedgym.env.log.reader import LogReader
from feedgym.experiments.commands.log import LogConfig, make_log
from feedgym.experiments.logs.logged_truth import reward_on_logged_states
from feedgym.experiments.offline import simulated_run
from feedgym.experiments.runs.drive import make_drive

# A toy of 6 articles, 3 positions: all 120 slates can be written down.
LIVE = np.array([2, 3, 5, 8, 9, 11])
LISTED, LOGITS, EPSILON, K = np.array([[3, 8, 11]]), np.array([[0.4, -0.3, 1.1]]), 0.2, 3
G = np.array([[0.3, 0.1, 0.8, 0.5, 0.2, 1.4]])
OFFSET, SLOPE = np.array([0.1, 0.2, 0.0]), np.array([1.0, 0.5, 0.25])
EVERY = np.array(list(permutations(LIVE, K)))


def toy_model() -> RewardModel:
    return RewardModel(cast(TwoTowerAgent, None), OFFSET, SLOPE)


def values_of(slates: Any, draws: int = 400, seed: int = 0) -> Any:
    n = len(slates)
    rows = [np.repeat(a, n, axis=0) for a in (G, LOGITS, LISTED)]
    draw = Draw.of(rows[1], rows[2], len(LIVE), EPSILON, K)
    return model_values(toy_model(), rows[0], LIVE, slates, draw, np.random.default_rng(seed), draws)


def chance_of(slates: Any) -> Any:
    n = len(slates)
    joint, slot = slate_log_propensity(slates, np.repeat(LOGITS, n, 0), np.repeat(LISTED, n, 0), len(LIVE), EPSILON)
    return np.exp(joint), slot


def paid(slates: Any) -> Any:
    return OFFSET + SLOPE * G[0, np.searchsorted(LIVE, slates)]


def test_least_squares_by_position() -> None:
    rng = np.random.default_rng(0)
    g = rng.normal(size=(500, 3))
    r = np.array([0.5, 1.0, 2.0]) + np.array([2.0, 0.7, -1.0]) * g + 0.1 * rng.normal(size=g.shape)
    g[::7, 1] = np.nan
    seen = PositionSums(3)
    for rows in np.array_split(np.arange(500), 9):
        seen.add(g[rows], r[rows])
    offset, slope = seen.lines()
    for k in (0, 1):
        known = ~np.isnan(g[:, k])
        np.testing.assert_allclose([slope[k], offset[k]], np.polyfit(g[known, k], r[known, k], 1))
    # A falling line is taken for noise: the mean is left.
    assert slope[2] == 0.0
    assert offset[2] == pytest.approx(r[:, 2].mean())


def test_what_the_next_slot_pays_is_exact() -> None:
    """The mean over the target's slot given what stands above, by enumeration of all articles."""
    found = values_of(EVERY)
    later = found.q - found.slot_q  # of a slate or of its expectation, the same
    _, slot = chance_of(EVERY)
    np.testing.assert_allclose(found.slot_q, paid(EVERY))
    for k in range(K):
        # Slates that share what stands above k: each article there once for each ending, so weighed by its chance.
        total: dict[Any, float] = {}
        for row, slate in enumerate(EVERY):
            key = (*slate[:k],)
            endings = np.prod([len(LIVE) - j for j in range(k + 1, K)]) if k + 1 < K else 1
            total[key] = total.get(key, 0.0) + slot[row, k] * found.slot_q[row, k] / endings
        expected = np.array([total[(*slate[:k],)] for slate in EVERY])
        np.testing.assert_allclose((found.q_pi - later)[:, k], expected, rtol=1e-9)


def test_the_direct_method_is_the_mean_over_slates() -> None:
    chance, _ = chance_of(EVERY)
    assert chance.sum() == pytest.approx(1.0)
    exact = chance @ paid(EVERY)
    found = values_of(np.repeat(EVERY[:1], 400, axis=0), draws=50)
    error = found.slot_q_pi.std(axis=0) / np.sqrt(400)
    assert found.slot_q_pi[0, 0] == pytest.approx(exact[0], rel=1e-9)
    assert (np.abs(found.slot_q_pi.mean(axis=0) - exact)[1:] < 4 * error[1:]).all()
    np.testing.assert_allclose(found.q_pi[:, 0], found.slot_q_pi.sum(axis=1))


def test_an_empty_place_pays_nothing() -> None:
    slates = EVERY[:2].copy()
    slates[0, 2] = -1
    found = values_of(slates)
    for column in (found.q, found.q_pi, found.slot_q, found.slot_q_pi):
        assert column[0, 2] == 0.0
        assert (column[1] > 0).all()


def test_doubly_robust_with_a_model_of_zero_and_of_the_truth() -> None:
    rng = np.random.default_rng(3)
    ratio, r = rng.uniform(0.2, 2.0, (200, K)), rng.random((200, K))
    none = np.zeros((200, K))
    assert iips_dr(ratio, r, none, none).value == iips(ratio, r).value
    assert sniips_dr(ratio, r, none, none).value == pytest.approx(sniips(ratio, r).value)
    assert cascade_dr(ratio, r, none, none).value == pytest.approx(rips(ratio, r).value)
    # Where the model is right nothing is left to weigh: no variance.
    one = np.full((200, K), 0.4)
    assert sniips_dr(ratio, r, r, one).value == pytest.approx(1.2)
    by_hand = np.mean((0.4 + ratio * (r - none - 0.3)).sum(axis=1))
    assert iips_dr(ratio, r, none + 0.3, one).value == pytest.approx(by_hand)


def test_any_model_leaves_the_cascade_unbiased() -> None:
    """By a uniform logger's slates, whose true rewards the model knows nothing of."""
    rng = np.random.default_rng(5)
    n, uniform = 20_000, 1.0
    truth_of = np.array([0.1, 0.9, 0.4, 0.2, 0.7, 0.3])
    logged = sample_slates(rng, np.zeros((n, 1)), np.full((n, 1), LIVE[0]), LIVE, K, uniform)
    reward = (rng.random((n, K)) < truth_of[np.searchsorted(LIVE, logged.article_id)]).astype(float)
    pleased = np.cumsum(reward, axis=1)[:, :-1].clip(max=1.0)
    reward[:, 1:] *= 1.0 - 0.5 * pleased
    found = values_of(logged.article_id, draws=4)
    _, slot = chance_of(logged.article_id)
    estimate = cascade_dr(slot / logged.slot_propensity, reward, found.q, found.q_pi)
    chance, _ = chance_of(EVERY)
    first = truth_of[np.searchsorted(LIVE, EVERY)]
    none_yet = np.cumprod(1.0 - first, axis=1)
    # E[r_k | slate] = mu_k (1 - P(some click above) / 2)
    expected = first.copy()
    expected[:, 1:] *= 1.0 - 0.5 * (1.0 - none_yet[:, :-1])
    assert abs(estimate.value - chance @ expected.sum(axis=1)) < 4 * estimate.standard_error
    # So narrow that a wrong expectation of the model would be seen.
    assert estimate.standard_error < 0.02
    marginal = slate_marginals(
        logged.article_id, Draw.of(np.repeat(LOGITS, n, 0), np.repeat(LISTED, n, 0), len(LIVE), EPSILON, K)
    )
    independent = (rng.random((n, K)) < truth_of[np.searchsorted(LIVE, logged.article_id)]).astype(float)
    other = iips_dr(marginal.slot_marginal * len(LIVE), independent, found.slot_q, found.slot_q_pi)
    assert abs(other.value - chance @ first.sum(axis=1)) < 4 * other.standard_error


# ---- on a log of the simulator ----
QUICK = "regression-dwell:max_steps=20,train_every_hours=12.0"
SETTINGS: dict[str, Any] = {"readers": 100, "days": 3.0, "tick_hours": 1.0, "seed": 11}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log")
    make_log(LogConfig(**SETTINGS, agent="random", out=path))
    return path


def opened(folder: Path, seed: int | None = None) -> LoggedSite:
    sizes = make_drive(simulated_run(LogReader(folder).config)).feed.catalogue.category_sizes
    return LoggedSite(folder, category_sizes=sizes, seed=seed)


def new(site: Any, name: str = QUICK) -> TwoTowerAgent:
    return cast(TwoTowerAgent, parse_agent(name).start(cast(Feed, site)))


@pytest.fixture(scope="module")
def model(folder: Path) -> RewardModel:
    site = opened(folder, 12)
    return fit_reward_model(new(site), site, until_hours=48.0)


def bound(model: RewardModel, site: Any, name: str = QUICK) -> RewardModel:
    agent = new(site, name)
    agent.adopt(model.agent)
    return dataclasses.replace(model, agent=agent)


def test_predictions_are_the_scores_of_the_towers(folder: Path, model: RewardModel) -> None:
    """Against the towers' own score of what was logged, which training uses."""
    site = opened(folder)
    agent = bound(model, site).agent
    compared = 0
    while not site.done and compared < 40:
        agent.act(site.visits, site.catalogue)
        if len(site.visits):
            live = np.sort(site.catalogue.article_id)
            g = predictions(agent, site.visits, live)
            ids = site.logged.article_id
            user = agent.drawer.embed(agent.serving.requests(site.visits))
            vector, bias = torch.from_numpy(agent.store.vector[ids]), torch.from_numpy(agent.store.bias[ids])
            age = torch.from_numpy((site.now - agent.store.published_hours[ids]).astype(np.float32))
            with torch.no_grad():
                expected = agent.model.score(user, vector, bias, age).exp().numpy()  # a hurdle's are logarithms
            np.testing.assert_allclose(
                np.take_along_axis(g, np.searchsorted(live, ids), axis=1), expected, rtol=1e-3, atol=1e-4
            )
            compared += len(ids)
        site.advance()
    assert compared >= 40


def test_the_model_saw_only_its_own_days(folder: Path, model: RewardModel) -> None:
    site = opened(folder, 12)
    again = fit_reward_model(new(site), site, until_hours=48.0)
    np.testing.assert_array_equal(again.offset, model.offset)
    assert site.now == 48.0
    assert (model.slope >= 0).all()
    assert model.offset.shape == (8,)


def test_a_poor_model_leaves_the_doubly_robust_near_the_truth(folder: Path, model: RewardModel) -> None:
    """A soft target, that a random logger's slates speak of; the model is wrong by a minute a position."""
    # All live articles are its shortlist: what is not on it only exploration shows, and a random log mostly shows that.
    soft = "regression-dwell:max_steps=20,train_every_hours=12.0,sharpness=0.25,epsilon=0.3,shortlist_size=2000"
    site = opened(folder)
    trained = new(site, soft)
    learn_from_log(trained, site, until_hours=48.0)

    def frozen(site: Any) -> TwoTowerAgent:
        agent = new(site, soft)
        agent.adopt(trained)
        return agent

    world = simulated_run(LogReader(folder).config)
    site = opened(folder)
    truth = reward_on_logged_states(frozen(site), site, world, from_hours=48.0)
    margin = 1.96 * truth.std() / np.sqrt(len(truth))
    wrong = dataclasses.replace(model, offset=model.offset + 1.0, slope=-model.slope)
    site = opened(folder)
    found = evaluate_on_log(
        frozen(site), site, from_hours=48.0, rng=np.random.default_rng(1), replicates=300, model=bound(wrong, site)
    )
    rows = {row.estimator: row for row in found.rows}
    assert list(rows) == ["sniips", "snrips", "cascade_dr", "sniips_dr", "snsips", "dm"]
    for name in ("cascade_dr", "sniips_dr"):
        assert rows[name].low - margin < truth.mean() < rows[name].high + margin, name
    # The direct method believes the model, and its interval does not know.
    assert rows["dm"].low > truth.mean() + 3.0
    assert any(note.startswith("dm extrapolates") for note in found.notes)


def test_a_log_that_no_weight_can_help_has_dm_alone(folder: Path, model: RewardModel, tmp_path: Path) -> None:
    few = SETTINGS | {"readers": 25}
    greedy = LogConfig(**few, agent="recent:greedy=True", allow_unsupported=True, out=tmp_path / "greedy")
    unexplored = LogConfig(**few, agent="recent", epsilon=0.0, allow_unsupported=True, out=tmp_path / "eps")
    for config, why in ((greedy, "served greedily"), (unexplored, "served with epsilon = 0")):
        make_log(config)
        site = opened(config.out)
        agent = bound(model, site).agent
        found = evaluate_on_log(
            agent, site, from_hours=48.0, rng=np.random.default_rng(0), replicates=50, model=bound(model, site)
        )
        assert [row.estimator for row in found.rows] == ["dm"]
        assert why in found.notes[-1]
        assert found.notes[-1].startswith("dm alone: ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("contrastive", "reward_model: got 'ContrastiveLearner', needs regression-dwell or regression-click"),
        ("ltv", "reward_model: got 'LtvLearner'"),
        ("regression:loss=slate_bpr,target=click", "reward_model: got 'RegressionLearner'"),
        ("regression:target=click+dwell", "target of reward_model: got 'click[+]dwell'"),
        ("regression-dwell:prediction=mlp", "reward_model: got 'RegressionLearner', needs .*one stage"),
    ],
)
def test_scores_that_predict_nothing_are_refused(folder: Path, name: str, message: str) -> None:
    site = opened(folder)
    with pytest.raises(ValueError, match=message):
        fit_reward_model(new(site, name), site, until_hours=24.0)


def test_too_few_days_are_refused(folder: Path) -> None:
    site = opened(folder)
    with pytest.raises(ValueError, match=r"reward_model: got 'a log of 12 h to learn from', needs visits .* at 12 h"):
        fit_reward_model(new(site), site, until_hours=12.0)
