"""Dropout of the towers: its rate, its stream, and that it is off when serving."""

from typing import Any

import pytest
import torch
from scipy import stats

from feedgym.towers.encoders import Dropout, FeedForward
from helpers.draws import seeded


def zeros_pvalue(claimed: float, rate: float) -> float:
    """Chance of so odd a number of zeros among 100 masks of 1000, if ``claimed`` were the rate."""
    layer = Dropout(rate, seeded(5))
    zeros = sum(int((layer(torch.ones(1000)) == 0).sum()) for _ in range(100))
    return float(stats.binomtest(zeros, 100_000, claimed).pvalue)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_rate_is_the_stated_one(rate: float) -> None:
    assert zeros_pvalue(rate, rate) > 1e-3
    assert zeros_pvalue(rate + 0.01, rate) < 1e-3  # the check can fail
    values = Dropout(rate, seeded())(torch.full((1000,), 3.0))
    assert set(values.tolist()) == {0.0, torch.tensor(3.0).div(1 - rate).item()}


def test_masks_of_steps_and_layers_are_independent() -> None:
    generator = seeded(6)
    layers = [Dropout(0.5, generator) for _ in range(2)]
    masks = torch.stack([layer(torch.ones(4000)) > 0 for layer in layers for _ in range(20)]).double()
    correlation = torch.corrcoef(masks) - torch.eye(40)
    assert correlation.abs().max() < 5 / 4000**0.5  # 780 pairs: the largest is about 3.2 deviations


def test_off_when_serving_and_no_step_is_made() -> None:
    layer = Dropout(0.5, seeded()).eval()
    values = torch.randn(100, generator=seeded(1))
    assert layer(values).equal(values)
    assert layer.stream[1] == 0
    layer.train()(values)
    assert layer.stream[1] == 1


def test_the_stream_resumes_from_the_state() -> None:
    first = Dropout(0.5, seeded(2))
    ones = torch.ones(50)
    [first(ones) for _ in range(3)]
    second = Dropout(0.5, seeded(3))
    assert not second(ones).equal(Dropout(0.5, seeded(2))(ones))
    second.load_state_dict(first.state_dict())
    assert [second(ones).tolist() for _ in range(3)] == [first(ones).tolist() for _ in range(3)]


def test_rate_zero_has_no_state_and_draws_nothing() -> None:
    generator = seeded(4)
    layer = Dropout(0.0, generator)
    assert not layer.state_dict()
    assert generator.get_state().equal(seeded(4).get_state())
    values = torch.randn(10, generator=generator)
    assert layer(values).equal(values)
    with pytest.raises(ValueError, match=r"dropout: got 1\.0"):
        Dropout(1.0, generator)


def test_gradients_pass_where_values_do() -> None:
    values = torch.ones(100, dtype=torch.float64, requires_grad=True)
    out = Dropout(0.25, seeded())(values)
    out.sum().backward()
    assert out.dtype == torch.float64
    assert values.grad is not None
    assert values.grad.equal(out.detach())


@pytest.mark.parametrize(
    "options", [{}, {"layer_norm": True}, {"residual": True}, {"layer_norm": True, "residual": True}]
)
@pytest.mark.parametrize("widths", [(256, 256, 256), (512, 256, 128)])
def test_feed_forward_options_keep_the_spread_of_the_start(widths: Any, options: Any) -> None:
    net = FeedForward(64, widths, 64, seeded(), out_gain=0.5, **options)
    out = net(torch.randn(500, 64, generator=seeded(1)))
    assert out.square().mean().sqrt().item() == pytest.approx(0.5, rel=0.2)


def test_feed_forward_options_do_what_they_say() -> None:
    x = torch.randn(9, 6, generator=seeded(1))
    plain: Any = FeedForward(6, (6,), 2, seeded())
    weights = plain[0].weight, plain[0].bias
    hidden = torch.nn.functional.linear(x, *weights)
    last = plain.last
    torch.testing.assert_close(plain(x), last(hidden.relu()))
    normed = FeedForward(6, (6,), 2, seeded(), layer_norm=True)
    scaled = torch.nn.functional.layer_norm(hidden, (6,)) * 2**0.5
    torch.testing.assert_close(normed(x), normed.last(scaled.relu()))
    skipped = FeedForward(6, (6,), 2, seeded(), residual=True)
    torch.testing.assert_close(skipped(x), skipped.last((x + hidden.relu()) / 2**0.5))
    names = FeedForward(6, (5, 5), 2, seeded(), residual=True).state_dict()
    assert [name for name in names if "skip" in name] == ["0.skip.weight", "0.skip.bias"]  # widths differ once


def test_feed_forward_without_options_is_what_it_was() -> None:
    generator = seeded(8)
    names = [*FeedForward(3, (4, 4), 2, generator).state_dict()]
    assert names == ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]
    drawn = seeded(8)
    for count in (12, 16, 8):
        torch.empty(count).normal_(generator=drawn)
    assert generator.get_state().equal(drawn.get_state())


def test_feed_forward_dropout_is_in_training_only() -> None:
    net: Any = FeedForward(6, (64, 64), 3, seeded(), dropout=0.3)
    plain: Any = FeedForward(6, (64, 64), 3, seeded())
    assert sum(isinstance(layer, Dropout) for layer in net) == 2
    x = torch.randn(9, 6, generator=seeded(1))
    one, two = net(x), net(x)
    assert not one.equal(two)
    assert net.eval()(x).equal(net(x))
    assert net[0].weight.equal(plain[0].weight)
    with pytest.raises(ValueError, match="dropout: got -1"):
        FeedForward(6, (4,), 3, seeded(), dropout=-1)
