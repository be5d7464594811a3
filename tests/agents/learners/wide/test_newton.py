"""The linear fit without its design: a dense Newton written out here, planted weights, a grid of shares."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from feedgym.agents.learners.wide import newton
from feedgym.agents.learners.wide.newton import LINKS, RIDGE, Fit, Link, Rows, fit_rows, fit_share
from feedgym.env.arrays import Doubles


def means(score: Doubles, link: Link) -> Doubles:
    if link == "identity":
        return score
    return np.exp(score) if link == "log" else 1.0 / (1.0 + np.exp(-score))


def drawn(mean: Doubles, link: Link, rng: np.random.Generator) -> Doubles:
    """Targets of these means."""
    if link == "identity":
        return mean + rng.standard_normal(len(mean))
    return (rng.poisson(mean) if link == "log" else rng.random(len(mean)) < mean).astype(np.float64)


def made(
    link: Link,
    seed: int = 0,
    *,
    num: int = 400,
    articles: int = 30,
    columns: int = 4,
    own: int = 2,
    size: int = 3,
    spread: float = 0.4,
    effects: float = 0.0,
) -> tuple[Rows, Fit]:
    """Rows whose targets are drawn by planted weights of this spread, and effects of articles of that one."""
    rng = np.random.default_rng(seed)
    level = {"identity": 2.0, "logit": -0.5, "log": -0.5}[link]
    truth = Fit(
        level,
        spread * rng.standard_normal(columns),
        spread * rng.standard_normal(own),
        np.concatenate([[0.0], spread * rng.standard_normal(size - 1)]),
        effects * np.random.default_rng([seed, 1]).standard_normal(articles),
        effects**2,
    )
    rows = Rows(
        article=rng.integers(0, articles, num),
        z=rng.standard_normal((articles, columns)),
        own=rng.standard_normal((own, num)),
        position=rng.integers(0, size, num),
        num_positions=size,
        target=np.zeros(num),
    )
    mean = means(truth.scores(rows), link)
    return dataclasses.replace(rows, target=drawn(mean, link, rng)), truth


def design(rows: Rows) -> Doubles:
    """All columns of all rows: level, article, own, positions below the top."""
    position = np.eye(rows.num_positions)[rows.position][:, 1:]
    return np.hstack([np.ones((len(rows.target), 1)), rows.z[rows.article], rows.own.T, position])


def one_hot(rows: Rows) -> Doubles:
    """A column for each article."""
    return np.eye(len(rows.z))[rows.article]


def unit_of(rows: Rows, link: Link) -> float:
    """What a weight of one on the scale of a logarithm does to a mean."""
    return float(max(abs(rows.target.mean()), 0.1 * rows.target.std())) if link == "identity" else 1.0


def penalty(rows: Rows, link: Link) -> tuple[float, Doubles]:
    """Dispersion and ridge of a fit, as mathematics 6.11 says."""
    mean, spread = rows.target.mean(), rows.target.var()
    dispersion = 1.0
    if spread > 0:
        dispersion = {"identity": spread, "logit": 1.0, "log": max(spread / mean, 1.0)}[link]
    ridge = np.full(design(rows).shape[1], RIDGE / unit_of(rows, link) ** 2)
    ridge[0] *= 1e-9
    return dispersion, ridge


def plain(rows: Rows, link: Link, variance: float = 0.0) -> tuple[Doubles, Doubles]:
    """Newton on the whole design, with a column for each article where effects vary: weights, and the Hessian."""
    x, y = design(rows), rows.target
    dispersion, ridge = penalty(rows, link)
    if variance:
        x = np.hstack([x, one_hot(rows)])
        ridge = np.append(ridge, np.full(len(rows.z), 1.0 / (variance * unit_of(rows, link) ** 2)))
    weights = np.zeros(x.shape[1])
    level = y.mean()
    weights[0] = level if link == "identity" else np.log(level) if link == "log" else np.log(level / (1 - level))
    for _ in range(60):
        mean = means(x @ weights, link)
        slope = {"identity": np.ones_like(mean), "logit": mean * (1 - mean), "log": mean}[link]
        hessian = x.T @ (slope[:, None] * x) / dispersion + np.diag(ridge)
        weights = weights + np.linalg.solve(hessian, x.T @ (y - mean) / dispersion - ridge * weights)
    return weights, hessian


def flat(fit: Fit) -> Doubles:
    return np.concatenate([[fit.level], fit.article, fit.own, fit.position[1:]])


CASES: dict[str, dict[str, Any]] = {
    "all": {},
    "no positions": {"size": 1},
    "no columns of rows": {"own": 0},
    "no columns of articles": {"columns": 0},
    "one article": {"articles": 1},
    "fewer rows than weights": {"num": 6, "columns": 9},
    "three rows an article": {"num": 2000, "articles": 700, "spread": 0.1},
}


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_dense_fit(case: str, link: Link) -> None:
    rows, _ = made(link, seed=3, **CASES[case])
    assert link == "identity" or 0 < rows.target.mean() < {"logit": 1.0}.get(link, np.inf)
    fit, (wanted, _) = fit_rows(rows, link), plain(rows, link)
    assert fit.position[0] == 0
    np.testing.assert_allclose(flat(fit), wanted, atol=2e-5)
    np.testing.assert_allclose(fit.scores(rows), design(rows) @ wanted, atol=2e-4)
    assert np.abs(wanted[1:]).max(initial=0) > 0.05


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("case", ["all", "no positions", "no columns of rows", "three rows an article"])
def test_effects_of_articles_are_the_dense_fit_at_the_variance_found(case: str, link: Link) -> None:
    """And that variance is where EM stands still: the mean of what effects are, squared, and how far they are known."""
    rows, _ = made(link, seed=3, **({"num": 2000, "effects": 0.8} | CASES[case]))
    fit = fit_rows(rows, link, effects=True)
    wanted, hessian = plain(rows, link, fit.variance)
    found = np.concatenate([flat(fit), fit.effect])
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    assert np.abs(fit.effect).max() > 0.2
    known = np.diag(hessian)[-len(rows.z) :]
    again = float((fit.effect**2 + 1.0 / known).mean()) / unit_of(rows, link) ** 2
    assert again == pytest.approx(fit.variance, rel=5e-3)


@pytest.mark.parametrize("link", LINKS)
def test_the_variance_of_effects_is_found(link: Link) -> None:
    """With enough rows of enough articles; where there are none, next to none is found, and columns keep theirs."""
    size: dict[str, Any] = {"num": 30_000, "articles": 300, "spread": 0.2}
    for effects in (0.0, 0.3, 0.6):
        rows, truth = made(link, seed=2, effects=effects, **size)
        fit = fit_rows(rows, link, effects=True)
        found = fit.variance * unit_of(rows, link) ** 2
        if effects:
            assert found == pytest.approx(truth.effect.var(), rel=0.25)
            assert np.corrcoef(fit.effect, truth.effect)[0, 1] > 0.7
        else:
            assert found < 0.01
            np.testing.assert_allclose(flat(fit), flat(fit_rows(rows, link)), atol=0.02)


@pytest.mark.parametrize("link", LINKS)
def test_a_warm_start_ends_where_a_cold_one_does(link: Link) -> None:
    rows, _ = made(link, seed=4)
    some = dataclasses.replace(
        rows, article=rows.article[:200], own=rows.own[:, :200], position=rows.position[:200], target=rows.target[:200]
    )
    earlier = fit_rows(some, link)
    cold, warm = fit_rows(rows, link), fit_rows(rows, link, earlier)
    np.testing.assert_allclose(flat(warm), flat(cold), atol=2e-5)
    assert np.abs(flat(earlier) - flat(cold)).max() > 0.01
    # One of other columns, or of fewer positions, is no start; one that is worse than none is not taken.
    more, _ = made(link, seed=4, columns=5, size=4)
    np.testing.assert_array_equal(flat(fit_rows(more, link, earlier)), flat(fit_rows(more, link)))
    wild = dataclasses.replace(earlier, level=25.0)
    np.testing.assert_array_equal(flat(fit_rows(rows, link, wild)), flat(fit_rows(rows, link)))


@pytest.mark.parametrize("link", LINKS)
def test_it_saves_steps(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one step allowed a warm start is there and a cold one is not; squared error needs no more than one."""
    rows, _ = made(link, seed=4)
    best = fit_rows(rows, link)
    monkeypatch.setattr(newton, "_STEPS", 1)
    np.testing.assert_allclose(flat(fit_rows(rows, link, best)), flat(best), atol=1e-6)
    cold = np.abs(flat(fit_rows(rows, link)) - flat(best)).max()
    assert (cold > 1e-3) == (link != "identity")


