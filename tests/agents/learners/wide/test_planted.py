"""What the wide part finds of a given truth: openings and minutes apart, ages, positions, and what towers add."""

from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents.learners import LinearLearner, RegressionConfig, RegressionLearner
from feedgym.agents.learners.wide import fitter
from feedgym.agents.learners.wide.newton import Rows
from feedgym.env.arrays import Doubles
from helpers.logs.planted import PlantedLog, Shown

HURDLE = RegressionConfig(target="dwell", loss="hurdle")
AGE_HOURS = 20.0


def opens(shown: Shown) -> Doubles:
    by_article = 0.4 * shown.plain[..., 0] - 0.5 * (shown.topic == 2)
    return -1.6 + by_article - shown.age / 60.0 - 0.2 * shown.position


def minutes(shown: Shown) -> Doubles:
    return np.exp(0.7 + 0.5 * shown.plain[..., 1])


def test_a_hurdle_is_the_log_of_opening_and_the_log_of_minutes() -> None:
    """On other visits of the same site; either part alone is far from it."""
    log = PlantedLog(LinearLearner(HURDLE), opens, minutes)
    log.train(6000)
    batch = log.visits(2000)
    shown, score = log.shown(batch.article_id, batch.now, batch.reader), log.scores(batch)
    on_top = opens(shown) + 0.2 * shown.position
    truth = on_top + np.log(minutes(shown))
    assert np.std(score - truth) < 0.2 * np.std(truth)
    assert abs(np.mean(score - truth)) < 0.15
    for part in (on_top, np.log(minutes(shown))):
        assert np.std(score - part) > 0.5 * np.std(truth)
    # Its worth is the second part, and the positions' effect is that of the truth.
    worth = log.learner._wide.worth(batch.article_id)
    assert np.std(worth - np.log(minutes(shown))) < 0.25 * np.std(np.log(minutes(shown)))
    np.testing.assert_allclose(log.learner._wide.effect, -0.2 * np.arange(4), atol=0.12)
    assert (log.learner._wide.worth(np.array([-1, 10**6])) == 0).all()


def test_towers_count_once_they_foretell_what_the_columns_cannot() -> None:
    """A taste that is a product of reader and article; without it towers are not trusted, however long they train."""

    def personal(shown: Shown) -> Doubles:
        return opens(shown) - 0.2 + 0.8 * np.clip(shown.plain[..., 2] * shown.reader[:, :1], -1.5, 1.5)

    trusts: dict[str, list[float]] = {}
    for name, truth in (("none", opens), ("taste", personal)):
        log = PlantedLog(RegressionLearner(HURDLE), truth, minutes)
        assert float(log.model.wide.trust) == 0.0
        for _ in range(3):
            log.train(2000, steps=80)
            trusts.setdefault(name, []).append(float(log.model.wide.trust))
            (told,) = log.learner.metrics().values()
            assert told == pytest.approx(trusts[name][-1])
    assert trusts["none"][0] == trusts["taste"][0] == 0.0  # before they have been trained they foretell nothing
    assert max(trusts["none"]) < 0.3
    assert min(trusts["taste"][1:]) > 0.8


EDGES = np.array([0.0, 1.0, 2.0, 4.0, 7.0, 11.0, 16.0, 22.0, 30.0, 42.0])


def misses(log: PlantedLog, score_to_chance: Any) -> Doubles:
    """A table of opens by age, of other visits: how many standard errors each line is off."""
    batch = log.visits(8000)
    age = log.shown(batch.article_id, batch.now, batch.reader).age
    line = np.digitize(age, EDGES).ravel() - 1
    opened = np.bincount(line, weights=batch.clicks.ravel())
    foretold = np.bincount(line, weights=score_to_chance(log.scores(batch)).ravel())
    return np.asarray((opened - foretold) / np.sqrt(opened))


def test_opens_by_age_are_those_of_the_log() -> None:
    """They fall by half in 14 hours, which is none of the columns' time scales; towers alone miss it at every age."""

    def fading(shown: Shown) -> Doubles:
        return -1.2 - shown.age / AGE_HOURS + 0.2 * shown.plain[..., 0]

    log = PlantedLog(LinearLearner(HURDLE), fading)
    log.train(8000)
    worth = log.model.wide.worth_log
    worth[1:] = 0.0  # minutes are those of everything: one number
    log.learning.store.refresh(0.0)
    errors = misses(log, lambda score: np.exp(score - float(worth[0])))
    assert len(errors) == len(EDGES)
    assert np.abs(errors).max() < 4
    assert np.sqrt(np.mean(errors**2)) < 2

    alone = PlantedLog(
        RegressionLearner(RegressionConfig(target="click")), fading, wide_part=False, age_decay="exponential"
    )
    alone.learning.replay.append(alone.visits(7000))
    alone.learner.prepare(alone.learning)
    alone.train(1000, steps=80)
    errors = misses(alone, lambda score: 1 / (1 + np.exp(-score)))
    assert np.abs(errors).max() > 5
    assert np.sqrt(np.mean(errors**2)) > 3


def test_what_is_shown_for_long_because_it_is_good_does_not_pass_for_what_is_good_though_old() -> None:
    """An editor keeps the better ones on show. Age does nothing here, and without effects of articles seems to help."""
    good = np.random.default_rng(1).standard_normal(200)
    ages = {}
    for effects in (True, False):
        log = PlantedLog(
            RegressionLearner(RegressionConfig(target="click", loss="poisson")),
            lambda shown: np.minimum(-1.8 + 0.5 * good[shown.article], -0.1),
            keeps=lambda article, age: (age < 24) | (good[article] > 0.5),
            article_effects=effects,
        )
        log.train(6000)
        wide = log.model.wide
        young, old = wide.aged(torch.tensor([2.0, 60.0])).tolist()
        ages[effects] = old - young
    assert abs(ages[True]) < 0.5 * ages[False]
    assert ages[False] > 0.3


def test_what_the_top_does_is_not_taken_for_the_article(monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor puts articles of one kind on top, which is opened twice as often for no reason of theirs."""

    def top_twice(shown: Shown) -> Doubles:
        return np.broadcast_to(-2.2 + np.log(2.0) * (shown.position == 0), shown.age.shape)

    def weights() -> tuple[float, Doubles]:
        log = PlantedLog(LinearLearner(HURDLE), top_twice, order=lambda shown: shown.plain[..., 2])
        log.train(6000)
        return float(log.model.wide.article[2]), np.asarray(log.learner._wide.effect)

    weight, effect = weights()
    assert abs(weight) < 0.06
    np.testing.assert_allclose(effect, np.log([1.0, 0.5, 0.5, 0.5]), atol=0.12)

    def blind(**columns: Any) -> Rows:
        return Rows(**(columns | {"position": np.zeros_like(columns["position"]), "num_positions": 1}))

    monkeypatch.setattr(fitter, "Rows", blind)
    assert weights()[0] > 0.15


@pytest.mark.parametrize("loss", ["pointwise", "poisson", "hurdle"])
def test_towers_learn_what_the_fit_leaves(loss: str) -> None:
    """Steps after a fit keep what it found: the towers start at nought, and add little where nothing is left."""
    log = PlantedLog(RegressionLearner(RegressionConfig(target="dwell", loss=loss)), opens, minutes)
    log.train(4000)
    batch = log.visits(1000)
    log.model.wide.trust.fill_(1.0)
    before = log.scores(batch)
    log.train(1, steps=60)
    log.model.wide.trust.fill_(1.0)
    after = log.scores(batch)
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.95
    assert np.abs(after - before).max() > 0.01
    assert abs(np.mean(after - before)) < 0.4 * np.std(before)
