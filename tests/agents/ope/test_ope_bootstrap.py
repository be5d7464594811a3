"""The bootstrap over readers, clustered errors, diagnostics of weights; Open Bandit Pipeline's conventions."""

import numpy as np
import pytest

from feedgym.agents.ope import (
    ReaderSums,
    Terms,
    bootstrap,
    cascade_dr,
    clustered_error,
    diagnose,
    iips,
    interval,
    reader_codes,
    rips,
    sips,
    sniips,
    snips,
    snrips,
    snsips,
)
from feedgym.agents.ope.resampling import _COUNT
from feedgym.env.arrays import Doubles, Ints


def some_log(n: int, seed: int, readers: int, k: int = 3) -> tuple[Doubles, Doubles, Ints]:
    """Weights of mean 1, and rewards whose mean is the reader's own: visits of a reader are alike."""
    rng = np.random.default_rng(seed)
    reader = rng.integers(0, readers, n)
    rho = np.exp(rng.normal(-0.125, 0.5, size=(n, k)))
    taste = rng.random(readers)[reader]
    return rho, (rng.random((n, k)) < taste[:, None]).astype(float), reader


def test_draw_counts() -> None:
    """Mean 1 and variance 1 exactly, near Poisson(1)."""
    assert len(_COUNT) == 65_536
    assert _COUNT.mean() == 1.0
    assert _COUNT.var() == 1.0
    share = np.bincount(_COUNT.astype(int)) / 65_536
    poisson = np.exp(-1) / np.cumprod(np.maximum(np.arange(9), 1))
    np.testing.assert_allclose(share, poisson, rtol=0, atol=3e-4)


def test_replicates_are_estimates_of_drawn_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix product against the plain version: every visit counts as often as its reader was drawn."""
    rho, r, reader = some_log(200, 1, 17)
    q = np.random.default_rng(3).random(rho.shape)
    found = [sips(rho, r), snsips(rho, r), rips(rho, r), snrips(rho, r), sniips(rho, r), cascade_dr(rho, r, q, q)]
    code, readers = reader_codes(reader * 7 + 3)
    assert readers == 17
    sums = [ReaderSums.of(e.terms, code, readers) for e in found]
    # Blocks of 4 readers: several, and a short one at the end.
    monkeypatch.setattr("feedgym.agents.ope.resampling._BLOCK", 4 * 50)
    values = bootstrap(np.random.default_rng(9), sums, np.bincount(code), 50)
    rng = np.random.default_rng(9)
    drawn = np.concatenate(
        [_COUNT[rng.integers(0, 65_536, size=(50, m), dtype=np.uint16)] for m in (4, 4, 4, 4, 1)], axis=1
    )
    for b in range(50):
        plain = [e.terms.value(drawn[b][code]) for e in found]
        np.testing.assert_allclose(values[b], plain, rtol=1e-12)
    once = [e.terms.value(np.ones(200)) for e in found]
    np.testing.assert_allclose(once, [e.value for e in found], rtol=1e-12)


def test_errors_agree() -> None:
    """Bootstrap, closed form by reader, and (visits that are readers of their own) the estimate's own error."""
    rho, r, reader = some_log(4000, 2, 400)
    for compute in (sips, snsips, snrips, sniips):
        found = compute(rho, r)
        code, readers = reader_codes(reader)
        sums = [ReaderSums.of(found.terms, code, readers)]
        drawn = bootstrap(np.random.default_rng(4), sums, np.bincount(code), 2000)[:, 0]
        assert drawn.std(ddof=1) == pytest.approx(clustered_error(found.terms, reader), rel=0.08)
        assert clustered_error(found.terms, np.arange(4000)) == pytest.approx(found.standard_error, rel=1e-6)
        assert clustered_error(found.terms, reader) > 1.2 * found.standard_error
    assert np.isnan(clustered_error(found.terms, np.zeros(4000)))


def covered(seeds: range, by_reader: bool) -> int:
    """Of logs whose readers have tastes of their own: how many 95 % intervals hold the truth, 3 x 0.5."""
    hits = 0
    for seed in seeds:
        rho, r, reader = some_log(1500, seed, 150)
        found = snrips(rho, r)
        code, readers = reader_codes(reader if by_reader else np.arange(1500))
        sums = [ReaderSums.of(found.terms, code, readers)]
        low, high = interval(bootstrap(np.random.default_rng(seed), sums, np.bincount(code), 400))
        hits += int(low[0] <= 1.5 <= high[0])
    return hits


def test_coverage_over_200_logs() -> None:
    """docs/mathematics.md 5.5: 180 to 198 of 200. A bootstrap over visits, as if independent, fails it."""
    assert 180 <= covered(range(200), by_reader=True) <= 198
    assert covered(range(200), by_reader=False) < 180


def test_intervals() -> None:
    values = np.stack([np.arange(101.0), np.full(101, np.nan)], axis=1)
    values[0, 0] = np.nan  # 1..100 are left
    low, high = interval(values, 0.9)
    np.testing.assert_allclose([low[0], high[0]], np.quantile(np.arange(1.0, 101.0), [0.05, 0.95]))
    assert np.isnan(low[1])
    assert np.isnan(high[1])