def test_nothing_was_opened() -> None:
    """Scores as low as half a case in all rows says, or lower; all of them finite, however often it is asked."""
    for link in LINKS:
        rows, _ = made(link)
        rows = dataclasses.replace(rows, target=np.zeros(len(rows.target)))
        fit: Fit | None = None
        for _ in range(4):
            fit = fit_rows(rows, link, fit)
            assert np.isfinite(flat(fit)).all()
            mean = means(fit.scores(rows), link)
            assert (mean >= 0).all()
            assert mean.max() <= 1.0 / len(rows.target)
            assert np.abs(flat(fit)[1:]).max() < 0.1


def test_everything_was_opened() -> None:
    rows, _ = made("logit")
    fit = fit_rows(dataclasses.replace(rows, target=np.ones(len(rows.target))), "logit")
    assert np.isfinite(flat(fit)).all()
    assert means(fit.scores(rows), "logit").min() > 1 - 1.0 / len(rows.target)


@pytest.mark.parametrize("link", LINKS)
def test_planted_weights_are_found_within_their_standard_errors(link: Link) -> None:
    scores = []
    for seed in range(6):
        rows, truth = made(link, seed, num=20_000, articles=200, columns=6, own=3, size=4, spread=0.2)
        x, fit = design(rows), fit_rows(rows, link)
        mean = means(truth.scores(rows), link)
        variance = {"identity": np.ones_like(mean), "logit": mean * (1 - mean), "log": mean}[link]
        information = x.T @ ((variance if link != "identity" else 1.0 / variance)[:, None] * x)
        error = np.sqrt(np.diag(np.linalg.inv(information)))
        scores.append((flat(fit) - flat(truth)) / error)
    z = np.concatenate(scores)
    assert len(z) == 6 * 13
    assert 0.75 < np.sqrt(np.mean(z**2)) < 1.35
    assert np.abs(z).max() < 4.5
    # The check can fail: an article's weights are not those of the next one.
    wrong = dataclasses.replace(rows, article=(rows.article + 1) % 200)
    off = (flat(fit_rows(wrong, link)) - flat(truth)) / error
    assert np.abs(off).max() > 10


