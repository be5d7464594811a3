"""Feed-forward networks, history mean, features: shapes, padding, batch of one, normalisation, tables."""

from itertools import pairwise
from typing import Any

import pytest
import torch

from feedgym.towers.encoders import FeedForward, HistoryMean
from feedgym.towers.features import (
    HASHED_AUTHOR,
    CategoryConfig,
    ItemFeatures,
    ItemFeaturesConfig,
    Standardise,
)
from helpers.draws import seeded


@pytest.mark.parametrize("widths", [(), (8,), (1024, 512, 256)])
def test_feed_forward_has_the_depth_and_spread_it_is_given(widths: Any) -> None:
    net = FeedForward(20, widths, 64, seeded(), out_gain=0.5)
    dims = [20, *widths, 64]
    assert sum(p.numel() for p in net.parameters()) == sum(a * b + b for a, b in pairwise(dims))
    out = net(torch.randn(500, 20, generator=seeded(1)))
    assert out.shape == (500, 64)
    if len(widths) != 1:  # eight hidden units are too few for a law of large numbers
        assert out.square().mean().sqrt().item() == pytest.approx(0.5, rel=0.15)


def test_feed_forward_is_relu_between_linear_layers() -> None:
    net = FeedForward(3, (5, 4), 2, seeded())
    x = torch.randn(7, 3, generator=seeded(1))
    first, second, last = (layer for layer in net if isinstance(layer, torch.nn.Linear))
    plain = (x @ first.weight.T + first.bias).clamp(min=0)
    plain = (plain @ second.weight.T + second.bias).clamp(min=0)
    torch.testing.assert_close(net(x), plain @ last.weight.T + last.bias)
    net(x).square().sum().backward()  # in-place ReLU must not spoil the gradient
    assert first.weight.grad is not None
    assert first.weight.grad.abs().sum() > 0


def test_history_mean_ignores_padding_and_has_a_vector_for_nobody() -> None:
    history = HistoryMean(6)
    torch.nn.init.normal_(history.empty, generator=seeded(5))
    vectors = torch.randn(4, 10, 6, generator=seeded(1))
    length = torch.tensor([10, 3, 1, 0])
    mask = torch.arange(10) < length[:, None]
    out = history(vectors, mask)
    for row in range(3):
        torch.testing.assert_close(out[row], vectors[row, : length[row]].mean(dim=0))
    assert torch.equal(out[3], history.empty)
    garbage = torch.where(mask[:, :, None], vectors, 1e30)
    assert torch.equal(history(garbage, mask), out)
    longer = torch.cat([vectors, torch.full((4, 7, 6), 9.0)], dim=1)
    torch.testing.assert_close(history(longer, torch.cat([mask, torch.zeros(4, 7, dtype=torch.bool)], 1)), out)
    single = torch.cat([history(vectors[i : i + 1], mask[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(single, out)
    assert torch.equal(history(vectors[:, :0], mask[:, :0]), history.empty.expand(4, 6))


def test_history_mean_learns_the_empty_vector_only_from_the_empty() -> None:
    history = HistoryMean(2)
    mask = torch.tensor([[True, False], [False, False]])
    vectors = torch.ones(2, 2, 2, requires_grad=True)
    history(vectors, mask).sum().backward()
    assert history.empty.grad is not None
    assert vectors.grad is not None
    assert history.empty.grad.tolist() == [1.0, 1.0]
    assert vectors.grad[:, :, 0].tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_standardise_learns_from_a_log() -> None:
    columns = torch.randn(2000, 3, generator=seeded()) * torch.tensor([5.0, 0.1, 0.0])
    columns += torch.tensor([100.0, 0.0, 3.0])
    layer = Standardise(3)
    assert torch.equal(layer(torch.eye(3)), torch.eye(3))  # the identity before
    layer.fit_normalisation(columns)
    out = layer(columns)
    torch.testing.assert_close(out.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-3, rtol=0)
    assert layer(torch.full((1, 3), 1e9)).tolist() == [[10.0, 10.0, 10.0]]
    with pytest.raises(ValueError, match="numeric: got 'nan or inf'"):
        layer.fit_normalisation(torch.full((2, 3), float("nan")))
    with pytest.raises(ValueError, match="numeric: got shape"):
        layer(columns[:, :2])


def test_item_features_stand_side_by_side() -> None:
    topic = CategoryConfig(name="topic", size=5, dim=3)
    config = ItemFeaturesConfig(num_numeric=2, categories=(topic, HASHED_AUTHOR))
    features = ItemFeatures(config, seeded())
    numeric = torch.tensor([[0.5, -1.0], [2.0, 0.0]])
    categorical = torch.tensor([[4, 2**62], [0, -17]])
    out = features(numeric, categorical)
    assert out.shape == (2, config.out_dim) == (2, 2 + 3 + 8)
    assert torch.equal(out[:, :2], numeric)
    assert torch.equal(out[:, 2:5], features.tables[0][[4, 0]])
    with pytest.raises(ValueError, match=r"topic: got \(0, 5\), needs ids in 0 .. 4"):
        features(numeric, torch.tensor([[5, 1], [0, 1]]))
    with pytest.raises(ValueError, match="categorical: got shape"):
        features(numeric, categorical[:, :1])
    assert features(numeric[:0], categorical[:0]).shape == (0, 13)


def test_authors_spread_over_the_buckets() -> None:
    author = CategoryConfig(name="author", size=64, dim=1, hashed=True)
    features = ItemFeatures(ItemFeaturesConfig(num_numeric=0, categories=(author,)), seeded())
    ids = torch.arange(6400)[:, None]
    values = features(torch.empty(6400, 0), ids)[:, 0]
    counts = values.unique(return_counts=True)[1]
    assert len(counts) == 64
    assert counts.max() < 150  # 100 expected in each
    assert torch.equal(values, features(torch.empty(6400, 0), ids)[:, 0])