def test_no_weight_no_number() -> None:
    code, readers = reader_codes([4, 4, 9])
    sums = [ReaderSums.of(snips([0.0, 0.0, 0.0], [1.0, 1.0, 1.0]).terms, code, readers)]
    assert np.isnan(bootstrap(np.random.default_rng(0), sums, np.bincount(code), 20)).all()


def test_same_draws_for_all() -> None:
    rho, r, reader = some_log(300, 5, 40)
    code, readers = reader_codes(reader)
    one = ReaderSums.of(rips(rho, r).terms, code, readers)
    values = bootstrap(np.random.default_rng(1), [one, one], np.bincount(code), 30)
    np.testing.assert_array_equal(values[:, 0], values[:, 1])
    again = bootstrap(np.random.default_rng(1), [one], np.bincount(code), 30)
    np.testing.assert_allclose(values[:, 0], again[:, 0], rtol=1e-13)


def test_bootstrap_refuses() -> None:
    code, readers = reader_codes([0, 1])
    sums = ReaderSums.of(snips([1.0, 1.0], [1.0, 1.0]).terms, code, readers)
    with pytest.raises(ValueError, match="replicates: got 0"):
        bootstrap(np.random.default_rng(0), [sums], np.bincount(code), 0)
    with pytest.raises(ValueError, match="sums: got 2, needs 3 readers"):
        bootstrap(np.random.default_rng(0), [sums], [1, 1, 1])
    with pytest.raises(ValueError, match=r"level: got 1\.0"):
        interval(np.zeros((3, 1)), 1.0)
    with pytest.raises(ValueError, match="reader: got"):
        clustered_error(Terms.mean(np.zeros(3), np.ones(3)), [1, 2])


# Conventions of Open Bandit Pipeline


@pytest.mark.parametrize("seed", range(3))
def test_plain_versions(seed: int) -> None:
    """Row by row: an impression's reward times the ratio of its propensities, by estimator; the sum over rows divided
    by visits, or each position's by the sum of its ratios. ``obp`` 0.4.1's slate estimators give the same."""
    rho, r, _ = some_log(57, seed, 9)
    plain = dict.fromkeys(("sips", "rips", "iips"), 0.0)
    top = {name: np.zeros(3) for name in plain}
    bottom = {name: np.zeros(3) for name in plain}
    for visit in range(57):
        for k in range(3):
            ratios = {
                "sips": rho[visit, 0] * rho[visit, 1] * rho[visit, 2],
                "rips": np.prod(rho[visit, : k + 1]),
                "iips": rho[visit, k],
            }
            for name, w in ratios.items():
                plain[name] += w * r[visit, k] / 57
                top[name][k] += w * r[visit, k]
                bottom[name][k] += w
    for name, compute, normalised in (("sips", sips, snsips), ("rips", rips, snrips), ("iips", iips, sniips)):
        assert compute(rho, r).value == pytest.approx(plain[name], abs=1e-12)
        assert normalised(rho, r).value == pytest.approx((top[name] / bottom[name]).sum(), abs=1e-12)


# Diagnostics


def test_weights_that_are_well() -> None:
    rng = np.random.default_rng(1)
    found = diagnose(rng.exponential(size=10_000))
    assert found.warnings == ()
    assert found.effective_sample_size == pytest.approx(5000, rel=0.05)
    assert found.top_share == pytest.approx(0.01 * (1 + np.log(100)), rel=0.1)  # of an exponential's top 1 %
    assert diagnose(np.ones((200, 3))).warnings == ()
    assert diagnose(np.full(200, 1 + 1e-15)).warnings == ()


def test_missing_support_is_seen() -> None:
    rng = np.random.default_rng(1)
    weight = rng.exponential(size=10_000)
    found = diagnose(weight * 0.9)
    assert "lacks what the policy would show" in found.warnings[0]
    assert "not true" in diagnose(weight * 1.1).warnings[0]
    columns = np.stack([weight, weight * 0.8], axis=1)
    assert diagnose(columns).mean_weight == pytest.approx(0.8, rel=0.05)
    assert diagnose(columns).warnings


def test_small_effective_sizes_are_seen() -> None:
    assert "effective sample size 99 of 99 visits, below 100" in diagnose(np.ones(99)).warnings[0]
    heavy = np.full(100_000, 0.0)
    heavy[:900] = 100_000 / 900
    assert "effective sample size 900 of 100000 visits, below 1000" in diagnose(heavy).warnings[-1]


def test_pooled_weights_have_mean_1_together() -> None:
    rng = np.random.default_rng(2)
    weight = rng.exponential(size=(5000, 2)) * [1.2, 0.8]
    assert diagnose(weight).warnings
    assert diagnose(weight, pooled=True).warnings == ()
    assert diagnose(weight, pooled=True).mean_weight == pytest.approx(1.0, abs=0.05)


def test_no_weights_are_weights_of_1() -> None:
    found = diagnose(np.zeros((40, 0)))
    assert (found.effective_sample_size, found.max_weight, found.mean_weight, found.warnings) == (40.0, 1.0, 1.0, ())
    with pytest.raises(ValueError, match="weight: got"):
        diagnose(np.zeros((0, 2)))