@pytest.mark.parametrize("link", LINKS)
def test_no_step_makes_it_worse(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where whole steps of Newton overshoot: columns of wild sizes, from a start that is far off."""
    rows, truth = made(link, seed=5)
    rows = dataclasses.replace(rows, own=rows.own * np.array([[6.0], [0.1]]))
    far = dataclasses.replace(truth, own=np.array([0.9, -3.0]))
    dispersion, ridge = penalty(rows, link)

    def value(fit: Fit) -> float:
        s, y = fit.scores(rows), rows.target
        if link == "identity":
            total = -0.5 * np.square(y - s).sum()
        else:
            s = np.clip(s, -30, 30)
            total = (y * s - (np.exp(s) if link == "log" else np.logaddexp(0, s))).sum()
        return float(total / dispersion - 0.5 * (ridge * flat(fit) ** 2).sum())

    values = []
    for steps in range(12):
        monkeypatch.setattr(newton, "_STEPS", steps)
        values.append(value(fit_rows(rows, link, far)))
    rises = np.diff(values)
    assert rises.min() >= -1e-6 * abs(values[0])
    assert rises[0] > 0.1
    assert abs(rises[-1]) < 1e-5 * abs(values[-1])


def test_units_do_not_matter() -> None:
    """Neither to squared error nor, where rows scatter more than counts do, to a logarithm."""
    rows, _ = made("identity")
    minutes, hours = (
        fit_rows(rows, "identity"),
        fit_rows(dataclasses.replace(rows, target=rows.target / 60), "identity"),
    )
    np.testing.assert_allclose(60 * flat(hours), flat(minutes), rtol=1e-9, atol=1e-12)
    rows, _ = made("log")
    assert penalty(rows, "log")[0] > 1
    minutes, seconds = fit_rows(rows, "log"), fit_rows(dataclasses.replace(rows, target=60 * rows.target), "log")
    np.testing.assert_allclose(flat(seconds)[1:], flat(minutes)[1:], atol=1e-5)
    assert seconds.level == pytest.approx(minutes.level + np.log(60), abs=1e-5)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("counts", [-0.5, 0.0, 0.4, 1.0, 3.0])
def test_the_share_is_the_best_of_a_grid(link: Link, counts: float) -> None:
    """``counts`` is what the further score truly is worth."""
    rng, prior = np.random.default_rng(7), 10.0
    offset, column = 0.3 * rng.standard_normal(2000) - 1.0, rng.standard_normal(2000)
    target = drawn(means(offset + counts * column, link), link, rng)
    dispersion = {"identity": target.var(), "logit": 1.0, "log": max(target.var() / target.mean(), 1.0)}[link]
    grid = np.linspace(0, 1, 1001)
    s = offset + grid[:, None] * column
    if link == "identity":
        likely = -0.5 * np.square(target - s).sum(axis=1)
    else:
        likely = (target * s - (np.exp(s) if link == "log" else np.logaddexp(0, s))).sum(axis=1)
    best = grid[np.argmax(likely / dispersion - 0.5 * prior * grid**2)]
    share = fit_share(offset, column, target, link, prior)
    assert share == pytest.approx(best, abs=1e-3)
    assert share == pytest.approx(min(max(counts, 0.0), 1.0), abs=0.12)
