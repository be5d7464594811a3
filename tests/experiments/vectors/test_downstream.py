"""The worked example: no feature knows the future, the click model is right, the gain is what vectors add."""

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize
from sklearn.metrics import log_loss, roc_auc_score

from feedgym.agents.two_tower.vectors import Vectors
from feedgym.env import read_impressions
from feedgym.env.readers.protocol import Outcome
from feedgym.experiments import train
from feedgym.experiments.runs.drive import make_drive
from feedgym.experiments.runs.run_config import RunConfig
from feedgym.experiments.vectors import downstream, exports
from feedgym.experiments.vectors.click_columns import ARTICLES, count_before, site_columns
from feedgym.experiments.vectors.click_model import Evaluated, fit, paired_bootstrap
from feedgym.experiments.vectors.downstream import DownstreamConfig
from feedgym.experiments.vectors.exports import look_up, replay

AGENT = "regression-click:content_channel=False,wide_part=False,widths=(8,)"  # as labels are sorted
SMALL: dict[str, Any] = {"agent": AGENT, "readers": 60, "days": 3.0, "tick_hours": 2.0}


# ---- no row knows the future ----
def test_each_impression_gets_the_vectors_of_the_last_export_before_it() -> None:
    config, every = RunConfig(**SMALL), 6.0
    served, exported = replay(config, every, seed=0)
    drive = make_drive(config)
    agent: Any = config.plan().start(drive.feed)
    start, covered, same = 0, 0, 0
    known: tuple[dict[int, Any], dict[int, Any], dict[int, float]] = ({}, {}, {})
    while not drive.feed.done:
        visits, now = drive.visits, drive.feed.now
        if now % every == 0:
            v = agent.vectors()
            assert (v.hours < now).all()
            known = (
                dict(zip(v.article_id, v.article, strict=True)),
                dict(zip(v.row, v.reader, strict=True)),
                dict(zip(v.article_id, v.bias, strict=True)),
            )
        slates = agent.act(visits, drive.catalogue).article_id
        for row, slate in zip(visits.rows, slates, strict=True):
            for article in slate:
                u_v, (bias, has_article, has_reader) = exported.product[start], exported.rest[start]
                assert served[start] == article
                assert (has_article, has_reader) == (article in known[0], row in known[1])
                both = has_article and has_reader
                np.testing.assert_array_equal(u_v, known[1][row] * known[0][article] if both else 0.0)
                assert bias == known[2].get(article, 0.0)
                same += both and np.array_equal(exported.other[start], u_v)
                covered += both
                start += 1
        outcome = drive.serve(slates)
        agent.learn(Outcome(clicks=outcome.clicks, dwell_minutes=outcome.dwell_minutes, subscribed=outcome.subscribed))
    assert start == len(served)
    # Not her own, or the control would control nothing; two readers without a click have one vector.
    assert same < 0.1 * covered
    assert 0.3 * start < covered < start


