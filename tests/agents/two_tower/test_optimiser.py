"""An optimiser comes back from plain arrays, byte for byte."""

import io
from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import parse_agent
from feedgym.agents.two_tower.optimiser import clip_gradients, optimiser_arrays, restore_optimiser
from feedgym.env import Feed, FeedConfig
from helpers.resuming import save_arrays


def small(**settings: Any) -> tuple[torch.nn.Linear, torch.optim.AdamW]:
    layer = torch.nn.Linear(3, 2)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.linspace(-1, 1, p.numel()).reshape(p.shape))
    return layer, torch.optim.AdamW(layer.parameters(), lr=0.05, weight_decay=0.3, **settings)


def train(layer: torch.nn.Linear, optimiser: torch.optim.AdamW, first: int, last: int) -> list[bytes]:
    for step in range(first, last):
        optimiser.zero_grad()
        x = torch.sin(torch.arange(12.0).reshape(4, 3) + step)
        layer(x).square().sum().backward()
        optimiser.step()
    return [p.detach().numpy().tobytes() for p in layer.parameters()]


@pytest.mark.parametrize("fused", [True, False])
def test_goes_on_byte_for_byte_through_a_file_without_pickle(fused: bool) -> None:
    layer, optimiser = small(fused=fused)
    train(layer, optimiser, 0, 5)
    file = io.BytesIO()
    save_arrays(file, optimiser_arrays(optimiser))
    weights = {name: value.clone() for name, value in layer.state_dict().items()}
    expected = train(layer, optimiser, 5, 12)

    results = []
    for with_moments in (True, False):
        again, fresh = small(fused=fused)
        again.load_state_dict(weights)
        if with_moments:
            file.seek(0)
            restore_optimiser(fresh, dict(np.load(file, allow_pickle=False)))
        results.append(train(again, fresh, 5, 12))
    assert results[0] == expected
    assert results[1] != expected  # moments and step counts matter: the check can fail


def test_a_gradient_is_clipped_as_a_whole_and_only_if_it_is_larger() -> None:
    for largest, factor in ((None, 1.0), (100.0, 1.0), (0.5, 0.1)):
        layer, optimiser = small()
        layer.weight.grad, layer.bias.grad = torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), torch.tensor([0.0, 4.0])
        clip_gradients(optimiser, largest)
        assert layer.weight.grad[0, 0].item() == pytest.approx(3.0 * factor, rel=1e-4)  # of norm 5
        assert layer.bias.grad[1].item() == pytest.approx(4.0 * factor, rel=1e-4)


def test_arrays_are_copies_and_settings_stay() -> None:
    layer, optimiser = small()
    assert optimiser_arrays(optimiser) == {}
    train(layer, optimiser, 0, 3)
    arrays = optimiser_arrays(optimiser)
    before = {name: value.copy() for name, value in arrays.items()}
    train(layer, optimiser, 3, 5)
    assert all(np.array_equal(arrays[name], before[name]) for name in before)

    other, fresh = small()
    fresh.param_groups[0]["lr"] = 0.5
    restore_optimiser(fresh, arrays)
    assert fresh.param_groups[0]["lr"] == 0.5
    train(other, fresh, 3, 4)
    assert all(np.array_equal(arrays[name], before[name]) for name in before)  # restoring copies too


def test_an_untrained_state_replaces_a_trained_one() -> None:
    layer, optimiser = small()
    train(layer, optimiser, 0, 3)
    restore_optimiser(optimiser, {})
    assert optimiser_arrays(optimiser) == {}


def test_the_agents_optimiser_is_the_fused_one() -> None:
    agent: Any = parse_agent("reinforce").start(Feed(FeedConfig(num_readers=5, days=1.0)))
    assert len(agent._optimiser.param_groups) > 1
    assert all(group["fused"] for group in agent._optimiser.param_groups)
