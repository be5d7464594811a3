"""Two models served as one: the sum of their scores is one inner product."""

import pytest
import torch

from feedgym.towers import SummedTowers, TwoTowerConfig
from feedgym.towers.features import CategoryConfig, ItemFeaturesConfig
from helpers.towers import lively

T_REF = 490_000.0
ITEM = ItemFeaturesConfig(num_numeric=5, categories=(CategoryConfig(name="topic", size=6, dim=4),))


def make(decay: str) -> SummedTowers:
    config = TwoTowerConfig(item=ITEM, reader_numeric=3, widths=(16,), dim=8, age_decay=decay)
    return lively(SummedTowers(config, torch.Generator().manual_seed(7)))


def inputs(seed: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(30, 5, generator=generator),
        torch.randint(6, (30, 1), generator=generator),
        torch.rand(7, 4, generator=generator) < 0.6,
        torch.randint(30, (7, 4), generator=generator),
        torch.randn(7, 3, generator=generator),
        T_REF - 48 * torch.rand(30, dtype=torch.float64, generator=generator),
    )


@pytest.mark.parametrize("decay", ["none", "linear", "exponential"])
@torch.no_grad()
def test_the_inner_product_is_the_sum_of_two_scores(decay: str) -> None:
    model = make(decay)
    numeric, categorical, mask, history, reader, published = inputs(1)
    vector, bias = model.embed_items(numeric, categorical)
    assert vector.shape == (30, model.item_dim)
    user = model.embed_users(vector[history], mask, reader)
    # Each model by itself, on its own vectors.
    one, bias_one = model.first.embed_items(numeric, categorical)
    two, bias_two = model.second.embed_items(numeric, categorical)
    age = (T_REF - published).float().expand(7, 30)
    alone = model.first.score(model.first.embed_users(one[history], mask, reader), one, bias_one, age)
    other = model.second.score(model.second.embed_users(two[history], mask, reader), two, bias_two, age)
    first, second = model.scores(user, vector, bias, age)
    torch.testing.assert_close(first, alone)
    torch.testing.assert_close(second, other)
    torch.testing.assert_close(model.score(user, vector, bias, age), alone + other)
    stored = model.augment_items(vector, bias, published, T_REF)
    asked = model.augment_users(user, T_REF, T_REF)
    assert stored.shape == (30, model.augmented_dim)
    product = asked @ stored.T
    difference = product - (alone + other)
    # A constant of each reader's is all that may be missing.
    torch.testing.assert_close(difference, difference[:, :1].expand_as(difference), rtol=1e-3, atol=2e-4)


def test_arrays_and_normalisation_reach_both() -> None:
    model, other = make("exponential"), SummedTowers(make("exponential").config, torch.Generator().manual_seed(1))
    numeric, categorical, *_ = inputs(2)
    model.fit_items(3.0 + 2.0 * numeric)
    model.fit_readers(inputs(3)[4])
    assert float(model.second.item_features.numeric.mean.abs().min()) > 1.0
    assert float(model.second.reader_features.std.max()) != 1.0
    other.from_arrays(model.to_arrays())
    for mine, theirs in zip(
        model.embed_items(numeric, categorical), other.embed_items(numeric, categorical), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    with pytest.raises(ValueError, match="arrays"):
        other.from_arrays({})