def test_another_readers_vector_is_another_readers() -> None:
    vectors = Vectors(
        article_id=np.array([2, 5]),
        article=np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32),
        bias=np.array([0.5, -0.5], dtype=np.float32),
        row=np.array([1, 4]),
        hours=np.zeros(2),
        reader=np.array([[1.0, 1.0], [10.0, 10.0]], dtype=np.float32),
    )
    found = look_up(vectors, np.array([5, 5, 9, -1]), np.array([1, 0, 4, 4]), np.array([4, 4, 1, 1]))
    assert found.product.tolist() == [[3.0, 4.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    assert found.other.tolist() == [[30.0, 40.0], [30.0, 40.0], [0.0, 0.0], [0.0, 0.0]]
    assert found.rest.tolist() == [[-0.5, 1, 1], [-0.5, 1, 0], [0, 0, 1], [0, 0, 1]]


def test_counters_know_earlier_ticks_only() -> None:
    rng = np.random.default_rng(3)
    key, tick, value = rng.integers(0, 5, 200), np.sort(rng.integers(0, 30, 200)), rng.random(200)
    slow = [value[(key == k) & (tick < t)].sum() for k, t in zip(key, tick, strict=True)]
    np.testing.assert_allclose(count_before(key, tick, value), slow)


def test_what_comes_later_changes_no_column() -> None:
    rng, rows = np.random.default_rng(4), 300
    log: dict[str, Any] = {
        "reader_id": rng.integers(0, 9, rows),
        "tick": np.sort(rng.integers(0, 20, rows)),
        "position": rng.integers(0, 3, rows),
        "article_id": rng.integers(0, 12, rows),
        "clicked": rng.random(rows) < 0.3,
    }
    log["time_hours"] = log["tick"] * 1.0
    articles: dict[str, Any] = {name: rng.random(12) for name in ARTICLES} | {"topic": rng.integers(0, 4, 12)}
    articles["published_hours"] -= 5.0
    now = 10
    changed = {**log, "clicked": np.where(log["tick"] >= now, ~log["clicked"], log["clicked"])}
    pairs: Any = zip(site_columns(log, articles), site_columns(changed, articles), strict=True)
    for one, other in pairs:
        assert (one[log["tick"] <= now] == other[log["tick"] <= now]).all()
    # The control: clicks do count afterwards.
    assert (site_columns(log, articles).counters != site_columns(changed, articles).counters).any()


# ---- the click model ----
def planted(rows: int, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(2.0, 3.0, (rows, 3))
    return x, rng.random(rows) < 1 / (1 + np.exp(-(-2.0 + 0.5 * x[:, 0] - 0.3 * x[:, 1])))


def test_the_fit_is_the_minimum_of_the_penalised_likelihood() -> None:
    x, y = planted(500, 0)
    odds = fit(x, y, l2=3.0).decision_function(x)
    z = (x - x.mean(0)) / x.std(0)

    def loss(w: Any) -> float:
        odds = w[0] + z @ w[1:]
        return float((np.logaddexp(0, odds) - y * odds).sum() + 1.5 * (w[1:] ** 2).sum())

    best = optimize.minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-6}).x
    np.testing.assert_allclose(odds, best[0] + z @ best[1:], atol=1e-5)
    # A constant column changes nothing, whatever it is later.
    wider, later = (np.hstack([x, np.full((500, 1), value)]) for value in (1.0, 9.0))
    np.testing.assert_allclose(fit(wider, y, l2=3.0).decision_function(later), odds, atol=1e-5)
    with pytest.raises(ValueError, match="clicked: got 0, needs some of 500 rows"):
        fit(x, np.zeros(500, dtype=bool))


def test_measures_are_those_of_scikit_learn_also_with_weights_and_ties() -> None:
    rng = np.random.default_rng(5)
    score, y, weight = rng.integers(-6, 6, 80) / 2.0, rng.random(80) < 0.4, rng.integers(0, 4, 80).astype(float)
    chance = 1 / (1 + np.exp(-score))
    for found, w in ((Evaluated(score, y).measure(), None), (Evaluated(score, y).measure(weight), weight)):
        assert found.log_loss == pytest.approx(log_loss(y, chance, sample_weight=w))
        assert found.auc == pytest.approx(roc_auc_score(y, score, sample_weight=w))


def test_intervals_hold_the_spread_between_readers() -> None:
    """Readers who are all rows alike: an interval over rows would be 5 times too narrow."""
    rng, C, each = np.random.default_rng(6), 100, 25
    reader = np.repeat(np.arange(C), each)
    y = rng.random(C * each) < 0.5
    shift = np.repeat(rng.normal(0, 1, C), each) * np.where(y, 1, -1)
    one, other = Evaluated(shift, y), Evaluated(np.zeros(C * each), y)
    found = paired_bootstrap(one, other, reader, resamples=400, seed=0)
    per_reader = (np.logaddexp(0, -np.repeat(0.0, 1)) * 0 + np.logaddexp(0, shift) - y * shift - np.log(2)).reshape(
        C, -1
    )
    error = per_reader.mean(1).std(ddof=1) / np.sqrt(C)
    width = found.high.log_loss - found.low.log_loss
    assert width == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert found.value.log_loss == pytest.approx(per_reader.mean())


# ---- the whole ----
replay_once = functools.cache(replay)
"""The same run lives again for each test."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = RunConfig(**{**SMALL, "readers": 150, "days": 4.0})
    out = tmp_path_factory.mktemp("downstream") / config.folder_name()
    train.run(config, out)
    return out


def test_vectors_that_know_the_click_gain_and_no_vectors_do_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"run": folder, "warm_days": 1.0, "test_days": 1.0, "resamples": 100}
    real = replay_once

    def told(config: RunConfig, every: float, seed: int) -> Any:
        served, exported = real(config, every, seed)
        product = exported.product.copy()
        product[:, 0] = np.concatenate(clicks)
        return served, exported._replace(product=product, other=0 * product)

    def nothing(config: RunConfig, every: float, seed: int) -> Any:
        served, exported = real(config, every, seed)
        return served, exports.Exported(*(0 * part for part in exported))

    clicks = [read_impressions(folder / "impressions", columns=["clicked"])["clicked"].to_numpy()]
    monkeypatch.setattr(downstream, "replay", told)
    for step in downstream.run(DownstreamConfig(**settings)).steps.values():
        assert step.gain.high.log_loss < 0 < step.gain.low.auc
        assert step.gain_new.high.log_loss < 0 < step.personal.low.auc
    monkeypatch.setattr(downstream, "replay", nothing)
    for step in downstream.run(DownstreamConfig(**settings)).steps.values():
        assert step.gain.value.log_loss == pytest.approx(0.0, abs=1e-9)
        assert step.personal.value.auc == pytest.approx(0.0, abs=1e-9)


def test_the_example_runs_and_prints(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downstream, "replay", replay_once)
    downstream.main(["--run", str(folder), "--warm-days", "1", "--test-days", "1", "--resamples", "20"])
    text = capsys.readouterr().out
    assert "| position, age, topic | 0." in text
    assert text.count("| + counters |") == 2
    result = downstream.run(DownstreamConfig(run=folder, warm_days=1.0, test_days=1.0, resamples=20))
    assert downstream.result_text(result) in text
    log = read_impressions(folder / "impressions", columns=["time_hours", "article_id"])
    time, shown = log["time_hours"].to_numpy(), log["article_id"].to_numpy() >= 0
    assert result.rows_fitted == np.count_nonzero(shown & (time >= 24) & (time < 72))
    assert result.rows_tested == np.count_nonzero(shown & (time >= 72))


def test_a_run_that_cannot_be_split_or_repeated_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"warm_days: got 3\.0, needs less than 3, where the held-out days begin"):
        downstream.run(DownstreamConfig(run=folder, warm_days=3.0, test_days=1.0))
    config = RunConfig(**{**SMALL, "readers": 20, "days": 2.0, "log": False})
    train.run(config, tmp_path)
    with pytest.raises(ValueError, match="a run with a log"):
        downstream.run(DownstreamConfig(run=tmp_path, warm_days=0.5, test_days=0.5))


def test_without_scikit_learn_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr(downstream, "replay", lambda *_: pytest.fail("a long computation came first"))
    with pytest.raises(SystemExit) as stopped:
        downstream.main(["--run", str(folder)])
    assert stopped.value.code == (
        "feedgym downstream: scikit-learn: not installed; needs the extra: pip install 'feedgym[downstream]'"
    )
