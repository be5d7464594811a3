"""The running frequency of articles in batches: rates, churn, bias, snapshots, and the presence control."""

from typing import Any

import numpy as np
import pytest

from feedgym.towers.negatives.frequency import FrequencyEstimator


def slow_update(q: dict[int, float], ids: np.ndarray, rate: float) -> dict[int, float]:
    return {i: (1 - rate) * share + rate * np.mean(ids == i) for i, share in q.items()}


def settle(total: dict[int, float]) -> dict[int, float]:
    norm = sum(total.values())
    return {i: share / norm for i, share in total.items()}


def test_equals_the_plain_recursion_under_churn() -> None:
    rng = np.random.default_rng(3)
    plain: dict[int, float] = {}
    fast = FrequencyEstimator(0.05)
    for tick in range(200):
        new = np.arange(tick * 20, tick * 20 + 20)  # 4,000 ids: the arrays must grow
        fast.add(new)
        plain = settle({**{i: s * len(plain) for i, s in plain.items()}, **dict.fromkeys(new.tolist(), 1.0)})
        if tick >= 3:
            old = new - 60
            fast.remove(old)
            plain = settle({i: s for i, s in plain.items() if i not in set(old.tolist())})
        live = np.array(list(plain))
        ids = rng.choice(live, 64, p=rng.dirichlet(np.full(len(live), 0.3)))
        fast.update(ids)
        plain = slow_update(plain, ids, 0.05)
        np.testing.assert_allclose(fast.log_q(live), np.log(list(plain.values())), atol=1e-9)
    assert fast.num_live == len(plain) == 60
    assert np.exp(fast.log_q(live)).sum() == pytest.approx(1.0, abs=1e-12)


def test_newcomers_start_at_one_over_live_and_the_expired_leave() -> None:
    q = FrequencyEstimator()
    q.add(np.arange(4))
    q.update(np.array([0, 0, 0, 1]))
    before = q.log_q(np.arange(4))
    q.add(np.array([7, 9]))
    np.testing.assert_allclose(np.exp(q.log_q(np.array([7, 9]))), 1 / 6, rtol=1e-12)
    shift = q.log_q(np.arange(4)) - before
    np.testing.assert_allclose(shift, shift[0])  # the others keep their proportions
    q.remove(np.array([0, 7]))
    assert np.exp(q.log_q(np.array([1, 2, 3, 9]))).sum() == pytest.approx(1.0, abs=1e-12)
    q.remove(np.array([1, 2, 3, 9]))
    with pytest.raises(ValueError, match="live articles: got 0"):
        q.log_q(np.array([1]))
    q.add(np.array([20, 21]))
    np.testing.assert_allclose(q.log_q(np.array([20, 21])), np.log(0.5))


def test_draws_are_counted_not_presence() -> None:
    """A story of 3 % in batches of 1,024. By presence or per-batch gaps it would be 1 / 1,024: -3.4 in its
    score."""
    batch, share = 1024, 0.03
    rng = np.random.default_rng(0)
    chances = np.r_[share, np.full(999, (1 - share) / 999)]
    draws, gaps = FrequencyEstimator(), []
    draws.add(np.arange(1000))
    for _ in range(600):
        ids = rng.choice(1000, batch, p=chances)
        draws.update(ids)
        gaps.append(1 if (ids == 0).any() else 0)
    assert draws.log_q(np.array([0]))[0] == pytest.approx(np.log(share), abs=0.05)  # sd .013
    per_batch = np.log(np.mean(gaps) / batch) - np.log(share)
    assert per_batch == pytest.approx(-3.4, abs=0.05)


def test_jensen_bias_follows_its_formula() -> None:
    """E[log q_hat] - log q = -a (1 - q) / (4 B q): all of 400 equal articles at once, a = .05, B = 100."""
    rate, batch, articles = 0.05, 100, 400
    rng = np.random.default_rng(1)
    estimator = FrequencyEstimator(rate)
    estimator.add(np.arange(articles))
    bias, spread = [], []
    for step in range(6000):
        estimator.update(rng.integers(articles, size=batch))
        if step >= 300 and step % 20 == 0:
            log_q = estimator.log_q(np.arange(articles))
            bias.append(log_q.mean() + np.log(articles))
            spread.append(log_q.std())
    share = 1 / articles
    formula = -rate * (1 - share) / (4 * batch * share)  # -.0499; the second-order terms add some 10 %
    assert np.mean(bias) == pytest.approx(formula, rel=0.2)
    assert np.mean(spread) == pytest.approx(0.33, abs=0.03)


def test_replayed_clicks_on_expired_articles_stay_comparable() -> None:
    rng = np.random.default_rng(2)
    chances = np.array([0.4, 0.3, 0.2, 0.1])
    q = FrequencyEstimator()
    q.add(np.arange(4))
    q.remove(np.array([1, 3]))
    for _ in range(3000):
        q.update(rng.choice(4, 256, p=chances))
    # Article 1 and 3 are gone, but half of each batch replays them: shares per live row, 0.6 of all.
    np.testing.assert_allclose(q.log_q(np.arange(4)), np.log(chances / 0.6), atol=0.06)
    assert np.exp(q.log_q(np.array([0, 2]))).sum() == pytest.approx(1.0, abs=1e-12)


def test_never_drawn_articles_stay_finite_in_long_runs() -> None:
    q = FrequencyEstimator(0.5)
    q.add(np.arange(2))
    for _ in range(3000):  # (1 / 2)^3000 underflows a float64
        q.update(np.zeros(4, dtype=np.int64))
    log_q = q.log_q(np.arange(2))
    assert np.isfinite(log_q).all()
    assert log_q[0] == pytest.approx(0.0, abs=1e-12)
    assert log_q[1] < np.log(1e-6) * 10  # never clipped at some "small" share


def test_snapshot_resumes_byte_for_byte() -> None:
    rng = np.random.default_rng(4)
    first = FrequencyEstimator(0.02)
    first.add(np.arange(50))
    first.update(rng.integers(50, size=64))
    state = first.snapshot()
    second = FrequencyEstimator()
    second.restore(state)
    ids = rng.integers(50, size=64)
    for estimator in (first, second):
        estimator.remove(np.array([0]))
        estimator.add(np.arange(50, 5000))
        estimator.update(ids)
    assert first.log_q(np.arange(5000)).tobytes() == second.log_q(np.arange(5000)).tobytes()
    assert state["is_live"][0]  # a snapshot is a copy


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda q: q.add(np.array([2])), "ids: got article 2, needs an article that is not live yet"),
        (lambda q: q.add(np.array([5, 5])), "an id twice"),
        (lambda q: q.add(np.array([-1])), "ids: got -1"),
        (lambda q: q.remove(np.array([7])), "ids: got article 7, needs an article that was added"),
        (lambda q: q.remove(np.array([1, 1])), "an id twice"),
        (lambda q: q.update(np.array([1, 4])), "ids: got article 4, needs an article that was added"),
        (lambda q: q.update(np.array([[1]])), "shape"),
        (lambda q: q.log_q(np.array([10**9])), "ids: got article 1000000000"),
        (lambda q: FrequencyEstimator(1.0), "rate: got 1.0"),
    ],
)
def test_refusals_name_the_article(call: Any, message: str) -> None:
    q = FrequencyEstimator()
    q.add(np.arange(4))
    with pytest.raises(ValueError, match=message):
        call(q)
