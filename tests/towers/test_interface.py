"""One two-tower model and a sum of two offer the same: whoever serves or trains need not know which it is."""

import inspect
from typing import Any, cast

import numpy as np
import pytest
import torch

from feedgym.towers import SummedTowers, Towers, TwoTower, TwoTowerConfig
from feedgym.towers.features import CategoryConfig, ItemFeaturesConfig

CONFIG = TwoTowerConfig(
    item=ItemFeaturesConfig(num_numeric=5, categories=(CategoryConfig(name="topic", size=6),)),
    reader_numeric=3,
    widths=(8,),
    dim=4,
    history_length=3,
    age_decay="exponential",
)
T_REF = 100.0
PUBLIC = [name for name in vars(Towers) if not name.startswith("_")]


def made(kind: type, seed: int = 3) -> Towers:
    generator = torch.Generator().manual_seed(seed)
    model: Towers = kind(CONFIG, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.mark.parametrize("kind", [TwoTower, SummedTowers])
@pytest.mark.parametrize("name", PUBLIC)
def test_every_member_is_there_with_the_same_arguments(name: str, kind: type) -> None:
    asked, offered = getattr(Towers, name), getattr(kind, name)
    if isinstance(asked, property):
        assert isinstance(offered, property)
        return
    if name in ("parameters", "train", "eval"):  # torch's own
        return
    assert list(inspect.signature(offered).parameters) == list(inspect.signature(asked).parameters)


def embedded(model: Towers) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(5)
    numeric, topic = torch.randn(20, 5, generator=generator), torch.arange(20)[:, None] % 6
    item, bias = model.embed_items(numeric, topic)
    clicked = torch.randint(20, (7, 3), generator=generator)
    history = model.embed_history(numeric, topic)[clicked]
    user = model.embed_users(history, torch.ones(7, 3, dtype=torch.bool), torch.randn(7, 3, generator=generator))
    published = T_REF - 40 * torch.rand(20, dtype=torch.float64, generator=generator)
    return item, bias, user, published


@pytest.mark.parametrize("kind", [TwoTower, SummedTowers])
@torch.no_grad()
def test_the_score_is_the_product_and_the_constant(kind: type) -> None:
    model = made(kind)
    item, bias, user, published = embedded(model)
    age = (T_REF - published).float().expand(7, 20)
    product = model.augment_users(user, T_REF, T_REF) @ model.augment_items(item, bias, published, T_REF).T
    constant = model.constant(user, T_REF, T_REF)[:, None]
    assert float(constant.abs().min()) > 1e-3
    score = model.score(user, item, bias, age)
    torch.testing.assert_close(product + constant, score, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [TwoTower, SummedTowers])
@torch.no_grad()
def test_starts_and_shifts_move_all_scores_alike(kind: type) -> None:
    model = made(kind)
    item, bias, user, published = embedded(model)
    age = (T_REF - published).float().expand(7, 20)
    model.start_at_mean(0.0)
    before = model.score(user, item, bias, age)
    for moved, by in (
        (lambda: model.start_at_mean(2.5), 2.5),
        (lambda: model.start_at_rate(0.2), float(np.log(0.25))),
        (lambda: model.shift(0.75), float(np.log(0.25)) + 0.75),
    ):
        moved()
        torch.testing.assert_close(model.score(user, item, bias, age), before + by, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [TwoTower, SummedTowers])
@torch.no_grad()
def test_without_age_products_differ_by_a_constant_where_nothing_ages(kind: type) -> None:
    config = TwoTowerConfig(**{**vars(CONFIG), "age_decay": "none"})
    model: Any = kind(config, torch.Generator().manual_seed(3))
    item, bias, user, _ = embedded(model)
    left = model.without_age(item.numpy(), bias.numpy())
    assert left.vector.shape == (20, 4 * len(model.models))
    score = model.score(user, item, bias, torch.zeros(7, 20)).numpy()
    difference = score - (user.vector.numpy() @ left.vector.T + left.bias)
    np.testing.assert_allclose(difference, np.broadcast_to(difference[:, :1], difference.shape), atol=1e-5)


def test_a_sum_of_two_has_one_stage() -> None:
    model = made(SummedTowers)
    assert not model.two_stages
    assert len(model.models) == 2
    with pytest.raises(ValueError, match="reranker"):
        model.rerank(*[cast("Any", None)] * 4)
    two = TwoTower(TwoTowerConfig(**{**vars(CONFIG), "prediction": "logistic"}), torch.Generator().manual_seed(1))
    assert two.two_stages
    assert two.models == (two,)


@pytest.mark.parametrize("kind", [TwoTower, SummedTowers])
def test_normalisations_are_those_that_were_fitted(kind: type) -> None:
    model = made(kind)
    model.fit_items(3.0 + 2.0 * torch.randn(50, 5, generator=torch.Generator().manual_seed(1)))
    model.fit_readers(7.0 + torch.randn(50, 3, generator=torch.Generator().manual_seed(2)))
    items, readers = model.normalisations
    assert float((items.mean - 3.0).abs().max()) < 1.0
    assert float((readers.mean - 7.0).abs().max()) < 1.0
