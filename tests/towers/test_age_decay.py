"""Decays: inner products at every moment, digits that a far reference costs, what they can learn and fit."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from feedgym.towers.age_decay import (
    AGE_DECAYS,
    AgeDecay,
    ExponentialSum,
    Harmonic,
    LinearDecay,
    NoDecay,
    ProductDecay,
    SumDecay,
)
from feedgym.towers.losses import bce_loss

NOW = 490_000.0  # hours since 1970, about: float32 would see steps of .03 h
DECAYS: dict[str, AgeDecay] = {
    **{name: make() for name, make in AGE_DECAYS.items()},
    "shared amplitudes": ExponentialSum((3.0, 30.0), per_item=False),
    "day and week": Harmonic((24.0, 12.0, 168.0)),
    "product+linear+none": SumDecay((ProductDecay(), LinearDecay(), NoDecay())),
}
every_decay = pytest.mark.parametrize("decay", DECAYS.values(), ids=DECAYS)


def params(start: tuple[float, ...], rows: int, seed: int) -> Tensor:
    noise = torch.randn(rows, len(start), generator=torch.Generator().manual_seed(seed))
    return torch.tensor(start).expand(rows, -1) + 0.5 * noise


def world(decay: AgeDecay, readers: int, articles: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """u, v, P and Q parameters, and publication over the 48 hours before ``NOW``."""
    generator = torch.Generator().manual_seed(3)
    user = torch.randn(readers, 8, generator=generator)
    item = 0.3 * torch.randn(articles, 8, generator=generator)
    published = NOW - 48 * torch.rand(articles, dtype=torch.float64, generator=generator)
    start = decay.initial_user_params, decay.initial_item_params
    return user, item, params(start[0], readers, 4), params(start[1], articles, 5), published


def served(decay: AgeDecay, t_ref: float, now: float = NOW) -> tuple[Tensor, Tensor, float]:
    """Products of float32 columns (B, N), the scores in float64, and the largest difference less the constant."""
    user, item, p, q, published = world(decay, 16, 4000)
    truth = user.double() @ item.double().T + decay.score(p.double(), q.double(), (now - published).expand(16, -1))
    stored = torch.cat([item, decay.item_columns(published, t_ref, q)], dim=1)
    query = torch.cat([user, decay.user_columns(p, now, t_ref)], dim=1)
    assert stored.dtype == query.dtype == torch.float32
    assert stored.shape == (4000, 8 + decay.num_columns)
    product = query @ stored.T
    return product, truth, float((product + decay.constant(p, now, t_ref)[:, None] - truth).abs().max())


def top_100(scores: Tensor) -> Tensor:
    return scores.topk(100, dim=1).indices.sort(dim=1).values


@every_decay
@pytest.mark.parametrize("later", [0.01, 3.7, 24.0])
def test_the_score_is_an_inner_product_at_every_moment(decay: AgeDecay, later: float) -> None:
    product, truth, error = served(decay, NOW, NOW + later)
    assert error < 1e-4
    # The same hundred articles, but for ties closer than rounding.
    hundredth = truth.topk(100, dim=1).values[:, -1:]
    assert (truth.gather(1, top_100(product)) >= hundredth - 2e-5).all()


@every_decay
def test_articles_are_written_once_and_readers_ask_at_moments_of_their_own(decay: AgeDecay) -> None:
    _, _, p, q, published = world(decay, 3, 50)
    stored = decay.item_columns(published, NOW, q)
    moments = NOW + torch.tensor([0.01, 3.7, 24.0], dtype=torch.float64)
    scores = decay.user_columns(p, moments, NOW) @ stored.T + decay.constant(p, moments, NOW).expand(3)[:, None]
    age = moments[:, None] - published
    torch.testing.assert_close(scores, decay.score(p, q, age.float()), atol=1e-4, rtol=1e-5)
    for row, now in enumerate(moments.tolist()):
        torch.testing.assert_close(decay.user_columns(p, now, NOW)[row], decay.user_columns(p, moments, NOW)[row])


@every_decay
def test_rows_slates_and_pairs_agree(decay: AgeDecay) -> None:
    _, _, p, q, published = world(decay, 6, 9)
    age = (NOW - published).float() + torch.arange(6)[:, None]
    pairs = decay.score(p, q, age)
    slate = torch.randint(9, (6, 4), generator=torch.Generator().manual_seed(6))
    slates = decay.score(p, q[slate], age.gather(1, slate))
    torch.testing.assert_close(slates, pairs.gather(1, slate))
    rows = decay.score(p, q[slate[:, 0]], age.gather(1, slate)[:, 0])
    torch.testing.assert_close(rows, slates[:, 0])
    for row in range(6):
        torch.testing.assert_close(decay.score(p[row : row + 1], q, age[row : row + 1])[0], pairs[row])


def test_terms_follow_their_formulas() -> None:
    age = torch.tensor([0.0, 6.0, 30.0], dtype=torch.float64)
    reader = torch.tensor([[0.3, -0.7], [-2.0, 0.4], [1.0, 2.0]], dtype=torch.float64)
    article = torch.tensor([[1.0], [-1.0], [0.5]], dtype=torch.float64)
    product = -torch.log1p(reader[:, 0].exp()) * torch.log1p(article[:, 0].exp()) * age
    torch.testing.assert_close(ProductDecay().score(reader[:, :1], article, age), product)
    cycle = reader[:, 0] * torch.cos(age * math.tau / 24) + reader[:, 1] * torch.sin(age * math.tau / 24)
    torch.testing.assert_close(Harmonic().score(reader, article[:, :0], age), cycle)
    both = SumDecay((Harmonic(), ProductDecay()))
    total = both.score(torch.cat([reader, reader[:, :1]], 1), article, age)
    torch.testing.assert_close(total, cycle + product)


def test_starts() -> None:
    two = torch.ones(2, dtype=torch.float64)
    for decay, after_two_hours in (
        (ProductDecay(0.05), -0.1),
        (LinearDecay(0.05), -0.1),
        (LinearDecay(40.0), -80.0),
        (Harmonic(), 0.0),
        (AGE_DECAYS["exponential+harmonic"](), 0.0),
    ):
        p = torch.tensor(decay.initial_user_params, dtype=torch.float64).expand(2, -1)
        q = torch.tensor(decay.initial_item_params, dtype=torch.float64).expand(2, -1)
        torch.testing.assert_close(decay.score(p, q, 2 * two), after_two_hours * two)


@every_decay
def test_gradients_reach_both_sides(decay: AgeDecay) -> None:
    _, _, p, q, published = world(decay, 2, 3)
    age = (NOW + 0.5 - published).expand(2, -1)
    p, q = p.double().requires_grad_(), q.double().requires_grad_()
    if p.shape[1]:
        assert torch.autograd.gradcheck(lambda p, q: decay.score(p, q, age), (p, q))


def test_a_reference_in_the_past_costs_digits() -> None:
    """A thousand hours still serve; since 1970 give a wrong top 100 (docs/mathematics.md 8.2, whose rates differ)."""
    for decay in (LinearDecay(0.1), ProductDecay(0.1)):
        near, thousand, since_1970 = (served(decay, t_ref) for t_ref in (NOW, NOW - 1000, 0.0))
        assert near[2] < 1e-5
        assert 3 * near[2] < thousand[2] < 6e-4
        assert 5e-3 < since_1970[2] < 0.3
        assert not torch.equal(top_100(since_1970[0]), top_100(since_1970[1]))


def test_a_cycle_needs_no_rebase() -> None:
    assert served(Harmonic((24.0, 168.0)), 0.0)[2] < 1e-5


@every_decay
def test_columns_scaled_to_the_spread_of_the_others_give_the_same_product(decay: AgeDecay) -> None:
    _, _, p, q, published = world(decay, 16, 2000)
    columns, query = decay.item_columns(published, NOW, q), decay.user_columns(p, NOW + 5, NOW)
    scale = 0.3 / (columns - columns.mean(dim=0)).square().mean(dim=0).sqrt()
    assert (scale.isfinite() & (scale > 0)).all()
    scaled = columns * scale
    torch.testing.assert_close((query / scale) @ scaled.T, query @ columns.T, atol=1e-4, rtol=1e-5)


def fit_clicks(decay: AgeDecay, truth: Callable[[Tensor, Tensor, Tensor], Tensor]) -> tuple[float, float]:
    """Fit two kinds of readers and of articles to 30,000 clicks.

    Returns the largest error of the fitted log-odds for each pair of kinds over ages 0 .. 48 h, and the loss.
    """
    generator = torch.Generator().manual_seed(8)
    reader, article = torch.randint(2, (2, 30_000), generator=generator)
    age = 48 * torch.rand(30_000, dtype=torch.float64, generator=generator)
    chance = truth(reader, article, age).sigmoid()
    clicked = torch.rand(30_000, dtype=torch.float64, generator=generator) < chance
    start = decay.initial_user_params, decay.initial_item_params
    p, q = (torch.tensor(s, dtype=torch.float64).repeat(2, 1).requires_grad_() for s in start)
    b = torch.zeros((), dtype=torch.float64, requires_grad=True)
    learned = [x for x in (p, q, b) if x.numel()]
    optimiser = torch.optim.LBFGS(learned, max_iter=80, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = bce_loss(decay.score(p[reader], q[article], age) + b, clicked)
        value.backward()
        return value

    optimiser.step(loss)
    kinds = torch.cartesian_prod(torch.arange(2), torch.arange(2), torch.arange(0, 49, 4))
    r, a, hours = kinds[:, 0], kinds[:, 1], kinds[:, 2].double()
    with torch.no_grad():
        error = (decay.score(p[r], q[a], hours) + b - truth(r, a, hours)).abs()
    return float(error.max()), float(loss().detach())


def test_breaking_and_evergreen_are_told_apart() -> None:
    """Readers at .04 and .12 an hour, articles at .2 and 1: the product is found, one rate a reader is not enough."""
    rate, kappa = torch.tensor([0.04, 0.12]).double(), torch.tensor([0.2, 1.0]).double()

    def truth(r: Tensor, a: Tensor, age: Tensor) -> Tensor:
        return 1.0 - rate[r] * kappa[a] * age

    error, loss = fit_clicks(ProductDecay(), truth)
    blind_error, blind_loss = fit_clicks(LinearDecay(), truth)
    assert error < 0.4  # of log-odds from 1 to -4.8
    assert blind_error > 1.0
    assert loss < blind_loss - 0.02


def test_a_fading_daily_cycle_is_found() -> None:
    size = torch.tensor([0.3, 1.0]).double()

    def truth(r: Tensor, a: Tensor, age: Tensor) -> Tensor:
        cycle = torch.cos((age - 3) * math.tau / 24)
        return size[r] * cycle + 2 * torch.exp(-age / 8) * (1 - a) - 0.5

    error, loss = fit_clicks(AGE_DECAYS["exponential+harmonic"](), truth)
    assert error < 0.3
    for part in ("exponential", "harmonic"):
        blind_error, blind_loss = fit_clicks(AGE_DECAYS[part](), truth)
        assert blind_error > 0.6
        assert loss < blind_loss - 0.01


AGE = torch.linspace(0, 48, 481, dtype=torch.float64)
SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "-log(1 + a)": lambda a: -torch.log1p(a),
    "-1.8 log(a + 2)": lambda a: -1.8 * torch.log(a + 2),
    "1 / (1 + a)": lambda a: 1 / (1 + a),
    "Weibull": lambda a: torch.exp(-((a / 8) ** 0.6)),
    "cliff": lambda a: torch.sigmoid(12 - a),
}


def best_fit(shape: str, terms: int) -> float:
    """Smallest largest error of a constant and ``terms`` exponentials over 0 .. 48 h, by linear programming."""
    decay = ExponentialSum(tuple(np.geomspace(0.5, 60, terms)), per_item=False)
    unit = torch.eye(terms, dtype=torch.float64)
    columns = decay.score(unit, torch.empty(len(AGE), 0), AGE.expand(terms, -1))
    design = np.column_stack([np.ones(len(AGE)), columns.T.numpy()])
    target, slack = SHAPES[shape](AGE).numpy(), np.ones((len(AGE), 1))
    fit = linprog(
        [0.0] * (terms + 1) + [1.0],
        A_ub=np.block([[design, -slack], [-design, -slack]]),
        b_ub=np.concatenate([target, -target]),
        bounds=[(None, None)] * (terms + 1) + [(0, None)],
    )
    return float(fit.fun)


@pytest.mark.parametrize(
    ("shape", "four", "six"),
    [
        ("-log(1 + a)", 0.0083, 0.0019),
        ("-1.8 log(a + 2)", 0.019, 0.0011),
        ("1 / (1 + a)", 0.011, 0.0073),
        ("Weibull", 0.039, 0.039),
    ],
)
def test_few_exponentials_come_close_to_the_usual_decays(shape: str, four: float, six: float) -> None:
    """docs/mathematics.md 8.2. Its figures are upper bounds of the best fit."""
    assert four / 4 < best_fit(shape, 4) < four
    assert best_fit(shape, 6) < six


def test_a_cliff_is_no_sum_of_exponentials() -> None:
    assert best_fit("cliff", 6) > 0.12


def test_refusals() -> None:
    for call, message in (
        (lambda: ProductDecay(0.0), "initial_rate: got 0.0"),
        (lambda: LinearDecay(-1.0), "initial_rate: got -1.0"),
        (lambda: Harmonic(()), "periods_hours: got"),
        (lambda: Harmonic((24.0, 0.0)), "periods_hours: got"),
        (lambda: ExponentialSum((-1.0,)), "taus_hours: got"),
        (lambda: SumDecay(()), "parts: got"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
