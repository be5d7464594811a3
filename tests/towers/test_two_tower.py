"""The model as a whole: retrieval by inner product equals the training score, ages, starts, arrays,
learning."""

from typing import Any

import numpy as np
import pytest
import torch

from feedgym.towers import TwoTower, TwoTowerConfig, UserOutput, dot_score, losses
from feedgym.towers.age_decay import ExponentialSum, LinearDecay, NoDecay
from feedgym.towers.features import CategoryConfig, ItemFeaturesConfig
from helpers.towers import lively

T_REF = 490_000.0  # hours since 1970, about: float32 would see steps of .03 h
ITEM = ItemFeaturesConfig(num_numeric=5, categories=(CategoryConfig(name="topic", size=6, dim=4),))
DECAYS = [
    {"age_decay": "none"},
    {"age_decay": "linear"},
    {"age_decay": "exponential"},
    {"age_decay": "exponential", "decay_per_item": False, "decay_taus_hours": (3.0, 30.0)},
]


def make(**settings: Any) -> TwoTower:
    config = TwoTowerConfig(item=ITEM, reader_numeric=3, **(dict[str, Any](widths=(16,), dim=8) | settings))
    return TwoTower(config, torch.Generator().manual_seed(7))


def articles(model: TwoTower, count: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    numeric = torch.randn(count, 5, generator=generator)
    return model.embed_items(numeric, torch.randint(6, (count, 1), generator=generator))


def readers(model: TwoTower, item: torch.Tensor, count: int = 7) -> UserOutput:
    generator = torch.Generator().manual_seed(2)
    history = torch.randint(len(item), (count, 4), generator=generator)
    mask = torch.rand(count, 4, generator=generator) < 0.6
    mask[0] = False
    return model.embed_users(item[history].detach(), mask, torch.randn(count, 3, generator=generator))


@pytest.mark.parametrize("settings", DECAYS)
def test_retrieval_is_an_inner_product_at_every_moment(settings: Any) -> None:
    model = lively(make(**settings))
    model.prediction.start_at_rate(0.02)
    item, bias = articles(model)
    user = readers(model, item)
    published = T_REF - 48 * torch.rand(30, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    stored = model.augment_items(item, bias, published, T_REF)  # written once
    assert stored.shape == (30, model.augmented_dim)
    assert stored.dtype == torch.float32
    scores = []
    for now in (T_REF + 0.01, T_REF + 3.7, T_REF + 24.0):
        age = (now - published).float().expand(7, 30)
        scores.append(model.score(user, item, bias, age))
        query = model.augment_users(user, now, T_REF)
        product = query @ stored.T + model.constant(user, now, T_REF)[:, None]
        torch.testing.assert_close(product, scores[-1], atol=1e-4, rtol=1e-5)
        # Readers may ask at moments of their own.
        moments = torch.full((7,), now, dtype=torch.float64)
        assert torch.equal(model.augment_users(user, moments, T_REF), query)
        assert torch.equal(model.constant(user, moments, T_REF), model.constant(user, now, T_REF))
    moved = (scores[0] - scores[2]).abs().max() > 0.1
    assert moved == (settings["age_decay"] != "none")


def test_scaled_age_columns_give_the_same_product() -> None:
    model = lively(make())
    item, bias = articles(model)
    user = readers(model, item)
    published = T_REF - torch.arange(30, dtype=torch.float64)
    scale = torch.tensor([1e-3, 0.1, 5.0])
    plain = model.augment_items(item, bias, published, T_REF)
    scaled = model.augment_items(item, bias, published, T_REF, scale)
    torch.testing.assert_close(scaled[:, -3:], plain[:, -3:] * scale)
    torch.testing.assert_close(
        model.augment_users(user, T_REF + 1, T_REF, scale) @ scaled.T,
        model.augment_users(user, T_REF + 1, T_REF) @ plain.T,
    )


@pytest.mark.parametrize("settings", DECAYS)
def test_rows_slates_and_pairs_agree(settings: Any) -> None:
    model = lively(make(**settings))
    item, bias = articles(model)
    user = readers(model, item)
    age = 30 * torch.rand(7, 30, generator=torch.Generator().manual_seed(4))
    pairs = model.score(user, item, bias, age)
    assert pairs.shape == (7, 30)
    slate = torch.randint(30, (7, 5), generator=torch.Generator().manual_seed(5))
    slates = model.score(user, item[slate], bias[slate], age.gather(1, slate))
    torch.testing.assert_close(slates, pairs.gather(1, slate))
    rows = model.score(user, item[slate[:, 0]], bias[slate[:, 0]], age.gather(1, slate)[:, 0])
    torch.testing.assert_close(rows, slates[:, 0])
    # As many readers as articles: the axes of the age still tell rows from pairs.
    square = model.score(user, item[:7], bias[:7], age[:, :7])
    torch.testing.assert_close(square, pairs[:, :7])


def test_decay_terms_follow_their_formulas() -> None:
    age = torch.tensor([0.0, 6.0], dtype=torch.float64)
    raw = torch.tensor([[0.3], [-2.0]], dtype=torch.float64)
    linear = LinearDecay(initial_rate=0.05)
    torch.testing.assert_close(linear.score(raw, raw[:, :0], age), -torch.log1p(raw[:, 0].exp()) * age)
    assert np.log1p(np.exp(linear.initial_user_params[0])) == pytest.approx(0.05)
    c = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
    a = torch.tensor([[2.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    total = (c * a * torch.exp(-age[:, None] / torch.tensor([2.0, 20.0]))).sum(1)
    torch.testing.assert_close(ExponentialSum((2.0, 20.0)).score(c, a, age), total)
    assert NoDecay().score(c, a, age).tolist() == [0.0, 0.0]


def test_four_exponentials_fit_the_usual_decays() -> None:
    """A logarithmic decay over 48 h, to .5 % of its range: least squares on constant and columns."""
    age = torch.linspace(0, 48, 500, dtype=torch.float64)
    taus = tuple(np.geomspace(0.5, 60, 4))
    terms = torch.eye(4, dtype=torch.float64)
    decay = ExponentialSum(taus, per_item=False)
    columns = [decay.score(terms[k].expand(500, 4), torch.empty(500, 0), age) for k in range(4)]
    design = torch.stack([torch.ones_like(age), *columns], dim=1)
    target = -torch.log1p(age)
    fit = design @ torch.linalg.lstsq(design, target[:, None]).solution[:, 0]
    assert (fit - target).abs().max() < 0.02
    assert target.min() < -3.8


def test_a_reference_too_far_away_is_refused() -> None:
    model = make()
    item, bias = articles(model)
    with pytest.raises(ValueError, match="t_ref: got '245000 tau before'"):
        model.augment_items(item, bias, torch.full((30,), T_REF, dtype=torch.float64), 0.0)


def test_an_article_many_tau_old_has_no_term_left() -> None:
    model = make()
    item, bias = articles(model)
    old = torch.full((30,), T_REF - 1000.0, dtype=torch.float64)
    columns = model.augment_items(item, bias, old, T_REF)[:, model.config.dim + 1 :]
    fresh = model.augment_items(item, bias, torch.full((30,), T_REF, dtype=torch.float64), T_REF)
    assert torch.equal(columns[:, :2], torch.zeros(30, 2))  # tau 2 and 8 h: 500 and 125 tau ago
    assert not torch.equal(fresh[:, model.config.dim + 1 :], columns)


def test_the_start_is_quiet_and_the_base_rate_right() -> None:
    model = make(widths=(64, 32), dim=64)
    item, bias = articles(model, 400)
    user = readers(model, item, 50)
    model.prediction.start_at_rate(0.02)
    score = model.score(user, item, bias, torch.zeros(50, 400))
    assert 0.1 < score.std().item() < 0.5
    assert score.sigmoid().mean().item() == pytest.approx(0.02, rel=0.15)
    model.prediction.start_at_mean(1.5)
    assert model.score(user, item, bias, torch.zeros(50, 400)).mean().item() == pytest.approx(1.5, abs=0.1)
    with pytest.raises(ValueError, match="rate: got 0"):
        model.prediction.start_at_rate(0)


def test_start_depends_on_the_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = make()
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    second = make()
    other = TwoTower(first.config, torch.Generator().manual_seed(9))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    assert not torch.equal(first.item_tower.last.weight, other.item_tower.last.weight)


def test_arrays_carry_the_whole_model() -> None:
    model = lively(make())
    model.reader_features.fit_normalisation(torch.randn(50, 3, generator=torch.Generator().manual_seed(6)))
    arrays = model.to_arrays()
    fresh = make()
    fresh.from_arrays(arrays)
    item, bias = articles(model)
    age = torch.ones(7, 30)
    expected = model.score(readers(model, item), item, bias, age)
    assert not torch.equal(make().embed_items(torch.ones(1, 5), torch.zeros(1, 1, dtype=torch.int64))[0], item[:1])
    assert torch.equal(fresh.score(readers(fresh, item), *articles(fresh), age), expected)
    with torch.no_grad():
        model.prediction.global_bias.add_(1)
    assert arrays["prediction.global_bias"] == fresh.prediction.global_bias.item()  # copies
    with pytest.raises(ValueError, match="missing or unknown"):
        fresh.from_arrays({name: array for name, array in arrays.items() if name != "history.empty"})
    with pytest.raises(ValueError, match=r"history.empty: got shape \(2,\)"):
        fresh.from_arrays({**arrays, "history.empty": np.zeros(2, dtype=np.float32)})


def test_parameter_counts() -> None:
    counts = make().parameter_counts()
    assert counts["item_features"] == 6 * 4
    assert counts["item_tower"] == (9 * 16 + 16) + (16 * (8 + 3 + 1) + 12)
    assert counts["user_tower"] == (11 + 3) * 16 + 16 + 16 * (8 + 3) + 11
    assert counts["total"] == sum(p.numel() for p in make().parameters())


def test_a_batch_of_one_equals_its_row() -> None:
    model = lively(make())
    item, _ = articles(model)
    vectors, mask = item[:8].reshape(4, 2, -1), torch.tensor([[1, 1], [1, 0], [0, 0], [0, 1]], dtype=torch.bool)
    numeric = torch.randn(4, 3, generator=torch.Generator().manual_seed(6))
    together = model.embed_users(vectors, mask, numeric)
    for row in range(4):
        alone = model.embed_users(*(x[row : row + 1] for x in (vectors, mask, numeric)))
        torch.testing.assert_close(alone.vector[0], together.vector[row])
        torch.testing.assert_close(alone.decay[0], together.decay[row])


@pytest.mark.parametrize("settings", DECAYS[1:])
def test_age_and_topic_are_learned_from_clicks(settings: Any) -> None:
    """Click log-odds fall with age, and readers like the topic of their history: BCE finds both."""
    generator = torch.Generator().manual_seed(11)
    model = make(widths=(32,), **settings)
    model.prediction.start_at_rate(0.3)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    numeric = torch.zeros(6, 5)
    topics = torch.arange(6)[:, None]
    for _ in range(250):
        item, bias = model.embed_items(numeric, topics)
        liked = torch.randint(6, (256, 1), generator=generator)
        shown = torch.where(torch.rand(256, generator=generator) < 0.5, liked[:, 0], (liked[:, 0] + 1) % 6)
        age = 24 * torch.rand(256, generator=generator)
        truth = torch.where(shown == liked[:, 0], 1.0, -1.0) + 1.0 - 0.1 * age
        clicked = torch.rand(256, generator=generator) < truth.sigmoid()
        user = model.embed_users(item[liked].detach(), torch.ones(256, 1, dtype=torch.bool), torch.zeros(256, 3))
        loss = losses.bce_loss(model.score(user, item[shown], bias[shown], age), clicked)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        item, bias = model.embed_items(numeric, topics)
        user = model.embed_users(item[:, None], torch.ones(6, 1, dtype=torch.bool), torch.zeros(6, 3))
        young = model.score(user, item, bias, torch.full((6, 6), 2.0))
        old = model.score(user, item, bias, torch.full((6, 6), 22.0))
    liking = young.diagonal() - young[torch.arange(6), (torch.arange(6) + 1) % 6]
    assert liking.mean().item() == pytest.approx(2.0, abs=0.6)
    assert (young - old).diagonal().mean().item() == pytest.approx(2.0, abs=0.6)


def test_refusals() -> None:
    model = make()
    item, bias = articles(model)
    user = readers(model, item)
    for call, message in (
        (lambda: model.score(user, item, bias, torch.ones(1, 30)), "age_hours: got shape"),
        (lambda: model.score(user, item, bias, torch.ones(7)), "item: got shape"),
        (lambda: model.score(user, item, bias[:3], torch.ones(7, 30)), "bias: got shape"),
        (lambda: model.embed_users(item[None], torch.ones(1, 3), torch.ones(1, 3)), "history_vectors"),
        (lambda: dot_score(torch.ones(2, 3), torch.ones(4, 2), torch.ones(4), pairs=True), "item: got shape"),
        (lambda: TwoTowerConfig(age_decay="half-life"), "age_decay: got 'half-life'"),
        (lambda: TwoTowerConfig(decay_taus_hours=()), "taus_hours"),
        (lambda: TwoTowerConfig(dim=0), "dim: got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
